"""What the reconciliation of keys has found: for the administrators who decide about the realm's own keys."""

from dataclasses import dataclass

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response

from api.desk.admin import Admin, room_of
from api.desk.pages import DeskRoute, back, form_of, page
from api.desk.sessions import DeskPerson
from api.portal.schemas import Id
from api.web.parts import Parts, WebParts
from audit.keyuse import looks
from audit.keyuse.model import KeyVersion
from core.db import UnitOfWork
from core.directory.records import person_table
from core.errors import NotFound, ServiceError
from core.limits import LIMITS
from signer.decisions.keys import is_keeper, owner_name
from signer.keystores.model import KeyPurpose
from signer.keystores.records import key_table

__all__ = ["router"]

router = APIRouter(prefix="/admin/findings", route_class=DeskRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """As people call it."""

    id: str
    purpose: str
    owner: str


async def _keys(uow: UnitOfWork, parts: WebParts, found: list[looks.Found]) -> dict[KeyVersion, _Key]:
    """Those that the registry knows; a finding may be about a name that is no key of ours."""
    t, named = key_table.c, {each.finding.key for each in found if each.finding.key is not None}
    query = sa.select(t.id, t.owner, t.purpose, t.place, t.name, t.version).where(
        t.name.in_({key.name for key in named})
    )
    rows = {KeyVersion(row.place, row.name, row.version): row for row in await uow.execute(query)}
    return {
        key: _Key(
            id=row.id, purpose=f"key.purpose_{row.purpose}",
            # a citizen is nobody's business here, and a name more than the id would be
            owner=row.owner if row.purpose == KeyPurpose.DOCUMENT.value
            else await owner_name(uow, room_of(parts), KeyPurpose(row.purpose), row.owner),
        )
        for key, row in rows.items() if key in named
    }  # fmt: skip


async def _names(uow: UnitOfWork, found: list[looks.Found]) -> dict[str, str]:
    t, people = person_table.c, {each.look.person_id for each in found if each.look is not None}
    return {row.id: row.name for row in await uow.execute(sa.select(t.id, t.name).where(t.id.in_(people)))}


async def _list(
    request: Request, parts: WebParts, who: DeskPerson, problem: ServiceError | None = None,
    typed: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    """``typed``: what stays in the form of the finding named in it."""
    async with parts.service.db.read() as uow:
        if not await is_keeper(uow, room_of(parts), who.agency):
            raise NotFound("web.no_such_thing")
        standing = await looks.standing(uow, parts.service.clock.now())
        rows = await looks.found(uow, LIMITS["web.page"])
        keys, names = await _keys(uow, parts, rows), await _names(uow, rows)
    return page(
        request, "admin_findings.html", who=who, title="desk.findings", rows=rows, keys=keys, names=names, standing=standing,
        problem=problem, typed=typed, status=400 if problem else 200,
    )  # fmt: skip


@router.get("")
async def findings(request: Request, parts: Parts, who: Admin) -> Response:
    """Those that wait for somebody first."""
    return await _list(request, parts, who)


@router.post("/{finding_id}/look")
async def look(request: Request, finding_id: Id, parts: Parts, who: Admin) -> Response:
    """This person has looked at it. Raises ``web.no_such_thing``."""
    why = (await form_of(request)).get("why", "")
    try:
        await parts.signer.ask("finding.look", why.encode(), agency=who.agency.id, finding=finding_id, by=who.person_id)
    except ServiceError as error:
        return await _list(request, parts, who, error, {"finding": finding_id, "why": why})
    return back("/desk/admin/findings", "desk.finding_kept")
