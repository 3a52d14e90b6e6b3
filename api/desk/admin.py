"""The administrator's pages: what waits for a second pair of eyes, and the way to vote on the signing page.

Nothing is changed from here. Each form makes a proposal; two administrators approve it with the passkeys of their
phones, and the signer does it. So a session of this page, stolen, gives nothing but paper in a tray.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response

from api.clients.access import AgencyAccess
from api.desk.pages import DeskRoute, back, page
from api.desk.sessions import DeskPerson
from api.portal.schemas import Id
from api.sign.pages import qr_svg
from api.web.access import desk
from api.web.parts import Parts, WebParts
from audit.keyuse import looks
from core.approvals.model import QUORUM, Decision
from core.approvals.records import Approvals
from core.clock import VIETNAM
from core.db import UnitOfWork
from core.directory.model import Person
from core.errors import BadInput, NotFound
from core.limits import LIMITS
from core.messages import sentence
from signer.decisions.desk import picture_of_decision, words_of
from signer.decisions.keys import is_keeper, keys_of
from signer.decisions.kinds import kind_of
from signer.decisions.room import Room
from signer.keystores.registry import KeyState

__all__ = ["Admin", "Line", "day_of", "lines_of", "official_of", "propose", "room_of", "router"]

router = APIRouter(prefix="/admin", route_class=DeskRoute, include_in_schema=False)
Admin = Annotated[DeskPerson, desk("administrator")]

_SHOWN: Final = 50
"""Decisions on the overview, open ones first."""
_WIDTH: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A decision in a list: no names."""

    id: str
    kind: str
    """Message code."""
    state: str
    votes: int
    created_at: dt.datetime
    expires_at: dt.datetime
    mine: str
    """``vote``: may vote; ``voted``; ``own``: it is about this person; empty: it is over."""


def room_of(parts: WebParts) -> Room:
    """What decisions are worded with here; this process can carry none of them out."""
    service = parts.service
    return Room(
        clock=service.clock, directory=service.directory, register=service.register, documents=service.documents,
        sandbox=service.sandbox, clients=AgencyAccess(), host=service.settings.host,
        system=service.settings.system_name, keys_agency=service.settings.keys_agency,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------- shared by pages
async def propose(parts: WebParts, who: DeskPerson, kind: str, payload: Mapping[str, Any]) -> Response:
    """Ask the signer to write a proposal down, then show it. Raises what the kind of decision raises."""
    answer = await parts.signer.ask(
        "decision.propose", json.dumps(payload).encode(), agency=who.agency.id, kind=kind, by=who.person_id
    )
    return back(f"/desk/admin/decisions/{json.loads(answer)['decision']}", "desk.proposed")


def day_of(form: Mapping[str, str], name: str, *, end: bool = False) -> int:
    """A day of the form in Vietnam, as Unix seconds: its first, or with ``end`` its last; 0 for none. Raises ``decision.dates``."""
    text = form.get(name, "")
    if not text:
        return 0
    try:
        day = dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=VIETNAM)
        return int(day.timestamp()) + (86_399 if end else 0)
    except (ValueError, OverflowError) as error:
        raise BadInput("decision.dates") from error


async def official_of(uow: UnitOfWork, parts: WebParts, who: DeskPerson, person_id: str) -> Person:
    """Somebody with a role here, now or before. Raises ``web.no_such_thing`` for everybody else."""
    for person, rights in await parts.service.directory.people(uow, who.agency.id):
        if person.id == person_id and rights:
            return person
    raise NotFound("web.no_such_thing")


async def lines_of(uow: UnitOfWork, parts: WebParts, who: DeskPerson) -> list[Line]:
    """The newest decisions of the agency, open ones first."""
    approvals = Approvals(parts.service.clock)
    found = []
    for decision in await approvals.of(uow, who.agency.id, _SHOWN):
        votes = [vote.person_id for vote in await approvals.votes(uow, decision.id)]
        state = approvals.state(decision)
        found.append(
            Line(
                id=decision.id,
                kind=_title(decision),
                state=state,
                votes=min(len(votes), QUORUM),
                created_at=decision.created_at,
                expires_at=decision.expires_at,
                mine=_mine(decision, state, votes, who),
            )
        )
    return sorted(found, key=lambda line: line.state != "open")


