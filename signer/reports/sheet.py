"""The sheet itself (*phiếu kết quả kiểm tra*): one report on A4, Vietnamese first, English second.

What is written comes from files of strangers, so every text is cut to a length, put on one line and stripped of what the
typeface cannot print: such a letter stands as its code (``[U+0430]``), which also shows a look-alike letter for what it is.
"""

import datetime as dt
import hashlib
import io
import unicodedata
import zlib
from dataclasses import dataclass, field
from typing import Final, Self

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name as name
from pyhanko.pdf_utils.writer import PageObject, PdfFileWriter
from pyhanko.sign.fields import SigFieldSpec, append_signature_field

from core.clock import VIETNAM
from core.values import Realm
from signer.formats.typeface import Typeface, typeface
from verification.report import Finding, Report, SignatureReport, Verdict

__all__ = ["FIELD", "GREEN", "GREY", "RED", "TITLE", "Both", "CheckedFile", "Colour", "Paper", "compose", "printable"]

FIELD: Final = "Report"
"""Name of the signature's field; never one of a copy's."""
TITLE: Final = "Phiếu kết quả kiểm tra"

_PAGE = (595.28, 841.89)
_LEFT, _RIGHT, _TOP, _BOTTOM = 85.0, 42.5, 50.0, 62.0  # 30 mm to bind on the left (Decree 30/2020, Appendix I)
_WIDTH = _PAGE[0] - _LEFT - _RIGHT
_LABEL = 150.0
_DIGEST = 9.0
"""Size at which a SHA-256 stands on one line."""
_MOST_NAME, _MOST_TEXT = 200, 700

_BLACK, GREY = (0.0, 0.0, 0.0), (0.35, 0.35, 0.35)
GREEN, RED, _AMBER = (0.0, 0.36, 0.16), (0.7, 0.05, 0.05), (0.58, 0.34, 0.0)
Colour = tuple[float, float, float]
Both = tuple[str, str]
"""Vietnamese, English."""

_VERDICTS: Final[dict[Verdict, tuple[str, str, Colour]]] = {
    Verdict.GENUINE: ("HỢP LỆ", "VALID", GREEN),
    Verdict.ALTERED: ("KHÔNG HỢP LỆ – ĐÃ BỊ THAY ĐỔI", "NOT VALID – ALTERED", RED),
    Verdict.INVALID: ("KHÔNG HỢP LỆ", "NOT VALID", RED),
    Verdict.RECALLED: ("ĐÃ BỊ THU HỒI", "RECALLED", RED),
    Verdict.UNKNOWN: ("KHÔNG RÕ NGUỒN GỐC", "OF UNKNOWN ORIGIN", _AMBER),
    Verdict.UNDETERMINED: ("CHƯA XÁC ĐỊNH ĐƯỢC", "UNDETERMINED", _AMBER),
}
_ROLES: Final[dict[str, Both]] = {
    "certifier": ("người ký chứng thực", "certifying official"),
    "seal": ("con dấu của cơ quan", "agency's seal"),
    "report": ("phiếu kết quả kiểm tra", "verification sheet"),
    "other": ("chữ ký khác", "other signature"),
}
_SEVERITIES: Final[dict[str, Both]] = {
    "error": ("Lỗi", "Error"),
    "warning": ("Cảnh báo", "Warning"),
    "info": ("Thông tin", "Note"),
}
_UNCHECKED: Final = frozenset({
    "verify.register_not_checked", "verify.recall_not_checked", "verify.offline", "verify.not_in_register",
    "verify.receipt_not_checked", "verify.revocation_not_checked", "verify.timestamp_revocation_not_checked",
    "verify.qr_not_read", "verify.qr_not_checked", "verify.seal_keys_missing", "verify.seal_keys_old",
    "verify.seal_status_not_checked", "verify.seal_status_old", "verify.unreadable",
})  # fmt: skip
"""Findings that name a check nobody could make."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What was checked; ``name`` is only what the caller calls it."""

    name: str
    sha256: bytes
    size: int

    @classmethod
    def of(cls, name: str, data: bytes) -> Self:
        """Digest and size of the bytes themselves."""
        return cls(name, hashlib.sha256(data).digest(), len(data))


def compose(report: Report, file: CheckedFile, *, system: str, host: str, realm: Realm) -> bytes:
    """The PDF with its empty field. ``realm``: of the service; training never looks like anything else."""
    training = Realm.TRAINING in {realm, report.realm}
    paper = Paper(training=training, title=TITLE)
    _head(paper, system, host)
    _verdict(paper, report)
    _recall(paper, report)
    _file(paper, report, file)
    for number, signature in enumerate(report.signatures, 1):
        _signature(paper, number, signature)
    if not report.signatures:
        paper.heading("Chữ ký số", "Digital signatures")
        paper.line("Không có chữ ký số nào đọc được trong tệp. / No signature could be read in the file.", 10)
    unchecked = [f for f in report.findings if f.code in _UNCHECKED]
    _findings(paper, "Các điều ghi nhận", "Findings", [f for f in report.findings if f.code not in _UNCHECKED])
    _findings(paper, "Chưa kiểm tra được", "What could not be checked", unchecked)
    _closing(paper, system, host)
    return paper.write(f"SHA-256 {file.sha256.hex()[:16]}…", host)


