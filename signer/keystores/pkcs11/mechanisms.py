"""How each algorithm is spoken to a token: key types, parameters, what goes in, what comes out. Worker side, no session.

* ECDSA: the digest in, r‖s out, DER for us. RSA PKCS#1: a DigestInfo in. PSS: hash, MGF and salt are always said.
* Ed25519: the whole message in. Tokens name its curve by OID or, older ones, by a word.
* An EC point comes raw or wrapped into an OCTET STRING; the length tells which.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.mechanisms import MGF

from core.errors import Broken
from core.values import SignatureAlgorithm

__all__ = ["FORMS", "Form", "given", "normal", "spki_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One algorithm as tokens know it."""

    key_type: KeyType
    generate: Mechanism
    sign: Mechanism
    parameter: Any = None
    """Of the signing mechanism."""
    curves: tuple[bytes, ...] = ()
    """CKA_EC_PARAMS that mean this curve; the first is tried first."""
    size: int = 0
    """Bytes of a coordinate (EC) or of the value (Ed25519)."""
    bits: int | None = None
    """Of a new RSA key."""


_P256, _P384, _ED25519 = (
    bytes.fromhex("06082a8648ce3d030107"),
    bytes.fromhex("06052b81040022"),
    bytes.fromhex("06032b6570"),
)
_ED25519_WORD = b"\x13\x0cedwards25519"
_RSA: Final[dict[str, Any]] = {"key_type": KeyType.RSA, "generate": Mechanism.RSA_PKCS_KEY_PAIR_GEN, "bits": 3072}
_EC: Final[dict[str, Any]] = {"key_type": KeyType.EC, "generate": Mechanism.EC_KEY_PAIR_GEN, "sign": Mechanism.ECDSA}

FORMS: Final[dict[SignatureAlgorithm, Form]] = {
    SignatureAlgorithm.ECDSA_P256_SHA256: Form(**_EC, curves=(_P256,), size=32),
    SignatureAlgorithm.ECDSA_P384_SHA384: Form(**_EC, curves=(_P384,), size=48),
    SignatureAlgorithm.RSA_PKCS1_SHA256: Form(**_RSA, sign=Mechanism.RSA_PKCS),
    SignatureAlgorithm.RSA_PSS_SHA256: Form(
        **_RSA, sign=Mechanism.RSA_PKCS_PSS, parameter=(Mechanism.SHA256, MGF.SHA256, 32)
    ),
    SignatureAlgorithm.ED25519: Form(
        key_type=KeyType.EC_EDWARDS, generate=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, sign=Mechanism.EDDSA,
        curves=(_ED25519, _ED25519_WORD), size=32,
    ),
}  # fmt: skip

_DIGEST_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")
"""DER before a SHA-256 value (RFC 8017 §9.2, note 1)."""

_LEAST_BITS = 2048
"""Of an RSA key that was made elsewhere."""


def given(algorithm: SignatureAlgorithm, item: bytes) -> bytes:
    """What the mechanism wants for a digest, or a message, of ours."""
    return _DIGEST_INFO + item if algorithm is SignatureAlgorithm.RSA_PKCS1_SHA256 else item


def normal(algorithm: SignatureAlgorithm, value: bytes) -> bytes:
    """A token's value in our form: ECDSA as DER, the others as they are. Raises ``key.wrong_signature``."""
    form = FORMS[algorithm]
    if form.key_type is not KeyType.EC:
        return value
    if len(value) != 2 * form.size:
        raise Broken("key.wrong_signature")
    return utils.encode_dss_signature(
        int.from_bytes(value[: form.size], "big"), int.from_bytes(value[form.size :], "big")
    )


def spki_of(algorithm: SignatureAlgorithm, read: Callable[[Attribute], bytes]) -> bytes:
    """SubjectPublicKeyInfo (DER) of a public key whose attributes ``read`` gives.

    Raises ``ValueError`` when it is a key of another kind or size.
    """
    form = FORMS[algorithm]
    public: Any
    if form.key_type is KeyType.RSA:
        exponent, modulus = (int.from_bytes(read(a), "big") for a in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS))
        public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        if public.key_size < _LEAST_BITS:
            raise ValueError("modulus")
    else:
        if read(Attribute.EC_PARAMS) not in form.curves:
            raise ValueError("curve")
        point = read(Attribute.EC_POINT)
        if form.key_type is KeyType.EC_EDWARDS:
            public = ed25519.Ed25519PublicKey.from_public_bytes(_unwrapped(point, form.size))
        else:
            curve = ec.SECP256R1() if form.size == 32 else ec.SECP384R1()
            public = ec.EllipticCurvePublicKey.from_encoded_point(curve, _unwrapped(point, 2 * form.size + 1))
    der: bytes = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return der


def _unwrapped(point: bytes, size: int) -> bytes:
    """The point itself, of ``size`` bytes: raw, or inside an OCTET STRING (of less than 128 bytes, so its length is one)."""
    if len(point) == size + 2 and point[:2] == bytes((4, size)):
        return point[2:]
    if len(point) == size:
        return point
    raise ValueError("point")
