"""What a signature request is made of: documents, steps, and how far each is. Frozen."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.values import Digest, DigestAlgorithm, Realm
from signer.activation.record import ActivationRecord
from signer.papers.model import Placement

__all__ = [
    "LIVE",
    "NewDocument",
    "NewRequest",
    "NewStep",
    "OpenedStep",
    "RequestDocument",
    "RequestStep",
    "RequestView",
    "SignatureRequest",
    "StepView",
]

LIVE = frozenset({"waiting", "ready", "open"})
"""States of a step that nobody has approved and nothing has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """One thing to be signed: a stored PDF, or a bare digest that stands for something nobody here has seen."""

    title: str
    kind: str = "pdf"
    """``pdf`` or ``digest``."""
    name: str | None = None
    """Of the stored PDF."""
    digest: bytes | None = None
    algorithm: DigestAlgorithm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStep:
    """One signature that is wanted."""

    position: int
    """Steps of one position sign in any order; a higher one waits for all lower ones."""
    kind: str
    """``citizen`` (own key), ``official`` (own key, and a running authorisation at the agency) or ``seal`` (the agency's
    key, used by its clerk, over an official's signature of the same request)."""
    person_id: str
    placement: Placement | None = None
    provider: str | None = None
    """Whose key signs; None for a key of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """What a portal asks for. ``id`` is the caller's: asking again under the same one makes nothing new."""

    id: str
    client_id: str
    client_name: str = ""
    """As the signer reads it on the phone, and as the approved record holds it."""
    agency_id: str
    title: str
    reason: str = ""
    return_url: str | None = None
    deadline: dt.datetime
    documents: tuple[NewDocument, ...]
    steps: tuple[NewStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureRequest:
    """One row. ``open → completed | refused | cancelled | expired | failed``."""

    id: str
    realm: Realm
    agency_id: str
    client_id: str
    client_name: str
    title: str
    reason: str
    return_url: str | None
    deadline: dt.datetime
    state: str
    version: int
    """Grows with every change of the request or one of its steps."""
    why: str | None
    """The words of who refused or cancelled."""
    problem: str | None
    """Code of what went wrong, where it failed."""
    salt: bytes
    created_at: dt.datetime
    settled_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDocument:
    """One document and its newest revision."""

    id: str
    request_id: str
    position: int
    title: str
    kind: str
    original: str | None
    """Name (SHA-256) of the PDF as it was given; None for a digest."""
    digest: bytes | None
    algorithm: str | None
    pages: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the sandbox saw in it when it was given."""
    current: str | None
    """Name of the newest revision; of the last signature where there is only a digest."""
    released: str | None
    """Name of the finished file; set when the request is completed."""

    def given(self) -> Digest:
        """Of a bare digest document: what is to be signed. Raises ``ValueError``."""
        if self.digest is None or self.algorithm is None:
            raise ValueError("not a bare digest")
        return Digest(DigestAlgorithm(self.algorithm), self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStep:
    """One signature: ``waiting → ready → open → approved → signed``, or ``refused | replaced | cancelled | expired``.

    An open step goes back to ``ready`` when its lease has ended, an approved one when its approval can no longer be used.
    """

    id: str
    request_id: str
    position: int
    place: int
    """Of all steps ever asked for, in their order; a replacement stands at the place of the one before."""
    kind: str
    person_id: str
    provider: str | None
    placement: Mapping[str, Any] | None
    state: str
    lease: str | None
    """Names one opening; another opening has another."""
    leased_until: dt.datetime | None
    turned_away_at: dt.datetime | None
    """Somebody else wanted to open while this lease ran."""
    rests_until: dt.datetime | None
    """Until then others go first: the person let a lease run out that others waited for."""
    activation_tx: str | None
    code: str | None
    """Six digits of the opened record, shown in the portal and on the phone."""
    orders: tuple[str, ...]
    """Signing orders of the opening in force, one a document."""
    opened_at: dt.datetime | None
    approved_at: dt.datetime | None
    signed_at: dt.datetime | None
    reminded_at: dt.datetime | None
    why: str | None
    problem: str | None
    """Code of what brought an approved step back to ``ready``."""
    replaced_by: str | None

    @property
    def role(self) -> str:
        """The purpose of its approval and its orders."""
        return "seal" if self.kind == "seal" else "signer"

    def leased(self, now: dt.datetime) -> bool:
        """Somebody is looking at it, or it is being signed: the revision it stands on must stay the newest."""
        held = self.leased_until is not None and now < self.leased_until
        return self.state == "approved" or (self.state in {"ready", "open"} and held)


StepView = RequestStep
"""A step as it is shown is the step as it is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView(SignatureRequest):
    """A request whole, as it stood in one transaction."""

    documents: tuple[RequestDocument, ...]
    steps: tuple[RequestStep, ...]

    def step(self, step_id: str) -> RequestStep:
        """One of its steps. Raises ``KeyError``."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    @property
    def wanted(self) -> tuple[RequestStep, ...]:
        """The steps that count: without replaced ones."""
        return tuple(step for step in self.steps if step.state != "replaced")

    @property
    def all_signed(self) -> bool:
        """Nothing is wanted from a person any more."""
        return all(step.state == "signed" for step in self.wanted)

    @property
    def in_turn(self) -> int | None:
        """The lowest position with an unsigned step; None when all are signed."""
        return min((step.position for step in self.wanted if step.state != "signed"), default=None)

    @property
    def exclusive(self) -> bool:
        """One PDF has one newest revision: one person at a time."""
        return any(document.kind == "pdf" for document in self.documents)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedStep:
    """What a person is asked to approve. A provider's step asks nothing here: ``tx`` is None with all that hangs on it."""

    request: RequestView
    step: RequestStep
    tx: str | None
    challenge: bytes | None
    code: str | None
    expires: dt.datetime | None
    """Until then this revision is kept for this person."""
    record: ActivationRecord | None
    documents: tuple[RequestDocument, ...]
