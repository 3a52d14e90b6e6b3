"""Sessions that end behind the worker's back, and tokens that are pulled out. The module is loaded in child processes."""

import asyncio
import json
import subprocess
import sys

import pytest

from core.errors import ServiceError
from core.values import Digest, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, checked
from tests.signer.keystores.pkcs11.hsm import LABEL, MODULE

P256 = SignatureAlgorithm.ECDSA_P256_SHA256


def behind(hsm, how):
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import sys; sys.path.insert(0, '.'); import tests.signer.keystores.pkcs11.behind",
         how, str(MODULE), LABEL, str(hsm.pin_file)],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["closed", "logged-out", "all-closed", "finalized"])
async def test_a_session_that_ended_behind_our_back_is_opened_again_and_nothing_found_is_not_believed(hsm, how):
    told = await asyncio.to_thread(behind, hsm, how)
    before, before_wrapped, token, wrapped, public, taken, taken_too, free, health = told["answers"]
    for each in (before, before_wrapped, token, wrapped):
        assert [set(result) for result in each["results"]] == [{"value"}] * 2
    assert public["spki"] and free["blob"] and health["product"]
    assert taken["error"] == ["Conflict", "key.exists", ""] == taken_too["error"]
    assert told["masters"] == 2  # no second KEK was made by who could not see the first


async def test_a_search_left_open_costs_one_call_and_no_more(hsm):
    told = await asyncio.to_thread(behind, hsm, "search-left-open")
    assert told["answers"][-1].get("product") or told["answers"][-1]["error"][1] == "key.unavailable"


async def test_a_key_destroyed_behind_our_back_is_missing(hsm):
    told = await asyncio.to_thread(behind, hsm, "key-destroyed")
    assert told["answers"][2]["error"][:2] == ["NotFound", "key.missing"]


async def test_a_token_pulled_out_is_unreachable_and_works_again_when_it_is_back(hsm, open_store, sqlite_db):
    store = open_store(sqlite_db, workers=2)
    seal = await store.create("seal-1", KeyPurpose.SEAL, P256)
    person = await store.create("document-1", KeyPurpose.DOCUMENT, P256)
    pids = set(store.pids)
    hsm.remove()
    for ref in (seal, person):
        for _ in range(3):
            with pytest.raises(ServiceError, match=r"key\.unavailable"):
                await store.public_key(ref)
    with pytest.raises(ServiceError, match=r"key\.unavailable"):
        await store.create("seal-2", KeyPurpose.SEAL, P256)
    assert (await store.health()).state == "unreachable"
    hsm.insert()
    assert (await store.health()).state == "open"
    for ref in (seal, person):
        value = await store.sign(ref, Digest.of(b"x"), purpose=ref.purpose, event_id="e")
        assert checked(ref, Digest.of(b"x"), value)
    assert pids <= set(store.pids)  # the same processes: a missing token is no reason to end them


async def test_an_unknown_key_of_a_token_pulled_out_is_not_called_missing(hsm, open_store):
    store = open_store()
    ref = await store.create("seal-1", KeyPurpose.SEAL, P256)
    hsm.remove()
    with pytest.raises(ServiceError, match=r"key\.unavailable"):
        await store.public_key(ref)
    hsm.insert()
    assert await store.public_key(ref) == ref.spki


async def test_services_that_start_while_others_write_to_the_token_all_open_it(open_store):
    """SoftHSM half sees a token that another process is writing to: no token, or one without a PIN, for a moment."""

    async def serve(number):
        store = open_store(workers=2)
        refs = [await store.create(f"seal-{number}-{n}", KeyPurpose.SEAL, P256) for n in range(2)]
        for ref in refs:
            values = await store.sign_batch(ref, [Digest.of(b"x")] * 60, purpose=KeyPurpose.SEAL, event_id="e")
            assert all(isinstance(value, bytes) for value in values)

    await asyncio.gather(*(serve(number) for number in range(6)))
