"""Rotation in a whole house: nothing changes before its time, and what was opened with a key is signed with that key."""

import datetime as dt

import pytest
import sqlalchemy as sa

from api import bootstrap
from api.certifying import certify_file
from api.roles import ProcessRole
from ca_bridge import records as ca
from core.certificates import Certificate
from core.clock import SystemClock
from core.errors import BadInput, Broken, Conflict, Refused, ServiceError
from core.limits import LIMITS
from core.values import Digest
from signer.copies import store
from signer.keyceremony.rotation import Rotation
from signer.keystores.model import KeyPurpose
from signer.keystores.proof import prove
from signer.records import copy_table
from tests.conftest import BentClock
from tests.flows import town

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


async def test_of_two_at_once_one_is_made_and_the_others_certificate_is_revoked(house, monkeypatch):
    service, clock = house
    rotation, make = Rotation(enrolment=service.enrolment), type(service.enrolment).make
    first: list[object] = []

    async def slowly(self, *args):
        made = await make(self, *args)
        if not first:
            first.append(made)
            await rotation.rotate("H1", SEAL, clock.now() + HOUR)
        return made

    monkeypatch.setattr(type(service.enrolment), "make", slowly)
    with pytest.raises(Conflict):
        await rotation.rotate("H1", SEAL, clock.now() + 2 * HOUR)
    lost = first[0]
    async with service.db.read() as uow:
        state = await ca.states(uow, [serial := Certificate.parse(lost.certificate).serial])
        assert state[serial].status == "revoked"
    code = await code_of(service.parts().store.sign(lost.key, Digest.of(b"x"), purpose=SEAL, event_id="e"))
    assert code == "key.disabled"


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
        ("ocsp", TSA, "credential.missing"),
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


async def test_a_refused_rotation_says_refused_before_anything(house):
    with pytest.raises(Refused):
        Rotation.require_rotatable(KeyPurpose.LOG)
    for purpose in (SEAL, QR, TSA):
        Rotation.require_rotatable(purpose)
