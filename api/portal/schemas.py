"""Shapes at the portal's door. Nothing of them goes inwards; strict, no unknown members, sizes capped."""

import datetime as dt
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from core.limits import LIMITS
from core.values import Regime

__all__ = [
    "BatchIn", "BatchOut", "CopyIn", "CopyOut", "EntryOut", "ItemIn", "Page", "Problem", "RecallIn", "RecallOut", "VoidIn",
]  # fmt: skip

# letters a page can print; control characters and the like are refused at the door
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=300, pattern=r"^[^\u0000-\u001f\u007f]*$")]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-z]{26}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScanIn(_In):
    """Who digitised the original, on which machine, when."""

    officer: Id
    device: Annotated[Text, Field(min_length=1)]
    scanned_at: AwareDatetime


class ItemIn(_In):
    """One paper."""

    kind: Annotated[Text, Field(min_length=1, examples=["Giấy khai sinh"])]
    files: Annotated[list[FileName], Field(min_length=1, max_length=LIMITS["web.files_per_copy"])]
    original_number: Text = ""
    requester: Text = ""
    pages: Annotated[int | None, Field(ge=1, le=LIMITS["intake.pages"])] = None
    copies: Annotated[int, Field(ge=1, le=LIMITS["copies.per_number"])] = 1
    fee: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    checklist: Annotated[list[Text], Field(max_length=30)] = []
    notes: Text = ""
    dossier: Annotated[Text, Field(max_length=60, examples=["H55.242-261125-0001"])] = ""
    scan: ScanIn | None = None


class CopyIn(ItemIn):
    """A certified copy to be made. ``certifier`` and ``clerk``: ids of persons; the first authorised ones if not said."""

    agency: Annotated[Text, Field(min_length=1, examples=["H99.1"])]
    regime: Regime = Regime.CERTIFIED_COPY
    certifier: Id | None = None
    clerk: Id | None = None


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
    since: AwareDatetime | None = None
    successor: Id | None = None


class Problem(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    code: str
    instance: str


class RecallOut(BaseModel):
    """A copy that was taken back."""

    at: dt.datetime
    since: dt.datetime
    reason: str
    by: str | None
    successor: str | None


class CopyOut(BaseModel):
    """A copy as the portal sees it. ``state``: received, refused, numbered, awaiting_certifier, certified, awaiting_seal, sealed, released, voided."""

    id: str
    state: str
    realm: str
    agency: str
    regime: str
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
    problem: dict[str, Any] | None = None
    links: dict[str, str] = {}


class EntryOut(BaseModel):
    """One line of the register."""

    id: str
    number: int
    year: int
    book: str
    kind: str
    state: str
    reserved_at: dt.datetime
    settled_at: dt.datetime | None
    reason: str | None
    columns: dict[str, Any]
    copy_id: str | None


class BatchOut(BaseModel):
    """A batch with how many items stand where."""

    id: str
    agency: str
    regime: str
    realm: str
    total: int
    counts: dict[str, int]
    finished: bool
    created_at: dt.datetime
    links: dict[str, str]


class Page(BaseModel):
    """One page of a list; ``next`` is the cursor of the page after, if there is one."""

    items: list[Any]
    next: str | None
    complete: bool = True
    """False where a search stopped before the oldest lines."""
