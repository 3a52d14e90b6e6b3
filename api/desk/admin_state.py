"""Books, trust and portals: how things stand, and what can be proposed about them."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response

from api.clients.model import Client
from api.clients.store import token_table
from api.desk.admin import Admin, propose
from api.desk.pages import DeskRoute, form_of, page
from api.desk.sessions import DeskPerson
from api.portal.schemas import Id
from api.web.parts import Parts, WebParts
from core.certificates import Certificate
from core.clock import VIETNAM
from core.db import UnitOfWork
from core.errors import BadInput, ServiceError
from core.limits import LIMITS
from signer.copies.inbox import request_table as paper_table
from signer.copies.wording import Wording
from signer.credentials import Credential
from signer.keystores.model import KeyPurpose
from signer.requests.records import request_table

__all__ = ["router"]

router = APIRouter(prefix="/admin", route_class=DeskRoute, include_in_schema=False)

_SOON: Final = dt.timedelta(days=30)
_SERVICE: Final = (KeyPurpose.CA, KeyPurpose.TSA, KeyPurpose.OCSP, KeyPurpose.LIST, KeyPurpose.REPORT)


# ------------------------------------------------------------------------------------------------------------- books
@router.get("/books")
async def books(request: Request, parts: Parts, who: Admin) -> Response:
    """Every volume, and the next one to propose."""
    return await _books(request, parts, who)


async def _books(request: Request, parts: WebParts, who: DeskPerson, problem: ServiceError | None = None) -> Response:
    service, wording = parts.service, Wording.of(who.agency.wording)
    async with service.db.read() as uow:
        found = await service.register.books(uow, who.agency.id)
    year = service.clock.now().astimezone(VIETNAM).year
    rows = [(book, wording.book_text(book.volume, book.year, book.kind)) for book in reversed(found)]
    return page(
        request, "admin_books.html", who=who, title="desk.books", rows=rows, kind=wording.book_kind,
        years=(year, year + 1), problem=problem, status=400 if problem else 200,
    )  # fmt: skip


@router.post("/books")
async def open_book(request: Request, parts: Parts, who: Admin) -> Response:
    """Propose the next volume of a year."""
    form = await form_of(request)
    try:
        year = form.get("year", "")
        if not (year.isascii() and year.isdigit() and len(year) == 4):
            raise BadInput("decision.malformed")
        payload = {"kind": Wording.of(who.agency.wording).book_kind, "year": int(year)}
        return await propose(parts, who, "book.open", payload)
    except ServiceError as error:
        return await _books(request, parts, who, error)


@router.post("/books/{book_id}/close")
async def close_book(request: Request, book_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose to close one."""
    try:
        return await propose(parts, who, "book.close", {"book": book_id})
    except ServiceError as error:
        return await _books(request, parts, who, error)


# ------------------------------------------------------------------------------------------------------------- trust
@dataclass(frozen=True, slots=True, kw_only=True)
class _Trusted:
    """A key that papers of this agency lean on."""

    what: str
    """Message code."""
    name: str
    begins: dt.datetime
    ends: dt.datetime
    state: str
    """``good``, ``soon`` (ends within thirty days) or ``over``."""
    sha256: str


def _trusted(what: str, credential: Credential, now: dt.datetime, name: str = "") -> _Trusted:
    if credential.certificate is None:
        begins = credential.created_at
        ends = begins + dt.timedelta(days=LIMITS["qr.key_days"])
        return _Trusted(what=what, name=name, begins=begins, ends=ends, state=_state(ends, now), sha256="")
    certificate = Certificate.parse(credential.certificate)
    return _Trusted(
        what=what, name=name or certificate.parsed.subject.rfc4514_string(), begins=certificate.not_before,
        ends=certificate.not_after, state=_state(certificate.not_after, now), sha256=certificate.sha256.hex(),
    )  # fmt: skip


