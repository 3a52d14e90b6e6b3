"""One copy: the scan beside the form, every page ticked off against the original, then the way to the signing page.

The ticks help a person and prove nothing: they stay in the browser. What is proven is the approval, which happens on
the signing origin over the digest of the very bytes.
"""

import datetime as dt
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from api.desk import queues
from api.desk.inbox import CHECKS
from api.desk.pages import DeskRoute, back, form_of, page
from api.desk.sessions import DeskPerson
from api.portal.schemas import Id
from api.sign.pages import qr_svg
from api.web.access import desk
from api.web.parts import Parts, WebParts
from core.errors import BadInput, Conflict, NotFound, ServiceError
from core.limits import LIMITS
from core.messages import sentence
from signer.copies.inbox import Inbox
from signer.copies.model import CertifiedCopy
from signer.papers import PageCache

__all__ = ["link_page", "router"]

router = APIRouter(route_class=DeskRoute, include_in_schema=False)
Certifier = Annotated[DeskPerson, desk("certifier")]
Clerk = Annotated[DeskPerson, desk("clerk")]
Anyone = Annotated[DeskPerson, desk()]
Width = Annotated[int, Query(ge=1, le=2_000)]

WIDTHS: Final = (480, 960, 1600)
"""Pixels that pages are drawn in: a phone, half a screen, for small print."""
_REST_SECONDS: Final = 8.0


# ----------------------------------------------------------------------------------------------------------- looking
@router.get("/copies/{copy_id}")
async def copy_page(request: Request, copy_id: Id, parts: Parts, who: Anyone) -> Response:
    """The copy; or, before it is one, what becomes of the paper."""
    service = parts.service
    async with service.db.read() as uow:
        waiting = await queues.request_of(uow, who, copy_id, Inbox(service.clock))
    if waiting is not None and waiting.state != "accepted":
        refused = waiting.state == "refused"
        return page(
            request, "waiting.html", who=who, title="desk.paper_refused" if refused else "desk.paper_coming",
            waiting=waiting, refused=refused,
        )  # fmt: skip
    return await _copy(request, parts, who, copy_id)


async def _copy(
    request: Request, parts: WebParts, who: DeskPerson, copy_id: str, *, problem: ServiceError | None = None,
    pages: frozenset[int] = frozenset(), checks: Sequence[str] = (),
) -> Response:  # fmt: skip
    service = parts.service
    async with service.db.read() as uow:
        copy = await queues.copy_of(uow, who, copy_id)
        line = await queues.line_of(uow, who, copy_id, service.clock.now())
        entry = await service.register.entry(uow, copy.entry_id)
        asked = [each for each in (copy.certifier_id, copy.clerk_id) if each]
        people = {each: (await service.directory.person(uow, each)).name for each in asked}
    mine = {"awaiting_certifier": copy.certifier_id, "awaiting_seal": copy.clerk_id}.get(copy.state) == who.person_id
    return page(
        request, "copy.html", who=who, title="desk.copy", status=400 if problem else 200, problem=problem, copy=copy,
        line=line, columns=entry.columns, people=people, ticked=pages, checks=_open_checks(copy), checked=checks,
        to_sign=mine and copy.state == "awaiting_certifier", to_seal=mine and copy.state == "awaiting_seal",
        settled=copy.state in {"released", "voided"}, widths=WIDTHS, may_recall=_may_recall(copy, who),
    )  # fmt: skip


def _open_checks(copy: CertifiedCopy) -> list[str]:
    """Of the law's list what nobody has confirmed with this paper yet."""
    done = set(copy.facts["checklist"])
    return [each for each in CHECKS if sentence(each) not in done]


def _may_recall(copy: CertifiedCopy, who: DeskPerson) -> bool:
    entitled = who.has("certifier") or who.has("administrator")
    return copy.state == "released" and copy.recalled_at is None and entitled


@router.get("/copies/{copy_id}/pages/{number}")
async def copy_picture(
    request: Request, copy_id: Id, number: int, parts: Parts, who: Anyone, w: Width = 960
) -> Response:
    """Page ``number`` of the scan, counted from 1, drawn in the sandbox. Raises ``web.no_such_thing``."""
    async with parts.service.db.read() as uow:
        copy = await queues.copy_of(uow, who, copy_id)
    if not 1 <= number <= int(copy.facts["pages"]):
        raise NotFound("web.no_such_thing")
    width = next((each for each in WIDTHS if each >= w), WIDTHS[-1])
    data = await _pictures(request, parts).image(copy.content, number - 1, width)
    return Response(data, media_type="image/webp", headers={"content-disposition": "inline"})


def _pictures(request: Request, parts: WebParts) -> PageCache:
    """One for the process: two people who look at one paper draw it once."""
    state = request.app.state
    if not hasattr(state, "desk_pictures"):
        state.desk_pictures = PageCache(sandbox=parts.service.sandbox, load=parts.service.documents.get)
    found: PageCache = state.desk_pictures
    return found


