"""The transparency log and its one writer at a time.

Order, and what a crash at each point means:

1. *append* a pending leaf stands in the caller's transaction: it exists exactly if the business record does.
2. *lead* under the row lock: indices, tiles, frontier, state; committed together. A crash before commit changes nothing.
3. *mark* the high-water mark moves to (size, root) read back after commit. A crash here: the next leader finds state
   ahead of the checkpoint and goes on from 3.
4. *sign* the checkpoint of exactly that mark, and store it. Two roots for one size stop the process.

No signature exists above the mark. A database restored to before the mark freezes the log until two people release it
(``audit/release.py``).
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum

import sqlalchemy as sa

from audit.events import Leaf
from audit.highwater import HighWater, Mark
from audit.records import checkpoint_table, entry_table, state_table, tile_table
from core.clock import Clock
from core.db import Database, UnitOfWork, insert_new
from core.errors import Broken, NotFound, Unavailable
from core.formats import merkle
from core.formats.note import NoteKey, checkpoint_text, proof_text, sign_note
from core.limits import LIMITS
from core.logs import code_of, logger
from core.signing import SigningKey
from core.values import Message

__all__ = ["Freeze", "Log", "LogReader", "add_leaves", "state_of"]

_ID = 1  # one log a database; a shard by year is a new database row and key
_STATE = sa.select(state_table.c.size, state_table.c.root).where(state_table.c.log_id == _ID)
_HELD = _STATE.with_for_update()


class Freeze(StrEnum):
    """Why a log must stand still."""

    BEHIND = "behind"
    """The database is older than the mark."""
    OTHER = "other"
    """As old or newer, with another root where the mark stands: a different history."""
    LOST = "lost"
    """There are checkpoints and no mark."""


async def add_leaves(uow: UnitOfWork, *leaves: Leaf) -> None:
    """Add pending leaves in the caller's transaction; the same event twice is one leaf."""
    rows = [{"log_id": _ID, "dedup": leaf.event_id, "entry": leaf.encode()} for leaf in leaves]
    if rows:
        await uow.execute(insert_new(uow, entry_table), rows)


async def state_of(uow: UnitOfWork, *, held: bool = False) -> Mark:
    """Size and root of what is sequenced. ``held``: nobody leads until the transaction ends."""
    row = (await uow.execute(_HELD if held else _STATE)).one()
    return int(row.size), bytes(row.root)


class LogReader:
    """Reads the log; holds no key."""

    def __init__(self, *, db: Database, origin: str) -> None:
        self.db = db
        self.origin = origin

    async def latest_checkpoint(self) -> str | None:
        """The newest signed note."""
        async with self.db.read() as uow:
            query = sa.select(checkpoint_table.c.note).order_by(checkpoint_table.c.size.desc()).limit(1)
            return (await uow.execute(query)).scalar_one_or_none()

    async def entries(self, start: int, end: int) -> list[tuple[int, bytes]]:
        """``(index, entry)`` for start ≤ index < end."""
        t = entry_table.c
        async with self.db.read() as uow:
            query = sa.select(t.idx, t.entry).where(t.log_id == _ID, t.idx >= start, t.idx < end).order_by(t.idx)
            return [(row.idx, row.entry) for row in await uow.execute(query)]

    async def size(self) -> int:
        """Sequenced leaves."""
        async with self.db.read() as uow:
            return (await uow.execute(sa.select(state_table.c.size))).scalar_one_or_none() or 0

    async def root_at(self, size: int) -> bytes:
        """The root over the first ``size`` leaves. Raises ``log.tile_missing`` where there are not so many."""
        if size == 0:
            return merkle.EMPTY_ROOT
        async with self.db.read() as uow:
            tree = await _Tree.load(uow, lambda subtree: subtree(0, size))
        return tree.subtree(0, size)

    async def freeze(self, mark: Mark | None, state: Mark) -> Freeze | None:
        """Why a database in ``state`` must not go on under ``mark``; None where it follows it."""
        size, root = state
        if mark is None:
            return Freeze.LOST if size and await self.latest_checkpoint() is not None else None
        if mark[0] > size:
            return Freeze.BEHIND
        known = root if mark[0] == size else await self.root_at(mark[0])
        return Freeze.OTHER if mark[0] and known != mark[1] else None

    async def receipt(self, event_id: str) -> bytes:
        """The leaf's ``tlog-proof`` under the newest checkpoint. Raises ``log.pending``, ``log.no_such_event``."""
        t, c = entry_table.c, checkpoint_table.c
        async with self.db.read() as uow:
            row = (await uow.execute(sa.select(t.idx).where(t.log_id == _ID, t.dedup == event_id))).first()
            if row is None:
                raise NotFound("log.no_such_event", event=event_id)
            newest = (await uow.execute(sa.select(c.size, c.note).order_by(c.size.desc()).limit(1))).first()
            if row.idx is None or newest is None or row.idx >= newest.size:
                raise Unavailable("log.pending", event=event_id)
            tree = await _Tree.load(uow, lambda subtree: merkle.inclusion_proof(row.idx, newest.size, subtree))
        path = merkle.inclusion_proof(row.idx, newest.size, tree.subtree)
        return proof_text(row.idx, path, newest.note).encode()


