"""Small values at rest that the process itself must be able to read again: AES-256-GCM under a key from a file.

For answers kept for repetition and for webhook secrets. Not for keys of persons or seals: those never leave a key store.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.errors import Broken
from core.ids import random_bytes

__all__ = ["Box"]

_NONCE = 12


class Box:
    """Sealing for one purpose; a value sealed for another does not open."""

    def __init__(self, key: bytes, purpose: str) -> None:
        """``key``: 32 bytes, shared by all processes of the role."""
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"dauso/{purpose}".encode()).derive(key)
        self._cipher = AESGCM(derived)

    def seal(self, plain: bytes, about: bytes = b"") -> bytes:
        """Nonce and ciphertext; ``about`` ties the value to its row."""
        nonce = random_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, about)

    def open(self, sealed: bytes, about: bytes = b"") -> bytes:
        """Raises ``store.sealed_unreadable`` for another key, another row or changed bytes."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
        except (InvalidTag, ValueError) as error:
            raise Broken("store.sealed_unreadable") from error