# ----------------------------------------------------------------------------------------------------------- parts
def _head(paper: "Paper", system: str, host: str) -> None:
    paper.line(system, 11, bold=True)
    paper.line(host, 9, colour=GREY)
    paper.space(14)
    paper.line(TITLE.upper(), 17, bold=True, centre=True)
    paper.line("Verification result sheet", 10.5, centre=True, colour=GREY)
    paper.space(10)


def _verdict(paper: "Paper", report: Report) -> None:
    vi, en, colour = _VERDICTS[report.verdict]
    paper.box(
        [
            (f"{vi} / {en}", 10.5, True, colour),
            (report.sentence("vi"), 15, True, _BLACK),
            (report.sentence("en"), 10, False, GREY),
        ],
        colour,
    )


def _recall(paper: "Paper", report: Report) -> None:
    recalled = None if report.copy is None else report.copy.recalled
    if recalled is None:
        return
    paper.heading("Bản sao đã bị thu hồi", "The copy was recalled")
    paper.row(("Thu hồi lúc", "Recalled at"), _time(recalled.at.isoformat()))
    paper.row(("Lý do", "Reason"), recalled.reason)
    paper.row(("Bản thay thế", "Successor"), recalled.successor or "không có / none")


def _file(paper: "Paper", report: Report, file: CheckedFile) -> None:
    paper.heading("Tệp được kiểm tra", "The file that was checked")
    paper.row(("Tên tệp (theo người gửi)", "Name (as given)"), file.name or "không ghi / not given", most=_MOST_NAME)
    paper.row(("Mã băm SHA-256", "Digest"), file.sha256.hex(), size=_DIGEST)
    paper.row(("Kích thước", "Size"), f"{file.size:,}".replace(",", ".") + " byte")
    at = report.at.astimezone(VIETNAM).strftime("%d/%m/%Y, %H:%M")
    paper.row(("Thời điểm kiểm tra", "Time of check"), f"{at} (giờ Việt Nam)")
    copy = report.copy
    if copy is not None:
        became = f" (nay là {copy.agency_successor})" if copy.agency_successor else ""
        paper.row(("Số trong sổ đăng ký", "Number in the register"), copy.number)
        paper.row(("Cơ quan phát hành", "Issuing agency"), copy.agency_name + became)


def _signature(paper: "Paper", number: int, s: SignatureReport) -> None:
    """The fields of Circular 15/2025/TT-BKHCN art. 6. A name that no certificate path proves is said to be claimed only."""
    vi, en = _ROLES.get(s.role, _ROLES["other"])
    if not s.trusted:
        vi, en = f"{vi} – chưa được chứng minh", f"{en} – not proven"
    paper.heading(f"Chữ ký {number}: {vi}", f"Signature {number}: {en}")
    sub = f" · {s.sub_indication.value}" if s.sub_indication else ""
    dates = " – ".join(_time(each) for each in s.certificate_validity)
    integrity = "còn nguyên vẹn / intact" if s.integrity else "KHÔNG nguyên vẹn hoặc không kiểm tra được / NOT intact"
    valid = {True: "có / yes", False: "KHÔNG / NO", None: "chưa kiểm tra được / not checked"}[s.valid_at_signing_time]
    rows: tuple[tuple[Both, str], ...] = (
        (("Cơ quan cấp chứng thư", "Issuing CA"), s.issuing_ca),
        (("Chủ thể ký", "Signer"), s.signer),
        (("Đơn vị quản lý chứng thư", "Managing unit"), s.managing_unit),
        (("Thời điểm ký (người ký ghi)", "Signing time as claimed"), _time(s.signing_time)),
        (("Dấu thời gian", "Time-stamp"), _time(s.timestamp)),
        (("Tính toàn vẹn", "Integrity"), integrity),
        (("Hợp lệ tại thời điểm ký", "Valid at signing time"), valid),
        (("Thời hạn của chứng thư", "Certificate validity"), dates),
        (("Kết quả (EN 319 102-1)", "Indication"), f"{s.indication.value}{sub}"),
        (("Trường ký, mức chữ ký", "Field, level"), f"{s.field} · {s.level or '–'}"),
    )
    for label, value in rows:
        paper.row(label, value)
    paper.row(("SHA-256 của chứng thư", "Certificate's digest"), s.certificate_sha256, size=_DIGEST)


