"""What the desk refuses, and what it does when its own records were changed under it."""

import datetime as dt

import pytest
import sqlalchemy as sa

from api import bootstrap
from api.certifying import certify_file
from api.roles import ProcessRole
from core.clock import SystemClock
from core.directory.model import Role
from core.errors import Broken, NotFound, Refused
from core.limits import LIMITS
from core.values import Regime
from signer.copies import store
from signer.copies.intake import take_in
from signer.copies.model import CopyRequest, ScanRecord
from signer.credentials import credential_table
from signer.records import order_table
from tests.conftest import BentClock
from tests.flows import town


@pytest.fixture
async def service(tmp_path):
    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as opened:
        yield opened


async def people(service):
    async with service.db.read() as uow:
        found = await service.directory.people(uow)
    by_role = {r.role: p.id for p, rights in found for r in rights}
    return by_role[Role.CERTIFIER], by_role[Role.CLERK]


async def attest(service, **change):
    certifier, clerk = await people(service)
    async with service.db.read() as uow:
        agency = await service.directory.agency(uow, "H1")
    scan = ScanRecord(officer=certifier, device="m", scanned_at=service.clock.now())
    given = {"agency_id": agency.id, "regime": Regime.CERTIFIED_COPY, "certifier_id": certifier, "clerk_id": clerk,
             "kind": "Giấy", "scan": scan}  # fmt: skip
    intake = await take_in(service.sandbox, [town.scan()], title="x")
    return await service.copies.attest(intake, CopyRequest(**{**given, **change}))


async def test_one_person_is_never_both_certifier_and_clerk(service):
    certifier, clerk = await people(service)
    with pytest.raises(Refused, match=r"copy\.same_person"):
        await attest(service, clerk_id=certifier)
    with pytest.raises(Refused, match=r"directory\.wrong_role"):
        await attest(service, certifier_id=clerk, clerk_id=certifier)
    with pytest.raises(Refused, match=r"copy\.no_certifier"):
        await attest(service, certifier_id=None)
    with pytest.raises(Refused, match=r"copy\.no_scan_record"):
        await attest(service, scan=None)
    async with service.db.read() as uow:
        assert await store.all_copies(uow) == []


async def test_a_released_copy_is_not_voided(service, tmp_path):
    done = await certify_file(service, [town.scan()], "x", town.request(), tmp_path)
    with pytest.raises(Refused, match=r"copy\.already_released"):
        await service.copies.void(done["id"], "x")


async def test_an_agency_must_be_named_when_there_are_two_and_needs_its_people(service, tmp_path):
    await service.enrolment.agency(code="H2", name="UBND xã Hai", parent="UBND tỉnh")
    with pytest.raises(Refused, match=r"home\.which_agency"):
        await certify_file(service, [town.scan()], "x", town.request(), tmp_path)
    with pytest.raises(NotFound, match=r"home\.no_clerk"):
        await certify_file(service, [town.scan()], "x", town.request(agency="H2"), tmp_path)


async def stopped(service, tmp_path, step):
    with pytest.raises(town.Stop):
        await certify_file(service, [town.scan()], "x", town.request(), tmp_path, town.stop_at(step))
    async with service.db.read() as uow:
        (copy,) = await store.all_copies(uow)
    return copy


async def test_prepared_bytes_that_changed_in_the_store_are_never_signed(service, tmp_path):
    copy = await stopped(service, tmp_path, "prepare")
    async with service.db.write() as uow:
        order = await service.copies.signing.orders.get(uow, copy.certifier_order)
        document = await service.documents.get(order.document)
        other = await service.documents.put(document[:200] + b"X" + document[201:])
        await uow.execute(order_table.update().values(document=other))
    with pytest.raises(Broken, match=r"signing\.prepared_bytes_changed"):
        await service.jobs.run("copy", copy.id)


async def test_an_order_under_another_key_than_was_approved_is_never_signed(service, tmp_path):
    copy = await stopped(service, tmp_path, "certifier.approve")
    async with service.db.write() as uow:
        keys = {r.id: r.key for r in await uow.execute(sa.select(credential_table.c.id, credential_table.c.key))}
        order = await service.copies.signing.orders.get(uow, copy.certifier_order)
        other = next(k for i, k in keys.items() if '"purpose": "document"' not in k and i != order.credential_id)
        await uow.execute(
            credential_table.update().where(credential_table.c.id == order.credential_id).values(key=other)
        )
    service.credentials._known.clear()
    with pytest.raises((Broken, Refused)) as refusal:
        await service.jobs.run("copy", copy.id)
    assert refusal.value.code in {
        "signing.key_is_not_the_certificates",
        "key.wrong_purpose",
        "key.wrong_role",
        "activation.mismatch",
    }


async def test_a_seal_key_past_its_life_seals_no_code(tmp_path):
    settings = await town.build(tmp_path / "home")
    clock = BentClock(SystemClock().now())
    async with bootstrap.open_service(settings, ProcessRole.SIGNER, clock) as service:
        async with service.db.write() as uow:
            old = clock.now() - dt.timedelta(days=LIMITS["qr.key_days"])
            await uow.execute(
                credential_table.update().where(credential_table.c.purpose == "qr").values(created_at=old)
            )
        with pytest.raises(Refused, match=r"qr\.key_too_old"):
            await certify_file(service, [town.scan()], "x", town.request(), tmp_path)
        await service.enrolment.renew_qr_key("H1")
        async with service.db.read() as uow:
            (copy,) = await store.all_copies(uow)
        assert await service.jobs.run("copy", copy.id) == copy.id
