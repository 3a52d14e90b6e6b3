"""What the desk tells of a copy, in the transaction that makes it true."""

import asyncio
import dataclasses

import pytest

from api import bootstrap
from api.certifying import certify_file, people
from api.roles import ProcessRole
from audit.outbox import EventType, Outbox
from core.errors import Conflict, Refused
from core.values import Regime
from signer.copies import desk as desk_module
from signer.copies import store
from signer.copies.intake import take_in
from signer.copies.model import CopyRequest
from tests.flows import town


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return asyncio.run(town.build(tmp_path_factory.mktemp("events")))


@pytest.fixture
async def service(home):
    async with bootstrap.open_service(home, ProcessRole.SIGNER) as service:
        yield service


async def told(service, copy_id):
    async with service.db.read() as uow:
        copy = await store.get(uow, copy_id)
        events = await Outbox(service.clock).page(uow, [copy.agency_id], [], 0, 999)
    return [(e.type, e.data) for e in events if e.subject == copy_id]


async def certify(service, folder, **change):
    return (await certify_file(service, [town.scan()], "x", town.request(**change), folder))["id"]


async def numbered(service, regime=Regime.SO_HOA):
    agency, certifier, clerk = await people(service, "", regime)
    intake = await take_in(service.sandbox, [town.scan()], title="x")
    request = CopyRequest(agency_id=agency.id, regime=regime, certifier_id=certifier, clerk_id=clerk, kind="x")
    return await service.copies.attest(intake, request)


async def test_a_copy_on_its_way_tells_where_it_waits_and_that_it_is_released_with_its_receipt(service, tmp_path):
    assert await told(service, await certify(service, tmp_path)) == [
        (EventType.COPY_AWAITING_CERTIFIER, {}),
        (EventType.COPY_RELEASED, {}),
    ]
    assert await told(service, await certify(service, tmp_path, regime=Regime.SAO_Y)) == [(EventType.COPY_RELEASED, {})]


async def test_a_seal_that_waits_for_a_person_is_told(service):
    copy_id = await numbered(service)
    with pytest.raises(Refused):
        await dataclasses.replace(service.copies, approver=None).advance(copy_id, lambda _: None)
    assert await told(service, copy_id) == [(EventType.COPY_AWAITING_SEAL, {})]


async def test_a_recall_tells_what_stands_in_the_copys_place(service, tmp_path):
    first, second = await certify(service, tmp_path), await certify(service, tmp_path)
    await service.copies.recall(first, "sai tên", second)
    assert (await told(service, first))[-1] == (EventType.COPY_RECALLED, {"successor": second})


async def test_a_void_is_told_once_and_a_refused_one_is_not(service):
    copy_id = await numbered(service)
    await service.copies.void(copy_id, "thử")
    with pytest.raises(Refused):
        await service.copies.void(copy_id, "thử")
    assert await told(service, copy_id) == [(EventType.COPY_VOIDED, {})]


async def test_a_copy_numbered_again_tells_its_new_id(service, monkeypatch):
    copy_id = await numbered(service)
    with pytest.raises(Refused):
        await dataclasses.replace(service.copies, approver=None).advance(copy_id, lambda _: None)
    monkeypatch.setattr(desk_module.CopyDesk, "_printed_date_has_passed", lambda self, copy: copy.id == copy_id)
    renewed = await service.copies.advance(copy_id, lambda _: None)
    assert (await told(service, copy_id))[-1] == (EventType.COPY_VOIDED, {"successor": renewed.id})


async def test_a_move_that_another_made_first_tells_nothing(service, monkeypatch):
    copy_id = await numbered(service)

    async def lost(*_args, **_values):
        raise Conflict("copy.not_in_state", copy=copy_id, state="numbered")

    monkeypatch.setattr(store, "move", lost)
    with pytest.raises(Conflict):
        await service.copies.void(copy_id, "thử")
    assert await told(service, copy_id) == []
