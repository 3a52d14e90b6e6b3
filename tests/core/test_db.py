"""The unit of work on both databases."""

import asyncio

import pytest
import sqlalchemy as sa

from core.db import Database, UtcDateTime, append_only, triggers

_meta = sa.MetaData()
things = sa.Table(
    "things", _meta, sa.Column("id", sa.Integer, primary_key=True), sa.Column("note", sa.Text), sa.Column("idx", sa.Integer),
    sa.Column("at", UtcDateTime),
)  # fmt: skip
append_only(things, may_change=("idx",), from_null=True)


@pytest.fixture
async def db(database_url):
    async with Database(database_url) as database:
        async with database.write() as uow:
            await uow.run_sync(_meta.create_all)
        yield database


async def test_a_time_comes_back_aware_and_equal(db, clock):
    async with db.write() as uow:
        await uow.execute(things.insert().values(id=1, at=clock.now()))
    async with db.read() as uow:
        assert (await uow.execute(sa.select(things.c.at))).scalar_one() == clock.now()


async def test_append_only_tables_refuse_delete_and_change_but_take_an_index_once(db):
    async with db.write() as uow:
        await uow.execute(things.insert().values(id=1, note="a"))
        await uow.execute(things.update().values(idx=7))
    for statement in (things.delete(), things.update().values(note="b"), things.update().values(idx=8)):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            async with db.write() as uow:
                await uow.execute(statement)


async def test_an_error_rolls_everything_back(db):
    with pytest.raises(RuntimeError):
        async with db.write() as uow:
            await uow.execute(things.insert().values(id=1))
            raise RuntimeError
    async with db.read() as uow:
        assert (await uow.execute(sa.select(sa.func.count()).select_from(things))).scalar_one() == 0


async def test_exactly_one_of_ten_concurrent_spenders_succeeds(db):
    async with db.write() as uow:
        await uow.execute(things.insert().values(id=1))

    async def spend(n):
        async with db.write() as uow:
            done = await uow.execute(things.update().where(things.c.idx.is_(None)).values(idx=n))
            return done.rowcount

    assert sum(await asyncio.gather(*(spend(n) for n in range(10)))) == 1


def test_triggers_exist_for_both_databases():
    assert len(triggers(things, "sqlite")) == 2
    assert len(triggers(things, "postgresql")) == 3
