"""The two main jobs over each key store, and what people see while a store is away."""

import asyncio
import datetime as dt
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from api import bootstrap
from api.certifying import certify_file
from api.checking import Checker
from api.roles import ProcessRole
from core.ids import new_id
from signer.requests.model import NewDocument, NewRequest, NewStep
from tests.conftest import live_or_skip
from tests.flows import phones, stores, town
from tests.openbao import OpenBao, binary, cluster
from verification.report import Indication, Verdict

pytestmark = pytest.mark.live


@asynccontextmanager
async def signer(settings):
    """A signer process at work."""
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        work = [asyncio.create_task(each()) for each in bootstrap.signer_work(service)]
        try:
            yield service
        finally:
            await service.parts().requests.drain()
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)


async def wanted(service, person: str, count: int = 1):
    """A request that waits for ``person``; (request, link)."""
    desk = service.parts().requests
    names = [await service.documents.put(phones.paper(f"Tờ {n}")) for n in range(count)]
    async with service.db.read() as uow:
        agency = await service.directory.agency(uow, "H1")
    made = await desk.create(
        NewRequest(
            id=new_id(service.clock), client_id="portal", client_name="Cổng", agency_id=agency.id, title="Đơn",
            deadline=service.clock.now() + dt.timedelta(days=1), steps=(NewStep(position=0, kind="citizen", person_id=person),),
            documents=tuple(NewDocument(title=f"Tờ {n}", name=name) for n, name in enumerate(names)),
        )
    )  # fmt: skip
    return made, await desk.link(made.steps[0].id)


async def approved(service, hand, link):
    """Read and approved on the phone."""
    phone = phones.PhoneClient(phones.sign_door(service), hand, link)
    await phone.enter()
    await phone.show()
    await phone.approve()
    return phone


async def until(true, seconds=40.0):
    for _ in range(int(seconds * 10)):
        if await true():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come about")


def judged(file: Path, count: int) -> None:
    told = subprocess.run(["pdfsig", "-nocert", file], capture_output=True, text=True, check=False).stdout
    assert told.count("Signature is Valid") == count


@pytest.mark.parametrize("kind", stores.STORES)
async def test_a_copy_is_certified_and_a_request_signed_with_keys_of_this_store(kind, request, tmp_path):
    more = stores.of(kind, request, tmp_path / "store")
    settings = await town.build(tmp_path / "home", fresh=True, **more)
    async with signer(settings) as service:
        done = await certify_file(service, [town.scan()], "scan.jpg", town.request(), tmp_path)
        person, hand = await phones.enrol_person(service)
        made, link = await wanted(service, person, 3)
        phone = await approved(service, hand, link)
        assert (await phone.rested())["state"] == "signed"
        async with service.db.read() as uow:
            view = await service.parts().requests.view(uow, made.id)
            owners = ("root", "issuing", "tsa", "ocsp", "lists", "report", "log", person)
            credentials = [await service.credentials.get(uow, each) for each in await _all(service, uow, owners)]
        assert {each.key.store for each in credentials} == {kind}
        assert view.state == "completed"
        for document in view.documents:
            (tmp_path / "signed.pdf").write_bytes(await phone.file(document.id))
            judged(tmp_path / "signed.pdf", 1)
    async with Checker.open(settings, []) as checker:
        report = await checker.check(Path(done["file"]).read_bytes())
    assert report.verdict is Verdict.GENUINE, report.to_json()
    assert [s.indication for s in report.signatures] == [Indication.TOTAL_PASSED] * 2
    assert ("verify.software_key" in {f.code for f in report.findings}) is (kind != "transit")
    judged(Path(done["file"]), 2)


async def _all(service, uow, owners):
    from signer.credentials import credential_table as table

    rows = await uow.execute(table.select().where(table.c.owner.in_(owners)))
    return [row.id for row in rows]


@pytest.fixture
async def house(tmp_path):
    """(a server of one's own, settings) of a town whose keys it has."""
    with OpenBao(tmp_path / "bao") as server:
        folder = tmp_path / "store"
        folder.mkdir()
        yield server, await town.build(tmp_path / "home", fresh=True, **stores.transit(server, folder))


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


@pytest.mark.slow
def test_the_demo_does_everything_with_an_openbao_it_starts_itself(tmp_path):
    if binary() is None:
        live_or_skip("OpenBao (bao)")
    home = tmp_path / "demo"
    command = [
        sys.executable,
        "-P",
        "-m",
        "api.cli",
        "demo",
        "--home",
        str(home),
        "--keys",
        "openbao",
        "--json",
        "--no-serve",
    ]
    for _ in range(2):  # made, and taken up again
        done = subprocess.run(command, env=town.environment(), capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["verdict"] == "genuine"
    assert not (home / "key-file").exists()
    command[command.index("openbao")] = "software"
    other = subprocess.run(command, env=town.environment(), capture_output=True, text=True, check=False)
    assert "demo.other_keys" in other.stdout + other.stderr
