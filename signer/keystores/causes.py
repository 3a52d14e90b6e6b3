"""What our side says of key uses, for the comparison with a key store's audit file (``audit.keyuse.CauseSource``).

* Orders (persons' and seal keys): from the signature log, in the order of its indices. An *intended* leaf explains one call, each
  *outcome unknown* leaf one more, a *made* leaf demands one. Digest and key are the order's and its credential's.
* All other uses: from the use book (``uses``), which ``counterparts`` compares with what was made: checkpoints, lists, certificates.
"""

import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any

import sqlalchemy as sa

from audit.events import LeafType
from audit.keyuse.model import Call, Cause, Doubt, Finding, Inputs, Judgement, KeyVersion, Operation, Permit, Signal
from audit.log import LogReader
from audit.records import entry_table
from core.clock import Clock
from core.db import Database
from core.errors import BadInput, Broken
from core.ids import first_id
from core.limits import LIMITS
from core.values import Digest
from signer.credentials import credential_table
from signer.keystores.counterparts import Counterparts
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.policies import bundle_sha256
from signer.keystores.prepared import Prepared
from signer.keystores.records import import_table, key_table, policy_table, work_table
from signer.keystores.uses import use_life_table, use_table
from signer.records import order_table

__all__ = ["KeyCauses"]

_SAYS = {
    LeafType.KEY_USE_INTENDED.value: Signal.MAY,
    LeafType.KEY_OUTCOME_UNKNOWN.value: Signal.MAY,
    LeafType.SIGNATURE_MADE.value: Signal.MUST,
}
_PIECE = 500
_MOST_ORDERS = 2_000
"""Looked through for one that a call may belong to; beyond them it is a call without intent."""
_SKEW = dt.timedelta(seconds=5)

_e, _u, _l = entry_table.c, use_table.c, use_life_table.c
_LEAVES = sa.select(_e.idx, _e.entry).where(_e.idx >= sa.bindparam("from_idx")).order_by(_e.idx).limit(_PIECE)
_PENDING = sa.select(_e.entry).where(_e.idx.is_(None)).order_by(_e.seq).limit(1)
_ORDERS = sa.select(order_table.c.id, order_table.c.credential_id, order_table.c.prepared).where(
    order_table.c.id.in_(sa.bindparam("ids", expanding=True))
)
_USES = (
    sa.select(use_table)
    .where(
        _u.store == sa.bindparam("store"), _u.at <= sa.bindparam("until"), _u.at >= sa.bindparam("at"),
        sa.or_(_u.at > sa.bindparam("at"), _u.id > sa.bindparam("last")),
    )
    .order_by(_u.at, _u.id)
    .limit(_PIECE)
)  # fmt: skip


def _time(leaf: dict[str, Any]) -> dt.datetime:
    return dt.datetime.fromtimestamp(leaf["time_ms"] / 1000, dt.UTC)


