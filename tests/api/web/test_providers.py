"""The door for notices of remote-signing services: it wakes a look and does nothing else."""

import asyncio
import contextlib
import json
from types import SimpleNamespace

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from api.inner import SignerDoor, inner_app
from api.questions.providers import handlers
from api.web import providers
from api.web.pace import Pace
from api.web.problems import on_error
from core.errors import ServiceError
from core.jobs import Again
from core.limits import LIMITS
from core.outbound import Outbound
from signer.providers.transactions import Pauses
from tests.signer.providers.city import DIGEST, USER, served, words
from tests.signer.providers.conftest import empty, people, town

__all__ = ["empty", "people", "town"]


class Heard:
    """A desk that writes down what it is told."""

    def __init__(self) -> None:
        self.told = []

    def hint(self, provider, name):
        self.told.append((provider, name))


@contextlib.asynccontextmanager
async def house(desk, tmp_path, clock):
    """(port, door): the web's route in front, the signer's inner door over a socket behind it."""
    path = tmp_path / "s.sock"
    server = uvicorn.Server(
        uvicorn.Config(inner_app(handlers(desk)), uds=str(path), lifespan="off", log_config=None, access_log=False)
    )
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    door = SignerDoor(path)
    app = FastAPI()
    app.state.parts = SimpleNamespace(pace=Pace(clock), signer=door)
    app.include_router(providers.router)
    app.add_exception_handler(ServiceError, on_error)
    try:
        async with served(app) as port:
            yield port, door
    finally:
        await door.close()
        server.should_exit = True
        await running


async def test_everybody_gets_the_same_answer_and_only_a_name_passes(tmp_path, clock):
    heard, name = Heard(), "a" * 32
    async with (
        house(heard, tmp_path, clock) as (port, _),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        bodies = [
            json.dumps({"transaction_id": name, "message": "SUCCESS", "signed_files": [{"signature_value": "AAAA"}]}),
            json.dumps({"transaction_id": "../../x"}), json.dumps({"transaction_id": 7}), "[]", "not json", "", "[" * 5_000,
            json.dumps({"transaction_id": "ạ" * 32}),
        ]  # fmt: skip
        answers = [
            await client.post(f"/providers/{who}/hint", content=body) for body in bodies for who in ("sp769", "x" * 99)
        ]
        assert {(a.status_code, a.content) for a in answers} == {(202, b"")}
        assert set(heard.told) == {("sp769", name), ("x" * 32, name)}
        assert (await client.post("/providers/sp769/hint", content=b" " * 70_000)).status_code == 413


async def test_a_signer_that_is_away_changes_nothing_for_the_caller(tmp_path, clock):
    async with house(Heard(), tmp_path, clock) as (port, door):
        await door.close()
        door._client = SignerDoor(tmp_path / "nobody.sock")._client
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post("/providers/sp769/hint", json={"transaction_id": "a" * 32})).status_code == 202


async def test_a_flood_is_turned_away(tmp_path, clock, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.hint_minute", 3)
    async with (
        house(Heard(), tmp_path, clock) as (port, _),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        codes = [(await client.post("/providers/sp769/hint", json={})).status_code for _ in range(5)]
    assert codes == [202, 202, 202, 429, 429]


@pytest.mark.parametrize("faults", ["", "forged-callback"])
async def test_the_services_own_callback_ends_the_wait_and_a_forged_one_does_not(town, tmp_path, faults):
    desk = town.desk(pauses=Pauses(first=30, longest=30, hint=0.02, lost=60))
    credential = await desk.link(town.person_id, "sp769", USER)
    async with house(desk, tmp_path, town.clock) as (port, _):
        town.simulator.webhook = f"http://127.0.0.1:{port}/providers/sp769/hint"
        town.simulator.outbound = Outbound(private=frozenset({f"127.0.0.1:{port}"}))
        town.outbounds.append(town.simulator.outbound)
        town.simulator.auto = None
        town.set(faults)
        order = town.order()
        with pytest.raises(Again):
            await desk.sign(order, credential, DIGEST, words)
        await asyncio.sleep(0.2)
        assert town.settled == []
        with pytest.raises(Again):
            await desk.sign(order, credential, DIGEST, words)
        town.simulator.decide(town.simulator.transactions[0].code, approve=True)
        async with asyncio.timeout(5):
            while not town.settled:
                await asyncio.sleep(0.01)
        assert town.settled == [order]
        assert len(await desk.sign(order, credential, DIGEST, words)) == 256
