"""The connection on the loop: waiting writers, cancelled writers, many at once."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from core import sqlite
from core.db import Database
from core.errors import Unavailable

metadata = sa.MetaData()
thing = sa.Table("thing", metadata, sa.Column("id", sa.Integer, primary_key=True))


@pytest.fixture
async def two(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"
    async with Database(url) as one, Database(url) as other:
        async with one.write() as uow:
            await uow.run_sync(metadata.create_all)
        yield one, other


async def test_a_writer_waits_for_another_process_without_holding_up_the_loop(two):
    one, other = two
    beats = 0

    async def beat():
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.005)

    async def late():
        async with other.write() as uow:
            await uow.execute(thing.insert(), {"id": 2})

    heart = asyncio.create_task(beat())
    async with one.write() as uow:
        await uow.execute(thing.insert(), {"id": 1})
        waiting = asyncio.create_task(late())
        await asyncio.sleep(0.2)
        assert not waiting.done()
    await waiting
    heart.cancel()
    assert beats > 20
    async with one.read() as uow:
        assert (await uow.execute(sa.select(sa.func.count()).select_from(thing))).scalar_one() == 2


async def test_a_writer_that_waits_too_long_is_told_that_the_database_is_busy(two, monkeypatch):
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.1)
    one, other = two
    async with one.write():
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"database\.busy"):
            async with other.write():
                pass
        assert time.monotonic() - started < 2


async def test_a_cancelled_writer_leaves_a_connection_that_works(two):
    one, _ = two

    async def write(number, ready):
        async with one.write() as uow:
            await uow.execute(thing.insert(), {"id": number})
            ready.set()
            await asyncio.sleep(0 if number % 2 else 5)

    tasks = []
    for number in range(10, 20):
        ready = asyncio.Event()
        tasks.append(asyncio.create_task(write(number, ready)))
        await ready.wait()
        tasks[-1].cancel() if number % 2 == 0 else await tasks[-1]
    await asyncio.gather(*tasks, return_exceptions=True)
    async with one.write() as uow:
        await uow.execute(thing.insert(), {"id": 99})
    async with one.read() as uow:
        kept = set((await uow.execute(sa.select(thing.c.id))).scalars())
    assert kept == {11, 13, 15, 17, 19, 99}


async def test_many_writers_of_one_process_all_get_their_turn(two):
    one, other = two

    async def write(database, number):
        async with database.write() as uow:
            await uow.execute(thing.insert(), {"id": number})

    await asyncio.gather(*(write(two[n % 2], 100 + n) for n in range(60)))
    async with other.read() as uow:
        assert (await uow.execute(sa.select(sa.func.count()).select_from(thing))).scalar_one() == 60


async def test_a_commit_is_brought_to_its_end_however_often_it_is_cancelled():
    ended = []

    def work():
        time.sleep(0.2)
        ended.append(True)

    task = asyncio.create_task(sqlite._to_the_end(asyncio.to_thread(work)))
    for _ in range(3):
        await asyncio.sleep(0.02)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_what_the_disk_said_is_not_lost_in_a_cancellation():
    def work():
        time.sleep(0.1)
        raise OSError("full")

    task = asyncio.create_task(sqlite._to_the_end(asyncio.to_thread(work)))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(OSError, match="full"):
        await task


async def test_a_commit_that_could_not_be_made_leaves_no_transaction_to_the_next(tmp_path, monkeypatch):
    """No thread may be had: the machine has no more, or the process ends."""
    async with Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}") as db:
        async with db.write() as uow:
            await uow.exec_driver_sql("CREATE TABLE t (a)")

        def gone(*_args):
            raise RuntimeError("cannot schedule new futures after shutdown")

        with monkeypatch.context() as patched:
            patched.setattr(sqlite, "_in_a_thread", gone)
            with pytest.raises(RuntimeError):
                async with db.write() as uow:
                    await uow.exec_driver_sql("INSERT INTO t VALUES (1)")
        async with db.write() as uow:
            await uow.exec_driver_sql("INSERT INTO t VALUES (2)")
        async with db.read() as uow:
            assert (await uow.exec_driver_sql("SELECT a FROM t")).scalars().all() == [2]


async def test_writing_does_not_depend_on_the_loops_own_threads(two):
    """Libraries make theirs the loop's default and end them when they like (DBOS does, while a signer writes its last)."""
    ended = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(ended)
    ended.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        await asyncio.to_thread(time.monotonic)
    for number, database in enumerate(two, 200):
        async with database.write() as uow:
            await uow.execute(thing.insert(), {"id": number})
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
    async with two[0].read() as uow:
        assert len((await uow.execute(sa.select(thing))).all()) == 2
