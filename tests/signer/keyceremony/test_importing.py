"""A key from elsewhere into a real server: the decided one, proven, once."""

import dataclasses

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from core.clock import SystemClock
from core.errors import ServiceError
from core.ids import new_id
from core.values import Digest, Realm, SignatureAlgorithm
from signer.credentials import Credentials
from signer.keyceremony.importing import Importing, _wrapped, chain_of, load_private
from signer.keystores.allowed import Imports
from signer.keystores.model import KeyPurpose
from signer.keystores.policies import Identity
from signer.keystores.transit import TransitKeyStore
from tests.signer.keyceremony.papers import authority, certificate_over
from tests.signer.keyceremony.sessions import signer_and_importer

MOUNT = "transit-import"
SEAL, P256 = KeyPurpose.SEAL, SignatureAlgorithm.ECDSA_P256_SHA256
KINDS = {
    SignatureAlgorithm.ECDSA_P256_SHA256: lambda: ec.generate_private_key(ec.SECP256R1()),
    SignatureAlgorithm.ECDSA_P384_SHA384: lambda: ec.generate_private_key(ec.SECP384R1()),
    SignatureAlgorithm.RSA_PKCS1_SHA256: lambda: rsa.generate_private_key(65537, 3072),
    SignatureAlgorithm.ED25519: ed25519.Ed25519PrivateKey.generate,
}


