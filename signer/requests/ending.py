"""Taking back what was opened, and putting an end to a request: shared by whoever changes one. Its row is locked."""

import datetime as dt
from typing import Any

from audit.events import LeafType
from core.db import UnitOfWork
from core.errors import Conflict
from signer.activation import redeem
from signer.requests import store
from signer.requests.model import LIVE, RequestStep, RequestView
from signer.requests.parts import Parts, record

__all__ = ["BLANK", "at_work", "give_up", "let_go", "require_idle", "require_open", "settle"]

BLANK: dict[str, Any] = {
    "lease": None, "leased_until": None, "activation_tx": None, "code": None, "orders": [],
}  # fmt: skip
"""Columns of a step that nobody has open."""


def at_work(step: RequestStep) -> bool:
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
        await parts.signing.drop(uow, step.orders)
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
    """``step → new`` with its opening let go; ``ready`` for another try, else for good."""
    await let_go(uow, parts, step)
    await store.move_step(uow, step, new, **{**BLANK, **values})


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
    await record(uow, parts, view, version, LeafType.REQUEST_SETTLED, {"what": state, **said})
    return version
