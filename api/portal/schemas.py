"""Shapes at the portal's door. Nothing of them goes inwards; strict, no unknown members, sizes capped."""

import datetime as dt
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from core.directory.model import Role
from core.limits import LIMITS
from core.values import Realm, Regime

__all__ = [
    "AgencyCode", "AgencyOut", "BatchIn", "BatchItemOut", "BatchOut", "BookOut", "CopyForm", "CopyIn", "CopyOut", "CopyState",
    "Cursor", "EntryOut", "EntryState", "FileOut", "Found", "Id", "ItemIn", "Moment", "Page", "PersonOut", "Place", "RecallIn",
    "RecallOut", "VoidIn", "Words",
]  # fmt: skip

# letters a page can print; control characters and the like are refused at the door
Moment = Annotated[
    AwareDatetime,
    Field(ge=dt.datetime(2, 1, 1, tzinfo=dt.UTC), lt=dt.datetime(9999, 1, 1, tzinfo=dt.UTC)),
]
"""With a zone, and a year that every zone can write."""
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=300, pattern=r"^[^\u0000-\u001f\u007f]*$")]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-z]{26}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Cursor = Annotated[Id, Field(description="`next` of the page before.")]
Words = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\u0000-\u001f\u007f]*$")]
AgencyCode = Annotated[Words, Field(description="Code or id of one of the caller's agencies.", examples=["H99.1"])]
CopyState = Literal[
    "received", "refused", "numbered", "awaiting_certifier", "certified", "awaiting_seal", "sealed", "released", "voided",
]  # fmt: skip
EntryState = Literal["reserved", "issued", "voided"]
Place = Literal["waiting", "at_work", "awaiting_certifier", "awaiting_seal", "released", "voided", "refused"]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScanIn(_In):
    """Who digitised the original, on which machine, when."""

    officer: Id
    device: Annotated[Text, Field(min_length=1)]
    scanned_at: Moment


class PaperIn(_In):
    """What a paper is, without its files."""

    kind: Annotated[Text, Field(min_length=1, examples=["Giấy khai sinh"])]
    original_number: Text = ""
    requester: Text = ""
    pages: Annotated[int | None, Field(ge=1, le=LIMITS["intake.pages"])] = None
    copies: Annotated[int, Field(ge=1, le=LIMITS["copies.per_number"])] = 1
    fee: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    checklist: Annotated[list[Text], Field(max_length=30)] = []
    notes: Text = ""
    dossier: Annotated[Text, Field(max_length=60, examples=["H55.242-261125-0001"])] = ""
    scan: ScanIn | None = None


class ItemIn(PaperIn):
    """One paper; ``files`` are names that sending them gave."""

    files: Annotated[list[FileName], Field(min_length=1, max_length=LIMITS["web.files_per_copy"])]


class CopyForm(PaperIn):
    """A copy whose files come in the same form. ``certifier``, ``clerk``: ids of persons; else the first authorised."""

    agency: Annotated[Text, Field(min_length=1, examples=["H99.1"])]
    regime: Regime = Regime.CERTIFIED_COPY
    certifier: Id | None = None
    clerk: Id | None = None


class CopyIn(CopyForm, ItemIn):
    """A copy to be made of files sent before."""


class BatchIn(_In):
    """Many papers of one agency and regime."""

    agency: Annotated[Text, Field(min_length=1)]
    regime: Regime
    certifier: Id | None = None
    clerk: Id | None = None
    items: Annotated[list[ItemIn], Field(min_length=1, max_length=LIMITS["batch.items"])]


class VoidIn(_In):
    """Why a number is given up."""

    reason: Annotated[Text, Field(min_length=1)]


class RecallIn(_In):
    """Why, by whom, from when, and what takes its place."""

    reason: Annotated[Text, Field(min_length=1)]
    by: Id
    since: Moment | None = None
    successor: Id | None = None


class RecallOut(BaseModel):
    """A copy that was taken back."""

    at: dt.datetime
    since: dt.datetime
    reason: str
    by: str | None
    successor: str | None


class RefusalOut(BaseModel):
    """What was wrong with a paper."""

    code: str
    title: str
    title_en: str


class CopyOut(BaseModel):
    """A copy as the portal sees it."""

    id: str
    handle: str = Field(
        description="For whoever asks after the request without being the portal: opens its state alone."
    )
    state: CopyState
    realm: Realm
    agency: str
    regime: Regime
    kind: str
    dossier: str
    batch: str | None
    pages: int | None = None
    number: str | None = None
    code: str | None = None
    qr: str | None = None
    sha256: str | None = None
    created_at: dt.datetime
    settled_at: dt.datetime | None = None
    reason: str | None = None
    warnings: list[str] = []
    recall: RecallOut | None = None
    problem: RefusalOut | None = None
    links: dict[str, str] = {}


class EntryOut(BaseModel):
    """One line of the register."""

    id: str
    number: int
    year: int
    book: str
    kind: str
    state: EntryState
    reserved_at: dt.datetime
    settled_at: dt.datetime | None
    reason: str | None
    columns: dict[str, Any]
    copy_id: str | None


class BatchOut(BaseModel):
    """A batch with how many items stand where."""

    id: str
    agency: str
    regime: Regime
    realm: Realm
    total: int
    counts: dict[Place, int]
    finished: bool
    created_at: dt.datetime
    links: dict[str, str]


class BatchItemOut(BaseModel):
    """One paper of a batch, in its order."""

    position: int
    place: Place
    copy_: CopyOut = Field(alias="copy")


class FileOut(BaseModel):
    """A file that was sent: its name is its SHA-256."""

    file: str
    bytes: int


class AgencyOut(BaseModel):
    """An agency of the caller's; an ended one names the code of its successor."""

    id: str
    code: str
    name: str
    parent: str
    realm: Realm
    valid_from: dt.datetime
    valid_to: dt.datetime | None
    successor: str | None


class RoleOut(BaseModel):
    """A role, with the number of the instrument that gives it."""

    role: Role
    capacity: str
    number: str
    valid_from: dt.datetime
    valid_to: dt.datetime | None
    regimes: list[Regime]


class PersonOut(BaseModel):
    """An official or clerk."""

    id: str
    name: str
    roles: list[RoleOut]


class BookOut(BaseModel):
    """A book; ``totals`` once it is closed."""

    id: str
    name: str
    kind: str
    year: int
    volume: int
    opened_at: dt.datetime
    closed_at: dt.datetime | None
    totals: dict[str, Any] | None


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page of a list; ``next`` is the cursor of the page after, if there is one."""

    items: list[Item]
    next: str | None


class Found(Page[Item], Generic[Item]):
    """One page of what a search found."""

    complete: bool
    """False where the search stopped before the oldest lines."""
