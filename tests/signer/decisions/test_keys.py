"""Decisions about keys: who may, what happens, and that nothing happens twice or too early."""

import asyncio
import base64
import dataclasses

import pytest

from ca_bridge.records import revoked, states
from core.certificates import Certificate
from core.db import Database
from core.directory.model import Role
from core.errors import BadInput, Conflict, NotFound, Refused, ServiceError
from core.limits import LIMITS
from core.values import Digest, Realm
from signer.decisions.evidence import verify_evidence
from signer.decisions.kinds import KINDS
from signer.keystores.allowed import Imports, Policies
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose
from signer.keystores.registry import KeyState, Rule
from signer.keystores.rules import Rules, used_today
from tests.signer.decisions.keyring import P256, Keyring, certificate, open_town

DAYS = LIMITS["keys.destroy_days"]
MINE = ("key.disable", "key.resume", "key.rule", "key.destroy")


@pytest.fixture
async def town(db, clock, tmp_path):
    return await open_town(db, clock, tmp_path)


@pytest.fixture
def ring(town):
    return Keyring(town)


def asked(kind, key_id):
    more = {"key.disable": {"why": "Mất"}, "key.rule": {"per_minute": 5, "per_day": 5, "at_once": 5}}
    return {"key": key_id, **more.get(kind, {})}


async def refused(call, kind, code):
    with pytest.raises(kind) as error:
        await call
    assert error.value.code == code


async def neighbour(town, keys_agency=""):
    """Another agency of the realm; from then on the realm's own keys are nobody's, unless one is named."""
    async with town.db.write() as uow:
        made = await town.directory.add_agency(
            uow, realm=Realm.TRAINING, code="H2", name="UBND xã Láng Giềng", parent="UBND tỉnh Ví Dụ"
        )
    room = dataclasses.replace(town.desk.room, keys_agency=keys_agency)
    town.desk = dataclasses.replace(town.desk, room=room)
    return made


# -------------------------------------------------------------------------------------------------------------- disable
async def test_a_key_ends_with_the_second_yes_and_not_with_the_first(town, ring):
    key_id, ref = await ring.make()
    rules = ring.process()
    decision = await town.propose("key.disable", asked("key.disable", key_id))
    await town.vote(decision, town.admins[0])
    await rules.spend(ref, 1, "seal")
    standing = await town.vote(decision, town.admins[1])
    assert standing.outcome["key"] == key_id
    known = await ring.known(key_id)
    assert (known.state, known.why, known.disabled_at) == (KeyState.DISABLED, decision, town.clock.now())
    assert (known.destroy_after - known.disabled_at).days == DAYS
    town.clock.move(seconds=1)
    await refused(rules.spend(ref, 1, "seal"), Refused, "key.disabled")
    async with ring.db.read() as uow:
        await refused(ring.registry.require_usable(uow, ref, (await ring.known(key_id)).owner), Refused, "key.disabled")
    proof = verify_evidence(await town.desk.evidence(decision))
    assert proof.record.payload["spki_sha256"] == Digest.of(ref.spki).hex
    assert set(proof.voters) == set(town.admins[:2])
    assert any(f"{decision}.decision_applied".encode() in entry for entry in await town.events())
    assert ring.store.acts == []  # nothing happened in the store yet


async def test_what_is_decided_can_be_read_before_and_after(town, ring):
    key_id, ref = await ring.make()
    decision = await town.propose("key.disable", {**asked("key.disable", key_id), "why": "Con dấu cũ"})
    words = await town.words(decision)
    said = " ".join(words.values())
    assert Digest.of(ref.spki).hex in said
    assert "UBND xã Mẫu" in said
    assert "Con dấu cũ" in said
    assert "không dùng cho thật" in said  # the tests' store
    assert "Đang dùng" in said
    assert "Đã ngừng hẳn" in said


