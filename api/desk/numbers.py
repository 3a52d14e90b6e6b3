"""Signatures that portals ask this person for, and the agency's counts."""

import datetime as dt
import json
from typing import Annotated

from fastapi import APIRouter, Request, Response

from api.desk import queues
from api.desk.copy import shown_link
from api.desk.pages import DeskRoute, page
from api.desk.sessions import DeskPerson
from api.portal.schemas import Id
from api.web.access import desk
from api.web.parts import Parts
from core.clock import VIETNAM
from signer.copies.statistics import DayCount, daily

__all__ = ["router"]

router = APIRouter(route_class=DeskRoute, include_in_schema=False)
Anyone = Annotated[DeskPerson, desk()]
_DAYS, _PROMISED_HOURS = 30, 24


@router.get("/steps")
async def steps(request: Request, parts: Parts, who: Anyone) -> Response:
    """Signature requests that wait for this person."""
    async with parts.service.db.read() as uow:
        asked = await queues.steps(uow, who, parts.service.clock.now())
    return page(request, "steps.html", who=who, title="desk.steps", steps=asked)


@router.post("/steps/{step_id}/link")
async def step_link(request: Request, step_id: Id, parts: Parts, who: Anyone) -> Response:
    """A fresh link to the signing page. Raises ``request.no_such_step``."""
    made = json.loads(await parts.signer.ask("link.step", person=who.person_id, step=step_id))
    return shown_link(request, who, made, "desk.step_link", 1)


@router.get("/statistics")
async def statistics(request: Request, parts: Parts, who: Anyone) -> Response:
    """The agency's copies of the last thirty days, by kind and by day."""
    today = parts.service.clock.now().astimezone(VIETNAM).date()
    first = today - dt.timedelta(days=_DAYS)
    async with parts.service.db.read() as uow:
        rows = await daily(uow, frozenset({who.agency.id}), first, today, _PROMISED_HOURS)
    return page(
        request, "statistics.html", who=who, title="desk.statistics", first=first, last=today,
        kinds=_by(rows, "kind"), days=sorted(_by(rows, "day").items(), reverse=True), hours=_PROMISED_HOURS,
        total=_sum(rows),
    )  # fmt: skip


_COUNTS = ("made", "released", "on_time", "voided", "recalled")


def _sum(rows: list[DayCount]) -> dict[str, int]:
    return {name: sum(getattr(row, name) for row in rows) for name in _COUNTS}


def _by(rows: list[DayCount], what: str) -> dict[object, dict[str, int]]:
    found: dict[object, list[DayCount]] = {}
    for row in rows:
        found.setdefault(getattr(row, what), []).append(row)
    return {key: _sum(each) for key, each in found.items()}
