"""The generated policies, loaded into a real server: everything forbidden is tried with each identity's token."""

import base64
import hashlib

import pytest

from core.errors import Refused, Unavailable
from core.ids import new_id
from core.values import Digest, Message, SignatureAlgorithm
from core.vault import Vault, VaultConfig
from core.vault.capabilities import capabilities_of
from signer.keystores.model import KeyPurpose, checked
from signer.keystores.policies import Identity, agency_mount, policy_for, same_text
from signer.keystores.transit import TransitKeyStore

OURS, THEIRS, OTHER = agency_mount("H71.1"), agency_mount("H71.2"), "transit-other"
DIGEST = base64.b64encode(hashlib.sha256(b"paper").digest()).decode()
SIGN = {
    "input": DIGEST, "prehashed": True, "hash_algorithm": "sha2-256", "signature_algorithm": "pkcs1v15",
    "marshaling_algorithm": "asn1", "key_version": "1",
}  # fmt: skip
MAKE = {"type": "ecdsa-p256", "exportable": False, "allow_plaintext_backup": False}
IMPORT = {"ciphertext": "AAAA", "type": "ecdsa-p256", "allow_rotation": True, "hash_function": "SHA256"}
BATCH = {k: v for k, v in SIGN.items() if k != "input"} | {"batch_input": [{"input": DIGEST}] * 2}


def without(name, body=SIGN):
    return {k: v for k, v in body.items() if k != name}


@pytest.fixture(scope="module")
def house(openbao):
    """Three mounts with a key each, and a token for every identity of the first mount's agency."""
    for mount in (OURS, THEIRS, OTHER):
        openbao.enable(mount)
        openbao.api("POST", f"{mount}/keys/seal", {"type": "ecdsa-p256"})
        openbao.api("POST", f"{mount}/keys/rsa", {"type": "rsa-2048"})
    openbao.api("POST", f"{OURS}/keys/line", {"type": "ed25519"})
    tokens = {}
    for identity in Identity:
        policy = policy_for(identity, [OURS], "H71.1")
        openbao.add_policy(policy.name, policy.hcl())
        tokens[identity] = openbao.token_for(policy.name, no_default_policy=True)
    both = [policy_for(each, [OURS], "H71.1").name for each in (Identity.SIGNER, Identity.ENROLLER)]
    tokens["both"] = openbao.token_for(*both, no_default_policy=True)
    return tokens


SIGNING = [
    ("POST", f"{OURS}/sign/seal", SIGN, "a signature"),
    ("POST", f"{OURS}/sign/seal", BATCH, "signatures"),
    ("POST", f"{OURS}/sign/rsa", SIGN | {"signature_algorithm": "pss", "salt_length": "hash"}, "an RSA-PSS signature"),
    ("POST", f"{OURS}/sign/line", {"input": DIGEST, "key_version": "1", "signature_algorithm": "pkcs1v15"}, "an Ed25519 signature"),
]  # fmt: skip
MAKING = [("POST", f"{OURS}/keys/made-{{identity}}", MAKE, "a new key")]
READING = [("GET", f"{OURS}/keys/seal", None, "a public key")]
LISTING = [("LIST", f"{OURS}/keys", None, "names of keys")]
HASHING = [("POST", "sys/audit-hash/to-file", {"input": "x"}, "a string as the audit file has it")]
WRAPPING = [("GET", f"{OURS}/wrapping_key", None, "the wrapping key")]
TOKEN = [
    ("GET", "auth/token/lookup-self", None, "one's own token"),
    ("POST", "sys/capabilities-self", {"paths": ["sys/mounts"]}, "one's own rights"),
]

NEEDS = {
    Identity.WEB: [],
    Identity.SIGNER: SIGNING + READING + TOKEN,
    Identity.ENROLLER: MAKING + READING + TOKEN,
    Identity.AUDITOR: HASHING + LISTING + READING + TOKEN,
    Identity.CUSTODIAN: READING + TOKEN,
    Identity.IMPORTER: WRAPPING + READING + TOKEN,
    "both": SIGNING + MAKING + READING + TOKEN,
}