async def test_a_persons_certificate_ends_with_the_key_and_the_seals_only_if_so_decided(town, ring):
    person = await town.person("Nguyễn Thị Ký", Role.CERTIFIER)
    mine, my_ref = await ring.make(KeyPurpose.DOCUMENT, person, certified=True)
    seal, seal_ref = await ring.make(KeyPurpose.SEAL, certified=True)
    other, other_ref = await ring.make(KeyPurpose.SEAL, certified=True)
    await ring.disabled(mine)
    await ring.disabled(seal)
    await ring.disabled(other, "compromise")
    async with ring.db.read() as uow:
        gone = {reason for _, _, reason in await revoked(uow, "CN=x")}
        assert gone == {5, 1}
        rows = [(await ring.registry.credentials(uow, await ring.registry.find(uow, ref)))[0]
                for ref in (my_ref, seal_ref, other_ref)]  # fmt: skip
        assert [row.state for row in rows] == ["retired", "active", "retired"]
        serial = Certificate.parse(rows[1].certificate).serial
        assert (await states(uow, [serial]))[serial].status == "good"


async def test_a_certificate_from_elsewhere_is_not_ours_to_revoke(town, ring):
    key_id, _ = await ring.make(certified=True, ours=False)
    payload = {**asked("key.disable", key_id), "revoke": "compromise"}
    await refused(town.propose("key.disable", payload), BadInput, "key.foreign_certificate")
    person = await town.person("Nguyễn Thị Ký", Role.CERTIFIER)
    key_id, ref = await ring.make(KeyPurpose.DOCUMENT, person, certified=True, ours=False)
    await ring.disabled(key_id)
    async with ring.db.read() as uow:
        assert (await ring.registry.credentials(uow, await ring.registry.find(uow, ref)))[0].state == "retired"


# ------------------------------------------------------------------------------------------------------------ who may
async def test_the_one_whose_key_it_is_has_no_voice(town, ring):
    admin = town.admins[0]
    key_id, _ = await ring.make(KeyPurpose.DOCUMENT, admin)
    decision = await town.propose("key.disable", asked("key.disable", key_id), by=town.admins[1])
    await refused(town.desk.question(decision, admin), Refused, "decision.own_matter")
    for voter in town.admins[1:3]:
        standing = await town.vote(decision, voter)
    assert standing.state == "applied"


@pytest.mark.parametrize("kind", MINE)
async def test_keys_of_another_agency_and_its_people_do_not_exist_here(town, ring, kind):
    other = await neighbour(town)
    async with ring.db.write() as uow:
        stranger = await town.directory.add_person(uow, other, "Trần Văn Khác")
    for purpose, owner in ((KeyPurpose.SEAL, other.id), (KeyPurpose.QR, other.id), (KeyPurpose.DOCUMENT, stranger.id)):
        key_id, _ = await ring.make(purpose, owner)
        await refused(town.propose(kind, asked(kind, key_id)), NotFound, "key.unknown")
    await refused(town.propose(kind, asked(kind, "0" * 26)), NotFound, "key.unknown")


async def test_the_realms_own_keys_are_decided_by_the_only_agency_or_the_one_that_is_named(town, ring):
    key_id, _ = await ring.make(KeyPurpose.TSA, "tsa")
    payload = asked("key.disable", key_id)
    assert await town.propose("key.disable", payload)
    await neighbour(town)
    await refused(town.propose("key.disable", payload), NotFound, "key.unknown")
    for code, good in (("H2", False), ("H1", True)):
        town.desk = dataclasses.replace(town.desk, room=dataclasses.replace(town.desk.room, keys_agency=code))
        if good:
            assert await town.propose("key.disable", payload)
        else:
            await refused(town.propose("key.disable", payload), NotFound, "key.unknown")


async def test_who_lost_the_say_meanwhile_does_not_decide(town, ring):
    key_id, _ = await ring.make(KeyPurpose.TSA, "tsa")
    decision = await town.propose("key.disable", asked("key.disable", key_id))
    await town.vote(decision, town.admins[0])
    await neighbour(town)
    await refused(town.vote(decision, town.admins[1]), NotFound, "key.unknown")
    assert (await ring.known(key_id)).state is KeyState.ACTIVE


