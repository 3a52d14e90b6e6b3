"""Taking back what was opened, and putting an end to a request: shared by whoever changes one. Its row is locked."""

import datetime as dt
from typing import Any

from audit.events import LeafType
from audit.outbox import EventType
from core.db import UnitOfWork
from core.errors import Conflict
from core.limits import LIMITS
from core.logs import logger
from signer.activation import redeem
from signer.requests import store
from signer.requests.model import LIVE, RequestStep, RequestView
from signer.requests.parts import Parts, record, tell

__all__ = [
    "BLANK",
    "at_work",
    "failed",
    "give_up",
    "let_go",
    "require_idle",
    "require_open",
    "settle",
    "signed_in_part",
    "signed_said",
    "take_back",
]

BLANK: dict[str, Any] = {
    "lease": None, "leased_until": None, "turned_away_at": None, "activation_tx": None, "code": None, "orders": [],
}  # fmt: skip
"""Columns of a step that nobody has open."""


def at_work(step: RequestStep | store.Standing) -> bool:
    """Approved here, or asked of a provider: the ceremony has it, or should have."""
    return step.state == "approved" or (step.state == "open" and step.provider is not None)


def require_open(view: RequestView) -> None:
    """Nothing has ended it. Raises ``request.not_open``."""
    if view.state != "open":
        raise Conflict("request.not_open", request=view.id, state=view.state)


def require_idle(view: RequestView, now: dt.datetime) -> None:
    """Nobody's signature is being made: that comes to its end first. Raises ``request.signing``."""
    if view.all_signed or any(at_work(step) and step.leased(now) for step in view.steps):
        raise Conflict("request.signing", request=view.id)


async def let_go(uow: UnitOfWork, parts: Parts, step: RequestStep) -> None:
    """What hangs on an opening can never be used: its orders are dropped, its question is refused."""
    if step.orders:
        await parts.signing.orders.drop(uow, step.orders)
    if step.activation_tx is not None:
        status = await redeem.status(uow, parts.clock, step.activation_tx)
        if status.state in {"open", "expired"}:
            await _refuse(uow, step.activation_tx)


async def _refuse(uow: UnitOfWork, tx: str) -> None:
    try:
        await redeem.refuse(uow, tx)
    except Conflict:
        return  # approved once, and too late by now


async def give_up(uow: UnitOfWork, parts: Parts, step: RequestStep, new: str, **values: Any) -> None:
    """``step → new`` with its opening let go; ``ready`` for another try, else for good.

    Who tries again does so after those that were turned away meanwhile.
    """
    await let_go(uow, parts, step)
    if new == "ready" and step.turned_away_at is not None:
        values["rests_until"] = parts.clock.now() + dt.timedelta(seconds=LIMITS["request.rest_seconds"])
    await store.move_step(uow, step, new, **{**BLANK, **values})


async def signed_in_part(uow: UnitOfWork, parts: Parts, step: RequestStep) -> bool:
    """Some of its papers carry the signature already: the step is this person's, or nobody's."""
    return any([(await parts.signing.orders.get(uow, each)).state == "made" for each in step.orders])


def signed_said(view: RequestView) -> list[dict[str, Any]]:
    """Who has signed with which approval, for the leaf that settles the request."""
    return [
        {"id": step.id, "code": step.code,
         "approved_at": None if step.approved_at is None else step.approved_at.isoformat()}
        for step in view.steps if step.state == "signed"
    ]  # fmt: skip


async def take_back(uow: UnitOfWork, parts: Parts, view: RequestView, step: RequestStep) -> bool:
    """An opening whose lease has ended: ``ready`` again; signed in part, the request has failed. True if it goes on."""
    if await signed_in_part(uow, parts, step):
        await failed(uow, parts, view, "request.signed_in_part")
        return False
    await give_up(uow, parts, step, "ready")
    return True


async def failed(uow: UnitOfWork, parts: Parts, view: RequestView, code: str) -> None:
    """``open → failed``, the event with it: nothing is given out until a person has looked."""
    logger().error("request.failed", id=view.id, code=code)
    for step in view.steps:
        if step.state == "approved":
            await give_up(uow, parts, step, "cancelled", problem=code)
    version = await settle(uow, parts, view, "failed", {"problem": code}, problem=code)
    await tell(uow, parts, view, version, EventType.REQUEST_CHANGED)


async def settle(
    uow: UnitOfWork, parts: Parts, view: RequestView, state: str, said: dict[str, Any], *, steps: str = "cancelled",
    **values: Any,
) -> int:  # fmt: skip
    """``open → state`` with every step that still waits; returns the new version. The event is the caller's, last."""
    for step in view.steps:
        if step.state in LIVE:
            await give_up(uow, parts, step, steps)
    version = await store.touch(uow, view)
    await store.settle_request(uow, view, state, parts.clock.now(), **values)
    await record(
        uow, parts, view, version, LeafType.REQUEST_SETTLED, {"what": state, **said, "signed": signed_said(view)}
    )
    return version
