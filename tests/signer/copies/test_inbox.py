"""Requests are taken by one, held while it lives, taken again when it dies, and settled once."""

import asyncio

import pytest

from core.directory.records import Directory
from core.errors import Conflict, NotFound
from core.ids import new_id
from core.limits import LIMITS
from core.values import Realm
from signer.copies.inbox import Inbox, PortalRequest


@pytest.fixture
async def inbox(db, clock):
    async with db.write() as uow:
        agency = await Directory(clock).add_agency(uow, realm=Realm.TRAINING, code="H1", name="UBND", parent="tỉnh")
    box = Inbox(clock)
    box.agency = agency.id
    return box


async def leave(db, inbox, clock, count=1, **change):
    made = []
    for position in range(count):
        clock.move(milliseconds=2)
        request = {"kind": "Giấy", "regime": "so_hoa", "certifier_id": None, "clerk_id": "c"}
        made.append(
            PortalRequest(
                id=new_id(clock),
                realm=Realm.TRAINING,
                agency_id=inbox.agency,
                client_id="k",
                request=request,
                files=("f",),
                created_at=clock.now(),
                **({"position": position} | change),
            )
        )
    async with db.write() as uow:
        await inbox.put(uow, made)
    return [each.id for each in made]


async def take(db, inbox, most=10):
    async with db.write() as uow:
        return [each.id for each in await inbox.take(uow, most)]


async def test_each_request_goes_to_one_taker_oldest_first(db, inbox, clock):
    ids = await leave(db, inbox, clock, 6)
    taken = await asyncio.gather(*(take(db, inbox, 2) for _ in range(4)))
    assert sorted(i for each in taken for i in each) == ids
    assert await take(db, inbox) == []


async def test_leaving_the_same_request_twice_leaves_one(db, inbox, clock):
    (first,) = await leave(db, inbox, clock)
    async with db.write() as uow:
        await inbox.put(uow, [await inbox.get(uow, first)])
    assert await take(db, inbox) == [first]


async def test_a_dead_takers_request_is_taken_again_a_living_ones_is_not(db, inbox, clock):
    dead, living = await leave(db, inbox, clock, 2)
    await take(db, inbox)
    clock.move(seconds=LIMITS["inbox.lease_seconds"] - 1)
    async with db.write() as uow:
        await inbox.renew(uow, [living])
    clock.move(seconds=2)
    assert await take(db, inbox) == [dead]


async def test_what_is_settled_stays_settled(db, inbox, clock):
    one, two, three = await leave(db, inbox, clock, 3)
    await take(db, inbox)
    async with db.write() as uow:
        await inbox.accepted(uow, one)
        assert await inbox.refused(uow, two, "intake.unreadable", {})
        await inbox.put_back(uow, await inbox.get(uow, three))
    assert await take(db, inbox) == []  # later, so that others come first
    clock.move(days=1)
    assert await take(db, inbox) == [three]
    async with db.write() as uow:
        assert not await inbox.refused(uow, one, "x", {})
        with pytest.raises(Conflict, match=r"copy\.request_settled"):
            await inbox.accepted(uow, one)
        assert (await inbox.get(uow, one)).state == "accepted"
        assert (await inbox.get(uow, two)).code == "intake.unreadable"
        assert await inbox.open_count(uow) == 1
        with pytest.raises(NotFound, match=r"copy\.no_such_copy"):
            await inbox.get(uow, "nothing")


async def test_items_of_a_batch_are_taken_by_their_chunk_only(db, inbox, clock):
    ids = await leave(db, inbox, clock, 5, batch_id="b")
    assert await take(db, inbox) == []
    async with db.write() as uow:
        assert await inbox.open_places(uow) == [("b", n) for n in range(5)]
        assert [r.id for r in await inbox.take_chunk(uow, "b", 0, 3)] == ids[:3]
        assert [r.id for r in await inbox.take_chunk(uow, "b", 0, 3)] == []
        assert await inbox.has_open(uow, "b")
        await inbox.take_chunk(uow, "b", 3, 2)
        for each in ids:
            await inbox.accepted(uow, each)
        assert not await inbox.has_open(uow, "b")


async def test_who_lost_its_lease_settles_nothing(db, inbox, clock):
    (one,) = await leave(db, inbox, clock)
    slow, quick = inbox, Inbox(clock)
    await take(db, slow)
    clock.move(seconds=LIMITS["inbox.lease_seconds"] + 1)
    await take(db, quick)
    async with db.write() as uow:
        await slow.renew(uow, [one])
        assert not await slow.refused(uow, one, "x", {})
        with pytest.raises(Conflict):
            await slow.accepted(uow, one)
        await quick.accepted(uow, one)


async def test_a_paper_put_back_again_and_again_waits_longer_each_time(db, inbox, clock):
    (one,) = await leave(db, inbox, clock)
    waits = []
    for _ in range(4):
        while not await take(db, inbox):
            clock.move(seconds=1)
        async with db.write() as uow:
            request = await inbox.get(uow, one)
            await inbox.put_back(uow, request)
            waits.append(((await inbox.get(uow, one)).taken_until - clock.now()).total_seconds())
    assert waits == [2, 4, 8, 16]
