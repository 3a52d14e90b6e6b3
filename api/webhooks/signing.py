"""Signatures of deliveries, Standard Webhooks 1.0.0: over ``{id}.{timestamp}.{body}``, the body as sent.

``v1`` is HMAC-SHA256 under a shared secret (``whsec_``), ``v1a`` is Ed25519 (``whsk_`` here, ``whpk_`` at the receiver).
A secret is a text that says by its beginning what it is. During a rotation every delivery carries a signature by each
secret in force, so a receiver changes over when it likes.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.webhooks.model import Scheme
from core.ids import random_bytes

__all__ = ["headers", "new_secret", "shown"]

_PREFIX: Final = {Scheme.V1: "whsec_", Scheme.V1A: "whsk_"}
_PUBLIC: Final = "whpk_"


def new_secret(scheme: Scheme) -> str:
    """Thirty-two random bytes; for ``v1a`` they are the private key (RFC 8032 §5.1.5)."""
    return _PREFIX[scheme] + base64.b64encode(random_bytes(32)).decode()


def shown(secret: str) -> str:
    """What the receiver is given: the shared secret, or the public key."""
    if secret.startswith(_PREFIX[Scheme.V1]):
        return secret
    return _PUBLIC + base64.b64encode(_key(secret).public_key().public_bytes_raw()).decode()


def headers(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of one attempt."""
    message = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id, "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_sign(secret, message) for secret in secrets),
    }  # fmt: skip


def _sign(secret: str, message: bytes) -> str:
    if secret.startswith(_PREFIX[Scheme.V1]):
        scheme, signature = Scheme.V1, hmac.digest(_raw(secret), message, hashlib.sha256)
    else:
        scheme, signature = Scheme.V1A, _key(secret).sign(message)
    return f"{scheme},{base64.b64encode(signature).decode()}"


def _key(secret: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_raw(secret))


def _raw(secret: str) -> bytes:
    return base64.b64decode(secret.partition("_")[2])
