"""The second channel: short letters to people, by SMTP or, where people are simulated, into a folder.

A letter holds nothing but what its reader must know; links in it are for one person and end.
"""

import asyncio
import smtplib
import ssl
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Protocol

from core.clock import Clock
from core.errors import Refused, Unavailable
from core.ids import new_id
from core.limits import LIMITS

__all__ = ["FolderMessenger", "Messenger", "NoMessenger", "SmtpMessenger"]


class Messenger(Protocol):
    """Hands a letter over. Raises ``messenger.refused`` (will never work), ``messenger.unavailable`` (try again)."""

    async def send(self, to: str, subject: str, text: str) -> None:
        """One letter to one address; it was handed over when this returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpMessenger:
    """A mail relay. TLS is verified; without STARTTLS only a relay on the inside may be named."""

    host: str
    port: int
    sender: str
    clock: Clock
    starttls: bool = True
    user: str = ""
    password: str = field(default="", repr=False)
    trust: ssl.SSLContext | None = None
    """The system's if None."""

    async def send(self, to: str, subject: str, text: str) -> None:
        """In a thread: the standard library's client waits."""
        letter = _letter(self.clock, self.sender, to, subject, text)
        await asyncio.to_thread(self._deliver, letter)

    def _deliver(self, letter: EmailMessage) -> None:
        try:
            with smtplib.SMTP(self.host, self.port, timeout=LIMITS["messenger.seconds"]) as relay:
                if self.starttls:
                    relay.starttls(context=self.trust or ssl.create_default_context())
                if self.user:
                    relay.login(self.user, self.password)
                relay.send_message(letter)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            if _temporary(error):
                raise Unavailable("messenger.unavailable") from None
            raise Refused("messenger.refused") from None  # the library's error names the address
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise Unavailable("messenger.unavailable") from error


def _temporary(error: smtplib.SMTPException) -> bool:
    """A reply of the 400 kind (RFC 5321 §4.2.1)."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(400 <= code < 500 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPResponseException) and 400 <= error.smtp_code < 500


def _letter(clock: Clock, sender: str, to: str, subject: str, text: str) -> EmailMessage:
    """The address goes in as one address: read as a header's text it could turn out to be several. Raises ``messenger.refused``."""
    made = EmailMessage()
    try:
        made["To"] = Address(addr_spec=to)
    except (ValueError, IndexError, MessageError) as error:
        raise Refused("messenger.refused") from error
    made["From"], made["Subject"] = sender, subject
    made["Date"] = format_datetime(clock.now())
    made["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].strip("> ") or None)
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(text)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderMessenger:
    """Realm training: letters are files, so that whoever practises can read them."""

    folder: Path
    clock: Clock

    async def send(self, to: str, subject: str, text: str) -> None:
        """One ``.eml`` file, whole or not at all."""
        letter = _letter(self.clock, "tap-huan@localhost", to, subject, text)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.folder / f"{new_id(self.clock)}.eml"
            draft = path.with_suffix(".draft")
            draft.touch(mode=0o600)
            draft.write_bytes(letter.as_bytes())
            draft.rename(path)
        except OSError as error:
            raise Unavailable("messenger.unavailable") from error


class NoMessenger:
    """No relay is named: whoever needs the second channel is told so."""

    async def send(self, to: str, subject: str, text: str) -> None:
        """Raises ``messenger.none``."""
        raise Unavailable("messenger.none")
