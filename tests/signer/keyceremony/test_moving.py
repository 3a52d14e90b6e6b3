"""The same key out of files into a real server: decided, proven, once; everything that names it stays."""

import asyncio
import dataclasses
import datetime as dt
import json

import pytest
import sqlalchemy as sa

from api.signing import Records, make_enrolment
from audit.events import Leaf, LeafType
from audit.highwater import MemoryHighWater
from audit.log import Log, LogReader
from ca_bridge.records import crl_table
from core.approvals.records import Approvals
from core.certificates import Certificate
from core.clock import SystemClock
from core.directory.model import Role
from core.errors import ServiceError
from core.ids import new_id
from core.settings import Settings
from core.values import Digest, Message, Realm, Regime
from signer.credentials import Credentials, credential_table
from signer.keyceremony.importing import Importing
from signer.keyceremony.moving import Moving
from signer.keyceremony.rotation import Rotation
from signer.keystores.allowed import SERVICES, Imports, place, require_movable
from signer.keystores.counterparts import Counterparts
from signer.keystores.model import KeyPurpose, StoredKey
from signer.keystores.policies import Identity
from signer.keystores.proof import prove_public
from signer.keystores.registry import KeyState, Registry, Rule
from signer.keystores.software import SoftwareKeyStore
from signer.keystores.stores import KeyStores
from signer.keystores.transit import TransitKeyStore
from signer.keystores.uses import BookedKey, BookedStore, UseBook, use_table
from signer.keystores.work import KeyWork
from tests.conftest import BentClock
from tests.signer.keyceremony.sessions import signer_and_importer

MOUNT = "transit-move"
OWNERS = (*SERVICES, "H1")
SECRET = b"s" * 32


class Desk:
    """A house that began in files and has a server now."""

    def __init__(self, db, sessions, folder, book):
        self.db, self.sessions, self.clock, self.book = db, sessions, SystemClock(), book
        self.registry, self.parts = Registry(self.clock), Records(self.clock)
        self.files = SoftwareKeyStore(folder / "keys", key_file=SECRET)
        self.transit = TransitKeyStore(sessions[Identity.SIGNER], [MOUNT])
        self.stores = KeyStores(self.transit, self.files)
        self.before, self.now = (self._enrolment(each, folder) for each in (self.files, self.stores))

    def _enrolment(self, store, folder):
        def open_key(credential, event_id):
            key = StoredKey(self.stores, credential.key, credential.purpose, event_id)
            return BookedKey(key=key, ref=credential.key, event_id=event_id, book=self.book)

        return make_enrolment(
            Settings(home=folder), Realm.TRAINING, self.clock, self.db, self.parts, BookedStore(store, self.book), open_key
        )  # fmt: skip

    async def open(self):
        await self.before.service_keys()
        self.agency = await self.before.agency(code="H1", name="UBND xã Mẫu", parent="UBND tỉnh Ví Dụ")
        self.person = await self.before.person(
            agency="H1", name="Lê Thị Hữu", role=Role.CERTIFIER, number="1/QĐ", capacity="CHỦ TỊCH", dated=self.clock.now(),
            valid_to=None, scope=frozenset(Regime),
        )  # fmt: skip
        used = await self.used("log")
        key = self.now.open_key(used, "log")
        self.log = Log(db=self.db, origin="log.example/1", key=key, clock=self.clock, highwater=MemoryHighWater())
        await self.log.open()
        leaf = Leaf(
            type=LeafType.COPY_RELEASED, time=self.clock.now(), tenant_id="t", event_id="e", doc_commit=b"c", digest_alg="sha256"
        )  # fmt: skip
        async with self.db.write() as uow:
            await self.log.append(uow, leaf)
        await self.log.sequence()

    @property
    def moving(self):
        return Moving(enrolment=self.now, log=LogReader(db=self.db, origin="log.example/1"))

    async def used(self, owner, purpose=None):
        """The credential that is used now, read anew."""
        purpose = purpose or SERVICES.get(owner, KeyPurpose.QR)
        async with self.db.read() as uow:
            return await Credentials(self.clock).of(uow, self.agency.id if owner == "H1" else owner, purpose)

    async def known(self, ref):
        async with self.db.read() as uow:
            return await self.registry.find(uow, ref)

    async def decide(self, owner, /, kind="key.move", clock=None, **other):
        """What the desk of decisions leaves behind with the second yes."""
        used = await self.used(owner)
        what = {
            "owner": used.owner, "purpose": used.purpose, "algorithm": used.key.algorithm,
            "spki_sha256": Digest.of(used.key.spki).hex, "certificate": used.certificate, **other,
        }  # fmt: skip
        async with self.db.write() as uow:
            made = await Approvals(self.clock).propose(
                uow, realm=Realm.TRAINING, agency_id=self.agency.id, kind=kind, payload={}, proposed_by=self.person.id
            )
            await Imports(clock or self.clock).allow(uow, made.id, realm=Realm.TRAINING, **what)
        return made.id

    async def carry(self, owner, who=Identity.IMPORTER, files=None):
        leaving = await self.moving.find(owner)
        return leaving, await self.moving.carry(self.sessions[who], [MOUNT], files or self.files, leaving)

    async def compared(self):
        """Codes of what ``dauso audit keys`` finds in the book."""
        await self.book._flush()
        hour = dt.timedelta(hours=1)
        look = Counterparts(self.db, self.clock, LogReader(db=self.db, origin="log.example/1"))
        return [each.code for each in await look.compare(self.clock.now() - hour, self.clock.now() + hour)]

    async def move(self, owner):
        await self.decide(owner)
        return await self.moving.settle(*await self.carry(owner))


