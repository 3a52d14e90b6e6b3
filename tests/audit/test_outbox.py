"""The event outbox: one transaction with the change, and a reader that never misses a late one."""

import asyncio

import pytest
import sqlalchemy as sa

from audit.outbox import EventType, Outbox, event_table
from core.db import Database
from core.errors import Broken
from core.values import Realm

RELEASED, VOIDED = EventType.COPY_RELEASED, EventType.COPY_VOIDED


@pytest.fixture
def outbox(clock):
    return Outbox(clock)


async def tell(outbox, uow, subject, type_=RELEASED, agency="a", **ids):
    await outbox.append(uow, type_, realm=Realm.TRAINING, agency_id=agency, subject=subject, **ids)


async def read(outbox, db, agencies=("a",), types=(), after=0, limit=100):
    async with db.read() as uow:
        return await outbox.page(uow, agencies, types, after, limit)


async def test_an_event_comes_back_as_it_was_told(db, outbox, clock):
    async with db.write() as uow:
        await tell(outbox, uow, "copy-1", VOIDED, successor="c" * 26, nothing=None)
    [event] = await read(outbox, db)
    assert (event.type, event.realm, event.subject, event.at) == (VOIDED, Realm.TRAINING, "copy-1", clock.now())
    assert event.data == {"successor": "c" * 26}
    assert len(event.id) == 26
    assert event.seq == 1


@pytest.mark.parametrize("value", ["Nguyễn Văn A", "nguyen-van-a", "", "A" * 26, "a" * 27])
async def test_what_is_no_id_is_not_told(db, outbox, value):
    with pytest.raises(Broken) as caught:
        async with db.write() as uow:
            await tell(outbox, uow, "copy-1", requester=value)
    assert caught.value.code == "event.no_id"
    assert await read(outbox, db) == []


async def test_a_transaction_that_is_given_up_tells_nothing(db, outbox):
    with pytest.raises(ZeroDivisionError):
        async with db.write() as uow:
            await tell(outbox, uow, "copy-1")
            raise ZeroDivisionError
    assert await read(outbox, db) == []


async def test_a_thing_told_twice_is_one_event(db, outbox):
    for _ in range(2):
        async with db.write() as uow:
            await tell(outbox, uow, "copy-1")
    async with db.write() as uow:
        await tell(outbox, uow, "copy-1", VOIDED)
    assert [(e.subject, e.type) for e in await read(outbox, db)] == [("copy-1", RELEASED), ("copy-1", VOIDED)]


async def test_pages_follow_one_another_and_show_only_what_was_asked_for(db, outbox):
    async with db.write() as uow:
        for number in range(6):
            await tell(outbox, uow, f"c{number}", VOIDED if number == 3 else RELEASED, agency="ab"[number % 2])
    first = await read(outbox, db, ("a", "b"), limit=4)
    rest = await read(outbox, db, ("a", "b"), after=first[-1].seq, limit=4)
    assert [e.subject for e in first + rest] == ["c0", "c1", "c2", "c3", "c4", "c5"]
    assert [e.subject for e in await read(outbox, db)] == ["c0", "c2", "c4"]
    assert [e.subject for e in await read(outbox, db, ("b",), [VOIDED])] == ["c3"]
    assert await read(outbox, db, ()) == []
    async with db.read() as uow:
        assert await outbox.head(uow) == rest[-1].seq


async def test_an_empty_outbox_begins_at_nought(db, outbox):
    async with db.read() as uow:
        assert await outbox.head(uow) == 0


@pytest.mark.parametrize("statement", ["update event set subject = 'x'", "delete from event"])
async def test_what_was_told_stays(db, outbox, statement):
    async with db.write() as uow:
        await tell(outbox, uow, "copy-1")
    with pytest.raises(sa.exc.DBAPIError):
        async with db.write() as uow:
            await uow.execute(sa.text(statement))


async def test_no_event_becomes_visible_behind_a_reader(db, outbox):
    """A transaction that took the lower number and commits later would be skipped by who read the higher one."""
    told, commit = asyncio.Event(), asyncio.Event()

    async def slow():
        async with db.write() as uow:
            await tell(outbox, uow, "slow")
            told.set()
            await commit.wait()

    async def quick():
        await told.wait()
        async with db.write() as uow:
            await tell(outbox, uow, "quick")

    tasks = [asyncio.create_task(slow()), asyncio.create_task(quick())]
    await told.wait()
    await asyncio.sleep(0.2)
    assert await read(outbox, db) == []  # quick waits: its number would be the higher one
    commit.set()
    await asyncio.gather(*tasks)
    assert [e.subject for e in await read(outbox, db)] == ["slow", "quick"]


async def test_many_writers_and_a_reader_who_keeps_one_number(postgres_url, outbox):
    async with Database(postgres_url) as db:
        await db.create_all()
        seen = []

        async def write(who):
            for number in range(25):
                async with db.write() as uow:
                    await uow.execute(sa.select(sa.func.pg_sleep(0.001 * (who % 3))))
                    await tell(outbox, uow, f"{who}.{number}")

        async def follow():
            after = 0
            while len(seen) < 200:
                for event in await read(outbox, db, after=after):
                    seen.append(event.subject)
                    after = event.seq

        async with asyncio.timeout(60):
            await asyncio.gather(follow(), *(write(who) for who in range(8)))
        async with db.read() as uow:
            order = (await uow.execute(sa.select(event_table.c.subject).order_by(event_table.c.seq))).scalars().all()
    assert seen == order
    assert len(set(seen)) == 200