def spki_of(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
async def server(openbao):
    """Sessions of the signer and of the importer, by their policies."""
    async with signer_and_importer(openbao, MOUNT, "imports") as sessions:
        yield sessions


@pytest.fixture
def desk(db, server):
    clock = SystemClock()
    return Importing(
        db=db, clock=clock, realm=Realm.TRAINING, credentials=Credentials(clock),
        store=TransitKeyStore(server[Identity.SIGNER], [MOUNT]),
    )  # fmt: skip


async def decide(desk, key, algorithm=P256, purpose=SEAL, certificate=None, owner="agency"):
    """What the desk of decisions writes with the second yes."""
    decision = new_id(desk.clock)
    async with desk.db.write() as uow:
        await Imports(desk.clock).allow(
            uow, decision, realm=desk.realm, owner=owner, purpose=purpose, algorithm=algorithm,
            spki_sha256=Digest.of(spki_of(key)).hex, certificate=certificate,
        )  # fmt: skip
    return decision


async def code_of(awaitable):
    with pytest.raises(ServiceError) as raised:
        await awaitable
    return raised.value.code


@pytest.mark.parametrize("algorithm", KINDS)
async def test_a_decided_key_comes_in_proves_itself_and_signs(desk, server, openbao, algorithm):
    key = KINDS[algorithm]()
    certificate = certificate_over(key)
    decision = await decide(desk, key, algorithm, certificate=certificate.der)
    allowed = await desk.allowed(spki_of(key))
    assert allowed.id == decision
    ref = await desk.bring(server[Identity.IMPORTER], [MOUNT], key, allowed)
    credential = await desk.keep(allowed, ref)
    assert credential.key.name == ref.name
    assert decision in ref.name
    async with desk.db.read() as uow:
        assert (await desk.credentials.of(uow, "agency", SEAL)) == credential
    told = openbao.api("GET", f"{MOUNT}/keys/{ref.name}")["data"]
    assert (told["exportable"], told["allow_plaintext_backup"], told["imported_key"]) == (False, False, True)
    openbao.api("POST", f"{MOUNT}/keys/{ref.name}/rotate", {})  # as Vault takes a key out of use
    assert await desk.store.public_key(ref) == ref.spki
    assert await code_of(desk.allowed(spki_of(key))) == "key.import_used"


async def test_an_interrupted_import_goes_on_with_the_same_key(desk, server):
    key = KINDS[P256]()
    await decide(desk, key, certificate=certificate_over(key).der)
    allowed = await desk.allowed(spki_of(key))
    first = await desk.bring(server[Identity.IMPORTER], [MOUNT], key, allowed)
    again = await desk.bring(server[Identity.IMPORTER], [MOUNT], key, allowed)
    assert first == again
    await desk.keep(allowed, again)
    assert await code_of(desk.keep(allowed, again)) == "key.import_used"


async def test_a_key_that_nobody_decided_is_not_touched(desk):
    assert await code_of(desk.allowed(spki_of(KINDS[P256]()))) == "key.import_not_decided"


async def test_a_certificate_over_another_key_keeps_it_out(desk, server):
    key = KINDS[P256]()
    await decide(desk, key, certificate=certificate_over(KINDS[P256]()).der)
    allowed = await desk.allowed(spki_of(key))
    ref = await desk.bring(server[Identity.IMPORTER], [MOUNT], key, allowed)
    assert await code_of(desk.keep(allowed, ref)) == "credential.wrong_key"
    other = dataclasses.replace(allowed, certificate=None)
    wrong = dataclasses.replace(ref, spki=spki_of(KINDS[P256]()))
    assert await code_of(desk.keep(other, wrong)) in {"key.damaged", "key.import_other"}
    async with desk.db.read() as uow:
        assert await desk.credentials.waiting(uow, "agency", SEAL) is None


async def test_a_key_whose_place_is_taken_by_another_is_damage(desk, server, openbao):
    key = KINDS[P256]()
    decision = await decide(desk, key, certificate=certificate_over(key).der)
    openbao.api("POST", f"{MOUNT}/keys/seal-{decision}.p256", {"type": "ecdsa-p256"})
    allowed = await desk.allowed(spki_of(key))
    assert await code_of(desk.bring(server[Identity.IMPORTER], [MOUNT], key, allowed)) == "key.damaged"


@pytest.mark.parametrize(
    "weak",
    [{"exportable": True}, {"allow_plaintext_backup": True}, {"allow_rotation": True, "auto_rotate_period": "24h"}],
)
async def test_the_decided_key_in_a_form_that_can_leave_is_not_taken_up(desk, server, openbao, weak):
    key = KINDS[P256]()
    decision = await decide(desk, key, certificate=certificate_over(key).der)
    path = f"{MOUNT}/keys/seal-{decision}.p256"
    wrapping = openbao.api("GET", f"{MOUNT}/wrapping_key")["data"]["public_key"]
    body = {"ciphertext": _wrapped(key, wrapping), "type": "ecdsa-p256", "hash_function": "SHA256"}
    openbao.api("POST", f"{path}/import", body | weak)
    allowed = await desk.allowed(spki_of(key))
    assert await code_of(desk.bring(server[Identity.IMPORTER], [MOUNT], key, allowed)) == "keys.can_leave"


async def test_the_decided_key_as_another_kind_is_damage(desk):
    class Server:
        async def call(self, *_):
            told = {"public_key": public.decode(), "creation_time": "2026-11-25T03:00:00Z"}
            return {"type": "managed_key", "latest_version": 1, "min_encryption_version": 0, "keys": {"1": told}}

    key = KINDS[P256]()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    await decide(desk, key, certificate=certificate_over(key).der)
    allowed = await desk.allowed(spki_of(key))
    assert await code_of(desk.bring(Server(), [MOUNT], key, allowed)) == "key.damaged"


async def test_only_the_importer_imports(desk, server):
    key = KINDS[P256]()
    await decide(desk, key, certificate=certificate_over(key).der)
    allowed = await desk.allowed(spki_of(key))
    assert await code_of(desk.bring(server[Identity.SIGNER], [MOUNT], key, allowed)) == "vault.denied"


async def test_the_logs_key_and_a_cas_are_not_imported(desk):
    for purpose, code in ((KeyPurpose.LOG, "keys.log_key_stays"), (KeyPurpose.CA, "keys.ca_key_stays")):
        key = KINDS[P256]()
        await decide(desk, key, purpose=purpose)
        assert await code_of(desk.allowed(spki_of(key))) == code


async def test_a_short_rsa_key_is_refused(desk, server):
    key = rsa.generate_private_key(65537, 2048)
    await decide(desk, key, SignatureAlgorithm.RSA_PKCS1_SHA256, certificate=certificate_over(key).der)
    allowed = await desk.allowed(spki_of(key))
    assert await code_of(desk.bring(server[Identity.IMPORTER], [MOUNT], key, allowed)) == "keys.weak_key"


async def test_an_imported_seal_follows_the_one_before(desk, server):
    for count in (1, 2):
        key = KINDS[P256]()
        await decide(desk, key, certificate=certificate_over(key).der, owner="follows")
        allowed = await desk.allowed(spki_of(key))
        made = await desk.keep(allowed, await desk.bring(server[Identity.IMPORTER], [MOUNT], key, allowed))
        assert (made.active_from is None) is (count == 1)
    async with desk.db.read() as uow:
        assert await desk.credentials.of(uow, "follows", SEAL) == made


@pytest.mark.parametrize("secret", [None, "mật khẩu"])
@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_keys_are_read_in_both_forms_and_say_nothing_when_they_are_not(secret, encoding):
    key = KINDS[P256]()
    how = serialization.BestAvailableEncryption(secret.encode()) if secret else serialization.NoEncryption()
    data = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, how)
    assert spki_of(load_private(data, secret)) == spki_of(key)
    for wrong, given in ((data[:-9], secret), (data, "khác" if secret else "x") if secret else (b"", None)):
        with pytest.raises(ServiceError) as raised:
            load_private(wrong, given)
        assert raised.value.code == "keys.unreadable_key"


def test_a_chain_must_hold_together():
    root, root_key = authority("root")
    middle, middle_key = authority("middle", root, root_key)
    leaf = certificate_over(KINDS[P256](), middle, middle_key)
    assert chain_of(leaf, [middle, root]) == (middle.der, root.der)
    for wrong in ([root], [root, middle], [middle, leaf]):
        with pytest.raises(ServiceError) as raised:
            chain_of(leaf, wrong)
        assert raised.value.code == "keys.wrong_chain"
    assert isinstance(leaf.parsed, x509.Certificate)
