"""The certifying official's queue, and a new paper from the counter: laid in the inbox exactly as a portal lays one."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile

from api.clients.model import Caller, Scope
from api.desk import queues
from api.desk.pages import DeskRoute, back, form_of, page
from api.desk.sessions import DeskPerson
from api.portal.requests import lay
from api.portal.schemas import CopyIn
from api.portal.uploads import keep_file
from api.web.access import desk
from api.web.parts import Parts, WebParts
from core.clock import VIETNAM
from core.errors import BadInput, ServiceError
from core.ids import new_id
from core.limits import LIMITS
from core.messages import sentence
from signer.copies.register import entry_table
from signer.records import copy_table

__all__ = ["CHECKS", "router"]

router = APIRouter(route_class=DeskRoute, include_in_schema=False)
Certifier = Annotated[DeskPerson, desk("certifier")]
Anyone = Annotated[DeskPerson, desk()]

CHECKS: Final = (
    "desk.check_original", "desk.check_unaltered", "desk.check_readable", "desk.check_not_secret", "desk.check_authority",
    "desk.check_content", "desk.check_foreign",
)  # fmt: skip
"""What has to be looked at on the original before it may be certified (Decree 23/2015 art. 20 and 22)."""

_ID: Final = re.compile(r"^[0-9a-z]{26}$")
_NUMBERS: Final = ("copies", "pages", "fee")
_TEXTS: Final = ("kind", "original_number", "requester", "notes", "device")
_DAYS_SHOWN: Final = 3
_REST_SECONDS: Final = 8.0
_CopyIn: TypeAdapter[CopyIn] = TypeAdapter(CopyIn)


@router.get("/inbox")
async def inbox(request: Request, parts: Parts, who: Certifier) -> Response:
    """What waits for this official, oldest first; what is on its way; what was refused lately."""
    now = parts.service.clock.now()
    async with parts.service.db.read() as uow:
        waiting = await queues.queue(uow, who, "awaiting_certifier", now)
        coming = await queues.received(uow, who, now - dt.timedelta(days=_DAYS_SHOWN))
        asked = await queues.steps(uow, who, now)
        done = await _done_today(uow, who, now)
    return page(
        request, "inbox.html", who=who, title="desk.inbox", waiting=waiting[: LIMITS["web.page"]],
        more=len(waiting) > LIMITS["web.page"], coming=coming, steps=asked, done=done,
    )  # fmt: skip


async def _done_today(uow: Any, who: DeskPerson, now: dt.datetime) -> int:
    c = copy_table.c
    start = dt.datetime.combine(now.astimezone(VIETNAM).date(), dt.time(), VIETNAM)
    query = sa.select(sa.func.count()).where(
        c.agency_id == who.agency.id, c.certifier_id == who.person_id, c.state == "released", c.settled_at >= start
    )
    return int((await uow.execute(query)).scalar_one())


@router.post("/find")
async def find(request: Request, parts: Parts, who: Anyone) -> Response:
    """A copy by its number in the book; a search stands in no address. Raises ``desk.no_such_number``."""
    form = await form_of(request)
    number, year = (form.get(name, "") for name in ("number", "year"))
    c, e = copy_table.c, entry_table.c
    if not (number.isascii() and number.isdigit() and year.isascii() and year.isdigit() and len(number + year) < 14):
        raise BadInput("desk.no_such_number")
    query = sa.select(c.id).select_from(copy_table.join(entry_table, c.entry_id == e.id)).where(
        e.agency_id == who.agency.id, e.number == int(number), e.year == int(year)
    ).order_by(c.id.desc())  # fmt: skip
    async with parts.service.db.read() as uow:
        for copy_id in (await uow.execute(query.limit(10))).scalars().all():
            try:
                await queues.copy_of(uow, who, copy_id)
            except ServiceError:
                continue
            return back(f"/desk/copies/{copy_id}")
    raise BadInput("desk.no_such_number")


# --------------------------------------------------------------------------------------------------------- new paper
@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What the form says, as far as it can be used, and which fields cannot."""

    typed: dict[str, Any]
    wanted: CopyIn | None
    wrong: frozenset[str]