class Log(LogReader):
    """The writer; needs the log key."""

    def __init__(self, *, db: Database, origin: str, key: SigningKey, clock: Clock, highwater: HighWater) -> None:
        super().__init__(db=db, origin=origin)
        self._key = key
        self._clock = clock
        self._highwater = highwater
        self._turn = asyncio.Lock()
        self._soon: asyncio.Task[None] | None = None
        self.owes = False
        """What was asked for could not be published: somebody should ask again."""
        self._note_key = NoteKey(origin, key.spki[-32:])

    @property
    def vkey(self) -> str:
        """The verifier key to publish."""
        return str(self._note_key)

    async def open(self) -> None:
        """Make the state row once; freeze if the database is behind the mark. Repairs a crash between 2 and 4."""
        async with self.db.write() as uow:
            first = {"log_id": _ID, "origin": self.origin, "size": 0, "root": merkle.EMPTY_ROOT, "frontier": b""}
            await uow.execute(insert_new(uow, state_table), first)
        await self._require_mark()
        try:
            await self.sequence()
        except Unavailable as error:
            if not error.code.startswith("key."):
                raise
            self.owes = True  # its key is away: leaves are kept, and published when it is back
            logger().warning("log.not_published", code=error.code)

    async def append(self, uow: UnitOfWork, *leaves: Leaf) -> None:
        """As ``add_leaves``."""
        await add_leaves(uow, *leaves)

    async def sequence(self) -> int:
        """Lead until nothing is pending, then publish; returns the published size. Safe in several processes.

        Within one process callers take turns, and one whose leaves the caller before published finds nothing to do.
        """
        async with self._turn:
            if await self._require_mark():  # a restored database must not give out a single index
                while await self._lead():
                    pass
            return await self._publish()

    def sequence_soon(self) -> asyncio.Task[None]:
        """``sequence`` in a moment, once for all who asked by then: for who does not wait for it. Never raises."""
        if self._soon is None or self._soon.done():
            self._soon = asyncio.create_task(self._in_a_moment())
        return self._soon

    async def _in_a_moment(self) -> None:
        await asyncio.sleep(LIMITS["log.moment_ms"] / 1000)
        self._soon = None  # who asks from here on has leaves that this turn may miss
        try:
            await self.sequence()
            self.owes = False
        except Exception as error:  # noqa: BLE001 - the next one publishes it
            self.owes = True
            logger().warning("log.not_published", code=code_of(error))

    async def _require_mark(self) -> bool:
        """Raises ``log.frozen``; true while leaves are pending."""
        t = entry_table.c
        async with self.db.read() as uow:
            size, root = await state_of(uow)
            pending = (await uow.execute(sa.select(t.seq).where(t.log_id == _ID, t.idx.is_(None)).limit(1))).first()
        await self._require_not_behind(self._highwater.read(), size, root)
        return pending is not None

    async def _lead(self) -> bool:
        """Step 2; true while a full batch was found."""
        t, s = entry_table.c, state_table.c
        async with self.db.write() as uow:
            state = (await uow.execute(sa.select(state_table).where(s.log_id == _ID).with_for_update())).one()
            pending = (
                await uow.execute(
                    sa.select(t.seq, t.entry).where(t.log_id == _ID, t.idx.is_(None)).order_by(t.seq)
                    .limit(LIMITS["log.batch"])
                )
            ).all()  # fmt: skip
            if not pending:
                return False
            frontier = merkle.Frontier.parse(state.size, state.frontier)
            tiles: dict[tuple[int, int], bytearray] = {}

            def tile(level: int, n: int, h: bytes) -> None:
                tiles.setdefault((level, n), bytearray()).extend(h)

            indices = [{"row": row.seq, "index": state.size + i} for i, row in enumerate(pending)]
            for row in pending:
                frontier.append(merkle.leaf_hash(row.entry), tile)
            # a leaf whose index is set already is refused by the table's trigger
            await uow.execute(
                entry_table.update().where(t.seq == sa.bindparam("row")).values(idx=sa.bindparam("index")), indices
            )
            await _extend_tiles(uow, tiles)
            moved = await uow.execute(
                state_table.update()
                .where(s.log_id == _ID, s.size == state.size)
                .values(size=frontier.size, root=frontier.root(), frontier=frontier.dump())
            )
            if moved.rowcount != 1:
                raise Broken("log.equivocation", detail="state")
            return len(pending) == LIMITS["log.batch"]

    async def _publish(self) -> int:
        """Steps 3 and 4, from what is read back as committed."""
        c = checkpoint_table.c
        async with self.db.read() as uow:
            size, root = await state_of(uow)
            newest = (await uow.execute(sa.select(sa.func.max(c.size)))).scalar_one()
        mark = self._highwater.read()
        await self._require_not_behind(mark, size, root)
        if newest is not None and newest >= size:
            return size
        if size == 0:
            return 0
        if mark is None or mark[0] < size:
            moved = await asyncio.to_thread(self._highwater.compare_and_set, mark, (size, root))
            if not moved:
                return await self._publish()  # another leader was first: read again, the log must confirm its mark
        text = checkpoint_text(self.origin, size, root)
        note = sign_note(text, self._note_key, await self._key.sign(Message(text.encode())))
        async with self.db.write() as uow:
            row = {"log_id": _ID, "size": size, "root": root, "note": note, "created_at": self._clock.now()}
            await uow.execute(insert_new(uow, checkpoint_table), row)
            stored = (await uow.execute(sa.select(c.root).where(c.log_id == _ID, c.size == size))).scalar_one()
        if bytes(stored) != root:
            raise Broken("log.equivocation", detail="root")
        return size

    async def _require_not_behind(self, mark: Mark | None, size: int, root: bytes) -> None:
        why = await self.freeze(mark, (size, root))
        if why is Freeze.BEHIND:
            # Another leader may have moved both between our two reads; only a state still behind its mark is a rollback.
            async with self.db.read() as uow:
                size, root = await state_of(uow)
            why = await self.freeze(mark, (size, root))
        if why is not None:
            at = 0 if mark is None else mark[0]
            told = {Freeze.BEHIND: f"{size} < {at}", Freeze.OTHER: f"root at {at}", Freeze.LOST: "no mark"}
            raise Broken("log.frozen", detail=told[why])