FORBIDDEN = [
    # out of the store
    ("GET", f"{OURS}/export/signing-key/seal", None, "export"),
    ("GET", f"{OURS}/export/signing-key/seal/1", None, "export of a version"),
    ("GET", f"{OURS}/export/public-key/seal", None, "export under a harmless name"),
    ("GET", f"{OURS}/byok-export/line/seal", None, "export wrapped"),
    ("GET", f"{OURS}/byok-export/line/seal/1", None, "export of a version, wrapped"),
    ("GET", f"{OURS}/backup/seal", None, "backup"),
    ("POST", f"{OURS}/restore/again", {"backup": "AAAA"}, "restore"),
    ("POST", f"{OURS}/restore", {"backup": "AAAA"}, "restore under its own name"),
    # the key changed
    ("POST", f"{OURS}/keys/seal/config", {"exportable": True}, "made exportable"),
    ("POST", f"{OURS}/keys/seal/config", {"deletion_allowed": True, "exportable": True}, "exportable on the side"),
    ("POST", f"{OURS}/keys/seal/config", {"allow_plaintext_backup": True}, "plain backups allowed"),
    ("POST", f"{OURS}/keys/seal/config", {"deletion_allowed": True}, "deletion allowed"),
    ("POST", f"{OURS}/keys/seal/config", {"min_decryption_version": 1}, "old versions forgotten"),
    *[("POST", f"{OURS}/keys/seal/config", {"min_encryption_version": v}, f"back to the first version, as {v!r}") for v in (0, 1, False, "", "0", "1")],
    ("POST", f"{OURS}/keys/seal/config", {"auto_rotate_period": "1h"}, "rotated by itself"),
    ("POST", f"{OURS}/keys/seal/rotate", {}, "rotated"),
    ("POST", f"{OURS}/keys/seal/rotate", {"managed_key_name": "x"}, "rotated to a key of somebody else's"),
    ("POST", f"{OURS}/keys/seal/trim", {"min_available_version": 1}, "trimmed"),
    ("POST", f"{OURS}/keys/seal/csr", {}, "a request for a certificate of the caller's making"),
    ("POST", f"{OURS}/keys/seal/set-certificate", {"certificate_chain": "x"}, "another certificate"),
    ("DELETE", f"{OURS}/keys/seal", None, "deleted"),
    ("DELETE", f"{OURS}/keys/seal/soft-delete", None, "out of use"),
    ("POST", f"{OURS}/keys/seal/soft-delete-restore", {}, "back in use"),
    ("GET", f"{OURS}/wrapping_key", None, "the wrapping key"),
    ("POST", f"{OURS}/keys/foreign/import", IMPORT, "a foreign key"),
    ("POST", f"{OURS}/keys/foreign/import", IMPORT | {"exportable": True}, "a foreign key that may leave"),
    ("POST", f"{OURS}/keys/foreign/import", IMPORT | {"allow_rotation": False}, "a foreign key that Vault could not take out of use"),
    ("POST", f"{OURS}/keys/seal/import_version", {"ciphertext": "AAAA"}, "a foreign version"),
    # a key that may leave
    ("POST", f"{OURS}/keys/loose", MAKE | {"exportable": True}, "an exportable key"),
    ("POST", f"{OURS}/keys/loose", MAKE | {"exportable": "true"}, "an exportable key, spelled"),
    ("POST", f"{OURS}/keys/loose", MAKE | {"exportable": 1}, "an exportable key, counted"),
    ("POST", f"{OURS}/keys/loose", MAKE | {"allow_plaintext_backup": True}, "a key with plain backups"),
    ("POST", f"{OURS}/keys/loose", MAKE | {"derived": True}, "a key of which others are derived"),
    ("POST", f"{OURS}/keys/loose", MAKE | {"auto_rotate_period": "1h"}, "a key that rotates by itself"),
    ("POST", f"{OURS}/keys/loose", MAKE | {"type": "aes256-gcm96"}, "a key that encrypts"),
    ("POST", f"{OURS}/keys/loose", MAKE | {"type": "rsa-2048"}, "a weaker key"),
    ("POST", f"{OURS}/keys/loose", MAKE | {"type": ""}, "a key of the default type"),
    ("POST", f"{OURS}/keys/made-twice", MAKE, "a key"),
    # signatures that the certificate does not carry
    ("POST", f"{OURS}/sign/seal", without("key_version"), "no version"),
    ("POST", f"{OURS}/sign/seal", without("key_version", BATCH), "no version, many"),
    *[("POST", f"{OURS}/sign/seal", SIGN | {"key_version": v}, f"the newest version, as {v!r}") for v in (0, False, "", "0", "-1", -1)],
    ("POST", f"{OURS}/sign/seal", SIGN | {"key_version": 1}, "a version as a number, which no rule can tell from 0"),
    ("POST", f"{OURS}/sign/seal", SIGN | {"KEY_VERSION": ""}, "the newest version beside another"),
    ("POST", f"{OURS}/sign/rsa", without("signature_algorithm"), "the default padding"),
    ("POST", f"{OURS}/sign/rsa", SIGN | {"signature_algorithm": ""}, "the default padding, as ''"),
    ("POST", f"{OURS}/sign/rsa", SIGN | {"salt_length": "auto"}, "the default salt"),
    ("POST", f"{OURS}/sign/rsa", SIGN | {"signature_algorithm": "pss", "salt_length": ""}, "the default salt, as ''"),
    ("POST", f"{OURS}/sign/rsa", SIGN | {"hash_algorithm": ""}, "the default hash, as ''"),
    ("POST", f"{OURS}/sign/rsa", SIGN | {"marshaling_algorithm": ""}, "the default form, as ''"),
    ("POST", f"{OURS}/sign/seal/sha1", without("hash_algorithm"), "SHA-1 in the address"),
    ("POST", f"{OURS}/sign/seal/sha2-256", without("hash_algorithm"), "a hash in the address"),
    ("POST", f"{OURS}/sign/seal", SIGN | {"hash_algorithm": "sha1"}, "SHA-1"),
    ("POST", f"{OURS}/sign/seal", without("hash_algorithm") | {"algorithm": "sha1"}, "SHA-1 by the old name"),
    ("POST", f"{OURS}/sign/rsa", SIGN | {"hash_algorithm": "none"}, "anything at all"),
    ("POST", f"{OURS}/sign/seal", SIGN | {"marshaling_algorithm": "jws"}, "another form"),
    ("POST", f"{OURS}/sign/seal", SIGN | {"context": "AAAA"}, "a derived key"),
    ("POST", f"{OURS}/sign/seal", SIGN, "a signature"),
    ("POST", f"{OURS}/sign/seal", BATCH, "signatures"),
    # other uses of a key
    ("POST", f"{OURS}/hmac/seal", {"input": DIGEST}, "a keyed hash"),
    ("POST", f"{OURS}/encrypt/by-mistake", {"plaintext": DIGEST}, "a key made by encrypting"),
    ("POST", f"{OURS}/decrypt/rsa", {"ciphertext": "vault:v1:AAAA"}, "decryption"),
    ("POST", f"{OURS}/rewrap/rsa", {"ciphertext": "vault:v1:AAAA"}, "rewrapping"),
    ("POST", f"{OURS}/datakey/plaintext/rsa", {}, "a data key"),
    ("POST", f"{OURS}/derive-key/line", {}, "a derived key"),
    ("POST", f"{OURS}/config/keys", {"disable_upsert": False}, "keys by mistake"),
    ("POST", f"{OURS}/cache-config", {"size": 10}, "the cache"),
    ("LIST", f"{OURS}/keys", None, "names of keys"),
    ("GET", f"{OURS}/keys/seal", None, "a public key"),
    # other mounts, other agencies
    *[("POST", f"{mount}/sign/seal", SIGN, f"signing in {mount}") for mount in (THEIRS, OTHER)],
    *[("GET", f"{mount}/keys/seal", None, f"reading in {mount}") for mount in (THEIRS, OTHER)],
    *[("POST", f"{mount}/keys/new", MAKE, f"a key in {mount}") for mount in (THEIRS, OTHER)],
    *[("DELETE", f"{mount}/keys/seal", None, f"deleting in {mount}") for mount in (THEIRS, OTHER)],
    ("POST", f"{OURS}/../{THEIRS}/sign/seal", SIGN, "another agency's key by a crooked path"),
    ("POST", f"{OURS}/sign/..%2f..%2f{THEIRS}%2fsign%2fseal", SIGN, "the same, encoded"),
    # the house itself
    ("GET", "sys/policies/acl", None, "names of policies"),
    ("LIST", "sys/policies/acl", None, "names of policies"),
    ("GET", "sys/policies/acl/dauso-signer-h71-1", None, "a policy"),
    ("POST", "sys/policies/acl/dauso-signer-h71-1", {"policy": 'path "*" { capabilities = ["sudo"] }'}, "a policy changed"),
    ("GET", "sys/mounts", None, "mounts"),
    ("POST", "sys/mounts/mine", {"type": "transit"}, "a mount"),
    ("POST", f"sys/mounts/{OURS}/tune", {"description": "x"}, "a mount changed"),
    ("DELETE", f"sys/mounts/{OTHER}", None, "a mount removed"),
    ("POST", "sys/remount", {"from": OTHER, "to": "elsewhere"}, "a mount moved"),
    ("GET", "sys/auth", None, "ways of logging in"),
    ("POST", "sys/auth/mine", {"type": "userpass"}, "a way of logging in"),
    ("GET", "sys/audit", None, "audit devices"),
    ("POST", "sys/audit-hash/to-file", {"input": "x"}, "a string as the audit file has it"),
    ("DELETE", "sys/audit/to-file", None, "no audit"),
    ("PUT", "sys/seal", {}, "sealing"),
    ("PUT", "sys/step-down", {}, "stepping down"),
    ("GET", "sys/storage/raft/snapshot", None, "a snapshot"),
    ("GET", "sys/raw/core", None, "raw storage"),
    ("POST", "sys/rotate", {}, "the barrier's key rotated"),
    ("POST", "auth/token/create", {}, "a token"),
    ("POST", "auth/token/create", {"policies": ["admin"]}, "a token with more rights"),
    ("POST", "auth/token/create-orphan", {"policies": ["admin"]}, "an orphan with more rights"),
    ("POST", "auth/token/roles/mine", {"allowed_policies": "admin"}, "a role of tokens"),
    ("POST", "auth/approle/role/mine", {"token_policies": ["admin"]}, "a role"),
    ("POST", "auth/approle/role/role-n1-1/secret-id", {}, "a secret id"),
    ("POST", "auth/userpass/users/mine", {"password": "x", "token_policies": ["admin"]}, "a user"),
    ("POST", "auth/userpass/users/admin/password", {"password": "x"}, "the admin's password"),
    ("POST", "identity/entity", {"policies": ["admin"]}, "an entity with rights"),
    ("POST", "identity/group", {"policies": ["admin"]}, "a group with rights"),
]  # fmt: skip


