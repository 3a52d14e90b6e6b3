"""Uses of QR keys against the seals that stand on copies, both ways.

A use that no copy carries may be an attempt: the process was stopped, or the page could not be read back, and the copy was
composed again. Such a use must be a seal of exactly this copy, made anew from its row and its line in the book.
"""

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final

import httpx2
import sqlalchemy as sa

from audit.keyuse.model import Finding, KeyVersion
from core.clock import Clock
from core.db import Database, UnitOfWork
from core.formats import cose, qr_seal
from core.ids import first_id
from core.limits import LIMITS
from core.values import Digest
from signer.copies import store
from signer.copies.claims import claims_of
from signer.copies.publication import publication_table
from signer.copies.register import Register
from signer.keystores.booked import NEAR, Book, without_result, without_use
from signer.keystores.model import KeyPurpose
from signer.records import copy_table

__all__ = ["MadeSeals"]

_PIECE: Final = 500
_c = copy_table.c
_PAGE = (
    sa.select(_c.id, _c.qr, _c.printed_at)
    .where(
        _c.id > sa.bindparam("last"), _c.qr.is_not(None),
        _c.printed_at > sa.bindparam("after"), _c.printed_at <= sa.bindparam("until"),
    )
    .order_by(_c.id)
    .limit(_PIECE)
)  # fmt: skip
"""By id: a copy is composed some time after it is numbered, and nothing finds copies by that time."""


class MadeSeals:
    """Compares inside a span of time."""

    def __init__(self, db: Database, clock: Clock, book: Book) -> None:
        self._db, self._book, self._register = db, book, Register(clock)

    async def compare(self, after: dt.datetime, made_after: dt.datetime, until: dt.datetime) -> list[Finding]:
        """``made_after``: before it there was no book."""
        return [*await self._uses(after, until), *await self._seals(made_after, until)]

    async def stored(self, value: bytes, at: dt.datetime) -> bool:
        """Whether a copy that was printed about then carries the seal over this digest."""
        return any([value == _sealed(row.qr) async for rows in self._pages(at - NEAR, at + NEAR) for row in rows])

    async def _uses(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        """Status lists are signed with these keys too: they are looked at among the lists."""
        strange = []
        kids = {key: Digest.of(spki).value[:4] for key, spki in (await self._book.keys(KeyPurpose.QR)).items()}
        async with self._db.read() as uow:
            lists = set((await uow.execute(sa.select(publication_table.c.name))).scalars())
        async for page in self._book.pages(KeyPurpose.QR, after, until):
            async with self._db.read() as uow:
                strange += [
                    use for use in page if use.event not in lists and not await self._is_seal(uow, use, kids)
                ]  # fmt: skip
        return [without_result(use) for use in await self._book.unproven(strange)]

    async def _is_seal(self, uow: UnitOfWork, use: Any, kids: dict[KeyVersion, bytes]) -> bool:
        copy, kid = await store.find(uow, use.event), kids.get(KeyVersion(use.place, use.name, use.version))
        if copy is None or kid is None:
            return False
        given = bytes(use.input)
        if copy.qr is not None and _sealed(copy.qr) == given:
            return True
        entry = await self._register.entry(uow, copy.entry_id)
        volume = (await self._register.book(uow, entry.book_id)).volume
        protected = cose.protected_header(kid)
        claims = claims_of(copy, entry, volume, use.at)
        return any(
            _signed(protected, replace(claims, issued_at=claims.issued_at - dt.timedelta(seconds=earlier))) == given
            for earlier in range(LIMITS["keyuse.horizon_seconds"] + 1)
        )

    async def _seals(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        found: list[Finding] = []
        async for rows in self._pages(after, until):
            sealed = {_sealed(row.qr): row for row in rows}
            times = [row.printed_at for row in rows]
            held = await self._book.holds(list(sealed), min(times), max(times))
            found += [
                without_use(f"seal {row.id}", row.printed_at) for value, row in sealed.items() if value not in held
            ]
        return found

    async def _pages(self, after: dt.datetime, until: dt.datetime) -> AsyncIterator[Sequence[Any]]:
        last = first_id(after - dt.timedelta(days=LIMITS["keyuse.order_days"]))
        while True:
            async with self._db.read() as uow:
                rows = (await uow.execute(_PAGE, {"last": last, "after": after, "until": until})).all()
            if rows:
                last = rows[-1].id
                yield rows
            if len(rows) < _PIECE:
                return


def _sealed(url: str) -> bytes:
    """What the key was given for the seal in this address. Raises ``qr.*``."""
    return hashlib.sha256(cose.parse(qr_seal.parse_url(url, httpx2.URL(url).host)).signed).digest()


def _signed(protected: bytes, claims: qr_seal.SealClaims) -> bytes:
    return hashlib.sha256(cose.to_be_signed(protected, qr_seal.encode(claims))).digest()
