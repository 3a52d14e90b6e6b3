"""Rows of signature requests: read, locked, moved. Works inside the caller's transaction.

Lock order: a change takes the request's row first (``locked``), then whatever else; the event outbox is last.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from core.db import UnitOfWork, row_by, swap_state
from core.errors import Conflict, NotFound
from core.values import Realm
from signer.requests.model import LIVE, RequestDocument, RequestStep, RequestView, SignatureRequest
from signer.requests.records import document_table, request_table, step_table

__all__ = [
    "due",
    "find",
    "get",
    "interrupted",
    "lapsed",
    "locked",
    "move_step",
    "of_step",
    "set_step",
    "settle_request",
    "step_of_order",
    "touch",
]


def _request(row: sa.Row[Any]) -> dict[str, Any]:
    values = {each.name: getattr(row, each.name) for each in fields(SignatureRequest)}
    return {**values, "realm": Realm(row.realm)}


def _document(row: sa.Row[Any]) -> RequestDocument:
    return RequestDocument(**dict(row._mapping))  # noqa: SLF001 - SQLAlchemy's public spelling


def _step(row: sa.Row[Any]) -> RequestStep:
    return RequestStep(**{**dict(row._mapping), "orders": tuple(row.orders)})  # noqa: SLF001


async def find(uow: UnitOfWork, request_id: str) -> RequestView | None:
    """A request with its documents and steps, in their order."""
    row = (await uow.execute(row_by(request_table.c.id), {"value": request_id})).first()
    return None if row is None else await _whole(uow, row)


async def _whole(uow: UnitOfWork, row: sa.Row[Any]) -> RequestView:
    d, s = document_table.c, step_table.c
    documents = await uow.execute(sa.select(document_table).where(d.request_id == row.id).order_by(d.position))
    steps = await uow.execute(sa.select(step_table).where(s.request_id == row.id).order_by(s.position, s.place, s.id))
    return RequestView(**_request(row), documents=tuple(map(_document, documents)), steps=tuple(map(_step, steps)))


async def get(uow: UnitOfWork, request_id: str) -> RequestView:
    """By id. Raises ``request.no_such_request``."""
    found = await find(uow, request_id)
    if found is None:
        raise NotFound("request.no_such_request", request=request_id)
    return found


async def of_step(uow: UnitOfWork, step_id: str) -> RequestView:
    """The request a step belongs to. Raises ``request.no_such_step``."""
    return await get(uow, await _request_of(uow, step_id))


async def _request_of(uow: UnitOfWork, step_id: str) -> str:
    s = step_table.c
    found = (await uow.execute(sa.select(s.request_id).where(s.id == step_id))).scalar_one_or_none()
    if found is None:
        raise NotFound("request.no_such_step", step=step_id)
    return str(found)


async def locked(uow: UnitOfWork, *, request_id: str | None = None, step_id: str | None = None) -> RequestView:
    """The request as it stands, held until the transaction ends: nobody else changes it meanwhile.

    SQLite's writers are one at a time anyway. Raises ``request.no_such_request``, ``request.no_such_step``.
    """
    if request_id is None:
        assert step_id is not None
        request_id = await _request_of(uow, step_id)
    # a statement of its own: what is read after it is what is committed once the lock is ours
    held = sa.select(request_table.c.id).where(request_table.c.id == request_id).with_for_update()
    await uow.execute(held)
    return await get(uow, request_id)


async def move_step(uow: UnitOfWork, step: RequestStep, new: str, **values: Any) -> None:
    """``step.state → new``; exactly one mover wins. Raises ``request.step_moved``."""
    if not await swap_state(uow, step_table.c.id, step.id, step.state, new, **values):
        raise Conflict("request.step_moved", step=step.id, state=step.state)


async def set_step(uow: UnitOfWork, step_id: str, **values: Any) -> None:
    """Columns of a step whose request is locked."""
    await uow.execute(step_table.update().where(step_table.c.id == step_id).values(**values))


async def settle_request(uow: UnitOfWork, view: RequestView, new: str, at: dt.datetime, **values: Any) -> None:
    """``open → new``, for good. Raises ``request.not_open``."""
    if not await swap_state(uow, request_table.c.id, view.id, "open", new, settled_at=at, **values):
        raise Conflict("request.not_open", request=view.id, state=view.state)


async def touch(uow: UnitOfWork, view: RequestView, **values: Any) -> int:
    """Count a change of a locked request; returns the new version."""
    t = request_table.c
    version = view.version + 1
    done = await uow.execute(
        request_table.update().where(t.id == view.id, t.version == view.version).values(version=version, **values)
    )
    if done.rowcount != 1:
        raise Conflict("request.step_moved", step=view.id, state=view.state)
    return version


# ------------------------------------------------------------------------------------------------- what is to be done
async def due(uow: UnitOfWork, now: dt.datetime, limit: int) -> list[str]:
    """Open requests whose deadline has passed, the longest ago first."""
    t = request_table.c
    query = sa.select(t.id).where(t.state == "open", t.deadline <= now).order_by(t.deadline).limit(limit)
    return list((await uow.execute(query)).scalars())


async def lapsed(uow: UnitOfWork, now: dt.datetime, limit: int) -> list[str]:
    """Open steps whose lease has ended."""
    s = step_table.c
    query = sa.select(s.id).where(s.state == "open", s.leased_until <= now).order_by(s.leased_until).limit(limit)
    return list((await uow.execute(query)).scalars())


async def interrupted(uow: UnitOfWork) -> list[str]:
    """Steps that somebody should be at work on: approved ones, provider's ones, and one of each request all signed."""
    r, s = request_table.c, step_table.c
    opened = sa.and_(s.request_id == r.id, r.state == "open")
    at_work = sa.or_(s.state == "approved", sa.and_(s.state == "open", s.provider.is_not(None)))
    found: list[str] = list((await uow.execute(sa.select(s.id).where(opened, at_work).order_by(s.id))).scalars())
    other = step_table.alias()
    unsigned = sa.exists().where(other.c.request_id == r.id, other.c.state.in_(_UNSIGNED))
    whole = sa.select(sa.func.max(s.id)).where(opened, s.state == "signed", ~unsigned).group_by(r.id)
    return found + list((await uow.execute(whole)).scalars())


_UNSIGNED: Sequence[str] = sorted([*LIVE, "approved"])


async def step_of_order(uow: UnitOfWork, order_id: str) -> str | None:
    """The step at work whose opening placed the order."""
    s = step_table.c
    query = sa.select(s.id, s.orders).where(s.state.in_(["open", "approved"]), s.provider.is_not(None))
    return next((row.id for row in await uow.execute(query) if order_id in row.orders), None)
