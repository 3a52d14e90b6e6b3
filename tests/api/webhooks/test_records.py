"""Endpoints and their secrets."""

import datetime as dt

import pytest
import sqlalchemy as sa

from api.webhooks.model import Scheme
from api.webhooks.records import Endpoints, attempt_table, delivery_table, endpoint_table, secret_table
from core.errors import Broken, NotFound, Refused
from core.limits import LIMITS
from core.sealed import Box


async def secrets(post, endpoint, endpoints=None):
    async with post.db.read() as uow:
        return await (endpoints or post.endpoints).secrets(uow, endpoint.id)


async def rotate(post, endpoint, **overlap):
    async with post.db.write() as uow:
        return await post.endpoints.rotate(uow, endpoint, dt.timedelta(**overlap))


async def test_a_secret_lies_sealed_and_opens_for_its_own_endpoint_only(post):
    endpoint, shown = await post.endpoint()
    other, _ = await post.endpoint()
    assert await secrets(post, endpoint) == [shown]
    async with post.db.write() as uow:
        sealed = (await uow.execute(sa.select(secret_table.c.sealed))).scalars().all()
        assert not any(b"whsec_" in bytes(value) for value in sealed)
        moved = secret_table.update().where(secret_table.c.endpoint_id == endpoint.id).values(endpoint_id=other.id)
        await uow.execute(moved)
    with pytest.raises(Broken) as caught:
        await secrets(post, other)
    assert caught.value.code == "store.sealed_unreadable"


async def test_another_key_opens_nothing(post, clock):
    endpoint, _ = await post.endpoint()
    with pytest.raises(Broken):
        await secrets(post, endpoint, Endpoints(clock, Box(b"x" * 32, "webhooks")))


@pytest.mark.parametrize("scheme", Scheme)
async def test_a_replaced_secret_signs_beside_the_new_one_for_its_time(post, clock, scheme):
    endpoint, _ = await post.endpoint(scheme=scheme)
    [old] = await secrets(post, endpoint)
    await rotate(post, endpoint, hours=24)
    new, kept = await secrets(post, endpoint)
    assert kept == old != new
    clock.move(hours=24)
    assert await secrets(post, endpoint) == [new]


async def test_a_secret_that_got_out_can_be_cut_off_at_once(post):
    endpoint, old = await post.endpoint()
    new = await rotate(post, endpoint, hours=0)
    assert await secrets(post, endpoint) == [new] != [old]


async def test_at_most_two_secrets_sign(post):
    endpoint, _ = await post.endpoint()
    shown = [await rotate(post, endpoint, hours=24) for _ in range(4)]
    assert await secrets(post, endpoint) == [shown[3], shown[2]]


async def test_a_client_has_so_many_endpoints_and_sees_no_others(post):
    for _ in range(LIMITS["webhooks.per_client"]):
        endpoint, _ = await post.endpoint()
    with pytest.raises(Refused) as caught:
        await post.endpoint()
    assert caught.value.code == "webhook.too_many"
    async with post.db.read() as uow:
        assert len(await post.endpoints.of_client(uow, post.client.id)) == LIMITS["webhooks.per_client"]
        assert await post.endpoints.of_client(uow, "c" * 26) == []
        with pytest.raises(NotFound):
            await post.endpoints.get(uow, "c" * 26, endpoint.id)


async def test_with_an_endpoint_everything_of_it_goes(post):
    endpoint, _ = await post.endpoint()
    delivery = await post.one(endpoint)
    await post.attempt(delivery)
    async with post.db.write() as uow:
        await post.endpoints.remove(uow, endpoint.id)
    async with post.db.read() as uow:
        for table in (endpoint_table, secret_table, delivery_table, attempt_table):
            assert (await uow.execute(sa.select(sa.func.count()).select_from(table))).scalar_one() == 0
    assert await post.attempt(delivery) is None  # its job finds nothing and ends
