"""What our side says of key uses: orders by the log, everything else by the book, and what explains the rest."""

import dataclasses
import datetime as dt

import pytest
import sqlalchemy as sa

from audit.events import Leaf, LeafType, commit
from audit.highwater import MemoryHighWater
from audit.keyuse import Call, Cause, Doubt, Finding, Hashes, KeyVersion, Operation, Severity, Signal
from audit.log import Log
from core.approvals.records import decision_table
from core.directory.records import Directory
from core.ids import first_id, new_id, random_bytes
from core.signing import BELONGS, POSSESSION, challenge
from core.values import Digest, DigestAlgorithm, Realm, SignatureAlgorithm
from signer.credentials import Credentials
from signer.keystores.causes import KeyCauses
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, KeyRef, StoredKey
from signer.keystores.policies import Identity, bundle_sha256, policy_for
from signer.keystores.prepared import LOGINS, NO_UPSERT, Prepared, cache, mounted, reload, role
from signer.keystores.records import import_table, key_table, policy_table, work_table
from signer.keystores.registry import Registry
from signer.keystores.uses import UseBook, use_life_table, use_table
from signer.records import order_table
from tests.audit.keyuse.makers import WHO, ask, hashed

DAY = dt.timedelta(days=1)
P256 = SignatureAlgorithm.ECDSA_P256_SHA256
PREPARED = Prepared(mounts=("transit",), agencies=frozenset({"H1"}))


def ref_of(name, purpose, store="transit"):
    return KeyRef(store=store, name=name, version=1, purpose=purpose, algorithm=P256, spki=b"spki", place="transit")


class Desk:
    """A seal key in transit with its orders and their leaves; a QR key; one of another store."""

    def __init__(self, db, clock, log, folder):
        self.db, self.clock, self.log = db, clock, log
        self.book = UseBook(db=db, clock=clock, folder=folder)

    async def open(self):
        directory, credentials = Directory(self.clock), Credentials(self.clock)
        async with self.db.write() as uow:
            agency = await directory.add_agency(uow, realm=Realm.TRAINING, code="H1", name="UBND", parent="UBND")
            self.agency = agency.id
            self.person = (await directory.add_person(uow, agency, "A")).id
            self.made = {
                name: await credentials.add(uow, realm=Realm.TRAINING, purpose=purpose, owner=name, key=ref, certificate=None)
                for name, purpose, ref in (
                    ("seal", KeyPurpose.SEAL, ref_of("seal-1.p256", KeyPurpose.SEAL)),
                    ("qr", KeyPurpose.QR, ref_of("qr-1.p256", KeyPurpose.QR)),
                    ("soft", KeyPurpose.SEAL, ref_of("seal-2", KeyPurpose.SEAL, "software")),
                )
            }  # fmt: skip
        return self

    async def order(self, *types, key="seal", state="intended", text="a"):
        number, digest = new_id(self.clock), Digest.of(text.encode())
        row = {
            "id": number, "realm": "training", "role": "seal", "credential_id": self.made[key].id, "person_id": self.person,
            "activation_tx": "tx", "position": 0, "document": "d" * 64, "salt": random_bytes(32), "state": state,
            "prepared": {"digest": "sha256", "to_sign": digest.hex}, "prepared_at": self.clock.now(),
            "intended_at": self.clock.now(),
        }  # fmt: skip
        async with self.db.write() as uow:
            await uow.execute(order_table.insert(), row)
        await self.leaves(number, *types)
        return number

    async def leaves(self, order, *types, at=None):
        """As the ceremony writes them, of what the order is now."""
        async with self.db.write() as uow:
            row = (await uow.execute(sa.select(order_table).where(order_table.c.id == order))).first()
            digest = b"" if row is None else bytes.fromhex(row.prepared["to_sign"])
            key = None if row is None else next(m.key for m in self.made.values() if m.id == row.credential_id)
            for kind in types:
                ending = f".{new_id(self.clock)}" if kind is LeafType.KEY_OUTCOME_UNKNOWN else ""
                leaf = Leaf(
                    type=kind, time=at or self.clock.now(), tenant_id="t", event_id=f"{order}.{kind.value}{ending}",
                    doc_commit=b"c" if row is None else commit(row.salt, digest), digest_alg="sha256",
                    key_ref_hash=None if key is None else key.sha256,
                )  # fmt: skip
                await self.log.append(uow, leaf)

    async def causes(self, after=None, until=None, memory=None):
        side = KeyCauses(self.db, self.clock, PREPARED)
        after, until = after or self.clock.now() - DAY, until or self.clock.now()
        reached = await side.begin(after, until, memory or {})
        found = [c async for piece in side.causes(after, reached) for c in piece]
        return side, found, reached


