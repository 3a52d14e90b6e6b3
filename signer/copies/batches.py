"""Many papers under one request: the portal leaves them, the signer works through them in pieces of durable work.

An item is a request of the inbox with its place in the batch; its copy carries on the same id. A batch keeps no state
of its own but who asked and when the last item rested: progress is counted from the items, so it cannot be wrong.
"""

import asyncio
import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from audit.outbox import EventType, Outbox
from core.db import Database, UnitOfWork, UtcDateTime, insert_new, metadata, row_by
from core.errors import NotFound
from core.jobs import Jobs, Note
from core.limits import LIMITS
from core.logs import code_of, logger
from core.values import Realm, Regime
from signer.copies.inbox import Inbox, PortalRequest, request_table
from signer.copies.reception import Reception
from signer.records import copy_table

__all__ = ["Batch", "BatchWork", "Batches", "batch_table"]

batch_table = sa.Table(
    "batch",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("agency_id", sa.String(26), sa.ForeignKey("agency.id"), nullable=False),
    sa.Column("client_id", sa.String(26), nullable=False),
    sa.Column("regime", sa.String(16), nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Index("ix_batch_client", "client_id", "id"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One row."""

    id: str
    realm: Realm
    agency_id: str
    client_id: str
    regime: Regime
    total: int
    created_at: dt.datetime
    round: int = 0
    """How often its refused items were tried again."""


def _batch(row: sa.Row[Any]) -> Batch:
    return Batch(**{**row._mapping, "realm": Realm(row.realm), "regime": Regime(row.regime)})  # noqa: SLF001


_WHERE = sa.case(
    (request_table.c.state.in_(["received", "taken"]), "waiting"),
    (request_table.c.state == "refused", "refused"),
    (copy_table.c.state.in_(["released", "voided", "awaiting_certifier", "awaiting_seal"]), copy_table.c.state),
    else_="at_work",
)
"""Where one item stands, in one word."""
_JOINED = request_table.outerjoin(copy_table, copy_table.c.id == request_table.c.id)


class Batches:
    """Works inside the caller's transaction."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def put(self, uow: UnitOfWork, batch: Batch, items: Sequence[PortalRequest]) -> None:
        """Leave a batch with all its items; putting the same id twice is harmless."""
        values = {c.name: getattr(batch, c.name) for c in batch_table.columns}
        if (await uow.execute(insert_new(uow, batch_table), values)).rowcount == 1:
            await self._inbox.put(uow, items)

    async def get(self, uow: UnitOfWork, batch_id: str) -> Batch:
        """By id. Raises ``batch.no_such_batch``."""
        row = (await uow.execute(row_by(batch_table.c.id), {"value": batch_id})).first()
        if row is None:
            raise NotFound("batch.no_such_batch", batch=batch_id)
        return _batch(row)

    async def of_client(
        self, uow: UnitOfWork, client_id: str, agencies: Collection[str], after: str | None, limit: int
    ) -> list[Batch]:
        """The newest first, of agencies that are still the client's."""
        t = batch_table.c
        mine = t.client_id == client_id, t.agency_id.in_(agencies)
        query = sa.select(batch_table).where(*mine).order_by(t.id.desc()).limit(limit)
        if after is not None:
            query = query.where(t.id < after)
        return [_batch(row) for row in await uow.execute(query)]

    async def counts(self, uow: UnitOfWork, batch_id: str) -> dict[str, int]:
        """How many items stand where: waiting, at_work, awaiting_certifier, awaiting_seal, released, voided, refused."""
        query = (
            sa.select(_WHERE.label("place"), sa.func.count())
            .select_from(_JOINED)
            .where(request_table.c.batch_id == batch_id)
            .group_by("place")
        )
        found = {place: int(count) for place, count in await uow.execute(query)}
        places = ("waiting", "at_work", "awaiting_certifier", "awaiting_seal", "released", "voided", "refused")
        return {place: found.get(place, 0) for place in places}

    async def items(
        self, uow: UnitOfWork, batch_id: str, after: int, limit: int, place: str | None
    ) -> list[tuple[PortalRequest, str]]:
        """Items in their order with their place, from ``after`` on."""
        t = request_table.c
        query = (
            sa.select(t.id, _WHERE.label("place"))
            .select_from(_JOINED)
            .where(t.batch_id == batch_id, t.position > after)
            .order_by(t.position)
            .limit(limit)
        )
        if place is not None:
            query = query.where(sa.literal(place) == _WHERE)
        return [(await self._inbox.get(uow, row.id), row.place) for row in (await uow.execute(query)).all()]

    async def retry(self, uow: UnitOfWork, batch_id: str) -> int:
        """Refused items wait again; returns how many."""
        t = request_table.c
        done = await uow.execute(
            request_table.update()
            .where(t.batch_id == batch_id, t.state == "refused", ~sa.exists().where(copy_table.c.id == t.id))
            .values(
                state="received",
                code=None,
                evidence=None,
                settled_at=None,
                taken_until=None,
                tries=0,
                round=t.round + 1,
            )
        )
        if done.rowcount:
            await uow.execute(
                batch_table.update().where(batch_table.c.id == batch_id).values(round=batch_table.c.round + 1)
            )
        return int(done.rowcount)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWork:
    """The signer's side: one job a chunk."""

    db: Database
    reception: Reception
    jobs: Jobs
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self) -> None:
        """Until cancelled: one chunk after another, so that a batch never crowds out the counter."""
        while True:
            self.bell.clear()
            try:
                for key in await self.open_chunks():
                    await self.jobs.run("chunk", key)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next sweep looks again
                logger().warning("batch.stopped", code=code_of(error))
            try:
                await asyncio.wait_for(self.bell.wait(), LIMITS["inbox.sweep_seconds"])
            except TimeoutError:
                continue

    async def open_chunks(self) -> list[str]:
        """``batch/first position`` of every chunk with something to take, oldest first."""
        size = LIMITS["batch.chunk"]
        async with self.db.read() as uow:
            places = await self.reception.inbox.open_places(uow)
        starts = sorted({(position // size * size, batch_id) for batch_id, position in places})
        return [
            f"{batch_id}.{start}" for start, batch_id in starts
        ]  # a large batch waits for the small ones' first pieces

    async def chunk(self, key: str, note: Note) -> str:
        """All open items of one chunk, a few at a time. Repeating it does what is left."""
        batch_id, first = key.split(".")
        room = asyncio.Semaphore(LIMITS["inbox.at_once"])

        async def one(request: PortalRequest) -> None:
            async with room:
                if not await self.reception.admit(request):
                    return
                try:
                    await self.reception.desk.advance(request.id, note)
                except Exception as error:  # noqa: BLE001 - it waits for a person, or a sweep takes it up again
                    logger().info("copy.rests", id=request.id, code=code_of(error))

        async with self.db.write() as uow:
            taken = await self.reception.inbox.take_chunk(uow, batch_id, int(first), LIMITS["batch.chunk"])
        self.reception.held(taken)
        await asyncio.gather(*(one(request) for request in taken))
        await self._tell_if_finished(batch_id)
        return key

    async def _tell_if_finished(self, batch_id: str) -> None:
        """Told once, whichever chunk was last and however often it is repeated."""
        inbox = self.reception.inbox
        async with self.db.write() as uow:
            if not await inbox.has_open(uow, batch_id):
                batch = await Batches(inbox).get(uow, batch_id)
                await Outbox(self.reception.clock).append(
                    uow,
                    EventType.BATCH_FINISHED,
                    realm=batch.realm,
                    agency_id=batch.agency_id,
                    subject=batch_id,
                    occasion=batch.round,
                )
