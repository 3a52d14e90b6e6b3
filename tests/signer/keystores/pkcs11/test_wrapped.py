"""People's keys: wrapped by the token, kept in the database, bound to their owner. Swaps in both, on both databases."""

import asyncio

import pytest
import sqlalchemy as sa

from core.errors import Broken, Conflict, ServiceError
from core.limits import LIMITS
from core.values import Digest, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, checked
from signer.keystores.pkcs11.records import wrapped_key_table
from tests.signer.keystores.contract import changed
from tests.signer.keystores.pkcs11.hsm import PIN

P = KeyPurpose.DOCUMENT
P256, P384 = SignatureAlgorithm.ECDSA_P256_SHA256, SignatureAlgorithm.ECDSA_P384_SHA384
RSA, PSS = SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PSS_SHA256
DIGEST = Digest.of(b"x")
T = wrapped_key_table.c


async def rows(db):
    async with db.read() as uow:
        return {row.name: row for row in await uow.execute(sa.select(wrapped_key_table))}


async def tamper(db, name, **values):
    """As who owns the database may: the trigger is taken away first."""
    async with db.write() as uow:
        if db.is_sqlite:
            await uow.execute(sa.text("DROP TRIGGER IF EXISTS wrapped_key_no_update"))
        else:
            await uow.execute(sa.text("DROP TRIGGER IF EXISTS wrapped_key_no_update ON wrapped_key"))
        await uow.execute(wrapped_key_table.update().where(T.name == name).values(values))


async def code(store, ref, to_sign=DIGEST):
    with pytest.raises(ServiceError) as caught:
        await store.sign(ref, to_sign, purpose=ref.purpose, event_id="e")
    return caught.value.code


async def test_a_person_s_key_is_a_row_that_holds_no_key_and_nothing_stays_in_the_token(keys_db, open_store):
    store = open_store(keys_db)
    refs = [await store.create(f"document-{n}", P, algorithm) for n, algorithm in enumerate((P256, P384, RSA, PSS))]
    for ref in refs:
        digest = Digest.of(b"x", ref.algorithm.digest)
        assert checked(ref, digest, await store.sign(ref, digest, purpose=P, event_id="e"))
        assert await store.public_key(ref) == ref.spki
    found = await rows(keys_db)
    assert {row.state for row in found.values()} == {"active"} and len(found) == 4
    for row in found.values():
        assert row.place == "dauso-test" and len(row.blob) >= 72 and len(row.tag) == 32 and len(row.kek) == 16
        assert b"\x06\x07\x2a\x86\x48\xce\x3d" not in row.blob and PIN.encode() not in row.blob
    assert len({row.kek for row in found.values()} | {row.mac for row in found.values()}) == 2
    bare = open_store()  # the same token without the database: none of them is an object there
    for ref in refs:
        with pytest.raises(ServiceError, match=r"key\.missing"):
            await bare.public_key(ref)


async def test_swapped_blobs_and_rows_are_damaged(keys_db, open_store):
    store = open_store(keys_db)
    mine, other = await store.create("document-1", P, P256), await store.create("document-2", P, P256)
    assert await store.sign(mine, DIGEST, purpose=P, event_id="e")  # unwrapped already, and kept in the worker
    before = await rows(keys_db)
    row, own = before[other.name], before[mine.name]
    for swap in (
        {"blob": row.blob},
        {"blob": row.blob, "tag": row.tag},
        {"blob": row.blob, "tag": row.tag, "spki": row.spki, "kek": row.kek, "mac": row.mac},
        {"tag": row.tag},
    ):
        await tamper(keys_db, mine.name, **{"blob": own.blob, "tag": own.tag, "spki": own.spki} | swap)
        assert await code(store, mine) == "key.damaged"
        assert await code(open_store(keys_db), mine) == "key.damaged"
        with pytest.raises(Broken, match=r"key\.damaged"):
            await store.public_key(mine)
        with pytest.raises(Broken, match=r"key\.damaged"):
            await store.disable(mine)
    await tamper(keys_db, mine.name, blob=own.blob, tag=own.tag, spki=own.spki)
    assert checked(mine, DIGEST, await store.sign(mine, DIGEST, purpose=P, event_id="e"))


async def test_swapped_references_are_damaged(keys_db, open_store):
    store = open_store(keys_db)
    mine, other = await store.create("document-1", P, P256), await store.create("document-2", P, P256)
    seal = await store.create("seal-1", KeyPurpose.SEAL, P256)
    for ref in (mine, other, seal):
        assert await store.sign(ref, DIGEST, purpose=ref.purpose, event_id="e")
    spki = other.to_json()["spki"]
    assert await code(store, changed(mine, name=other.name)) == "key.damaged"
    assert await code(store, changed(mine, spki=spki)) == "key.damaged"
    assert await code(store, changed(mine, purpose="seal")) == "key.damaged"
    assert await code(store, changed(seal, purpose="document")) == "key.damaged"
    assert await code(store, changed(seal, spki=spki)) == "key.damaged"
    assert await code(store, changed(seal, name=mine.name)) == "key.damaged"
    assert await code(store, changed(mine, name=seal.name)) == "key.damaged"
    assert await code(store, changed(mine, place="another")) == "key.no_such_store"
    assert await code(store, changed(mine, version=2)) == "key.missing"