@pytest.mark.parametrize("kind", [*MINE, "key.import", "store.policy"])
async def test_what_is_not_foreseen_is_refused(town, ring, kind):
    key_id, _ = await ring.make()
    for payload in (
        {},
        {"key": "x"},
        {**asked(kind, key_id), "person": ""},
        {"key": key_id, "more": 1},
        {"store": "x"},
    ):
        with pytest.raises(BadInput, match=r"decision\.malformed"):
            await town.propose(kind, payload)
    assert kind in KINDS


# --------------------------------------------------------------------------------------------------------------- resume
async def test_a_stopped_key_goes_on_by_two_and_counts_anew(town, ring):
    key_id, ref = await ring.make()
    await town.decide("key.rule", {"key": key_id, "per_minute": 9, "per_day": 9, "at_once": 9})
    rules = ring.process()
    await rules.spend(ref, 9, "seal")
    await refused(rules.spend(ref, 1, "seal"), Refused, "key.budget_spent")
    decision = await town.propose("key.resume", {"key": key_id})
    words = " ".join((await town.words(decision)).values())
    assert "Vượt số lần dùng cho phép trong một phút" in words
    await refused(rules.spend(ref, 1, "seal"), Refused, "key.stopped")
    for admin in town.admins[:2]:
        await town.vote(decision, admin)
    await rules.spend(ref, 9, "seal")
    async with ring.db.read() as uow:
        assert await used_today(uow, ring.clock, [ref.name]) == {ref.name: 9}
    assert await ring.history(key_id) == ["resumed", "ruled", "stopped"]


async def test_a_key_that_was_stopped_again_is_not_resumed_by_what_was_said_of_the_first_stop(town, ring):
    key_id, _ = await ring.make()
    await ring.stop(key_id)
    first, second = [await town.propose("key.resume", {"key": key_id}) for _ in range(2)]
    await town.vote(second, town.admins[0])
    for admin in town.admins[:2]:
        await town.vote(first, admin)
    await refused(town.vote(second, town.admins[1]), Conflict, "decision.overtaken")
    town.clock.move(seconds=3)
    await ring.stop(key_id, "key.over_minute")
    await refused(town.vote(second, town.admins[1]), Conflict, "decision.overtaken")
    assert (await ring.known(key_id)).state is KeyState.STOPPED


async def test_what_needs_no_change_is_not_proposed(town, ring):
    key_id, _ = await ring.make()
    await refused(town.propose("key.resume", {"key": key_id}), Conflict, "decision.nothing_to_change")
    usual = {"key": key_id, "per_minute": 0, "per_day": 0, "at_once": 0}
    await refused(town.propose("key.rule", usual), Conflict, "decision.nothing_to_change")
    await ring.disabled(key_id)
    for kind in ("key.disable", "key.rule", "key.resume"):
        await refused(town.propose(kind, asked(kind, key_id)), Conflict, "decision.nothing_to_change")


# ----------------------------------------------------------------------------------------------------------------- rule
async def test_limits_change_by_two_and_back(town, ring):
    key_id, _ = await ring.make()
    usual = Rule.usual(KeyPurpose.SEAL)
    decision, _ = await town.decide("key.rule", {"key": key_id, "per_minute": 7, "per_day": 70, "at_once": 5})
    known = await ring.known(key_id)
    assert (known.rule, known.decided) == (Rule(per_minute=7, per_day=70, at_once=5), True)
    back = await town.propose("key.rule", {"key": key_id, "per_minute": 0, "per_day": 0, "at_once": 0})
    said = list((await town.words(back)).values())
    assert "70" in said
    assert str(usual.per_day) in said
    for admin in town.admins[:2]:
        await town.vote(back, admin)
    known = await ring.known(key_id)
    assert (known.rule, known.decided) == (usual, False)


