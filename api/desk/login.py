"""Log-in, lock and log-out: a log-in passkey opens a session and never approves anything.

A passkey is registered with a one-time ticket, or by a session whose passkey was used a moment ago. Questions are spent
before the answer is looked at, in a transaction of their own: a second try needs a new question.
"""

import datetime as dt
import json
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.desk.pages import DeskRoute, back, build, page, safe_next, static
from api.desk.passkeys import LoginPasskeys, Passkey
from api.desk.sessions import Cookies, DeskPerson, Sessions, new_token, require_own_page
from api.portal.schemas import Id
from api.sign.webauthn import Credential, Registration
from api.web.access import ANYONE, desk
from api.web.pages import TYPES
from api.web.parts import Parts, WebParts
from core.errors import NotFound, Refused
from core.limits import LIMITS

__all__ = ["router"]

router = APIRouter(route_class=DeskRoute, include_in_schema=False)
Anyone = Annotated[DeskPerson, desk(roleless_too=True)]
Locked = Annotated[DeskPerson, desk(locked_too=True)]


# ------------------------------------------------------------------------------------------------------------ shapes
class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LogIn(_In):
    """An answer to a question of log-in or unlock; ``next``: where the person was going."""

    tx: Id
    credential: Credential
    next: str | None = Field(default=None, max_length=200)


class Ticket(_In):
    """A one-time ticket; without one the session counts."""

    ticket: str | None = Field(default=None, min_length=20, max_length=100, pattern=r"^[A-Za-z0-9_-]+$")


class NewPasskey(Ticket):
    """A new passkey."""

    tx: Id
    credential: Registration


def _passkeys(parts: WebParts) -> LoginPasskeys:
    service = parts.service
    return LoginPasskeys(service.settings, service.clock, service.realm)


def _sessions(parts: WebParts) -> Sessions:
    return Sessions(parts.service.clock, parts.service.realm)


def _own_page(request: Request, parts: WebParts) -> None:
    require_own_page(request, parts.service.settings.url)


# ------------------------------------------------------------------------------------------------------------- pages
@router.get("/static/{version}/{name}", dependencies=[ANYONE])
async def static_file(version: str, name: str) -> Response:
    """Style and script. Raises ``web.no_such_thing``."""
    data = static().get(name)
    if data is None:
        raise NotFound("web.no_such_thing")
    kept = "public, max-age=31536000, immutable" if version == build() else "no-cache"
    return Response(data, headers={"cache-control": kept}, media_type=TYPES[name[name.rfind(".") :]])


@router.get("/login", dependencies=[ANYONE])
async def login_page(request: Request, next: str | None = None) -> Response:  # noqa: A002 - the name in the URL
    """A button; the passkey says who it is."""
    return page(request, "login.html", who=None, title="desk.login", path=safe_next(next))


@router.get("/register", dependencies=[ANYONE])
async def register_page(request: Request) -> Response:
    """For who comes with a ticket: it stands behind the ``#`` and goes into no log."""
    return page(request, "register.html", who=None, title="desk.register")


# ------------------------------------------------------------------------------------------------------------ log-in
@router.post("/login/options", dependencies=[ANYONE])
async def login_options(request: Request, parts: Parts) -> JSONResponse:
    """A question for any log-in passkey of this host."""
    _own_page(request, parts)
    async with parts.service.db.write() as uow:
        return JSONResponse(await _passkeys(parts).ask_login(uow))


@router.post("/login", dependencies=[ANYONE])
async def log_in(request: Request, parts: Parts, given: LogIn) -> JSONResponse:
    """A session with a new token; a session that these cookies had ends. Raises ``desk.login_failed``."""
    _own_page(request, parts)
    passkey = await _answered(parts, given, "login")
    return await _signed_in(request, parts, passkey.person_id, passkey.id, safe_next(given.next))


async def _answered(parts: WebParts, given: LogIn, purpose: str, who: DeskPerson | None = None) -> Passkey:
    service, passkeys = parts.service, _passkeys(parts)
    async with service.db.write() as uow:
        question = await passkeys.spend(uow, given.tx, purpose)
    if who is not None and question.session_id != who.session_id:
        raise Refused("desk.login_failed")
    async with service.db.write() as uow:
        return await passkeys.verify(uow, question, given.credential.model_dump())


async def _signed_in(request: Request, parts: WebParts, person_id: str, passkey_id: str, path: str) -> JSONResponse:
    service, cookies, sessions = parts.service, Cookies(parts.service.settings), _sessions(parts)
    token, device = cookies.read(request)
    agent = request.headers.get("user-agent", "")
    async with service.db.write() as uow:
        old = await sessions.find(uow, token, device, agent)
        device = new_token()  # as new as the session: neither of the two can have been planted
        if old is not None:
            await sessions.end(uow, old.id)
        fresh = await sessions.start(uow, person_id=person_id, passkey_id=passkey_id, device=device, agent=agent)
        found = await sessions.find(uow, fresh, device, agent)
        assert found is not None
        who = await sessions.person(uow, found, service.directory)
    answer = JSONResponse({"next": path, "who": who.person_id})
    cookies.give(answer, fresh, device)
    return answer


# -------------------------------------------------------------------------------------------------------------- lock
@router.get("/session")
async def session_state(who: Locked) -> JSONResponse:
    """For the page's own clock: asking is no sign of life."""
    return JSONResponse({"locked": who.locked, "who": who.person_id})


@router.post("/touch")
async def touch(parts: Parts, who: Anyone) -> Response:
    """Somebody types: the idle time begins anew. A page that is locked already stays locked."""
    async with parts.service.db.write() as uow:
        await _sessions(parts).touch(uow, who.session_id)
    return Response(status_code=204)


