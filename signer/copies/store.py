"""Rows of certified copies: read, move by compare-and-swap."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from core.db import UnitOfWork, row_by, swap_state
from core.errors import Conflict, NotFound
from core.formats.status_list import Status
from core.values import Realm, Regime
from signer.activation.records import activation_table
from signer.copies.model import CertifiedCopy
from signer.records import UNFINISHED, copy_table, order_table

__all__ = [
    "all_copies",
    "by_column",
    "get",
    "interrupted",
    "last_change",
    "move",
    "recall",
    "recalled_since",
    "sealed_years",
    "statuses",
    "unfinished",
]


def _from(row: sa.Row[Any]) -> CertifiedCopy:
    values = dict(row._mapping)  # noqa: SLF001
    return CertifiedCopy(**{**values, "realm": Realm(row.realm), "regime": Regime(row.regime)})


async def get(uow: UnitOfWork, copy_id: str) -> CertifiedCopy:
    """By id. Raises ``copy.no_such_copy``."""
    found = await find(uow, copy_id)
    if found is None:
        raise NotFound("copy.no_such_copy", copy=copy_id)
    return found


async def find(uow: UnitOfWork, copy_id: str) -> CertifiedCopy | None:
    """By id."""
    row = (await uow.execute(row_by(copy_table.c.id), {"value": copy_id})).first()
    return None if row is None else _from(row)


async def by_column(uow: UnitOfWork, column: str, value: Any) -> CertifiedCopy | None:
    """By a unique column (``seal_id``), or the newest by ``released``/``content``."""
    t = copy_table.c
    query = sa.select(copy_table).where(t[column] == value).order_by(t.id.desc()).limit(1)
    row = (await uow.execute(query)).first()
    return None if row is None else _from(row)


async def all_copies(uow: UnitOfWork, agency_id: str | None = None, limit: int = 200) -> list[CertifiedCopy]:
    """The newest first."""
    query = sa.select(copy_table).order_by(copy_table.c.id.desc()).limit(limit)
    if agency_id:
        query = query.where(copy_table.c.agency_id == agency_id)
    return [_from(row) for row in await uow.execute(query)]


async def unfinished(uow: UnitOfWork) -> list[str]:
    """Ids of copies that are neither voided nor released with their receipt, oldest first."""
    t = copy_table.c
    open_state = sa.and_(t.state != "voided", sa.or_(t.state != "released", t.receipt.is_(None)))
    return list((await uow.execute(sa.select(t.id).where(open_state).order_by(t.id))).scalars())


async def by_orders(uow: UnitOfWork, order_ids: Sequence[str]) -> list[CertifiedCopy]:
    """The copies that these signing orders belong to."""
    t = copy_table.c
    query = sa.select(copy_table).where(sa.or_(t.certifier_order.in_(order_ids), t.seal_order.in_(order_ids)))
    return [_from(row) for row in await uow.execute(query)]


async def interrupted(uow: UnitOfWork, now: dt.datetime) -> list[str]:
    """Unfinished copies that wait for no person: somebody was at work on them, or should be.

    An approval that ran out before it was spent is none: its person is asked again.
    """
    t, o, a = copy_table.c, order_table.c, activation_table.c
    answered = sa.exists().where(a.tx == o.activation_tx, a.state == "approved", a.expires_at > now)
    due = sa.exists().where(
        o.id.in_([t.certifier_order, t.seal_order]),
        sa.or_(o.state == "intended", sa.and_(o.state == "prepared", answered)),
    )
    waits = t.state.in_(["awaiting_certifier", "awaiting_seal"])
    # the words of the index ix_certified_copy_unfinished, so that it is used
    query = sa.select(t.id).where(sa.text(UNFINISHED), sa.or_(~waits, due)).order_by(t.id)
    return list((await uow.execute(query)).scalars())


async def recall(uow: UnitOfWork, copy: CertifiedCopy, at: dt.datetime, **decision: Any) -> CertifiedCopy:
    """Once only. Raises ``copy.already_recalled``."""
    t = copy_table.c
    values = {"recalled_at": at, **decision}
    done = await uow.execute(
        copy_table.update().where(t.id == copy.id, t.state == "released", t.recalled_at.is_(None)).values(values)
    )
    if done.rowcount != 1:
        raise Conflict("copy.already_recalled", copy=copy.id)
    return replace(copy, **values)


async def recalled_since(uow: UnitOfWork, agency_id: str, since: dt.datetime) -> int:
    """How many of an agency's copies were taken back after ``since``."""
    t = copy_table.c
    query = sa.select(sa.func.count()).where(t.agency_id == agency_id, t.recalled_at > since)
    return int((await uow.execute(query)).scalar_one())


async def sealed_years(uow: UnitOfWork) -> list[tuple[str, int]]:
    """(agency, year) of every seal ever prepared."""
    t = copy_table.c
    query = sa.select(t.agency_id, t.status_year).distinct().order_by(t.agency_id, t.status_year)
    return [(row.agency_id, row.status_year) for row in await uow.execute(query)]


async def last_change(uow: UnitOfWork, agency_id: str, year: int) -> dt.datetime | None:
    """When a status of that list last changed: a release, a void or a recall."""
    t = copy_table.c
    query = sa.select(sa.func.max(t.settled_at), sa.func.max(t.recalled_at)).where(
        t.agency_id == agency_id, t.status_year == year
    )
    return max((at for at in (await uow.execute(query)).one() if at is not None), default=None)


async def statuses(uow: UnitOfWork, agency_id: str, year: int) -> dict[int, Status]:
    """Index → status; a seal exists before anybody approved its copy, so only release makes it valid."""
    t = copy_table.c
    query = sa.select(t.status_index, t.state, t.recalled_at, t.successor).where(
        t.agency_id == agency_id, t.status_year == year
    )
    found = {}
    for row in await uow.execute(query):
        if row.recalled_at is not None:
            found[row.status_index] = Status.RECALLED if row.successor is None else Status.SUPERSEDED
        else:
            found[row.status_index] = Status.VALID if row.state == "released" else Status.NOT_ISSUED
    return found


async def move(uow: UnitOfWork, copy: CertifiedCopy, new: str, **values: Any) -> CertifiedCopy:
    """``copy.state → new``; exactly one mover wins. Returns the copy as it then stands. Raises ``copy.not_in_state``."""
    if not await swap_state(uow, copy_table.c.id, copy.id, copy.state, new, **values):
        raise Conflict("copy.not_in_state", copy=copy.id, state=copy.state)
    return replace(copy, state=new, **values)