@pytest.fixture
async def desk(db, clock, tmp_path):
    store = MemoryKeyStore()
    log_key = await store.create("log-1", KeyPurpose.LOG, SignatureAlgorithm.ED25519)
    key = StoredKey(store, log_key, KeyPurpose.LOG, "log")
    log = Log(db=db, origin="o", key=key, clock=clock, highwater=MemoryHighWater())
    await log.open()
    made = await Desk(db, clock, log, tmp_path / "executors").open()
    async with made.book:
        yield made


INTENDED, UNKNOWN, MADE = LeafType.KEY_USE_INTENDED, LeafType.KEY_OUTCOME_UNKNOWN, LeafType.SIGNATURE_MADE
SEAL = KeyVersion("transit", "seal-1.p256", 1)
QR = KeyVersion("transit", "qr-1.p256", 1)


def call(key, text="a", at=None):
    return Call(key, hashed(Digest.of(text.encode()).value), at, "r", WHO)


async def test_orders_speak_through_the_log_in_its_order(desk):
    order = await desk.order(INTENDED, UNKNOWN, MADE)
    await desk.order(INTENDED, MADE, key="soft", text="b")
    await desk.leaves("somethingelse", LeafType.COPY_RELEASED)
    await desk.log.sequence()
    side, found, _ = await desk.causes()
    assert [(c.id, c.signal, c.key) for c in found] == [(order, s, SEAL) for s in (Signal.MAY, Signal.MAY, Signal.MUST)]
    assert {c.input for c in found} == {Digest.of(b"a").value}
    assert side.remember()["index"] == str(await desk.log.size())


async def test_a_leaf_is_told_once_over_runs(desk, clock):
    await desk.order(INTENDED)
    await desk.log.sequence()
    side, first, reached = await desk.causes()
    clock.move(seconds=60)
    order = await desk.order(INTENDED, text="b")
    await desk.log.sequence()
    _, second, _ = await desk.causes(reached, memory=side.remember())
    assert (len(first), [c.id for c in second]) == (1, [order])


async def test_a_first_run_begins_at_its_time(desk, clock):
    for n in range(20):
        await desk.order(INTENDED, text=str(n))
        clock.move(minutes=1)
    await desk.log.sequence()
    _, found, _ = await desk.causes(after=clock.now() - dt.timedelta(minutes=5))
    assert 5 <= len(found) <= 6


async def test_leaves_that_are_not_published_hold_the_comparison_back(desk, clock):
    await desk.order(INTENDED)
    await desk.log.sequence()
    clock.move(minutes=5)
    pending = clock.now()
    await desk.order(INTENDED, text="b")
    clock.move(minutes=5)
    _, found, reached = await desk.causes()
    assert reached < pending
    assert len(found) == 1


async def test_leaves_after_the_end_wait_for_the_next_call(desk, clock):
    await desk.order(INTENDED)
    clock.move(minutes=5)
    await desk.order(INTENDED, text="b")
    await desk.log.sequence()
    side = KeyCauses(desk.db, clock, PREPARED)
    await side.begin(clock.now() - DAY, clock.now(), {})
    split = clock.now() - dt.timedelta(minutes=1)
    first = [c async for piece in side.causes(clock.now() - DAY, split) for c in piece]
    second = [c async for piece in side.causes(split, clock.now()) for c in piece]
    assert (len(first), len(second)) == (1, 1)


