"""Tables of webhooks, and what is asked of them. A client sees its own; everything of an endpoint goes with it."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from api.clients.store import client_table
from api.webhooks.model import Attempt, Delivery, Endpoint, Scheme
from api.webhooks.signing import new_secret, shown
from audit.outbox import Outbox
from core.clock import Clock
from core.db import UnitOfWork, UtcDateTime, metadata, row_by
from core.errors import Conflict, NotFound, Refused
from core.ids import new_id
from core.limits import LIMITS
from core.sealed import Box

__all__ = [
    "OPEN", "Deliveries", "Endpoints", "attempt_table", "delivery_table", "endpoint_table", "secret_table",
]  # fmt: skip


def _child(name: str, parent: str) -> sa.Column[Any]:
    return sa.Column(name, sa.String(26), sa.ForeignKey(parent, ondelete="CASCADE"), nullable=False)


endpoint_table = sa.Table(
    "webhook_endpoint",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("client_id", sa.String(26), sa.ForeignKey("client.id"), nullable=False, index=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("types", sa.JSON, nullable=False),
    sa.Column("scheme", sa.String(8), nullable=False),
    sa.Column("seen", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("hold_until", UtcDateTime),
    sa.Column("disabled_at", UtcDateTime),
    sa.Column("disabled_code", sa.String(48)),
)
secret_table = sa.Table(
    "webhook_secret",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    _child("endpoint_id", "webhook_endpoint.id"),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("valid_to", UtcDateTime),
    sa.Index("ix_webhook_secret_endpoint", "endpoint_id", "id"),
)
"""``sealed``: the secret's text under the web key, tied to its endpoint; the newest has no end."""
delivery_table = sa.Table(
    "webhook_delivery",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    _child("endpoint_id", "webhook_endpoint.id"),
    sa.Column("event_id", sa.String(26), nullable=False),
    sa.Column("type", sa.String(48), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("code", sa.String(48)),
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.CheckConstraint("state in ('new', 'pending', 'delivered', 'failed')", name="state"),
    sa.UniqueConstraint("endpoint_id", "event_id"),
    sa.Index("ix_webhook_delivery_log", "endpoint_id", "id"),
    sa.Index("ix_webhook_delivery_state", "state", "id"),
)
attempt_table = sa.Table(
    "webhook_attempt",
    metadata,
    sa.Column("delivery_id", sa.String(26), sa.ForeignKey("webhook_delivery.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("ms", sa.Integer, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("code", sa.String(48)),
)


OPEN = frozenset({"new", "pending"})
"""States of a delivery that is not settled; ``pending`` ones have a job."""
_LIVING = (endpoint_table.c.disabled_at.is_(None), client_table.c.ended_at.is_(None))


def _endpoint(row: sa.Row[Any]) -> Endpoint:
    names = (column.name for column in endpoint_table.columns)
    values = {name: row._mapping[name] for name in names}  # noqa: SLF001
    return Endpoint(**{**values, "types": tuple(row.types), "scheme": Scheme(row.scheme)})


def _delivery(row: sa.Row[Any]) -> Delivery:
    return Delivery(**row._mapping)  # noqa: SLF001


class Endpoints:
    """Endpoints and their secrets; works inside the caller's transaction."""

    def __init__(self, clock: Clock, box: Box) -> None:
        self._clock, self._box = clock, box

    async def create(
        self, uow: UnitOfWork, client_id: str, url: str, types: Sequence[str], scheme: Scheme
    ) -> tuple[Endpoint, str]:
        """It is told what happens from now on. Also what its owner must keep, shown once. Raises ``webhook.too_many``."""
        if len(await self.of_client(uow, client_id)) >= LIMITS["webhooks.per_client"]:
            raise Refused("webhook.too_many", most=LIMITS["webhooks.per_client"])
        made = Endpoint(
            id=new_id(self._clock), client_id=client_id, url=url, types=tuple(sorted(set(types))), scheme=scheme,
            seen=await Outbox(self._clock).head(uow), created_at=self._clock.now(),
        )  # fmt: skip
        values = {column.name: getattr(made, column.name) for column in endpoint_table.columns}
        await uow.execute(endpoint_table.insert(), {**values, "types": list(made.types)})
        return made, await self._add_secret(uow, made)

    async def of_client(self, uow: UnitOfWork, client_id: str) -> list[Endpoint]:
        """By age."""
        t = endpoint_table.c
        rows = await uow.execute(sa.select(endpoint_table).where(t.client_id == client_id).order_by(t.id))
        return [_endpoint(row) for row in rows]

    async def get(self, uow: UnitOfWork, client_id: str, endpoint_id: str) -> Endpoint:
        """The client's own. Raises ``webhook.no_such_endpoint``."""
        row = (await uow.execute(row_by(endpoint_table.c.id), {"value": endpoint_id})).first()
        if row is None or row.client_id != client_id:
            raise NotFound("webhook.no_such_endpoint")
        return _endpoint(row)

    async def served(self, uow: UnitOfWork, endpoint_id: str) -> Endpoint | None:
        """For a delivery: the endpoint, if it takes any and its client still is one."""
        t = endpoint_table.c
        query = sa.select(endpoint_table).join(client_table).where(t.id == endpoint_id, *_LIVING)
        row = (await uow.execute(query)).first()
        return None if row is None else _endpoint(row)

    async def behind(self, uow: UnitOfWork, head: int) -> list[tuple[Endpoint, frozenset[str]]]:
        """Living endpoints that have not seen event ``head``, each with the agencies of its client."""
        query = sa.select(endpoint_table, client_table.c.agencies).join(client_table)
        rows = await uow.execute(query.where(endpoint_table.c.seen < head, *_LIVING))
        return [(_endpoint(row), frozenset(row.agencies)) for row in rows]

    async def advance(self, uow: UnitOfWork, endpoint_id: str, seen: int, reached: int) -> bool:
        """Its place among the events; false if another worker moved it first."""
        t = endpoint_table.c
        moved = await uow.execute(
            endpoint_table.update().where(t.id == endpoint_id, t.seen == seen).values(seen=reached)
        )
        return bool(moved.rowcount == 1)

    async def change(self, uow: UnitOfWork, endpoint_id: str, **values: Any) -> None:
        """Some of its columns."""
        await uow.execute(endpoint_table.update().where(endpoint_table.c.id == endpoint_id).values(**values))

    async def disable(self, uow: UnitOfWork, endpoint_id: str, code: str) -> None:
        """Nothing is sent until its owner says so; events wait in the outbox meanwhile. The first reason stays."""
        t = endpoint_table.c
        await uow.execute(
            endpoint_table.update()
            .where(t.id == endpoint_id, t.disabled_at.is_(None))
            .values(disabled_at=self._clock.now(), disabled_code=code)
        )

    async def enable(self, uow: UnitOfWork, endpoint_id: str) -> None:
        """What happened meanwhile is sent now."""
        await self.change(uow, endpoint_id, disabled_at=None, disabled_code=None, failures=0, hold_until=None)

    async def remove(self, uow: UnitOfWork, endpoint_id: str) -> None:
        """With its secrets, deliveries and attempts."""
        await uow.execute(endpoint_table.delete().where(endpoint_table.c.id == endpoint_id))

    # ------------------------------------------------------------------------------------------------- secrets
    async def _add_secret(self, uow: UnitOfWork, endpoint: Endpoint) -> str:
        secret = new_secret(endpoint.scheme)
        await uow.execute(
            secret_table.insert(),
            {"id": new_id(self._clock), "endpoint_id": endpoint.id, "valid_to": None,
             "sealed": self._box.seal(secret.encode(), endpoint.id.encode())},
        )  # fmt: skip
        return shown(secret)

    async def rotate(self, uow: UnitOfWork, endpoint: Endpoint, overlap: dt.timedelta) -> str:
        """A new secret, shown once; the one before signs beside it for ``overlap``, older ones no more."""
        t = secret_table.c
        await uow.execute(secret_table.delete().where(t.endpoint_id == endpoint.id, t.valid_to.is_not(None)))
        await uow.execute(
            secret_table.update().where(t.endpoint_id == endpoint.id).values(valid_to=self._clock.now() + overlap)
        )
        return await self._add_secret(uow, endpoint)

    async def secrets(self, uow: UnitOfWork, endpoint_id: str) -> list[str]:
        """Those in force, the newest first. Raises ``store.sealed_unreadable``."""
        t = secret_table.c
        living = sa.or_(t.valid_to.is_(None), t.valid_to > self._clock.now())
        query = sa.select(t.sealed).where(t.endpoint_id == endpoint_id, living)
        sealed = (await uow.execute(query.order_by(t.valid_to.is_not(None), t.id.desc()))).scalars()
        return [self._box.open(bytes(value), endpoint_id.encode()).decode() for value in sealed]


class Deliveries:
    """Deliveries and their log; works inside the caller's transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def add(self, uow: UnitOfWork, endpoint_id: str, told: Sequence[tuple[str, str, str]]) -> None:
        """``(event id, type, body)`` each."""
        now = self._clock.now()
        rows = [
            {"id": new_id(self._clock), "endpoint_id": endpoint_id, "event_id": event_id, "type": type_, "body": body,
             "state": "new", "run": 1, "tries": 0, "attempts": 0, "due_at": now, "created_at": now}
            for event_id, type_, body in told
        ]  # fmt: skip
        if rows:
            await uow.execute(delivery_table.insert(), rows)

    async def find(self, uow: UnitOfWork, delivery_id: str) -> Delivery | None:
        """By id."""
        row = (await uow.execute(row_by(delivery_table.c.id), {"value": delivery_id})).first()
        return None if row is None else _delivery(row)

    async def get(self, uow: UnitOfWork, endpoint_id: str, delivery_id: str) -> Delivery:
        """One of the endpoint's. Raises ``webhook.no_such_delivery``."""
        found = await self.find(uow, delivery_id)
        if found is None or found.endpoint_id != endpoint_id:
            raise NotFound("webhook.no_such_delivery")
        return found

    async def page(
        self, uow: UnitOfWork, endpoint_id: str, *, state: str | None, after: str | None, limit: int
    ) -> list[Delivery]:
        """The newest first; ``after``: the last id of the page before."""
        t = delivery_table.c
        query = sa.select(delivery_table).where(t.endpoint_id == endpoint_id).order_by(t.id.desc()).limit(limit)
        if state is not None:
            query = query.where(t.state == state)
        if after is not None:
            query = query.where(t.id < after)
        return [_delivery(row) for row in await uow.execute(query)]

    async def attempts(self, uow: UnitOfWork, deliveries: Sequence[Delivery]) -> dict[str, list[Attempt]]:
        """By delivery, in their order."""
        t = attempt_table.c
        found: dict[str, list[Attempt]] = {delivery.id: [] for delivery in deliveries}
        query = sa.select(attempt_table).where(t.delivery_id.in_(found)).order_by(t.delivery_id, t.n)
        for row in await uow.execute(query):
            found[row.delivery_id].append(Attempt(n=row.n, at=row.at, ms=row.ms, status=row.status, code=row.code))
        return found

    async def unclaimed(self, uow: UnitOfWork) -> list[Delivery]:
        """Those that no job knows yet, oldest first."""
        t = delivery_table.c
        query = sa.select(delivery_table).where(t.state == "new").order_by(t.id).limit(LIMITS["webhooks.fan_out"])
        return [_delivery(row) for row in await uow.execute(query)]

    async def overdue(self, uow: UnitOfWork, since: dt.datetime) -> list[Delivery]:
        """Those whose job should have run before ``since``."""
        t = delivery_table.c
        query = sa.select(delivery_table).where(t.state == "pending", t.due_at < since)
        return [_delivery(row) for row in await uow.execute(query)]

    async def move(self, uow: UnitOfWork, delivery: Delivery, **values: Any) -> bool:
        """False if another was first: it was tried, settled or replayed since it was read."""
        t = delivery_table.c
        states = OPEN if delivery.state in OPEN else {delivery.state}
        as_read = (t.id == delivery.id, t.state.in_(states), t.run == delivery.run, t.attempts == delivery.attempts)
        done = await uow.execute(delivery_table.update().where(*as_read).values(**values))
        return bool(done.rowcount == 1)

    async def add_attempt(self, uow: UnitOfWork, delivery_id: str, attempt: Attempt) -> None:
        """To the log."""
        values = {name: getattr(attempt, name) for name in ("n", "at", "ms", "status", "code")}
        await uow.execute(attempt_table.insert(), {"delivery_id": delivery_id, **values})

    async def delivered_since(self, uow: UnitOfWork, endpoint_id: str, since: dt.datetime) -> bool:
        """Whether the endpoint took any."""
        t = delivery_table.c
        query = sa.select(t.id).where(t.endpoint_id == endpoint_id, t.state == "delivered", t.settled_at >= since)
        return (await uow.execute(query.limit(1))).first() is not None

    async def replay(self, uow: UnitOfWork, delivery: Delivery) -> None:
        """From the first try on, with the same id and bytes. Raises ``webhook.under_way``."""
        if delivery.state in OPEN or not await self.move(uow, delivery, **self._again()):
            raise Conflict("webhook.under_way")

    async def replay_failed(self, uow: UnitOfWork, endpoint_id: str, since: dt.datetime) -> int:
        """All dead letters made since then; returns how many."""
        t = delivery_table.c
        dead = (t.endpoint_id == endpoint_id, t.state == "failed", t.created_at >= since)
        return int((await uow.execute(delivery_table.update().where(*dead).values(**self._again()))).rowcount)

    def _again(self) -> dict[str, Any]:
        return {
            "state": "new", "run": delivery_table.c.run + 1, "tries": 0, "due_at": self._clock.now(), "settled_at": None,
        }  # fmt: skip

    async def forget(self, uow: UnitOfWork, before: dt.datetime) -> None:
        """The log of what was settled before then."""
        await uow.execute(delivery_table.delete().where(delivery_table.c.settled_at < before))
