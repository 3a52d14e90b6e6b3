"""Handles of requests: what a person may be given to ask after a request, without the id that portals use.

A handle is the id, enciphered (AES-SIV, RFC 5297): it cannot be guessed, nobody else reads the id out of it, and nothing
is stored. The same id has the same handle in every process.
"""

import base64

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["Handles"]

_PREFIX = "h1_"


class Handles:
    """Writes and reads them."""

    def __init__(self, key: bytes) -> None:
        """``key``: 32 bytes, shared by all web processes."""
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"dauso/handles").derive(key)
        self._cipher = AESSIV(derived)

    def write(self, request_id: str) -> str:
        """For one request."""
        sealed = self._cipher.encrypt(request_id.encode(), None)
        return _PREFIX + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def read(self, handle: str) -> str | None:
        """The request's id; None for what we have not written."""
        if not handle.startswith(_PREFIX) or len(handle) > 100:
            return None
        text = handle.removeprefix(_PREFIX)
        try:
            return self._cipher.decrypt(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), None).decode()
        except (ValueError, InvalidTag):
            return None