OPEN: dict[object, set[str]] = {
    Identity.ENROLLER: {"a key"},
    Identity.IMPORTER: {"a foreign key"},
    Identity.CUSTODIAN: {"deletion allowed", "deleted", "out of use", "rotated", "a key that encrypts"},
    "both": {"a key"},
}
"""What of the list below an identity may do; tried elsewhere, or of no consequence here."""


@pytest.mark.parametrize("identity", list(NEEDS), ids=str)
def test_each_identity_does_what_it_needs_and_nothing_else(openbao, house, identity):
    token = house[identity]
    for method, path, body, what in NEEDS[identity]:
        status = openbao.status(method, path.format(identity=f"{identity}-1"), body, token)
        assert status in {200, 204}, f"{identity} needs {what}: {status}"
    needed = [call[:3] for call in NEEDS[identity]]
    tried = 0
    for method, path, body, what in FORBIDDEN:
        if what in OPEN.get(identity, ()) or (method, path, body) in needed:
            continue
        status = openbao.status(method, path, body, token)
        # a crooked path is turned away before anybody's rights are looked at
        assert status == 403 or (".." in path and status in {400, 404}), f"{identity}: {what}: {status}"
        tried += 1
    assert tried > len(FORBIDDEN) - 9
    assert openbao.api("GET", f"{THEIRS}/keys/seal")["data"]["latest_version"] == 1
    assert openbao.api("GET", f"{OURS}/keys/seal")["data"]["exportable"] is False


