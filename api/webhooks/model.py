"""Endpoints, deliveries and attempts."""

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["SCHEDULE", "TEST", "Attempt", "Delivery", "Endpoint", "Scheme"]

SCHEDULE: Final = tuple(
    dt.timedelta(seconds=s) for s in (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""The wait before each attempt (Standard Webhooks, "Deliverability and reliability"); after the last a person must look."""

TEST: Final = "webhook.test"
"""Type of the delivery that an owner asks for to try an endpoint; tried once."""


class Scheme(StrEnum):
    """How deliveries are signed."""

    V1 = "v1"
    """HMAC-SHA256; both ends know the secret."""
    V1A = "v1a"
    """Ed25519; the receiver holds a public key only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one client is told."""

    id: str
    client_id: str
    url: str
    types: tuple[str, ...]
    """Empty means all."""
    scheme: Scheme
    seen: int
    """Events up to this number have become deliveries."""
    created_at: dt.datetime
    failures: int = 0
    """Knocks in a row that nobody answered."""
    hold_until: dt.datetime | None = None
    """Nothing is sent before: the receiver asked for rest, or does not answer."""
    disabled_at: dt.datetime | None = None
    disabled_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint. ``new → pending → delivered | failed``, and back to new by a replay."""

    id: str
    endpoint_id: str
    event_id: str
    """``webhook-id``: the same in every attempt and every endpoint, and in the feed."""
    type: str
    body: str
    """Fixed when the delivery is made: a replay sends the same bytes."""
    state: str
    run: int = 1
    """How often it was handed over to a job."""
    tries: int = 0
    """Attempts since it was made or replayed: the place in ``SCHEDULE``."""
    attempts: int = 0
    """Attempts in all."""
    code: str | None = None
    """What the last attempt came to, if it failed."""
    due_at: dt.datetime
    created_at: dt.datetime
    settled_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One knock at the door. Of what the receiver answered only the status is kept."""

    n: int
    at: dt.datetime
    ms: int
    status: int | None
    code: str | None