async def test_the_book_speaks_for_everything_else_and_for_this_store_alone(desk, clock, monkeypatch):
    monkeypatch.setattr("signer.keystores.causes._PIECE", 2)
    for n in range(5):
        await desk.book.write(ref_of("qr-1.p256", KeyPurpose.QR), Digest.of(str(n).encode()), f"e{n}")
        clock.move(seconds=n % 2)
    await desk.book.write(ref_of("qr-9", KeyPurpose.QR, "software"), Digest.of(b"x"), "e")
    _, found, _ = await desk.causes(after=clock.now() - DAY)
    assert [c.input for c in found] == [Digest.of(str(n).encode()).value for n in range(5)] or len(found) == 5
    assert {(c.key, c.kind, c.signal) for c in found} == {(QR, "use", Signal.MAY)}


async def explained(desk, *calls):
    side, _, _ = await desk.causes()
    return await side.explain(list(calls), Hashes(ask))


async def test_a_call_with_an_orders_digest_is_one_too_many(desk, clock):
    order = await desk.order(INTENDED, MADE, state="made")
    now = clock.now()
    found = await explained(
        desk, call(SEAL, at=now), call(SEAL, "other", at=now), call(SEAL, at=now - dt.timedelta(minutes=1)),
        call(SEAL._replace(version=2), at=now), call(SEAL._replace(name="unknown"), at=now),
    )  # fmt: skip
    assert found[0] == (Doubt.TWICE, order)
    assert [f.doubt for f in found[1:]] == [Doubt.NOTHING] * 4


async def crash(desk, clock, *, proven=True, wrote=None):
    """A life that began ten minutes ago and did not end."""
    began, over = clock.now() - dt.timedelta(minutes=10), clock.now() - dt.timedelta(minutes=5)
    rows = [
        {"id": "d" * 26, "slot": "x.0", "began_at": began, "after": None, "ended_at": None},
        {"id": "e" * 26, "slot": "x.0", "began_at": over, "after": "d" * 26 if proven else None, "ended_at": None},
    ]
    async with desk.db.write() as uow:
        await uow.execute(use_life_table.insert(), rows)
        if wrote is not None:
            await uow.execute(
                use_table.insert(),
                {"id": new_id(clock), "life": "d" * 26, "store": "transit", "place": "transit", "name": "qr-1.p256",
                 "version": 1, "purpose": "qr", "input": b"i", "event": "e", "at": wrote},
            )  # fmt: skip
    return over


async def test_a_service_keys_call_just_before_a_proven_crash_may_be_lost(desk, clock):
    over = await crash(desk, clock)
    found = await explained(desk, call(QR, at=over - dt.timedelta(seconds=2)), call(SEAL, "x", at=over))
    assert [f.doubt for f in found] == [Doubt.CRASH, Doubt.NOTHING]
    assert found[0].ref == "d" * 26


async def test_without_the_proof_of_a_crash_nothing_is_lost(desk, clock):
    over = await crash(desk, clock, proven=False)
    assert [f.doubt for f in await explained(desk, call(QR, at=over))] == [Doubt.NOTHING]


async def test_a_crash_explains_nothing_before_the_last_use_that_was_written(desk, clock):
    wrote = clock.now() - dt.timedelta(minutes=6)
    await crash(desk, clock, wrote=wrote)
    found = await explained(
        desk, call(QR, at=wrote - dt.timedelta(minutes=1)), call(QR, at=wrote + dt.timedelta(seconds=1)),
        call(QR, at=clock.now()),
    )  # fmt: skip
    assert [f.doubt for f in found] == [Doubt.NOTHING, Doubt.CRASH, Doubt.NOTHING]


async def test_a_crash_explains_no_more_than_a_books_length_and_one_moment(desk, clock):
    over = await crash(desk, clock)
    first = over - dt.timedelta(seconds=100)
    many = [call(QR, str(n), at=first) for n in range(102)]
    found = await explained(desk, *many, call(QR, "z", at=over))
    assert sum(f.doubt is Doubt.CRASH for f in found) == 100
    found = await explained(desk, call(QR, "y", at=first), call(QR, "z", at=over))
    assert [f.doubt for f in found] == [Doubt.CRASH, Doubt.NOTHING]


def operation(kind, clock, name="seal-1.p256", place="transit", data=None):
    return Operation(kind, place, name, True, clock.now(), "r", WHO, False, f"{place}/keys/{name}/{kind}", data)