def test_the_custodian_takes_a_key_out_of_use_and_destroys_it_and_signs_nothing(openbao, house):
    name = f"{OURS}/keys/gone"
    openbao.api("POST", name, {"type": "ecdsa-p256"})
    token = house[Identity.CUSTODIAN]
    if capabilities_of(openbao.raw("GET", "sys/health").json()).soft_delete:
        assert openbao.status("DELETE", f"{name}/soft-delete", None, token) == 200
        why = "deleted"
    else:
        assert openbao.status("POST", f"{name}/rotate", None, token) == 200
        assert openbao.status("POST", f"{name}/config", {"min_encryption_version": "2"}, token) == 200
        why = "minimum"
    gone = openbao.raw("POST", f"{OURS}/sign/gone", SIGN, house[Identity.SIGNER])
    assert gone.status_code == 500  # as if the server were ill
    assert why in gone.text
    assert openbao.status("POST", f"{name}/soft-delete-restore", {}, token) == 403
    assert openbao.status("POST", f"{name}/config", {"min_encryption_version": "1"}, token) == 403
    assert openbao.status("POST", f"{OURS}/sign/gone", SIGN, token) == 403
    assert openbao.status("POST", f"{name}/config", {"deletion_allowed": True}, token) == 200
    assert openbao.status("DELETE", name, None, token) == 204
    assert openbao.status("GET", name) == 404
    assert openbao.status("POST", name, MAKE, token) == 403
    assert (
        openbao.status("POST", name, MAKE | {"type": "aes256-gcm96"}, token) == 200
    )  # nobody is given that name again


