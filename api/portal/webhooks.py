"""``/api/v1/webhooks`` and ``/api/v1/events``: endpoints, their log, replay; the feed that misses nothing."""

import datetime as dt
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from api.clients.model import Caller
from api.portal.answers import created
from api.portal.idempotency import IdempotentRoute
from api.portal.schemas import Cursor, Id
from api.web.access import client
from api.web.parts import Parts, WebParts
from api.webhooks import schemas
from api.webhooks.delivery import try_out
from api.webhooks.model import Endpoint
from api.webhooks.records import Deliveries, Endpoints
from audit.outbox import EventType, Outbox
from core.errors import BadInput, Conflict
from core.limits import LIMITS
from core.outbound import is_secure, named

__all__ = ["router"]

router = APIRouter(tags=["webhooks"], route_class=IdempotentRoute)
Owner = Annotated[Caller, client("webhooks:write")]
Reader = Annotated[Caller, client("events:read")]
State = Literal["new", "pending", "delivered", "failed"]
Limit = Annotated[int, Query(ge=1, le=LIMITS["web.page"])]


def _endpoints(parts: WebParts) -> Endpoints:
    return Endpoints(parts.service.clock, parts.box)


def _require_secure(parts: WebParts, url: str) -> None:
    if not is_secure(url, named(parts.service.settings.outbound_private)):
        raise BadInput("webhook.not_https")


def _with_secret(endpoint: Endpoint, secret: str, response: Response) -> schemas.EndpointWithSecret:
    response.headers["cache-control"] = "no-store"
    return schemas.EndpointWithSecret.of(endpoint, secret=secret)


@router.post("/webhooks", status_code=201, responses=created(201))
async def create_webhook(
    parts: Parts, caller: Owner, wanted: schemas.EndpointIn, response: Response
) -> schemas.EndpointWithSecret:
    """An endpoint that is told what happens from now on. The secret is shown here and never again."""
    _require_secure(parts, wanted.url)
    async with parts.service.db.write() as uow:
        made, secret = await _endpoints(parts).create(uow, caller.client_id, wanted.url, wanted.types, wanted.scheme)
    response.headers["location"] = f"/api/v1/webhooks/{made.id}"
    return _with_secret(made, secret, response)


@router.get("/webhooks")
async def list_webhooks(parts: Parts, caller: Owner) -> schemas.WebhooksOut:
    """The caller's endpoints, the oldest first."""
    async with parts.service.db.read() as uow:
        found = await _endpoints(parts).of_client(uow, caller.client_id)
    return schemas.WebhooksOut(items=[schemas.EndpointOut.of(endpoint) for endpoint in found])


@router.get("/webhooks/{endpoint_id}")
async def get_webhook(parts: Parts, caller: Owner, endpoint_id: Id) -> schemas.EndpointOut:
    """One endpoint."""
    async with parts.service.db.read() as uow:
        return schemas.EndpointOut.of(await _endpoints(parts).get(uow, caller.client_id, endpoint_id))


@router.patch("/webhooks/{endpoint_id}")
async def change_webhook(
    parts: Parts, caller: Owner, endpoint_id: Id, wanted: schemas.EndpointChange
) -> schemas.EndpointOut:
    """Another address, other types, off or on. Switched on again it is told what happened meanwhile."""
    endpoints = _endpoints(parts)
    change: dict[str, Any] = {}
    if wanted.url is not None:
        _require_secure(parts, wanted.url)
        change["url"] = wanted.url
    if wanted.types is not None:
        change["types"] = sorted(set(wanted.types))
    async with parts.service.db.write() as uow:
        await endpoints.get(uow, caller.client_id, endpoint_id)
        if change:
            await endpoints.change(uow, endpoint_id, **change)
        if wanted.active is True:
            await endpoints.enable(uow, endpoint_id)
        if wanted.active is False:
            await endpoints.disable(uow, endpoint_id, "webhook.by_owner")
        return schemas.EndpointOut.of(await endpoints.get(uow, caller.client_id, endpoint_id))


@router.delete("/webhooks/{endpoint_id}", status_code=204)
async def delete_webhook(parts: Parts, caller: Owner, endpoint_id: Id) -> None:
    """With its log."""
    async with parts.service.db.write() as uow:
        await _endpoints(parts).get(uow, caller.client_id, endpoint_id)
        await _endpoints(parts).remove(uow, endpoint_id)


