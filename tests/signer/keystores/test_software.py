"""Encrypted files: the contract with a key file and with a passphrase, and what is special about files."""

import pytest

from core.errors import BadInput, Broken, Conflict, NotFound, Refused
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.model import KeyPurpose
from signer.keystores.software import SoftwareKeyStore
from tests.signer.keystores.contract import House, KeyStoreContract

P = KeyPurpose.DOCUMENT
P256, ED25519 = SignatureAlgorithm.ECDSA_P256_SHA256, SignatureAlgorithm.ED25519
PASSPHRASE = "mật khẩu dài"


class TestKeyFile(KeyStoreContract):
    @pytest.fixture
    def house(self, tmp_path):
        def make() -> SoftwareKeyStore:
            return SoftwareKeyStore(tmp_path / "keys", key_file=b"k" * 32)

        return House(make(), again=make, secrets=["k" * 32, (b"k" * 32).hex()])


class TestPassphrase(KeyStoreContract):
    @pytest.fixture
    def house(self, tmp_path):
        def make() -> SoftwareKeyStore:
            return SoftwareKeyStore(tmp_path / "keys", passphrase=PASSPHRASE)

        return House(make(), again=make, secrets=[PASSPHRASE])


async def test_swapped_files_and_wrong_secrets_are_refused(tmp_path):
    store = SoftwareKeyStore(tmp_path, key_file=b"k" * 32)
    one = await store.create("a", P, P256)
    await store.create("b", P, P256)
    with pytest.raises(Broken, match=r"key\.damaged"):
        await SoftwareKeyStore(tmp_path, key_file=b"x" * 32).sign(one, Digest.of(b"x"), purpose=P, event_id="e")
    (tmp_path / "a.v1.key").write_bytes((tmp_path / "b.v1.key").read_bytes())
    with pytest.raises(Broken, match=r"key\.damaged"):
        await SoftwareKeyStore(tmp_path, key_file=b"k" * 32).sign(one, Digest.of(b"x"), purpose=P, event_id="e")
    assert (tmp_path / "a.v1.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("at", [0, 15, 16, 27, 28, 60, -1])
async def test_a_flipped_bit_of_the_file_is_refused(tmp_path, at):
    ref = await SoftwareKeyStore(tmp_path, key_file=b"k" * 32).create("a", P, ED25519)
    file = tmp_path / "a.v1.key"
    blob = bytearray(file.read_bytes())
    blob[at] ^= 1
    file.write_bytes(blob)
    with pytest.raises(Broken, match=r"key\.damaged"):
        await SoftwareKeyStore(tmp_path, key_file=b"k" * 32).sign(ref, Message(b"x"), purpose=P, event_id="e")


@pytest.mark.parametrize("secrets", [{}, {"key_file": b"short"}, {"key_file": b"k" * 32, "passphrase": "x"}])
def test_a_store_without_exactly_one_good_secret_is_refused(tmp_path, secrets):
    with pytest.raises(Refused, match=r"key\.no_secret"):
        SoftwareKeyStore(tmp_path, **secrets)


@pytest.mark.parametrize("passphrase", ["", "   "])
def test_an_empty_passphrase_is_no_secret(tmp_path, passphrase):
    with pytest.raises(Refused, match=r"key\.no_secret"):
        SoftwareKeyStore(tmp_path, passphrase=passphrase)


async def test_nothing_but_the_key_lies_in_the_folder(tmp_path):
    await SoftwareKeyStore(tmp_path, key_file=b"k" * 32).create("a", P, ED25519)
    with pytest.raises(Conflict, match=r"key\.exists"):
        await SoftwareKeyStore(tmp_path, key_file=b"k" * 32).create("a", P, ED25519)
    assert [f.name for f in tmp_path.iterdir()] == ["a.v1.key"]


async def test_destroying_a_file_twice_is_missing(tmp_path):
    store = SoftwareKeyStore(tmp_path, key_file=b"k" * 32)
    ref = await store.create("a", P, ED25519)
    await store.disable(ref)
    await store.destroy(ref)
    with pytest.raises(NotFound, match=r"key\.missing"):
        await store.destroy(ref)


@pytest.mark.parametrize("name", ["../out", "a/b", "", "a.v1", "a\0"])
async def test_a_key_name_never_leads_out_of_the_folder(tmp_path, name):
    with pytest.raises(BadInput, match=r"key\.bad_input"):
        await SoftwareKeyStore(tmp_path / "keys", key_file=b"k" * 32).create(name, P, ED25519)
    assert not list(tmp_path.rglob("*.key"))


def test_it_says_that_it_is_not_for_production(tmp_path):
    assert SoftwareKeyStore(tmp_path, key_file=b"k" * 32).not_for_production
