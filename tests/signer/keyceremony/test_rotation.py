"""Rotation in a whole house: nothing changes before its time, and what was opened with a key is signed with that key."""

import asyncio
import datetime as dt
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from api import bootstrap
from api.certifying import certify_file
from api.roles import ProcessRole
from ca_bridge import records as ca
from core.certificates import Certificate
from core.clock import SystemClock
from core.db import Database
from core.errors import BadInput, Broken, Conflict, Refused, ServiceError, Unavailable
from core.limits import LIMITS
from core.values import Digest
from signer.copies import store
from signer.credentials import credential_table
from signer.keyceremony.rotation import Rotation, require_rotatable
from signer.keystores.model import KeyPurpose
from signer.keystores.proof import prove
from signer.keystores.registry import NEVER_OWNED, KeyState, Registry
from signer.keystores.work import KeyWork
from signer.records import copy_table
from tests.conftest import BentClock
from tests.flows import town
from tests.flows.deciding import administrators, decide

SEAL, QR, TSA = KeyPurpose.SEAL, KeyPurpose.QR, KeyPurpose.TSA
HOUR = dt.timedelta(hours=1)
OVERLAP = dt.timedelta(seconds=LIMITS["keys.overlap_seconds"])


@pytest.fixture
async def house(tmp_path):
    """(service, clock): the town's, its clock ours from now on."""
    settings = await town.build(tmp_path / "home")
    clock = BentClock(SystemClock().now())
    async with bootstrap.open_service(settings, ProcessRole.SIGNER, clock) as service:
        yield service, clock


async def in_force(service, owner=None, purpose=SEAL):
    async with service.db.read() as uow:
        if owner is None:
            owner = (await service.directory.agency(uow, "H1")).id
        return await service.credentials.of(uow, owner, purpose)


async def rotate(service, owner="H1", purpose=SEAL, at=None):
    return await Rotation(enrolment=service.enrolment).rotate(owner, purpose, at)


async def code_of(awaitable):
    with pytest.raises(ServiceError) as raised:
        await awaitable
    return raised.value.code


async def seal_of(service, copy_id):
    async with service.db.read() as uow:
        copy = await store.get(uow, copy_id)
        order = await service.copies.signing.orders.get(uow, copy.seal_order)
        return copy.state, await service.credentials.get(uow, order.credential_id)


async def waits_for_its_seal(service, tmp_path):
    """Id of a copy whose bytes are prepared with the seal's key."""
    with pytest.raises(town.Stop):
        await certify_file(service, [town.scan()], "x", town.request(), tmp_path, town.stop_at("prepare_seal"))
    async with service.db.read() as uow:
        return (await uow.execute(sa.select(copy_table.c.id))).scalar_one()


async def test_the_switch_comes_at_its_time(house):
    service, clock = house
    before = await in_force(service)
    done = await rotate(service, at=clock.now() + 3 * HOUR)
    assert done.old == before
    assert done.new.key != before.key
    assert not done.needs_restart
    assert await in_force(service) == before
    clock.move(hours=3)
    assert await in_force(service) == done.new
    certificate = done.new.require_valid(clock.now())
    assert certificate.subject == Certificate.parse(before.certificate).subject
    await prove(service.enrolment.open_key(done.new, "test"), certificate)


async def test_what_was_prepared_with_the_old_key_is_signed_with_the_old_key(house, tmp_path):
    service, clock = house
    copy_id = await waits_for_its_seal(service, tmp_path)
    done = await rotate(service)
    clock.move(seconds=1)
    assert await in_force(service) == done.new
    await service.copies.advance(copy_id, lambda _: None)
    assert await seal_of(service, copy_id) == ("released", done.old)


async def test_after_the_overlap_it_is_prepared_again_with_the_new_key(house, tmp_path):
    service, clock = house
    copy_id = await waits_for_its_seal(service, tmp_path)
    done = await rotate(service)
    clock.at += OVERLAP
    async with service.db.write() as uow:
        assert await service.credentials.retire_followed(uow) == [done.old.id]
    await service.copies.advance(copy_id, lambda _: None)
    assert await seal_of(service, copy_id) == ("released", done.new)


