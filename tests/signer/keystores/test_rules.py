"""Rules of keys: roles, uses in a minute, in a day and at once, on both databases and in several processes."""

import asyncio
import dataclasses

import pytest
import structlog

from api.keystores import KeyRing
from core.db import Database
from core.errors import Broken, Conflict, NotFound, Refused, Unavailable
from core.limits import LIMITS
from core.values import Digest, Realm, SignatureAlgorithm
from signer.credentials import Credential
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, StoredKey
from signer.keystores.records import budget_table, pace_table
from signer.keystores.registry import Registry, Rule
from signer.keystores.rules import PERSONAL, ROLES, RuledKey, Rules, begin_anew, used_today
from signer.keystores.stores import KeyStores

P256 = SignatureAlgorithm.ECDSA_P256_SHA256


class Keys:
    """A store with noted keys, and processes that use them."""

    def __init__(self, db, clock):
        self.db, self.clock, self.store, self.registry = db, clock, MemoryKeyStore(), Registry(clock)

    async def make(self, purpose=KeyPurpose.QR, name="qr-1", owner="01agency", **rule):
        ref = await self.store.create(name, purpose, P256)
        async with self.db.write() as uow:
            key_id = await self.registry.note(uow, ref, owner, Realm.TRAINING)
            if rule:
                usual = Rule(per_minute=10_000, per_day=10_000, at_once=10_000)
                await self.registry.set_rule(
                    uow, await self.registry.get(uow, key_id), dataclasses.replace(usual, **rule), "d"
                )
        return ref

    def process(self):
        return Rules(self.db, self.clock)

    async def known(self, ref):
        async with self.db.read() as uow:
            return await self.registry.find(uow, ref)

    async def history(self, ref):
        async with self.db.read() as uow:
            return [each.what for each in await self.registry.history(uow, (await self.registry.find(uow, ref)).id)]

    async def used(self, ref):
        async with self.db.read() as uow:
            return (await used_today(uow, self.clock, [ref.name])).get(ref.name, 0)


@pytest.fixture
def keys(db, clock):
    return Keys(db, clock)


async def many(rules, ref, count, role="service"):
    for _ in range(count):
        await rules.spend(ref, 1, role)


async def test_a_key_is_used_as_often_as_its_day_allows_and_then_it_is_stopped(keys):
    ref = await keys.make(per_day=7)
    key = RuledKey(StoredKey(keys.store, ref, KeyPurpose.QR, "e"), ref, keys.process())
    assert (key.spki, key.algorithm) == (ref.spki, P256)
    for _ in range(7):
        assert await key.sign(Digest.of(b"x"))
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await key.sign(Digest.of(b"x"))
    known = await keys.known(ref)
    assert (known.state, known.why) == ("stopped", "key.over_day")
    assert known.stopped_at == keys.clock.now()
    assert sorted(await keys.history(ref)) == ["ruled", "stopped"]
    with pytest.raises(Refused, match=r"key\.stopped"):
        await key.sign(Digest.of(b"x"))
    keys.clock.move(days=1)  # another day does not start it again
    with pytest.raises(Refused, match=r"key\.stopped"):
        await key.sign(Digest.of(b"x"))
    with pytest.raises(Refused, match=r"key\.stopped"):
        await keys.process().spend(ref)


async def test_a_key_is_used_as_often_as_its_minute_allows(keys):
    ref = await keys.make(per_minute=5)
    rules = keys.process()
    for _ in range(3):  # each minute its own
        await many(rules, ref, 5)
        keys.clock.move(minutes=1)
    await many(rules, ref, 5)
    with pytest.raises(Refused, match=r"key\.budget_spent") as refused:
        await rules.spend(ref)
    assert refused.value.evidence["most"] == 5
    assert (await keys.known(ref)).why == "key.over_minute"


async def test_more_at_once_than_one_approval_may_cover_stops_the_key(keys):
    ref = await keys.make(KeyPurpose.DOCUMENT, "document-1", at_once=500)
    await keys.process().spend(ref, 500, "signer")
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await keys.process().spend(ref, 501, "certifier")
    assert (await keys.known(ref)).why == "key.over_at_once"


async def test_a_lease_that_holds_more_does_not_hide_how_many_one_approval_may_cover(keys):
    ref = await keys.make(KeyPurpose.DOCUMENT, "document-1", at_once=5)
    rules = keys.process()
    await rules.spend(ref, 1, "signer")  # pays for a whole lease
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await rules.spend(ref, 6, "signer")
    assert (await keys.known(ref)).why == "key.over_at_once"


async def test_five_hundred_under_one_approval_are_taken_in_one_go(keys, monkeypatch):
    ref = await keys.make(KeyPurpose.DOCUMENT, "document-1")
    rules, writes = keys.process(), []
    write = Database.write
    monkeypatch.setattr(Database, "write", lambda db: writes.append(1) or write(db))
    await rules.spend(ref, 500, "certifier")
    assert len(writes) == 1
    assert await keys.used(ref) == 500


