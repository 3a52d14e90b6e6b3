"""Whole houses of processes on one database: one is killed under load, nothing is lost and nothing is made twice."""

import asyncio
import hashlib
import io
import json
import os
import signal
import time
from pathlib import Path

import httpx2
import pytest
from standardwebhooks import Webhook
from tusclient.client import TusClient

from api import serving
from api.web.app import make_operator_app
from core.db import Database
from signer.copies.register import entry_table
from signer.records import copy_table
from tests import servers
from tests.api.portal.conftest import paper
from tests.flows import house, town

_COPIES = 16


def _children(pid: int) -> list[int]:
    """The kernel's word for who was started by whom."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def kill_house(process) -> None:
    """The machine's plug: parent and children at once."""
    everybody = [process.pid, *_children(process.pid)]
    everybody += [grandchild for child in everybody[1:] for grandchild in _children(child)]
    for pid in everybody:
        os.kill(pid, signal.SIGKILL)


async def _one(client, urls, number, body):
    """A portal that does not give up: the same key to whichever house answers."""
    headers = {"idempotency-key": f"copy-{number}"}
    form = {"request": json.dumps({**body, "original_number": f"{number}/2026"})}
    until = time.monotonic() + 120
    for attempt in range(1000):
        url = urls[(number + attempt) % len(urls)]
        try:
            answer = await client.post(
                f"{url}/api/v1/copies",
                data=form,
                headers=headers,
                files=[("file", ("s.jpg", town.scan(str(number)), "image/jpeg"))],
            )
            if answer.status_code == 202:
                return answer.json()["id"]
        except httpx2.HTTPError:
            pass
        assert time.monotonic() < until
        await asyncio.sleep(0.2)
    raise AssertionError


@pytest.mark.slow
async def test_one_of_two_houses_is_killed_under_load_and_no_copy_is_lost_or_doubled(tmp_path, postgres_url):
    made = await town.build(tmp_path, postgres_url)
    _, key = await house.add_client(made, "H1")
    shared = {"DAUSO_DATABASE_URL": postgres_url}
    first = house.processes(tmp_path, **shared, DAUSO_SIGNER_SOCKET=str(tmp_path / "run" / "a.sock"))
    second = house.processes(tmp_path, **shared, DAUSO_SIGNER_SOCKET=str(tmp_path / "run" / "b.sock"))
    with first as (one, victim), second as (two, _):
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=30) as client:
            people = (await client.get(f"{one}/api/v1/agencies/H1/people")).json()["items"]
            work = [asyncio.create_task(_one(client, [one, two], n, paper(people[0]["id"]))) for n in range(_COPIES)]
            await asyncio.sleep(1.2)
            kill_house(victim)
            ids = await asyncio.gather(*work)
            assert len(set(ids)) == _COPIES
            until = time.monotonic() + 120
            states: dict[str, str] = {}
            while time.monotonic() < until and not (len(states) == _COPIES and set(states.values()) == {"released"}):
                await asyncio.sleep(0.5)
                states = {i: (await client.get(f"{two}/api/v1/copies/{i}")).json()["state"] for i in ids}
            assert set(states.values()) == {"released"}, states
    async with Database(postgres_url) as db, db.read() as uow:
        entries = (await uow.execute(entry_table.select().order_by(entry_table.c.number))).all()
        copies = (await uow.execute(copy_table.select())).all()
    assert [e.number for e in entries] == list(range(1, _COPIES + 1))
    assert {e.state for e in entries} == {"issued"}
    assert len(copies) == _COPIES


async def test_a_stop_is_graceful(tmp_path):
    made = await town.build(tmp_path)
    _, key = await house.add_client(made, "H1")
    with house.processes(tmp_path) as (url, process):
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
            people = (await client.get(f"{url}/api/v1/agencies/H1/people")).json()["items"]
            asked = asyncio.create_task(
                client.post(
                    f"{url}/api/v1/copies?wait=20", data={"request": json.dumps(paper(people[0]["id"]))},
                    files=[("file", ("s.jpg", town.scan(), "image/jpeg"))],
                )
            )  # fmt: skip
            await asyncio.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            answer = await asked
        assert answer.status_code == 202
        assert await asyncio.to_thread(process.wait, 60) == 0
        assert not (tmp_path / "run" / "signer.sock").exists()


async def test_a_portal_is_told_of_its_copy_by_the_worker_process(tmp_path):
    made = await town.build(tmp_path)
    _, key = await house.add_client(made, "H1")
    heads: list[dict[str, str]] = []
    bodies: list[bytes] = []

    def receive(_method, body):
        bodies.append(body)
        return 204, {}, b""

    with servers.http(receive, heard=heads) as port:
        with house.processes(tmp_path, DAUSO_OUTBOUND_PRIVATE=f"localhost:{port}") as (url, _):
            async with httpx2.AsyncClient(
                headers={"authorization": f"Bearer {key}"}, timeout=60, base_url=url
            ) as client:
                hook = (await client.post("/api/v1/webhooks", json={"url": f"http://localhost:{port}/told"})).json()
                people = (await client.get("/api/v1/agencies/H1/people")).json()["items"]
                copy = (
                    await client.post(
                        "/api/v1/copies?wait=20", data={"request": json.dumps(paper(people[0]["id"]))},
                        files=[("file", ("s.jpg", town.scan(), "image/jpeg"))],
                    )
                ).json()  # fmt: skip
                until = time.monotonic() + 20
                while time.monotonic() < until and not any(b"copy.released" in body for body in bodies):
                    await asyncio.sleep(0.1)
                feed = (await client.get("/api/v1/events")).json()["items"]
    assert [e["type"] for e in feed if copy["id"] in str(e)][-1] == "copy.released"
    told = [Webhook(hook["secret"]).verify(body, head) for head, body in zip(heads, bodies, strict=True)]
    assert {"copy.released"} <= {each["type"] for each in told}
    assert {each["data"]["copy_id"] for each in told} == {copy["id"]}


async def test_operators_see_what_waits_and_what_was_taken_back(tmp_path):
    made = await town.build(tmp_path)
    async with serving.open_web(made) as parts:
        app = make_operator_app(parts)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1") as client:
            text = (await client.get("/metrics")).text
    assert "dauso_requests_waiting 0.0" in text
    assert 'dauso_recalls_last_day{agency="H1"} 0.0' in text


async def test_a_kept_tus_client_sends_a_file_in_pieces_and_goes_on_after_a_break(tmp_path):
    made = await town.build(tmp_path)
    _, key = await house.add_client(made, "H1")
    data = town.scan("TUS")
    with house.processes(tmp_path) as (url, _):
        tus = TusClient(f"{url}/api/v1/uploads", headers={"authorization": f"Bearer {key}"})
        first = tus.uploader(file_stream=io.BytesIO(data), chunk_size=4000)
        await asyncio.to_thread(first.upload_chunk)
        again = tus.uploader(file_stream=io.BytesIO(data), chunk_size=4000, url=first.url)  # another process, later
        assert again.offset == 4000
        await asyncio.to_thread(again.upload)
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
            name = (await client.head(again.url, headers={"tus-resumable": "1.0.0"})).headers["dauso-file"]
            people = (await client.get(f"{url}/api/v1/agencies/H1/people")).json()["items"]
            body = {**paper(people[0]["id"]), "files": [name]}
            copy = (await client.post(f"{url}/api/v1/copies?wait=20", json=body)).json()
    assert copy["state"] == "released"
    assert name == hashlib.sha256(data).hexdigest()