async def work(desk, clock, *, decided, act="destroy"):
    """What H1's administrators want done with the seal key in the store; without their decision it is our own doing."""
    key, decision = new_id(clock), new_id(clock) if decided else None
    now = clock.now()
    async with desk.db.write() as uow:
        if decided:
            await uow.execute(
                decision_table.insert(),
                {"id": decision, "realm": "training", "agency_id": desk.agency, "kind": "key_destroy", "record": b"{}",
                 "proposed_by": desk.person, "created_at": now, "expires_at": now, "state": "applied", "votes": 2, "salt": b"s"},
            )  # fmt: skip
        await uow.execute(
            key_table.insert(),
            {"id": key, "realm": "training", "owner": "o", "purpose": "seal", "algorithm": P256.value, "store": "transit",
             "place": "transit", "name": "seal-1.p256", "version": 1, "spki": b"s", "state": "disabled", "created_at": now},
        )  # fmt: skip
        await uow.execute(
            work_table.insert(),
            {"id": new_id(clock), "key_id": key, "act": act, "decision_id": decision, "state": "due",
             "ordered_at": now, "next_at": now, "tries": 0},
        )  # fmt: skip
    return decision


HASHES = Hashes(ask)


async def allowed(side, item):
    permit = await side.permitted(item, HASHES)
    return "" if permit is None else permit.ref or permit.code


async def setting(path, body, clock, kind="rules", change=None):
    """As the file shows it. ``change``: made to what is shown."""
    data = await HASHES.shown(body) | (change or {})
    return Operation(kind, "", "/".join(path.split("/")[:3]), True, clock.now(), "r", WHO, False, path, data)


async def loading(clock, policy, **more):
    return await setting(f"sys/policies/acl/{policy.name}", {"policy": policy.hcl()}, clock, **more)


async def decide(desk, clock, sha256, number="p"):
    row = {"id": number * 26, "realm": "training", "store": "transit", "sha256": sha256, "decided_at": clock.now()}
    async with desk.db.write() as uow:
        await uow.execute(policy_table.insert(), row)


@pytest.mark.parametrize(("mounts", "agency"), [(("transit",), ""), (("transit-h1",), "H1"), (("transit",), "H1")])
async def test_a_policy_as_it_was_decided_by_then_explains_its_loading(desk, clock, mounts, agency):
    side = KeyCauses(desk.db, clock, PREPARED)
    bundle = [policy_for(each, mounts, agency) for each in Identity]
    signer = bundle[1]
    assert await allowed(side, await loading(clock, signer)) == "keyuse.as_prepared"  # nothing was decided yet
    before = await loading(clock, signer)
    clock.move(minutes=1)
    await decide(desk, clock, bundle_sha256(bundle))
    clock.move(minutes=1)
    assert await allowed(side, await loading(clock, signer)) == "p" * 26
    await decide(desk, clock, "0" * 64, "q")  # another set now holds
    clock.move(minutes=1)
    assert await allowed(side, await loading(clock, signer)) == ""
    assert await allowed(side, before) == "keyuse.as_prepared"


async def test_nothing_else_hides_behind_a_ceremony(desk, clock):
    side = KeyCauses(desk.db, clock, PREPARED)
    signer = policy_for(Identity.SIGNER, ("transit",))
    wide = {"policy": 'path "transit/*" { capabilities = ["update"] }'}
    for item in (
        await setting("sys/policies/acl/dauso-signer", wide, clock),
        await setting("sys/policies/acl/dauso-signer", {"policy": signer.hcl() + "\n"}, clock),
        await setting("sys/policies/acl/dauso-enroller", {"policy": signer.hcl()}, clock),
        await setting("sys/policies/acl/dauso-signer-h9", {"policy": policy_for(Identity.SIGNER, ("transit",), "H9").hcl()}, clock),
        await setting("sys/policies/acl/dauso-thief", {"policy": signer.hcl()}, clock),
        await setting("sys/policy/dauso-signer", {"policy": signer.hcl()}, clock),
        await loading(clock, signer, change={"more": 1}),
        await setting("sys/audit/to-file", {"type": "file"}, clock),
        await setting("sys/policies/acl/x/dauso-signer", {"policy": signer.hcl()}, clock),
        (await loading(clock, signer))._replace(data={}),
        (await loading(clock, signer))._replace(data=None),
        (await loading(clock, signer))._replace(path=""),
    ):  # fmt: skip
        assert await allowed(side, item) == "", item.path


