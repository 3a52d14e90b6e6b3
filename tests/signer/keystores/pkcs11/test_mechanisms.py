"""Values and points as tokens give them, in all their shapes."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from pkcs11 import Attribute

from core.errors import Broken
from core.values import SignatureAlgorithm
from signer.keystores.pkcs11.mechanisms import FORMS, given, normal, spki_of

P256, P384 = SignatureAlgorithm.ECDSA_P256_SHA256, SignatureAlgorithm.ECDSA_P384_SHA384
RSA, PSS, ED25519 = (
    SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PSS_SHA256, SignatureAlgorithm.ED25519,
)  # fmt: skip


def der(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def point(key):
    kind = serialization.PublicFormat.UncompressedPoint
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.public_key().public_bytes_raw()
    return key.public_key().public_bytes(serialization.Encoding.X962, kind)


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        (P256, lambda: ec.generate_private_key(ec.SECP256R1())),
        (P384, lambda: ec.generate_private_key(ec.SECP384R1())),
        (ED25519, ed25519.Ed25519PrivateKey.generate),
    ],
)
def test_a_point_is_read_raw_and_wrapped_and_nothing_else_is(algorithm, make):
    key = make()
    raw = point(key)
    for curve in FORMS[algorithm].curves:
        for good in (raw, bytes((4, len(raw))) + raw):
            assert spki_of(algorithm, {Attribute.EC_PARAMS: curve, Attribute.EC_POINT: good}.get) == der(key)
    curve = FORMS[algorithm].curves[0]
    for bad in (b"", raw[:-1], raw + b"\0", bytes((4, len(raw) - 1)) + raw, bytes((3, len(raw))) + raw):
        with pytest.raises(ValueError):
            spki_of(algorithm, {Attribute.EC_PARAMS: curve, Attribute.EC_POINT: bad}.get)
    with pytest.raises(ValueError):
        spki_of(algorithm, {Attribute.EC_PARAMS: b"\x06\x05\x2b\x81\x04\x00\x23", Attribute.EC_POINT: raw}.get)


def test_a_point_beside_the_curve_is_refused():
    raw = bytearray(point(ec.generate_private_key(ec.SECP256R1())))
    raw[-1] ^= 1
    with pytest.raises(ValueError):
        spki_of(P256, {Attribute.EC_PARAMS: FORMS[P256].curves[0], Attribute.EC_POINT: bytes(raw)}.get)


def test_r_and_s_become_der_whatever_their_size_and_other_lengths_are_refused():
    for r, s in ((1, 2), (2**255, 2**256 - 1), (2**248 - 1, 2**7)):
        value = normal(P256, r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        assert utils.decode_dss_signature(value) == (r, s)
    for size in (0, 63, 65, 70, 96):
        with pytest.raises(Broken, match=r"key\.wrong_signature"):
            normal(P256, b"\1" * size)
    assert len(utils.decode_dss_signature(normal(P384, b"\1" * 96))) == 2
    assert normal(RSA, b"x" * 384) == b"x" * 384 == normal(PSS, b"x" * 384)


def test_only_pkcs1_is_given_a_digest_info():
    info = given(RSA, b"d" * 32)
    assert info.hex().startswith("3031300d0609608648016503040201050004 20".replace(" ", "")) and len(info) == 51
    assert all(given(algorithm, b"d" * 32) == b"d" * 32 for algorithm in (P256, PSS, ED25519))


def test_pss_always_says_its_hash_its_mgf_and_its_salt():
    mechanism, mgf, salt = FORMS[PSS].parameter
    assert (mechanism.name, mgf.name, salt) == ("SHA256", "SHA256", 32)


def test_a_small_rsa_key_is_refused():
    key = rsa.generate_private_key(65537, 1024)
    numbers = key.public_key().public_numbers()
    parts = {Attribute.MODULUS: numbers.n.to_bytes(128, "big"), Attribute.PUBLIC_EXPONENT: b"\1\0\1"}
    with pytest.raises(ValueError):
        spki_of(RSA, parts.get)
