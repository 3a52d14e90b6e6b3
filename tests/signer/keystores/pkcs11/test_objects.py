"""Keys of the token: what the token says of them, keys that were there before, keys that others touched."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from core.errors import BadInput, Broken, Conflict, NotFound, Refused
from core.limits import LIMITS
from core.values import Digest, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, checked
from tests.signer.keystores.contract import changed, input_for
from tests.signer.keystores.pkcs11.hsm import LABEL, MODULE, PIN

P = KeyPurpose.SEAL
P256, P384 = SignatureAlgorithm.ECDSA_P256_SHA256, SignatureAlgorithm.ECDSA_P384_SHA384
RSA, PSS = SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PSS_SHA256
ED25519 = SignatureAlgorithm.ED25519
DIGEST = Digest.of(b"x")
ID = b"\x07" * 16

_BEFORE = f"""
import os, pkcs11
from pkcs11 import Attribute as A, KeyType, Mechanism, MechanismFlag, ObjectClass
session = pkcs11.lib({str(MODULE)!r}).get_token(token_label={LABEL!r}).open(rw=True, user_pin={PIN!r})
ID = {ID!r}
def pair(kind=KeyType.EC, bits=None, curve=bytes.fromhex("06082a8648ce3d030107"), extractable=False, id=ID):
    return session.generate_keypair(kind, bits, id=id, label="made elsewhere", store=True,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        public_template={{A.EC_PARAMS: curve}} if kind is not KeyType.RSA else {{}},
        private_template={{A.EXTRACTABLE: extractable, A.SENSITIVE: not extractable}})
def private(): return list(session.get_objects({{A.CLASS: ObjectClass.PRIVATE_KEY}}))
"""


def elsewhere(script: str) -> str:
    """Another program with the PIN works on the token."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _BEFORE + script + "\nsys = __import__('sys'); sys.stdout.flush(); os._exit(0)"],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


async def test_a_private_key_is_sensitive_stays_in_the_token_and_only_signs(open_store):
    store = open_store()
    for number, algorithm in enumerate((P256, RSA, ED25519)):
        await store.create(f"seal-{number}", P, algorithm)
    told = elsewhere("""
for key in private():
    names = ("SENSITIVE", "ALWAYS_SENSITIVE", "EXTRACTABLE", "NEVER_EXTRACTABLE", "SIGN", "DECRYPT", "UNWRAP", "DERIVE", "PRIVATE")
    print(*(key[getattr(A, name)] for name in names), len(key[A.ID]))
""").splitlines()
    assert told == ["True True False True True False False False True 16"] * 3


async def test_the_key_itself_never_comes_out(open_store):
    await open_store().create("seal-1", P, P256)
    told = elsewhere("""
try: private()[0][A.VALUE]; print("out")
except pkcs11.PKCS11Error as error: print(type(error).__name__)
""")
    assert "out" not in told.split()


@pytest.mark.parametrize(
    ("algorithm", "made"),
    [
        (P256, "pair()"), (P384, "pair(curve=bytes.fromhex('06052b81040022'))"), (RSA, "pair(KeyType.RSA, 2048)"),
        (PSS, "pair(KeyType.RSA, 2048)"), (ED25519, "pair(KeyType.EC_EDWARDS, curve=bytes.fromhex('06032b6570'))"),
        (ED25519, "pair(KeyType.EC_EDWARDS, curve=b'\\x13\\x0cedwards25519')"),
    ],
)  # fmt: skip
async def test_a_pair_that_was_there_before_is_taken_up_by_its_id(open_store, algorithm, made):
    elsewhere(made)
    store = open_store()
    ref = await store.adopt("seal-1", P, algorithm, ID)
    assert load_der_public_key(ref.spki) and await store.public_key(ref) == ref.spki
    for user in (store, open_store()):
        value = await user.sign(ref, input_for(algorithm), purpose=P, event_id="e")
        assert checked(ref, input_for(algorithm), value)
    assert elsewhere("print(private()[0][A.ID] == ID)").strip() == "True"  # whoever else uses it still finds it
    with pytest.raises(Broken, match=r"key\.damaged"):
        await store.public_key(changed(ref, purpose="ca"))


