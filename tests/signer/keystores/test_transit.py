"""Keys in a real OpenBao: the contract under the generated policies, and what is special about transit."""

import asyncio
import base64
import json

import pytest

from core.errors import Broken, Conflict, NotFound, Refused, Unavailable
from core.limits import LIMITS
from core.values import Digest, Message, SignatureAlgorithm
from core.vault import TokenFile, Vault, VaultConfig
from signer.keystores.model import KeyPurpose, checked, is_away
from signer.keystores.transit import TransitKeyStore
from tests.openbao import wait_until
from tests.signer.keystores.bao import MOUNTS, Town, prepare, town
from tests.signer.keystores.contract import House, KeyStoreContract, changed, input_for, name_for, refused
from tests.vault import server_kind

P = KeyPurpose.DOCUMENT
P256, ED25519 = SignatureAlgorithm.ECDSA_P256_SHA256, SignatureAlgorithm.ED25519
PSS, PKCS1 = SignatureAlgorithm.RSA_PSS_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA256
DIGEST = Digest.of(b"x")


@pytest.fixture(scope="module")
def tokens(openbao):
    return prepare(openbao)


@pytest.fixture
async def here(openbao, tokens, tmp_path):
    async with town(openbao, tokens, tmp_path) as made:
        yield made


def another(made: Town, **changes) -> TransitKeyStore:
    """The same keys as another process has them."""
    return TransitKeyStore(
        made.signer, changes.get("mounts", MOUNTS), enroller=made.enroller, admin=changes.get("admin", made.custodian)
    )


class TestTransit(KeyStoreContract):
    @pytest.fixture
    async def house(self, here):
        return House(
            here.store, again=lambda: another(here), rotate=here.rotate, secrets=[*here.tokens.values()],
        )  # fmt: skip


@pytest.fixture
async def ref(here):
    return await here.store.create(name_for(), P, P256)


async def sign(store, ref, what=DIGEST):
    return await store.sign(ref, what, purpose=ref.purpose, event_id="e1")


# how keys are made


@pytest.mark.parametrize("algorithm", list(SignatureAlgorithm))
async def test_a_key_can_neither_leave_nor_change_by_itself(here, algorithm):
    ref = await here.store.create(name_for(KeyPurpose.QR), KeyPurpose.QR, algorithm)
    told = here.server.api("GET", f"{ref.place}/keys/{ref.name}")["data"]
    off = ("exportable", "allow_plaintext_backup", "derived", "imported_key", "deletion_allowed", "soft_deleted")
    assert [told.get(flag) or False for flag in off] == [False] * 6  # Vault knows no soft deletion
    assert (told["auto_rotate_period"], told["latest_version"], list(told["keys"])) == (0, 1, ["1"])
    assert ref.name.startswith("qr-") and ref.place in MOUNTS


async def test_a_key_that_somebody_else_made_under_the_name_is_not_taken(here):
    asked = name_for()
    for mount in MOUNTS:
        here.server.api("POST", f"{mount}/keys/{asked}.p256", {"type": "ecdsa-p256"})
    with pytest.raises(Conflict, match=r"key\.exists"):
        await here.store.create(asked, P, P256)


@pytest.mark.parametrize("meanwhile", ["as ordered", "rotated", "another type", "exportable"])
async def test_a_key_that_a_stale_standby_does_not_show_is_not_taken_either(here, monkeypatch, meanwhile):
    """The look before shows nothing; what creation answers is older than the question, or not as it was ordered."""
    asked = name_for()
    kind = "ed25519" if meanwhile == "another type" else "ecdsa-p256"
    for mount in MOUNTS:
        path = f"{mount}/keys/{asked}.p256"
        here.server.api("POST", path, {"type": kind, "exportable": meanwhile == "exportable"})
        if meanwhile == "rotated":
            here.server.api("POST", f"{path}/rotate")
    if meanwhile == "as ordered":  # the clocks agree to a second or two: what is older than that is seen
        await asyncio.sleep(1.8)

    async def sees_nothing(*_):
        return None

    monkeypatch.setattr(here.store, "_look", sees_nothing)
    error = await refused(here.store.create(asked, P, P256))
    assert error.code in {"key.exists", "key.damaged"}