@pytest.fixture
async def desk(db, openbao, tmp_path):
    async with (
        signer_and_importer(openbao, MOUNT, "moves") as sessions,
        UseBook(db=db, clock=SystemClock(), folder=tmp_path / "executors") as book,
    ):
        made = Desk(db, sessions, tmp_path, book)
        await made.open()
        yield made


async def code_of(awaitable):
    with pytest.raises(ServiceError) as raised:
        await awaitable
    return raised.value.code


def but_place(credential):
    return dataclasses.replace(credential, key=None), credential.key.spki


async def test_every_key_that_may_goes_on_in_the_server_under_what_it_had(desk, openbao):
    for owner in OWNERS:
        before = await desk.used(owner)
        decision = await desk.decide(owner)
        leaving, ref = await desk.carry(owner)
        moved = await desk.moving.settle(leaving, ref)
        after = await desk.used(owner)
        assert but_place(after) == but_place(before), owner
        assert (after.key.store, after.key.place) == ("transit", MOUNT)
        assert decision in after.key.name
        told = openbao.api("GET", f"{MOUNT}/keys/{ref.name}")["data"]
        assert (told["exportable"], told["allow_plaintext_backup"], told["imported_key"]) == (False, False, True)
        openbao.api("POST", f"{MOUNT}/keys/{ref.name}/rotate", {})  # whoever does it: the pinned version goes on
        for each in (before.key, after.key):  # two processes, one of which read it before: the same key
            challenge = b"" if owner != "log" else b"o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
            await prove_public(StoredKey(desk.stores, each, each.purpose, "x"), before.key.spki, challenge)
        old, new = await desk.known(before.key), await desk.known(after.key)
        assert (old.state, new.state, new.id) == (KeyState.ACTIVE, KeyState.ACTIVE, moved.new_id)
        async with desk.db.read() as uow:
            assert await desk.registry.credentials(uow, old) == []
            assert [row.id for row in await desk.registry.credentials(uow, new)] == [before.id]
            assert [each.what for each in await desk.registry.history(uow, old.id)] == ["left"]
            assert [(e.what, e.why) for e in await desk.registry.history(uow, new.id)] == [("moved", decision)]
            origin = (await Imports(desk.clock).origins(uow))[place(after.key)]
        assert origin.moved
        assert "từng nằm trong tệp" in origin.said
        assert await code_of(desk.moving.find(owner)) == "keys.not_in_files"


