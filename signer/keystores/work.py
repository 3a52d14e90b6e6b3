"""What was decided about keys, done in their stores: after the commit, as often as needed, recorded once.

A store may be sealed, far away or slow, so nothing of it happens inside a transaction. Steps, and what a crash leaves:

1. *claim* the act's row is due again after ``keys.try_seconds``: another process takes it over then. Until the store has
   answered the row says that its outcome is unknown.
2. *act* the store disables or destroys. Both may be repeated. That a key is *missing* is the end of the act only where an
   earlier try may have been what made it so: an engine mounted elsewhere, or restored, misses keys that live.
3. *record* the row is ``done``, the key's history says how, a leaf is in the log; one transaction, once by compare-and-swap.

A key's end in its store waits for who has spent an approval before it (at most ``keys.settle_seconds``). The registry has
refused everybody else since the decision. A destruction waits for the end in the store and for its own day, read again here.
"""

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from audit.events import Leaf, LeafType, commit
from audit.log import Log
from core.clock import Clock
from core.db import Database, UnitOfWork, swap_state
from core.errors import Conflict, NotFound, Refused, ServiceError
from core.formats import canonical_json
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.logs import code_of, logger
from core.values import Digest
from signer.keystores.model import KeyStore
from signer.keystores.records import key_table, work_table
from signer.keystores.registry import KeyState, KnownKey, Registry, Work, work_of
from signer.records import order_table

__all__ = ["KeyWork", "changed_digest"]

_DONE: Final = {"disable": "store_disabled", "destroy": "destroyed"}
"""What the history says of an act."""
_FIRST_REST: Final = 5
_UNKNOWN: Final = "key.outcome_unknown"
_t = work_table.c


