"""*This certificate*, or this public key, *belongs to this key*: proven by a signature before anything rests on it."""

from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from core.certificates import Certificate, verify_signature
from core.errors import Broken
from core.signing import BELONGS, SigningKey, challenge
from core.values import Digest, Message

__all__ = ["prove", "prove_public"]


async def prove(key: SigningKey, certificate: Certificate) -> None:
    """A signature over a fresh challenge, verified with the certificate. Raises ``credential.wrong_key`` and what the key raises."""
    await prove_public(key, certificate.spki)


async def prove_public(key: SigningKey, spki: bytes, said: bytes = b"") -> None:
    """The same with a public key (SubjectPublicKeyInfo, DER). ``said``: of a key that may sign only what has another form."""
    said = said or challenge(BELONGS)
    hashed = key.algorithm.digest
    value = await key.sign(Message(said) if hashed is None else Digest.keeping(said, hashed))
    public: Any = load_der_public_key(spki)
    try:
        verify_signature(public, value, said, key.algorithm)
    except InvalidSignature as error:
        raise Broken("credential.wrong_key") from error
