"""What the page shows of a matter. Frozen; ``to_json`` is what the script gets, with sentences in its language."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509

from core.certificates import Certificate
from core.clock import VIETNAM
from core.messages import sentence

__all__ = ["FINAL", "Described", "File", "Paper", "Seal", "Shown", "Signer", "Standing", "moment_text"]

_GOOD: Final = frozenset({"signed", "applied", "counted"})
FINAL: Final = _GOOD | {"refused", "cancelled", "expired", "replaced", "failed", "declined", "lapsed"}
"""States in which nothing more is asked of this person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """Before entry. Nothing of a person, nothing of the document."""

    kind: str
    """Message code of the kind of matter."""
    portal: str
    """Name of the portal that asks; empty where our own desk does."""
    agency: str
    deadline: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """One thing to be approved."""

    id: str
    title: str
    kind: str
    """``pdf``: pages; ``digest``: nobody here has seen it; ``text``: the words stand in ``text``."""
    pages: int | None = 0
    """None: asked for when it is opened."""
    digest: str = ""
    """SHA-2 in hexadecimal, of what is signed."""
    text: tuple[tuple[str, str], ...] = ()
    """(label, value), in the order to be read."""
    warnings: tuple[str, ...] = ()
    """Message codes of what the reader should know about the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Somebody who has signed before."""

    name: str
    signed_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The certificate that will be used."""

    owner: str
    issuer: str
    valid_to: dt.datetime

    @classmethod
    def of(cls, certificate: Certificate) -> "Seal":
        """Its names as they are written."""
        names = certificate.parsed
        return cls(owner=_common(names.subject), issuer=_common(names.issuer), valid_to=certificate.not_after)


def _common(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(found[0].value) if found else str(name.rfc4514_string())


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """After entry."""

    title: str
    reason: str
    portal: str
    agency: str
    documents: tuple[Paper, ...]
    earlier: tuple[Signer, ...] = ()
    decides: bool = False
    """A vote, not a signature: nobody signed before, and no certificate is used."""
    changed: int = 0
    """How many signatures came since it was given to us; nothing else can change here."""
    signs_as: Seal | None = None
    consequences: tuple[str, ...] = ()
    """Message codes."""
    code: str | None = None
    """Six digits, the same in the portal."""
    tx: str | None = None
    """None: nothing is asked here, the approval happens in a provider's app."""
    challenge: bytes | None = None
    expires: dt.datetime | None = None
    provider: str | None = None
    """Name of the service whose app asks the person."""
    handed_over: bool = False
    """That service has the question already."""

    def to_json(self, language: str) -> dict[str, Any]:
        """Without the question, which the door words for the browser."""
        return {
            "title": self.title, "reason": self.reason, "portal": self.portal, "agency": self.agency,
            "documents": [
                {"id": d.id, "title": d.title, "kind": d.kind, "pages": d.pages, "digest": d.digest, "text": d.text,
                 "warnings": [sentence(code, language) for code in d.warnings]}
                for d in self.documents
            ],
            "earlier": [{"name": s.name, "at": moment_text(s.signed_at)} for s in self.earlier],
            "decides": self.decides,
            "changed": sentence("sign.changed" if self.changed else "sign.unchanged", language, count=self.changed),
            "signs_as": None if self.signs_as is None else {
                "owner": self.signs_as.owner, "issuer": self.signs_as.issuer, "valid_to": moment_text(self.signs_as.valid_to),
            },
            "consequences": [sentence(code, language) for code in self.consequences],
            "code": self.code, "tx": self.tx, "expires": moment_text(self.expires), "provider": self.provider,
            "handed_over": self.handed_over,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the person's part stands.

    ``waiting`` (others are first) · ``ready`` · ``open`` · ``busy`` (somebody else has it before them) · ``approved``
    (being signed) · ``signed`` · ``counted`` (a vote, others still to come) · ``applied`` (a decision in force) ·
    ``refused`` · ``cancelled`` · ``expired`` · ``replaced`` · ``failed`` · ``declined`` and ``lapsed`` (a decision).
    """

    state: str
    why: str = ""
    """Somebody's words about a refusal or the like."""
    problem: str | None = None
    """Code of what went wrong."""
    return_url: str | None = None
    files: tuple[tuple[str, str], ...] = ()
    """(document id, title) of what can be fetched."""

    def to_json(self, language: str) -> dict[str, Any]:
        """With the sentence that says it."""
        return {
            "state": self.state, "said": sentence(f"sign.state.{self.state}", language), "final": self.state in FINAL,
            "good": self.state in _GOOD,
            "why": self.why, "problem": None if self.problem is None else sentence(self.problem, language),
            "return_url": self.return_url, "files": [{"id": each, "title": title} for each, title in self.files],
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to be kept by the person."""

    data: bytes
    media_type: str
    name: str
    """ASCII, with its ending."""


def moment_text(moment: dt.datetime | None) -> str | None:
    """``14:05, 25/11/2026``, in Vietnam's time."""
    return None if moment is None else f"{moment.astimezone(VIETNAM):%H:%M, %d/%m/%Y}"
