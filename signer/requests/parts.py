"""What the desk of signature requests works with, and the words it leaves behind: leaves, changes, events."""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from audit.events import Leaf, LeafType, commit
from audit.outbox import EventType, Outbox
from core.clock import Clock
from core.db import UnitOfWork
from core.directory.model import Agency, Person
from core.directory.records import Directory
from core.errors import NotFound
from core.formats.cms import CmsProfile
from core.sandbox import Sandbox
from core.values import Digest
from signer.ceremony import SigningDesk
from signer.credentials import Credential
from signer.formats.pades import Appearance, PreparedSignature
from signer.formats.stamp import StampText
from signer.papers.model import PaperFacts, Placement
from signer.requests.evidence import said_of
from signer.requests.model import RequestView, SignatureRequest
from signer.requests.records import change_table
from verification.engine.document import DocumentFacts
from verification.policy import TrustAnchor

__all__ = [
    "Links", "Papers", "Parts", "Pictures", "Remote", "Validation", "event_id", "no_remote", "record", "tell",
]  # fmt: skip


class Papers(Protocol):
    """PDFs of strangers, handled in the sandbox: the functions of ``signer.papers``."""

    async def inspect(self, sandbox: Sandbox, document: bytes, placements: Sequence[Placement] = ()) -> PaperFacts:
        """What is in it, and where ``placements`` lie. Raises ``request.*`` for what cannot be signed here."""

    async def prepare(
        self, sandbox: Sandbox, document: bytes, profile: CmsProfile, *, placement: Placement | None,
        signed_at: dt.datetime, signer_name: str, reason: str | None, timestamp_size: int, field: str,
        stamp: StampText | None,
    ) -> tuple[PreparedSignature, DocumentFacts]:  # fmt: skip
        """The document with one more signature field, complete but for the value, and how its rehearsal was judged."""


class Links(Protocol):
    """The functions of ``signer.links``."""

    async def make_link(
        self, uow: UnitOfWork, clock: Clock, *, kind: str, subject: Sequence[str], person_id: str,
        expires_at: dt.datetime,
    ) -> str:  # fmt: skip
        """A new link's token."""

    async def end_links(self, uow: UnitOfWork, clock: Clock, kind: str, subject_id: str) -> None:
        """The links of a subject open nothing any more."""

    async def extend_links(self, uow: UnitOfWork, kind: str, subject_id: str, expires_at: dt.datetime) -> None:
        """The links of a subject hold as long as that."""


class Validation(Protocol):
    """Validation data of our own certificates."""

    async def evidence(self, certificates: list[bytes]) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """(certificates, OCSP responses, CRLs) for B-LT, all DER."""


class Pictures(Protocol):
    """Hand signatures of officials and seals of agencies: ``signer.copies.pictures``."""

    async def of(self, role: str, agency: Agency, person: Person) -> Appearance | None:
        """``role``: ``certifier`` or ``seal``."""


Remote = Callable[[str, str], Awaitable[Credential]]
"""``(person_id, provider)``: the credential of the person's key at a provider. Raises ``provider.*``."""


async def no_remote(_person_id: str, provider: str) -> Credential:
    """Where no provider is known."""
    raise NotFound("provider.unknown", provider=provider)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Shared by opening, answering, changing and settling."""

    signing: SigningDesk
    directory: Directory
    sandbox: Sandbox
    papers: Papers
    links: Links
    validation: Validation
    pictures: Pictures
    anchors: tuple[TrustAnchor, ...]
    """Our own roots; of providers and external time-stamping authorities too."""
    remote: Remote = no_remote

    @property
    def clock(self) -> Clock:
        """The clock of the ceremony."""
        return self.signing.clock


async def record(
    uow: UnitOfWork, parts: Parts, request: SignatureRequest, version: int, kind: LeafType, said: dict[str, Any]
) -> None:
    """Write down a change with the leaf that commits to it. ``said``: ids, digests, times; words of people as they are."""
    now = parts.clock.now()
    await uow.execute(
        change_table.insert(),
        {"request_id": request.id, "version": version, "type": kind.value, "at": now, "said": said},
    )
    leaf = Leaf(
        type=kind, time=now, tenant_id=request.realm.value, event_id=event_id(request.id, version, kind),
        doc_commit=commit(request.salt, Digest.of(said_of(request.id, version, said)).value), digest_alg="sha256",
    )  # fmt: skip
    await parts.signing.log.append(uow, leaf)


def event_id(request_id: str, version: int, kind: LeafType) -> str:
    """Of a change's leaf."""
    return f"{request_id}.{kind.value}.{version}"


async def tell(
    uow: UnitOfWork, parts: Parts, view: RequestView, version: int, type_: EventType, step: str | None = None
) -> None:
    """Portals hear of it if the transaction commits; last in it (``audit/outbox.py``)."""
    await Outbox(parts.clock).append(
        uow, type_, realm=view.realm, agency_id=view.agency_id, subject=view.id, occasion=version, step=step
    )