@pytest.mark.parametrize(
    ("made", "algorithm", "error", "code"),
    [
        ("", P256, NotFound, "key.missing"),
        ("pair(id=b'other')", P256, NotFound, "key.missing"),
        ("pair(extractable=True)", P256, Refused, "key.extractable"),
        ("pair()", P384, Broken, "key.damaged"),
        ("pair()", RSA, Broken, "key.damaged"),
        ("pair(KeyType.RSA, 1024)", RSA, Broken, "key.damaged"),
        ("pair(); pair()", P256, Broken, "key.damaged"),
        ("pair()[0].destroy()", P256, NotFound, "key.missing"),
        # the public object is another key's
        ("pair()[0].destroy(); pair()[1].destroy()", P256, Broken, "key.wrong_signature"),
        ("pair()[1][A.SIGN] = False", P256, Refused, "key.disabled"),
    ],
)
async def test_a_pair_that_does_not_prove_itself_is_not_taken_up(open_store, made, algorithm, error, code):
    elsewhere(made)
    store = open_store()
    with pytest.raises(error) as caught:
        await store.adopt("seal-1", P, algorithm, ID)
    assert caught.value.code == code
    assert await store.create("seal-1", P, P256)  # the name was not given to it


async def test_a_pair_is_taken_up_once_and_under_a_free_name(open_store):
    elsewhere("pair(); pair(id=b'second')")
    store = open_store()
    await store.adopt("seal-1", P, P256, ID)
    with pytest.raises(Conflict, match=r"key\.exists"):
        await store.adopt("ca-1", KeyPurpose.CA, P256, ID)
    with pytest.raises(Conflict, match=r"key\.exists"):
        await store.adopt("seal-1", P, P256, b"second")
    with pytest.raises(BadInput, match=r"key\.bad_input"):
        await store.adopt("a/b", P, P256, b"second")
    assert await store.adopt("seal-2", P, P256, b"second")


async def test_a_key_that_the_token_itself_disabled_refuses_although_no_mark_of_ours_is_there(open_store):
    store = open_store()
    ref = await store.create("seal-1", P, P256)
    assert await store.sign(ref, DIGEST, purpose=P, event_id="e")
    elsewhere("private()[0][A.SIGN] = False")
    for user in (store, open_store()):  # one holds a handle, the other looks
        with pytest.raises(Refused, match=r"key\.disabled"):
            await user.sign(ref, DIGEST, purpose=P, event_id="e")


async def test_the_mark_alone_disables_for_a_service_that_has_used_the_key(open_store, monkeypatch):
    monkeypatch.setitem(LIMITS, "pkcs11.record_seconds", 0)
    one, two = open_store(), open_store()
    ref = await one.create("seal-1", P, P256)
    assert await two.sign(ref, DIGEST, purpose=P, event_id="e")
    await one.disable(ref)
    elsewhere("private()[0][A.SIGN] = True")  # as in a token that does not let it be changed
    with pytest.raises(Refused, match=r"key\.disabled"):
        await two.sign(ref, DIGEST, purpose=P, event_id="e")


async def test_all_workers_of_a_service_forget_a_disabled_key_at_once(open_store):
    store = open_store(workers=2)
    ref = await store.create("seal-1", P, P256)
    await store.sign_batch(ref, [DIGEST] * 200, purpose=P, event_id="e")
    assert len(store.pids) == 2
    await store.disable(ref)
    elsewhere("private()[0][A.SIGN] = True")
    results = await store.sign_batch(ref, [DIGEST] * 200, purpose=P, event_id="e")
    assert {result.code for result in results} == {"key.disabled"}


async def test_a_destroyed_pair_is_gone_from_the_token(open_store):
    store = open_store()
    ref = await store.create("seal-1", P, P256)
    await store.disable(ref)
    await store.destroy(ref)
    assert (
        elsewhere("print(len(private()), len(list(session.get_objects({A.CLASS: ObjectClass.PUBLIC_KEY}))))") == "0 0\n"
    )


async def test_two_records_of_one_name_are_damaged(open_store):
    store = open_store()
    ref = await store.create("seal-1", P, P256)
    elsewhere("""
record = [o for o in session.get_objects({A.CLASS: ObjectClass.DATA, A.LABEL: "seal-1"})][0]
session.create_object({A.CLASS: ObjectClass.DATA, A.TOKEN: True, A.PRIVATE: True, A.LABEL: "seal-1",
    A.APPLICATION: record[A.APPLICATION], A.VALUE: record[A.VALUE]})
""")
    with pytest.raises(Broken, match=r"key\.damaged"):
        await open_store().sign(ref, DIGEST, purpose=P, event_id="e")


async def test_a_token_whose_maker_is_softhsm_is_not_for_production(open_store):
    store = open_store()
    assert store.not_for_production
    await store.start()
    assert store.not_for_production and "SoftHSM" in (await store.health()).detail
    store._pool.maker = "Thales"
    assert not store.not_for_production
