"""A key store that is sealed, dies, is not there, changes its leader: work waits, and nothing is lost or done twice."""

import asyncio

import pytest

from api import bootstrap
from api.roles import ProcessRole
from tests.flows import phones, stores, town
from tests.flows.stores import approved, signer, until, wanted
from tests.openbao import cluster
from tests.vault import server_kind

pytestmark = pytest.mark.live


@pytest.fixture
async def house(tmp_path, database_url):
    """(a server of one's own, settings) of a town whose keys it has."""
    with server_kind()(tmp_path / "bao") as server:
        folder = tmp_path / "store"
        folder.mkdir()
        yield server, await town.build(tmp_path / "home", database_url, **stores.transit(server, folder))


async def test_what_was_approved_while_the_store_was_sealed_is_signed_once_it_is_open(house, tmp_path):
    server, settings = house
    async with signer(settings) as service:
        person, hand = await phones.enrol_person(service)
        made, link = await wanted(service, person)
        phone = phones.PhoneClient(phones.sign_door(service), hand, link)
        await phone.enter()
        await phone.show()
        server.seal()
        await phone.approve()

        async def said():
            async with service.db.read() as uow:
                step = (await service.parts().requests.view(uow, made.id)).steps[0]
            return (step.state, step.problem) == ("approved", "key.sealed")

        await until(said)
        assert (await service.parts().store.health()).state == "sealed"
        server.unseal()
        found = await phone.rested(25)
        assert found["state"] == "signed"


async def test_a_server_that_dies_in_the_middle_signs_each_paper_once_in_the_end(house):
    server, settings = house
    async with signer(settings) as service:
        person, hand = await phones.enrol_person(service)
        made, link = await wanted(service, person, 40)
        phone = await approved(service, hand, link)
        server.kill()
        await asyncio.sleep(1)
        server.start()

        async def done():
            async with service.db.read() as uow:
                return (await service.parts().requests.view(uow, made.id)).state == "completed"

        await until(done, 60)
        assert (await phone.status())["state"] == "signed"
        await service.log.sequence()
        tail = await service.log_tail(400)
        made_of = [leaf["prev_event_id"] for leaf in tail if leaf["type"] == "signature_made"]
        assert len(made_of) == len(set(made_of)) >= 40


async def test_a_signer_that_starts_while_the_store_is_away_waits_for_it(house):
    server, settings = house
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        person, hand = await phones.enrol_person(service)
        _, link = await wanted(service, person)
        phone = await approved(service, hand, link)  # nobody is at work on it: this process ends
        await service.parts().requests.drain()
    server.stop()
    async with signer(settings) as service:
        assert (await service.parts().store.health()).state == "unreachable"
        _, link = await wanted(service, person)
        phone = await approved(service, hand, link)
        server.start()
        assert (await phone.rested(25))["state"] == "signed"


async def test_a_change_of_the_leader_is_not_noticed_by_anybody(tmp_path):
    with cluster(tmp_path / "bao") as nodes:
        folder = tmp_path / "store"
        folder.mkdir()
        settings = await town.build(tmp_path / "home", fresh=True, **stores.transit(nodes.nodes[0], folder))
        async with signer(settings) as service:
            person, hand = await phones.enrol_person(service)
            _, link = await wanted(service, person, 10)
            nodes.step_down()
            phone = await approved(service, hand, link)
            assert (await phone.rested(25))["state"] == "signed"