async def test_the_lists_sweep_ends_the_old_key(house):
    service, clock = house
    done = await rotate(service)
    clock.at += OVERLAP
    await service.parts().notices._refresh()
    async with service.db.read() as uow:
        assert await service.credentials.retired(uow, [done.old.id, done.new.id]) == {done.old.id}


async def test_one_switch_waits_at_a_time(house):
    service, clock = house
    await rotate(service, at=clock.now() + HOUR)
    assert await code_of(rotate(service)) == "keys.rotation_waits"
    clock.move(hours=1)
    await rotate(service)


@pytest.fixture
def overtaken(house, monkeypatch):
    """Of each rotation: while its key is made another is quicker. The keys that were made."""
    service, clock = house
    rotation, make, made = Rotation(enrolment=service.enrolment), type(service.enrolment).make, []

    async def quick(self, *args):
        mine = await make(self, *args)
        made.append(mine)
        if len(made) == 1:
            await rotation.rotate("H1", SEAL, clock.now() + HOUR)
        return mine

    monkeypatch.setattr(type(service.enrolment), "make", quick)
    return made


def work_of(service, store=None):
    return KeyWork(
        db=service.db, clock=service.clock, log=service.copies.signing.log, store=store or service.parts().store
    )


async def test_of_two_at_once_one_is_made_and_the_others_key_and_certificate_are_ended(house, overtaken):
    service, clock = house
    with pytest.raises(Conflict) as raised:
        await rotate(service, at=clock.now() + 2 * HOUR)
    assert raised.value.code == "keys.rotation_waits"
    lost = overtaken[0]
    async with service.db.read() as uow:
        state = await ca.states(uow, [serial := Certificate.parse(lost.certificate).serial])
        assert state[serial].status == "revoked"
        known = await Registry(clock).find(uow, lost.key)
    assert (known.state, known.why) == (KeyState.DISABLED, NEVER_OWNED)
    (done,) = await work_of(service).run()
    assert (done.key_id, done.state) == (known.id, "done")
    code = await code_of(service.parts().store.sign(lost.key, Digest.of(b"x"), purpose=SEAL, event_id="e"))
    assert code == "key.disabled"


async def test_where_no_custodian_is_the_real_error_is_seen_and_the_key_waits_for_its_end(
    house, overtaken, monkeypatch
):
    service, clock = house
    store = type(service.parts().store.default)

    async def denied(_, ref):
        raise Unavailable("key.denied", key=ref.name)

    with monkeypatch.context() as without:
        without.setattr(store, "disable", denied)
        assert await code_of(rotate(service, at=clock.now() + 2 * HOUR)) == "keys.rotation_waits"
        (waits,) = await work_of(service).run()
        assert (waits.act, waits.state, waits.code) == ("disable", "due", "key.denied")
    assert [each.state for each in await work_of(service).run(waits.key_id)] == ["done"]


async def test_what_the_database_does_not_take_is_nobodys_and_the_databases_error_is_seen(house, monkeypatch):
    service, clock = house
    before, made, make = await in_force(service), [], type(service.enrolment).make

    async def noted(self, *args):
        made.append(await make(self, *args))
        return made[0]

    async def full(*_, **__):
        raise Unavailable("store.full")

    monkeypatch.setattr(type(service.enrolment), "make", noted)
    with monkeypatch.context() as small:
        small.setattr(type(service.enrolment), "keep", full)
        assert await code_of(rotate(service)) == "store.full"
    clock.move(seconds=1)
    assert await in_force(service) == before
    async with service.db.read() as uow:
        assert (await Registry(clock).find(uow, made[0].key)).why == NEVER_OWNED
    assert (await rotate(service)).old == before, "and it may be tried again"


async def test_where_not_even_that_can_be_written_down_the_first_error_is_seen(house, monkeypatch):
    service, _ = house

    async def full(*_, **__):
        raise Unavailable("store.full")

    monkeypatch.setattr(type(service.enrolment), "keep", full)
    monkeypatch.setattr(Registry, "abandon", full)
    assert await code_of(rotate(service)) == "store.full"