@router.post("/webhooks/{endpoint_id}/rotate")
async def rotate_webhook(
    parts: Parts, caller: Owner, endpoint_id: Id, wanted: schemas.RotateIn, response: Response
) -> schemas.EndpointWithSecret:
    """A new secret; for a while every delivery carries a signature by each."""
    async with parts.service.db.write() as uow:
        endpoint = await _endpoints(parts).get(uow, caller.client_id, endpoint_id)
        secret = await _endpoints(parts).rotate(uow, endpoint, dt.timedelta(hours=wanted.overlap_hours))
    return _with_secret(endpoint, secret, response)


@router.post("/webhooks/{endpoint_id}/test", status_code=202, response_class=Response)
async def test_webhook(parts: Parts, caller: Owner, endpoint_id: Id) -> Response:
    """Sends ``webhook.test`` once; the deliveries say what came of it."""
    async with parts.service.db.write() as uow:
        endpoint = await _endpoints(parts).get(uow, caller.client_id, endpoint_id)
        if endpoint.disabled_at is not None:
            raise Conflict("webhook.disabled")
        await try_out(uow, parts.service.clock, endpoint)
    return Response(status_code=202)


@router.get("/webhooks/{endpoint_id}/deliveries")
async def list_deliveries(
    parts: Parts,
    caller: Owner,
    endpoint_id: Id,
    state: State | None = None,
    after: Cursor | None = None,
    limit: Limit = 50,
) -> schemas.DeliveriesOut:
    """The log, the newest first; ``state=failed`` are the dead letters."""
    deliveries = Deliveries(parts.service.clock)
    async with parts.service.db.read() as uow:
        await _endpoints(parts).get(uow, caller.client_id, endpoint_id)
        found = await deliveries.page(uow, endpoint_id, state=state, after=after, limit=limit + 1)
        shown = found[:limit]
        attempts = await deliveries.attempts(uow, shown)
    more = shown[-1].id if len(found) > limit else None
    return schemas.DeliveriesOut(items=[schemas.DeliveryOut.of(d, attempts[d.id]) for d in shown], next=more)


@router.post("/webhooks/{endpoint_id}/deliveries/{delivery_id}/replay", status_code=202)
async def replay_delivery(parts: Parts, caller: Owner, endpoint_id: Id, delivery_id: Id) -> schemas.ReplayOut:
    """Send one again, with the same id and bytes."""
    deliveries = Deliveries(parts.service.clock)
    async with parts.service.db.write() as uow:
        await _endpoints(parts).get(uow, caller.client_id, endpoint_id)
        await deliveries.replay(uow, await deliveries.get(uow, endpoint_id, delivery_id))
    return schemas.ReplayOut(replayed=1)


@router.post("/webhooks/{endpoint_id}/replay", status_code=202)
async def replay_failed(parts: Parts, caller: Owner, endpoint_id: Id, wanted: schemas.ReplayIn) -> schemas.ReplayOut:
    """Send all dead letters again."""
    async with parts.service.db.write() as uow:
        await _endpoints(parts).get(uow, caller.client_id, endpoint_id)
        count = await Deliveries(parts.service.clock).replay_failed(uow, endpoint_id, wanted.since)
    return schemas.ReplayOut(replayed=count)


@router.get("/events")
async def list_events(
    parts: Parts, caller: Reader, after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    type: Annotated[list[EventType], Query()] = [], limit: Limit = 100,  # noqa: A002, B006 - the parameter's public name
) -> schemas.EventsOut:  # fmt: skip
    """Everything that happened in the caller's agencies after ``after``; also which webhooks are off."""
    async with parts.service.db.read() as uow:
        found = await Outbox(parts.service.clock).page(uow, caller.agencies, type, after, limit)
        own = await _endpoints(parts).of_client(uow, caller.client_id)
    return schemas.EventsOut(
        items=[schemas.EventOut.of(event) for event in found], next=found[-1].seq if found else after,
        webhooks_disabled=[schemas.EndpointOut.of(endpoint) for endpoint in own if endpoint.disabled_at is not None],
    )  # fmt: skip
