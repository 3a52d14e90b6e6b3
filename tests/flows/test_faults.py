"""Full disks and databases that go away: a clear code, nothing half-done, and the same copy goes on afterwards."""

import asyncio
import resource
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa

from api import bootstrap
from api.certifying import certify_file
from api.roles import ProcessRole
from core.errors import ServiceError, Unavailable
from core.objects import Documents
from signer.copies import store
from tests.flows import town


@contextmanager
def no_file_longer_than(size: int):
    """What a full disk looks like to a writer; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Room:
    """How many pages a SQLite file may have. SQLite keeps that per connection, so each of the pool is told when it is taken."""

    def __init__(self, db) -> None:
        self.pages = 1_000_000
        sa.event.listen(db._writer.sync_engine, "checkout", self._tell)

    def _tell(self, connection, *_) -> None:
        connection.driver_connection._connection.execute(f"PRAGMA max_page_count = {self.pages}")


async def test_a_full_disk_refuses_a_document_and_leaves_no_part_of_it(tmp_path):
    documents = Documents.open("", tmp_path)
    with no_file_longer_than(1_000), pytest.raises(Unavailable, match=r"store\.full"):
        await documents.put(b"x" * 50_000)
    assert [f for f in (tmp_path / "objects").rglob("*") if f.is_file()] == []
    assert await documents.get(await documents.put(b"x" * 50_000)) == b"x" * 50_000


async def test_a_full_database_stops_a_copy_and_the_same_copy_goes_on_when_there_is_room(tmp_path):
    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        room = Room(service.db)
        async with service.db.read() as uow:
            room.pages = (await uow.execute(sa.text("PRAGMA page_count"))).scalar_one() + 3
        codes = []
        for n in range(4):
            try:
                await certify_file(service, [town.scan(str(n))], f"{n}", town.request(), tmp_path)
            except ServiceError as error:
                codes.append(error.code)
        assert codes
        assert set(codes) == {"store.full"}
        room.pages = 1_000_000
        async with service.db.read() as uow:
            left = await store.unfinished(uow)
        for copy_id in left:
            await service.jobs.run("copy", copy_id)
        async with service.db.read() as uow:
            copies = await store.all_copies(uow)
            (book,) = await service.register.books(uow)
            numbers = [entry.number for entry in await service.register.entries(uow, book.id)]
    assert {c.state for c in copies} == {"released"}
    assert numbers == list(range(1, len(copies) + 1))


async def test_connections_that_die_on_the_way_cost_nothing(tmp_path, postgres_url):
    settings = await town.build(tmp_path / "home", postgres_url)
    plain = postgres_url.replace("+psycopg", "")

    def cut(step: str) -> None:
        if step in {"compose", "certifier.spend", "seal.embed", "evidence"}:
            with psycopg.connect(plain, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                )

    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        done = await certify_file(service, [town.scan()], "x", town.request(), tmp_path, cut)
        async with service.db.read() as uow:
            copies = await store.all_copies(uow)
    assert [c.id for c in copies] == [done["id"]]


async def test_a_database_that_is_not_there_is_said_in_one_sentence(tmp_path):
    settings = await town.build(tmp_path / "home")
    gone = town.settings(tmp_path / "home", "postgresql+psycopg://dauso@127.0.0.1:1/dauso")
    assert settings.home == gone.home
    process = await asyncio.create_subprocess_exec(
        "dauso", "--home", str(gone.home), "copy", "list", stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**town.environment(), "DAUSO_DATABASE_URL": gone.database_url},
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 1
    assert out == b""
    assert "database.unavailable" in err.decode()
    assert "Traceback" not in err.decode()