async def test_what_keys_init_sets_is_known_again_and_anything_close_to_it_is_not(desk, clock):
    side = KeyCauses(desk.db, clock, PREPARED)
    good = [
        ("sys/mounts/transit", mounted(), "rules"), ("sys/mounts/transit-h1", mounted(), "rules"), ("sys/auth/approle", LOGINS, "rules"),
        ("sys/plugins/reload/backend", reload("transit"), "rules"), ("transit/config/keys", NO_UPSERT, "config"),
        ("transit/cache-config", cache(), "cache-config"),
        *((f"auth/approle/role/dauso-{each}", role(f"dauso-{each}", each), "rules") for each in list(Identity)[1:]),
        ("auth/approle/role/dauso-signer-h1", role("dauso-signer-h1", Identity.SIGNER), "rules"),
    ]  # fmt: skip
    for path, body, kind in good:
        assert await allowed(side, await setting(path, body, clock, kind)) == "keyuse.as_prepared", path
    custodian = role("dauso-custodian", Identity.CUSTODIAN)
    for path, body, kind in (
        ("sys/mounts/elsewhere", mounted(), "rules"), ("sys/mounts/transit", mounted() | {"type": "kv"}, "rules"),
        ("sys/mounts/transit/tune", mounted(), "rules"), ("sys/auth/approle", LOGINS | {"local": True}, "rules"),
        ("sys/auth/userpass", LOGINS, "rules"), ("sys/plugins/reload/backend", reload("elsewhere"), "rules"),
        ("transit/config/keys", {"disable_upsert": False}, "config"), ("transit/cache-config", {"size": 1}, "cache-config"),
        ("auth/approle/role/dauso-web", role("dauso-web", Identity.WEB), "rules"),
        ("auth/approle/role/dauso-custodian", custodian | {"token_policies": ["dauso-custodian", "admin"]}, "rules"),
        ("auth/approle/role/dauso-custodian", custodian | {"token_ttl": 0}, "rules"),
        ("auth/approle/role/dauso-custodian", custodian | {"token_bound_cidrs": ["10.0.0.0/8"]}, "rules"),
        ("auth/approle/role/dauso-custodian/secret-id", {}, "rules"), ("auth/approle/role/x/dauso-custodian", custodian, "rules"),
        ("auth/approle/role/dauso-signer", custodian, "rules"), ("auth/kubernetes/role/dauso-custodian", custodian, "rules"),
    ):  # fmt: skip
        assert await allowed(side, await setting(path, body, clock, kind)) == "", (path, body)


async def test_networks_are_those_that_the_auditor_names(desk, clock):
    bound = role("dauso-signer", Identity.SIGNER, ["10.0.0.0/24"])
    path = "auth/approle/role/dauso-signer"
    side = KeyCauses(desk.db, clock, Prepared(mounts=("transit",), cidrs=("10.0.0.0/24",)))
    assert await allowed(side, await setting(path, bound, clock)) == "keyuse.as_prepared"
    assert await allowed(side, await setting(path, role("dauso-signer", Identity.SIGNER), clock)) == ""


async def test_operations_without_a_decision_are_not_explained(desk, clock):
    await work(desk, clock, decided=False)
    side = KeyCauses(desk.db, clock, PREPARED)
    for kind in ("config", "delete", "soft-delete", "export", "import", "wrapping_key", "csr"):
        assert await allowed(side, operation(kind, clock)) == ""


