"""The PKCS#11 store on SoftHSM: the contract with keys in the token, and with people's keys wrapped in the database."""

import pytest

from core.errors import BadInput, Broken, Unavailable
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, checked
from tests.signer.keystores.contract import House, KeyStoreContract
from tests.signer.keystores.pkcs11.hsm import PIN

S, P256 = KeyPurpose.SEAL, SignatureAlgorithm.ECDSA_P256_SHA256


class TestInTheToken(KeyStoreContract):
    @pytest.fixture
    def house(self, open_store):
        return House(open_store(), again=open_store, secrets=[PIN])


class TestWrapped(KeyStoreContract):
    @pytest.fixture
    def house(self, open_store, sqlite_db):
        def make():
            return open_store(sqlite_db)

        return House(make(), again=make, secrets=[PIN])


def bent(store, change):
    """What a worker answered to ``sign`` is changed on its way."""
    call = store._pool.call

    async def through(body, **options):
        answer = await call(body, **options)
        return change(answer) or answer if body["op"] == "sign" else answer

    store._pool.call = through


def each(change):
    return lambda answer: {"results": [{"value": change(one["value"])} for one in answer["results"]]}


@pytest.mark.parametrize(
    "change",
    [
        each(lambda value: value[:-2]),
        each(lambda value: value + "00"),
        each(lambda value: value[:-1] + ("0" if value[-1] != "0" else "1")),
        each(lambda value: ""),
        each(lambda value: "no hexadecimal"),
        each(lambda value: 7),
        lambda answer: {"results": []},
        lambda answer: {"results": answer["results"] * 2},
        lambda answer: {"results": "x"},
        lambda answer: {"results": [None] * len(answer["results"])},
        lambda answer: {"nothing": 1},
    ],
)
async def test_a_value_that_was_changed_on_its_way_is_never_released(open_store, change):
    store = open_store()
    ref = await store.create("seal-1", S, P256)
    bent(store, change)
    with pytest.raises(Broken) as caught:
        await store.sign(ref, Digest.of(b"x"), purpose=S, event_id="e")
    assert caught.value.code in {"key.wrong_signature", "key.damaged"}
    for result in await store.sign_batch(ref, [Digest.of(b"1"), Digest.of(b"2")], purpose=S, event_id="e"):
        assert isinstance(result, Broken)


async def test_values_of_a_batch_in_another_order_are_not_released(open_store):
    store = open_store()
    ref = await store.create("seal-1", S, P256)
    bent(store, lambda answer: {"results": answer["results"][::-1]})
    items = [Digest.of(b"%d" % n) for n in range(3)]
    one, two, three = await store.sign_batch(ref, items, purpose=S, event_id="e")
    assert isinstance(one, Broken) and isinstance(three, Broken) and checked(ref, items[1], two)


async def test_one_bad_item_of_a_batch_is_an_error_alone(open_store):
    store = open_store()
    ref = await store.create("seal-1", S, P256)

    def refuse(answer):
        answer["results"][1] = {"error": ["Unavailable", "key.denied", ""]}

    bent(store, refuse)
    one, two, three = await store.sign_batch(ref, [Digest.of(b"x")] * 3, purpose=S, event_id="e")
    assert (type(two), two.code, two.evidence) == (Unavailable, "key.denied", {"key": "seal-1"})
    assert isinstance(one, bytes) and isinstance(three, bytes)


async def test_a_message_of_megabytes_is_bad_input_and_ends_no_worker(open_store):
    store = open_store()
    ref = await store.create("seal-1", S, SignatureAlgorithm.ED25519)
    pids = store.pids
    with pytest.raises(BadInput, match=r"key\.bad_input"):
        await store.sign(ref, Message(b"x" * 1_100_000), purpose=S, event_id="e")
    assert await store.sign(ref, Message(b"x" * 1_000_000), purpose=S, event_id="e") and store.pids == pids