async def test_a_lease_is_asked_for_once_for_many_uses(keys, monkeypatch):
    ref = await keys.make()
    rules, writes = keys.process(), []
    write = Database.write
    monkeypatch.setattr(Database, "write", lambda db: writes.append(1) or write(db))
    await many(rules, ref, LIMITS["budget.lease"])
    assert len(writes) == 1
    await asyncio.gather(*(rules.spend(ref) for _ in range(LIMITS["budget.lease"])))
    assert len(writes) == 2


async def test_processes_share_one_budget_and_a_crash_gives_nothing_back(keys, monkeypatch):
    ref = await keys.make(per_day=300)  # leases of six
    spent = 0
    for _ in range(100):  # each time as a process that dies after one use
        try:
            await keys.process().spend(ref)
        except Refused:
            break
        spent += 1
    assert spent == 50
    assert await keys.used(ref) == 300


async def test_many_at_once_never_get_more_than_there_is(keys):
    ref = await keys.make(per_day=103, per_minute=103)
    processes = [keys.process() for _ in range(4)]
    outcomes = await asyncio.gather(*(each.spend(ref) for each in processes for _ in range(40)), return_exceptions=True)
    assert sum(not isinstance(o, Exception) for o in outcomes) <= 103
    assert {o.code for o in outcomes if isinstance(o, Exception)} <= {"key.budget_spent", "key.stopped"}
    assert await keys.used(ref) <= 103
    assert (await keys.known(ref)).state == "stopped"
    assert (await keys.history(ref)).count("stopped") == 1


async def test_keys_have_budgets_of_their_own(keys):
    one, other = await keys.make(name="a", per_day=3), await keys.make(name="b", per_day=3)
    rules = keys.process()
    await many(rules, one, 3)
    with pytest.raises(Refused):
        await rules.spend(one)
    await many(rules, other, 3)


async def test_what_a_day_left_is_not_there_on_the_next(keys):
    ref = await keys.make(per_day=100)
    rules = keys.process()
    for _ in range(3):
        await many(rules, ref, 100)
        keys.clock.move(days=1)


@pytest.mark.parametrize("back", [{"seconds": -90}, {"days": -2}])
async def test_a_clock_set_back_gives_no_second_minute(keys, back):
    ref = await keys.make(per_minute=5)
    rules = keys.process()
    await many(rules, ref, 5)
    keys.clock.move(**back)
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await keys.process().spend(ref)


async def test_a_key_is_used_by_its_roles_only(keys):
    rules = keys.process()
    for purpose in KeyPurpose:
        ref = await keys.make(purpose, f"k-{purpose.value}")
        for role in ("certifier", "signer", "seal", "service", "administrator", ""):
            if role in ROLES[purpose]:
                await rules.spend(ref, 1, role)
            else:
                with pytest.raises(Refused, match=r"key\.wrong_role"):
                    await rules.spend(ref, 1, role)
    assert ROLES.keys() == set(KeyPurpose)


def test_every_purpose_has_limits_larger_than_a_lease():
    for purpose in KeyPurpose:
        rule = Rule.usual(purpose)
        assert min(rule.per_day, rule.per_minute, rule.at_once) > LIMITS["budget.lease"]
        assert rule.at_once >= LIMITS["activation.documents"]
        assert rule.per_minute >= LIMITS["activation.documents"]


async def test_a_key_that_is_not_in_the_registry_is_used_by_nobody(keys):
    ref = await keys.store.create("stray", KeyPurpose.QR, P256)
    with pytest.raises(NotFound, match=r"key\.unregistered"):
        await keys.process().spend(ref)
    other = dataclasses.replace(await keys.make(), version=2)
    with pytest.raises(NotFound, match=r"key\.unregistered"):
        await keys.process().spend(other)


async def test_a_stop_is_seen_within_a_second_by_a_process_that_holds_a_lease(keys):
    ref = await keys.make()
    rules = keys.process()
    await rules.spend(ref)
    async with keys.db.write() as uow:
        assert await keys.registry.stop(uow, (await keys.registry.find(uow, ref)).id, "key.over_day")
        assert not await keys.registry.stop(uow, (await keys.registry.find(uow, ref)).id, "key.over_day")
    keys.clock.move(seconds=1)
    with pytest.raises(Refused, match=r"key\.stopped"):
        await rules.spend(ref)
    keys.clock.move(seconds=-0.5)  # a clock set back trusts nothing that it read later
    with pytest.raises(Refused, match=r"key\.stopped"):
        await rules.spend(ref)