async def _extend_tiles(uow: UnitOfWork, tiles: dict[tuple[int, int], bytearray]) -> None:
    t = tile_table.c
    for (level, n), hashes in sorted(tiles.items()):
        where = sa.and_(t.log_id == _ID, t.level == level, t.n == n)
        before = (await uow.execute(sa.select(t.hashes).where(where))).scalar_one_or_none()
        if before is None:
            await uow.execute(tile_table.insert().values(log_id=_ID, level=level, n=n, hashes=bytes(hashes)))
        else:
            await uow.execute(tile_table.update().where(where).values(hashes=bytes(before) + bytes(hashes)))


class _Tree:
    """Subtree hashes, from stored tiles."""

    def __init__(self, tiles: dict[tuple[int, int], bytes]) -> None:
        self._tiles = tiles

    @classmethod
    async def load(cls, uow: UnitOfWork, question: Callable[[Callable[[int, int], bytes]], object]) -> "_Tree":
        """The tiles ``question`` needs: it is asked once with a function that only writes down the ranges."""
        needed: set[tuple[int, int]] = set()

        def note(start: int, end: int) -> bytes:
            needed.update((level, n) for level, n, _ in _places(start, end))
            return b""

        question(note)
        t = tile_table.c
        rows = await uow.execute(
            sa.select(t.level, t.n, t.hashes).where(t.log_id == _ID, sa.tuple_(t.level, t.n).in_(sorted(needed)))
        )
        return cls({(row.level, row.n): bytes(row.hashes) for row in rows})

    def subtree(self, start: int, end: int) -> bytes:
        """MTH(D[start:end]) for the ranges that proofs ask for."""
        width = end - start
        if width & (width - 1) == 0 and start % width == 0:
            return merkle.root_of([self._hash(*place) for place in _places(start, end)])
        k = 1 << ((width - 1).bit_length() - 1)
        return merkle.node_hash(self.subtree(start, start + k), self.subtree(start + k, end))

    def _hash(self, level: int, n: int, at: int) -> bytes:
        found = self._tiles.get((level, n), b"")[at * 32 : at * 32 + 32]
        if len(found) != 32:
            raise Broken("log.tile_missing", detail=f"{level}/{n}")
        return found


def _places(start: int, end: int) -> list[tuple[int, int, int]]:
    """Where the hashes of a range stand: (level, tile, position) each; an unaligned range is two smaller ones."""
    width = end - start
    if width & (width - 1) or start % width:
        k = 1 << ((width - 1).bit_length() - 1)
        return [*_places(start, start + k), *_places(start + k, end)]
    level, rest = divmod(width.bit_length() - 1, 8)
    first = start >> (8 * level)
    return [(level, i >> 8, i & 255) for i in range(first, first + (1 << rest))]
