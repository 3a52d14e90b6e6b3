"""The auditor's user: it reads what the reconciliation needs, adds what was found, and may do nothing else."""

import subprocess
import sys

import pytest
import sqlalchemy as sa

from api.roles import AUDITOR_READS, AUDITOR_WRITES, hidden_from_auditor
from core.clock import SystemClock
from core.db import Database, metadata
from core.errors import Broken
from core.ids import new_id
from tests.flows import town
from tests.rights import auditors_url

CLOCK = SystemClock()
RUN = {
    "device": "d", "before": None, "state": "whole", "began_at": CLOCK.now(), "ended_at": CLOCK.now(), "since": CLOCK.now(),
    "until": CLOCK.now(), "counts": {}, "carry": {},
}  # fmt: skip


@pytest.fixture
async def auditor(laid_url):
    if laid_url.startswith("sqlite"):
        async with Database(laid_url, AUDITOR_WRITES, hidden_from_auditor()) as db:
            yield db
    else:
        async with Database(await auditors_url(laid_url)) as db:
            yield db


def test_what_is_named_exists():
    assert set(metadata.tables) >= AUDITOR_READS | AUDITOR_WRITES
    assert "person_number" in hidden_from_auditor()


async def test_it_reads_what_is_named_and_nothing_else(auditor):
    for table in metadata.sorted_tables:
        if table.name in AUDITOR_READS | AUDITOR_WRITES:
            async with auditor.read() as uow:
                await uow.execute(sa.select(table))
        else:
            with pytest.raises(Broken, match=r"database\.not_allowed"):
                async with auditor.read() as uow:
                    await uow.execute(sa.select(table))


async def test_it_writes_nothing_but_what_was_found(auditor):
    for table in metadata.sorted_tables:
        first = next(iter(table.columns)).name
        attempts = [
            sa.delete(table),
            sa.update(table).values({first: None}),
            sa.insert(table).values(dict.fromkeys(table.columns.keys())),
        ]
        for statement in attempts:
            if table.name in AUDITOR_WRITES and (auditor.is_sqlite or statement is attempts[-1]):
                continue
            with pytest.raises(Broken, match=r"database\.not_allowed"):
                async with auditor.write() as uow:
                    await uow.execute(statement)


async def test_what_was_found_is_added_and_stands(auditor):
    run = metadata.tables["key_audit_run"]
    number = new_id(CLOCK)
    async with auditor.write() as uow:
        await uow.execute(run.insert(), {"id": number, **RUN})
    for statement in (sa.delete(run), sa.update(run).values(device="other")):
        with pytest.raises((Broken, sa.exc.DBAPIError)):  # the user may not; and a trigger, where there are no users
            async with auditor.write() as uow:
                await uow.execute(statement)
    async with auditor.read() as uow:
        assert (await uow.execute(sa.select(run.c.device))).scalar_one() == "d"


def test_the_command_prints_these_rights(tmp_path):
    told = subprocess.run(
        [sys.executable, "-P", "-m", "api.cli", "grants", "dauso_auditor", "--auditor"], capture_output=True, text=True,
        cwd="/", env=town.environment() | {"DAUSO_HOME": str(tmp_path)}, check=True,
    ).stdout.replace("\n", " ")  # fmt: skip
    assert "GRANT INSERT ON key_audit_finding, key_audit_place, key_audit_run TO" in told
    assert "person_number" not in told
    assert "REVOKE ALL ON ALL SEQUENCES" in told
