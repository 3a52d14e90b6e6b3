"""Ports that both sides of a private key share (style R2): adapters live in ``signer/keystores`` and ``ca_bridge``."""

from typing import Protocol

from core.values import Digest, Message, SignatureAlgorithm

__all__ = ["SigningKey", "Timestamper"]


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
