"""Shapes of webhooks and events at the portal's door."""

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from api.portal.schemas import Moment
from api.webhooks.delivery import data_of
from api.webhooks.model import Attempt, Delivery, Endpoint, Scheme
from audit.outbox import Event, EventType
from core.limits import LIMITS

__all__ = [
    "AttemptOut", "DeliveriesOut", "DeliveryOut", "EndpointChange", "EndpointIn", "EndpointOut", "EndpointWithSecret",
    "EventOut", "EventsOut", "ReplayIn", "ReplayOut", "RotateIn", "WebhooksOut",
]  # fmt: skip

Url = Annotated[
    str,
    Field(
        max_length=2_000, examples=["https://portal.example.gov.vn/hooks/dauso"], json_schema_extra={"format": "uri"}
    ),
]
Types = Annotated[list[EventType], Field(max_length=len(EventType), description="Empty: all types.")]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EndpointIn(_In):
    """Where to tell."""

    url: Url
    types: Types = []
    scheme: Scheme = Scheme.V1


class EndpointChange(_In):
    """Only what is named changes."""

    url: Url | None = None
    types: Types | None = None
    active: bool | None = None


class RotateIn(_In):
    """How long the secret before goes on signing beside the new one."""

    overlap_hours: Annotated[int, Field(ge=0, le=LIMITS["webhooks.overlap_hours"])] = 24


class ReplayIn(_In):
    """Dead letters made since then."""

    since: Annotated[Moment, Field(examples=["2026-11-25T00:00:00Z"])]


class ReplayOut(BaseModel):
    """How many are sent again."""

    replayed: int


class EndpointOut(BaseModel):
    """An endpoint without its secret."""

    id: str
    url: str
    types: list[EventType]
    scheme: Scheme
    active: bool
    created_at: dt.datetime
    disabled_at: dt.datetime | None
    disabled_code: str | None = Field(description="Why nothing is sent, a code of the errors table.")

    @classmethod
    def of(cls, endpoint: Endpoint, **more: Any) -> Self:
        """As its owner sees it."""
        return cls(
            id=endpoint.id, url=endpoint.url, types=[EventType(t) for t in endpoint.types], scheme=endpoint.scheme,
            active=endpoint.disabled_at is None, created_at=endpoint.created_at, disabled_at=endpoint.disabled_at,
            disabled_code=endpoint.disabled_code, **more,
        )  # fmt: skip


class EndpointWithSecret(EndpointOut):
    """Shown once, when it is made."""

    secret: str = Field(description="`whsec_…` to keep secret (v1), or the public key `whpk_…` (v1a).")


class WebhooksOut(BaseModel):
    """All endpoints of the caller."""

    items: list[EndpointOut]


class AttemptOut(BaseModel):
    """One knock."""

    n: int
    at: dt.datetime
    ms: int
    status: int | None
    code: str | None


class DeliveryOut(BaseModel):
    """One event on its way."""

    id: str
    event_id: str = Field(description="The `webhook-id` header.")
    type: str
    state: str = Field(description="`new`, `pending`, `delivered` or `failed`.")
    code: str | None
    created_at: dt.datetime
    settled_at: dt.datetime | None
    due_at: dt.datetime | None = Field(description="When it is tried next.")
    attempts: list[AttemptOut]

    @classmethod
    def of(cls, delivery: Delivery, attempts: Sequence[Attempt]) -> Self:
        """With its log."""
        return cls(
            id=delivery.id, event_id=delivery.event_id, type=delivery.type, state=delivery.state, code=delivery.code,
            created_at=delivery.created_at, settled_at=delivery.settled_at,
            due_at=delivery.due_at if delivery.settled_at is None else None,
            attempts=[AttemptOut(n=a.n, at=a.at, ms=a.ms, status=a.status, code=a.code) for a in attempts],
        )  # fmt: skip


class DeliveriesOut(BaseModel):
    """The newest first."""

    items: list[DeliveryOut]
    next: str | None = Field(description="`after` of the next page.")


class EventOut(BaseModel):
    """What happened, by ids."""

    seq: int
    id: str
    type: EventType
    timestamp: dt.datetime
    data: dict[str, str] = Field(
        description="Ids: `copy_id`, `batch_id` or `request_id`, with `agency_id`, `realm`, and where it says more the "
        "`batch`, the `successor`, or the `step` of a signature request."
    )

    @classmethod
    def of(cls, event: Event) -> Self:
        """As webhooks tell it."""
        return cls(seq=event.seq, id=event.id, type=event.type, timestamp=event.at, data=data_of(event))


class EventsOut(BaseModel):
    """The oldest first."""

    items: list[EventOut]
    next: int = Field(description="`after` of the next request, also where nothing is new.")
    webhooks_disabled: list[EndpointOut] = Field(
        description="The caller's endpoints to which nothing is sent, and why."
    )
