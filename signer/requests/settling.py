"""From an approval to a signed step: the ceremony over all its orders, and what each end of it leaves behind.

The step is ``approved`` when this begins and ``signed`` in the ceremony's last transaction, together with the newest
revisions and whose turn comes next. What cannot be signed goes back to ``ready`` with the code that says why; what was
signed in part, or breaks an invariant, ends the request as ``failed``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from audit.outbox import EventType
from core.db import UnitOfWork
from core.errors import BadInput, Broken, Conflict, NotFound, Refused, ServiceError, Unavailable
from core.jobs import Note
from core.logs import logger
from signer.activation import redeem
from signer.ceremony import sign
from signer.keystores.model import is_away
from signer.orders import SigningOrder
from signer.records import order_table
from signer.requests import store
from signer.requests.completing import complete
from signer.requests.ending import BLANK, at_work, failed, give_up, signed_in_part
from signer.requests.model import RequestStep, RequestView
from signer.requests.parts import Parts, tell
from signer.requests.records import document_table
from signer.requests.rights import require_may

__all__ = ["advance", "fail"]


_NEWEST = (
    document_table.update().where(document_table.c.id == sa.bindparam("which")).values(current=sa.bindparam("name"))
)
_LEFT = sa.select(sa.func.count()).where(
    order_table.c.id.in_(sa.bindparam("orders", expanding=True)), order_table.c.state != "made"
)


async def advance(parts: Parts, step_id: str, note: Note) -> str:
    """Take the step, and its request, as far as they go without a person; returns the request's id.

    Repeating it is harmless. Raises ``core.jobs.Again`` while a provider asks, and what may pass (``Unavailable``).
    """
    view = await _read(parts, step_id)
    step = view.step(step_id)
    if view.state == "open" and at_work(step):
        await _sign(parts, view, step, note)
        view = await _read(parts, step_id)
    if view.state == "open" and view.all_signed:
        try:
            await complete(parts, view, note)
        except (Refused, BadInput, NotFound, Broken) as error:
            if error.code in {"key.budget_spent", "key.stopped"}:
                raise  # of the key that vouches for certificates: it may sign again later
            await fail(parts, view.id, error)
            if isinstance(error, Broken):
                raise
    return view.id


async def _read(parts: Parts, step_id: str) -> RequestView:
    async with parts.signing.db.read() as uow:
        return await store.of_step(uow, step_id)


# -------------------------------------------------------------------------------------------------------------- sign
async def _sign(parts: Parts, view: RequestView, step: RequestStep, note: Note) -> None:
    async def approve(orders: Sequence[SigningOrder]) -> Sequence[SigningOrder]:
        """Given before this began, or never: nobody is asked from here."""
        async with parts.signing.db.read() as uow:
            status = await redeem.status(uow, parts.clock, orders[0].activation_tx)
        if status.state == "spent":  # another process is at work on it and was first
            raise Conflict("activation.spent")
        if status.state != "approved":
            raise Refused("activation.expired" if status.state == "expired" else "activation.not_approved")
        return orders

    async def guard(uow: UnitOfWork, orders: Sequence[SigningOrder]) -> None:
        now = await store.locked(uow, request_id=view.id, papers=False)
        _require_same(now, step, {order.id for order in orders})
        await require_may(
            uow, parts, realm=view.realm, agency_id=view.agency_id, kind=step.kind, person_id=step.person_id
        )

    async def settled(uow: UnitOfWork, names: Mapping[str, str]) -> None:
        await _settle(uow, parts, view, step, names)

    try:
        await sign(step.orders, parts.signing, approve=approve, guard=guard, settle=settled, note=note)
    except (Refused, BadInput, NotFound, Broken) as error:
        logger().warning("step.not_signed", id=step.id, code=error.code)
        await _undo(parts, step, error)
        if isinstance(error, Broken):
            raise
    except Unavailable as error:
        if is_away(error):
            await _say_waiting(parts, step, error.code)
        raise


def _require_same(view: RequestView, step: RequestStep, orders: set[str]) -> RequestStep:
    """The step is still this opening's. Raises ``request.step_moved``."""
    now = view.step(step.id)
    if view.state != "open" or not at_work(now) or now.orders != step.orders or not orders <= set(now.orders):
        raise Conflict("request.step_moved", step=step.id, state=now.state)
    return now


async def _settle(
    uow: UnitOfWork, parts: Parts, before: RequestView, step: RequestStep, names: Mapping[str, str]
) -> None:
    """Newest revisions; with the last one the step is signed and the next position may begin. Last in its transaction.

    The ceremony holds the orders' rows by now. Nobody who holds the request's row waits for those: what is at work is
    left alone by all who change a request (``ending.require_idle``). ``before``: the request when the ceremony began;
    which papers it has never changes.
    """
    view = await store.locked(uow, request_id=step.request_id, papers=False)
    now = _require_same(view, step, set(names))
    place = {order_id: before.documents[n].id for n, order_id in enumerate(now.orders)}
    await uow.execute(_NEWEST, [{"which": place[order_id], "name": name} for order_id, name in names.items()])
    if (await uow.execute(_LEFT, {"orders": list(now.orders)})).scalar_one():
        return
    kept: dict[str, Any] = {name: value for name, value in BLANK.items() if name in {"lease", "leased_until"}}
    await store.move_step(uow, now, "signed", signed_at=parts.clock.now(), problem=None, **kept)
    unsigned = [s for s in view.wanted if s.id != now.id and s.state != "signed"]
    turn = min((s.position for s in unsigned), default=None)
    for each in unsigned:
        if each.position == turn and each.state == "waiting":
            await store.move_step(uow, each, "ready")
    await tell(uow, parts, view, await store.touch(uow, view), EventType.REQUEST_STEP_SIGNED, now.id)


# -------------------------------------------------------------------------------------------------- what went wrong
async def _undo(parts: Parts, step: RequestStep, error: ServiceError) -> None:
    """Nothing signed: another try. Signed in part, or an invariant of ours broken: the request has failed."""
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, request_id=step.request_id)
        now = view.step(step.id)
        if view.state != "open" or not at_work(now) or now.orders != step.orders:
            return  # somebody has ended it meanwhile
        if isinstance(error, Broken) or await signed_in_part(uow, parts, now):
            await failed(uow, parts, view, error.code)
            return
        await give_up(uow, parts, now, "ready", problem=error.code)
        await tell(uow, parts, view, await store.touch(uow, view), EventType.REQUEST_CHANGED, now.id)


async def _say_waiting(parts: Parts, step: RequestStep, code: str) -> None:
    """The step stays ``approved``; portal and person read why nothing comes."""
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, request_id=step.request_id, papers=False)
        now = view.step(step.id)
        if view.state == "open" and at_work(now) and now.orders == step.orders and now.problem != code:
            await store.set_step(uow, now.id, problem=code)
            await tell(uow, parts, view, await store.touch(uow, view), EventType.REQUEST_CHANGED, now.id)


async def fail(parts: Parts, request_id: str, error: ServiceError) -> None:
    """End a request whose own output is not sound: nothing is given out until a person has looked."""
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, request_id=request_id)
        if view.state == "open":
            await failed(uow, parts, view, error.code)
