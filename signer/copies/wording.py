"""The words on a certified copy, as data with defaults; an agency's ``wording`` overrides any of them.

Defaults follow Decrees 23/2015 and 280/2025 (lời chứng) and the field's pattern for electronic books (``1523/ĐT``,
``01/2026-SCTĐT/BS``). Patterns use ``str.format`` names; an unknown name is refused when it is set.
"""

import datetime as dt
from dataclasses import dataclass, fields
from typing import Any

from core.clock import VIETNAM
from core.errors import BadInput
from core.values import Regime

__all__ = ["Wording", "legal_date"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """All texts and positions an agency may change."""

    book_kind: str = "SCTĐT/BS"
    number: str = "{number}/ĐT"
    book: str = "{volume:02d}/{year}-{kind}"
    attestation_title: str = "CHỨNG THỰC BẢN SAO ĐÚNG VỚI BẢN CHÍNH"
    attestation_number: str = "Số chứng thực: {number}   quyển số: {book}"
    attestation_date: str = "Ngày {day} tháng {month} năm {year}"
    sao_y_title: str = "SAO Y"
    so_hoa_title: str = "BẢN SỐ HÓA"
    check_at: str = "Kiểm tra tại: {host}"
    code_line: str = "Mã tra cứu: {code}"
    access_code: bool = False
    """Print a second code, never in the QR code, that opens more than the public answer."""
    access_line: str = "Mã truy cập: {code}"
    system_line: str = "Bản điện tử được chuyển đổi từ văn bản giấy; lưu tại Hệ thống {system}, chủ quản: {parent}."
    trust_line: str = "Chỉ tin kết quả trên tên miền ở trên."
    footer: str = "trang {page}/{pages} · {code}"
    layout: str = "band"
    """``band`` grows the last page, ``page`` appends one."""
    seal_diameter_mm: float = 36.0
    show_seal: bool = True

    @classmethod
    def of(cls, overrides: dict[str, Any]) -> "Wording":
        """Defaults with an agency's overrides. Raises ``wording.unknown``, ``wording.wrong_type``."""
        known = {field.name for field in fields(cls)}
        unknown = set(overrides) - known
        if unknown:
            raise BadInput("wording.unknown", names=", ".join(sorted(unknown)))
        kinds = {field.name: type(field.default) for field in fields(cls)}
        wrong = [k for k, v in overrides.items() if type(v) is not kinds[k] and (kinds[k], type(v)) != (float, int)]
        if wrong:
            raise BadInput("wording.wrong_type", names=", ".join(sorted(wrong)))
        return cls(**overrides)

    def number_text(self, number: int) -> str:
        """The number as printed, e.g. ``1523/ĐT``."""
        return self.number.format(number=number)

    def book_text(self, volume: int, year: int, kind: str) -> str:
        """The book as printed, e.g. ``01/2026-SCTĐT/BS``."""
        return self.book.format(volume=volume, year=year, kind=kind)

    def title(self, regime: Regime) -> str:
        """Heading of the mark of a regime. Never ``SAO Y`` on a certified copy of a paper original."""
        return {
            Regime.CERTIFIED_COPY: self.attestation_title,
            Regime.SAO_Y: self.sao_y_title,
            Regime.SO_HOA: self.so_hoa_title,
        }[regime]

    def date_text(self, at: dt.datetime) -> str:
        """The date line in Vietnam's zone, day and month with two digits."""
        local = at.astimezone(VIETNAM)
        return self.attestation_date.format(day=f"{local.day:02d}", month=f"{local.month:02d}", year=local.year)


def legal_date(at: dt.datetime) -> dt.date:
    """The date printed on papers: Vietnam's."""
    return at.astimezone(VIETNAM).date()
