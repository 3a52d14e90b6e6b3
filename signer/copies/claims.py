"""What a copy's QR seal says, from its row and its line in the book: the same however often it is asked."""

import datetime as dt
import re
import unicodedata

from core.formats.qr_seal import SealClaims
from signer.copies.model import CertifiedCopy
from signer.copies.register import Entry

__all__ = ["claims_of"]


def claims_of(copy: CertifiedCopy, entry: Entry, volume: int, at: dt.datetime) -> SealClaims:
    """``volume``: of the entry's book; ``at``: when it is composed, told in whole seconds."""
    return SealClaims(
        issued_at=at.replace(microsecond=0), id=copy.seal_id, content_sha256=bytes.fromhex(copy.content),
        number=entry.number, year=entry.year, volume=volume, kind=_cut(str(copy.facts["kind"]), 24),
        pages=int(copy.facts["pages"]), initials=_initials(str(entry.columns.get("requester", ""))),
        status_index=copy.status_index, original_number=_number_for_code(str(copy.facts["original_number"])),
    )  # fmt: skip


def _initials(name: str) -> str:
    """``Nguyễn Thị Ánh`` → ``N.T.A``: initials only, never a name in a QR code."""
    parts = [unicodedata.normalize("NFD", p)[0].upper() for p in name.split() if p[:1].isalpha()]
    return ".".join(p if p != "Đ" else "D" for p in parts[:6]) or "-"


def _number_for_code(original: str) -> str | None:
    """What the code says of the original's number; a person's own number (CCCD, CMND) stays on the paper only."""
    if re.fullmatch(r"[\s.]*(?:\d[\s.]*){9}(?:(?:\d[\s.]*){3})?", original):
        return None
    return _cut(original, 16) or None


def _cut(text: str, most: int) -> str:
    """At most ``most`` UTF-8 bytes, never inside a letter."""
    data = unicodedata.normalize("NFC", text).encode()[:most]
    return data.decode(errors="ignore").strip()
