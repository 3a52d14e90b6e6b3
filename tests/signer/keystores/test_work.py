"""What was decided is done in the store: after the commit, again where it failed, recorded once."""

import asyncio
import base64
import datetime as dt
import json

import pytest
import sqlalchemy as sa
import structlog

from audit.events import LeafType, commit
from core.errors import Broken, NotFound, Refused, Unavailable
from core.ids import new_id
from core.limits import LIMITS
from core.values import Digest, Realm
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose
from signer.keystores.records import event_table
from signer.keystores.registry import KeyState
from signer.keystores.stores import KeyStores
from signer.keystores.work import KeyWork, changed_digest
from signer.records import order_table
from tests.signer.decisions.keyring import P256, Keyring, away, open_town

DAYS = LIMITS["keys.destroy_days"]


@pytest.fixture
async def ring(db, clock, tmp_path):
    return Keyring(await open_town(db, clock, tmp_path))


async def leaves(ring, kind=LeafType.KEY_CHANGED):
    return [json.loads(entry) for entry in await ring.town.events() if json.loads(entry)["type"] == kind.value]


def away_then(act):
    """Silent once."""
    calls = []

    async def answer(ref):
        calls.append(ref)
        if len(calls) == 1:
            raise away()
        await act(ref)

    return answer


async def ended(ring, *, certified=False):
    key_id, ref = await ring.make(certified=certified)
    await ring.disabled(key_id)
    return key_id, ref


async def to_be_destroyed(ring):
    key_id, ref = await ended(ring)
    await ring.work.run()
    ring.clock.move(days=DAYS)
    await ring.town.decide("key.destroy", {"key": key_id})
    return key_id, ref


async def test_an_end_reaches_the_store_and_is_recorded_with_a_leaf(ring):
    key_id, ref = await ended(ring)
    (work,) = await ring.work.run()
    assert (work.act, work.state, work.code, work.tries) == ("disable", "done", "", 1)
    with pytest.raises(Refused, match=r"key\.disabled"):
        await ring.store.sign(ref, Digest.of(b"x"), purpose=KeyPurpose.SEAL, event_id="e")
    assert await ring.history(key_id) == ["disabled", "store_disabled"]
    (leaf,) = await leaves(ring)
    async with ring.db.read() as uow:
        row = (await uow.execute(event_table.select().where(event_table.c.what == "store_disabled"))).one()
    key = await ring.known(key_id)
    assert leaf["event_id"] == f"{row.id}.key_changed"
    assert base64.b64decode(leaf["doc_commit"]) == commit(row.salt, changed_digest(key, "disable", row.id).value)
    assert ref.name not in json.dumps(leaf)
    assert await ring.work.run() == []


async def test_a_store_that_does_not_answer_is_tried_again_later_and_rarer(ring):
    key_id, _ = await ended(ring)
    ring.store.away = away("key.sealed")
    rests = []
    with structlog.testing.capture_logs() as lines:
        for _ in range(12):
            (work,) = await ring.work.run()
            assert (work.state, work.code) == ("due", "key.sealed")
            assert await ring.work.run() == []  # not before its time
            rests.append((work.next_at - ring.clock.now()).total_seconds())
            ring.clock.at = work.next_at
    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (5, LIMITS["keys.retry_most_seconds"])
    assert {line["event"] for line in lines} == {"key.work_put_off"}
    assert all(set(line) <= {"event", "id", "kind", "code", "count", "log_level"} for line in lines)
    assert (await ring.known(key_id)).state is KeyState.DISABLED  # refused to everybody all the while
    ring.store.away = None
    assert [work.state for work in await ring.work.run()] == ["done"]
    assert await ring.history(key_id) == ["disabled", "store_disabled"]


@pytest.mark.parametrize(
    "error", [Broken("key.damaged"), Unavailable("key.denied"), RuntimeError("x"), OSError(5, "x")]
)
async def test_whatever_a_store_says_the_others_keys_reach_their_end(ring, error):
    first, _ = await ended(ring)
    second, _ = await ended(ring)

    bad = (await ring.known(first)).ref

    async def disable(ref):
        if ref == bad:
            raise error
        await MemoryKeyStore.disable(ring.store, ref)

    ring.store.disable = disable
    assert sorted(work.state for work in await ring.work.run()) == ["done", "due"]
    (work,) = await ring.works(first)
    assert work.code in {"key.damaged", "key.denied", "RuntimeError", "OSError"}
    assert await ring.history(second) == ["disabled", "store_disabled"]


