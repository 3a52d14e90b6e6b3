"""A request that is sent again: one work, one answer, whatever happened in between."""

import asyncio
import datetime as dt
import json

import pytest
import sqlalchemy as sa

from api.portal.idempotency import answer_table
from core.db import Database
from core.limits import LIMITS
from tests.api.portal.conftest import officer_of, paper
from tests.flows import house, town


async def send(client, key, text="SAME", **change):
    body = json.dumps(paper(await officer_of(client), **change))
    return await client.post(
        "/api/v1/copies", data={"request": body}, files=[("file", ("a.jpg", town.scan(text), "image/jpeg"))],
        headers={"idempotency-key": key},
    )  # fmt: skip


async def row_of(parts, client):
    async with parts.service.db.read() as uow:
        return (await uow.execute(sa.select(answer_table).where(answer_table.c.client_id == client.client_id))).one()


async def test_many_at_once_make_one_copy(open_house):
    _, client, _ = open_house
    answers = await asyncio.gather(*(send(client, "k") for _ in range(6)))
    made = {a.json()["id"] for a in answers if a.status_code == 202}
    assert len(made) == 1
    others = {a.json()["code"] for a in answers if a.status_code != 202}
    assert others <= {"idempotency.running"}
    listed = (await client.get("/api/v1/copies", params={"limit": 200})).json()["items"]
    assert len([c for c in listed if c["id"] in made]) == 1


async def test_a_runner_that_died_is_followed_under_the_same_id(open_house, home):
    parts, client, _ = open_house
    first = (await send(client, "dead")).json()
    async with Database(home.database) as db, db.write() as uow:  # as if the process had died before keeping its answer
        late = parts.service.clock.now() - dt.timedelta(seconds=1)
        await uow.execute(
            answer_table.update().where(answer_table.c.client_id == client.client_id).values(answer=None, until=late)
        )
    again = await send(client, "dead")
    assert again.status_code == 202
    assert again.json()["id"] == first["id"]
    listed = (await client.get("/api/v1/copies", params={"limit": 200})).json()["items"]
    assert len([c for c in listed if c["id"] == first["id"]]) == 1


async def test_a_runner_that_lives_is_waited_for(open_house, home):
    parts, client, _ = open_house
    await send(client, "slow")
    async with Database(home.database) as db, db.write() as uow:
        await uow.execute(answer_table.update().where(answer_table.c.client_id == client.client_id).values(answer=None))
    again = await send(client, "slow")
    assert (again.status_code, again.json()["code"]) == (409, "idempotency.running")
    assert again.headers["retry-after"]
    assert parts


async def test_what_is_kept_cannot_be_read_from_the_database(open_house):
    parts, client, _ = open_house
    answer = await send(client, "sealed", kind="Giấy chứng tử")
    row = await row_of(parts, client)
    assert answer.json()["id"].encode() not in row.answer
    assert b"sealed" not in row.key_sha256
    assert row.expires_at - parts.service.clock.now() > dt.timedelta(days=LIMITS["idempotency.days"] - 1)


async def test_one_clients_key_is_not_anothers(open_house, home):
    _, client, _ = open_house
    mine = (await send(client, "shared")).json()["id"]
    _, key = await house.add_client(home, "H1")
    body = json.dumps(paper(await officer_of(client)))
    other = await client.post(
        "/api/v1/copies", data={"request": body}, files=[("file", ("a.jpg", town.scan("SAME"), "image/jpeg"))],
        headers={"idempotency-key": "shared", "authorization": f"Bearer {key}"},
    )  # fmt: skip
    assert other.json()["id"] != mine


async def test_a_refusal_is_answered_alike_too(open_house):
    _, client, _ = open_house
    first, second = [await send(client, "bad", agency="H404") for _ in range(2)]
    assert first.status_code == second.status_code == 404
    assert second.headers["idempotency-replayed"] == "true"
    assert first.json()["code"] == second.json()["code"] == "directory.no_such_agency"


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused(open_house, key):
    _, client, _ = open_house
    answer = await send(client, key)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency.bad_key")


async def test_nobody_keeps_answers_without_credentials(open_house):
    parts, client, _ = open_house
    answer = await client.post(
        "/api/v1/copies", json={}, headers={"idempotency-key": "k2", "authorization": "Bearer no"}
    )
    assert answer.status_code == 401
    async with parts.service.db.read() as uow:
        assert (
            await uow.execute(sa.select(answer_table).where(answer_table.c.client_id == client.client_id))
        ).all() == []


async def test_a_failure_after_the_work_does_not_make_it_twice(open_house, monkeypatch):
    from api.portal import copies
    from core.errors import Unavailable

    parts, client, _ = open_house
    real, failures = copies.copy_view, [1]

    async def failing(*args):
        if failures:
            failures.pop()
            raise Unavailable("database.unavailable")
        return await real(*args)

    monkeypatch.setattr(copies, "copy_view", failing)
    first = await send(client, "fails", text="FAILS")
    assert first.status_code == 503
    row = await row_of(parts, client)
    second = await send(client, "fails", text="FAILS")
    assert second.status_code == 202
    assert second.json()["id"] == row.subject


async def test_a_token_that_may_not_ask_is_not_answered_from_memory(open_house, home):
    from api.clients.model import Scope

    _, client, _ = open_house
    await send(client, "mine")
    from core.db import Database as Db

    async with Db(home.database) as db, db.write() as uow:
        from api.clients.store import client_table

        await uow.execute(
            client_table.update().where(client_table.c.id == client.client_id).values(scopes=[Scope.VERIFY.value])
        )
    body = json.dumps(paper("0" * 26))
    again = await client.post(
        "/api/v1/copies", data={"request": body}, files=[("file", ("a.jpg", town.scan("SAME"), "image/jpeg"))],
        headers={"idempotency-key": "mine"},
    )  # fmt: skip
    assert (again.status_code, again.json()["code"]) == (403, "web.no_scope")
