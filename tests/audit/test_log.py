"""The log on both databases: leaders, crashes, a restored database, receipts."""

import asyncio

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.events import Leaf, LeafType
from audit.highwater import MemoryHighWater
from audit.log import Log, _Tree
from audit.records import entry_table, tile_table
from core.errors import Broken, NotFound, Unavailable
from core.formats.merkle import EMPTY_ROOT, leaf_hash, root_of
from core.formats.note import NoteKey, open_checkpoint, verify_proof
from core.values import SignatureAlgorithm


class Key:
    """A real Ed25519 key in memory."""

    algorithm = SignatureAlgorithm.ED25519

    def __init__(self):
        self._key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        self.spki = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    async def sign(self, to_sign):
        return self._key.sign(to_sign.value)


@pytest.fixture
def make(db, clock):
    mark = MemoryHighWater()
    return lambda highwater=mark: Log(db=db, origin="log.example/1", key=Key(), clock=clock, highwater=highwater)


def leaf(clock, name):
    return Leaf(type=LeafType.NUMBER_RESERVED, time=clock.now(), tenant_id="t", event_id=name, doc_commit=bytes(32),
                digest_alg="sha-256")  # fmt: skip


async def put(log, clock, *names):
    for name in names:
        async with log.db.write() as uow:
            await log.append(uow, leaf(clock, name))


async def test_concurrent_appenders_and_two_leaders_make_one_tree_and_every_receipt_verifies(make, clock):
    one, two = make(), make()
    await one.open()
    names = [f"e{i}" for i in range(12)]
    await asyncio.gather(*(put(one, clock, n) for n in names), one.sequence(), two.sequence())
    await asyncio.gather(one.sequence(), two.sequence())
    entries = await one.entries(0, 100)
    assert [i for i, _ in entries] == list(range(12))
    key = NoteKey.parse(one.vkey)
    assert open_checkpoint(await one.latest_checkpoint(), key).root == root_of([leaf_hash(e) for _, e in entries])
    for name in names:
        proof = (await one.receipt(name)).decode()
        assert verify_proof(proof, leaf(clock, name).encode(), key).size == 12
        with pytest.raises(ValueError, match="not in the log"):
            verify_proof(proof, leaf(clock, "other").encode(), key)


async def test_the_same_event_twice_is_one_leaf_and_a_pending_one_has_no_receipt(make, clock):
    log = make()
    await log.open()
    await put(log, clock, "a", "a")
    with pytest.raises(Unavailable, match=r"log\.pending"):
        await log.receipt("a")
    with pytest.raises(NotFound, match=r"log\.no_such_event"):
        await log.receipt("b")
    assert await log.sequence() == 1


async def test_a_crash_after_leading_is_repaired_when_the_log_opens(make, clock):
    log = make()
    await log.open()
    await put(log, clock, "a")
    await log._lead()
    assert await log.latest_checkpoint() is None
    await make().open()
    assert open_checkpoint(await log.latest_checkpoint(), NoteKey.parse(log.vkey)).size == 1


@pytest.mark.parametrize("mark", [(9, bytes(32)), (1, EMPTY_ROOT)])
async def test_a_database_older_than_or_unlike_the_mark_freezes(make, clock, mark):
    log = make()
    await log.open()
    await put(log, clock, "a")
    await log.sequence()
    ahead = MemoryHighWater()
    ahead.compare_and_set(None, mark)
    with pytest.raises(Broken, match=r"log\.frozen"):
        await make(ahead).open()


async def test_a_sequenced_entry_cannot_be_changed_or_removed(make, clock):
    log = make()
    await log.open()
    await put(log, clock, "a")
    await log.sequence()
    for change in (entry_table.update().values(entry=b"x"), entry_table.update().values(idx=5), entry_table.delete()):
        with pytest.raises(Exception):  # noqa: B017 - the driver's own class differs
            async with log.db.write() as uow:
                await uow.execute(change)
    assert len(await log.entries(0, 9)) == 1


async def test_every_stored_tile_equals_the_recomputed_one(make, clock):
    log = make()
    await log.open()
    async with log.db.write() as uow:
        for i in range(300):
            await log.append(uow, leaf(clock, f"e{i}"))
    await log.sequence()
    hashes = [leaf_hash(e) for _, e in await log.entries(0, 300)]
    async with log.db.read() as uow:
        tiles = {(r.level, r.n): bytes(r.hashes) for r in await uow.execute(sa.select(tile_table))}
    assert tiles == {(0, 0): b"".join(hashes[:256]), (0, 1): b"".join(hashes[256:]), (1, 0): root_of(hashes[:256])}


async def test_a_mark_that_another_leader_moved_between_our_two_reads_freezes_nothing(make, clock):
    log = make()
    await log.open()
    await put(log, clock, "a", "b")
    await log.sequence()
    size, root = log._highwater.read()
    await put(log, clock, "c")
    await log.sequence()
    # we had read the state at 2; by the time we read the mark it stands, rightly, at 3
    await log._require_not_behind(log._highwater.read(), size, root)
    with pytest.raises(Broken, match=r"log\.frozen"):  # a mark beyond anything the database ever had still freezes
        await log._require_not_behind((9, root), size, root)


async def test_a_leaf_in_many_tiles_is_proven_from_the_few_it_needs(make, clock):
    log = make()
    await log.open()
    await put(log, clock, *(f"e{i}" for i in range(300)))
    await log.sequence()
    key = NoteKey.parse(log.vkey)
    entries = await log.entries(0, 300)
    for i in (0, 255, 256, 299):
        verify_proof((await log.receipt(f"e{i}")).decode(), entries[i][1], key)
    tree = await _loaded(log, lambda subtree: subtree(256, 300))
    assert set(tree._tiles) == {(0, 1)}


async def _loaded(log, question):
    async with log.db.read() as uow:
        return await _Tree.load(uow, question)


async def test_a_start_whose_mark_cannot_be_read_is_no_start_and_one_whose_key_is_away_is(make, clock):
    class Unreadable:
        def read(self):
            raise Unavailable("log.highwater_unavailable")

        def compare_and_set(self, old, new):
            raise AssertionError

    log = make()
    await log.open()
    await put(log, clock, "a")
    with pytest.raises(Unavailable, match=r"log\.highwater_unavailable"):
        await make(Unreadable()).open()
    real = log._key

    class Away:
        algorithm, spki = real.algorithm, real.spki

        async def sign(self, to_sign):
            raise Unavailable("key.sealed")

    log._key = Away()
    await log.open()
    assert log.owes
    log._key = real
    await log.sequence_soon()
    assert not log.owes
    assert (await log.latest_checkpoint()) is not None
