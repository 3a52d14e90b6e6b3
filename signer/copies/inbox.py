"""Requests for copies as a portal left them, until the desk has numbered or refused them.

The web process writes rows and documents, nothing else; whoever opens the signer role takes them from here. A request's
id is the id of the copy it becomes. ``received → taken → accepted | refused``; a taker that died loses its lease.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, UtcDateTime, insert_new, metadata, row_by
from core.errors import Conflict, NotFound
from core.ids import new_id
from core.limits import LIMITS
from core.values import Realm, Regime
from signer.copies.model import CopyRequest, ScanRecord

__all__ = ["Inbox", "PortalRequest", "request_table"]

request_table = sa.Table(
    "copy_request",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("agency_id", sa.String(26), sa.ForeignKey("agency.id"), nullable=False),
    sa.Column("client_id", sa.String(26), nullable=False),
    sa.Column("dossier", sa.Text, nullable=False),
    sa.Column("batch_id", sa.String(26)),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("files", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("taken_until", UtcDateTime),
    sa.Column("taker", sa.String(26)),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("code", sa.Text),
    sa.Column("evidence", sa.JSON(none_as_null=True)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.CheckConstraint("state in ('received', 'taken', 'accepted', 'refused')", name="state"),
    sa.Index("ix_copy_request_open", "state", "id"),
    sa.Index("ix_copy_request_batch", "batch_id", "position"),
    sa.Index("ix_copy_request_client", "client_id", "id"),
)
"""``request``: what ``CopyRequest`` holds, by names; ``files``: names of stored documents in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalRequest:
    """One row."""

    id: str
    realm: Realm
    agency_id: str
    client_id: str
    dossier: str = ""
    """The portal's own number for the matter (mã số hồ sơ); never parsed."""
    batch_id: str | None = None
    position: int = 0
    request: dict[str, Any]
    files: tuple[str, ...]
    state: str = "received"
    taken_until: dt.datetime | None = None
    taker: str | None = None
    """The process that has it; a lease that ended may give it another."""
    tries: int = 0
    """How often it was put back because a part did not answer."""
    round: int = 0
    """How often it was tried again after a refusal."""
    code: str | None = None
    """Why it was refused."""
    evidence: dict[str, Any] | None = field(default=None)
    created_at: dt.datetime
    settled_at: dt.datetime | None = None

    def to_desk(self) -> CopyRequest:
        """As the desk takes it."""
        values = dict(self.request)
        scan = values.pop("scan", None)
        if scan is not None:
            scan = ScanRecord(**{**scan, "scanned_at": dt.datetime.fromisoformat(scan["scanned_at"])})
        return CopyRequest(
            agency_id=self.agency_id, **{**values, "regime": Regime(values["regime"]),
                                         "checklist": tuple(values.get("checklist", ()))}, scan=scan,
        )  # fmt: skip


def _from(row: sa.Row[Any]) -> PortalRequest:
    values = dict(row._mapping)  # noqa: SLF001
    return PortalRequest(**{**values, "realm": Realm(row.realm), "files": tuple(row.files)})