async def test_a_destruction_that_was_done_and_not_recorded_is_done_once_more_and_recorded_once(ring):
    key_id, _ = await to_be_destroyed(ring)
    real = ring.store.destroy

    async def dies(ref):
        await real(ref)
        raise asyncio.CancelledError

    async def missing(ref):
        raise NotFound("key.missing", key=ref.name)

    ring.store.destroy = dies
    with pytest.raises(asyncio.CancelledError):
        await ring.work.run()
    (work,) = [each for each in await ring.works(key_id) if each.act == "destroy"]
    assert (work.state, work.code) == ("due", "key.outcome_unknown")
    ring.clock.at = work.next_at
    ring.store.destroy = away_then(missing)
    await ring.work.run()  # a store that is away meanwhile does not make it forget
    ring.clock.move(hours=2)
    (work,) = await ring.work.run()
    assert (work.state, work.code) == ("done", "key.missing")
    assert (await ring.known(key_id)).state is KeyState.DESTROYED
    assert await ring.history(key_id) == ["condemned", "destroyed", "disabled", "store_disabled"]
    assert len(await leaves(ring)) == 2


@pytest.mark.parametrize("act", ["disable", "destroy"])
async def test_a_key_that_is_missing_though_nobody_ended_it_is_not_called_ended(ring, act):
    """Another mount, an older copy of the store: the key may live where nobody looks."""
    key_id, _ = await (ended(ring) if act == "disable" else to_be_destroyed(ring))

    async def missing(ref):
        raise NotFound("key.missing", key=ref.name)

    setattr(ring.store, act, missing)
    for _ in range(3):
        (work,) = await ring.work.run()
        assert (work.act, work.state, work.code) == (act, "due", "key.missing")
        ring.clock.at = work.next_at
    assert (await ring.known(key_id)).state is KeyState.DISABLED
    delattr(ring.store, act)
    assert [each.state for each in await ring.work.run()] == ["done"]


async def test_a_destruction_waits_for_the_end_in_the_store(ring):
    key_id, _ = await ended(ring)
    ring.store.away = away()
    ring.clock.move(days=DAYS)
    await ring.town.decide("key.destroy", {"key": key_id})
    assert [(work.act, work.state) for work in await ring.work.run()] == [("disable", "due"), ("destroy", "due")]
    assert ring.store.acts == ["disable"]
    ring.store.away = None
    ring.clock.move(hours=2)
    assert [work.state for work in await ring.work.run()] == ["done", "done"]
    assert (await ring.known(key_id)).state is KeyState.DESTROYED


async def test_a_store_that_forgot_the_end_is_told_again_before_it_destroys(ring):
    key_id, ref = await to_be_destroyed(ring)
    ring.store._disabled.clear()  # restored from an older copy
    assert [work.state for work in await ring.work.run()] == ["done"]
    with pytest.raises(NotFound):
        await ring.store.public_key(ref)
    assert (await ring.known(key_id)).state is KeyState.DESTROYED


async def test_two_processes_at_once_record_once(ring):
    key_id, _ = await ended(ring)
    other = KeyWork(db=ring.db, clock=ring.clock, log=ring.work.log, store=ring.store)
    await asyncio.gather(ring.work.run(), other.run(), ring.work.run(key_id))
    assert await ring.history(key_id) == ["disabled", "store_disabled"]
    assert len(await leaves(ring)) == 1


async def test_an_act_that_a_dead_process_began_is_taken_over_after_its_time(ring):
    key_id, _ = await ended(ring)
    began = asyncio.Event()

    async def hang(ref):
        began.set()
        await asyncio.sleep(60)

    ring.store.disable, good = hang, ring.store.disable
    dead = asyncio.create_task(ring.work.run())
    await began.wait()
    dead.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dead
    ring.store.disable = good
    assert await ring.work.run() == []
    ring.clock.move(seconds=LIMITS["keys.try_seconds"])
    assert [work.state for work in await ring.work.run()] == ["done"]
    assert await ring.history(key_id) == ["disabled", "store_disabled"]


async def test_a_key_of_a_store_that_is_not_opened_here_is_left_to_whoever_has_it(ring):
    key_id, ref = await ended(ring)
    elsewhere = KeyWork(db=ring.db, clock=ring.clock, log=ring.work.log, store=KeyStores(Other()))
    (work,) = await elsewhere.run()
    assert (work.state, work.code) == ("due", "key.no_such_store")
    assert [work.state for work in await ring.work.run(key_id)] == ["done"]  # a command need not wait for its turn
    assert ref.store == "memory"


class Other(MemoryKeyStore):
    name = "elsewhere"


async def order_of(ring, key_id, **change):
    """Somebody has spent an approval for this key."""
    async with ring.db.write() as uow:
        (row,) = await ring.registry.credentials(uow, await ring.registry.get(uow, key_id))
        values = {
            "id": new_id(ring.clock), "realm": Realm.TRAINING, "role": "seal", "credential_id": row.id,
            "person_id": ring.town.admins[0], "activation_tx": "tx", "document": "0" * 64, "prepared": {}, "salt": b"s",
            "state": "intended", "prepared_at": ring.clock.now(), **change,
        }  # fmt: skip
        await uow.execute(order_table.insert(), values)
        return values["id"]


async def test_who_spent_an_approval_before_the_end_finishes_first(ring):
    key_id, ref = await ring.make()
    order = await order_of(ring, key_id)
    await ring.disabled(key_id)
    assert [work.state for work in await ring.work.run()] == ["due"]
    assert await ring.store.sign(ref, Digest.of(b"x"), purpose=KeyPurpose.SEAL, event_id=order)
    async with ring.db.write() as uow:
        await uow.execute(sa.update(order_table).values(state="made"))
    assert [work.state for work in await ring.work.run()] == ["done"]


