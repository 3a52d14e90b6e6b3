"""How a frozen log goes on: two people decide it once, and whoever reads the log sees it for ever.

1. *look* at both sides: the mark, and the database, which must at least agree with itself.
2. *leaf* ``log_released`` stands pending: both marks in the clear, a commitment to the record of who and why. The transaction
   holds the log's row and looks again.
3. *replace* the mark by the database's state, by compare-and-set. What stood there is kept with the record.
4. *publish*: whoever opens the log next leads that leaf and signs the checkpoint over it.

A crash after 2 leaves the log frozen, and the leaf unpublished: run it again, or bring back a newer database. A second run adds a
leaf of its own, so two may tell of one release. A crash after 3 leaves a log that goes on and says so. No key is needed before 4.
"""

import asyncio
import datetime as dt
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from audit.events import Leaf, LeafType, commit
from audit.highwater import HighWater, Mark
from audit.log import Freeze, LogReader, add_leaves, state_of
from audit.records import checkpoint_table, entry_table
from core.clock import Clock, timestamp_text
from core.db import Database
from core.errors import Broken, Conflict, Refused
from core.formats import canonical_json
from core.ids import new_id, random_bytes
from core.values import Digest, Realm

__all__ = ["Frozen", "LogRelease", "Released", "commitment", "require_two"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """Both sides, as they were looked at."""

    why: Freeze
    mark: Mark | None
    state: Mark
    checkpoint: Mark | None
    """The database's newest."""
    checkpoint_at: dt.datetime | None
    begun: int
    """Releases that were begun and not completed."""

    @property
    def gone(self) -> int | None:
        """Published leaves that the database does not have; None where nobody can count them."""
        return self.mark[0] - self.state[0] if self.why is Freeze.BEHIND and self.mark is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What was done."""

    event_id: str
    record: Digest
    """Of the record, without its salt."""
    kept: str
    """Name under which the old mark and the record are kept."""


def commitment(record: dict[str, Any]) -> bytes:
    """What the leaf of a kept record commits to: anybody with the record can compare."""
    return commit(bytes.fromhex(record["salt"]), _digest(record).value)


def _digest(record: dict[str, Any]) -> Digest:
    return Digest.of(canonical_json.encode({name: value for name, value in record.items() if name != "salt"}))


def require_two(present: Sequence[str]) -> None:
    """Raise ``log.needs_two`` unless two different people are named; spelling and spaces make nobody another."""
    if len({" ".join(unicodedata.normalize("NFKC", name).casefold().split()) for name in present} - {""}) < 2:
        raise Refused("log.needs_two")


class LogRelease(LogReader):
    """Looks and releases, nothing else; holds no key."""

    def __init__(self, *, db: Database, origin: str, clock: Clock, highwater: HighWater) -> None:
        super().__init__(db=db, origin=origin)
        self._clock = clock
        self._highwater = highwater

    async def look(self) -> Frozen:
        """Raises ``log.not_frozen``; ``log.equivocation``, ``log.tile_missing`` where the database contradicts itself."""
        mark = self._highwater.read()
        c, e = checkpoint_table.c, entry_table.c
        async with self.db.read() as uow:
            state = await state_of(uow)
            newest = (await uow.execute(sa.select(checkpoint_table).order_by(c.size.desc()).limit(1))).first()
            query = sa.select(sa.func.count()).where(e.idx.is_(None), e.dedup.endswith(LeafType.LOG_RELEASED.value))
            begun = (await uow.execute(query)).scalar_one()
        why = await self.freeze(mark, state)
        if why is None:
            raise Refused("log.not_frozen")
        checkpoint = None if newest is None else (int(newest.size), bytes(newest.root))
        await self._require_whole(state, checkpoint)
        return Frozen(
            why=why, mark=mark, state=state, checkpoint=checkpoint,
            checkpoint_at=None if newest is None else newest.created_at, begun=begun,
        )  # fmt: skip

    async def release(self, seen: Frozen, *, realm: Realm, present: Sequence[str], reason: str) -> Released:
        """Steps 2 and 3, for exactly what was ``seen``. Raises ``log.mark_moved``; nothing is released then."""
        event = f"{new_id(self._clock)}.{LeafType.LOG_RELEASED.value}"
        now = self._clock.now()
        record: dict[str, Any] = {
            "event": event, "at": timestamp_text(now), "present": list(present), "reason": reason, "salt": random_bytes(32).hex(),
        }  # fmt: skip
        leaf = Leaf(
            type=LeafType.LOG_RELEASED, time=now, tenant_id=realm.value, event_id=event, doc_commit=commitment(record),
            digest_alg=_digest(record).algorithm.value, mark_old=seen.mark, mark_new=seen.state,
        )  # fmt: skip
        async with self.db.write() as uow:
            if await state_of(uow, held=True) != seen.state or self._highwater.read() != seen.mark:
                raise Conflict("log.mark_moved")
            await add_leaves(uow, leaf)
        kept = await asyncio.to_thread(self._highwater.replace, seen.mark, seen.state, record)
        return Released(event_id=event, record=_digest(record), kept=kept)

    async def _require_whole(self, state: Mark, checkpoint: Mark | None) -> None:
        if await self.root_at(state[0]) != state[1]:
            raise Broken("log.equivocation", detail="state")
        if checkpoint is not None and (
            checkpoint[0] > state[0] or await self.root_at(checkpoint[0]) != checkpoint[1]
        ):  # fmt: skip
            raise Broken("log.equivocation", detail="checkpoint")