def _findings(paper: "Paper", vi: str, en: str, findings: list[Finding]) -> None:
    paper.heading(vi, en)
    if not findings:
        paper.line("Không có. / None.", 10)
    for each in findings:
        said, meant = _SEVERITIES[each.severity]
        paper.line(f"• {said}: {each.text('vi')}", 10, keep=26)
        paper.line(f"{meant}: {each.text('en')} ({each.code})", 8.5, colour=GREY, indent=8)
        paper.space(3)


def _closing(paper: "Paper", system: str, host: str) -> None:
    paper.space(10)
    paper.rule()
    paper.line(
        f"Phiếu do {system} ({host}) lập tự động và ký bằng khóa riêng của phiếu. Phiếu KHÔNG phải là bản sao chứng thực, "
        "không mang chữ ký hay con dấu của cơ quan nào; phiếu chỉ nói về tệp có mã băm SHA-256 ghi trên, tại thời điểm kiểm tra.",
        9, keep=60,
    )  # fmt: skip
    paper.line(
        f"Made by {system} ({host}) by itself and signed with the sheets' own key. This sheet is NOT a certified copy and bears no "
        "agency's signature or seal; it speaks only of the file with the SHA-256 digest above, at the time of the check.",
        8.5, colour=GREY,
    )  # fmt: skip


def _time(iso: str | None) -> str:
    """``25/11/2026, 14:05:30`` in Vietnam; a time without a zone, or at the end of all calendars, as it stands."""
    if not iso:
        return "không có / none"
    at = dt.datetime.fromisoformat(iso)
    if at.tzinfo is None or at.year >= dt.MAXYEAR:
        return iso
    return at.astimezone(VIETNAM).strftime("%d/%m/%Y, %H:%M:%S")


# ----------------------------------------------------------------------------------------------------------- paper
def printable(text: str, face: Typeface, most: int = _MOST_TEXT) -> str:
    """One line of letters that the typeface has; the others as their codes. Never empty."""
    if len(text) > 2 * most:
        text = f"{text[:most]}…{text[-most:]}"
    line = " ".join(unicodedata.normalize("NFC", text).split())
    if len(line) > most:
        line = f"{line[: most - 21]}…{line[-20:]}"  # the end of a file's name says what it is
    return "".join(c if face.has(c) and c != "\xad" else f"[U+{ord(c):04X}]" for c in line) or "–"


def _lines(text: str, face: Typeface, size: float, width: float) -> list[str]:
    """Wrapped; a word wider than the line is broken, since a digest or a file's name has no spaces."""
    pieces: list[str] = []
    for word in text.split():
        while face.width(word, size) > width:
            cut = next(n for n in range(len(word) - 1, 0, -1) if face.width(word[:n], size) <= width)
            pieces.append(word[:cut])
            word = word[cut:]  # noqa: PLW2901 - the rest of it
        pieces.append(word)
    return face.wrap(" ".join(pieces), size, width)


def _rule(y: float) -> bytes:
    return b"0.7 G 0.4 w %.2f %.2f m %.2f %.2f l S 0 G\n" % (_LEFT, y, _PAGE[0] - _RIGHT, y)


