"""What a hostile client, a fault or a race tries at the doors; each of these once got through."""

import asyncio
import json

import pytest
import sqlalchemy as sa

from audit.outbox import event_table
from core.errors import Refused, Unavailable
from core.limits import LIMITS
from signer.copies.desk import CopyDesk
from tests.api.portal.conftest import officer_of, paper
from tests.flows import house, town


@pytest.fixture
async def open_house(tmp_path, monkeypatch):
    """(parts, client, signer) of a town of its own, whose signer looks around every second."""
    monkeypatch.setitem(LIMITS, "inbox.sweep_seconds", 1)
    settings = await town.build(tmp_path)
    _, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as signer, house.web_here(settings) as (parts, client):
        client.headers["authorization"] = f"Bearer {key}"
        yield parts, client, signer


async def make(client, text="A", wait=20, **change):
    body = json.dumps(paper(await officer_of(client), **change))
    answer = await client.post(
        f"/api/v1/copies?wait={wait}",
        data={"request": body},
        files=[("file", ("s.jpg", town.scan(text), "image/jpeg"))],
    )
    return answer.json()


async def official_of(client):
    people = (await client.get("/api/v1/agencies/H1/people")).json()["items"]
    return next(p["id"] for p in people if p["roles"][0]["role"] == "certifier")


async def until(client, copy_id, state, seconds=30):
    for _ in range(seconds * 10):
        if (seen := (await client.get(f"/api/v1/copies/{copy_id}")).json()["state"]) == state:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(seen)


async def test_recalls_at_the_same_time_do_not_pass_the_brake_together(open_house, monkeypatch):
    monkeypatch.setitem(LIMITS, "recall.day", 2)
    parts, client, _ = open_house
    ids = [(await make(client, str(n)))["id"] for n in range(5)]
    official = await official_of(client)
    body = {"reason": "x", "by": official}
    answers = await asyncio.gather(*(client.post(f"/api/v1/copies/{i}/recall", json=body) for i in ids))
    assert sorted(a.status_code for a in answers) == [200, 200, 429, 429, 429]
    left = next(i for i, a in zip(ids, answers, strict=True) if a.status_code == 429)
    with pytest.raises(Refused, match=r"recall\.too_many"):  # a taken web process has the same brake
        await parts.signer.ask("recall", copy=left, beyond_limit=True, **body)


async def test_one_paper_nobody_foresaw_stops_neither_its_batch_nor_the_next(open_house, monkeypatch):
    _, client, _ = open_house
    real, broken = CopyDesk.advance, [1]

    async def failing(self, copy_id, note):
        if broken:
            broken.pop()
            raise RuntimeError
        return await real(self, copy_id, note)

    monkeypatch.setattr(CopyDesk, "advance", failing)
    name = (await client.post("/api/v1/files", content=town.scan())).json()["file"]
    for _ in range(2):
        items = [{"kind": "Quyết định", "files": [name]}] * 2
        batch = (await client.post("/api/v1/batches", json={"agency": "H1", "regime": "so_hoa", "items": items})).json()
        for _ in range(300):
            seen = (await client.get(batch["links"]["self"])).json()
            if seen["counts"]["released"] == 2:
                break
            await asyncio.sleep(0.1)
        assert seen["counts"]["released"] == 2, seen


async def test_a_part_that_does_not_answer_for_long_strands_no_copy(open_house, monkeypatch):
    _, client, _ = open_house
    real, failures = CopyDesk._release, [1] * 5

    async def failing(self, copy, agency, note):
        if failures:
            failures.pop()
            raise Unavailable("tsa.unavailable")
        return await real(self, copy, agency, note)

    monkeypatch.setattr(CopyDesk, "_release", failing)
    copy = await make(client, wait=0)
    await until(client, copy["id"], "released")


async def test_papers_that_are_put_back_do_not_stop_the_others(open_house, monkeypatch):
    from signer.copies import reception

    _, client, _ = open_house
    real = reception.take_in

    async def failing(sandbox, files, title):
        if title == "POISON":
            raise Unavailable("store.full")
        return await real(sandbox, files, title=title)

    monkeypatch.setattr(reception, "take_in", failing)
    monkeypatch.setitem(LIMITS, "inbox.tries", 2)
    stuck = [(await make(client, str(n), wait=0, kind="POISON"))["id"] for n in range(4)]
    assert (await make(client, "good"))["state"] == "released"
    await until(client, stuck[0], "refused")


async def test_a_request_taken_twice_tells_no_lie(open_house):
    parts, client, signer = open_house
    copy = await make(client)
    async with parts.service.db.read() as uow:
        request = await signer.reception.inbox.get(uow, copy["id"])
    assert not await signer.reception.admit(request)
    async with parts.service.db.read() as uow:
        types = (await uow.execute(sa.select(event_table.c.type).where(event_table.c.subject == copy["id"]))).scalars()
        assert "copy.refused" not in set(types)


async def test_a_batch_tried_again_is_told_of_again(open_house):
    parts, client, _ = open_house
    bad = (await client.post("/api/v1/files", content=b"%PDF-1.4 nothing")).json()["file"]
    body = {"agency": "H1", "regime": "so_hoa", "items": [{"kind": "Giấy", "files": [bad]}]}
    batch = (await client.post("/api/v1/batches", json=body)).json()
    for round_ in (1, 2):
        for _ in range(200):
            events = (await client.get("/api/v1/events")).json()["items"]
            told = [e["type"] for e in events]
            if told.count("batch.finished") == round_:
                break
            await asyncio.sleep(0.1)
        assert (told.count("copy.refused"), told.count("batch.finished")) == (round_, round_)
        await client.post(f"{batch['links']['self']}/retry")
    assert parts


async def test_a_body_is_not_read_from_who_has_not_shown_who_it_is(open_house):
    parts, client, _ = open_house
    read = []

    async def body():
        for _ in range(50):
            read.append(1)
            yield b"[" + b"{}," * 20_000
        yield b"{}]"

    answer = await client.post(
        "/api/v1/batches", content=body(), headers={"authorization": "Bearer no", "content-type": "application/json"}
    )
    assert answer.status_code == 401
    huge = b'{"a":"' + b"x" * (LIMITS["web.list_bytes"] + 1) + b'"}'
    answer = await client.post("/api/v1/batches", content=huge, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    seen = {
        (await client.get("/api/v1/copies", headers={"authorization": "Bearer no"})).status_code
        for _ in range(LIMITS["rate.failed_minute"] + 5)
    }
    assert seen == {401, 429}
    assert parts
