"""From events to endpoints: deliveries for whom it concerns, and one job for each until it is taken or given up.

1 *fan out*: an endpoint's new events become deliveries, and its place moves on, in one transaction
2 *hand over*: each new delivery becomes a job; a crash before or after is harmless, since a run starts once
3 *attempt*: one POST, its outcome in the log; then the job rests until the next is due (``SCHEDULE``)

At least once: a crash between the POST and its record sends again, under the same ``webhook-id``. A delivery that was
tried for the last time is a dead letter, and its endpoint, if it took nothing else meanwhile, is disabled.
"""

import asyncio
import datetime as dt
import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

from api.webhooks.model import SCHEDULE, TEST, Attempt, Delivery, Endpoint
from api.webhooks.records import OPEN, Deliveries, Endpoints
from api.webhooks.signing import headers
from audit.outbox import Event, Outbox
from core.clock import Clock
from core.db import Database, UnitOfWork
from core.errors import ServiceError
from core.ids import new_id, random_bytes
from core.jobs import Again, Jobs, Note
from core.limits import LIMITS
from core.logs import logger
from core.outbound import Outbound, is_secure

__all__ = ["KIND", "Courier", "data_of", "try_out"]

KIND: Final = "webhook"
"""Of its jobs; the key is the delivery's id."""
_DAY: Final = dt.timedelta(days=1)
_REST: Final = frozenset({429, 502, 503, 504})
"""Statuses that ask the sender to slow down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What one POST came to."""

    ms: int
    status: int | None = None
    code: str | None = None
    rest: dt.timedelta | None = None
    """How long the receiver wants to be left alone; None where the whole endpoint need not wait."""


def body_of(type_: str, at: dt.datetime, data: dict[str, Any]) -> str:
    """The body as sent: thin, ids only, far below the 20 kB that receivers must take."""
    told = {"type": type_, "timestamp": at.isoformat().replace("+00:00", "Z"), "data": data}
    return json.dumps(told, separators=(",", ":"))


def data_of(event: Event) -> dict[str, Any]:
    """What is told of an event, by webhook and in the feed alike."""
    subject = event.type.partition(".")[0]
    return {f"{subject}_id": event.subject, "agency_id": event.agency_id, "realm": event.realm.value, **event.data}


