"""Ports that both sides of a private key share (style R2): adapters live in ``signer/keystores`` and ``ca_bridge``.

Also what a key signs to prove that it is there: a challenge of one of two forms, which is no document of anybody's.
"""

import hashlib
from typing import Final, Protocol

from core.ids import random_bytes
from core.values import Digest, DigestAlgorithm, Message, SignatureAlgorithm

__all__ = ["BELONGS", "POSSESSION", "SigningKey", "Timestamper", "challenge", "is_proof"]

POSSESSION: Final = b"dauso/possession/v1"
"""Of who asks for a certificate."""
BELONGS: Final = b"dauso/belongs/v1"
"""A certificate, or a public key, to this key."""
_RANDOM: Final = 32


def challenge(kind: bytes) -> bytes:
    """A fresh one."""
    return kind + random_bytes(_RANDOM)


def is_proof(value: bytes, said: bytes | None) -> bool:
    """Whether what a key was given is a challenge, or (``said``) the digest of one."""
    text = value if said is None else said
    if not any(text.startswith(kind) and len(text) == len(kind) + _RANDOM for kind in (POSSESSION, BELONGS)):
        return False
    return value == text or value in [hashlib.new(each.value, text).digest() for each in DigestAlgorithm]


class SigningKey(Protocol):
    """A private key we can use but never see.

    ``sign`` has verified the signature against ``spki`` before it returns. ECDSA values are DER, RSA raw, Ed25519 64 bytes.
    Raises ``Unavailable``/``Refused``/``Broken`` with ``key.*`` codes.
    """

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """Pinned at creation."""

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""

    async def sign(self, to_sign: Digest | Message) -> bytes:
        """Ed25519 takes a ``Message``, every other algorithm the ``Digest`` of its own algorithm."""


class Timestamper(Protocol):
    """Gives RFC 3161 tokens. The token's imprint, nonce and signature have been checked before it is returned."""

    @property
    def size(self) -> int:
        """Bytes a token takes at most: the room a signature must leave for it."""

    async def stamp(self, digest: Digest) -> bytes:
        """A TimeStampToken (CMS ContentInfo, DER) over ``digest``. Raises ``Unavailable`` with a ``tsa.*`` code."""
