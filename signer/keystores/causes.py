"""What our side says of key uses, for the comparison with a key store's audit file (``audit.keyuse.CauseSource``).

* Orders (persons' and seal keys): from the signature log, in the order of its indices. An *intended* leaf explains one call, each
  *outcome unknown* leaf one more, a *made* leaf demands one. Digest and key are the order's, where they are what the leaf commits to.
* All other uses: from the use book (``uses``), which ``counterparts`` compares with what was made: checkpoints, lists, certificates.
  A person's or seal key stands there with the challenge that it signed, or its row explains nothing.
"""

import base64
import datetime as dt
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa

from audit.events import LeafType, commit
from audit.keyuse.model import (
    Call,
    Cause,
    Doubt,
    Finding,
    Inputs,
    Judgement,
    KeyVersion,
    Operation,
    Permit,
    Severity,
    Signal,
)
from audit.log import LogReader
from audit.records import entry_table
from core.clock import Clock
from core.db import Database
from core.errors import BadInput, Broken
from core.ids import first_id
from core.limits import LIMITS
from core.signing import is_proof
from core.values import Digest, SignatureAlgorithm
from signer.credentials import credential_table
from signer.keystores.counterparts import Counterparts
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.permits import Permits
from signer.keystores.prepared import Prepared
from signer.keystores.records import key_table
from signer.keystores.rules import PERSONAL
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
_ORDERS = sa.select(order_table.c.id, order_table.c.credential_id, order_table.c.prepared, order_table.c.salt).where(
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


def _leaf_times(leaves: Sequence[dict[str, Any]], now: dt.datetime) -> list[dt.datetime]:
    """They lie in their true order, so a leaf is no later than one behind it, nor than now, whatever a clock said."""
    times: list[dt.datetime] = []
    for leaf in reversed(leaves):
        times.append(min(_time(leaf), times[-1] if times else now))
    return times[::-1]


class KeyCauses:
    """Satisfies ``audit.keyuse.CauseSource`` for the keys of one store."""

    def __init__(self, db: Database, clock: Clock, prepared: Prepared, store: str = "transit") -> None:
        """``store``: as key references name it; ``prepared``: what its server should hold beside keys."""
        self._db, self._clock, self._store = db, clock, store
        self._permits = Permits(db, prepared, store)
        self._index = 0
        self._keys: dict[str, tuple[KeyVersion, KeyPurpose]] = {}
        """By credential."""
        self._refs: dict[str, KeyRef] = {}
        """Every key there ever was, also where it has left, as leaves name it."""
        self._spkis: dict[str, bytes] = {}
        """By credential, of any store."""
        self._personal: set[KeyVersion] = set()
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
            kept = [_ref(row) for row in await uow.execute(sa.select(key_table))]
        held = {row.id: KeyRef.from_json(json.loads(row.key)) for row in rows}
        self._keys = {each: (_version(ref), ref.purpose) for each, ref in held.items() if ref.store == self._store}
        for ref in (*held.values(), *kept):
            self._refs[_b64(ref.sha256)] = ref
            if ref.store == self._store and ref.purpose in PERSONAL:
                self._personal.add(_version(ref))
        self._spkis = {each: ref.spki for each, ref in held.items()}

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

    async def causes(self, after: dt.datetime, until: dt.datetime) -> AsyncIterator[list[Cause | Finding]]:
        """Orders, then uses."""
        while True:
            orders, more = await self._from_log(until)
            if orders:
                yield orders
            if not more:
                break
        async for uses in self._from_book(after, until):
            yield uses

    async def _from_log(self, until: dt.datetime) -> tuple[list[Cause | Finding], bool]:
        async with self._db.read() as uow:
            rows = (await uow.execute(_LEAVES, {"from_idx": self._index})).all()
            leaves = [json.loads(row.entry) for row in rows]
            times = _leaf_times(leaves, max(self._clock.now(), until))
            ready = [row.idx for row, at in zip(rows, times, strict=True) if at <= until]  # they rise
            self._index = ready[-1] + 1 if ready else self._index
            said = [(leaf, at) for leaf, at in zip(leaves[: len(ready)], times, strict=False) if leaf["type"] in _SAYS]
            ids = sorted({_order_of(leaf) for leaf, _ in said})
            orders = {row.id: row for row in (await uow.execute(_ORDERS, {"ids": ids})).all()}
        found = [self._cause(orders.get(_order_of(leaf)), leaf, at) for leaf, at in said]
        return [each for each in found if each is not None], len(ready) == _PIECE

    def _cause(self, order: Any, leaf: dict[str, Any], at: dt.datetime) -> Cause | Finding | None:
        """None for a key of another store; a finding where the order is not what the leaf commits to."""
        ref = self._refs.get(leaf.get("key_ref_hash", ""))
        if ref is not None and ref.store != self._store:
            return None
        if ref is None or order is None or not self._is_committed(order, leaf, ref):
            return Finding(
                code="keyuse.order_changed", severity=Severity.CRITICAL, key=None if ref is None else _version(ref),
                what=_order_of(leaf), first_at=at, last_at=at,
            )  # fmt: skip
        signal, value = _SAYS[leaf["type"]], _digest_of(order) or b""
        return Cause(id=order.id, kind="order", key=_version(ref), input=value, signal=signal, at=at)

    def _is_committed(self, order: Any, leaf: dict[str, Any], ref: KeyRef) -> bool:
        digest, salt = _digest_of(order), bytes(order.salt)
        if digest is None or len(salt) != 32 or self._spkis.get(order.credential_id) != ref.spki:
            return False  # the key may have moved since: another place, the same public key
        return bool(leaf["doc_commit"] == _b64(commit(salt, digest)))

    async def _from_book(self, after: dt.datetime, until: dt.datetime) -> AsyncIterator[list[Cause | Finding]]:
        at, last = after, "~"  # no id is greater: rows of exactly that time were given before
        while True:
            async with self._db.read() as uow:
                given = {"store": self._store, "at": at, "last": last, "until": until}
                rows = (await uow.execute(_USES, given)).all()
            if rows:
                at, last = rows[-1].at, rows[-1].id
                yield [self._use(row) for row in rows]
            if len(rows) < _PIECE:
                return

    def _use(self, row: Any) -> Cause | Finding:
        key = KeyVersion(row.place, row.name, row.version)
        said = None if row.said is None else bytes(row.said)
        if (key in self._personal or row.purpose in PERSONAL) and not is_proof(bytes(row.input), said):
            return Finding(
                code="keyuse.not_proven",
                severity=Severity.CRITICAL,
                key=key,
                what=row.id,
                first_at=row.at,
                last_at=row.at,
            )
        return Cause(id=row.id, kind="use", key=key, input=bytes(row.input), signal=Signal.MAY, at=row.at)

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
        known = [(row, digest) for row in rows if (digest := _digest_of(row)) is not None]
        hashed = await hashes.of([digest for _, digest in known])
        return {value: (row.id, row.intended_at) for (row, _), value in zip(known, hashed, strict=True)}

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
        return await self._permits.permitted(operation, hashes)


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _digest_of(order: Any) -> bytes | None:
    """As the key gets it; None where somebody wrote something else there."""
    try:
        return Digest.from_hex(order.prepared["digest"], order.prepared["to_sign"]).value
    except (ValueError, KeyError, TypeError):
        return None


def _order_of(leaf: dict[str, Any]) -> str:
    return str(leaf["event_id"]).split(".")[0]


def _version(ref: KeyRef) -> KeyVersion:
    return KeyVersion(ref.place, ref.name, ref.version)


def _ref(row: Any) -> KeyRef:
    """As the registry keeps it."""
    return KeyRef(
        store=row.store, name=row.name, version=row.version, purpose=KeyPurpose(row.purpose),
        algorithm=SignatureAlgorithm(row.algorithm), spki=bytes(row.spki), place=row.place,
    )  # fmt: skip