async def test_a_destruction_that_two_administrators_decided_explains_its_steps_on_that_key_from_then_on(desk, clock):
    before = operation("delete", clock)
    clock.move(minutes=1)
    decision = await work(desk, clock, decided=True)
    side = KeyCauses(desk.db, clock, PREPARED)
    setting = {"deletion_allowed": True}
    for item in (operation("config", clock, data=setting), operation("delete", clock), operation("soft-delete", clock)):
        assert await allowed(side, item) == decision
    assert await allowed(side, before) == ""
    for data in (None, {}, {"exportable": True}, setting | {"exportable": True}, {"deletion_allowed": False}):
        assert await allowed(side, operation("config", clock, data=data)) == ""
    assert await allowed(side, operation("delete", clock, "seal-2.p256")) == ""
    assert await allowed(side, operation("delete", clock, place="elsewhere")) == ""
    assert await allowed(side, operation("export", clock)) == ""


async def test_a_decision_to_disable_explains_no_deletion(desk, clock):
    decision = await work(desk, clock, decided=True, act="disable")
    side = KeyCauses(desk.db, clock, PREPARED)
    clock.move(days=40)
    newest = {"min_encryption_version": 2}
    for item in (operation("soft-delete", clock), operation("rotate", clock), operation("config", clock, data=newest)):
        assert await allowed(side, item) == decision
    for item in (
        operation("delete", clock), operation("config", clock, data={"deletion_allowed": True}),
        operation("config", clock, data=newest | {"exportable": True}), operation("trim", clock),
    ):  # fmt: skip
        assert await allowed(side, item) == ""


async def test_the_end_of_a_key_that_was_nobodys_needs_no_decision_and_no_credential_may_name_it(desk, clock):
    side, registry = KeyCauses(desk.db, clock, PREPARED), Registry(clock)
    before = operation("soft-delete", clock, "seal-9.p256")
    clock.move(minutes=1)
    async with desk.db.write() as uow:
        for name in ("seal-9.p256", "seal-1.p256"):  # the second is somebody's, whatever the registry was made to say
            assert await registry.abandon(uow, ref_of(name, KeyPurpose.SEAL), desk.agency, Realm.TRAINING)
        found = await registry.find(uow, ref_of("seal-9.p256", KeyPurpose.SEAL))
        (ordered,) = await registry.works(uow, found.id)
    newest = {"min_encryption_version": 2}
    for item in (
        operation("soft-delete", clock, "seal-9.p256"),
        operation("config", clock, "seal-9.p256", data=newest),
    ):
        assert await side.permitted(item, HASHES) == ("keyuse.never_owned", ordered.id)
    for item in (before, operation("delete", clock, "seal-9.p256"), operation("soft-delete", clock, "seal-1.p256")):
        assert await allowed(side, item) == ""


async def test_a_decided_import_explains_the_key_that_it_names(desk, clock):
    number, now = new_id(clock), clock.now()
    async with desk.db.write() as uow:
        await uow.execute(
            import_table.insert(),
            {"id": number, "realm": "training", "owner": "o", "purpose": "seal", "algorithm": P256.value,
             "spki_sha256": "a" * 64, "state": "open", "decided_at": now, "expires_at": now + DAY},
        )  # fmt: skip
    side = KeyCauses(desk.db, clock, PREPARED)
    assert await allowed(side, operation("import", clock, f"seal-{number}.p256")) == number
    assert await allowed(side, operation("wrapping_key", clock, "")) == number
    for name in ("seal-1.p256", f"qr-{number}.p256", f"seal-{number}"):
        assert await allowed(side, operation("import", clock, name)) == ""


# what somebody may do to our side


async def change(desk, order, **values):
    async with desk.db.write() as uow:
        await uow.execute(order_table.update().where(order_table.c.id == order).values(**values))


FORGED = {"digest": "sha256", "to_sign": Digest.of(b"forged").hex}


@pytest.mark.parametrize("kind", [INTENDED, UNKNOWN, MADE])
@pytest.mark.parametrize(
    "values",
    [
        {"prepared": FORGED},
        {"prepared": {}},
        {"prepared": {"to_sign": 1}},
        {"salt": bytes(32)},
        {"credential_id": "qr"},
    ],
)
async def test_an_order_that_is_not_what_its_leaf_commits_to_explains_nothing(desk, kind, values):
    order = await desk.order(kind)
    await desk.log.sequence()
    if "credential_id" in values:
        async with desk.db.write() as uow:
            made = await Credentials(desk.clock).add(
                uow, realm=Realm.TRAINING, purpose=KeyPurpose.SEAL, owner="x", certificate=None,
                key=dataclasses.replace(ref_of("seal-9.p256", KeyPurpose.SEAL), spki=b"other"),
            )  # fmt: skip
        values = {"credential_id": made.id}
    await change(desk, order, **values)
    _, (finding,), _ = await desk.causes()
    assert (finding.code, finding.severity, finding.what, finding.key) == (
        "keyuse.order_changed",
        Severity.CRITICAL,
        order,
        SEAL,
    )