@pytest.mark.parametrize("wrong", [(0, 5, 5), (5, 0, 5), (5, 5, 0), (-1, 5, 5), (5, LIMITS["keys.rule_most"] + 1, 5)])
async def test_limits_that_are_none_are_refused(town, ring, wrong):
    key_id, _ = await ring.make()
    payload = {"key": key_id, **dict(zip(("per_minute", "per_day", "at_once"), wrong, strict=True))}
    await refused(town.propose("key.rule", payload), BadInput, "key.bad_rule")


async def test_limits_that_changed_meanwhile_are_not_overwritten(town, ring):
    key_id, _ = await ring.make()
    late = await town.propose("key.rule", {"key": key_id, "per_minute": 7, "per_day": 70, "at_once": 5})
    await town.vote(late, town.admins[0])
    await town.decide("key.rule", {"key": key_id, "per_minute": 8, "per_day": 70, "at_once": 5})
    await refused(town.vote(late, town.admins[1]), Conflict, "decision.overtaken")


# -------------------------------------------------------------------------------------------------------------- destroy
async def test_a_key_is_destroyed_only_when_it_ended_long_enough_ago(town, ring):
    key_id, ref = await ring.make(certified=True)
    await refused(town.propose("key.destroy", {"key": key_id}), Refused, "key.not_disabled")
    await ring.stop(key_id)
    await refused(town.propose("key.destroy", {"key": key_id}), Refused, "key.not_disabled")
    await ring.disabled(key_id)
    await ring.work.run()
    town.clock.move(days=DAYS, seconds=-1)
    await refused(town.propose("key.destroy", {"key": key_id}), Refused, "key.too_early")
    town.clock.move(seconds=1)
    decision = await town.propose("key.destroy", {"key": key_id})
    said = " ".join((await town.words(decision)).values())
    assert Digest.of(ref.spki).hex in said
    async with ring.db.read() as uow:
        (row,) = await ring.registry.credentials(uow, await ring.registry.get(uow, key_id))
    assert Digest.of(row.certificate).hex in said
    for admin in town.admins[:2]:
        await town.vote(decision, admin)
    assert (await ring.known(key_id)).state is KeyState.DISABLED  # ordered, and done by nobody yet
    assert await ring.store.public_key(ref)
    await ring.work.run()
    assert (await ring.known(key_id)).state is KeyState.DESTROYED
    await refused(ring.store.public_key(ref), NotFound, "key.missing")
    await refused(town.propose("key.destroy", {"key": key_id}), Refused, "key.not_disabled")


async def test_a_clock_that_was_ahead_at_the_proposal_does_not_help_at_the_vote(town, ring):
    key_id, ref = await ring.make()
    await ring.disabled(key_id)
    await ring.work.run()
    town.clock.move(days=DAYS)  # set forward by somebody
    decision = await town.propose("key.destroy", {"key": key_id})
    await town.vote(decision, town.admins[0])
    ballot = await town.desk.question(decision, town.admins[1])
    town.clock.move(days=-DAYS)  # and right again
    answer = town.keys[town.admins[1]].answer(ballot.challenge, town.desk.relying_party)
    await refused(town.desk.approve(decision, town.admins[1], ballot.tx, answer), Refused, "key.too_early")
    assert await ring.work.run() == []
    assert await ring.store.public_key(ref)


async def test_a_clock_that_was_ahead_at_the_decision_does_not_help_in_the_store(town, ring):
    key_id, ref = await ring.make()
    await ring.disabled(key_id)
    await ring.work.run()
    town.clock.move(days=DAYS)
    await town.decide("key.destroy", {"key": key_id})
    town.clock.move(days=-DAYS + 1)
    assert [work.state for work in await ring.work.run(key_id)] == ["due"]
    assert await ring.store.public_key(ref)
    town.clock.move(days=DAYS)
    await ring.work.run()
    assert (await ring.known(key_id)).state is KeyState.DESTROYED


