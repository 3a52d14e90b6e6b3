"""What the register says about a code: one prepared read, asked anew each time, so a recall holds at once.

Only released copies are found. A draft's, a voided, a guessed and a malformed code take the same way and get the same
answer: nobody learns which of them it was. What is told stands on the paper already; no name, no file.
"""

import datetime as dt
import hmac
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

from core.db import Database
from core.directory.records import agency_table
from core.errors import BadInput
from core.formats import cose, qr_seal, typed_code
from core.formats.qr_seal import SealClaims
from core.values import Digest, Realm
from signer.copies.register import entry_table
from signer.copies.wording import Wording
from signer.records import copy_table

__all__ = ["Found", "Recalled", "by_code", "by_id", "opens"]

_NOBODY: Final = bytes(10)
"""Asked for in the place of a code that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Since when a copy does not hold, why, and the number of the one in its place."""

    at: dt.datetime
    reason: str
    successor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A released copy, as its paper says it."""

    claims: SealClaims
    """Of the seal on the paper."""
    realm: Realm
    agency: str
    agency_code: str
    agency_successor: str | None
    number: str
    book: str
    kind: str
    original: str
    """Number of the original as far as the seal tells it, with an ellipsis where it was cut."""
    recalled: Recalled | None
    content: str
    """Name of the certified scan in the store; not for everybody."""
    access_sha256: bytes | None


def _statement() -> sa.Select[Any]:
    copy, entry, agency = copy_table.c, entry_table.c, agency_table.c
    after = agency_table.alias("after")
    heir, heir_entry, heir_agency = copy_table.alias("heir"), entry_table.alias("he"), agency_table.alias("ha")
    return (
        sa.select(
            copy.qr, copy.realm, copy.facts, copy.content, copy.access_sha256, copy.recalled_at, copy.recall_from,
            copy.recall_reason, entry.kind.label("book_kind"), agency.code, agency.name, agency.wording,
            after.c.name.label("after_name"), heir_entry.c.number.label("heir_number"),
            heir_agency.c.wording.label("heir_wording"),
        )
        .join(entry_table, entry.id == copy.entry_id)
        .join(agency_table, agency.id == copy.agency_id)
        .outerjoin(after, after.c.id == agency.successor_id)
        .outerjoin(heir, heir.c.id == copy.successor)
        .outerjoin(heir_entry, heir_entry.c.id == heir.c.entry_id)
        .outerjoin(heir_agency, heir_agency.c.id == heir.c.agency_id)
        .where(copy.seal_id == sa.bindparam("seal_id"), copy.state == "released")
    )  # fmt: skip


_FIND: Final = _statement()


async def by_code(db: Database, typed: object) -> Found | None:
    """By what a person typed, whatever it is."""
    try:
        seal_id = typed_code.read(typed) if isinstance(typed, str) else _NOBODY
    except BadInput:
        seal_id = _NOBODY
    return await by_id(db, seal_id)


async def by_id(db: Database, seal_id: bytes) -> Found | None:
    """By the ten bytes in a seal."""
    row = await db.prepared(_FIND).first(seal_id=seal_id)
    if row is None:
        return None
    claims, wording = _printed(row.qr), Wording.of(row.wording)
    return Found(
        claims=claims, realm=Realm(row.realm), agency=row.name, agency_code=row.code, agency_successor=row.after_name,
        number=wording.number_text(claims.number), book=wording.book_text(claims.volume, claims.year, row.book_kind),
        kind=str(row.facts["kind"]), original=_original(claims, str(row.facts["original_number"])),
        recalled=_recalled(row), content=row.content, access_sha256=row.access_sha256,
    )  # fmt: skip


def opens(found: Found, access: str) -> bool:
    """Whether ``access`` is the second code on the paper, which opens its pictures."""
    try:
        given = Digest.of(typed_code.read(access)).value
    except BadInput:
        given = b""
    return hmac.compare_digest(found.access_sha256 or b"-", given)


@lru_cache(4096)
def _printed(url: str) -> SealClaims:
    """What our own seal says, unverified: it comes from our register, and a paper's seal never changes."""
    host = url.removeprefix("https://").partition("/")[0]
    return qr_seal.decode(cose.parse(qr_seal.parse_url(url, host)).payload)


def _original(claims: SealClaims, whole: str) -> str:
    """Never more than the seal has: it may be a person's own number."""
    told = claims.original_number or ""
    return f"{told}…" if len(told) < len(whole.strip()) else told


def _recalled(row: Any) -> Recalled | None:
    if row.recalled_at is None:
        return None
    heir = None if row.heir_number is None else Wording.of(row.heir_wording).number_text(row.heir_number)
    return Recalled(at=row.recall_from or row.recalled_at, reason=row.recall_reason or "", successor=heir)