class LostAnswer:
    """The commit of the new key stands, and who waits for it hears something else."""

    def __init__(self, monkeypatch, service, error):
        self.keep, self.write, self.error, self.armed = type(service.enrolment).keep, Database.write, error, False
        monkeypatch.setattr(type(service.enrolment), "keep", lambda *a, **k: self.kept(*a, **k))
        monkeypatch.setattr(Database, "write", lambda db: self.written(db))

    async def kept(self, *args, **more):
        self.armed = True
        return await self.keep(*args, **more)

    @asynccontextmanager
    async def written(self, db):
        async with self.write(db) as uow:
            yield uow
        if self.armed:
            self.armed = False
            raise self.error


@pytest.mark.parametrize("purpose", [SEAL, QR])
async def test_a_commit_whose_answer_was_lost_gives_the_key_that_it_put_in_force(house, monkeypatch, purpose):
    service, clock = house
    with monkeypatch.context() as lossy:
        LostAnswer(lossy, service, Unavailable("database.unavailable"))
        done = await rotate(service, purpose=purpose)
    clock.move(seconds=1)
    assert await in_force(service, purpose=purpose) == done.new
    await still_good(service, done.new)


async def test_who_interrupts_after_the_commit_does_not_end_the_key_that_is_in_force(house, monkeypatch):
    service, clock = house
    before = await in_force(service)
    with monkeypatch.context() as lossy:
        LostAnswer(lossy, service, asyncio.CancelledError())
        with pytest.raises(asyncio.CancelledError):
            await rotate(service)
    clock.move(seconds=1)
    now = await in_force(service)
    assert now != before
    await still_good(service, now)


async def still_good(service, credential):
    """Its key signs, and its certificate stands."""
    assert await service.parts().store.sign(credential.key, Digest.of(b"x"), purpose=credential.purpose, event_id="e")
    assert await work_of(service).run() == []
    async with service.db.read() as uow:
        assert (await Registry(service.clock).find(uow, credential.key)).state is KeyState.ACTIVE
        if credential.certificate is not None:
            state = await ca.states(uow, [serial := Certificate.parse(credential.certificate).serial])
            assert state[serial].status == "good"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_of_two_that_have_both_looked_one_key_waits(tmp_path, request, monkeypatch, kind):
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else ""
    settings = await town.build(tmp_path / "home", url)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        make, both, now = type(service.enrolment).make, asyncio.Barrier(2), service.clock.now()

        async def together(self, *args):
            made = await make(self, *args)
            await both.wait()  # nobody has written yet
            return made

        monkeypatch.setattr(type(service.enrolment), "make", together)
        ends = await asyncio.gather(*(rotate(service, at=now + n * HOUR) for n in (1, 2)), return_exceptions=True)
        assert [each.code for each in ends if isinstance(each, ServiceError)] == ["keys.rotation_waits"]
        async with service.db.read() as uow:
            t = credential_table.c
            waiting = sa.select(sa.func.count()).where(t.purpose == SEAL, t.active_from > now, t.state == "active")
            assert (await uow.execute(waiting)).scalar_one() == 1


# ---------------------------------------------------------------------------------------------------------- after a theft
async def stolen(service, people, credential):
    """Disabled by two, its certificates revoked: docs/operate/keys.md, "End a key"."""
    async with service.db.read() as uow:
        key = await Registry(service.clock).find(uow, credential.key)
    revoke = "" if credential.certificate is None else "compromise"
    await decide(service, people, "key.disable", {"key": key.id, "why": "Nghi bị lộ", "revoke": revoke})


async def test_a_stolen_seal_is_followed_by_another(house, tmp_path):
    service, clock = house
    people, old = await administrators(service), await in_force(service)
    await stolen(service, people, old)
    assert await code_of(in_force(service)) == "credential.missing"
    done = await rotate(service)
    clock.move(seconds=1)
    assert done.old == old
    assert await in_force(service) == done.new
    assert (await certify_file(service, [town.scan()], "x", town.request(), tmp_path))["file"]


async def test_a_stolen_qr_key_is_followed_by_another_and_no_older_one_stays(house):
    service, _ = house
    people, old = await administrators(service), await in_force(service, purpose=QR)
    await stolen(service, people, old)
    done = await rotate(service, purpose=QR)
    assert done.old == old
    async with service.db.write() as uow:
        assert await service.credentials.retired(uow, [old.id, done.new.id]) == {old.id}
        await service.credentials.retire(uow, done.new.id)
    assert (await rotate(service, purpose=QR)).old == done.new, "also where none is in force any more"