def test_what_is_denied_stays_denied_beside_a_wider_policy(openbao):
    policy = policy_for(Identity.SIGNER, [OURS], "H71.1")
    openbao.add_policy(
        "wide", f'path "{OURS}/*" {{ capabilities = ["create", "read", "update", "delete", "list", "sudo"] }}'
    )
    openbao.add_policy(policy.name, policy.hcl())
    openbao.api("POST", f"{OURS}/keys/wide", {"type": "ecdsa-p256"})
    token = openbao.token_for(policy.name, "wide", no_default_policy=True)
    for method, path, body in (
        ("GET", f"{OURS}/export/signing-key/wide", None),
        ("GET", f"{OURS}/backup/wide", None),
        ("POST", f"{OURS}/keys/wide/config", {"exportable": True}),
        ("POST", f"{OURS}/keys/wide/rotate", {}),
        ("POST", f"{OURS}/sign/wide/sha1", SIGN),
        ("POST", f"{OURS}/sign/wide", without("key_version")),
        ("DELETE", f"{OURS}/keys/wide", None),
    ):
        assert openbao.status(method, path, body, token) == 403, path


def test_the_custodians_rights_do_not_add_up_with_the_signers(openbao, house):
    names = [policy_for(each, [OURS], "H71.1").name for each in (Identity.SIGNER, Identity.CUSTODIAN)]
    token = openbao.token_for(*names, no_default_policy=True)
    assert openbao.status("POST", f"{OURS}/keys/line/config", {"deletion_allowed": True}, token) == 403
    assert openbao.status("DELETE", f"{OURS}/keys/line/soft-delete", None, token) == 403


def test_the_server_keeps_the_text_and_answers_the_probes(openbao, house):
    for identity in Identity:
        policy = policy_for(identity, [OURS], "H71.1")
        assert same_text(policy, openbao.api("GET", f"sys/policies/acl/{policy.name}")["data"]["policy"])
        if identity is Identity.WEB:
            continue
        probes = policy.probes()
        body = {"paths": [each.path for each in probes]}
        answer = openbao.api("POST", "sys/capabilities-self", body, house[identity])["data"]
        wrong = [each for each in probes if frozenset(answer[each.path]) != each.may]
        assert wrong == [], identity


