"""Persons behind national numbers: found again without keeping the number, and how far each has come.

A number is kept as HMAC-SHA256 under a key of its own, derived from the key file of the web process: a stolen database
alone does not give the numbers back, although there are only 10¹² of them. The same human is two persons here, one who
signs for herself and one who signs for an agency: two keys, two certificates, never mixed.
"""

import datetime as dt
import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.clock import Clock
from core.db import UnitOfWork, insert_new, row_by
from core.directory.model import Agency, Person, Role
from core.directory.records import Directory, authorisation_table, person_table
from core.errors import BadInput, NotFound, Refused
from core.sealed import Box
from signer.activation.devices import Passkey, passkeys_of
from signer.credentials import Credentials
from signer.enrolment.records import contact_table, number_table, run_table
from signer.keystores.model import KeyPurpose

__all__ = ["People", "Standing", "Waiting", "is_email", "same_name"]

_NUMBER: Final = re.compile(r"[0-9]{12}")
_ATOM: Final = r"[A-Za-z0-9!#$&'*+/^_{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL: Final = re.compile(rf"(?=[^@]{{1,64}}@)(?=.{{3,254}}\Z){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
"""Dot-atoms (RFC 5322 §3.4.1) without the letters that encoded words and routes are written with."""
_CITIZEN: Final = "citizen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a person has come."""

    state: str
    """``none``, ``waiting`` (for a delay to end), ``active`` or ``suspended``."""
    credential_id: str | None = None
    """The signing credential of an active person; None for one who only approves the agency's seal."""
    usable_from: dt.datetime | None = None
    """When what waits becomes usable."""
    renewable: bool = False
    """The phone is there, the certificate has ended: the passkey itself lets a new one be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A phone that becomes usable by itself, unless somebody stops it."""

    usable_from: dt.datetime
    kind: str
    """As ``Run.kind``."""
    method: str
    """``portal``, ``oidc``: by what it was let in."""


def is_email(text: str) -> bool:
    """Whether letters can be sent there: plain addresses only, nothing that a header could read in two ways."""
    return _EMAIL.fullmatch(text) is not None


def same_name(one: str, other: str) -> bool:
    """Whether two spellings are one name: form of letters, capitals and spaces do not count; accents do."""
    return _folded(one) == _folded(other)


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


class People:
    """Works inside the caller's transaction."""

    def __init__(self, *, clock: Clock, directory: Directory, credentials: Credentials, key: bytes) -> None:
        """``key``: 32 bytes, those of ``settings.people_key``."""
        self._clock, self._directory, self._credentials = clock, directory, credentials
        info = b"dauso/people"
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)
        self._box = Box(key, "contacts")

    # --------------------------------------------------------------------------------------------------- who is who
    async def expected(
        self, uow: UnitOfWork, agency: Agency, *, national_id: str | None, name: str, by_login: bool = False
    ) -> str:
        """The citizen behind a number, made if new; a person without number is always new.

        A known number with another name is refused: whoever the paper names must be who signs it. The answer tells
        neither which of the two is known, nor to whom. ``by_login``: the person is only sent to a log-in, whose name counts
        as long as there is no passkey: so a first portal's slip does not lock a number for all.

        Raises ``people.bad_number``, ``people.bad_name``, ``people.no_match``.
        """
        if not name.strip() or len(name) > 64:
            raise BadInput("people.bad_name")
        if national_id is None:
            return (await self._directory.add_person(uow, agency, name.strip())).id
        mac = self._mac(national_id)
        known = await self._by(uow, agency, mac)
        if known is None:
            person = await self._directory.add_person(uow, agency, name.strip())
            if await self._keep(uow, person, _CITIZEN, mac):
                return person.id
            known = await self._by(uow, agency, mac)  # somebody else was first: theirs is the person
        assert known is not None
        if same_name((await self._directory.person(uow, known)).name, name):
            return known
        if by_login and await self.is_name_open(uow, known):
            return known
        raise Refused("people.no_match")

    async def is_name_open(self, uow: UnitOfWork, person_id: str) -> bool:
        """Nobody has proven it yet: a citizen without any passkey that was ever usable. An official's is the agency's."""
        return not await self.roles(uow, person_id) and not await self.settled_passkeys(uow, person_id)

    async def adopt_name(self, uow: UnitOfWork, person_id: str, name: str) -> None:
        """The name that a log-in proved, instead of the one that a portal wrote. Raises ``people.bad_name``."""
        said = " ".join(unicodedata.normalize("NFC", name).split())
        if not 0 < len(said) <= 64 or not said.isprintable():
            raise BadInput("people.bad_name")
        await uow.execute(person_table.update().where(person_table.c.id == person_id).values(name=said))

    async def know(self, uow: UnitOfWork, person_id: str, national_id: str) -> None:
        """The number of a person of an agency, kept once. Raises ``people.bad_number``, ``people.other_number``."""
        await self.know_hashed(uow, person_id, self.hashed(national_id))

    async def know_hashed(self, uow: UnitOfWork, person_id: str, mac: bytes) -> None:
        """The same from what ``hashed`` gave, so that nobody between needs the number. Raises ``people.other_number``."""
        person = await self._directory.person(uow, person_id)
        if not await self._keep(uow, person, person.agency_id, mac) and await self._mac_of(uow, person_id) != mac:
            raise BadInput("people.other_number")

    def hashed(self, national_id: str) -> bytes:
        """What is kept of a number. Raises ``people.bad_number``."""
        return self._mac(national_id)

    async def is_number_of(self, uow: UnitOfWork, person_id: str, national_id: str) -> bool | None:
        """Whether it is that person's; None where no number of the person is known."""
        kept = await self._mac_of(uow, person_id)
        if kept is None:
            return None
        return _NUMBER.fullmatch(national_id) is not None and hmac.compare_digest(kept, self._mac(national_id))

    async def has_number(self, uow: UnitOfWork, person_id: str) -> bool:
        """Whether anybody has told it."""
        return await self._mac_of(uow, person_id) is not None

    async def behind(self, uow: UnitOfWork, national_id: str) -> list[str]:
        """All persons with that number: the citizen, and the same human for each agency. Raises ``people.bad_number``."""
        t = number_table.c
        query = sa.select(t.person_id).where(t.mac == self._mac(national_id)).order_by(t.person_id)
        return list((await uow.execute(query)).scalars())

    def _mac(self, national_id: str) -> bytes:
        if _NUMBER.fullmatch(national_id) is None:
            raise BadInput("people.bad_number")
        return hmac.digest(self._key, national_id.encode(), hashlib.sha256)

    async def _by(self, uow: UnitOfWork, agency: Agency, mac: bytes) -> str | None:
        t = number_table.c
        query = sa.select(t.person_id).where(t.realm == agency.realm, t.scope == _CITIZEN, t.mac == mac)
        return (await uow.execute(query)).scalar_one_or_none()

    async def _mac_of(self, uow: UnitOfWork, person_id: str) -> bytes | None:
        row = (await uow.execute(row_by(number_table.c.person_id), {"value": person_id})).first()
        return None if row is None else bytes(row.mac)

    @staticmethod
    async def _keep(uow: UnitOfWork, person: Person, scope: str, mac: bytes) -> bool:
        values = {"person_id": person.id, "realm": person.realm, "scope": scope, "mac": mac}
        return bool((await uow.execute(insert_new(uow, number_table), values)).rowcount == 1)

    # ----------------------------------------------------------------------------------------------- rights, contact
    async def roles(self, uow: UnitOfWork, person_id: str) -> frozenset[Role]:
        """Of every authorisation there ever was: who had one is an official for good, as far as enrolment goes."""
        query = sa.select(authorisation_table.c.role).where(authorisation_table.c.person_id == person_id)
        return frozenset(Role(role) for role in (await uow.execute(query)).scalars())

    async def running_roles(self, uow: UnitOfWork, person_id: str) -> frozenset[Role]:
        """Those whose term is now."""
        t, now = authorisation_table.c, self._clock.now()
        inside = t.valid_from <= now, sa.or_(t.valid_to.is_(None), t.valid_to > now)
        query = sa.select(t.role).where(t.person_id == person_id, *inside)
        return frozenset(Role(role) for role in (await uow.execute(query)).scalars())

    async def has_term(self, uow: UnitOfWork, person_id: str) -> bool:
        """Whether a role runs now or is yet to begin."""
        t = authorisation_table.c
        lasting = sa.or_(t.valid_to.is_(None), t.valid_to > self._clock.now())
        query = sa.select(t.id).where(t.person_id == person_id, lasting).limit(1)
        return (await uow.execute(query)).first() is not None

    async def has_own_key(self, uow: UnitOfWork, person_id: str) -> bool:
        """Certifiers and citizens sign with a key of their own; clerks and administrators approve with a passkey alone."""
        roles = await self.roles(uow, person_id)
        return not roles or Role.CERTIFIER in (await self.running_roles(uow, person_id) or roles)

    async def proven_by_login(self, uow: UnitOfWork, person_id: str) -> bool:
        """Whether the person ever logged in here."""
        t = run_table.c
        query = sa.select(t.id).where(t.person_id == person_id, t.method == "oidc").limit(1)
        return (await uow.execute(query)).first() is not None

    async def set_contact(self, uow: UnitOfWork, person_id: str, email: str) -> None:
        """Where notices go from now on. Raises ``people.bad_email``."""
        sealed = self.seal_email(person_id, email)
        values = {"person_id": person_id, "email": sealed, "at": self._clock.now()}
        if (await uow.execute(insert_new(uow, contact_table), values)).rowcount != 1:
            t = contact_table.c
            await uow.execute(
                contact_table.update().where(t.person_id == person_id).values(email=sealed, at=values["at"])
            )

    async def contact(self, uow: UnitOfWork, person_id: str) -> str | None:
        """The e-mail address, or None."""
        row = (await uow.execute(row_by(contact_table.c.person_id), {"value": person_id})).first()
        return None if row is None else self.open_email(person_id, row.email)

    def seal_email(self, person_id: str, email: str) -> bytes:
        """For a column. Raises ``people.bad_email``."""
        if not is_email(email):
            raise BadInput("people.bad_email")
        return self._box.seal(email.encode(), person_id.encode())

    def open_email(self, person_id: str, sealed: bytes) -> str:
        """Back."""
        return self._box.open(sealed, person_id.encode()).decode()

    # -------------------------------------------------------------------------------------------------------- standing
    async def enrolled(self, uow: UnitOfWork, person_id: str) -> Standing:
        """Where the person stands now."""
        states = {passkey.state for passkey in await self.settled_passkeys(uow, person_id)}
        if "active" in states:
            credential = await self._credential(uow, person_id)
            if credential is not None or not await self.has_own_key(uow, person_id):
                return Standing(state="active", credential_id=credential)
        waits = await self.waiting(uow, person_id)
        if waits is not None:
            return Standing(state="waiting", usable_from=waits.usable_from)
        return Standing(state="suspended" if "suspended" in states else "none", renewable="active" in states)

    async def settled_passkeys(self, uow: UnitOfWork, person_id: str) -> list[Passkey]:
        """Those that were usable once, in whatever state: not what a run left that never came to its end."""
        t = run_table.c
        query = sa.select(t.passkey_id).where(t.person_id == person_id, t.state != "done", t.passkey_id.is_not(None))
        unsettled = set((await uow.execute(query)).scalars())
        return [passkey for passkey in await passkeys_of(uow, person_id) if passkey.id not in unsettled]

    async def has_phone(self, uow: UnitOfWork, person_id: str) -> bool:
        """Whether any of those is a real one: a simulated passkey of realm training is no phone to be careful of."""
        return any(passkey.kind != "software" for passkey in await self.settled_passkeys(uow, person_id))

    async def waiting(self, uow: UnitOfWork, person_id: str) -> Waiting | None:
        """The first that becomes usable, also of somebody who has a phone: whoever it belongs to must see it."""
        t = run_table.c
        query = sa.select(t.usable_from, t.kind, t.method).where(t.person_id == person_id, t.state == "waiting")
        row = (await uow.execute(query.order_by(t.usable_from).limit(1))).first()
        return None if row is None else Waiting(usable_from=row.usable_from, kind=row.kind, method=row.method)

    async def _credential(self, uow: UnitOfWork, person_id: str) -> str | None:
        try:
            found = await self._credentials.of(uow, person_id, KeyPurpose.DOCUMENT)
            found.require_valid(self._clock.now())
        except (NotFound, Refused):
            return None
        return found.id
