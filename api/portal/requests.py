"""From what a portal sends to requests in the inbox: agency, people, files, all of them the caller's own."""

from typing import Any

from api.clients.model import Caller
from api.portal.schemas import BatchIn, CopyIn, ItemIn
from api.portal.uploads import require_files
from api.web.parts import WebParts
from core.db import UnitOfWork
from core.directory.model import Agency, Role
from core.errors import NotFound, Refused
from core.ids import new_id
from core.values import Regime
from signer.copies.batches import Batch, Batches
from signer.copies.inbox import Inbox, PortalRequest

__all__ = ["agency_of", "lay", "lay_batch"]


async def agency_of(parts: WebParts, uow: UnitOfWork, caller: Caller, code: str) -> Agency:
    """An agency of the caller's, by code or id; another one does not exist. Raises ``directory.no_such_agency``."""
    agency = await parts.service.directory.agency(uow, code)
    if agency.id not in caller.agencies:
        raise NotFound("directory.no_such_agency", agency=code)
    return agency


async def lay(parts: WebParts, caller: Caller, request_id: str, wanted: CopyIn) -> None:
    """One request into the inbox, under the id that the copy will have."""
    service = parts.service
    async with service.db.write() as uow:
        agency = await agency_of(parts, uow, caller, wanted.agency)
        agency.require_active(service.clock.now())
        people = await _people(parts, uow, agency, wanted)
        await require_files(uow, caller, wanted.files)
        await Inbox(service.clock).put(uow, [_request(parts, caller, agency, request_id, wanted, people)])


async def lay_batch(parts: WebParts, caller: Caller, batch_id: str, wanted: BatchIn) -> None:
    """A whole batch, or nothing of it."""
    service = parts.service
    async with service.db.write() as uow:
        agency = await agency_of(parts, uow, caller, wanted.agency)
        agency.require_active(service.clock.now())
        people = await _people(parts, uow, agency, wanted)
        await require_files(uow, caller, [name for item in wanted.items for name in item.files])
        batch = Batch(
            id=batch_id, realm=service.realm, agency_id=agency.id, client_id=caller.client_id, regime=wanted.regime,
            total=len(wanted.items), created_at=service.clock.now(),
        )  # fmt: skip
        items = [
            _request(parts, caller, agency, new_id(service.clock), item, people, batch_id=batch_id, position=position)
            for position, item in enumerate(wanted.items)
        ]
        await Batches(Inbox(service.clock)).put(uow, batch, items)


def _request(
    parts: WebParts, caller: Caller, agency: Agency, request_id: str, item: ItemIn, people: dict[str, Any], **place: Any
) -> PortalRequest:
    facts = item.model_dump(
        mode="json",
        include={"kind", "original_number", "requester", "pages", "copies", "fee", "checklist", "notes", "scan"},
    )
    return PortalRequest(
        id=request_id, realm=agency.realm, agency_id=agency.id, client_id=caller.client_id, dossier=item.dossier,
        request={**facts, **people}, files=tuple(item.files), created_at=parts.service.clock.now(), **place,
    )  # fmt: skip


async def _people(parts: WebParts, uow: UnitOfWork, agency: Agency, wanted: CopyIn | BatchIn) -> dict[str, Any]:
    """Who will sign and seal: as asked, else the first whose authorisation runs. The desk asks again, with all rules."""
    now = parts.service.clock.now()
    known = await parts.service.directory.people(uow, agency.id)

    def holder(role: Role, but: str | None) -> str | None:
        for person, rights in known:
            for right in rights:
                if right.role is role and right.runs(now) and wanted.regime in right.scope and person.id != but:
                    return person.id
        return None

    certifier = wanted.certifier
    if wanted.regime is Regime.CERTIFIED_COPY:
        certifier = certifier or holder(Role.CERTIFIER, wanted.clerk)
    clerk = wanted.clerk or holder(Role.CLERK, certifier)
    ours = {person.id for person, _ in known}
    if clerk is None or (certifier is None and wanted.regime is Regime.CERTIFIED_COPY):
        raise Refused("directory.nobody", agency=agency.code)
    for person_id in (certifier, clerk):
        if person_id is not None and person_id not in ours:
            raise NotFound("directory.no_such_person", person=person_id)
    return {"regime": wanted.regime.value, "certifier_id": certifier, "clerk_id": clerk}