def _title(decision: Decision) -> str:
    return f"decision.kind_{decision.kind.replace('.', '_')}"


def _mine(decision: Decision, state: str, votes: list[str], who: DeskPerson) -> str:
    if state != "open":
        return ""
    if kind_of(decision.kind).subject(decision.payload) == who.person_id:
        return "own"
    return "voted" if who.person_id in votes else "vote"


async def _decision(uow: UnitOfWork, parts: WebParts, who: DeskPerson, decision_id: str) -> Decision:
    """Of this agency. Raises ``decision.unknown``."""
    found = await Approvals(parts.service.clock).get(uow, decision_id)
    if found.agency_id != who.agency.id:
        raise NotFound("decision.unknown")
    return found


# ------------------------------------------------------------------------------------------------------------- pages
@router.get("")
async def overview(request: Request, parts: Parts, who: Admin) -> Response:
    """What waits, and the ways to everything else."""
    async with parts.service.db.read() as uow:
        lines = await lines_of(uow, parts, who)
        own, services = await keys_of(uow, room_of(parts), who.agency, LIMITS["web.page"])
        keeper = await is_keeper(uow, room_of(parts), who.agency)
        audit = await looks.standing(uow, parts.service.clock.now()) if keeper else None
    stopped = sum(key.state is KeyState.STOPPED for key in (*own, *services))
    return page(
        request, "admin.html", who=who, title="desk.admin", rows=lines, needed=QUORUM, stopped=stopped, audit=audit
    )  # fmt: skip


@router.get("/decisions/{decision_id}")
async def decision_page(request: Request, decision_id: Id, parts: Parts, who: Admin) -> Response:
    """What is decided, before and after; who has agreed; the way to vote. Raises ``decision.unknown``."""
    service, approvals = parts.service, Approvals(parts.service.clock)
    async with service.db.read() as uow:
        decision = await _decision(uow, parts, who, decision_id)
        words = await words_of(uow, room_of(parts), decision)
        votes = await approvals.votes(uow, decision.id)
        names = {each: (await service.directory.person(uow, each)).name for each in _people(decision, votes)}
    state = approvals.state(decision)
    return page(
        request, "admin_decision.html", who=who, title=_title(decision), decision=decision, state=state,
        words=words[1:], votes=[(names[vote.person_id], vote.given_at) for vote in votes], needed=QUORUM,
        mine=_mine(decision, state, [vote.person_id for vote in votes], who), refused_by=names.get(decision.refused_by or ""),
        printed=decision.kind in {"wording.change", "seal.change"}, person=(decision.outcome or {}).get("person"),
    )  # fmt: skip


def _people(decision: Decision, votes: list[Any]) -> set[str]:
    return {vote.person_id for vote in votes} | ({decision.refused_by} if decision.refused_by else set())


@router.get("/decisions/{decision_id}/sample")
async def sample(decision_id: Id, parts: Parts, who: Admin) -> Response:
    """The page as it would be printed. Raises ``decision.unknown``, ``web.no_such_thing``."""
    async with parts.service.db.read() as uow:
        decision = await _decision(uow, parts, who, decision_id)
    picture = await picture_of_decision(parts.service.db, room_of(parts), decision, _WIDTH)
    if picture is None:
        raise NotFound("web.no_such_thing")
    return Response(picture, media_type="image/webp")


@router.post("/decisions/{decision_id}/link")
async def link(request: Request, decision_id: Id, parts: Parts, who: Admin) -> Response:
    """The way to the signing page, where this person agrees or refuses. Raises as the signer judges."""
    async with parts.service.db.read() as uow:
        await _decision(uow, parts, who, decision_id)
    made = json.loads(await parts.signer.ask("link.decision", decision=decision_id, person=who.person_id))
    return page(
        request, "admin_link.html", who=who, title="desk.vote_link", link=made["url"],
        expires=dt.datetime.fromisoformat(made["expires"]), back=f"/desk/admin/decisions/{decision_id}",
        qr=qr_svg(made["url"], sentence("desk.qr")), how="desk.vote_how", opens="desk.vote_open", hand=False,
    )  # fmt: skip
