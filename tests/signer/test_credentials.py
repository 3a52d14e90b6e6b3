import datetime as dt
import json

import pytest
import sqlalchemy as sa

from core.errors import NotFound, Refused
from core.limits import LIMITS
from core.values import Realm, SignatureAlgorithm
from signer.credentials import Credentials, credential_table
from signer.keystores.model import KeyPurpose, KeyRef

SEAL = KeyPurpose.SEAL


def ref(name, purpose=SEAL):
    return KeyRef(
        store="memory", name=name, version=1, purpose=purpose, algorithm=SignatureAlgorithm.ECDSA_P256_SHA256, spki=b"x"
    )


@pytest.fixture
def credentials(clock):
    return Credentials(clock)


async def add(db, credentials, name, owner="agency", purpose=SEAL, at=None):
    async with db.write() as uow:
        return await credentials.add(
            uow, realm=Realm.TRAINING, purpose=purpose, owner=owner, key=ref(name, purpose), certificate=b"c", active_from=at
        )  # fmt: skip


async def named(db, credentials, owner="agency", purpose=SEAL):
    async with db.read() as uow:
        return (await credentials.of(uow, owner, purpose)).key.name


async def active(db):
    async with db.read() as uow:
        t = credential_table.c
        query = sa.select(t.key).where(t.state == "active").order_by(t.id)
        return [KeyRef.from_json(json.loads(row.key)).name for row in await uow.execute(query)]


async def sweep(db, credentials):
    async with db.write() as uow:
        return await credentials.retire_followed(uow)


async def test_a_key_that_waits_for_its_time_is_not_used_before(db, credentials, clock):
    await add(db, credentials, "old")
    clock.move(minutes=1)
    new = await add(db, credentials, "new", at=clock.now() + dt.timedelta(hours=3))
    assert await named(db, credentials) == "old"
    async with db.read() as uow:
        assert (await credentials.waiting(uow, "agency", SEAL)) == new
    clock.move(hours=2, minutes=59, seconds=59)
    assert await named(db, credentials) == "old"
    clock.move(seconds=1)
    assert await named(db, credentials) == "new"
    async with db.read() as uow:
        assert await credentials.waiting(uow, "agency", SEAL) is None


async def test_a_key_that_waits_alone_is_nobodys(db, credentials, clock):
    await add(db, credentials, "new", at=clock.now() + dt.timedelta(hours=3))
    with pytest.raises(NotFound):
        await named(db, credentials)


async def test_the_old_key_still_signs_what_was_opened_and_then_no_more(db, credentials, clock):
    old = await add(db, credentials, "old")
    clock.move(minutes=1)
    await add(db, credentials, "new", at=clock.now() + dt.timedelta(hours=3))
    clock.move(hours=3, seconds=LIMITS["keys.overlap_seconds"] - 1)
    assert await sweep(db, credentials) == []
    async with db.read() as uow:
        await credentials.require_active(uow, old.id)
    clock.move(seconds=1)
    assert await sweep(db, credentials) == [old.id]
    assert await sweep(db, credentials) == []
    async with db.read() as uow:
        with pytest.raises(Refused) as raised:
            await credentials.require_active(uow, old.id)
        assert raised.value.code == "credential.retired"
        assert (await credentials.get(uow, old.id)).key.name == "old"  # what it signed is still checked with it
    assert await named(db, credentials) == "new"


async def test_only_a_rotation_retires(db, credentials, clock):
    """A person has several keys at a time; one key more ends none of them."""
    await add(db, credentials, "official", "person", KeyPurpose.DOCUMENT)
    clock.move(minutes=1)
    await add(db, credentials, "citizen", "person", KeyPurpose.DOCUMENT)
    clock.move(days=2)
    assert await sweep(db, credentials) == []
    assert await active(db) == ["official", "citizen"]


async def test_a_rotation_touches_no_other_owner_and_no_other_purpose(db, credentials, clock):
    await add(db, credentials, "theirs", "other")
    await add(db, credentials, "qr", purpose=KeyPurpose.QR)
    await add(db, credentials, "old")
    clock.move(minutes=1)
    await add(db, credentials, "new", at=clock.now())
    clock.move(days=2)
    assert len(await sweep(db, credentials)) == 1
    assert set(await active(db)) == {"theirs", "qr", "new"}


async def test_a_key_that_was_taken_back_before_its_time_replaces_nothing(db, credentials, clock):
    await add(db, credentials, "old")
    clock.move(minutes=1)
    new = await add(db, credentials, "new", at=clock.now() + dt.timedelta(hours=1))
    async with db.write() as uow:
        await credentials.retire(uow, new.id)
    clock.move(days=2)
    assert await sweep(db, credentials) == []
    assert await named(db, credentials) == "old"


async def test_what_comes_back_from_the_table_is_what_was_written(db, credentials, clock):
    at = clock.now() + dt.timedelta(hours=1)
    made = await add(db, credentials, "new", at=at)
    async with db.read() as uow:
        assert await Credentials(clock).get(uow, made.id) == made
        assert (await credentials.all(uow, SEAL)) == [(made, True)]
    assert made.active_from == at