async def test_a_stopped_key_that_may_go_on_counts_from_zero(keys):
    ref = await keys.make(per_day=3)
    rules = keys.process()
    await many(rules, ref, 3)
    with pytest.raises(Refused):
        await rules.spend(ref)
    async with keys.db.write() as uow:
        await begin_anew(uow, keys.clock, ref.name)
        await keys.registry.resume(uow, (await keys.registry.find(uow, ref)).id, "d")
    await many(rules, ref, 3)
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await rules.spend(ref)


async def test_what_an_approval_did_not_use_for_sure_is_given_back(keys):
    ref = await keys.make(KeyPurpose.SEAL, "seal-1", per_day=10, at_once=10)
    rules = keys.process()
    for error in (Conflict("signing.not_in_state"), Refused("activation.spent"), Broken("signing.not_together")):
        with pytest.raises(type(error)):
            async with rules.spending(ref, 10, "seal"):
                raise error
    async with rules.spending(ref, 10, "seal"):
        pass
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        async with rules.spending(ref, 1, "seal"):
            raise AssertionError


@pytest.mark.parametrize("error", [Unavailable("database.unavailable"), asyncio.CancelledError(), OSError()])
async def test_where_nobody_knows_whether_it_was_used_it_stays_paid(keys, error):
    ref = await keys.make(KeyPurpose.SEAL, "seal-1", per_day=10, at_once=10)
    rules = keys.process()
    with pytest.raises(type(error)):
        async with rules.spending(ref, 10, "seal"):
            raise error
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await rules.spend(ref, 1, "seal")


async def test_what_is_given_back_in_another_minute_is_lost(keys):
    ref = await keys.make(KeyPurpose.SEAL, "seal-1", per_day=10, at_once=10)
    rules = keys.process()
    with pytest.raises(Conflict):
        async with rules.spending(ref, 10, "seal"):
            keys.clock.move(minutes=1)
            raise Conflict("signing.not_in_state")
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await rules.spend(ref, 1, "seal")


async def test_uses_of_an_older_minute_are_not_given_to_a_newer_one(keys):
    ref = await keys.make(KeyPurpose.SEAL, "seal-1", per_minute=10, at_once=10)
    rules = keys.process()
    with pytest.raises(Conflict):
        async with rules.spending(ref, 9, "seal"):
            keys.clock.move(minutes=1)
            await rules.spend(ref, 1, "seal")
            raise Conflict("signing.not_in_state")
    await rules.spend(ref, 9, "seal")
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await rules.spend(ref, 1, "seal")


async def test_an_opened_key_is_behind_its_rules_unless_a_person_approved(keys):
    class Book:
        async def note(self, *_):
            """Another test's."""

    ring = KeyRing(stores=KeyStores(keys.store), rules=keys.process(), book=Book())
    for purpose in KeyPurpose:
        ref = await keys.make(purpose, f"k-{purpose.value}", per_day=1)
        credential = Credential(
            id="c", realm=Realm.TRAINING, purpose=purpose, owner="o", key=ref, certificate=None, chain=(),
            created_at=keys.clock.now(),
        )  # fmt: skip
        key = ring.open(credential, "e")
        assert isinstance(key, RuledKey) is (purpose not in PERSONAL)
        assert await key.sign(Digest.of(b"x"))
        if purpose not in PERSONAL:
            with pytest.raises(Refused, match=r"key\.budget_spent"):
                await key.sign(Digest.of(b"x"))


async def test_a_lowered_limit_holds_from_the_next_lease_on(keys):
    ref = await keys.make(per_day=1_000)
    await keys.process().spend(ref)
    async with keys.db.write() as uow:
        known = await keys.registry.find(uow, ref)
        await keys.registry.set_rule(uow, known, Rule(per_minute=5, per_day=5, at_once=5), "d")
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await keys.process().spend(ref)


async def test_the_stop_is_told_in_the_logs_with_ids_only(keys):
    ref = await keys.make(per_day=1)
    rules = keys.process()
    await rules.spend(ref)
    with structlog.testing.capture_logs() as lines, pytest.raises(Refused):
        await rules.spend(ref)
    assert lines == [
        {"event": "key.stopped", "id": (await keys.known(ref)).id, "code": "key.over_day", "log_level": "error"}
    ]


async def test_a_process_forgets_the_leases_of_past_minutes(keys, monkeypatch):
    monkeypatch.setattr("signer.keystores.rules._MOST_KNOWN", 3)
    rules = keys.process()
    for number in range(6):
        ref = await keys.make(name=f"k{number}")
        await rules.spend(ref)
        keys.clock.move(minutes=1)
    assert len(rules._leases) <= 4
    assert len(rules._turns) <= 4


async def test_rows_of_counts_are_one_a_key_and_day(keys):
    ref = await keys.make()
    rules = keys.process()
    for _ in range(3):
        await rules.spend(ref)
        keys.clock.move(minutes=1)
    async with keys.db.read() as uow:
        assert len((await uow.execute(pace_table.select())).all()) == 1
        assert len((await uow.execute(budget_table.select())).all()) == 1