async def test_a_destruction_is_ordered_once_and_about_what_was_read(town, ring):
    key_id, ref = await ring.make(certified=True)
    await ring.disabled(key_id)
    town.clock.move(days=DAYS)
    first, second, third = [await town.propose("key.destroy", {"key": key_id}) for _ in range(3)]
    async with ring.db.write() as uow:  # another certificate leans on it by now
        der = certificate(ref.spki, town.clock.now())
        await ring.credentials.add(
            uow, realm=Realm.TRAINING, purpose=KeyPurpose.SEAL, owner=town.agency.id, key=ref, certificate=der
        )
    await town.vote(first, town.admins[0])
    await refused(town.vote(first, town.admins[1]), Conflict, "decision.overtaken")
    await town.decide("key.destroy", {"key": key_id})
    await refused(town.propose("key.destroy", {"key": key_id}), Conflict, "key.destruction_ordered")
    assert second != third


# --------------------------------------------------------------------------------------------------------------- import
async def wanted(ring, purpose="seal", owner="", *, certified=True, **change):
    store = MemoryKeyStore()
    ref = await store.create("new", KeyPurpose(purpose), P256)
    der = certificate(ref.spki, ring.clock.now()) if certified else b""
    given = {
        "purpose": purpose, "owner": owner, "algorithm": P256.value, "certificate": base64.b64encode(der).decode(),
        "spki_sha256": "" if certified else Digest.of(ref.spki).hex,
    }  # fmt: skip
    return ref, {**given, **change}


async def test_an_import_is_allowed_once_and_for_the_decided_key(town, ring):
    ref, payload = await wanted(ring)
    other, _ = await wanted(ring)
    decision = await town.propose("key.import", payload)
    said = " ".join((await town.words(decision)).values())
    assert Digest.of(ref.spki).hex in said
    assert "Nguyễn Thị Mẫu" in said
    imports = Imports(ring.clock)
    async with ring.db.read() as uow:
        await refused(imports.find(uow, Realm.TRAINING, ref.spki), NotFound, "key.import_not_decided")
    for admin in town.admins[:2]:
        await town.vote(decision, admin)
    async with ring.db.write() as uow:
        allowed = await imports.find(uow, Realm.TRAINING, ref.spki)
        assert (allowed.owner, allowed.purpose) == (town.agency.id, KeyPurpose.SEAL)
        assert Certificate.parse(allowed.certificate).spki == ref.spki
        await refused(imports.use(uow, allowed, other), Refused, "key.import_other")
        await refused(
            imports.use(uow, allowed, dataclasses.replace(ref, purpose=KeyPurpose.QR)), Refused, "key.import_other"
        )
        await refused(imports.find(uow, Realm.PRODUCTION, ref.spki), NotFound, "key.import_not_decided")
        key_id = await imports.use(uow, allowed, ref)
        await refused(imports.use(uow, allowed, ref), Conflict, "key.import_used")
        await refused(imports.find(uow, Realm.TRAINING, ref.spki), Conflict, "key.import_used")
    assert (await ring.known(key_id)).owner == town.agency.id
    assert await ring.history(key_id) == ["imported"]


async def test_an_import_that_nobody_made_in_time_is_over(town, ring):
    ref, payload = await wanted(ring)
    await town.decide("key.import", payload)
    imports = Imports(ring.clock)
    async with ring.db.read() as uow:
        allowed = await imports.find(uow, Realm.TRAINING, ref.spki)
    town.clock.move(hours=LIMITS["keys.import_hours"])
    async with ring.db.write() as uow:
        await refused(imports.find(uow, Realm.TRAINING, ref.spki), Refused, "key.import_over")
        await refused(imports.use(uow, allowed, ref), Refused, "key.import_over")


