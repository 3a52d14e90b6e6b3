"""The registry: what it knows, when a key may be used, and that what identifies a key never changes."""

import asyncio
import dataclasses
import datetime as dt
import json

import pytest
from sqlalchemy.exc import DBAPIError

from core.db import Database
from core.errors import Broken, NotFound, Refused
from core.values import Realm, SignatureAlgorithm
from signer.credentials import Credentials, credential_table
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose
from signer.keystores.records import event_table, key_table
from signer.keystores.registry import KeyState, Registry, Rule

P256 = SignatureAlgorithm.ECDSA_P256_SHA256


@pytest.fixture
def registry(clock):
    return Registry(clock)


@pytest.fixture
async def ref():
    return await MemoryKeyStore().create("qr-1", KeyPurpose.QR, P256)


async def noted(db, registry, ref, owner="a1"):
    async with db.write() as uow:
        return await registry.note(uow, ref, owner, Realm.TRAINING)


async def test_a_noted_key_is_known_by_id_and_reference(db, registry, ref, clock):
    key_id = await noted(db, registry, ref)
    async with db.read() as uow:
        known = await registry.get(uow, key_id)
        assert known == await registry.find(uow, ref)
    assert (known.ref, known.owner, known.realm, known.state) == (ref, "a1", Realm.TRAINING, KeyState.ACTIVE)
    assert known.created_at == clock.now()
    assert known.rule == Rule.usual(KeyPurpose.QR)
    assert not known.decided


async def test_noting_the_same_key_again_changes_nothing(db, registry, ref):
    assert await noted(db, registry, ref) == await noted(db, registry, ref)


@pytest.mark.parametrize(
    "change", [{"spki": b"other"}, {"purpose": KeyPurpose.LOG}, {"algorithm": SignatureAlgorithm.ED25519}]
)
async def test_a_place_and_name_never_stand_for_another_key(db, registry, ref, change):
    await noted(db, registry, ref)
    with pytest.raises(Broken, match=r"key\.damaged"):
        await noted(db, registry, dataclasses.replace(ref, **change))
    with pytest.raises(Broken, match=r"key\.damaged"):
        await noted(db, registry, ref, owner="a2")


async def test_versions_stores_and_places_are_keys_of_their_own(db, registry, ref):
    others = [dataclasses.replace(ref, **change) for change in ({"version": 2}, {"place": "m2"}, {"store": "transit"})]
    assert len({await noted(db, registry, each) for each in (ref, *others)}) == 4


async def test_who_is_unknown_is_not_found(db, registry, ref):
    async with db.read() as uow:
        for question in (registry.find(uow, ref), registry.require_usable(uow, ref, "a1")):
            with pytest.raises(NotFound, match=r"key\.unregistered"):
                await question
        with pytest.raises(NotFound, match=r"key\.unknown"):
            await registry.get(uow, "0" * 26)


async def test_a_home_made_before_is_filled_from_its_credentials_once(db, registry, clock):
    store, credentials = MemoryKeyStore(), Credentials(clock)
    refs = [await store.create(f"k{n}", KeyPurpose.SEAL, P256) for n in range(3)]
    foreign = dataclasses.replace(refs[0], store="sp769", name="12ab")
    async with db.write() as uow:
        for n, each in enumerate((*refs, refs[0], foreign)):  # a renewed certificate leans on the same key
            await credentials.add(
                uow, realm=Realm.TRAINING, purpose=KeyPurpose.SEAL, owner="a1", key=each, certificate=None, chain=()
            )
            if n == 1:
                await uow.execute(credential_table.update().values(state="retired"))
        assert await registry.fill(uow) == 3
        assert await registry.fill(uow) == 0
        known = [await registry.find(uow, each) for each in refs]
        assert [key.owner for key in known] == ["a1"] * 3
        with pytest.raises(NotFound):  # a provider keeps its own books
            await registry.find(uow, foreign)
        rows = await registry.credentials(uow, known[0])
        assert len(rows) == 2
        assert all(json.loads(row.key)["name"] == "k0" for row in rows)