async def test_new_keys_lie_in_all_mounts_and_a_reference_keeps_its_own(here):
    refs = [await here.store.create(name_for(), P, ED25519) for _ in range(16)]
    assert {ref.place for ref in refs} == set(MOUNTS)
    turned = another(here, mounts=MOUNTS[::-1])
    for ref in refs[:4]:
        assert await sign(turned, ref, Message(b"x"))


async def test_a_mount_that_is_not_configured_is_not_used(here, ref):
    only = another(here, mounts=[mount for mount in MOUNTS if mount != ref.place])
    for what in (sign(only, ref), only.public_key(ref), only.disable(ref), only.destroy(ref)):
        with pytest.raises(Unavailable, match=r"key\.no_such_store"):
            await what
    with pytest.raises(Unavailable, match=r"key\.no_such_store"):
        await sign(here.store, changed(ref, place="sys/../" + ref.place))
    with pytest.raises(NotFound, match=r"key\.missing"):
        await sign(here.store, changed(ref, place=next(m for m in MOUNTS if m != ref.place)))
    with pytest.raises(Unavailable, match=r"key\.no_such_store"):  # no fallback between stores
        await sign(here.store, changed(ref, store="software"))


async def test_an_engine_that_is_not_mounted_says_nothing_about_its_keys(here, tmp_path, openbao):
    openbao.enable("transit-moved")
    (tmp_path / "admin").write_text(openbao.admin_token())
    vault = Vault(VaultConfig(url=openbao.url, login=TokenFile(path=tmp_path / "admin")))
    await vault.start()
    try:
        store = TransitKeyStore(vault, ["transit-moved"], admin=vault)
        ref = await store.create(name_for(), P, P256)
        openbao.api("POST", "sys/remount", {"from": "transit-moved", "to": "transit-away"})
        wait_until(lambda: openbao.status("GET", f"transit-away/keys/{ref.name}") == 200, "moved")
        for what in (sign(store, ref), store.public_key(ref), store.disable(ref), store.destroy(ref)):
            with pytest.raises(Unavailable) as told:
                await what
            assert is_away(told.value)
    finally:
        await vault.close()


async def test_a_namespace_is_part_of_the_place(here, tmp_path, openbao):
    if not here.signer.capabilities.namespaces:
        await refused(sign(here.store, changed(await here.store.create(name_for(), P, P256), place="tinh/transit")))
        return
    openbao.api("POST", "sys/namespaces/tinh", {})
    openbao.enable("transit", namespace="tinh")
    signer = here.signer
    token = openbao.admin_token()
    (tmp_path / "admin").write_text(token)
    vault = Vault(VaultConfig(url=openbao.url, login=TokenFile(path=tmp_path / "admin")))
    await vault.start()
    try:
        store = TransitKeyStore(vault, ["tinh/transit"])
        ref = await store.create(name_for(), P, P256)
        assert ref.place == "tinh/transit" and checked(ref, DIGEST, await sign(store, ref))
        with pytest.raises(Unavailable):  # the other identity has no right there
            await sign(TransitKeyStore(signer, ["tinh/transit"]), ref)
    finally:
        await vault.close()


# the traps of signing, against the server itself


async def test_trap_rsa_pkcs1_is_said_though_the_server_would_take_pss(here):
    ref = await here.store.create(name_for(), P, PKCS1)
    assert checked(ref, DIGEST, await sign(here.store, ref))


async def test_trap_the_salt_of_pss_is_as_long_as_the_digest(here):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, utils
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    ref = await here.store.create(name_for(), P, PSS)
    value = await sign(here.store, ref)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    load_der_public_key(ref.spki).verify(value, DIGEST.value, pss, utils.Prehashed(hashes.SHA256()))


async def test_trap_the_version_stays_pinned_when_the_key_is_rotated_at_every_moment(here, ref):
    values = []
    for number in range(4):
        digest = Digest.of(b"%d" % number)
        one, many, _ = await asyncio.gather(
            sign(here.store, ref, digest),
            here.store.sign_batch(ref, [digest] * 20, purpose=P, event_id="e"),
            here.rotate(ref),
        )
        values += [checked(ref, digest, value) for value in (one, *many)]
    assert len(values) == 84
    assert here.server.api("GET", f"{ref.place}/keys/{ref.name}")["data"]["latest_version"] == 5
    assert await here.store.public_key(ref) == ref.spki