class KeyCauses:
    """Satisfies ``audit.keyuse.CauseSource`` for the keys of one store."""

    def __init__(self, db: Database, clock: Clock, prepared: Prepared, store: str = "transit") -> None:
        """``store``: as key references name it; ``prepared``: what its server should hold beside keys."""
        self._db, self._clock, self._prepared, self._store = db, clock, prepared, store
        self._index = 0
        self._keys: dict[str, tuple[KeyVersion, KeyPurpose]] = {}
        """By credential."""
        self._crashes: dict[str, tuple[dt.datetime, int]] = {}
        self._counterparts = Counterparts(db, clock, LogReader(db=db, origin=""))

    async def begin(self, start: dt.datetime, end: dt.datetime, memory: dict[str, str]) -> dt.datetime:
        """Until the oldest leaf that no index has yet: what comes after it in the log is not known."""
        await self._learn_keys()
        self._counterparts.load(memory)
        self._index = int(memory["index"]) if "index" in memory else await self._index_at(start)
        async with self._db.read() as uow:
            pending = (await uow.execute(_PENDING)).scalar_one_or_none()
        if pending is None:
            return end
        return min(end, _time(json.loads(pending)) - dt.timedelta(milliseconds=1))

    def remember(self) -> dict[str, str]:
        """The next leaf to read."""
        return {"index": str(self._index), **self._counterparts.dump()}

    async def _learn_keys(self) -> None:
        t = credential_table.c
        async with self._db.read() as uow:
            rows = (await uow.execute(sa.select(t.id, t.key))).all()
        for row in rows:
            ref = KeyRef.from_json(json.loads(row.key))
            if ref.store == self._store:
                self._keys[row.id] = KeyVersion(ref.place, ref.name, ref.version), ref.purpose

    async def _index_at(self, start: dt.datetime) -> int:
        """The first leaf from that time on: leaves lie in the order of time, give or take a moment."""
        start -= _SKEW
        async with self._db.read() as uow:
            low, high = 0, ((await uow.execute(sa.select(sa.func.max(_e.idx)))).scalar_one_or_none() or -1) + 1
            while low < high:
                middle = (low + high) // 2
                entry = (await uow.execute(sa.select(_e.entry).where(_e.idx == middle))).scalar_one()
                low, high = (middle + 1, high) if _time(json.loads(entry)) < start else (low, middle)
        return low

    async def causes(self, after: dt.datetime, until: dt.datetime) -> AsyncIterator[list[Cause]]:
        """Orders, then uses."""
        while True:
            orders, more = await self._from_log(until)
            if orders:
                yield orders
            if not more:
                break
        async for uses in self._from_book(after, until):
            yield uses

    async def _from_log(self, until: dt.datetime) -> tuple[list[Cause], bool]:
        async with self._db.read() as uow:
            rows = (await uow.execute(_LEAVES, {"from_idx": self._index})).all()
            said: list[tuple[str, Signal, dt.datetime]] = []
            more = len(rows) == _PIECE
            for row in rows:
                leaf = json.loads(row.entry)
                if _time(leaf) > until:
                    more = False
                    break
                self._index = row.idx + 1
                if leaf["type"] in _SAYS:
                    said.append((str(leaf["event_id"]).split(".")[0], _SAYS[leaf["type"]], _time(leaf)))
            found = (await uow.execute(_ORDERS, {"ids": sorted({each[0] for each in said})})).all()
        orders = {row.id: row for row in found}
        return [cause for each in said if (cause := self._cause(orders.get(each[0]), *each[1:]))], more

    def _cause(self, order: Any, signal: Signal, at: dt.datetime) -> Cause | None:
        """None for a key of another store."""
        if order is None or order.credential_id not in self._keys:
            return None
        digest = Digest.from_hex(order.prepared["digest"], order.prepared["to_sign"])
        key, _ = self._keys[order.credential_id]
        return Cause(id=order.id, kind="order", key=key, input=digest.value, signal=signal, at=at)

    async def _from_book(self, after: dt.datetime, until: dt.datetime) -> AsyncIterator[list[Cause]]:
        at, last = after, "~"  # no id is greater: rows of exactly that time were given before
        while True:
            async with self._db.read() as uow:
                given = {"store": self._store, "at": at, "last": last, "until": until}
                rows = (await uow.execute(_USES, given)).all()
            if rows:
                at, last = rows[-1].at, rows[-1].id
                yield [_use(row) for row in rows]
            if len(rows) < _PIECE:
                return

    async def explain(self, calls: list[Call], hashes: Inputs) -> list[Judgement]:
        """Persons' and seal keys: an order with that digest; service keys: a crash just then."""
        purposes = dict(self._keys.values())
        personal = {each.key for each in calls if purposes.get(each.key) in {KeyPurpose.DOCUMENT, KeyPurpose.SEAL}}
        orders = {
            key: await self._orders_of(key, [each for each in calls if each.key == key], hashes) for key in personal
        }
        found: list[Judgement] = []
        for call in calls:
            if call.key in orders:
                order, intended = orders[call.key].get(call.input, ("", call.at))
                fits = order and intended <= call.at + _SKEW
                found.append(Judgement(Doubt.TWICE, order) if fits else Judgement(Doubt.NOTHING))
            elif call.key in purposes:
                found.append(await self._crash_at(call))
            else:
                found.append(Judgement(Doubt.NOTHING))
        return found

    async def _orders_of(
        self, key: KeyVersion, calls: list[Call], hashes: Inputs
    ) -> dict[bytes, tuple[str, dt.datetime]]:
        """The newest orders of that key from before those calls: keyed hash → (id, when it was intended)."""
        t = order_table.c
        held = [credential for credential, (known, _) in self._keys.items() if known == key]
        first, last = min(each.at for each in calls), max(each.at for each in calls)
        query = (
            sa.select(t.id, t.prepared, t.intended_at)
            .where(t.id >= first_id(first - dt.timedelta(days=LIMITS["keyuse.order_days"])))
            .where(t.credential_id.in_(held), t.intended_at <= last + _SKEW)
            .order_by(t.id.desc())
            .limit(_MOST_ORDERS)
        )
        async with self._db.read() as uow:
            rows = (await uow.execute(query)).all()
        digests = [Digest.from_hex(row.prepared["digest"], row.prepared["to_sign"]).value for row in rows]
        hashed = await hashes.of(digests)
        return {value: (row.id, row.intended_at) for row, value in zip(rows, hashed, strict=True)}

    async def _crash_at(self, call: Call) -> Judgement:
        """One crash takes at most ``keyuse.most`` uses of one moment, after the last use that its life wrote down."""
        dead = use_life_table.alias()
        query = sa.select(dead.c.id, dead.c.began_at, _l.began_at.label("over")).where(
            _l.after == dead.c.id, _l.began_at >= call.at - _SKEW, dead.c.began_at <= call.at + _SKEW
        )
        async with self._db.read() as uow:
            for life in (await uow.execute(query)).all():
                last = sa.select(_u.at).where(_u.life == life.id, _u.at >= life.began_at, _u.at <= life.over)
                written = (await uow.execute(last.order_by(_u.at.desc()).limit(1))).scalar_one_or_none()
                if call.at >= (written or life.began_at) - _SKEW and self._one_more(life.id, call.at):
                    return Judgement(Doubt.CRASH, life.id)
        return Judgement(Doubt.NOTHING)

    def _one_more(self, life: str, at: dt.datetime) -> bool:
        first, count = self._crashes.get(life, (at, 0))
        most = dt.timedelta(milliseconds=LIMITS["keyuse.flush_ms"]) + dt.timedelta(
            seconds=LIMITS["keyuse.hold_seconds"]
        )
        if count >= LIMITS["keyuse.most"] or abs(at - first) > most:
            return False
        self._crashes[life] = first, count + 1
        return True

    async def result_of(self, uses: list[Cause]) -> list[Judgement]:
        """Whether what a use was for is stored with us."""
        return [
            Judgement(Doubt.STORED) if await self._counterparts.stored(use.input, use.at) else Judgement(Doubt.NOTHING)
            for use in uses
        ]

    async def counterparts(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        """The book against checkpoints, certificates, time-stamps, QR seals and lists."""
        try:
            return await self._counterparts.compare(after, until)
        except (ValueError, BadInput) as error:  # something stored with us is not what it should be
            raise Broken("keyuse.unreadable_record") from error

    async def permitted(self, operation: Operation, hashes: Inputs) -> Permit | None:
        """Two administrators decided it, or it sets what every server of ours holds."""
        if operation.data is not None:
            permit = await self._prepared_for(operation, hashes)
            if permit is not None or operation.kind != "config":
                return permit
        k, w, i = key_table.c, work_table.c, import_table.c
        decision = ""
        if operation.kind in {"config", "soft-delete", "delete"}:
            decision = await self._one(
                sa.select(w.decision_id).join(key_table, k.id == w.key_id).where(
                    k.store == self._store, k.place == operation.place, k.name == operation.name,
                    w.decision_id.is_not(None), w.ordered_at <= operation.at + _SKEW,
                    sa.or_(w.done_at.is_(None), w.done_at >= operation.at - _SKEW),
                )
            )  # fmt: skip
        if operation.kind in {"import", "wrapping_key"}:
            decision = await self._one(sa.select(i.id).where(
                i.decided_at <= operation.at + _SKEW, i.expires_at >= operation.at - _SKEW,
                sa.or_(i.used_at.is_(None), i.used_at >= operation.at - _SKEW),
            ))  # fmt: skip
        return Permit("keyuse.decided", decision) if decision else None

    async def _prepared_for(self, operation: Operation, hashes: Inputs) -> Permit | None:
        """A call whose body, string by string, is one that a ceremony sends there; a policy also as it was decided by then."""
        for call in self._prepared.calls(operation.path):
            if await hashes.shown(call.body) != operation.data:
                continue
            decided = await self._policies_at(operation.at + _SKEW) if call.bundle else None
            if decided is None:
                return Permit("keyuse.as_prepared")
            if decided.sha256 == bundle_sha256(call.bundle):
                return Permit("keyuse.decided", decided.id)
        return None

    async def _policies_at(self, at: dt.datetime) -> Any:
        """The decision that held then; None before the first."""
        t = policy_table.c
        query = sa.select(t.id, t.sha256).where(t.store == self._store, t.decided_at <= at)
        async with self._db.read() as uow:
            return (await uow.execute(query.order_by(t.decided_at.desc(), t.id.desc()).limit(1))).first()

    async def _one(self, query: sa.Select[Any]) -> str:
        async with self._db.read() as uow:
            return (await uow.execute(query.limit(1))).scalar_one_or_none() or ""


def _use(row: Any) -> Cause:
    key = KeyVersion(row.place, row.name, row.version)
    return Cause(id=row.id, kind="use", key=key, input=bytes(row.input), signal=Signal.MAY, at=row.at)
