"""What is sent to transit and how answers are read, without a server."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from core.errors import BadInput, Broken, NotFound, Refused, Unavailable
from core.limits import LIMITS
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.memory import generate, raw_sign
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.transit.answers import REFUSED_ITEM, Asked, Kept, as_key_error, read_rows, signing, value_of
from signer.keystores.transit.naming import FORMS, full_name, mounts_of, place_of, require_bound
from tests.signer.keystores.contract import changed, input_for

P256, PSS = SignatureAlgorithm.ECDSA_P256_SHA256, SignatureAlgorithm.RSA_PSS_SHA256
PKCS1, ED25519 = SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.ED25519
DIGEST = Digest.of(b"x")
ONE = Asked(DIGEST, "e1")


def spki_of(key) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def ref_of(key, algorithm=P256, version=3) -> KeyRef:
    name = full_name("seal-01abc", KeyPurpose.SEAL, algorithm)
    return KeyRef(
        store="transit", place="transit", name=name, version=version, purpose=KeyPurpose.SEAL, algorithm=algorithm,
        spki=spki_of(key),
    )  # fmt: skip


@pytest.fixture(scope="module")
def key():
    return generate(P256)


@pytest.fixture(scope="module")
def rsa_key():
    return generate(PSS)


def row(value: bytes, version: int = 3, reference: str = "0.e1", **more) -> dict:
    form = f"vault:v{version}:{base64.b64encode(value).decode()}"
    return {"signature": form, "key_version": version, "reference": reference, **more}


# what is sent


@pytest.mark.parametrize("algorithm", list(SignatureAlgorithm))
def test_every_parameter_is_said_and_nothing_left_to_a_default(algorithm, key):
    to_sign = input_for(algorithm)
    body = signing(changed(ref_of(key), algorithm=algorithm.value), [Asked(to_sign, "e1")])
    assert body["key_version"] == "3"
    assert body["signature_algorithm"] == ("pss" if algorithm is PSS else "pkcs1v15")
    assert (body["salt_length"], body["marshaling_algorithm"]) == ("hash", "asn1")
    assert body["batch_input"] == [{"input": base64.b64encode(to_sign.value).decode(), "reference": "0.e1"}]
    if algorithm is ED25519:
        assert body["prehashed"] is False and "hash_algorithm" not in body
    else:
        hashed = "sha2-384" if algorithm is SignatureAlgorithm.ECDSA_P384_SHA384 else "sha2-256"
        assert (body["prehashed"], body["hash_algorithm"]) == (True, hashed)
    assert "none" not in json.dumps(body)


def test_a_full_call_stays_below_the_servers_thousand_strings(key):
    assert LIMITS["transit.batch"] <= 200
    body = signing(ref_of(key), [Asked(DIGEST, "0" * 26)] * 200)
    assert strings_in(body) <= 1_000 - 100


def strings_in(value) -> int:
    if isinstance(value, dict):
        return sum(1 + strings_in(v) for v in value.values())
    if isinstance(value, list):
        return sum(map(strings_in, value))
    return isinstance(value, str)


# what comes back


def test_a_good_row_gives_its_signature(key):
    value = raw_sign(key, P256, DIGEST)
    assert value_of(ref_of(key), ONE, row(value)) == value


def jws(value: bytes) -> str:
    r, s = utils.decode_dss_signature(value)
    return base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).rstrip(b"=").decode()


BROKEN = {
    "truncated": lambda value: row(value[:-1]),
    "truncated base64": lambda value: row(value) | {"signature": row(value)["signature"][:-3]},
    "longer": lambda value: row(value + b"\0"),
    "flipped at the start": lambda value: row(bytes([value[0] ^ 1]) + value[1:]),
    "flipped at the end": lambda value: row(value[:-1] + bytes([value[-1] ^ 1])),
    "empty": lambda value: row(b""),
    "no prefix": lambda value: row(value) | {"signature": base64.b64encode(value).decode()},
    "another prefix": lambda value: row(value) | {"signature": row(value)["signature"].replace("vault", "bao")},
    "version zero": lambda value: row(value) | {"signature": row(value)["signature"].replace("v3", "v0")},
    "no signature": lambda _: {"reference": "0.e1"},
    "a number": lambda _: {"signature": 7, "reference": "0.e1"},
    "jws form": lambda value: row(value) | {"signature": f"vault:v3:{jws(value)}"},
    "url-safe base64": lambda value: (
        row(value) | {"signature": f"vault:v3:{base64.urlsafe_b64encode(value).rstrip(b'=').decode()}-_"}
    ),
    "a line break": lambda value: row(value) | {"signature": row(value)["signature"] + "\n"},
    "r and s unwrapped": lambda value: row(base64.urlsafe_b64decode(jws(value) + "==")),
}


@pytest.mark.parametrize("how", BROKEN)
def test_trap_a_value_in_another_form_or_with_a_fault_is_never_released(key, how):
    result = value_of(ref_of(key), ONE, BROKEN[how](raw_sign(key, P256, DIGEST)))
    assert isinstance(result, Broken) and result.code == "key.wrong_signature"


@pytest.mark.parametrize("version", [1, 2, 4, 33])
def test_trap_an_answer_of_another_version_is_refused_even_if_it_verifies(key, version):
    result = value_of(ref_of(key), ONE, row(raw_sign(key, P256, DIGEST), version))
    assert isinstance(result, Broken) and result.code == "key.wrong_version"
    lying = row(raw_sign(key, P256, DIGEST)) | {"key_version": version}
    assert value_of(ref_of(key), ONE, lying).code == "key.wrong_version"


def test_trap_pss_with_the_longest_salt_is_refused(rsa_key):
    hashed = utils.Prehashed(hashes.SHA256())
    longest = rsa_key.sign(DIGEST.value, padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH), hashed)
    ref = ref_of(rsa_key, PSS)
    assert value_of(ref, ONE, row(longest)).code == "key.wrong_signature"
    assert value_of(ref, ONE, row(raw_sign(rsa_key, PSS, DIGEST))) != REFUSED_ITEM


def test_trap_pss_where_pkcs1_was_ordered_is_refused_and_the_other_way_round(rsa_key):
    for wanted, given in ((PKCS1, PSS), (PSS, PKCS1)):
        result = value_of(ref_of(rsa_key, wanted), ONE, row(raw_sign(rsa_key, given, DIGEST)))
        assert isinstance(result, Broken) and result.code == "key.wrong_signature"


def test_trap_a_hashed_digest_is_refused(key):
    """The server was not told that the input is a digest and hashed it once more."""
    twice = key.sign(DIGEST.value, ec.ECDSA(hashes.SHA256()))
    assert value_of(ref_of(key), ONE, row(twice)).code == "key.wrong_signature"


def test_trap_ed25519_over_a_hash_instead_of_the_message_is_refused():
    key = generate(ED25519)
    one = Asked(Message(b"x"), "e1")
    ref = ref_of(key, ED25519)
    assert value_of(ref, one, row(key.sign(Digest.of(b"x").value))).code == "key.wrong_signature"
    assert value_of(ref, one, row(key.sign(b"x"))) == key.sign(b"x")


def test_a_signature_of_another_key_is_refused(key):
    assert value_of(ref_of(key), ONE, row(raw_sign(generate(P256), P256, DIGEST))).code == "key.wrong_signature"


# batches

THREE = [Asked(Digest.of(b"%d" % n), f"e{n}") for n in range(3)]


def rows_of(key) -> list[dict]:
    return [row(raw_sign(key, P256, one.to_sign), reference=f"{n}.{one.event_id}") for n, one in enumerate(THREE)]


def results(ref, answer) -> list:
    return [value_of(ref, one, told) for one, told in zip(THREE, read_rows(THREE, answer), strict=True)]


def test_trap_a_failed_item_of_a_good_answer_is_seen(key):
    told = rows_of(key)
    told[1] = {"error": "no", "reference": "1.e1", "key_version": 0}
    one, two, three = results(ref_of(key), {"batch_results": told})
    assert isinstance(one, bytes) and isinstance(three, bytes) and two is REFUSED_ITEM


def test_an_item_with_a_signature_and_an_error_is_not_released(key):
    told = rows_of(key)
    told[0]["error"] = "no"
    assert results(ref_of(key), {"batch_results": told})[0] is REFUSED_ITEM


def test_rows_in_another_order_are_told_apart_by_their_reference(key):
    told = rows_of(key)
    good = results(ref_of(key), {"batch_results": told})
    assert results(ref_of(key), {"batch_results": told[::-1]}) == good


def test_rows_without_references_are_taken_in_order_and_a_swap_is_caught(key):
    told = [{k: v for k, v in one.items() if k != "reference"} for one in rows_of(key)]
    assert all(isinstance(one, bytes) for one in results(ref_of(key), {"batch_results": told}))
    swapped = [told[1], told[0], told[2]]
    one, two, three = results(ref_of(key), {"batch_results": swapped})
    assert (one.code, two.code) == ("key.wrong_signature", "key.wrong_signature") and isinstance(three, bytes)


def test_rows_with_swapped_references_are_caught(key):
    told = rows_of(key)
    told[0]["reference"], told[1]["reference"] = told[1]["reference"], told[0]["reference"]
    one, two, three = results(ref_of(key), {"batch_results": told})
    assert (one.code, two.code) == ("key.wrong_signature", "key.wrong_signature") and isinstance(three, bytes)


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_a_missing_row_is_an_unknown_outcome_of_its_item_alone(key, left_out):
    told = rows_of(key)
    del told[left_out]
    for number, result in enumerate(results(ref_of(key), {"batch_results": told})):
        if number == left_out:
            assert isinstance(result, Unavailable) and result.code == "key.outcome_unknown"
        else:
            assert isinstance(result, bytes)


@pytest.mark.parametrize("answer", [{}, {"batch_results": None}, {"batch_results": "x"}, {"batch_results": [7, None]}])
def test_an_answer_without_rows_is_an_unknown_outcome_of_all(key, answer):
    assert [one.code for one in results(ref_of(key), answer)] == ["key.outcome_unknown"] * 3


def test_a_foreign_row_changes_nothing(key):
    told = [row(b"x", reference="9.e9"), *rows_of(key), rows_of(key)[0]]
    assert all(isinstance(one, bytes) for one in results(ref_of(key), {"batch_results": told}))


# keys as the server describes them

TOLD = {
    "type": "ed25519", "latest_version": 1, "min_encryption_version": 0, "soft_deleted": False, "exportable": False,
    "keys": {"1": {"public_key": base64.b64encode(bytes(range(32))).decode(), "creation_time": "2026-11-25T03:00:00.123456789Z"}},
}  # fmt: skip


def test_a_description_is_read():
    kept = Kept.of(TOLD)
    assert (kept.kind, kept.latest, kept.leaky, kept.imported, kept.is_disabled(1)) == (
        "ed25519",
        1,
        False,
        False,
        False,
    )
    assert kept.spkis[1].endswith(bytes(range(32)))
    assert kept.made[1].isoformat() == "2026-11-25T03:00:00.123456+00:00"


@pytest.mark.parametrize("flag", ["exportable", "allow_plaintext_backup", "derived", "auto_rotate_period"])
def test_a_key_that_could_leave_is_seen(flag):
    assert Kept.of(TOLD | {flag: 3_600 if flag.endswith("period") else True}).leaky


def test_a_key_from_outside_is_seen_and_need_not_be_able_to_leave():
    kept = Kept.of(TOLD | {"imported_key": True, "imported_key_allow_rotation": True})
    assert (kept.imported, kept.leaky) == (True, False)


def test_a_key_put_aside_or_below_the_least_version_is_disabled():
    assert Kept.of(TOLD | {"soft_deleted": True}).is_disabled(1)
    assert Kept.of(TOLD | {"min_encryption_version": 2}).is_disabled(1)
    assert not Kept.of(TOLD | {"min_encryption_version": 2}).is_disabled(2)


@pytest.mark.parametrize("told", [{}, {"keys": None}, TOLD | {"keys": {"x": {}}}, TOLD | {"latest_version": None}])
def test_a_description_that_is_none_is_no_answer(told):
    with pytest.raises(Unavailable, match=r"key\.unavailable"):
        Kept.of(told)


# errors

MEANINGS = [
    (Unavailable("vault.sealed"), "key.sealed"), (Unavailable("vault.unreachable"), "key.unavailable"),
    (Unavailable("vault.busy"), "key.unavailable"), (Unavailable("vault.outcome_unknown"), "key.outcome_unknown"),
    (Unavailable("vault.untrusted"), "key.unavailable"), (Refused("vault.denied"), "key.denied"),
    (Refused("vault.login_failed"), "key.denied"), (Refused("vault.wrapped_twice"), "key.denied"),
    (NotFound("vault.missing"), "key.missing"), (BadInput("vault.bad_request"), "key.bad_input"),
    (Unavailable("vault.anything_new"), "key.unavailable"),
]  # fmt: skip


@pytest.mark.parametrize(("theirs", "ours"), MEANINGS, ids=[error.code for error, _ in MEANINGS])
def test_each_error_of_the_session_has_its_meaning_for_a_key(theirs, ours):
    theirs.evidence["host"] = "inner.example"
    error = as_key_error(theirs, "seal-01")
    assert error.code == ours and error.say("en") and "inner.example" not in str(error.evidence)


# names and places


def test_a_name_holds_purpose_and_algorithm(key):
    for algorithm, form in FORMS.items():
        assert full_name("qr-01m8", KeyPurpose.QR, algorithm) == f"qr-01m8.{form}"
    require_bound(ref_of(key))


@pytest.mark.parametrize(
    "asked",
    ["01m8", "seal-01", "qr", "qr-", "qr-a.b", "qr-../x", "qr-a/b", "qr-á", "qr-a\n", "QR-a", "qr-" + "a" * 101],
)
def test_a_name_that_does_not_begin_with_its_purpose_or_would_lead_elsewhere_is_refused(asked):
    with pytest.raises(BadInput, match=r"key\.bad_input"):
        full_name(asked, KeyPurpose.QR, P256)


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": "document"}, {"algorithm": "ed25519"}, {"algorithm": "rsa-pss-sha256"}, {"name": "seal-01abc"},
        {"name": "seal-01abc.ed25519"}, {"name": "document-01abc.p256"}, {"name": "seal-../x.p256"},
        {"name": "seal-01abc.p256\n"}, {"version": 0}, {"spki": ""}, {"spki": "AAAA"},
        {"spki": base64.b64encode(spki_of(ec.generate_private_key(ec.SECP384R1()))).decode()},
        {"spki": base64.b64encode(spki_of(generate(ED25519))).decode()},
    ],
)  # fmt: skip
def test_a_reference_that_contradicts_itself_is_damaged(key, change):
    with pytest.raises(Broken, match=r"key\.damaged"):
        require_bound(changed(ref_of(key), **change))


def test_the_setting_of_mounts_is_read():
    assert mounts_of("transit") == ("transit",)
    assert mounts_of(" transit-a, ns1/transit-b/ ,") == ("transit-a", "ns1/transit-b")


@pytest.mark.parametrize("setting", ["", ",", "a,a", "a/../b", "a//b", "a?b", "a b", "/", "a,a/"])
def test_a_setting_that_names_no_mounts_is_refused(setting):
    with pytest.raises(BadInput, match=r"key\.bad_mounts"):
        mounts_of(setting)


def test_new_keys_are_spread_and_a_further_mount_takes_only_its_share():
    mounts = [f"transit-{n:02}" for n in range(8)]
    names = [f"document-{n:026}.p256" for n in range(2_000)]
    before = {name: place_of(name, mounts) for name in names}
    assert before == {name: place_of(name, mounts[::-1]) for name in names}
    assert all(150 < list(before.values()).count(mount) < 350 for mount in mounts)
    after = {name: place_of(name, [*mounts, "transit-08"]) for name in names}
    assert {after[name] for name in names if after[name] != before[name]} == {"transit-08"}