@pytest.mark.parametrize(
    ("change", "code"),
    [({"spki_sha256": "0" * 64}, "key.import_other"), ({"algorithm": "ed25519"}, "key.import_other"),
     ({"algorithm": "rsa-pss-sha256"}, "key.import_other"), ({"algorithm": "ecdsa-p384-sha384"}, "key.import_other"),
     ({"certificate": "AAAA"}, "cert.unreadable"), ({"certificate": "?"}, "cert.unreadable"),
     ({"certificate": ""}, "decision.malformed"), ({"purpose": "qr"}, "decision.malformed"),
     ({"algorithm": "md5"}, "decision.malformed"), ({"owner": "0" * 26}, "key.unknown_owner")],
)  # fmt: skip
async def test_an_import_that_does_not_hold_together_is_refused(town, ring, change, code):
    _, payload = await wanted(ring, **change)
    with pytest.raises(ServiceError) as error:
        await town.propose("key.import", payload)
    assert error.value.code == code


async def test_an_import_names_an_owner_who_is_here(town, ring):
    person = await town.person("Nguyễn Thị Ký", Role.CERTIFIER)
    _, payload = await wanted(ring, "document", person)
    decision = await town.propose("key.import", payload)
    assert "Nguyễn Thị Ký" in " ".join((await town.words(decision)).values())
    _, payload = await wanted(ring, "log", "log", certified=False)
    assert await town.propose("key.import", payload)
    _, payload = await wanted(ring, "tsa", "log")
    await refused(town.propose("key.import", payload), NotFound, "key.unknown_owner")
    _, payload = await wanted(ring, "document", "nobody")
    await refused(town.propose("key.import", payload), NotFound, "key.unknown_owner")
    other = await neighbour(town)
    async with ring.db.write() as uow:
        stranger = await town.directory.add_person(uow, other, "Trần Văn Khác")
    _, payload = await wanted(ring, "document", stranger.id)
    await refused(town.propose("key.import", payload), NotFound, "key.unknown_owner")
    _, payload = await wanted(ring, "log", "log", certified=False)
    await refused(town.propose("key.import", payload), NotFound, "key.unknown")  # nobody's any more


# --------------------------------------------------------------------------------------------------------------- policy
async def test_a_policy_is_decided_by_its_digest(town, ring):
    policies, one, two = Policies(ring.clock), "1" * 64, "2" * 64
    async with ring.db.read() as uow:
        assert await policies.decided(uow, Realm.TRAINING, "transit") == ""
    await town.decide("store.policy", {"store": "transit", "sha256": one})
    await refused(
        town.propose("store.policy", {"store": "transit", "sha256": one}), Conflict, "decision.nothing_to_change"
    )
    late = await town.propose("store.policy", {"store": "transit", "sha256": "3" * 64})
    await town.vote(late, town.admins[0])
    town.clock.move(seconds=1)
    decision = await town.propose("store.policy", {"store": "transit", "sha256": two})
    assert {one, two} <= set((await town.words(decision)).values())
    for admin in town.admins[:2]:
        await town.vote(decision, admin)
    async with ring.db.read() as uow:
        assert await policies.decided(uow, Realm.TRAINING, "transit") == two
        assert await policies.decided(uow, Realm.TRAINING, "pkcs11") == ""
        assert await policies.decided(uow, Realm.PRODUCTION, "transit") == ""
    await refused(town.vote(late, town.admins[1]), Conflict, "decision.overtaken")
    await neighbour(town)
    await refused(town.propose("store.policy", {"store": "pkcs11", "sha256": one}), NotFound, "key.unknown")


# ---------------------------------------------------------------------------------------------------------------- races
async def prepared(town, decision, people):
    """Answers that are ready, so that only the counting races."""
    found = []
    for person in people:
        ballot = await town.desk.question(decision, person)
        answer = town.keys[person].answer(ballot.challenge, town.desk.relying_party)
        found.append((person, ballot.tx, answer))
    return [town.desk.approve(decision, *each) for each in found]


