"""deploy/postgres/ and what `dauso grants` and the chart's Job print, on a real server: who may do what."""

import asyncio
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.db import Database
from tests.conftest import _postgres_bin
from tests.deploy.kit import DEPLOY, pods, rendered
from tests.flows.own_postgres import OwnPostgres
from tests.tables import EVERY

pytestmark = pytest.mark.live


class Server:
    """As PostgreSQL's image leaves it after its first start, with the tables that ``dauso init`` makes."""

    def __init__(self, folder: Path, url: str) -> None:
        found = shutil.which("psql") or str(_postgres_bin() / "psql")
        self.env = {
            "PATH": f"{Path(found).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}", "PGHOST": url.partition("host=")[2],
            "POSTGRES_USER": "dauso", "POSTGRES_DB": "dauso", "HOME": str(folder),
        }  # fmt: skip

    def psql(self, text: str, user: str = "dauso", database: str = "dauso") -> str:
        """What it says; raises where a statement fails."""
        return self.run("psql", "-v", "ON_ERROR_STOP=1", "-qtA", "-U", user, "-d", database, typed=text).strip()

    def run(self, *command: str | Path, typed: str = "") -> str:
        done = subprocess.run(command, env=self.env, cwd="/", input=typed, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def may(self, user: str, what: str, table: str) -> bool:
        return self.psql(f"SELECT has_table_privilege('{user}', '{table}', '{what}')") == "t"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The files of ``docker-entrypoint-initdb.d``, in the order of their names, as the image runs them."""
    folder = tmp_path_factory.mktemp("roles")
    for role in ("web", "worker", "auditor"):
        (folder / f"database-{role}").write_text(f"password-of-{role}")
    with OwnPostgres() as own:
        made = Server(folder, own.url("dauso"))
        made.psql("CREATE ROLE dauso SUPERUSER LOGIN", "postgres", "postgres")
        for each in sorted((DEPLOY / "postgres").iterdir()):
            if each.suffix == ".sql":
                made.psql(each.read_text())
            else:
                assert os.access(each, os.X_OK)
                made.run("/bin/sh", "-c", each.read_text().replace("/run/secrets", str(folder)))
        yield made


@pytest.fixture(scope="module")
def tables(server):
    """The same, when ``dauso init`` has been there."""

    async def lay() -> None:
        async with Database(f"postgresql+psycopg://dauso@/dauso?host={server.env['PGHOST']}") as db:
            assert EVERY.tables
            await db.create_all()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, lay()).result()
    server.psql("CREATE TABLE alembic_version (version_num text); CREATE TABLE dbos.work (id serial)")
    return server


def test_each_role_has_a_user_with_a_password_who_may_nothing_yet(server):
    found = server.psql(
        "SELECT rolname FROM pg_authid WHERE rolcanlogin AND NOT rolsuper AND NOT rolcreaterole AND rolpassword LIKE 'SCRAM-SHA-256$%' "
        "ORDER BY 1"
    )  # fmt: skip
    assert found.split() == ["dauso_auditor", "dauso_web", "dauso_worker"]


def test_the_worker_alone_keeps_unfinished_work_and_tables_of_later_releases_too(tables):
    for what in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        assert tables.may("dauso_worker", what, "dbos.work"), what
        assert not tables.may("dauso_web", what, "dbos.work")
        assert not tables.may("dauso_auditor", what, "dbos.work")
    assert tables.psql("SELECT has_sequence_privilege('dauso_worker', 'dbos.work_id_seq', 'USAGE')") == "t"


def test_what_the_charts_job_prints_is_what_web_and_worker_need(tables):
    """`kubectl logs job/… -c rights | psql`: the container's own command, and psql."""
    job = pods(rendered("init.run=true"))["init"]["spec"]
    rights = next(each for each in job["containers"] if each["name"] == "rights")
    assert [each["name"] for each in job["initContainers"]] == ["init"], "printed when the tables are there"
    assert "env" not in rights, "it reaches nothing and knows no secret"
    assert "volumeMounts" not in rights
    tables.psql(tables.run(*rights["command"], *rights["args"]))
    for user in ("dauso_web", "dauso_worker"):
        assert tables.may(user, "SELECT", "agency")
        assert tables.may(user, "INSERT", "upload")
        assert not tables.may(user, "INSERT", "activation")
        assert not tables.may(user, "SELECT", "person_number")
        assert tables.psql("SELECT count(*) FROM alembic_version", user) == "0"


def test_the_auditor_adds_what_it_found_and_changes_nothing(tables):
    """As docs/operate/deployment.md has it: ``grants dauso_auditor --auditor`` into psql."""
    tables.psql(tables.run("dauso", "grants", "dauso_auditor", "--auditor"))
    assert tables.may("dauso_auditor", "INSERT", "key_audit_run")
    assert tables.may("dauso_auditor", "SELECT", "signing_order")
    more = "SELECT table_name FROM information_schema.role_table_grants WHERE grantee = 'dauso_auditor'"
    assert tables.psql(f"{more} AND privilege_type NOT IN ('SELECT', 'INSERT')") == ""
    assert not tables.may("dauso_auditor", "INSERT", "activation")
    assert not tables.may("dauso_auditor", "SELECT", "person_number")
