"""What a clerk asks for, and what a copy is."""

import datetime as dt
from dataclasses import asdict, dataclass, field
from typing import Any

from core.values import Realm, Regime

__all__ = ["CertifiedCopy", "CopyRequest", "ScanRecord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRecord:
    """Who digitised the original, where and when (the office scans; a citizen's upload is never the certified image)."""

    officer: str
    device: str
    scanned_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
    """What was compared and who will sign (vietnam.md §3–4: the legal columns)."""

    agency_id: str
    regime: Regime
    certifier_id: str | None
    clerk_id: str
    kind: str
    """Kind of paper, e.g. ``Giấy khai sinh``."""
    original_number: str = ""
    requester: str = ""
    copies: int = 1
    fee: int = 0
    pages: int | None = None
    """Pages the official counted; must agree with the scan when given."""
    checklist: tuple[str, ...] = ()
    notes: str = ""
    scan: ScanRecord | None = None

    def columns(self) -> dict[str, Any]:
        """Columns of the register."""
        return {
            "requester": self.requester, "kind": self.kind, "original_number": self.original_number,
            "copies": self.copies, "fee": self.fee, "checklist": list(self.checklist), "notes": self.notes,
        }  # fmt: skip

    def scan_json(self) -> dict[str, Any] | None:
        """The scan's record as stored."""
        return None if self.scan is None else {**asdict(self.scan), "scanned_at": self.scan.scanned_at.isoformat()}


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedCopy:
    """One row of ``certified_copy``."""

    id: str
    realm: Realm
    agency_id: str
    regime: Regime
    entry_id: str
    state: str
    seal_id: bytes
    status_year: int
    status_index: int
    """Place in the agency's status list of ``status_year``."""
    facts: dict[str, Any] = field(default_factory=dict)
    content: str
    content_length: int
    certifier_id: str | None
    clerk_id: str
    composed: str | None
    printed_at: dt.datetime | None
    access_sha256: bytes | None
    """Digest of the ten bytes behind the access code on the paper; the code itself is printed and forgotten."""
    qr: str | None
    certifier_order: str | None
    seal_order: str | None
    released: str | None
    receipt: bytes | None
    leaf: bytes | None
    salt: bytes
    created_at: dt.datetime
    settled_at: dt.datetime | None
    reason: str | None
    recalled_at: dt.datetime | None
    """When it was said."""
    recall_from: dt.datetime | None
    """From when it holds."""
    recalled_by: str | None
    """Id of the person who decided."""
    recall_reason: str | None
    successor: str | None
    """Id of the copy that takes the place of a recalled one."""
