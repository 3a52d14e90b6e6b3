"""What a home needs before anybody practises in it, and where nobody may."""

import pytest
import sqlalchemy as sa

from api import bootstrap
from api.training.prepare import AGENCY, prepare
from core.directory.model import Role
from core.errors import NotFound, Refused
from core.values import Realm
from signer.requests.records import step_table
from tests.api.training.test_guide import Room, says
from tests.flows import house, town
from tests.flows.phones import sign_door


async def test_a_server_that_nobody_prepared_says_so(tmp_path):
    settings = await town.build(tmp_path / "home")
    async with house.signer_here(settings), house.web_here(settings) as (parts, web):
        answer = await web.post("/training/start", headers={"origin": parts.base_url, "accept": "text/html"})
        assert answer.status_code == 503
        assert says(answer.text, "training.not_ready")


async def test_with_a_public_address_the_phone_goes_back_to_the_guide_and_gets_a_code_to_scan(tmp_path):
    settings = (await town.build(tmp_path / "home")).model_copy(
        update={"web_url": "https://localhost", "sign_url": "https://sign.localhost"}
    )
    async with house.signer_here(settings) as service:
        await prepare(service)
        async with house.web_here(settings) as (parts, web), sign_door(service) as phone:
            someone = Room(service, parts, web, phone).visitor()
            mine = await someone.begin()
            hand = await someone.enrol()
            status = await someone.page(hand, mine.sign.link).sign()
            assert status["return_url"] == "https://localhost/training/step/result"
            assert '<svg class="qr"' in await someone.step("lost")
            assert "secure" in (await someone.post("/training/start")).headers["set-cookie"].lower()


async def test_no_other_realm_has_a_guide_or_prepares_one(tmp_path):
    settings = await town.build(tmp_path / "home", realm=Realm.PRODUCTION)
    async with house.signer_here(settings) as service, house.web_here(settings) as (_, web):
        for path in ("/training", "/training/step/person", "/training/state", "/training/file"):
            assert (await web.get(path)).status_code == 404
        with pytest.raises(Refused, match=r"home\.not_training"):
            await prepare(service)


async def test_a_home_without_agencies_gets_a_sample_one_whose_people_are_invited_again_and_again(tmp_path):
    settings = town.settings(tmp_path / "home")
    await bootstrap.create_home(settings, Realm.TRAINING)
    async with house.signer_here(settings) as service:
        first, second = await prepare(service), await prepare(service)
        assert [each.role for each in first] == ["certifier", "clerk", "administrator", "administrator"]
        assert {each.name for each in first} == {each.name for each in second}
        assert all(each.number.startswith("999") for each in first)
        async with service.db.read() as uow:
            agency = await service.directory.agency(uow, AGENCY)
            people = await service.directory.people(uow, agency.id)
            steps = (await uow.execute(sa.select(step_table.c.kind).order_by(step_table.c.position))).scalars().all()
        assert len(people) == 4
        assert sum(right.role is Role.ADMINISTRATOR for _, rights in people for right in rights) == 2
        assert steps == ["official", "seal"]  # laid once
        phones = service.parts().phones
        ticket = second[0].desk.partition("#")[2]
        official = next(person.id for person, _ in people if person.name == second[0].name)
        assert await phones.use_ticket(ticket, spend=False) == official
        with pytest.raises(NotFound, match=r"link\.unknown"):
            await phones.arrival(first[0].sign.rpartition("/")[2])  # the newest invitation counts
        assert (await phones.arrival(second[0].sign.rpartition("/")[2])).official
