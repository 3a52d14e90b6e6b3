"""``/api/v1/batches``: many papers at once, each with its own outcome."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api.clients.model import Caller
from api.portal.answers import TAGGED, created, page, tagged
from api.portal.idempotency import IdempotentRoute
from api.portal.requests import lay_batch
from api.portal.schemas import BatchIn, BatchItemOut, BatchOut, Cursor, Id, Page, Place
from api.portal.views import copy_view
from api.web.access import client
from api.web.parts import Parts, WebParts
from core.db import UnitOfWork
from core.errors import NotFound
from core.limits import LIMITS
from signer.copies.batches import Batch, Batches
from signer.copies.inbox import Inbox

__all__ = ["router"]

router = APIRouter(prefix="/batches", tags=["batches"], route_class=IdempotentRoute)
Reader = Annotated[Caller, client("copies:read")]
Writer = Annotated[Caller, client("copies:write")]
Limit = Annotated[int, Query(ge=1, le=LIMITS["web.page"])]
_RESTING = ("awaiting_certifier", "awaiting_seal", "released", "voided", "refused")


def _batches(parts: WebParts) -> Batches:
    return Batches(Inbox(parts.service.clock))


async def _own(parts: WebParts, uow: UnitOfWork, caller: Caller, batch_id: str) -> Batch:
    batch = await _batches(parts).get(uow, batch_id)
    if batch.client_id != caller.client_id or batch.agency_id not in caller.agencies:
        raise NotFound("batch.no_such_batch", batch=batch_id)
    return batch


async def _view(parts: WebParts, uow: UnitOfWork, batch: Batch) -> BatchOut:
    agency = await parts.service.directory.agency(uow, batch.agency_id)
    counts = await _batches(parts).counts(uow, batch.id)
    path = f"/api/v1/batches/{batch.id}"
    return BatchOut(
        id=batch.id, agency=agency.code, regime=batch.regime.value, realm=batch.realm.value, total=batch.total,
        counts=counts, finished=sum(counts[place] for place in _RESTING) >= batch.total, created_at=batch.created_at,
        links={"self": path, "items": f"{path}/items"},
    )  # fmt: skip


@router.post("", status_code=202, response_model=BatchOut, responses=created(202))
async def create_batch(request: Request, wanted: BatchIn, parts: Parts, caller: Writer) -> Response:
    """Leave many papers; files were sent before to ``/files`` or ``/uploads``."""
    batch_id = request.state.subject
    await lay_batch(parts, caller, batch_id, wanted)
    await parts.signer.wake()
    async with parts.service.db.read() as uow:
        found = await _view(parts, uow, await _own(parts, uow, caller, batch_id))
    return tagged(request, found, 202, {"location": f"/api/v1/batches/{batch_id}"})


@router.get("", response_model=Page[BatchOut])
async def list_batches(parts: Parts, caller: Reader, after: Cursor | None = None, limit: Limit = 50) -> Response:
    """The newest first."""
    async with parts.service.db.read() as uow:
        found = await _batches(parts).of_client(uow, caller.client_id, caller.agencies, after, limit + 1)
        views = [await _view(parts, uow, each) for each in found]
    return page(views, limit, views[limit - 1].id if len(views) > limit else None)


@router.get("/{batch_id}", response_model=BatchOut, responses=TAGGED)
async def get_batch(request: Request, batch_id: Id, parts: Parts, caller: Reader) -> Response:
    """How many items stand where."""
    async with parts.service.db.read() as uow:
        found = await _view(parts, uow, await _own(parts, uow, caller, batch_id))
    return tagged(request, found)


@router.get("/{batch_id}/items", response_model=Page[BatchItemOut])
async def list_batch_items(
    batch_id: Id, parts: Parts, caller: Reader, place: Place | None = None,
    after: Annotated[int, Query(ge=-1, le=1_000_000)] = -1, limit: Limit = 50,
) -> Response:  # fmt: skip
    """Each item in its order, with its copy or what was wrong with it; ``place`` filters by where it stands."""
    async with parts.service.db.read() as uow:
        await _own(parts, uow, caller, batch_id)
        rows = await _batches(parts).items(uow, batch_id, after, limit + 1, place)
        items: list[dict[str, Any]] = [
            {"position": request.position, "place": where,
             "copy": (await copy_view(parts, uow, caller, request.id)).model_dump(mode="json")}
            for request, where in rows[:limit]
        ]  # fmt: skip
    rest = items if len(rows) <= limit else [*items, {}]
    return page(rest, limit, str(rows[limit - 1][0].position) if len(rows) > limit else None)


@router.post("/{batch_id}/retry", status_code=202, response_model=BatchOut)
async def retry_batch(request: Request, batch_id: Id, parts: Parts, caller: Writer) -> Response:
    """Refused items wait again, under the same ids."""
    async with parts.service.db.write() as uow:
        batch = await _own(parts, uow, caller, batch_id)
        await _batches(parts).retry(uow, batch_id)
    await parts.signer.wake()
    async with parts.service.db.read() as uow:
        found = await _view(parts, uow, batch)
    return tagged(request, found, 202)