def changed_digest(key: KnownKey, act: str, event_id: str) -> Digest:
    """What the leaf ``<event id>.key_changed`` commits to: which key, and what was done to it."""
    return Digest.of(
        canonical_json.encode(
            {"key": Digest.of(key.ref.spki).hex, "store": key.ref.store, "act": act, "event": event_id}
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWork:
    """Signer role only. ``store`` holds every key that it is asked about; a key of another is left to whoever has it."""

    db: Database
    clock: Clock
    log: Log
    store: KeyStore

    @property
    def registry(self) -> Registry:
        """The tables."""
        return Registry(self.clock)

    async def serve(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.run()
            except ServiceError as error:
                logger().warning("key.not_worked", code=error.code)
            await asyncio.sleep(LIMITS["keys.look_seconds"])

    async def run(self, key_id: str | None = None) -> list[Work]:
        """Try what is due, of one key or of all; returns how each stands now. With ``key_id`` it need not be due yet."""
        async with self.db.read() as uow:
            query = sa.select(work_table).where(_t.state == "due").order_by(_t.ordered_at, _t.id)
            due = _t.next_at <= self.clock.now() if key_id is None else _t.key_id == key_id
            found = [work_of(row) for row in await uow.execute(query.where(due))]
        for work in found:
            await self._try(work)
        async with self.db.read() as uow:
            again = sa.select(work_table).where(_t.id.in_([work.id for work in found])).order_by(_t.ordered_at, _t.id)
            return [work_of(row) for row in await uow.execute(again)]

    async def _try(self, work: Work) -> None:
        key = await self._claimed(work)
        if key is None:
            return
        try:
            how = await self._act(key, work)
        except Exception as error:  # noqa: BLE001 - one store must not keep the others' keys from their end
            await self._put_off(work, code_of(error))
        else:
            await self._record(work, key, how)

    # -------------------------------------------------------------------------------------------------------- claim
    async def _claimed(self, work: Work) -> KnownKey | None:
        """The key, where nothing stands before it and nobody else is at it."""
        now = self.clock.now()
        async with self.db.write() as uow:
            key = await self.registry.get(uow, work.key_id)
            if await self._must_wait(uow, key, work):
                return None
            mine = work_table.update().where(_t.id == work.id, _t.state == "due", _t.tries == work.tries)
            until = now + dt.timedelta(seconds=LIMITS["keys.try_seconds"])
            if (await uow.execute(mine.values(tries=work.tries + 1, next_at=until, code=_UNKNOWN))).rowcount != 1:
                return None
        return key

    async def _must_wait(self, uow: UnitOfWork, key: KnownKey, work: Work) -> bool:
        if work.act == "destroy":
            try:
                self.registry.require_destroyable(key)
            except Refused:  # whoever decided had another clock
                return True
            return any(each.act == "disable" and each.state == "due" for each in await self.registry.works(uow, key.id))
        if self.clock.now() >= work.ordered_at + dt.timedelta(seconds=LIMITS["keys.settle_seconds"]):
            return False
        mine = [row.id for row in await self.registry.credentials(uow, key)]
        o = order_table.c
        spent = sa.select(o.id).where(o.credential_id.in_(mine), o.state == "intended", o.provider.is_(None)).limit(1)
        return (await uow.execute(spent)).first() is not None

    # ---------------------------------------------------------------------------------------------------------- act
    async def _act(self, key: KnownKey, work: Work) -> str:
        """How the store answered: empty, or the code of an answer that is as good."""
        try:
            if work.act == "disable":
                await self.store.disable(key.ref)
            else:
                await self._destroy(key)
        except NotFound as error:
            if error.code != "key.missing" or work.code != _UNKNOWN:
                raise
            return error.code
        return ""

    async def _destroy(self, key: KnownKey) -> None:
        try:
            await self.store.destroy(key.ref)
        except Refused as error:
            if error.code != "key.not_disabled":  # restored from a copy that is older than the key's end
                raise
            await self.store.disable(key.ref)
            await self.store.destroy(key.ref)

    async def _put_off(self, work: Work, code: str) -> None:
        code = _UNKNOWN if work.code == _UNKNOWN else code  # once it may have been done, it may have been done
        rest = min(_FIRST_REST * 2**work.tries, LIMITS["keys.retry_most_seconds"])
        logger().warning("key.work_put_off", id=work.key_id, kind=work.act, code=code, count=work.tries + 1)
        mine = work_table.update().where(_t.id == work.id, _t.state == "due", _t.tries == work.tries + 1)
        async with self.db.write() as uow:
            await uow.execute(mine.values(next_at=self.clock.now() + dt.timedelta(seconds=rest), code=code))

    # ------------------------------------------------------------------------------------------------------- record
    async def _record(self, work: Work, key: KnownKey, how: str) -> None:
        now = self.clock.now()
        try:
            async with self.db.write() as uow:
                done = {"done_at": now, "code": how or None}
                if not await swap_state(uow, work_table.c.id, work.id, "due", "done", **done):
                    return  # another process did the same at once
                if work.act == "destroy" and not await self._gone(uow, key):
                    raise Conflict("decision.overtaken")
                event_id, salt = new_id(self.clock), random_bytes(32)
                await self.registry.happened(
                    uow, key.id, _DONE[work.act], how or work.id, event_id=event_id, salt=salt
                )  # fmt: skip
                await self.log.append(uow, self._leaf(key, work.act, event_id, salt))
        except ServiceError as error:
            logger().error("key.work_not_recorded", id=key.id, kind=work.act, code=error.code)
            return
        logger().warning("key.work_done", id=key.id, kind=work.act)
        self.log.sequence_soon()

    async def _gone(self, uow: UnitOfWork, key: KnownKey) -> bool:
        return await swap_state(uow, key_table.c.id, key.id, KeyState.DISABLED, KeyState.DESTROYED)

    def _leaf(self, key: KnownKey, act: str, event_id: str, salt: bytes) -> Leaf:
        digest = changed_digest(key, act, event_id)
        values: dict[str, Any] = {"type": LeafType.KEY_CHANGED, "time": self.clock.now(), "tenant_id": key.realm.value}
        return Leaf(
            **values, event_id=f"{event_id}.{LeafType.KEY_CHANGED.value}", doc_commit=commit(salt, digest.value),
            digest_alg=digest.algorithm.value,
        )  # fmt: skip
