"""A taken web process: with all that it holds, it reaches no key and writes no signature."""

import json
import subprocess
import sys

import pytest
import sqlalchemy as sa

from api import bootstrap, serving
from api.answering import handlers
from api.roles import WEB_HIDDEN, WEB_WRITES, ProcessRole
from core.db import Database, grants, metadata
from core.errors import Broken, Refused, ServiceError
from core.values import Realm
from tests.api.portal.conftest import paper
from tests.flows import house, town

_PROBE = """
import asyncio, json, sys
from pathlib import Path
from api.confinement import shut_out_of_keys
from core.settings import Settings

settings = Settings()
home = settings.home
confined = shut_out_of_keys(settings)
tried = {}
for name in ("key-file", "keys", "training-passkeys", "jobs.db"):
    path = home / name
    try:
        list(path.iterdir()) if path.is_dir() else path.read_bytes()
        tried[name] = "read"
    except PermissionError:
        tried[name] = "refused"
for name in ("home.json", "web-key", "pki/root.pem"):
    (home / name).read_bytes()

async def open_as_signer():
    from api import bootstrap
    from api.roles import ProcessRole
    async with bootstrap.open_service(settings, ProcessRole.SIGNER):
        return "opened"

try:
    tried["signer role"] = asyncio.run(open_as_signer())
except BaseException as error:
    tried["signer role"] = type(error).__name__
sys.stdout.write(json.dumps({"confined": confined, **tried}))
"""


async def test_a_taken_web_process_reads_no_key_and_cannot_become_the_signer(tmp_path):
    made = await town.build(tmp_path)
    async with serving.open_web(made):
        pass  # makes its own key
    env = town.environment() | {"DAUSO_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-P", "-c", _PROBE], env=env, cwd="/", capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert seen.pop("confined")
    assert seen.pop("signer role") != "opened"
    assert set(seen.values()) == {"refused"}, seen


async def _forbidden(url, db):
    """Every table outside the list refuses a change; the listed ones take none that breaks their own rules."""
    for table in metadata.sorted_tables:
        for statement in (sa.delete(table), sa.update(table).values({next(iter(table.columns)).name: None})):
            if table.name in WEB_WRITES:
                continue
            with pytest.raises(Broken, match=r"database\.not_allowed"):
                async with db.write() as uow:
                    await uow.execute(statement)
        if table.name in WEB_HIDDEN:
            with pytest.raises(Broken, match=r"database\.not_allowed"):
                async with db.read() as uow:
                    await uow.execute(sa.select(table))


async def test_the_webs_connection_writes_its_own_tables_only_on_sqlite(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"
    async with Database(url) as db:
        await db.create_all()
    async with Database(url, WEB_WRITES, WEB_HIDDEN) as db:
        await _forbidden(url, db)
        for trick in ("DROP TABLE activation", "PRAGMA writable_schema=1", f"ATTACH '{tmp_path / 'y.db'}' AS y",
                      "CREATE TABLE activation2 (x)"):  # fmt: skip
            with pytest.raises(Broken, match=r"database\.not_allowed"):
                async with db.write() as uow:
                    await uow.exec_driver_sql(trick)


async def test_the_webs_user_writes_its_own_tables_only_on_postgresql(postgres_url):
    async with Database(postgres_url) as db:
        await db.create_all()
        async with db.write() as uow:
            await uow.exec_driver_sql("CREATE TABLE IF NOT EXISTS alembic_version (version_num text)")
            await uow.exec_driver_sql("CREATE USER web_narrow")
            for statement in grants("web_narrow", WEB_WRITES, WEB_HIDDEN):
                await uow.exec_driver_sql(statement)
    async with Database(postgres_url.replace("postgres@", "web_narrow@")) as db:
        await _forbidden(postgres_url, db)
        async with db.read() as uow:
            wide = await uow.exec_driver_sql("SELECT has_table_privilege(current_user, 'activation', 'INSERT, UPDATE')")
            assert not wide.scalar_one()


async def test_the_web_role_holds_no_signing_part_and_the_inner_door_signs_nothing(tmp_path):
    made = await town.build(tmp_path)
    async with bootstrap.open_service(made, ProcessRole.WEB) as service:
        assert service.signing is None
        for name in ("copies", "enrolment", "books", "publisher", "jobs", "reception", "recalls"):
            with pytest.raises(Broken, match=r"home\.role"):
                getattr(service, name)
    async with house.signer_here(made) as signer:
        asked = set(handlers(signer))
        assert asked == {
            "keys.doctor", "stores", "wake", "rest", "void", "recall", "report", "ocsp", "crl", "timestamp",
            "request.create", "request.cancel", "request.extend", "request.remind", "request.replace", "request.link",
            "request.evidence", "link.copies", "link.step", "copy.send_back", "copy.renew", "decision.propose",
            "link.decision", "finding.look", "enrol.invite", "enrol.link", "enrol.portal", "enrol.standing", "enrol.ticket", "enrol.waiting", "provider.hint",
        }  # fmt: skip
        door = serving.SignerDoor(made.socket)
        for what in ("sign", "seal", "approve", "key", ""):
            with pytest.raises(ServiceError):
                await door.ask(what)
        with pytest.raises(ServiceError, match=r"copy\.no_such_copy"):
            await door.ask("void", copy="nothing", reason="x")
        assert await door.wake()
        await door.close()
    door = serving.SignerDoor(made.socket)
    assert not await door.wake()
    await door.close()


async def test_the_web_works_with_its_narrow_user_and_in_production_with_no_other(tmp_path, postgres_url):
    wide = await town.build(tmp_path, postgres_url, realm=Realm.PRODUCTION)
    _, key = await house.add_client(wide, "H1")
    with pytest.raises(Refused, match=r"home\.web_rights"):
        async with serving.open_web(wide):
            pass
    async with Database(postgres_url) as db, db.write() as uow:
        await uow.exec_driver_sql("CREATE USER web_prod")
        for statement in grants("web_prod", WEB_WRITES, WEB_HIDDEN):
            await uow.exec_driver_sql(statement)
    narrow = town.settings(tmp_path, postgres_url.replace("postgres@", "web_prod@"))
    async with house.signer_here(wide), house.web_here(narrow) as (_, client):
        client.headers["authorization"] = f"Bearer {key}"
        people = (await client.get("/api/v1/agencies/H1/people")).json()["items"]
        made = await client.post(
            "/api/v1/copies?wait=20", data={"request": json.dumps(paper(people[0]["id"]))},
            files=[("file", ("s.jpg", town.scan(), "image/jpeg"))], headers={"idempotency-key": "one"},
        )  # fmt: skip
        assert made.json()["state"] == "awaiting_certifier", made.text
        assert (await client.post(f"/api/v1/copies/{made.json()['id']}/void", json={"reason": "thử"})).json()[
            "state"
        ] == "voided"
        assert (await client.post("/api/v1/webhooks", json={"url": "https://portal.example/x"})).status_code == 201
        assert (await client.get("/api/v1/events")).status_code == 200
        assert (await client.get("/v")).status_code == 200
        assert (await client.post("/v/status", json={"code": "x"})).status_code == 200
