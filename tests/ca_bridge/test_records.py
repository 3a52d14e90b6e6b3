"""The table of issued certificates on both databases."""

import asyncio
import datetime as dt

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ca_bridge.records import certificate_table, next_crl_number, revoke, revoked
from core.errors import Conflict, NotFound

AT = dt.datetime(2026, 11, 25, 3, 0, tzinfo=dt.UTC)


async def insert(db, serial, status="good", issuer="CN=A", **more):
    async with db.write() as uow:
        await uow.execute(
            certificate_table.insert().values(
                serial=f"{serial:040x}", realm="training", issuer=issuer, profile="official", status=status,
                ordered_at=AT, **more,
            )
        )  # fmt: skip


async def test_a_good_certificate_is_revoked_with_time_and_reason(db):
    await insert(db, 5)
    async with db.write() as uow:
        await revoke(uow, 5, 4, AT)
    async with db.read() as uow:
        assert await revoked(uow, "CN=A") == [(5, AT, 4)]


async def test_revoking_twice_keeps_the_first_time_and_reason(db):
    await insert(db, 5)
    async with db.write() as uow:
        await revoke(uow, 5, 1, AT)
    async with db.write() as uow:
        await revoke(uow, 5, 4, AT + dt.timedelta(days=1))
    async with db.read() as uow:
        assert await revoked(uow, "CN=A") == [(5, AT, 1)]


async def test_an_unknown_serial_cannot_be_revoked_and_nothing_else_is(db):
    await insert(db, 5)
    with pytest.raises(NotFound, match=r"ca\.no_such_certificate"):
        async with db.write() as uow:
            await revoke(uow, 6, 4, AT)
    async with db.read() as uow:
        assert await revoked(uow, "CN=A") == []


async def test_an_order_that_was_never_issued_cannot_be_revoked(db):
    await insert(db, 5, "ordered")
    with pytest.raises(Conflict, match=r"ca\.not_issued"):
        async with db.write() as uow:
            await revoke(uow, 5, 4, AT)
    async with db.read() as uow:
        assert await uow.scalar(sa.select(certificate_table.c.status)) == "ordered"


async def test_the_list_is_one_issuers_only_in_order_of_serials_up_to_twenty_octets(db):
    big = 0x40 << 152
    for serial, issuer in ((big, "CN=A"), (7, "CN=A"), (255, "CN=A"), (6, "CN=B"), (8, "CN=A")):
        await insert(db, serial, issuer=issuer)
    async with db.write() as uow:
        for serial in (big, 255, 7, 6):
            await revoke(uow, serial, 4, AT)
    async with db.read() as uow:
        assert [row[0] for row in await revoked(uow, "CN=A")] == [7, 255, big]
        assert [row[0] for row in await revoked(uow, "CN=B")] == [6]


async def test_a_serial_stands_once_whoever_the_issuer_is(db):
    await insert(db, 5)
    with pytest.raises(IntegrityError):
        await insert(db, 5, issuer="CN=B")


async def test_no_status_but_the_three_is_kept(db):
    with pytest.raises(IntegrityError):
        await insert(db, 5, "maybe")


async def test_crl_numbers_only_grow_for_each_issuer_by_itself(db):
    async def step(issuer):
        async with db.write() as uow:
            return await next_crl_number(uow, issuer)

    numbers = await asyncio.gather(*(step("issuing") for _ in range(6)))
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    assert await step("root") == 1
