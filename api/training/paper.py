"""The papers that are signed for practice: one page each, drawn anew for every person, TRAINING across its head and foot."""

import datetime as dt
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name as name
from pyhanko.pdf_utils.writer import PageObject, PdfFileWriter

from core.clock import VIETNAM
from signer.formats.typeface import Typeface, typeface

__all__ = ["SIGNED_BY", "application", "notice"]

SIGNED_BY: Final = "Người làm đơn"
"""Stands on the page of an application once: the visible signature hangs under it."""
_WIDTH, _HEIGHT, _EDGE = 595, 842, 50
_MARK: Final = "TẬP HUẤN – KHÔNG CÓ GIÁ TRỊ PHÁP LÝ · TRAINING – NO LEGAL VALUE"
_COUNTRY: Final = ("CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", "Độc lập – Tự do – Hạnh phúc")
_BODIES: Final = {
    "residence": (
        "ĐƠN ĐỀ NGHỊ XÁC NHẬN CƯ TRÚ",
        "Kính gửi: {agency}",
        "Tôi là: {who}",
        "Số định danh (số bịa, chỉ để tập): {number}",
        "Nơi ở: thôn Tập Huấn, xã Mẫu Sơn, tỉnh Ví Dụ.",
        "Tôi đề nghị xác nhận tôi đang cư trú tại địa chỉ trên, để nộp hồ sơ nhập học cho con.",
        "Tôi cam đoan những điều khai trên đây là đúng.",
    ),
    "loan": (
        "GIẤY ĐỀ NGHỊ VAY VỐN",
        "Kính gửi: Quỹ tín dụng Thí Dụ",
        "Người vay: {who}",
        "Số định danh (số bịa, chỉ để tập): {number}",
        "Số tiền vay: 200.000.000 đồng, lãi suất 9%/tháng, trả trong 12 tháng.",
        "Tài sản bảo đảm: nhà và đất đang ở.",
        "Người vay đồng ý giao tài sản nếu trả chậm một kỳ.",
    ),
}


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    size: float = 15.0
    centre: bool = False
    red: bool = False
    x: float = _EDGE


def application(kind: str, *, who: str, number: str, agency: str, at: dt.datetime) -> bytes:
    """A citizen's paper as a PDF. ``kind``: ``residence``, or ``loan``, which nobody should sign."""
    face = typeface()
    title, *body = (text.format(who=who, number=number, agency=agency) for text in _BODIES[kind])
    day = at.astimezone(VIETNAM)
    rows: list[tuple[float, _Line]] = [*_head(title), *_paragraphs(face, body, 620)]
    rows += [
        (300, _Line(f"Ngày {day:%d} tháng {day:%m} năm {day:%Y}", x=330)), (278, _Line(SIGNED_BY, x=370)),
    ]  # fmt: skip
    return _pdf(face, rows)


def notice(title: str, body: Sequence[str], *, signed_by: str) -> bytes:
    """An agency's paper: for officials and clerks who practise at the desk. ``signed_by`` stands above both signatures."""
    face = typeface()
    return _pdf(face, [*_head(title), *_paragraphs(face, body, 620), (300, _Line(signed_by, x=330))])


def _head(title: str) -> list[tuple[float, _Line]]:
    first, second = _COUNTRY
    return [(764, _Line(first, 14, centre=True)), (744, _Line(second, 14, centre=True)),
            (680, _Line(title, 20, centre=True))]  # fmt: skip


def _paragraphs(face: Typeface, texts: Sequence[str], top: float) -> list[tuple[float, _Line]]:
    rows = []
    for text in texts:
        for part in face.wrap(text, 15, _WIDTH - 2 * _EDGE):
            rows.append((top, _Line(part)))
            top -= 23
        top -= 9
    return rows


def _pdf(face: Typeface, rows: list[tuple[float, _Line]]) -> bytes:
    writer, used = PdfFileWriter(stream_xrefs=False), set[int]()
    marks = [(806.0, _Line(_MARK, 10, centre=True, red=True)), (36.0, _Line(_MARK, 10, centre=True, red=True))]
    content = b"".join(_shown(face, used, y, line) for y, line in [*marks, *rows])
    fonts = generic.DictionaryObject({name("/F1"): face.embed(writer, used)})
    page = PageObject(
        contents=writer.add_object(generic.StreamObject(stream_data=content)),
        media_box=generic.ArrayObject([generic.NumberObject(each) for each in (0, 0, _WIDTH, _HEIGHT)]),
        resources=generic.DictionaryObject({name("/Font"): fonts}),
    )
    writer.insert_page(page)
    target: Any = io.BytesIO()
    writer.write(target)
    return bytes(target.getvalue())


def _shown(face: Typeface, used: set[int], y: float, line: _Line) -> bytes:
    x = (_WIDTH - face.width(line.text, line.size)) / 2 if line.centre else line.x
    colour = b"0.75 0.1 0.1 rg " if line.red else b"0 g "
    return colour + b"BT /F1 %.1f Tf %.1f %.1f Td " % (line.size, x, y) + face.encode(line.text, used) + b" Tj ET\n"
