"""The legal book as CSV and as PDF: every line in order, voided ones with their reason, nothing left out."""

import csv
import io

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.writer import PageObject, PdfFileWriter
from pyhanko.sign.fields import SigFieldSpec, append_signature_field

from core.clock import timestamp_text
from core.directory.model import Agency
from signer.copies.register import Book, Entry
from signer.copies.wording import Wording
from signer.formats.typeface import Typeface, typeface

__all__ = ["BOOK", "as_csv", "as_pdf", "page_count"]

BOOK = "Book"
"""Name of the seal's field."""

_COLUMNS = ("Số", "Ngày", "Người yêu cầu", "Loại giấy tờ", "Số bản chính", "Số trang", "Số bản", "Lệ phí", "Trạng thái",
            "Ghi chú")  # fmt: skip
_STATES = {"reserved": "đang giữ", "issued": "đã cấp", "voided": "đã hủy"}
_WIDTHS = (54, 96, 110, 130, 80, 48, 44, 54, 58, 110)
_PAGE = (842.0, 595.0)
_MARGIN, _ROW = 28.0, 15.0
_SEAL_ROOM = 112.0
"""Below the last line of a closed book: the seal covers no line."""


def _line(entry: Entry, wording: Wording) -> list[str]:
    columns = entry.columns
    return [
        wording.number_text(entry.number),
        timestamp_text(entry.reserved_at)[:10],
        str(columns.get("requester", "")),
        str(columns.get("kind", "")),
        str(columns.get("original_number", "")),
        str(columns.get("pages", "")),
        str(columns.get("copies", "")),
        str(columns.get("fee", "")),
        _STATES[entry.state],
        entry.reason or str(columns.get("notes", "")),
    ]


def as_csv(agency: Agency, book: Book, entries: list[Entry]) -> bytes:
    """UTF-8 with a byte-order mark, as the spreadsheets of an office expect."""
    wording = Wording.of(agency.wording)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([agency.name, wording.book_text(book.volume, book.year, book.kind)])
    writer.writerow(_COLUMNS)
    # A leading sign would run as a formula in a spreadsheet; an apostrophe keeps it a text.
    writer.writerows([f"'{c}" if c[:1] in "=+-@\t" else c for c in _line(entry, wording)] for entry in entries)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def page_count(lines: int, *, closed: bool) -> int:
    """Pages of the PDF: a closed book leaves room for its seal."""
    return max(1, -(-lines // _per_page(closed=closed)))


def _per_page(*, closed: bool) -> int:
    return int((_PAGE[1] - 2 * _MARGIN - 60 - (_SEAL_ROOM if closed else 0)) / _ROW)


def as_pdf(agency: Agency, book: Book, entries: list[Entry]) -> bytes:
    """A4 landscape with totals at the end; a closed book has an empty field for the agency's seal there."""
    wording = Wording.of(agency.wording)
    face = typeface()
    rows = [_line(entry, wording) for entry in entries]
    per_page = _per_page(closed=book.totals is not None)
    chunks = [rows[i : i + per_page] for i in range(0, len(rows), per_page)] or [[]]
    writer = PdfFileWriter(stream_xrefs=False)
    used: set[int] = set()
    fonts = generic.DictionaryObject({generic.NameObject("/F1"): face.embed(writer, used)})
    resources = generic.DictionaryObject({generic.NameObject("/Font"): fonts})
    heading = f"SỔ CHỨNG THỰC  {wording.book_text(book.volume, book.year, book.kind)}    {agency.name}"
    for number, chunk in enumerate(chunks, 1):
        content = _content(face, used, heading, chunk, f"trang {number}/{len(chunks)}")
        if number == len(chunks) and book.totals is not None:
            totals = book.totals
            closing = f"Tổng số: {totals['entries']} dòng, đã cấp {totals['issued']}, đã hủy {totals['voided']}, {totals['copies']} bản."
            content += _text(face, used, closing, _MARGIN, _MARGIN - 4, 9)
            content += _text(face, used, f"SHA-256 các dòng: {totals['lines_sha256']}", _MARGIN, _MARGIN - 16, 7)
        stream = writer.add_object(generic.StreamObject(stream_data=content))
        media = generic.ArrayObject([generic.FloatObject(v) for v in (0, 0, *_PAGE)])
        page = PageObject(contents=stream, media_box=media, resources=resources)
        writer.insert_page(page)
    if book.totals is not None:
        side, right = round(36 * 72 / 25.4), round(_PAGE[0] - _MARGIN)
        box = (right - side, round(_MARGIN) + 4, right, round(_MARGIN) + 4 + side)
        append_signature_field(writer, SigFieldSpec(BOOK, on_page=len(chunks) - 1, box=box))
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def _text(face: Typeface, used: set[int], text: str, x: float, y: float, size: float) -> bytes:
    return b"BT /F1 %.1f Tf %.2f %.2f Td " % (size, x, y) + face.encode(text, used) + b" Tj ET\n"


def _fit(face: Typeface, text: str, size: float, width: float) -> str:
    if face.width(text, size) <= width:
        return text
    while text and face.width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def _content(face: Typeface, used: set[int], heading: str, rows: list[list[str]], foot: str) -> bytes:
    top = _PAGE[1] - _MARGIN
    parts = [_text(face, used, heading, _MARGIN, top - 12, 12), _text(face, used, foot, _PAGE[0] - 90, _MARGIN - 12, 8)]
    for index, row in enumerate([list(_COLUMNS), *rows]):
        x, y = _MARGIN, top - 40 - index * _ROW
        for cell, width in zip(row, _WIDTHS, strict=True):
            parts.append(_text(face, used, _fit(face, cell, 8, width - 4), x, y, 8))
            x += width
        parts.append(b"0.3 w %.2f %.2f m %.2f %.2f l S\n" % (_MARGIN, y - 4, _PAGE[0] - _MARGIN, y - 4))
    return b"".join(parts)
