"""*This certificate*, or this public key, *belongs to this key*: proven by a signature before anything rests on it."""

from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from core.certificates import Certificate, verify_signature
from core.errors import Broken
from core.ids import random_bytes
from core.signing import SigningKey
from core.values import Digest, Message

__all__ = ["prove", "prove_public"]


async def prove(key: SigningKey, certificate: Certificate) -> None:
    """A signature over a fresh challenge, verified with the certificate. Raises ``credential.wrong_key`` and what the key raises."""
    await prove_public(key, certificate.spki)


async def prove_public(key: SigningKey, spki: bytes, challenge: bytes = b"") -> None:
    """The same with a public key (SubjectPublicKeyInfo, DER). ``challenge``: of a key that may sign only what has a form."""
    challenge = challenge or b"dauso/belongs/v1" + random_bytes(32)
    hashed = key.algorithm.digest
    value = await key.sign(Message(challenge) if hashed is None else Digest.of(challenge, hashed))
    public: Any = load_der_public_key(spki)
    try:
        verify_signature(public, value, challenge, key.algorithm)
    except InvalidSignature as error:
        raise Broken("credential.wrong_key") from error