@pytest.mark.parametrize("round_", range(3))
async def test_two_last_votes_at_once_end_a_key_once(town, ring, round_):
    key_id, _ = await ring.make()
    decision = await town.propose("key.disable", asked("key.disable", key_id))
    await town.vote(decision, town.admins[0])
    outcomes = await asyncio.gather(*await prepared(town, decision, town.admins[1:]), return_exceptions=True)
    assert sorted(getattr(o, "code", "applied") for o in outcomes) == ["applied"] + ["decision.not_open"] * 2
    assert await ring.history(key_id) == ["disabled"]
    assert len(await ring.works(key_id)) == 1


@pytest.mark.parametrize("round_", range(3))
async def test_two_decisions_to_end_one_key_are_one_end(town, ring, round_):
    key_id, _ = await ring.make()
    calls = []
    for first, last in ((0, 1), (2, 3)):
        decision = await town.propose("key.disable", asked("key.disable", key_id))
        await town.vote(decision, town.admins[first])
        calls += await prepared(town, decision, [town.admins[last]])
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(getattr(o, "code", "applied") for o in outcomes) == ["applied", "decision.overtaken"]
    assert len(await ring.works(key_id)) == 1


@pytest.mark.parametrize("round_", range(4))
async def test_an_end_against_a_ceremony_that_spends_one_is_first(laid_url, town, ring, round_):
    """Who was first is not known; that both hold is impossible: the ceremony saw the key or it did not."""
    key_id, ref = await ring.make()
    decision = await town.propose("key.disable", asked("key.disable", key_id))
    await town.vote(decision, town.admins[0])
    (vote,) = await prepared(town, decision, [town.admins[1]])
    order = []

    async with Database(laid_url) as other:
        rules = Rules(other, town.clock)

        async def ceremony():
            async with rules.spending(ref, 1, "seal"), other.write() as uow:
                await ring.registry.require_usable(uow, ref, (await ring.known(key_id)).owner)
                order.append("spent")
                await asyncio.sleep(0.05 * (round_ % 2))
                async with Database(laid_url) as looking, looking.read() as seen:
                    order.append((await ring.registry.get(seen, key_id)).state.value)

        calls = [ceremony(), vote] if round_ < 2 else [vote, ceremony()]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failed = [o for o in outcomes if isinstance(o, BaseException)]
    assert all(isinstance(o, Refused) and o.code == "key.disabled" for o in failed), failed
    assert order in ([], ["spent", "active"])  # while it spends nobody has ended the key
    assert bool(failed) == (order == [])
    assert (await ring.known(key_id)).state is KeyState.DISABLED


@pytest.mark.parametrize("round_", range(4))
async def test_a_resumption_against_an_overrun_leaves_one_state_that_both_explain(laid_url, town, ring, round_):
    key_id, ref = await ring.make()
    await town.decide("key.rule", {"key": key_id, "per_minute": 9, "per_day": 9, "at_once": 9})
    rules = ring.process()
    await rules.spend(ref, 9, "seal")
    await refused(rules.spend(ref, 1, "seal"), Refused, "key.budget_spent")
    decision = await town.propose("key.resume", {"key": key_id})
    await town.vote(decision, town.admins[0])
    (vote,) = await prepared(town, decision, [town.admins[1]])
    async with Database(laid_url) as other:
        processes = [Rules(other, town.clock) for _ in range(3)]
        uses = [each.spend(ref, 5, "seal") for each in processes]
        calls = [vote, *uses] if round_ % 2 else [*uses, vote]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(not isinstance(o, BaseException) or isinstance(o, ServiceError) for o in outcomes), outcomes
    codes = [o.code for o in outcomes if isinstance(o, ServiceError)]
    assert set(codes) <= {"key.stopped", "key.budget_spent"}
    known = await ring.known(key_id)
    spent_again = "key.budget_spent" in codes
    assert (known.state is KeyState.STOPPED) == spent_again
    assert (await ring.history(key_id)).count("stopped") == 1 + spent_again
    async with ring.db.read() as uow:
        assert (await used_today(uow, ring.clock, [ref.name])).get(ref.name, 0) <= 9