async def test_trap_five_hundred_digests_stay_below_the_servers_limits(here, ref):
    items = [Digest.of(b"%d" % n) for n in range(500)]
    values = await here.store.sign_batch(ref, items, purpose=P, event_id="0" * 26)
    assert all(checked(ref, item, value) for item, value in zip(items, values, strict=True))


async def test_trap_a_long_ed25519_message_is_signed_whole_and_a_longer_one_is_not_sent(here):
    ref = await here.store.create(name_for(), P, ED25519)
    long = Message(b"x" * LIMITS["transit.message_bytes"])
    assert checked(ref, long, await sign(here.store, ref, long))
    assert (await refused(sign(here.store, ref, Message(long.value + b"x")))).code == "key.bad_input"


async def test_trap_a_rotated_version_of_the_same_key_is_another_key(here, ref):
    """A reference that was moved to the newer version in our table."""
    await here.rotate(ref)
    with pytest.raises(Broken, match=r"key\.wrong_signature"):
        await sign(here.store, changed(ref, version=2))


# purpose and algorithm


@pytest.mark.parametrize("algorithm", list(SignatureAlgorithm))
async def test_a_changed_purpose_or_algorithm_is_seen_before_anything_is_sent(here, algorithm):
    ref = await here.store.create(name_for(), P, algorithm)
    lines = audit_lines(here)
    others = [other for other in SignatureAlgorithm if other is not algorithm]
    for bad in [changed(ref, purpose="seal"), *(changed(ref, algorithm=other.value) for other in others)]:
        with pytest.raises(Broken, match=r"key\.damaged"):
            await sign(here.store, bad, input_for(bad.algorithm))
    assert audit_lines(here) == lines


def audit_lines(here: Town) -> int:
    return sum(b"/sign/" in line for line in here.server.audit_file.read_bytes().splitlines())


async def test_the_events_id_is_in_the_servers_audit_trail(here, ref):
    await here.store.sign(ref, DIGEST, purpose=P, event_id="event-of-this-test")
    hashed = here.server.audit_hash("0.event-of-this-test")
    line = next(line for line in here.server.audit_file.read_text().splitlines() if hashed in line)
    told = json.loads(line)
    assert told["request"]["path"] == f"{ref.place}/sign/{ref.name}"
    wanted = here.server.audit_hash(base64.b64encode(DIGEST.value).decode())
    assert told["request"]["data"]["batch_input"][0]["input"] == wanted


# who may do what


async def test_the_signer_alone_can_neither_make_nor_end_a_key(here, ref):
    signer = TransitKeyStore(here.signer, MOUNTS)
    for what in (signer.create(name_for(), P, P256), signer.disable(ref), signer.destroy(ref)):
        with pytest.raises(Unavailable, match=r"key\.denied"):
            await what
    as_admin = TransitKeyStore(here.signer, MOUNTS, admin=here.signer)
    with pytest.raises(Unavailable, match=r"key\.denied"):  # the server's word, not ours
        await as_admin.disable(ref)
    assert await sign(signer, ref)


async def test_the_enroller_can_neither_sign_nor_end_a_key(here, ref):
    enroller = TransitKeyStore(here.enroller, MOUNTS, admin=here.enroller)
    assert await enroller.create(name_for(), P, P256)
    for what in (sign(enroller, ref), enroller.disable(ref)):
        with pytest.raises(Unavailable, match=r"key\.denied"):
            await what


# ending


async def test_after_disable_the_server_itself_refuses_whoever_asks(here, ref):
    await here.store.disable(ref)
    answer = here.server.api("POST", f"{ref.place}/sign/{ref.name}", signing_body())
    soft = here.custodian.capabilities.soft_delete
    assert ("soft-deleted" if soft else "minimum") in answer["data"]["batch_results"][0]["error"]
    if soft:
        assert here.server.status("POST", f"{ref.place}/keys/{ref.name}/rotate") >= 400
    else:  # another version was made, whose key no certificate names
        assert (await refused(sign(here.store, changed(ref, version=2)))).code == "key.wrong_signature"


