"""Whole houses of processes on one database: one is killed under load, nothing is lost and nothing is made twice."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import httpx2
import pytest

from core.db import Database
from signer.copies.register import entry_table
from signer.records import copy_table
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