@pytest.mark.parametrize(
    ("owner", "purpose"),
    [("tsa", TSA), ("ocsp", KeyPurpose.OCSP), ("lists", KeyPurpose.LIST), ("report", KeyPurpose.REPORT)],
)
async def test_a_stolen_service_key_is_followed_by_a_signer_that_starts_without_it(tmp_path, owner, purpose):
    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        old = await in_force(service, owner, purpose)
        await stolen(service, await administrators(service), old)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        done = await rotate(service, owner, purpose)
        assert done.old == old
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        assert await in_force(service, owner, purpose) == done.new
        await certify_file(service, [town.scan()], "x", town.request(), tmp_path)


async def test_a_stolen_key_that_waits_does_not_stand_in_the_way_of_the_next(house):
    service, clock = house
    people, before = await administrators(service), await in_force(service)
    done = await rotate(service, at=clock.now() + 5 * HOUR)
    async with service.db.read() as uow:
        key = await Registry(clock).find(uow, done.new.key)
    await decide(service, people, "key.disable", {"key": key.id, "why": "Nghi bị lộ", "revoke": ""})
    assert await in_force(service) == before
    again = await rotate(service, at=clock.now() + HOUR)
    clock.move(hours=6)
    assert await in_force(service) == again.new


@pytest.mark.parametrize("hours", [-1, 24 * LIMITS["keys.switch_days"] + 1])
async def test_a_switch_in_the_past_or_far_ahead_is_refused(house, hours):
    service, clock = house
    with pytest.raises(BadInput) as raised:
        await rotate(service, at=clock.now() + hours * HOUR)
    assert raised.value.code == "keys.switch_time"


@pytest.mark.parametrize(
    ("owner", "purpose", "code"),
    [
        ("log", KeyPurpose.LOG, "keys.log_key_stays"),
        ("issuing", KeyPurpose.CA, "keys.ca_key_stays"),
        ("root", KeyPurpose.CA, "keys.ca_key_stays"),
        ("anybody", KeyPurpose.DOCUMENT, "keys.person_enrols"),
        ("H1", TSA, "keys.no_such_owner"),
        ("ocsp", TSA, "keys.no_such_owner"),
        ("H9", SEAL, "directory.no_such_agency"),
    ],
)
async def test_what_cannot_be_rotated_says_why_and_makes_no_key(house, owner, purpose, code, monkeypatch):
    service, _ = house

    async def never(*_):
        raise AssertionError

    monkeypatch.setattr(type(service.enrolment), "make", never)
    assert await code_of(rotate(service, owner, purpose)) == code


async def test_a_qr_key_is_replaced_at_once(house):
    service, clock = house
    before = await in_force(service, purpose=QR)
    assert await code_of(rotate(service, purpose=QR, at=clock.now() + HOUR)) == "keys.qr_at_once"
    done = await rotate(service, purpose=QR)
    assert done.old == before
    assert await in_force(service, purpose=QR) == done.new


async def test_a_key_that_a_process_reads_at_its_start_says_so(tmp_path):
    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        done = await rotate(service, "tsa", TSA)
        assert done.needs_restart
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        assert service.parts().evidence.tsa == done.new
        await certify_file(service, [town.scan()], "x", town.request(), tmp_path)  # stamped with it, and checked


async def test_a_key_that_is_not_the_certificates_is_not_recorded(house, monkeypatch):
    service, _ = house
    before = await in_force(service)
    other = await in_force(service, "tsa", TSA)
    enrolment = service.enrolment
    wrong = Certificate.parse(other.certificate)

    async def issue(*_, **__):
        return wrong

    monkeypatch.setattr("signer.enrolment.house.issue", issue)
    with pytest.raises(Broken) as raised:
        await enrolment.make(SEAL, "seal", enrolment.subject("tsa"), None)
    assert raised.value.code == "credential.wrong_key"
    with pytest.raises(Broken):
        await rotate(service)
    assert await in_force(service) == before


def test_a_refused_rotation_says_refused_before_anything(clock):
    with pytest.raises(Refused):
        require_rotatable(KeyPurpose.LOG, None, clock.now())
    for purpose in (SEAL, QR, TSA):
        require_rotatable(purpose, None, clock.now())