@dataclass(slots=True)
class Paper:
    """Pages that fill from the top; whatever does not fit goes on on the next one."""

    training: bool
    title: str
    """Stands at the foot of every page."""
    pages: list[list[bytes]] = field(default_factory=list)
    used: dict[bool, set[int]] = field(default_factory=lambda: {False: set(), True: set()})
    y: float = 0.0

    def __post_init__(self) -> None:
        self._turn()

    def _turn(self) -> None:
        self.pages.append([])
        self.y = _PAGE[1] - _TOP
        if self.training:
            self.line("TẬP HUẤN – KHÔNG CÓ GIÁ TRỊ PHÁP LÝ / TRAINING – NO LEGAL VALUE", 10, bold=True, centre=True,
                      colour=RED)  # fmt: skip
            self.space(6)

    def need(self, height: float) -> None:
        """Turn the page unless that much fits."""
        if self.y - height < _BOTTOM:
            self._turn()

    def space(self, height: float) -> None:
        """Leave some room."""
        self.y -= height

    def rule(self) -> None:
        """A thin line across."""
        self.pages[-1].append(_rule(self.y))

    def line(
        self, text: str, size: float, *, bold: bool = False, centre: bool = False, colour: Colour = _BLACK,
        indent: float = 0.0, keep: float = 0.0,
    ) -> None:  # fmt: skip
        """A paragraph; ``keep``: not begun unless that much fits."""
        face = typeface(bold)
        self.need(keep)
        for each in _lines(printable(text, face), face, size, _WIDTH - indent):
            self.need(size * 1.35)
            self.y -= size * 1.35
            x = _LEFT + indent + ((_WIDTH - face.width(each, size)) / 2 if centre else 0)
            self._show(each, x, self.y, size, bold=bold, colour=colour)

    def heading(self, vi: str, en: str) -> None:
        """Of a section; never alone at the foot of a page."""
        self.need(72)
        self.space(9)
        self.line(vi, 11.5, bold=True)
        self.line(en, 8.5, colour=GREY)
        self.space(4)
        self.rule()

    def row(self, label: Both, value: str, *, size: float = 10, most: int = _MOST_TEXT) -> None:
        """Label on the left, value on the right."""
        face = typeface()
        lines = _lines(printable(value, face, most), face, size, _WIDTH - _LABEL)
        self.need(25)
        for index, each in enumerate([*lines, *[""] * (2 - len(lines))]):
            self.need(13)
            self.y -= 12
            if index < 2:
                small, colour = ((9.5, _BLACK), (8.0, GREY))[index]
                self._show(label[index], _LEFT, self.y, small, bold=False, colour=colour)
            if each:
                self._show(each, _LEFT + _LABEL, self.y, size, bold=False, colour=_BLACK)
        self.space(4)
        self.rule()

    def box(self, paragraphs: list[tuple[str, float, bool, Colour]], colour: Colour) -> None:
        """Framed paragraphs: (text, size, bold, colour)."""
        inset, gap = 12.0, 4.0
        shown = [
            (each, size, bold, ink, size * 1.35 + (gap if first else 0))
            for text, size, bold, ink in paragraphs
            for first, each in self._inside(text, size, bold, _WIDTH - 2 * inset)
        ]
        height = sum(step for *_, step in shown) + 2 * inset - gap
        self.need(height)
        frame = b"%.2f %.2f %.2f RG 1.6 w %.2f %.2f %.2f %.2f re S 0 G\n"
        self.pages[-1].append(frame % (*colour, _LEFT, self.y - height, _WIDTH, height))
        y = self.y - inset + gap + 2
        for each, size, bold, ink, step in shown:
            y -= step
            self._show(each, _LEFT + inset, y, size, bold=bold, colour=ink)
        self.y -= height + 4

    @staticmethod
    def _inside(text: str, size: float, bold: bool, width: float) -> list[tuple[bool, str]]:
        """Lines, each with whether a paragraph begins."""
        face = typeface(bold)
        return [(n == 0, each) for n, each in enumerate(_lines(printable(text, face), face, size, width))]

    def _show(self, text: str, x: float, y: float, size: float, *, bold: bool, colour: Colour) -> None:
        self.pages[-1].append(self._words(text, x, y, size, bold=bold, colour=colour))

    def _words(self, text: str, x: float, y: float, size: float, *, bold: bool, colour: Colour) -> bytes:
        font = b"/F2" if bold else b"/F1"
        letters = typeface(bold).encode(text, self.used[bold])
        return (
            b"BT %.2f %.2f %.2f rg " % colour + font + b" %.1f Tf %.2f %.2f Td " % (size, x, y) + letters + b" Tj ET\n"
        )

    def write(self, digest: str, host: str) -> bytes:
        """Number every page, with the digest's beginning, so that no page goes astray; and add the empty field."""
        writer = PdfFileWriter(stream_xrefs=False)
        writer.root[name("/Lang")] = generic.pdf_string("vi-VN")
        face = typeface()
        fonts = generic.DictionaryObject(
            {name(f"/F{1 + bold}"): typeface(bold).embed(writer, self.used[bold]) for bold in (False, True)}
        )
        resources = generic.DictionaryObject({name("/Font"): fonts})
        media = generic.ArrayObject([generic.FloatObject(v) for v in (0, 0, *_PAGE)])
        for number, content in enumerate(self.pages, 1):
            foot = f"Trang {number}/{len(self.pages)}"
            about = f"{digest} · {self.title} · {printable(host, face, 60)}"
            right, y = _PAGE[0] - _RIGHT - face.width(foot, 8), _BOTTOM - 29
            parts = [_rule(_BOTTOM - 18)]
            parts += [self._words(t, x, y, 8, bold=False, colour=GREY) for t, x in ((about, _LEFT), (foot, right))]
            packed = zlib.compress(b"".join([*content, *parts]), 9)
            stream = generic.StreamObject({name("/Filter"): name("/FlateDecode")}, encoded_data=packed)
            writer.insert_page(PageObject(contents=writer.add_object(stream), media_box=media, resources=resources))
        append_signature_field(writer, SigFieldSpec(FIELD, on_page=0))
        target = io.BytesIO()
        writer.write(target)
        return target.getvalue()