async def test_the_logs_name_stays_and_its_key_signs_nothing_but_the_log(desk):
    vkey = desk.log.vkey
    await desk.move("log")
    again = Log(
        db=desk.db, origin="log.example/1", key=desk.now.open_key(await desk.used("log"), "log"), clock=desk.clock,
        highwater=desk.log._highwater,
    )  # fmt: skip
    await again.open()
    assert again.vkey == vkey
    async with desk.db.read() as uow:
        rows = (await uow.execute(sa.select(use_table).where(use_table.c.purpose == "log"))).all()
    assert {row.store for row in rows} == {"transit"}, "the others still wait in memory"
    note = await desk.log.latest_checkpoint()
    assert [note.startswith(bytes(row.input).decode()) for row in rows] == [True]


async def test_the_audit_finds_a_counterpart_for_each_proof(desk):
    for owner in OWNERS:
        await desk.move(owner)
    assert await desk.compared() == []


async def test_an_authoritys_lists_are_counted_over_both_places(desk):
    old = (await desk.used("issuing")).key
    await desk.move("issuing")
    async with desk.db.write() as uow:
        await uow.execute(crl_table.insert(), {"issuer": "issuing", "last": 2})
    new = (await desk.used("issuing")).key
    for ref in (old, new):  # a process that has not started anew, and one that has
        await desk.book.write(ref, Digest.of(ref.name.encode()), "crl")
    assert await desk.compared() == []
    await desk.book.write(new, Digest.of(b"a third"), "crl")
    assert "keyuse.no_counterpart" in await desk.compared()


# ------------------------------------------------------------------------------------------------------------ decisions
async def test_without_its_own_decision_no_key_moves(desk):
    assert await code_of(desk.moving.find("log")) == "keys.move_not_decided"
    await desk.decide("tsa")
    await desk.decide("log", kind="key.import")
    assert await code_of(desk.moving.find("log")) == "keys.move_not_decided"


async def test_a_decision_to_move_lets_no_file_in(desk):
    await desk.decide("lists")
    importing = Importing(
        db=desk.db, clock=desk.clock, realm=Realm.TRAINING, credentials=desk.parts.credentials, store=desk.stores
    )  # fmt: skip
    assert await code_of(importing.allowed((await desk.used("lists")).key.spki)) == "key.import_not_decided"


async def test_a_decision_that_is_over_used_or_about_something_else_is_refused(desk):
    await desk.decide("tsa", clock=BentClock(desk.clock.now() - dt.timedelta(hours=73)))
    assert await code_of(desk.moving.find("tsa")) == "key.import_over"
    for wrong in (
        {"owner": "ocsp"},
        {"purpose": KeyPurpose.OCSP},
        {"certificate": (await desk.used("ocsp")).certificate},
    ):
        await desk.decide("tsa", **wrong)
        assert await code_of(desk.moving.find("tsa")) == "key.import_other"
    await desk.decide("tsa")
    leaving, ref = await desk.carry("tsa")
    await desk.moving.settle(leaving, ref)
    assert await code_of(desk.moving.settle(leaving, ref)) == "key.import_used"


async def test_keys_of_people_and_seals_stay_where_they_are(desk):
    for purpose, owner, code in (
        (KeyPurpose.DOCUMENT, desk.person.id, "keys.person_enrols"),
        (KeyPurpose.SEAL, desk.agency.id, "keys.seal_rotates"),
    ):
        async with desk.db.read() as uow:
            used = await desk.parts.credentials.of(uow, owner, purpose)
        known = await desk.known(used.key)
        with pytest.raises(ServiceError) as raised:
            require_movable(known)
        assert raised.value.code == code
    assert await code_of(desk.moving.find(desk.person.id)) == "directory.no_such_agency"