@router.get("/copies/{copy_id}/file")
async def copy_file(copy_id: Id, parts: Parts, who: Anyone) -> Response:
    """The released file. Raises ``copy.not_released``."""
    async with parts.service.db.read() as uow:
        copy = await queues.copy_of(uow, who, copy_id)
    if copy.released is None:
        raise Conflict("copy.not_released", copy=copy_id)
    data = await parts.service.documents.get(copy.released)
    named = {"content-disposition": f'attachment; filename="{copy_id}.pdf"'}
    return Response(data, media_type="application/pdf", headers=named)


# ----------------------------------------------------------------------------------------------------------- signing
@router.post("/copies/{copy_id}/sign")
async def sign(request: Request, copy_id: Id, parts: Parts, who: Certifier) -> Response:
    """Every page ticked and the law's list confirmed: the link to the signing page. Else the same page, ticks kept."""
    form = await request.form(max_files=0, max_fields=1_000)
    async with parts.service.db.read() as uow:
        copy = await queues.copy_of(uow, who, copy_id)
    count = int(copy.facts["pages"])
    given = {str(each) for each in form.getlist("page")}
    ticked = frozenset(n for n in range(1, count + 1) if str(n) in given)
    checked = [str(each) for each in form.getlist("check")]
    problem: ServiceError | None = None
    if len(ticked) != count:
        problem = BadInput("desk.pages_open", open=count - len(ticked), pages=count)
    elif not set(_open_checks(copy)) <= set(checked):
        problem = BadInput("desk.checks_open")
    if problem is not None:
        return await _copy(request, parts, who, copy_id, problem=problem, pages=ticked, checks=checked)
    return await link_page(request, parts, who, [copy_id], "desk.sign_link")


async def link_page(request: Request, parts: WebParts, who: DeskPerson, copies: list[str], title: str) -> Response:
    """A link over these copies in this order. The signer judges again whether this person may."""
    answer = await parts.signer.ask("link.copies", person=who.person_id, copies=copies)
    return shown_link(request, who, json.loads(answer), title, len(copies))


def shown_link(request: Request, who: DeskPerson, made: dict[str, Any], title: str, count: int) -> Response:
    """The page with the link and its QR code; the link is not followed by itself: who goes on sees where to."""
    return page(
        request, "link.html", who=who, title=title, link=made["url"], count=count, back="/desk",
        expires=dt.datetime.fromisoformat(made["expires"]), qr=qr_svg(made["url"], sentence("desk.qr")),
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- not signing
async def _reason(request: Request, most: int) -> str:
    """Raises ``desk.no_reason``."""
    reason = (await form_of(request)).get("reason", "")
    if not 3 <= len(reason) <= most or not reason.isprintable():
        raise BadInput("desk.no_reason", most=most)
    return reason


@router.post("/copies/{copy_id}/void")
async def void(request: Request, copy_id: Id, parts: Parts, who: Certifier) -> Response:
    """The official does not certify this paper: the number keeps its line, with the reason."""
    reason = await _reason(request, LIMITS["desk.reason_letters"])
    async with parts.service.db.read() as uow:
        copy = await queues.copy_of(uow, who, copy_id)
    if copy.certifier_id != who.person_id:
        raise NotFound("web.no_such_thing")
    await parts.signer.ask("void", copy=copy_id, reason=reason, by=who.person_id)
    return back("/desk/inbox", "desk.voided")


@router.post("/copies/{copy_id}/anew")
async def anew(copy_id: Id, parts: Parts, who: Anyone) -> Response:
    """The date on the page has passed: the number is given up and the paper takes another, today's."""
    await parts.signer.ask("copy.renew", copy=copy_id, by=who.person_id)
    await parts.signer.rest(copy_id, _REST_SECONDS)
    return back("/desk", "desk.numbered_anew")


@router.post("/copies/{copy_id}/back")
async def send_back(request: Request, copy_id: Id, parts: Parts, who: Clerk) -> Response:
    """The clerk does not seal it: it waits for its official again, under a new number."""
    reason = await _reason(request, LIMITS["desk.reason_letters"])
    await parts.signer.ask("copy.send_back", copy=copy_id, reason=reason, by=who.person_id)
    return back("/desk/seals", "desk.sent_back")


@router.post("/copies/{copy_id}/recall")
async def recall(request: Request, copy_id: Id, parts: Parts, who: Anyone) -> Response:
    """Take a released copy back; when this answers, the public list says so."""
    reason = await _reason(request, LIMITS["recall.reason_letters"])
    async with parts.service.db.read() as uow:
        copy = await queues.copy_of(uow, who, copy_id)
    if not _may_recall(copy, who):
        raise NotFound("web.no_such_thing")
    await parts.signer.ask("recall", copy=copy_id, reason=reason, by=who.person_id)
    return back(f"/desk/copies/{copy_id}", "desk.recalled")
