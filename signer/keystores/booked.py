"""The use book as the comparison reads it, and the two findings that it leads to."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from audit.keyuse.model import Finding, KeyVersion, Severity
from core.db import Database
from signer.keystores.model import KeyPurpose
from signer.keystores.records import import_table, key_table
from signer.keystores.uses import use_life_table, use_table

__all__ = ["NEAR", "Book", "without_result", "without_use"]

NEAR: Final = dt.timedelta(minutes=10)
"""Between the use of a key and the record of what it made; and between a key's beginning and its proofs."""
_PIECE: Final = 500

_u = use_table.c
_PAGE = (
    sa.select(use_table)
    .where(
        _u.purpose == sa.bindparam("purpose"), _u.at <= sa.bindparam("until"), _u.at >= sa.bindparam("at"),
        sa.or_(_u.at > sa.bindparam("at"), _u.id > sa.bindparam("last")),
    )
    .order_by(_u.at, _u.id)
    .limit(_PIECE)
)  # fmt: skip


class Book:
    """Reads in pieces: a first look may go over years."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def began(self) -> dt.datetime | None:
        """When the first process kept one; None where none ever did."""
        async with self._db.read() as uow:
            found: dt.datetime | None = (
                await uow.execute(sa.select(sa.func.min(use_life_table.c.began_at)))
            ).scalar_one()
        return found

    async def holds(self, values: Sequence[bytes], after: dt.datetime, until: dt.datetime) -> set[bytes]:
        """Which of these inputs were noted about then."""
        found: set[bytes] = set()
        async with self._db.read() as uow:
            for start in range(0, len(values), _PIECE):
                query = sa.select(_u.input).where(
                    _u.input.in_(values[start : start + _PIECE]), _u.at >= after - NEAR, _u.at <= until + NEAR
                )
                found.update(bytes(each) for each in (await uow.execute(query)).scalars())
        return found

    async def pages(self, purpose: KeyPurpose, after: dt.datetime, until: dt.datetime) -> AsyncIterator[list[Any]]:
        """Uses for a purpose, in the order of time: ``after`` < ``at`` ≤ ``until``."""
        at, last = after, "~"  # no id is greater
        while True:
            given = {"purpose": purpose.value, "at": at, "last": last, "until": until}
            async with self._db.read() as uow:
                rows = list((await uow.execute(_PAGE, given)).all())
            if rows:
                at, last = rows[-1].at, rows[-1].id
                yield rows
            if len(rows) < _PIECE:
                return

    async def unproven(self, uses: Sequence[Any]) -> list[Any]:
        """Those that belong to no making, import or move of their key, within minutes of its first use."""
        if not uses:
            return []
        events = {use.event for use in uses}
        async with self._db.read() as uow:
            t = import_table.c
            imports = set((await uow.execute(sa.select(t.id).where(t.id.in_(events)))).scalars())
            may = {use.name for use in uses if use.event == "enrolment" or use.event in imports}
            first = {
                name: (await uow.execute(sa.select(sa.func.min(_u.at)).where(_u.name == name))).scalar_one()
                for name in may
            }
        return [
            use for use in uses
            if (use.event != "enrolment" and use.event not in imports) or use.at - first[use.name] > NEAR
        ]  # fmt: skip

    async def keys(self, purpose: KeyPurpose) -> dict[KeyVersion, bytes]:
        """SubjectPublicKeyInfo of every key there ever was, also in places that it has left."""
        t = key_table.c
        query = sa.select(t.place, t.name, t.version, t.spki).where(t.purpose == purpose.value)
        async with self._db.read() as uow:
            return {KeyVersion(r.place, r.name, r.version): bytes(r.spki) for r in await uow.execute(query)}


def without_use(what: str, at: dt.datetime) -> Finding:
    """Something of ours that no key of ours made."""
    return Finding(
        code="keyuse.made_without_use", severity=Severity.CRITICAL, key=None, what=what, first_at=at, last_at=at
    )


def without_result(use: Any) -> Finding:
    """A use of a key, and nothing of ours that it made."""
    key = KeyVersion(use.place, use.name, use.version)
    return Finding(
        code="keyuse.no_counterpart", severity=Severity.CRITICAL, key=key, what=use.id, first_at=use.at, last_at=use.at
    )
