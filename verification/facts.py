"""What the register tells about a copy; filled by the service, read by the check."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from core.formats.key_list import KeyList
from core.values import Realm, Regime

__all__ = ["CopyFacts", "CopyRegister", "Recall"]


@dataclass(frozen=True, slots=True)
class Recall:
    """A copy was taken back at ``at``."""

    at: dt.datetime
    reason: str
    successor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFacts:
    """All the register knows of one copy; digests are raw SHA-256."""

    copy_id: str
    realm: Realm
    regime: Regime
    agency_code: str
    agency_name: str
    agency_successor: str | None
    number: str
    typed_code: str
    seal_id: bytes
    register_state: str
    """reserved, issued or voided."""
    released: bool
    content_sha256: bytes
    content_length: int
    released_digests: tuple[bytes, ...]
    certifier_cert_sha256: bytes | None
    seal_cert_sha256: bytes
    recalled: Recall | None
    receipt: bytes | None
    """A ``tlog-proof``."""
    leaf: bytes | None
    log_vkey: str | None
    qr_claims: Mapping[str, Any]


class CopyRegister(Protocol):
    """Port to the register; may raise ``Unavailable``."""

    async def by_file(self, sha256: bytes, prefixes: list[bytes]) -> CopyFacts | None:
        """By the file's digest, else by the digest of one of its revisions' prefixes."""

    async def seal_keys(self) -> KeyList:
        """The keys of QR seals, fresh."""

    async def by_code(self, seal_id: bytes) -> CopyFacts | None:
        """By a typed code or QR seal."""