async def try_out(uow: UnitOfWork, clock: Clock, endpoint: Endpoint) -> None:
    """A delivery that tells nothing, for the owner to try the endpoint."""
    body = body_of(TEST, clock.now(), {"endpoint_id": endpoint.id})
    await Deliveries(clock).add(uow, endpoint.id, [(new_id(clock), TEST, body)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Courier:
    """One in each worker; several share the tables."""

    db: Database
    clock: Clock
    endpoints: Endpoints
    outbound: Outbound
    jobs: Jobs
    private: frozenset[str]
    """``host:port`` of inner services, which alone may be told without https."""
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def _deliveries(self) -> Deliveries:
        return Deliveries(self.clock)

    def serve(self) -> None:
        """Take the jobs; before ``jobs.start``."""
        self.jobs.serve(KIND, self.attempt)

    async def run(self) -> None:
        """Until cancelled: deliver what happens, and now and then what was lost."""
        repaired: float | None = None
        while True:
            self.bell.clear()
            try:
                if repaired is None or time.monotonic() - repaired > LIMITS["webhooks.repair_seconds"]:
                    await self.repair()
                    repaired = time.monotonic()
                await self.fan_out()
                await self.hand_over()
            except ServiceError as error:  # the database is away: the next look finds the same
                logger().warning("webhook.stopped", code=error.code)
            except Exception as error:  # noqa: BLE001 - one surprise must not silence every webhook until a restart
                logger().error("webhook.broken", error=type(error).__name__)
            try:
                await asyncio.wait_for(self.bell.wait(), LIMITS["webhooks.look_seconds"])
            except TimeoutError:
                continue

    # 1 ----------------------------------------------------------------------------------------------- fan out
    async def fan_out(self) -> None:
        """Every living endpoint up to the newest event."""
        async with self.db.read() as uow:
            head = await Outbox(self.clock).head(uow)
            behind = await self.endpoints.behind(uow, head)
        for endpoint, agencies in behind:
            seen: int | None = endpoint.seen
            while seen is not None and seen < head:
                seen = await self._fan_out(endpoint, agencies, seen, head)

    async def _fan_out(self, endpoint: Endpoint, agencies: Collection[str], seen: int, head: int) -> int | None:
        """The next events; returns the new place, None where another worker was first."""
        most = LIMITS["webhooks.fan_out"]
        async with self.db.write() as uow:
            events = await Outbox(self.clock).page(uow, agencies, endpoint.types, seen, most)
            last = events[-1].seq if events else seen
            reached = last if len(events) == most else max(head, last)
            if not await self.endpoints.advance(uow, endpoint.id, seen, reached):
                return None
            told = [(event.id, event.type, body_of(event.type, event.at, data_of(event))) for event in events]
            await self._deliveries.add(uow, endpoint.id, told)
        return reached

    # 2 --------------------------------------------------------------------------------------------- hand over
    async def hand_over(self) -> None:
        """Start a job for each delivery that no job knows."""
        while True:
            async with self.db.read() as uow:
                unclaimed = await self._deliveries.unclaimed(uow)
            if not unclaimed:  # every second: no write lock for nothing
                return
            for delivery in unclaimed:
                await self.jobs.submit(KIND, delivery.id, str(delivery.run))
            async with self.db.write() as uow:
                for delivery in unclaimed:
                    await self._deliveries.move(uow, delivery, state="pending")

    async def repair(self) -> None:
        """Hand over again what should have been tried and no job knows (its tables may be lost); forget old logs."""
        now = self.clock.now()
        async with self.db.read() as uow:
            late = await self._deliveries.overdue(uow, now - dt.timedelta(seconds=LIMITS["webhooks.repair_seconds"]))
        known = await self.jobs.under_way() if late else set()
        async with self.db.write() as uow:
            for delivery in late:
                if (KIND, delivery.id) not in known:
                    await self._deliveries.move(uow, delivery, state="new", run=delivery.run + 1)
            await self._deliveries.forget(uow, now - dt.timedelta(days=LIMITS["webhooks.keep_days"]))

    # 3 ----------------------------------------------------------------------------------------------- attempt
    async def attempt(self, delivery_id: str, _note: Note) -> str:
        """One try if it is due; raises ``Again`` while there is another."""
        async with self.db.read() as uow:
            delivery = await self._deliveries.find(uow, delivery_id)
            if delivery is None or delivery.state not in OPEN:
                return delivery_id
            endpoint = await self.endpoints.served(uow, delivery.endpoint_id)
            secrets = [] if endpoint is None else await self.endpoints.secrets(uow, endpoint.id)
        if endpoint is None:
            async with self.db.write() as uow:
                await self._deliveries.move(
                    uow, delivery, state="failed", code="webhook.disabled", settled_at=self.clock.now()
                )
            return delivery_id
        wait = max(delivery.due_at, endpoint.hold_until or delivery.due_at) - self.clock.now()
        if wait > dt.timedelta():
            raise Again(_spread(wait).total_seconds())
        at = self.clock.now()
        outcome = await self._knock(endpoint, delivery, secrets)
        async with self.db.write() as uow:
            due = await self._record(uow, endpoint, delivery, at, outcome)
        if due is not None:
            raise Again((due - self.clock.now()).total_seconds())
        return delivery_id

    async def _knock(self, endpoint: Endpoint, delivery: Delivery, secrets: list[str]) -> _Outcome:
        if not is_secure(endpoint.url, self.private):  # the setting may have changed since
            return _Outcome(ms=0, code="webhook.not_https")
        body = delivery.body.encode()
        signed = headers(secrets, delivery.event_id, int(self.clock.now().timestamp()), body)
        start = time.monotonic()
        try:
            answer = await self.outbound.tell(
                endpoint.url, body, {"content-type": "application/json", **signed}, seconds=LIMITS["webhooks.seconds"]
            )
        except ServiceError as error:
            return _Outcome(ms=_since(start), code=error.code, rest=dt.timedelta())
        rest = self._asked_rest(answer.retry_after) if answer.status in _REST else None
        return _Outcome(ms=_since(start), status=answer.status, code=_code(answer.status), rest=rest)

    def _asked_rest(self, retry_after: str) -> dt.timedelta:
        """RFC 9110 §10.2.3; nothing where it cannot be read, a day at most."""
        try:
            if retry_after.isdecimal():
                rest = dt.timedelta(seconds=min(int(retry_after[:9]), 86_400))
            else:
                rest = parsedate_to_datetime(retry_after) - self.clock.now()
        except (ValueError, TypeError):
            rest = dt.timedelta()
        return min(max(rest, dt.timedelta()), _DAY)

    async def _record(
        self, uow: UnitOfWork, endpoint: Endpoint, delivery: Delivery, at: dt.datetime, outcome: _Outcome
    ) -> dt.datetime | None:
        """The attempt and what follows from it, in one transaction; returns when the next is due."""
        tries = delivery.tries + 1
        tried = {"tries": tries, "attempts": delivery.attempts + 1, "code": outcome.code}
        last = outcome.code is None or outcome.status == 410 or delivery.type == TEST or tries == len(SCHEDULE)
        due = None
        if last:
            state = "delivered" if outcome.code is None else "failed"
            moved = await self._deliveries.move(uow, delivery, state=state, settled_at=self.clock.now(), **tried)
        else:
            due = self.clock.now() + max(_spread(SCHEDULE[tries]), outcome.rest or dt.timedelta())
            moved = await self._deliveries.move(uow, delivery, state="pending", due_at=due, **tried)
        if not moved:  # handed over twice, or replayed or removed meanwhile: that run goes on
            return None
        attempt = Attempt(n=delivery.attempts + 1, at=at, ms=outcome.ms, status=outcome.status, code=outcome.code)
        await self._deliveries.add_attempt(uow, delivery.id, attempt)
        await self._learn(uow, endpoint, outcome)
        if last and outcome.code is not None:
            await self._disable(uow, endpoint, delivery, outcome)
        return due

    async def _learn(self, uow: UnitOfWork, endpoint: Endpoint, outcome: _Outcome) -> None:
        """An endpoint that does not answer is left alone as a whole, longer each time: one knock for all that waits."""
        if outcome.rest is not None:
            failures = endpoint.failures + 1
            most = dt.timedelta(seconds=LIMITS["webhooks.hold_seconds"])
            own = min(SCHEDULE[min(failures, len(SCHEDULE) - 1)], most)
            until = self.clock.now() + max(own, outcome.rest)
            await self.endpoints.change(uow, endpoint.id, failures=failures, hold_until=until)
        elif endpoint.failures:
            await self.endpoints.change(uow, endpoint.id, failures=0, hold_until=None)

    async def _disable(self, uow: UnitOfWork, endpoint: Endpoint, delivery: Delivery, outcome: _Outcome) -> None:
        """At once where the receiver says so; else if it took nothing for as long as this one was tried."""
        code = "webhook.gone" if outcome.status == 410 else "webhook.exhausted"
        if outcome.status != 410:
            since = self.clock.now() - sum(SCHEDULE, dt.timedelta())
            if delivery.type == TEST or await self._deliveries.delivered_since(uow, endpoint.id, since):
                return
        await self.endpoints.disable(uow, endpoint.id, code)
        logger().warning("webhook.disabled", id=endpoint.id, code=code)


def _code(status: int) -> str | None:
    """Why a status is no success; 2xx is one."""
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return "webhook.redirected"
    if status == 410:
        return "webhook.gone"
    return "webhook.throttled" if status in _REST else "webhook.not_taken"


def _spread(wait: dt.timedelta) -> dt.timedelta:
    """Up to a tenth longer, so that what failed together does not come back together."""
    return wait * (1 + int.from_bytes(random_bytes(2)) / 655_350)


def _since(start: float) -> int:
    return round((time.monotonic() - start) * 1000)