def signing_body(version: int = 1) -> dict:
    return {
        "batch_input": [{"input": base64.b64encode(DIGEST.value).decode()}], "prehashed": True, "key_version": str(version),
        "hash_algorithm": "sha2-256", "marshaling_algorithm": "asn1", "signature_algorithm": "pkcs1v15",
    }  # fmt: skip


class Vault2:
    """The custodian's session as a server without soft deletion has it."""

    def __init__(self, vault):
        import dataclasses

        self._vault = vault
        self.capabilities = dataclasses.replace(vault.capabilities, soft_delete=False)

    def __getattr__(self, name):
        return getattr(self._vault, name)


async def test_a_server_without_soft_deletion_refuses_the_version_too(here, ref):
    """Vault's way, run on either."""
    store = another(here, admin=Vault2(here.custodian))
    with pytest.raises(Refused, match=r"key\.not_disabled"):
        await store.destroy(ref)
    await store.disable(ref)
    await store.disable(ref)
    answer = here.server.api("POST", f"{ref.place}/sign/{ref.name}", signing_body())
    assert "minimum" in answer["data"]["batch_results"][0]["error"]
    with pytest.raises(Refused, match=r"key\.disabled"):
        await sign(store, ref)
    assert await store.public_key(ref) == ref.spki
    await store.destroy(ref)
    for what in (sign(store, ref), store.create(ref.name.removesuffix(".p256"), P, P256)):
        assert (await refused(what)).code in {"key.disabled", "key.exists"}


async def test_a_destroyed_keys_name_is_held_by_a_key_that_cannot_sign(here, ref):
    await here.store.disable(ref)
    await here.store.destroy(ref)
    told = here.server.api("GET", f"{ref.place}/keys/{ref.name}")["data"]
    assert (told["supports_signing"], told["exportable"], told["deletion_allowed"]) == (False, False, False)
    with pytest.raises(Refused, match=r"key\.disabled"):
        await sign(here.store, ref)


async def test_a_destruction_that_was_cut_off_is_finished_when_asked_again(here, ref):
    await here.store.disable(ref)
    here.server.api("POST", f"{ref.place}/keys/{ref.name}/config", {"deletion_allowed": True})
    here.server.api("DELETE", f"{ref.place}/keys/{ref.name}")
    with pytest.raises(NotFound, match=r"key\.missing"):
        await here.store.destroy(ref)
    with pytest.raises(Conflict, match=r"key\.exists"):
        await here.store.create(ref.name.removesuffix(".p256"), P, P256)


async def test_a_reference_to_another_key_ends_nothing(here, ref):
    other = await here.store.create(name_for(), P, P256)
    mixed = changed(ref, spki=other.to_json()["spki"])
    for what in (here.store.disable(mixed), here.store.destroy(mixed)):
        with pytest.raises(Broken, match=r"key\.damaged"):
            await what
    assert await sign(here.store, ref)


async def test_a_key_that_was_trimmed_away_is_missing(here, ref):
    await here.rotate(ref)
    path = f"{ref.place}/keys/{ref.name}"
    here.server.api("POST", f"{path}/config", {"min_decryption_version": 2, "min_encryption_version": 2})
    here.server.api("POST", f"{path}/trim", {"min_available_version": 2})
    assert (await refused(sign(here.store, ref))).code in {"key.missing", "key.disabled"}
    with pytest.raises(NotFound, match=r"key\.missing"):
        await here.store.public_key(ref)


# a server that is away


async def test_a_sealed_or_absent_server_is_said_and_nothing_is_lost_when_it_is_back(openbao, tmp_path):
    """Of its own: the session's server stays up."""
    with server_kind()(tmp_path / "own") as server:
        async with town(server, prepare(server), tmp_path) as made:
            ref = await made.store.create(name_for(), P, P256)
            await asyncio.to_thread(server.seal)
            assert (await refused(sign(made.store, ref))).code == "key.sealed"
            assert (await made.store.health()).state == "sealed"
            await asyncio.to_thread(server.stop)
            assert (await refused(sign(made.store, ref))).code == "key.unavailable"
            assert (await made.store.health()).state == "unreachable"
            await asyncio.to_thread(server.start)
            await asyncio.sleep(2)
            assert checked(ref, DIGEST, await sign(made.store, ref))
            assert (await made.store.health()).state == "open"