@pytest.mark.parametrize("change", [{"state": "prepared"}, {"state": "dropped"}, {"provider": "sp769"}])
async def test_who_has_spent_nothing_is_not_waited_for(ring, change):
    key_id, _ = await ring.make()
    await order_of(ring, key_id, **change)
    await ring.disabled(key_id)
    assert [work.state for work in await ring.work.run()] == ["done"]


async def test_an_end_waits_for_nobody_for_ever(ring):
    key_id, _ = await ring.make()
    await order_of(ring, key_id)
    await ring.disabled(key_id)
    ring.clock.move(seconds=LIMITS["keys.settle_seconds"] - 1)
    assert [work.state for work in await ring.work.run()] == ["due"]
    ring.clock.move(seconds=1)
    assert [work.state for work in await ring.work.run()] == ["done"]


async def test_it_is_done_without_being_asked(ring, monkeypatch):
    monkeypatch.setitem(LIMITS, "keys.look_seconds", 0)
    key_id, _ = await ended(ring)
    serving = asyncio.create_task(ring.work.serve())
    for _ in range(200):
        await asyncio.sleep(0.02)
        if (await ring.works(key_id))[0].state == "done":
            break
    serving.cancel()
    assert (await ring.works(key_id))[0].done_at == ring.clock.now()


def test_what_a_leaf_commits_to_names_the_act():
    from signer.keystores.model import KeyRef
    from signer.keystores.registry import KnownKey, Rule

    ref = KeyRef(store="transit", name="k", version=1, purpose=KeyPurpose.SEAL, algorithm="ed25519", spki=b"s")
    key = KnownKey(
        id="i", realm=Realm.TRAINING, owner="o", ref=ref, state=KeyState.DISABLED, created_at=dt.datetime(2026, 11, 25, tzinfo=dt.UTC),
        stopped_at=None, disabled_at=None, destroy_after=None, why="", rule=Rule.usual(KeyPurpose.SEAL), decided=False,
    )  # fmt: skip
    assert changed_digest(key, "disable", "e") != changed_digest(key, "destroy", "e")
    assert changed_digest(key, "disable", "e") != changed_digest(key, "disable", "f")


# ---------------------------------------------------------------------------------------------------------- nobody's
async def abandoned(ring):
    ref = await ring.store.create(f"seal-{new_id(ring.clock)}", KeyPurpose.SEAL, P256)
    async with ring.db.write() as uow:
        assert await ring.registry.abandon(uow, ref, ring.town.agency.id, Realm.TRAINING)
        return (await ring.registry.find(uow, ref)).id, ref


async def test_a_key_that_became_nobodys_is_ended_when_a_custodian_comes(ring):
    key_id, ref = await abandoned(ring)
    ring.store.away = away("key.denied")
    (work,) = await ring.work.run()
    assert (work.state, work.code) == ("due", "key.denied")
    async with ring.db.read() as uow:
        with pytest.raises(Refused, match=r"key\.disabled"):
            await ring.registry.require_usable(uow, ref, ring.town.agency.id)
    ring.store.away = None
    ring.clock.at = work.next_at
    assert [work.state for work in await ring.work.run()] == ["done"]
    with pytest.raises(Refused, match=r"key\.disabled"):
        await ring.store.sign(ref, Digest.of(b"x"), purpose=KeyPurpose.SEAL, event_id="e")
    assert await ring.history(key_id) == ["disabled", "store_disabled"]
    ring.clock.move(days=DAYS)
    await ring.town.decide("key.destroy", {"key": key_id})  # its agency's administrators, as any other
    assert [work.act for work in await ring.work.run()] == ["destroy"]


async def test_a_key_that_became_somebodys_is_not_made_nobodys(ring):
    key_id, ref = await ring.make()
    async with ring.db.write() as uow:
        assert not await ring.registry.abandon(uow, ref, ring.town.agency.id, Realm.TRAINING)
    assert (await ring.known(key_id)).state is KeyState.ACTIVE
    assert await ring.works(key_id) == []


async def test_a_key_is_nobodys_or_somebodys_however_close_together_both_are_said(ring):
    ref = await ring.store.create(f"seal-{new_id(ring.clock)}", KeyPurpose.SEAL, P256)
    noted = asyncio.Event()

    async def keeps():
        async with ring.db.write() as uow:
            await ring.registry.note(uow, ref, ring.town.agency.id, Realm.TRAINING)
            noted.set()
            await asyncio.sleep(0.2)  # the commit is under way

    async def gives_up():
        await noted.wait()
        async with ring.db.write() as uow:
            return await ring.registry.abandon(uow, ref, ring.town.agency.id, Realm.TRAINING)

    _, gone = await asyncio.gather(keeps(), gives_up())
    assert gone is False
    async with ring.db.read() as uow:
        assert (await ring.registry.find(uow, ref)).state is KeyState.ACTIVE