# --------------------------------------------------------------------------------------------------------------- faults
async def test_what_a_crash_interrupted_goes_on_with_the_same_key(desk):
    await desk.decide("issuing")
    _, first = await desk.carry("issuing")
    assert (await desk.used("issuing")).key.store == "software", "nothing rests on it yet"
    leaving, again = await desk.carry("issuing")
    assert first == again
    await desk.moving._prove(leaving, again)  # and once more after the proof
    await desk.moving.settle(leaving, again)
    assert (await desk.used("issuing")).key == first


async def test_a_place_that_is_taken_by_another_key_is_damage(desk, openbao):
    decision = await desk.decide("report")
    openbao.api("POST", f"{MOUNT}/keys/report-{decision}.p256", {"type": "ecdsa-p256"})
    assert await code_of(desk.carry("report")) == "key.damaged"
    assert (await desk.used("report")).key.store == "software"


async def test_a_key_that_was_exchanged_in_the_server_proves_nothing(desk, openbao):
    await desk.decide("report")
    leaving, ref = await desk.carry("report")
    path = f"{MOUNT}/keys/{ref.name}"
    openbao.api("POST", f"{path}/config", {"deletion_allowed": True})
    openbao.api("DELETE", path)
    openbao.api("POST", path, {"type": "ecdsa-p256"})
    assert await code_of(desk.moving.settle(leaving, ref)) == "key.wrong_signature"
    assert (await desk.used("report")).key.store == "software"
    assert (await desk.moving.find("report")).allowed.state == "open"


async def test_files_that_do_not_open_or_hold_another_key_give_nothing(desk, openbao, tmp_path):
    decision = await desk.decide("lists")
    locked = SoftwareKeyStore(tmp_path / "keys", key_file=b"x" * 32)
    assert await code_of(desk.carry("lists", files=locked)) == "key.damaged"
    ref = (await desk.used("lists")).key
    with pytest.raises(ServiceError, match=r"key\.damaged"):
        desk.files.reveal(dataclasses.replace(ref, spki=(await desk.used("report")).key.spki))
    await desk.files.disable(ref)
    assert await code_of(desk.carry("lists")) == "key.disabled"
    assert openbao.status("GET", f"{MOUNT}/keys/list-{decision}.p256") == 404, "nothing was sent"


async def test_only_the_importer_brings_it_in(desk):
    await desk.decide("ocsp")
    assert await code_of(desk.carry("ocsp", who=Identity.SIGNER)) == "vault.denied"


async def test_a_key_that_was_stopped_or_ended_does_not_move(desk):
    ref = (await desk.used("ocsp")).key
    decision = await desk.decide("ocsp")
    leaving, new = await desk.carry("ocsp")
    async with desk.db.write() as uow:
        await desk.registry.stop(uow, (await desk.registry.find(uow, ref)).id, "key.over_day")
    assert await code_of(desk.moving.find("ocsp")) == "key.stopped"
    assert await code_of(desk.moving.settle(leaving, new)) == "key.stopped"
    async with desk.db.write() as uow:
        await desk.registry.disable(uow, (await desk.registry.find(uow, ref)).id, decision)
    assert await code_of(desk.moving.find("ocsp")) == "key.disabled"
    assert await code_of(desk.moving.settle(leaving, new)) == "key.disabled"
    assert (await desk.used("ocsp")).key == ref


async def test_two_at_once_move_it_once(desk):
    await desk.decide("issuing")
    leaving, ref = await desk.carry("issuing")
    found = await asyncio.gather(*(desk.moving.settle(leaving, ref) for _ in range(3)), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in found) == 1
    assert {each.code for each in found if isinstance(each, ServiceError)} <= {"key.import_used", "decision.overtaken"}