@pytest.mark.parametrize(
    ("state", "code"),
    [("stopped", "key.stopped"), ("disabled", "key.disabled"), ("destroyed", "key.disabled")],
)
async def test_only_an_active_key_is_usable(db, registry, ref, state, code):
    key_id = await noted(db, registry, ref)
    async with db.write() as uow:
        await registry.require_usable(uow, ref, "a1")
        await uow.execute(key_table.update().where(key_table.c.id == key_id).values(state=state))
        with pytest.raises(Refused) as refused:
            await registry.require_usable(uow, ref, "a1")
    assert refused.value.code == code


async def test_a_reference_with_another_public_key_is_not_usable(db, registry, ref):
    await noted(db, registry, ref)
    async with db.read() as uow:
        with pytest.raises(Broken, match=r"key\.damaged"):
            await registry.require_usable(uow, dataclasses.replace(ref, spki=b"other"), "a1")


@pytest.mark.parametrize(
    ("change", "owner", "code"), [({}, "a2", "key.wrong_owner"), ({"purpose": KeyPurpose.LOG}, "a1", "key.damaged")]
)
async def test_a_key_of_another_or_for_another_use_is_not_usable(db, registry, ref, change, owner, code):
    await noted(db, registry, ref)
    async with db.read() as uow:
        for question in (registry.require_usable, registry.require_owned):
            with pytest.raises(Broken) as refused:
                await question(uow, dataclasses.replace(ref, **change), owner)
            assert refused.value.code == code


async def test_who_ends_a_key_waits_for_who_found_it_usable(laid_url, clock, ref):
    """On PostgreSQL by the row's lock; SQLite has one writer."""
    registry, order = Registry(clock), []
    async with Database(laid_url) as db, Database(laid_url) as other:
        key_id = await noted(db, registry, ref)

        async def use():
            async with db.write() as uow:
                await registry.require_usable(uow, ref, "a1")
                order.append("usable")
                await asyncio.sleep(0.3)
                order.append("used")

        async def end():
            await asyncio.sleep(0.1)
            async with other.write() as uow:
                assert await registry.stop(uow, key_id, "key.over_day")
            order.append("stopped")

        await asyncio.gather(use(), end())
        assert order == ["usable", "used", "stopped"]
        async with db.write() as uow:
            with pytest.raises(Refused, match=r"key\.stopped"):
                await registry.require_usable(uow, ref, "a1")


@pytest.mark.parametrize(
    "change",
    [{"spki": b"x"}, {"owner": "a2"}, {"name": "qr-2"}, {"version": 2}, {"store": "transit"}, {"purpose": "log"},
     {"created_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}],
)  # fmt: skip
async def test_what_identifies_a_key_never_changes(db, registry, ref, change):
    await noted(db, registry, ref)
    with pytest.raises(DBAPIError, match="append-only"):
        async with db.write() as uow:
            await uow.execute(key_table.update().values(change))


async def test_a_key_is_never_deleted_and_a_destroyed_one_never_comes_back(db, registry, ref):
    key_id = await noted(db, registry, ref)
    async with db.write() as uow:
        await registry.stop(uow, key_id, "key.over_day")
        await uow.execute(key_table.update().values(state="destroyed"))
    for statement in (
        key_table.delete(), key_table.update().values(state="active"), event_table.delete(),
        event_table.update().values(what="resumed"),
    ):  # fmt: skip
        with pytest.raises(DBAPIError, match="append-only"):
            async with db.write() as uow:
                await uow.execute(statement)


async def test_keys_of_an_agency_come_with_those_that_do_not_work_first(db, registry, clock):
    store = MemoryKeyStore()
    refs = [await store.create(f"k{n}", KeyPurpose.SEAL, P256) for n in range(4)]
    ids = []
    for each in refs:
        ids.append(await noted(db, registry, each))
        clock.move(seconds=1)
    await noted(db, registry, await store.create("other", KeyPurpose.SEAL, P256), owner="a2")
    await noted(db, registry, await store.create("log", KeyPurpose.LOG, P256), owner="log")
    async with db.write() as uow:
        await registry.stop(uow, ids[1], "key.over_day")
        assert [key.id for key in await registry.of_agency(uow, "a1", 10)] == [ids[1], ids[3], ids[2], ids[0]]
        assert len(await registry.of_agency(uow, "a1", 2)) == 2
        assert [key.owner for key in await registry.services(uow, Realm.TRAINING)] == ["log"]
        assert await registry.services(uow, Realm.PRODUCTION) == []
