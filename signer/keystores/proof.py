"""*This certificate belongs to this key*: proven by a signature before anything rests on it."""

from cryptography.exceptions import InvalidSignature

from core.certificates import Certificate
from core.errors import Broken
from core.ids import random_bytes
from core.signing import SigningKey
from core.values import Digest, Message

__all__ = ["prove"]


async def prove(key: SigningKey, certificate: Certificate) -> None:
    """A signature over a fresh challenge, verified with the certificate. Raises ``credential.wrong_key`` and what the key raises."""
    challenge = b"dauso/belongs/v1" + random_bytes(32)
    hashed = key.algorithm.digest
    value = await key.sign(Message(challenge) if hashed is None else Digest.of(challenge, hashed))
    try:
        certificate.verify(value, challenge, key.algorithm)
    except InvalidSignature as error:
        raise Broken("credential.wrong_key") from error