@router.get("/new")
async def new_page(request: Request, parts: Parts, who: Certifier) -> Response:
    """An empty form; its id makes a second press of the button harmless."""
    return _form(request, who, {"id": new_id(parts.service.clock), "copies": "1"})


def _form(
    request: Request, who: DeskPerson, typed: dict[str, Any], wrong: frozenset[str] = frozenset(),
    problem: ServiceError | None = None,
) -> Response:  # fmt: skip
    typed = {**dict.fromkeys((*_TEXTS, *_NUMBERS), ""), "checks": [], "kept": [], **typed}
    return page(
        request, "new.html", who=who, title="desk.new", status=400 if problem else 200, problem=problem, typed=typed,
        wrong=wrong, checks=CHECKS,
    )  # fmt: skip


@router.post("/new")
async def new(request: Request, parts: Parts, who: Certifier) -> Response:
    """Into the inbox, under the id that the copy will have. What was typed, and files that arrived, stay after an error."""
    form = await request.form(max_files=LIMITS["web.files_per_copy"], max_fields=1_000)
    caller = _caller(who)
    kept = [str(each) for each in form.getlist("kept")]
    try:
        kept += await _files(parts, caller, form)
        wish = _wish(form, who, kept, parts.service.clock.now())
        if wish.wanted is None:
            return _form(request, who, wish.typed, wish.wrong, BadInput("desk.form_wrong"))
        if len(wish.typed["checks"]) != len(CHECKS):
            return _form(request, who, wish.typed, frozenset({"checks"}), BadInput("desk.checks_open"))
        request_id = wish.typed["id"]
        await lay(parts, caller, request_id, wish.wanted)
    except ServiceError as error:
        return _form(request, who, _typed(form, kept), problem=error)
    await parts.signer.wake()
    await parts.signer.rest(request_id, _REST_SECONDS)
    return back(f"/desk/copies/{request_id}")


def _caller(who: DeskPerson) -> Caller:
    """The agency's own desk, as a client that holds this agency alone."""
    return Caller(
        client_id=who.agency.id, agencies=frozenset({who.agency.id}), scopes=frozenset({Scope.COPIES_WRITE})
    )  # fmt: skip


async def _files(parts: WebParts, caller: Caller, form: FormData) -> list[str]:
    return [
        await keep_file(parts, caller, new_id(parts.service.clock), data)
        for file in form.getlist("file")
        if isinstance(file, UploadFile) and (data := await file.read())  # an empty field is a file without bytes
    ]


def _typed(form: FormData, kept: list[str]) -> dict[str, Any]:
    typed: dict[str, Any] = {name: str(form.get(name, "")).strip() for name in ("id", *_TEXTS, *_NUMBERS)}
    return {**typed, "checks": [each for each in CHECKS if each in form.getlist("check")], "kept": kept}


def _wish(form: FormData, who: DeskPerson, kept: list[str], now: dt.datetime) -> _Wish:
    typed = _typed(form, kept)
    value: dict[str, Any] = {
        "agency": who.agency.id, "certifier": who.person_id, "files": kept,
        "checklist": [sentence(each) for each in typed["checks"]],
        "scan": {"officer": who.person_id, "device": typed["device"], "scanned_at": now},
        **{name: typed[name] for name in _TEXTS if name != "device"},
        **{name: typed[name] for name in _NUMBERS if typed[name]},
    }  # fmt: skip
    wrong = set() if _ID.fullmatch(typed["id"]) else {"id"}
    try:
        wanted = _CopyIn.validate_python(value)
    except ValidationError as error:
        wrong |= {str(each["loc"][1] if each["loc"][0] == "scan" else each["loc"][0]) for each in error.errors()}
        wanted = None
    return _Wish(typed=typed, wanted=None if wrong else wanted, wrong=frozenset(wrong))