def _state(ends: dt.datetime, now: dt.datetime) -> str:
    if ends <= now:
        return "over"
    return "soon" if ends <= now + _SOON else "good"


@router.get("/trust")
async def trust(request: Request, parts: Parts, who: Admin) -> Response:
    """Roots, service certificates, the agency's seal and code keys, officials' certificates: until when each holds."""
    service = parts.service
    now = service.clock.now()
    async with service.db.read() as uow:
        rows = await _service_rows(uow, parts, now)
        own = await _own_rows(uow, parts, who, now)
    return page(
        request, "admin_trust.html", who=who, title="desk.trust", rows=rows, own=own,
        log=service.log_vkey, size=await service.log.size(),
    )  # fmt: skip


async def _service_rows(uow: UnitOfWork, parts: WebParts, now: dt.datetime) -> list[_Trusted]:
    found = []
    for purpose in _SERVICE:
        for credential, active in await parts.service.credentials.all(uow, purpose):
            if active:
                found.append(_trusted(f"desk.trust_{credential.owner}", credential, now))
    return found


async def _own_rows(uow: UnitOfWork, parts: WebParts, who: DeskPerson, now: dt.datetime) -> list[_Trusted]:
    service = parts.service
    people = {person.id: person.name for person, rights in await service.directory.people(uow, who.agency.id) if rights}
    found = []
    for purpose, what in ((KeyPurpose.SEAL, "desk.trust_seal"), (KeyPurpose.QR, "desk.trust_qr")):
        for credential, active in await service.credentials.all(uow, purpose):
            if active and credential.owner == who.agency.id:
                found.append(_trusted(what, credential, now, who.agency.name))
    for credential, active in await service.credentials.all(uow, KeyPurpose.DOCUMENT):
        if active and credential.owner in people:
            found.append(_trusted("desk.trust_official", credential, now, people[credential.owner]))
    return found


# ----------------------------------------------------------------------------------------------------------- portals
@router.get("/clients")
async def clients(request: Request, parts: Parts, who: Admin) -> Response:
    """Portals that speak for the agency, with what they may do and when they last asked."""
    return await _clients(request, parts, who)


async def _clients(request: Request, parts: WebParts, who: DeskPerson, problem: ServiceError | None = None) -> Response:
    found = [each for each in await parts.clients.all() if who.agency.id in each.agencies]
    async with parts.service.db.read() as uow:
        rows = [(each, await _last(uow, each, who.agency.id)) for each in found if each.ended_at is None]
    return page(
        request, "admin_clients.html", who=who, title="desk.clients", rows=rows, problem=problem,
        status=400 if problem else 200,
    )  # fmt: skip


async def _last(uow: UnitOfWork, client: Client, agency_id: str) -> dt.datetime | None:
    """When it last asked something of this agency, or took a token."""
    moments = []
    for table in (paper_table, request_table):
        mine = table.c.client_id == client.id, table.c.agency_id == agency_id
        moments.append((await uow.execute(sa.select(sa.func.max(table.c.created_at)).where(*mine))).scalar_one())
    t = token_table.c
    until = (await uow.execute(sa.select(sa.func.max(t.expires_at)).where(t.client_id == client.id))).scalar_one()
    if until is not None:
        moments.append(until - dt.timedelta(seconds=LIMITS["oauth.token_seconds"]))
    return max((at for at in moments if at is not None), default=None)


@router.post("/clients")
async def grant(request: Request, parts: Parts, who: Admin) -> Response:
    """Propose that a portal may speak for the agency; the operator knows its id."""
    form = await form_of(request)
    try:
        return await propose(parts, who, "client.grant", {"client": form.get("client", "").lower()})
    except ServiceError as error:
        return await _clients(request, parts, who, error)


@router.post("/clients/{client_id}/end")
async def end(request: Request, client_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose that it no longer may."""
    try:
        return await propose(parts, who, "client.end", {"client": client_id})
    except ServiceError as error:
        return await _clients(request, parts, who, error)
