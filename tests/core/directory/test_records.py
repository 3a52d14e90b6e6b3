"""The directory on both databases."""

import datetime as dt

import pytest

from core.directory.model import Role
from core.directory.records import Directory
from core.errors import Conflict, NotFound, Refused
from core.values import Realm, Regime


@pytest.fixture
async def house(db, clock):
    directory = Directory(clock)
    async with db.write() as uow:
        agency = await directory.add_agency(
            uow, realm=Realm.TRAINING, code="H55.1", name="UBND xã Mẫu", parent="UBND tỉnh"
        )
        person = await directory.add_person(uow, agency, "Nguyễn Thị Ánh")
    return directory, agency, person


async def authorise(db, clock, directory, person, days=30, scope=frozenset({Regime.CERTIFIED_COPY})):
    async with db.write() as uow:
        return await directory.authorise(
            uow, person, Role.CERTIFIER, capacity="TUQ. CHỦ TỊCH", number="12/QĐ-UBND", dated=clock.now(),
            valid_from=clock.now(), valid_to=clock.now() + dt.timedelta(days=days), scope=scope,
        )  # fmt: skip


async def test_an_authorisation_is_found_while_it_holds_and_refused_after_its_term(db, clock, house):
    directory, agency, person = house
    made = await authorise(db, clock, directory, person)
    async with db.read() as uow:
        found = await directory.authorisation(uow, person.id, agency.id, Role.CERTIFIER, Regime.CERTIFIED_COPY)
    assert found == made
    clock.move(days=31)
    async with db.read() as uow:
        with pytest.raises(Refused, match=r"directory\.authorisation_expired"):
            await directory.authorisation(uow, person.id, agency.id, Role.CERTIFIER, Regime.CERTIFIED_COPY)


async def test_a_role_or_regime_nobody_gave_is_refused(db, clock, house):
    directory, agency, person = house
    await authorise(db, clock, directory, person)
    async with db.read() as uow:
        with pytest.raises(Refused, match=r"directory\.wrong_role"):
            await directory.authorisation(uow, person.id, agency.id, Role.CLERK, Regime.CERTIFIED_COPY)
        with pytest.raises(Refused, match=r"directory\.out_of_scope"):
            await directory.authorisation(uow, person.id, agency.id, Role.CERTIFIER, Regime.SAO_Y)


async def test_an_agency_is_known_by_code_and_not_made_twice(db, house):
    directory, agency, _ = house
    async with db.write() as uow:
        assert await directory.agency(uow, "H55.1") == agency
        with pytest.raises(Conflict, match=r"directory\.agency_exists"):
            await directory.add_agency(uow, realm=Realm.TRAINING, code="H55.1", name="x", parent="y")
        with pytest.raises(NotFound, match=r"directory\.no_such_agency"):
            await directory.agency(uow, "H55.2")


async def test_an_ended_agency_names_its_successor_and_refuses_new_work(db, clock, house):
    directory, agency, _ = house
    async with db.write() as uow:
        after = await directory.add_agency(
            uow, realm=Realm.TRAINING, code="H55.9", name="UBND xã Mới", parent="UBND tỉnh"
        )
        clock.move(days=1)
        await directory.end_agency(uow, "H55.1", "H55.9")
        ended = await directory.agency(uow, "H55.1")
    assert ended.successor_id == after.id
    with pytest.raises(Refused, match=r"directory\.agency_ended"):
        ended.require_active(clock.now())