def test_every_path_of_the_engine_was_thought_of(openbao):
    """A new release with a new path fails here, not in an office."""
    known = openbao.api("GET", "sys/internal/specs/openapi?generic=true")["paths"]
    rules = policy_for(Identity.CUSTODIAN, ["transit"]).rules + policy_for(Identity.SIGNER, ["transit"]).rules
    covered = [rule.path for rule in rules]
    harmless = {"/transit/keys", "/transit/random", "/transit/hash", "/transit/verify"}
    for path in (each.rstrip("/") for each in known):  # Vault writes a list with a slash
        if not path.startswith("/transit/") or any(path == each or path.startswith(f"{each}/{{") for each in harmless):
            continue
        plain = path[1:].replace("{name}", "+").replace("{urlalgorithm}", "+")
        hit = any(plain == each or (each.endswith("*") and plain.startswith(each[:-1])) for each in covered)
        assert hit, path


# ------------------------------------------------------------------------------------------------ through our own store
@pytest.fixture
async def vaults(openbao):
    """A session for every identity over one mount, and for who signs and makes keys at once."""
    openbao.enable("transit-live")
    for identity in Identity:
        policy = policy_for(identity, ["transit-live"])
        openbao.add_policy(policy.name, policy.hcl())
    wanted = {each: [f"dauso-{each}"] for each in Identity} | {"both": ["dauso-signer", "dauso-enroller"]}
    made = {}
    for who, names in wanted.items():
        made[who] = Vault(VaultConfig(url=openbao.url, login=openbao.login_for(*names, token_no_default_policy=True)))
        await made[who].start()
    yield made
    for vault in made.values():
        await vault.close()


def store_of(vaults, who, *, enroller=None, admin=None):
    named = {"enroller": enroller, "admin": admin}
    return TransitKeyStore(vaults[who], ["transit-live"], **{k: vaults[v] for k, v in named.items() if v})


async def new_key(vaults, clock):
    store = store_of(vaults, "signer", enroller="enroller")
    return await store.create(f"seal-{new_id(clock)}", KeyPurpose.SEAL, SignatureAlgorithm.ECDSA_P256_SHA256)


async def refused(awaitable):
    with pytest.raises((Refused, Unavailable)) as raised:
        await awaitable
    return raised.value.code


@pytest.mark.parametrize(("who", "enroller"), [("signer", "enroller"), ("both", None)], ids=["split", "one"])
async def test_a_house_makes_keys_and_signs_with_these_policies(vaults, clock, who, enroller):
    store = store_of(vaults, who, enroller=enroller)
    for algorithm in SignatureAlgorithm:
        ref = await store.create(f"seal-{new_id(clock)}", KeyPurpose.SEAL, algorithm)
        hashed = algorithm.digest
        item = Message(b"paper") if hashed is None else Digest.of(b"paper", hashed)
        value = await store.sign(ref, item, purpose=KeyPurpose.SEAL, event_id="e")
        assert checked(ref, item, value) == value
        assert await store.sign_batch(ref, [item] * 3, purpose=KeyPurpose.SEAL, event_id="e")
        assert await store.public_key(ref) == ref.spki
        assert await refused(store.disable(ref)) == "key.denied"
        assert await refused(store.destroy(ref)) == "key.denied"
    assert (await store.health()).state == "open"


async def test_only_the_custodian_ends_a_key(vaults, clock):
    ref = await new_key(vaults, clock)
    for who in ("signer", "enroller", "auditor", "importer", "both"):
        assert await refused(store_of(vaults, "signer", admin=who).disable(ref)) == "key.denied"
    await store_of(vaults, "signer", admin="custodian").disable(ref)
    for who in ("signer", "enroller", "auditor", "importer", "both"):
        assert await refused(store_of(vaults, "signer", admin=who).destroy(ref)) == "key.denied"
    await store_of(vaults, "signer", admin="custodian").destroy(ref)


@pytest.mark.parametrize("who", ["web", "enroller", "auditor", "custodian", "importer"])
async def test_nobody_but_the_signer_signs(vaults, clock, who):
    ref = await new_key(vaults, clock)
    code = await refused(store_of(vaults, who).sign(ref, Digest.of(b"x"), purpose=KeyPurpose.SEAL, event_id="e"))
    assert code == "key.denied"
    if who != "enroller":
        make = store_of(vaults, who).create(f"seal-{new_id(clock)}", KeyPurpose.SEAL, SignatureAlgorithm.ED25519)
        assert await refused(make) == "key.denied"
