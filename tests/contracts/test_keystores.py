"""One contract for all key stores."""

import pytest

from core.errors import BadInput, Broken, Conflict, NotFound, Refused, ServiceError
from core.values import Digest, DigestAlgorithm, Message, SignatureAlgorithm
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, KeyRef, StoredKey, checked
from signer.keystores.software import SoftwareKeyStore

P = KeyPurpose.DOCUMENT


@pytest.fixture(params=["memory", "key file", "passphrase"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryKeyStore()
    if request.param == "key file":
        return SoftwareKeyStore(tmp_path / "keys", key_file=b"k" * 32)
    return SoftwareKeyStore(tmp_path / "keys", passphrase="mật khẩu dài")


def input_for(algorithm):
    if algorithm.digest is None:
        return Message(b"x")
    return Digest.of(b"x", algorithm.digest)


@pytest.mark.parametrize("algorithm", list(SignatureAlgorithm))
async def test_every_algorithm_signs_and_the_key_port_agrees(store, algorithm):
    ref = await store.create("a", P, algorithm)
    key = StoredKey(store, KeyRef.from_json(ref.to_json()), P, "e1")
    assert checked(ref, input_for(algorithm), await key.sign(input_for(algorithm)))
    assert (key.spki, key.algorithm) == (ref.spki, algorithm)


async def test_a_digest_of_another_kind_or_a_message_is_bad_input(store):
    ref = await store.create("a", P, SignatureAlgorithm.ECDSA_P256_SHA256)
    for bad in (Message(b"x"), Digest.of(b"x", DigestAlgorithm.SHA384)):
        with pytest.raises(BadInput, match=r"key\.bad_input"):
            await store.sign(ref, bad, purpose=P, event_id="e")


async def test_a_key_serves_one_purpose(store):
    ref = await store.create("a", P, SignatureAlgorithm.ECDSA_P256_SHA256)
    with pytest.raises(Refused, match=r"key\.wrong_purpose"):
        await store.sign(ref, Digest.of(b"x"), purpose=KeyPurpose.SEAL, event_id="e")


async def test_a_batch_gives_one_result_or_error_an_item_in_order(store):
    ref = await store.create("a", P, SignatureAlgorithm.ECDSA_P256_SHA256)
    items = [Digest.of(b"1"), Digest.of(b"2", DigestAlgorithm.SHA384), Digest.of(b"3")]
    one, two, three = await store.sign_batch(ref, items, purpose=P, event_id="e")
    assert isinstance(two, ServiceError)
    assert checked(ref, items[0], one) and checked(ref, items[2], three)


async def test_destroy_needs_disable_first_and_a_disabled_key_refuses(store):
    ref = await store.create("a", P, SignatureAlgorithm.ECDSA_P256_SHA256)
    with pytest.raises(Refused, match=r"key\.not_disabled"):
        await store.destroy(ref)
    await store.disable(ref)
    with pytest.raises(Refused, match=r"key\.disabled"):
        await store.sign(ref, Digest.of(b"x"), purpose=P, event_id="e")
    await store.destroy(ref)


async def test_a_name_is_given_once_and_an_unknown_key_is_missing(store):
    ref = await store.create("a", P, SignatureAlgorithm.ECDSA_P256_SHA256)
    with pytest.raises(Conflict, match=r"key\.exists"):
        await store.create("a", P, SignatureAlgorithm.ECDSA_P256_SHA256)
    ghost = KeyRef.from_json({**ref.to_json(), "name": "ghost"})
    with pytest.raises(NotFound, match=r"key\.missing"):
        await store.sign(ghost, Digest.of(b"x"), purpose=P, event_id="e")


async def test_a_signature_of_another_key_is_never_released(store):
    one = await store.create("a", P, SignatureAlgorithm.ECDSA_P256_SHA256)
    two = await store.create("b", P, SignatureAlgorithm.ECDSA_P256_SHA256)
    mixed = KeyRef.from_json({**one.to_json(), "spki": two.to_json()["spki"]})
    with pytest.raises(Broken, match=r"key\.wrong_signature"):
        await store.sign(mixed, Digest.of(b"x"), purpose=P, event_id="e")


async def test_swapped_files_and_wrong_secrets_are_refused_and_no_secret_shows(tmp_path):
    store = SoftwareKeyStore(tmp_path, key_file=b"k" * 32)
    one = await store.create("a", P, SignatureAlgorithm.ECDSA_P256_SHA256)
    await store.create("b", P, SignatureAlgorithm.ECDSA_P256_SHA256)
    assert "kkkk" not in repr(store)
    with pytest.raises(Broken, match=r"key\.damaged"):
        await SoftwareKeyStore(tmp_path, key_file=b"x" * 32).sign(one, Digest.of(b"x"), purpose=P, event_id="e")
    (tmp_path / "a.v1.key").write_bytes((tmp_path / "b.v1.key").read_bytes())
    with pytest.raises(Broken, match=r"key\.damaged"):
        await SoftwareKeyStore(tmp_path, key_file=b"k" * 32).sign(one, Digest.of(b"x"), purpose=P, event_id="e")
    assert (tmp_path / "a.v1.key").stat().st_mode & 0o077 == 0


def test_a_store_without_a_secret_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"key\.no_secret"):
        SoftwareKeyStore(tmp_path)


@pytest.mark.parametrize(
    ("made", "change"),
    [
        (SignatureAlgorithm.ECDSA_P256_SHA256, {"purpose": "seal"}),
        (SignatureAlgorithm.RSA_PKCS1_SHA256, {"algorithm": "rsa-pss-sha256"}),
        (SignatureAlgorithm.ECDSA_P256_SHA256, {"algorithm": "ed25519"}),
    ],
)
async def test_a_reference_changed_in_its_table_is_refused_although_the_key_is_in_memory(store, made, change):
    ref = await store.create("a", P, made)
    changed = KeyRef.from_json({**ref.to_json(), **change})
    with pytest.raises(Broken, match=r"key\.damaged"):
        await store.sign(changed, input_for(changed.algorithm), purpose=changed.purpose, event_id="e")


async def test_a_destroyed_key_is_missing_and_its_name_is_never_given_again(store):
    ref = await store.create("a", P, SignatureAlgorithm.ED25519)
    await store.disable(ref)
    await store.destroy(ref)
    with pytest.raises(Refused, match=r"key\.disabled"):
        await store.sign(ref, Message(b"x"), purpose=P, event_id="e")
    with pytest.raises(Conflict, match=r"key\.exists"):
        await store.create("a", P, SignatureAlgorithm.ED25519)


async def test_another_process_finds_the_key_and_cannot_make_it_again(tmp_path):
    ref = await SoftwareKeyStore(tmp_path, key_file=b"k" * 32).create("a", P, SignatureAlgorithm.ED25519)
    other = SoftwareKeyStore(tmp_path, key_file=b"k" * 32)
    with pytest.raises(Conflict, match=r"key\.exists"):
        await other.create("a", P, SignatureAlgorithm.ED25519)
    assert await other.sign(ref, Message(b"x"), purpose=P, event_id="e")
    assert [f.name for f in tmp_path.iterdir()] == ["a.v1.key"]


async def test_destroying_a_file_twice_is_missing(tmp_path):
    store = SoftwareKeyStore(tmp_path, key_file=b"k" * 32)
    ref = await store.create("a", P, SignatureAlgorithm.ED25519)
    await store.disable(ref)
    await store.destroy(ref)
    with pytest.raises(NotFound, match=r"key\.missing"):
        await store.destroy(ref)


@pytest.mark.parametrize("name", ["../out", "a/b", "", "a.v1", "a\0"])
async def test_a_key_name_never_leads_out_of_the_folder(tmp_path, name):
    with pytest.raises(BadInput, match=r"key\.bad_input"):
        await SoftwareKeyStore(tmp_path / "keys", key_file=b"k" * 32).create(name, P, SignatureAlgorithm.ED25519)
    assert not list(tmp_path.rglob("*.key"))


@pytest.mark.parametrize("passphrase", ["", "   "])
def test_an_empty_passphrase_is_no_secret(tmp_path, passphrase):
    with pytest.raises(Refused, match=r"key\.no_secret"):
        SoftwareKeyStore(tmp_path, passphrase=passphrase)
