"""Rows of signature requests: read, locked, moved. Works inside the caller's transaction.

Lock order: a change takes the request's row first (``locked``), then whatever else; the event outbox is last.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import sqlalchemy as sa

from core.db import UnitOfWork, row_by, swap_state
from core.errors import Conflict, NotFound
from core.values import Realm
from signer.requests.model import LIVE, RequestDocument, RequestStep, RequestView, SignatureRequest
from signer.requests.records import document_table, request_table, step_table

__all__ = [
    "Standing",
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
    "standing",
    "step_of_order",
    "steps_of",
    "touch",
]


_WHICH = sa.select(step_table.c.request_id).where(step_table.c.id == sa.bindparam("step")).scalar_subquery()
_OF_STEP = sa.select(request_table).where(request_table.c.id == _WHICH)
_HOLD = (
    sa.select(request_table.c.id)
    .where(request_table.c.id == sa.func.coalesce(sa.bindparam("request", type_=sa.Text), _WHICH))
    .with_for_update()
)
_DOCUMENTS = (
    sa.select(document_table)
    .where(document_table.c.request_id == sa.bindparam("request"))
    .order_by(document_table.c.position)
)
_STEPS = (
    sa.select(step_table)
    .where(step_table.c.request_id == sa.bindparam("request"))
    .order_by(step_table.c.position, step_table.c.place, step_table.c.id)
)
_STEP_IDS = sa.select(step_table.c.id).where(step_table.c.request_id == sa.bindparam("request"))
_TOUCH = (
    request_table.update()
    .where(request_table.c.id == sa.bindparam("which"), request_table.c.version == sa.bindparam("before"))
    .values(version=sa.bindparam("after"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Of a step."""

    request: str
    """State of its request."""
    state: str
    provider: str | None
    unsigned: int
    """Steps of the request that are wanted and not signed."""


_other = step_table.alias()
_STANDING = (
    sa.select(
        request_table.c.state.label("request"), step_table.c.state, step_table.c.provider,
        sa.select(sa.func.count())
        .where(_other.c.request_id == step_table.c.request_id, _other.c.state.not_in(["signed", "replaced"]))
        .scalar_subquery().label("unsigned"),
    )
    .join(request_table, request_table.c.id == step_table.c.request_id)
    .where(step_table.c.id == sa.bindparam("step"))
)  # fmt: skip


def _request(row: sa.Row[Any]) -> dict[str, Any]:
    values = {each.name: getattr(row, each.name) for each in fields(SignatureRequest)}
    return {**values, "realm": Realm(row.realm)}


_DOCUMENT: Final = tuple(column.name for column in document_table.columns)


def _document(row: sa.Row[Any]) -> RequestDocument:
    return RequestDocument(**dict(zip(_DOCUMENT, row, strict=True)))


def _step(row: sa.Row[Any]) -> RequestStep:
    return RequestStep(**{**dict(row._mapping), "orders": tuple(row.orders)})  # noqa: SLF001


async def find(uow: UnitOfWork, request_id: str) -> RequestView | None:
    """A request with its documents and steps, in their order."""
    row = (await uow.execute(row_by(request_table.c.id), {"value": request_id})).first()
    return None if row is None else await _whole(uow, row)


async def _whole(uow: UnitOfWork, row: sa.Row[Any], *, papers: bool = True) -> RequestView:
    # without a lock PostgreSQL reads each of these as of its own moment: a step that is seen signed has its revision there
    steps = tuple(map(_step, await uow.execute(_STEPS, {"request": row.id})))
    documents = await uow.execute(_DOCUMENTS, {"request": row.id}) if papers else ()
    return RequestView(**_request(row), documents=tuple(map(_document, documents)), steps=steps)


async def get(uow: UnitOfWork, request_id: str) -> RequestView:
    """By id. Raises ``request.no_such_request``."""
    found = await find(uow, request_id)
    if found is None:
        raise NotFound("request.no_such_request", request=request_id)
    return found


async def of_step(uow: UnitOfWork, step_id: str) -> RequestView:
    """The request a step belongs to. Raises ``request.no_such_step``."""
    row = (await uow.execute(_OF_STEP, {"step": step_id})).first()
    if row is None:
        raise NotFound("request.no_such_step", step=step_id)
    return await _whole(uow, row)


async def locked(
    uow: UnitOfWork, *, request_id: str | None = None, step_id: str | None = None, papers: bool = True
) -> RequestView:
    """The request as it stands, held until the transaction ends: nobody else changes it meanwhile.

    Without ``papers`` its documents stay out, which may be hundreds. SQLite's writers are one at a time anyway. Raises ``request.no_such_request``, ``request.no_such_step``.
    """
    if uow.dialect.name != "sqlite":
        # a statement of its own: what is read after it is what is committed once the lock is ours
        await uow.execute(_HOLD, {"request": request_id, "step": step_id})
    if request_id is None:
        assert step_id is not None
        return await of_step(uow, step_id)
    row = (await uow.execute(row_by(request_table.c.id), {"value": request_id})).first()
    if row is None:
        raise NotFound("request.no_such_request", request=request_id)
    return await _whole(uow, row, papers=papers)


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
    version = view.version + 1
    statement = _TOUCH.values(**values) if values else _TOUCH
    done = await uow.execute(statement, {"which": view.id, "before": view.version, "after": version})
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


async def standing(uow: UnitOfWork, step_id: str) -> Standing | None:
    """Where a step and its request stand, at the price of one look; None for no step of ours."""
    row = (await uow.execute(_STANDING, {"step": step_id})).first()
    return None if row is None else Standing(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public spelling


async def steps_of(uow: UnitOfWork, request_id: str) -> list[str]:
    """Ids of a request's steps."""
    return list((await uow.execute(_STEP_IDS, {"request": request_id})).scalars())


async def step_of_order(uow: UnitOfWork, order_id: str) -> str | None:
    """The step at work whose opening placed the order."""
    s = step_table.c
    query = sa.select(s.id, s.orders).where(s.state.in_(["open", "approved"]), s.provider.is_not(None))
    return next((row.id for row in await uow.execute(query) if order_id in row.orders), None)
