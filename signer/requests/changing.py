"""What the portal changes, and what time changes: cancel, extend, replace, remind; deadlines and leases that end.

Every change locks the request's row first and leaves a leaf in the log; exactly one of two that meet wins.
"""

import datetime as dt

from audit.events import LeafType
from audit.outbox import EventType
from core.clock import timestamp_text
from core.errors import BadInput, Conflict, Refused
from core.ids import new_id
from core.limits import LIMITS
from signer.requests import store
from signer.requests.ending import (
    at_work,
    give_up,
    require_idle,
    require_open,
    settle,
    signed_in_part,
    take_back,
)
from signer.requests.making import require_text
from signer.requests.model import LIVE, RequestStep, RequestView
from signer.requests.parts import Parts, record, tell
from signer.requests.records import step_table
from signer.requests.rights import require_may

__all__ = ["cancel", "expire", "extend", "lapse", "link", "remind", "replace"]

_LINK = "step"


async def cancel(parts: Parts, request_id: str, reason: str) -> None:
    """Nobody signs any more. Raises ``request.not_open``, ``request.signing`` while a signature is being made."""
    why = require_text(reason, "reason")
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, request_id=request_id)
        require_open(view)
        require_idle(view, parts.clock.now())
        version = await settle(uow, parts, view, "cancelled", {"why": why}, why=why)
        await tell(uow, parts, view, version, EventType.REQUEST_CANCELLED)


async def extend(parts: Parts, request_id: str, deadline: dt.datetime) -> None:
    """A later deadline, for links too. Raises ``request.deadline``, ``request.not_open``, ``request.expired``."""
    now = parts.clock.now()
    if (deadline - now).total_seconds() > LIMITS["request.days"] * 86_400:
        raise BadInput("request.deadline", most=LIMITS["request.days"])
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, request_id=request_id)
        _require_running(view, parts.clock.now())
        if deadline <= view.deadline:
            raise BadInput("request.deadline", most=LIMITS["request.days"])
        version = await store.touch(uow, view, deadline=deadline)
        for step in view.steps:  # links that were given out hold as long
            await parts.links.extend_links(uow, _LINK, step.id, _link_end(deadline))
        said = {"what": "extended", "deadline": deadline.isoformat()}
        await record(uow, parts, view, version, LeafType.REQUEST_CHANGED, said)
        await tell(uow, parts, view, version, EventType.REQUEST_CHANGED)


async def replace(parts: Parts, step_id: str, person_id: str) -> str:
    """Another person in the place of one who has not signed; returns the new step's id.

    The old link opens nothing any more, and what the old person had open can no longer be approved.
    Raises ``request.*``, ``directory.*``.
    """
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, step_id=step_id)
        step, now = view.step(step_id), parts.clock.now()
        _require_running(view, now)
        _require_live(step, now)
        if await signed_in_part(uow, parts, step):  # not looked at since its time ran out
            raise Conflict("request.signing", request=view.id)
        if any(each.person_id == person_id for each in view.wanted):
            raise BadInput("request.same_person")
        await require_may(uow, parts, realm=view.realm, agency_id=view.agency_id, kind=step.kind, person_id=person_id)
        made = new_id(parts.clock)
        await uow.execute(
            step_table.insert(),
            {
                "id": made, "request_id": view.id, "position": step.position, "place": step.place, "kind": step.kind,
                "person_id": person_id, "provider": step.provider, "orders": [],
                "placement": None if step.placement is None else dict(step.placement),
                "state": "waiting" if step.state == "waiting" else "ready",
            },
        )  # fmt: skip
        await give_up(uow, parts, step, "replaced", replaced_by=made)
        await parts.links.end_links(uow, parts.clock, _LINK, step.id)
        version = await store.touch(uow, view)
        said = {"what": "replaced", "step": step.id, "by": made, "person": person_id}
        await record(uow, parts, view, version, LeafType.REQUEST_CHANGED, said)
        await tell(uow, parts, view, version, EventType.REQUEST_CHANGED, made)
        return made


async def remind(parts: Parts, step_id: str) -> None:
    """Say again that a signature is wanted: the event tells the portal, which knows the person.

    Raises ``request.not_your_turn``, ``request.step_over``, ``request.reminded`` within ``request.remind_seconds``.
    """
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, step_id=step_id)
        step, now = view.step(step_id), parts.clock.now()
        _require_running(view, now)
        _require_live(step, now)
        if step.state == "waiting":
            raise Refused("request.not_your_turn")
        again = step.reminded_at and step.reminded_at + dt.timedelta(seconds=LIMITS["request.remind_seconds"])
        if again is not None and now < again:
            raise Conflict("request.reminded", step=step.id, until=timestamp_text(again))
        await store.set_step(uow, step.id, reminded_at=now)
        version = await store.touch(uow, view)
        said = {"what": "reminded", "step": step.id}
        await record(uow, parts, view, version, LeafType.REQUEST_CHANGED, said)
        await tell(uow, parts, view, version, EventType.REQUEST_CHANGED, step.id)


async def link(parts: Parts, step_id: str) -> str:
    """A fresh link token for the step's person; the ones before open nothing any more. Raises ``request.step_over``.

    It opens the page until ``request.link_days`` after the deadline, so that it still says what became of the matter.
    """
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, step_id=step_id)
        step = view.step(step_id)
        require_open(view)
        if step.state not in LIVE:
            raise Conflict("request.step_over", step=step.id, state=step.state)
        await parts.links.end_links(uow, parts.clock, _LINK, step.id)
        return await parts.links.make_link(
            uow, parts.clock, kind=_LINK, subject=[step.id], person_id=step.person_id,
            expires_at=_link_end(max(view.deadline, parts.clock.now())),
        )  # fmt: skip


def _link_end(deadline: dt.datetime) -> dt.datetime:
    return deadline + dt.timedelta(days=LIMITS["request.link_days"])


# -------------------------------------------------------------------------------------------------------------- time
async def expire(parts: Parts, request_id: str) -> bool:
    """End a request whose deadline has passed; what was approved in time is signed first. True if it ended now."""
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, request_id=request_id)
        now = parts.clock.now()
        if view.state != "open" or now < view.deadline or view.all_signed:
            return False
        if any(at_work(step) and step.leased(now) for step in view.steps):
            return False
        version = await settle(uow, parts, view, "expired", {}, steps="expired")
        await tell(uow, parts, view, version, EventType.REQUEST_EXPIRED)
        return True


async def lapse(parts: Parts, step_id: str) -> bool:
    """Take back an opening whose lease has ended: somebody else may open now. True if it was one.

    A step that is signed in part never goes back: whoever replaced its person would release that signature too.
    """
    async with parts.signing.db.write() as uow:
        view = await store.locked(uow, step_id=step_id)
        step = view.step(step_id)
        if view.state != "open" or step.state != "open" or step.leased(parts.clock.now()):
            return False
        if await take_back(uow, parts, view, step):
            await tell(uow, parts, view, await store.touch(uow, view), EventType.REQUEST_CHANGED, step.id)
        return True


def _require_running(view: RequestView, now: dt.datetime) -> None:
    require_open(view)
    if now >= view.deadline:
        raise Refused("request.expired")


def _require_live(step: RequestStep, now: dt.datetime) -> None:
    if at_work(step) and step.leased(now):
        raise Conflict("request.signing", request=step.request_id)
    if step.state not in LIVE:
        raise Conflict("request.step_over", step=step.id, state=step.state)
