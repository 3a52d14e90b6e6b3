"""The register on both databases."""

import asyncio

import pytest
import sqlalchemy as sa

from core.directory.records import Directory
from core.errors import Conflict, Refused
from core.values import Realm
from signer.copies.register import Register, entry_table

KIND = "SCTĐT/BS"


@pytest.fixture
async def desk(db, clock):
    register = Register(clock)
    async with db.write() as uow:
        agency = await Directory(clock).add_agency(
            uow, realm=Realm.TRAINING, code="H55.1", name="UBND xã", parent="UBND tỉnh"
        )
        book = await register.open_book(uow, agency, KIND, 2026)
    return register, agency, book


async def reserve(db, register, agency):
    async with db.write() as uow:
        return await register.reserve(uow, agency, KIND, {"copies": 2, "fee": 2000})


async def test_numbers_are_gap_free_under_concurrency_and_rollback(db, desk):
    register, agency, book = desk

    async def sometimes_fails(n):
        async with db.write() as uow:
            await register.reserve(uow, agency, KIND, {})
            if n % 3 == 0:
                raise RuntimeError

    await asyncio.gather(*(sometimes_fails(n) for n in range(24)), return_exceptions=True)
    async with db.read() as uow:
        assert [e.number for e in await register.entries(uow, book.id)] == list(range(1, 17))


async def test_the_count_crosses_the_books_of_a_year_and_begins_again_with_the_next(db, clock, desk):
    register, agency, book = desk
    first = await reserve(db, register, agency)
    async with db.write() as uow:
        await register.issue(uow, first.id)
        await register.close_book(uow, book.id)
        second_book = await register.open_book(uow, agency, KIND, 2026)
    assert second_book.volume == 2
    assert (await reserve(db, register, agency)).number == 2
    clock.move(days=40)
    with pytest.raises(Refused, match=r"register\.no_open_book"):
        await reserve(db, register, agency)
    async with db.write() as uow:
        await register.open_book(uow, agency, KIND, 2027)
    assert (await reserve(db, register, agency)).number == 1


async def test_a_number_is_settled_once_and_a_void_needs_a_reason(db, desk):
    register, agency, _ = desk
    entry = await reserve(db, register, agency)
    async with db.write() as uow:
        with pytest.raises(Refused, match=r"register\.no_reason"):
            await register.void(uow, entry.id, " ")
        await register.void(uow, entry.id, "scan sai trang")
        with pytest.raises(Conflict, match=r"register\.settled"):
            await register.issue(uow, entry.id)
        assert (await register.entry(uow, entry.id)).reason == "scan sai trang"
    assert (await reserve(db, register, agency)).number == 2


async def test_no_line_can_be_deleted_or_renumbered(db, desk):
    register, agency, _ = desk
    await reserve(db, register, agency)
    for statement in (entry_table.delete(), entry_table.update().values(number=9)):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            async with db.write() as uow:
                await uow.execute(statement)


async def test_a_book_closes_only_when_nothing_is_reserved_and_says_its_totals(db, desk):
    register, agency, book = desk
    one, two = await reserve(db, register, agency), await reserve(db, register, agency)
    async with db.write() as uow:
        with pytest.raises(Refused, match=r"register\.still_reserved"):
            await register.close_book(uow, book.id)
        await register.issue(uow, one.id)
        await register.void(uow, two.id, "trùng")
        closed = await register.close_book(uow, book.id)
        with pytest.raises(Conflict, match=r"register\.book_closed"):
            await register.close_book(uow, book.id)
    totals = dict(closed.totals)
    assert len(bytes.fromhex(totals.pop("lines_sha256"))) == 32
    assert totals == {"entries": 2, "issued": 1, "voided": 1, "copies": 2, "fee": 2000, "first": 1, "last": 2}


async def test_a_second_book_needs_the_first_closed(db, desk):
    register, agency, _ = desk
    async with db.write() as uow:
        with pytest.raises(Conflict, match=r"register\.book_open"):
            await register.open_book(uow, agency, KIND, 2026)