@pytest.mark.parametrize("column", ["blob", "tag"])
@pytest.mark.parametrize("at", [0, 20, -1])
async def test_a_flipped_bit_of_a_row_is_damaged(sqlite_db, open_store, column, at):
    store = open_store(sqlite_db)
    ref = await store.create("document-1", P, P256)
    value = bytearray(getattr((await rows(sqlite_db))[ref.name], column))
    value[at] ^= 1
    await tamper(sqlite_db, ref.name, **{column: bytes(value)})
    assert await code(store, ref) == "key.damaged"


@pytest.mark.parametrize("change", [{"blob": b""}, {"tag": b""}, {"tag": b"x" * 64}, {"blob": b"x" * 80}])
async def test_a_truncated_row_is_damaged(sqlite_db, open_store, change):
    store = open_store(sqlite_db)
    ref = await store.create("document-1", P, P256)
    await tamper(sqlite_db, ref.name, **change)
    assert await code(store, ref) == "key.damaged"
    assert await store.create("document-2", P, P256)


@pytest.mark.parametrize("column", ["kek", "mac"])
async def test_a_row_that_names_another_master_key_signs_nothing(sqlite_db, open_store, column):
    store = open_store(sqlite_db)
    ref = await store.create("document-1", P, P256)
    row = (await rows(sqlite_db))[ref.name]
    await tamper(sqlite_db, ref.name, **{column: b"\1" * 16})
    assert await code(store, ref) in {"key.missing", "key.damaged"}
    await tamper(sqlite_db, ref.name, **{column: row.mac if column == "kek" else row.kek})
    assert await code(store, ref) in {"key.missing", "key.damaged"}


async def test_the_database_itself_lets_nobody_turn_a_key_back_or_into_another(keys_db, open_store):
    store = open_store(keys_db)
    ref = await store.create("document-1", P, P256)
    await store.disable(ref)
    await store.destroy(ref)
    assert (await rows(keys_db))[ref.name].blob is None
    for values in ({"state": "active"}, {"tag": b"x"}, {"spki": b"x"}):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            async with keys_db.write() as uow:
                await uow.execute(wrapped_key_table.update().where(T.name == ref.name).values(values))
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        async with keys_db.write() as uow:
            await uow.execute(wrapped_key_table.delete())
    with pytest.raises(Conflict, match=r"key\.exists"):
        await store.create("document-1", P, P256)


async def test_a_name_is_one_key_s_in_the_token_and_in_the_database_together(keys_db, open_store):
    store = open_store(keys_db)
    await store.create("document-1", P, P256)
    await store.create("seal-1", KeyPurpose.SEAL, P256)
    for name, purpose in (("document-1", KeyPurpose.SEAL), ("seal-1", P)):
        with pytest.raises(Conflict, match=r"key\.exists"):
            await store.create(name, purpose, P256)


async def test_of_two_services_that_ask_for_one_name_one_is_given_it(keys_db, open_store):
    stores = [open_store(keys_db), open_store(keys_db)]
    made = await asyncio.gather(*(store.create("document-1", P, P256) for store in stores), return_exceptions=True)
    good = [one for one in made if not isinstance(one, ServiceError)]
    assert len(good) == 1 and {one.code for one in made if isinstance(one, ServiceError)} == {"key.exists"}
    assert checked(good[0], DIGEST, await stores[0].sign(good[0], DIGEST, purpose=P, event_id="e"))


async def test_a_worker_keeps_few_unwrapped_keys_and_forgets_the_oldest(sqlite_db, open_store, monkeypatch):
    monkeypatch.setitem(LIMITS, "pkcs11.unwrapped", 2)
    store = open_store(sqlite_db)
    refs = [await store.create(f"document-{n}", P, P256) for n in range(5)]
    for _ in range(2):
        for ref in refs:
            assert checked(ref, DIGEST, await store.sign(ref, DIGEST, purpose=P, event_id="e"))


async def test_a_key_disabled_in_one_service_signs_in_no_other(keys_db, open_store):
    one, two = open_store(keys_db), open_store(keys_db)
    ref = await one.create("document-1", P, P256)
    assert await two.sign(ref, DIGEST, purpose=P, event_id="e")
    await one.disable(ref)
    assert await code(two, ref) == "key.disabled"