async def test_an_order_that_was_taken_out_or_names_no_key_of_ours_is_told(desk):
    await desk.leaves("somethingelse", MADE)
    await desk.log.sequence()
    _, (finding,), _ = await desk.causes()
    assert (finding.code, finding.what) == ("keyuse.order_changed", "somethingelse")


async def test_a_key_that_has_moved_since_is_still_the_one_that_its_orders_used(desk, clock):
    order = await desk.order(INTENDED, MADE)
    old = await desk.order(INTENDED, key="soft", text="b")
    await desk.log.sequence()
    async with desk.db.write() as uow:
        for name, new in (("seal", "seal-8.p256"), ("soft", "seal-7.p256")):
            held = desk.made[name].key
            await Registry(clock).note(uow, held, name, Realm.TRAINING)
            await Credentials(clock).move(uow, held, ref_of(new, KeyPurpose.SEAL))
    _, found, _ = await desk.causes()
    assert {(c.id, c.key) for c in found} == {(order, SEAL)}, old


async def test_a_row_of_the_book_explains_a_persons_key_only_with_the_challenge_that_it_signed(desk, clock):
    ref = ref_of("seal-1.p256", KeyPurpose.SEAL)
    fresh = challenge(BELONGS)
    await desk.book.write(ref, Digest.keeping(fresh, DigestAlgorithm.SHA256), "startup")
    await desk.book.write(ref, Digest.keeping(challenge(POSSESSION), DigestAlgorithm.SHA384), "enrolment")
    _, found, _ = await desk.causes()
    assert [type(each) for each in found] == [Cause, Cause]
    row = {"life": "l", "store": "transit", "place": "transit", "name": "seal-1.p256", "version": 1, "event": "start"}
    forged = Digest.of(b"forged").value
    async with desk.db.write() as uow:
        await uow.execute(use_table.insert(), [
            {"id": new_id(clock), "at": clock.now(), **row, "purpose": purpose, "input": value, "said": said}
            for purpose, value, said in (
                ("seal", forged, None), ("qr", forged, None), ("seal", forged, fresh), ("seal", forged, b"forged"),
                ("seal", Digest.of(fresh + b"x").value, fresh + b"x"), ("seal", b"forged", None),
            )
        ])  # fmt: skip
    _, found, _ = await desk.causes()
    findings = [each for each in found if isinstance(each, Finding)]
    assert (len(found), len(findings), {(f.code, f.severity, f.key) for f in findings}) == (
        8, 6, {("keyuse.not_proven", Severity.CRITICAL, SEAL)}
    )  # fmt: skip


async def test_a_clock_that_ran_ahead_for_a_while_holds_nothing_up(desk, clock):
    real = clock.now()
    clock.move(hours=2)
    await desk.order(INTENDED, MADE, text="ahead")
    clock.at = real + dt.timedelta(minutes=5)
    order = await desk.order(INTENDED, MADE, text="right")
    await desk.log.sequence()
    clock.move(minutes=5)
    _, found, _ = await desk.causes()
    assert order in [c.id for c in found]
    assert len(found) == 4
    assert max(c.at for c in found) <= real + dt.timedelta(minutes=5)
    clock.move(hours=9)
    side = KeyCauses(desk.db, clock, PREPARED)
    await side.begin(real - DAY, clock.now(), {})
    found = [c async for piece in side.causes(real - DAY, real + dt.timedelta(minutes=6)) for c in piece]
    assert len(found) == 4  # as the files are read on, too


def test_no_id_of_that_time_is_smaller(clock):
    assert first_id(clock.now()) <= new_id(clock)
    assert first_id(clock.now() + dt.timedelta(milliseconds=1)) > new_id(clock)