class Inbox:
    """Works inside the caller's transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._me = new_id(clock)

    async def put(self, uow: UnitOfWork, requests: Sequence[PortalRequest]) -> None:
        """Leave them; putting the same id twice is harmless."""
        rows = [
            {c.name: getattr(r, c.name) for c in request_table.columns} | {"files": list(r.files)} for r in requests
        ]
        for at in range(0, len(rows), 500):
            await uow.execute(insert_new(uow, request_table), rows[at : at + 500])

    async def find(self, uow: UnitOfWork, request_id: str) -> PortalRequest | None:
        """By id."""
        row = (await uow.execute(row_by(request_table.c.id), {"value": request_id})).first()
        return None if row is None else _from(row)

    async def get(self, uow: UnitOfWork, request_id: str) -> PortalRequest:
        """By id. Raises ``copy.no_such_copy``."""
        found = await self.find(uow, request_id)
        if found is None:
            raise NotFound("copy.no_such_copy", copy=request_id)
        return found

    async def take(self, uow: UnitOfWork, most: int) -> list[PortalRequest]:
        """The oldest open ones that belong to no batch, now ours until the lease ends; each goes to one taker."""
        t = request_table.c
        return await self._take(
            uow, sa.select(t.id).where(t.batch_id.is_(None), self._free()).order_by(t.id).limit(most)
        )

    async def take_chunk(self, uow: UnitOfWork, batch_id: str, first: int, count: int) -> list[PortalRequest]:
        """The open ones at ``count`` places of a batch."""
        t = request_table.c
        places = t.position.between(first, first + count - 1)
        return await self._take(uow, sa.select(t.id).where(t.batch_id == batch_id, places, self._free()))

    async def open_places(self, uow: UnitOfWork) -> list[tuple[str, int]]:
        """(batch, position) of every open item, oldest batch first."""
        t = request_table.c
        query = sa.select(t.batch_id, t.position).where(t.batch_id.is_not(None), self._free())
        return [(r.batch_id, r.position) for r in await uow.execute(query.order_by(t.batch_id, t.position))]

    async def open_count(self, uow: UnitOfWork) -> int:
        """Requests that nobody has settled."""
        t = request_table.c
        query = sa.select(sa.func.count()).where(t.state.in_(["received", "taken"]))
        return int((await uow.execute(query)).scalar_one())

    async def has_open(self, uow: UnitOfWork, batch_id: str) -> bool:
        """True while an item of the batch is not settled."""
        t = request_table.c
        query = sa.select(t.id).where(t.batch_id == batch_id, t.state.in_(["received", "taken"])).limit(1)
        return (await uow.execute(query)).first() is not None

    def _free(self) -> sa.ColumnElement[bool]:
        t = request_table.c
        return sa.or_(t.state == "received", sa.and_(t.state == "taken", t.taken_until < self._clock.now()))

    async def _take(self, uow: UnitOfWork, chosen: sa.Select[Any]) -> list[PortalRequest]:
        until = self._clock.now() + dt.timedelta(seconds=LIMITS["inbox.lease_seconds"])
        ids = chosen.with_for_update(skip_locked=True).scalar_subquery()
        taken = (
            request_table.update()
            .where(request_table.c.id.in_(ids), self._free())
            .values(state="taken", taken_until=until, taker=self._me)
            .returning(*request_table.columns)
        )
        return sorted((_from(row) for row in await uow.execute(taken)), key=lambda r: (r.position, r.id))

    async def renew(self, uow: UnitOfWork, ids: Collection[str]) -> None:
        """Their taker is alive and still at them."""
        t = request_table.c
        until = self._clock.now() + dt.timedelta(seconds=LIMITS["inbox.lease_seconds"])
        await uow.execute(
            request_table.update()
            .where(t.id.in_(ids), t.state == "taken", t.taker == self._me)
            .values(taken_until=until)
        )

    async def accepted(self, uow: UnitOfWork, request_id: str) -> None:
        """It has a number; in the transaction that numbers it. Raises ``copy.request_settled`` where another was first."""
        if not await self._settle(uow, request_id, state="accepted"):
            raise Conflict("copy.request_settled", copy=request_id)

    async def refused(self, uow: UnitOfWork, request_id: str, code: str, evidence: dict[str, Any]) -> bool:
        """It will not be done, and why; false where it is settled already, or another's by now."""
        return await self._settle(uow, request_id, state="refused", code=code, evidence=evidence)

    async def put_back(self, uow: UnitOfWork, request: PortalRequest, *, counts: bool = True) -> None:
        """A part did not answer: somebody may try again, later each time, so that others come first.

        What does not count is tried for as long as it takes, every ``keys.away_seconds``.
        """
        t = request_table.c
        tries = request.tries + 1 if counts else request.tries
        wait = 2**tries if counts else LIMITS["keys.away_seconds"]
        later = self._clock.now() + dt.timedelta(seconds=wait)
        await uow.execute(
            request_table.update()
            .where(t.id == request.id, t.state == "taken", t.taker == self._me)
            .values(taken_until=later, taker=None, tries=tries)
        )

    async def _settle(self, uow: UnitOfWork, request_id: str, **values: Any) -> bool:
        t = request_table.c
        done = await uow.execute(
            request_table.update()
            .where(t.id == request_id, t.state == "taken", t.taker == self._me)
            .values(settled_at=self._clock.now(), taken_until=None, taker=None, **values)
        )
        return bool(done.rowcount == 1)