# ------------------------------------------------------------------------------------------------------ what leans on it
async def test_a_key_that_waits_for_its_time_is_left_alone(desk):
    waiting = (
        await Rotation(enrolment=desk.before).rotate("tsa", KeyPurpose.TSA, desk.clock.now() + dt.timedelta(days=1))
    ).new
    await desk.move("tsa")
    async with desk.db.read() as uow:
        assert await Credentials(desk.clock).waiting(uow, "tsa", KeyPurpose.TSA) == waiting


async def test_every_credential_of_the_key_goes_with_it(desk):
    used = await desk.used("H1")
    async with desk.db.write() as uow:
        second = await desk.parts.credentials.add(
            uow, realm=Realm.TRAINING, purpose=KeyPurpose.QR, owner=used.owner, key=used.key, certificate=None
        )
        await desk.parts.credentials.retire(uow, second.id)
    moved = await desk.move("H1")
    assert {each.id for each in moved.credentials} == {used.id, second.id}
    async with desk.db.read() as uow:
        keys = (
            await uow.execute(sa.select(credential_table.c.key).where(credential_table.c.purpose == "qr"))
        ).scalars()
        assert {json.loads(each)["store"] for each in keys} == {"transit"}


async def test_limits_that_two_administrators_set_go_with_the_key(desk):
    rule = Rule(per_minute=7, per_day=70, at_once=5)
    async with desk.db.write() as uow:
        old = await desk.registry.find(uow, (await desk.used("tsa")).key)
        await desk.registry.set_rule(uow, old, rule, new_id(desk.clock))
    await desk.move("tsa")
    new = await desk.known((await desk.used("tsa")).key)
    assert (new.rule, new.decided) == (rule, True)


async def test_a_process_that_read_the_old_place_goes_on_until_that_ends(desk):
    other = Credentials(desk.clock)
    used = await desk.used("issuing")
    async with desk.db.read() as uow:
        kept = await other.get(uow, used.id)
    moved = await desk.move("issuing")
    decision = await desk.decide("tsa", kind="key.disable")
    async with desk.db.read() as uow:
        assert (await other.get(uow, used.id)).key == kept.key, "until it starts anew"
        assert (await other.of(uow, "issuing", KeyPurpose.CA)).key.store == "transit"
        assert (await desk.parts.credentials.get(uow, used.id)).key.store == "transit", "here at once"
    async with desk.db.write() as uow:
        await desk.registry.disable(uow, moved.old.id, decision)
        assert await code_of(desk.registry.require_usable(uow, kept.key, kept.owner)) == "key.disabled"


async def test_the_old_copy_is_ended_and_destroyed_and_nothing_else(desk, tmp_path):
    moved = await desk.move("issuing")
    used, file = await desk.used("issuing"), tmp_path / "keys" / f"{moved.old.ref.name}.v1.key"
    later = BentClock(desk.clock.now())
    work = KeyWork(db=desk.db, clock=later, log=desk.log, store=desk.stores)
    registry, decision = Registry(later), await desk.decide("tsa", kind="key.disable")
    async with desk.db.write() as uow:
        await registry.disable(uow, moved.old.id, decision)
    later.move(seconds=301)
    assert [each.state for each in await work.run(moved.old.id)] == ["done"]
    assert (
        await code_of(desk.stores.sign(moved.old.ref, Digest.of(b"x"), purpose=KeyPurpose.CA, event_id="x"))
        == "key.disabled"
    )
    later.move(days=31)
    async with desk.db.write() as uow:
        await registry.order_destruction(uow, moved.old.id, decision)
    await work.run(moved.old.id)
    assert not file.exists()
    assert (await desk.known(moved.old.ref)).state is KeyState.DESTROYED
    assert await desk.used("issuing") == used
    assert (await desk.known(used.key)).state is KeyState.ACTIVE
    spki = Certificate.parse(used.certificate).spki
    await prove_public(StoredKey(desk.stores, used.key, KeyPurpose.CA, "x"), spki)
    assert await code_of(desk.stores.sign(moved.old.ref, Message(b"x"), purpose=KeyPurpose.CA, event_id="x")) != ""
