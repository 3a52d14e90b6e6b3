"""People of the agency: who they are, what they may do and by which instrument, what can be proposed about them."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from api.desk.admin import Admin, day_of, official_of, propose
from api.desk.pages import DeskRoute, form_of, page
from api.desk.sessions import DeskPerson
from api.portal.schemas import Id
from api.sign.pages import qr_svg
from api.web.parts import Parts, WebParts
from core.db import UnitOfWork
from core.directory.model import Authorisation, Person, Role
from core.errors import BadInput, NotFound, ServiceError
from core.messages import sentence
from core.values import Regime
from signer.activation.devices import passkeys_of

__all__ = ["router"]

router = APIRouter(prefix="/admin/people", route_class=DeskRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A person with what runs now and what is over."""

    id: str
    name: str
    runs: tuple[Authorisation, ...]
    """Running or still to begin."""
    over: tuple[Authorisation, ...]
    phone: str
    """``active``, ``suspended`` or ``none``."""


async def _row(uow: UnitOfWork, person: Person, rights: list[Authorisation], now: dt.datetime) -> _Row:
    over = tuple(right for right in rights if right.valid_to is not None and right.valid_to <= now)
    states = {passkey.state for passkey in await passkeys_of(uow, person.id)}
    phone = next((state for state in ("active", "suspended") if state in states), "none")
    runs = tuple(right for right in rights if right not in over)
    return _Row(id=person.id, name=person.name, runs=runs, over=over, phone=phone)


async def _rows(parts: WebParts, who: DeskPerson) -> list[_Row]:
    """People with a role, now or before; a citizen whom the agency brought in has none and is not shown."""
    service = parts.service
    async with service.db.read() as uow:
        people = await service.directory.people(uow, who.agency.id)
        rows = [await _row(uow, person, rights, service.clock.now()) for person, rights in people if rights]
    return sorted(rows, key=lambda row: (not row.runs, row.name.casefold()))


def _granted(form: Mapping[str, str], scope: list[str]) -> list[dict[str, Any]]:
    """The one role of a form. Raises ``decision.dates``."""
    return [
        {
            "role": form.get("role", ""), "capacity": form.get("capacity", ""), "number": form.get("number", ""),
            "dated": day_of(form, "dated"), "valid_from": day_of(form, "valid_from"),
            "valid_to": day_of(form, "valid_to", end=True), "scope": scope,
        }
    ]  # fmt: skip


async def _scope(request: Request) -> list[str]:
    return [str(value) for value in (await request.form()).getlist("scope")]


async def _list(
    request: Request, parts: WebParts, who: DeskPerson, problem: ServiceError | None = None,
    typed: dict[str, Any] | None = None,
) -> Response:  # fmt: skip
    return page(
        request, "admin_people.html", who=who, title="desk.people", rows=await _rows(parts, who), roles=list(Role),
        regimes=list(Regime), problem=problem, typed=typed or {"scope": list(Regime)}, status=400 if problem else 200,
    )  # fmt: skip


@router.get("")
async def people(request: Request, parts: Parts, who: Admin) -> Response:
    """Everybody with a role, and the form for somebody new."""
    return await _list(request, parts, who)


@router.post("")
async def add(request: Request, parts: Parts, who: Admin) -> Response:
    """Propose somebody new; what was typed stays where it is refused."""
    form, scope = await form_of(request), await _scope(request)
    try:
        payload = {
            "name": form.get("name", ""), "national_id": form.get("national_id", ""), "roles": _granted(form, scope),
        }  # fmt: skip
        return await propose(parts, who, "person.add", payload)
    except BadInput as error:
        return await _list(request, parts, who, error, {**form, "scope": scope})


async def _person(
    request: Request, parts: WebParts, who: DeskPerson, person_id: str, problem: ServiceError | None = None,
    typed: dict[str, Any] | None = None,
) -> Response:  # fmt: skip
    row = next((row for row in await _rows(parts, who) if row.id == person_id), None)
    if row is None:
        raise NotFound("web.no_such_thing")
    return page(
        request, "admin_person.html", who=who, title="desk.person", row=row, roles=list(Role), regimes=list(Regime),
        problem=problem, typed=typed or {"scope": list(Regime)}, status=400 if problem else 200,
        own=person_id == who.person_id,
    )  # fmt: skip


@router.get("/{person_id}")
async def person(request: Request, person_id: Id, parts: Parts, who: Admin) -> Response:
    """One person: roles with their instruments, the phone, and what can be proposed."""
    return await _person(request, parts, who, person_id)


@router.post("/{person_id}/roles")
async def give(request: Request, person_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose a further role."""
    form, scope = await form_of(request), await _scope(request)
    try:
        return await propose(parts, who, "role.give", {"person": person_id, "roles": _granted(form, scope)})
    except BadInput as error:
        return await _person(request, parts, who, person_id, error, {**form, "scope": scope})


@router.post("/{person_id}/roles/{right_id}/end")
async def end(request: Request, person_id: Id, right_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose that a term ends, on a day or at once."""
    form = await form_of(request)
    async with parts.service.db.read() as uow:
        await official_of(uow, parts, who, person_id)
    try:
        return await propose(parts, who, "role.end", {"authorisation": right_id, "at": day_of(form, "at", end=True)})
    except BadInput as error:
        return await _person(request, parts, who, person_id, error)


@router.post("/{person_id}/suspend")
async def suspend(person_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose that the person's phone stops counting."""
    return await propose(parts, who, "phone.suspend", {"person": person_id})


@router.post("/{person_id}/number")
async def number(request: Request, person_id: Id, parts: Parts, who: Admin) -> Response:
    """Propose the national number of somebody who has none here."""
    form = await form_of(request)
    try:
        payload = {"person": person_id, "national_id": form.get("national_id", "")}
        return await propose(parts, who, "person.identify", payload)
    except BadInput as error:
        return await _person(request, parts, who, person_id, error)


@router.post("/{person_id}/invite")
async def invite(request: Request, person_id: Id, parts: Parts, who: Admin) -> Response:
    """A link to be handed over: with it the person proves identity and registers a phone. It proves nothing by itself."""
    async with parts.service.db.read() as uow:
        await official_of(uow, parts, who, person_id)
    made = json.loads(await parts.signer.ask("enrol.invite", person=person_id))
    return page(
        request, "admin_link.html", who=who, title="desk.invite_link", link=made["link"],
        expires=dt.datetime.fromisoformat(made["expires"]), back=f"/desk/admin/people/{person_id}",
        qr=qr_svg(made["link"], sentence("desk.qr")), how="desk.invite_how", opens="", hand=True,
    )  # fmt: skip