@router.post("/lock")
async def lock(request: Request, parts: Parts, who: Locked) -> Response:
    """By hand: who leaves the desk for a moment."""
    async with parts.service.db.write() as uow:
        await _sessions(parts).lock(uow, who.session_id)
    if "application/json" in request.headers.get("accept", ""):
        return Response(status_code=204)
    return back("/desk")


@router.post("/unlock/options")
async def unlock_options(parts: Parts, who: Locked) -> JSONResponse:
    """A question for the session's own person."""
    async with parts.service.db.write() as uow:
        return JSONResponse(await _passkeys(parts).ask_unlock(uow, who.person_id, who.session_id))


@router.post("/unlock")
async def unlock(request: Request, parts: Parts, who: Locked, given: LogIn) -> JSONResponse:
    """The same session, under a new token. Raises ``desk.login_failed``."""
    passkey = await _answered(parts, given, "unlock", who)
    cookies = Cookies(parts.service.settings)
    async with parts.service.db.write() as uow:
        token = await _sessions(parts).renew(uow, who.session_id, passkey.id)
    answer = JSONResponse({"next": safe_next(given.next), "who": who.person_id})
    cookies.give(answer, token, cookies.read(request)[1])
    return answer


@router.post("/logout")
async def log_out(request: Request, parts: Parts, who: Locked) -> Response:
    """This session, or with ``everywhere`` all of the person's."""
    form = await request.form(max_files=0, max_fields=2)
    async with parts.service.db.write() as uow:
        sessions = _sessions(parts)
        await (sessions.end_all(uow, who.person_id) if form.get("everywhere") else sessions.end(uow, who.session_id))
    answer = back("/desk/login", "desk.logged_out")
    Cookies(parts.service.settings).take(answer)
    return answer


# ---------------------------------------------------------------------------------------------------------- passkeys
@router.post("/register/options", dependencies=[ANYONE])
async def register_options(request: Request, parts: Parts, given: Ticket) -> JSONResponse:
    """Options for a new passkey. Raises ``ticket.unknown``, ``desk.verify_again``, ``desk.signed_out``."""
    _own_page(request, parts)
    person_id, session_id = await _entitled(request, parts, given, spend=False)
    async with parts.service.db.write() as uow:
        person = await parts.service.directory.person(uow, person_id)
        return JSONResponse(await _passkeys(parts).ask_registration(uow, person_id, person.name, session_id))


@router.post("/register", dependencies=[ANYONE])
async def register(request: Request, parts: Parts, given: NewPasskey) -> JSONResponse:
    """A new passkey; who came with a ticket is signed in. The ticket is spent only for a passkey that was verified."""
    _own_page(request, parts)
    passkeys = _passkeys(parts)
    async with parts.service.db.write() as uow:
        question = await passkeys.spend(uow, given.tx, "register")
    credential_id, public_key = passkeys.verify_registration(question, given.credential.model_dump())
    person_id, session_id = await _entitled(request, parts, given, spend=True)
    _require_same(question, person_id, session_id)
    async with parts.service.db.write() as uow:
        made = await passkeys.add(uow, person_id, credential_id, public_key)
    if session_id is not None:
        return JSONResponse({"next": "/desk/account?said=desk.passkey_added", "who": person_id})
    return await _signed_in(request, parts, person_id, made, "/desk")


def _require_same(question: sa.Row[Any], person_id: str, session_id: str | None) -> None:
    if (question.person_id, question.session_id) != (person_id, session_id):
        raise Refused("desk.registration_failed")


async def _entitled(request: Request, parts: WebParts, given: Ticket, *, spend: bool) -> tuple[str, str | None]:
    """(person, session) who may register a passkey now: the signer knows the ticket, or the session has just shown one."""
    if given.ticket is not None:
        answer = json.loads(await parts.signer.ask("enrol.ticket", ticket=given.ticket, spend=spend))
        return str(answer["person"]), None
    who = await desk().dependency(request)
    fresh = dt.timedelta(seconds=LIMITS["desk.fresh_seconds"])
    if who.verified_at + fresh <= parts.service.clock.now():
        raise Refused("desk.verify_again")
    return who.person_id, who.session_id


@router.get("/account")
async def account(request: Request, parts: Parts, who: Anyone) -> Response:
    """The person's own passkeys and sessions."""
    async with parts.service.db.read() as uow:
        mine = await _passkeys(parts).of(uow, who.person_id)
        opened = await _sessions(parts).open_of(uow, who.person_id)
    return page(request, "account.html", who=who, title="desk.account", passkeys=mine, sessions=opened)


@router.post("/account/close")
async def close(parts: Parts, who: Anyone) -> Response:
    """All of the person's log-in passkeys and sessions end, these too; a new ticket starts afresh."""
    async with parts.service.db.write() as uow:
        await _passkeys(parts).revoke_all(uow, who.person_id)
        await _sessions(parts).end_all(uow, who.person_id)
    answer = back("/desk/login", "desk.closed")
    Cookies(parts.service.settings).take(answer)
    return answer


@router.post("/account/passkeys/{passkey_id}/revoke")
async def revoke(passkey_id: Id, parts: Parts, who: Anyone) -> Response:
    """Never the last one alone; the sessions that it opened end. Raises ``desk.last_passkey``."""
    async with parts.service.db.write() as uow:
        await _passkeys(parts).revoke(uow, who.person_id, passkey_id)
        await _sessions(parts).end_of_passkey(uow, passkey_id)
    return back("/desk/account", "desk.passkey_revoked")
