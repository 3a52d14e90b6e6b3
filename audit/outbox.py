"""The event outbox: what happened, for portals that follow a feed or are told by webhooks.

An event is written in the transaction that changes the state it tells, so neither stands without the other. It names
ids only: who may know more asks, and the answer is given under that caller's rights.

A reader keeps one number, ``seq``, and asks for what came after it, so a number must never become visible after a
higher one. SQLite has one writer at a time. PostgreSQL hands out sequence numbers before the commit that shows them;
there ``append`` takes its number under a lock that is held to the end of the transaction, and commits follow the numbers.

* ``append`` is the last statement of its transaction: others wait then for one commit only, and nobody who holds the
  lock waits for a row that another holds.
* Numbers may have gaps (a transaction that was given up); they never come late.
* A thing happens once to its subject, or once an ``occasion`` (a batch tried again may finish again): told again by work
  that is repeated after a crash, it stays one event.
"""

import datetime as dt
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, UtcDateTime, append_only, insert_new, metadata
from core.errors import Broken
from core.ids import new_id
from core.values import Realm

__all__ = ["Event", "EventType", "Outbox", "event_table"]

event_table = sa.Table(
    "event",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(26), nullable=False, unique=True),
    sa.Column("type", sa.String(48), nullable=False),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("agency_id", sa.String(26), nullable=False),
    sa.Column("subject", sa.String(26), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("occasion", sa.Integer, nullable=False),
    sa.UniqueConstraint("subject", "type", "occasion"),
    sa.Index("ix_event_agency", "agency_id", "seq"),
)
append_only(event_table)

_ID: Final = re.compile(r"[0-9a-z]{26}")
_LOCK: Final = 0x6461_7573_6F01
"""Advisory lock of the outbox; any number that nothing else in the database uses."""
# CASE keeps the order that an argument list does not promise: first the lock, then the number.
_NUMBER: Final = sa.text(f"CASE WHEN pg_advisory_xact_lock({_LOCK}) IS NOT NULL THEN nextval('event_seq_seq') END")


class EventType(StrEnum):
    """What may happen; the part before the dot says what ``subject`` is."""

    COPY_AWAITING_CERTIFIER = "copy.awaiting_certifier"
    COPY_AWAITING_SEAL = "copy.awaiting_seal"
    COPY_RELEASED = "copy.released"
    """With its receipt."""
    COPY_VOIDED = "copy.voided"
    COPY_REFUSED = "copy.refused"
    COPY_RECALLED = "copy.recalled"
    BATCH_FINISHED = "batch.finished"
    REQUEST_STEP_OPENED = "request.step_opened"
    """A signer looks at the documents; the verification code is known."""
    REQUEST_STEP_SIGNED = "request.step_signed"
    REQUEST_COMPLETED = "request.completed"
    """With its signed files."""
    REQUEST_REFUSED = "request.refused"
    REQUEST_CANCELLED = "request.cancelled"
    REQUEST_EXPIRED = "request.expired"
    REQUEST_CHANGED = "request.changed"
    """Extended, a signer replaced or reminded, a lease ended, or failed: the request says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of ``event``."""

    seq: int
    id: str
    type: EventType
    realm: Realm
    agency_id: str
    subject: str
    """Id of the copy, batch or request."""
    at: dt.datetime
    occasion: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    """More ids; never a name, a title or a reason."""


class Outbox:
    """Works inside the caller's transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def append(
        self, uow: UnitOfWork, type_: EventType, *, realm: Realm, agency_id: str, subject: str, occasion: int = 0,
        **data: str | None,
    ) -> None:  # fmt: skip
        """Last in the transaction that makes it true; ids that are None are left out. Raises ``event.no_id``."""
        ids = {name: value for name, value in data.items() if value is not None}
        for name, value in ids.items():
            if _ID.fullmatch(value) is None:  # nothing that names or describes a person gets out this way
                raise Broken("event.no_id", name=name)
        values: dict[str, Any] = {
            "id": new_id(self._clock), "type": type_, "realm": realm, "agency_id": agency_id, "subject": subject,
            "occasion": occasion, "at": self._clock.now(), "data": ids,
        }  # fmt: skip
        statement = insert_new(uow, event_table)
        if uow.dialect.name != "sqlite":
            statement = statement.values(seq=_NUMBER)
        await uow.execute(statement, values)

    async def head(self, uow: UnitOfWork) -> int:
        """The last number; 0 before the first event."""
        return int((await uow.execute(sa.select(sa.func.coalesce(sa.func.max(event_table.c.seq), 0)))).scalar_one())

    async def page(
        self, uow: UnitOfWork, agencies: Collection[str], types: Collection[str], after: int, limit: int
    ) -> list[Event]:
        """At most ``limit`` events of ``agencies`` after number ``after``, oldest first; all types when none is named."""
        t = event_table.c
        query = sa.select(event_table).where(t.agency_id.in_(agencies), t.seq > after).order_by(t.seq).limit(limit)
        if types:
            query = query.where(t.type.in_(types))
        return [
            Event(**{**row._mapping, "type": EventType(row.type), "realm": Realm(row.realm)})  # noqa: SLF001
            for row in await uow.execute(query)
        ]
