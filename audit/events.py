"""Leaves of the signature log: one writer of deterministic bytes, no personal data, no unsalted digest.

A log cannot forget. Whoever holds the salt can prove what a leaf speaks of; without it the leaf is unlinkable.
"""

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from audit.highwater import Mark
from core.errors import BadInput
from core.formats import canonical_json
from core.limits import LIMITS

__all__ = ["POLICY_OID", "Leaf", "LeafType", "commit"]

POLICY_OID = "1.3.6.1.4.1.99999.1.1"
"""Placeholder arc until the operator has one of its own; a setting of the realm, not of a leaf."""


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class LeafType(StrEnum):
    """What happened."""

    NUMBER_RESERVED = "number_reserved"
    NUMBER_VOIDED = "number_voided"
    KEY_USE_INTENDED = "key_use_intended"
    KEY_OUTCOME_UNKNOWN = "key_outcome_unknown"
    """The key may have been used for this intent, and nobody has the value: an answer was lost, or a process died."""
    SIGNATURE_MADE = "signature_made"
    COPY_RELEASED = "copy_released"
    COPY_RECALLED = "copy_recalled"
    REQUEST_CREATED = "request_created"
    REQUEST_CHANGED = "request_changed"
    REQUEST_SETTLED = "request_settled"
    DECISION_APPLIED = "decision_applied"
    IDENTITY_VERIFIED = "identity_verified"
    PASSKEY_CHANGED = "passkey_changed"
    CREDENTIAL_CHANGED = "credential_changed"
    KEY_CHANGED = "key_changed"
    """Disabled or destroyed in its store."""
    LOG_RELEASED = "log_released"
    """Two people let a frozen log go on from ``mark_new``: what ``mark_old`` had published beyond it is another history."""


def commit(salt: bytes, digest: bytes) -> bytes:
    """``SHA-256(salt ‖ digest)`` with a 32-byte salt."""
    if len(salt) != 32:
        raise ValueError("a salt has 32 bytes")
    return hashlib.sha256(salt + digest).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One event. ``event_id`` is also the deduplication key."""

    type: LeafType
    time: dt.datetime
    tenant_id: str
    """Opaque."""
    event_id: str
    doc_commit: bytes
    digest_alg: str
    prev_event_id: str | None = None
    sig_hash: bytes | None = None
    """SHA-256 of the signature value."""
    sig_alg: str | None = None
    cert_commit: bytes | None = None
    """SHA-256 of an agency's certificate; for a person's, a salted commitment (a stable pseudonym otherwise)."""
    key_ref_hash: bytes | None = None
    mark_old: Mark | None = None
    """Of a release: the mark that was given up; None where it was lost."""
    mark_new: Mark | None = None

    def encode(self) -> bytes:
        """Canonical JSON, version 1. Raises ``log.leaf_too_large``."""
        value: dict[str, Any] = {
            "v": 1, "type": self.type.value, "time_ms": (self.time - _EPOCH) // dt.timedelta(milliseconds=1), "tenant_id": self.tenant_id,
            "policy_oid": POLICY_OID, "event_id": self.event_id, "doc_commit": _b64(self.doc_commit),
            "digest_alg": self.digest_alg,
        }  # fmt: skip
        optional = {
            "prev_event_id": self.prev_event_id, "sig_hash": _b64(self.sig_hash), "sig_alg": self.sig_alg,
            "cert_sha256": _b64(self.cert_commit), "key_ref_hash": _b64(self.key_ref_hash),
            "mark_old": _mark(self.mark_old), "mark_new": _mark(self.mark_new),
        }  # fmt: skip
        value.update({k: v for k, v in optional.items() if v is not None})
        data = canonical_json.encode(value)
        if len(data) > LIMITS["log.leaf_bytes"]:
            raise BadInput("log.leaf_too_large")
        return data


def _b64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _mark(value: Mark | None) -> dict[str, Any] | None:
    return None if value is None else {"size": value[0], "root": _b64(value[1])}
