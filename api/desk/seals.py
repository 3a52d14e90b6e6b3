"""The clerk's queue: choose copies, one link over all of them in the order shown, one use of the passkey."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from api.desk import queues
from api.desk.copy import link_page
from api.desk.pages import DeskRoute, page
from api.desk.sessions import DeskPerson
from api.web.access import desk
from api.web.parts import Parts, WebParts
from core.errors import BadInput, ServiceError
from core.limits import LIMITS

__all__ = ["router"]

router = APIRouter(route_class=DeskRoute, include_in_schema=False)
Clerk = Annotated[DeskPerson, desk("clerk")]


@router.get("/seals")
async def seals(request: Request, parts: Parts, who: Clerk) -> Response:
    """Copies that wait for this clerk's seal, oldest first."""
    return await _queue(request, parts, who)


async def _queue(
    request: Request,
    parts: WebParts,
    who: DeskPerson,
    problem: ServiceError | None = None,
    chosen: list[str] | None = None,
) -> Response:
    now = parts.service.clock.now()
    async with parts.service.db.read() as uow:
        waiting = await queues.queue(uow, who, "awaiting_seal", now)
        asked = await queues.steps(uow, who, now)
    return page(
        request, "seals.html", who=who, title="desk.seals", status=400 if problem else 200, problem=problem,
        waiting=waiting[: LIMITS["web.page"]], more=len(waiting) > LIMITS["web.page"], steps=asked, chosen=chosen or [],
    )  # fmt: skip


@router.post("/seals")
async def seal(request: Request, parts: Parts, who: Clerk) -> Response:
    """The chosen ones, in the order of the queue, under one link. Raises what ``link.copies`` raises."""
    form = await request.form(max_files=0, max_fields=1_000)
    chosen = list(dict.fromkeys(str(each) for each in form.getlist("copy")))
    if not 1 <= len(chosen) <= LIMITS["activation.documents"]:
        problem = BadInput("desk.choose", most=LIMITS["activation.documents"])
        return await _queue(request, parts, who, problem, chosen)
    return await link_page(request, parts, who, chosen, "desk.seal_link")
