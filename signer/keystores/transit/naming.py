"""Names and places of transit keys.

The engine keeps no data of ours beside a key. So purpose and algorithm stand in the key's name, ``<purpose>-<id>.<form>``:
a reference whose purpose or algorithm was changed in our database no longer fits its own name, and a changed name leads to
a key whose signatures do not verify with the reference's public key.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from core.errors import BadInput, Broken
from core.values import SignatureAlgorithm
from signer.keystores.model import KeyPurpose, KeyRef

__all__ = ["FORMS", "TYPES", "full_name", "mounts_of", "place_of", "require_bound"]

TYPES: Final = {
    SignatureAlgorithm.ECDSA_P256_SHA256: "ecdsa-p256",
    SignatureAlgorithm.ECDSA_P384_SHA384: "ecdsa-p384",
    SignatureAlgorithm.RSA_PKCS1_SHA256: "rsa-3072",
    SignatureAlgorithm.RSA_PSS_SHA256: "rsa-3072",
    SignatureAlgorithm.ED25519: "ed25519",
}
"""Transit's type of key for each algorithm."""

FORMS: Final = {
    SignatureAlgorithm.ECDSA_P256_SHA256: "p256",
    SignatureAlgorithm.ECDSA_P384_SHA384: "p384",
    SignatureAlgorithm.RSA_PKCS1_SHA256: "pkcs1",
    SignatureAlgorithm.RSA_PSS_SHA256: "pss",
    SignatureAlgorithm.ED25519: "ed25519",
}
"""The end of a key's name. An RSA key alone would sign in either form."""

_ASKED = re.compile(r"[a-z]+-[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?")
_MOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(?:/[A-Za-z0-9][A-Za-z0-9_-]{0,63}){0,3}")


def full_name(asked: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm) -> str:
    """The key's name in the store. Raises ``key.bad_input`` unless ``asked`` is ``<purpose>-<id>``."""
    if not _ASKED.fullmatch(asked) or not asked.startswith(f"{purpose.value}-"):
        raise BadInput("key.bad_input")
    return f"{asked}.{FORMS[algorithm]}"


def require_bound(ref: KeyRef) -> None:
    """Raises ``key.damaged`` for a reference that contradicts itself: name, purpose, algorithm, public key."""
    asked, dot, form = ref.name.rpartition(".")
    named = dot and _ASKED.fullmatch(asked) and asked.startswith(f"{ref.purpose.value}-")
    if not named or form != FORMS[ref.algorithm] or ref.version < 1 or not _fits(ref.spki, ref.algorithm):
        raise Broken("key.damaged", key=ref.name)


@lru_cache(maxsize=4096)
def _fits(spki: bytes, algorithm: SignatureAlgorithm) -> bool:
    try:
        key: Any = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        return False
    match algorithm:
        case SignatureAlgorithm.ECDSA_P256_SHA256:
            return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
        case SignatureAlgorithm.ECDSA_P384_SHA384:
            return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp384r1"
        case SignatureAlgorithm.ED25519:
            return isinstance(key, ed25519.Ed25519PublicKey)
        case _:
            return isinstance(key, rsa.RSAPublicKey)


def mounts_of(setting: str) -> tuple[str, ...]:
    """The setting ``transit_mounts``: paths of mounts, a namespace before them where there is one (``ns/transit``).

    Raises ``key.bad_mounts``.
    """
    mounts = tuple(part.strip().strip("/") for part in setting.split(",") if part.strip())
    if not mounts or len(set(mounts)) != len(mounts) or not all(_MOUNT.fullmatch(m) for m in mounts):
        raise BadInput("key.bad_mounts")
    return mounts


def place_of(name: str, mounts: Sequence[str]) -> str:
    """The mount of a new key: always the same for the same mounts; a mount added takes only its share of new names."""
    return max(mounts, key=lambda mount: hashlib.sha256(f"{mount}\0{name}".encode()).digest())
