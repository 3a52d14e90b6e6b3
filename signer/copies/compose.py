"""Compose: one incremental update with the attestation, footers, QR block and empty signature fields.

No mark may cover the original: a page's box grows downwards by a band (upwards for the text mark of sao y), or an A4
page is appended. Revision 0's bytes stay an untouched prefix.
"""

import io
import zlib
from dataclasses import dataclass
from typing import Any

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name as name
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError

from core import pdf_hex  # noqa: F401  (puts its reader in place)
from core.errors import BadInput
from core.values import Regime
from signer.formats.typeface import Typeface, typeface

__all__ = ["CERTIFIER", "SEAL", "Composed", "Marks", "Rect", "compose"]

CERTIFIER, SEAL = "Certifier", "Seal"
MM = 72 / 25.4
A4 = (210 * MM, 297 * MM)
_MIN_WIDTH = 170 * MM
_FOOTER = 9 * MM
_BAND = 66 * MM
_TOP = 20 * MM
_EDGE = 9 * MM
Rect = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """All that is printed; worded by the caller."""

    regime: Regime
    attestation: tuple[str, ...]
    """Title first (bold), then lines; for the agency-only regimes the three lines of the text mark."""
    capacity: str
    certifier: str
    qr: bytes
    """Drawing operators of the QR code in a square of ``qr_size`` from the origin, quiet zone included."""
    qr_lines: tuple[str, ...]
    footer: str
    """Pattern with ``{page}`` and ``{pages}``."""
    training: str = ""
    """Shown on every page in realm training."""
    layout: str = "band"
    qr_size: float = 35 * MM
    seal_diameter: float = 36 * MM


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """The stamped document, and where the QR code and the fields are (points, on ``page``, 0-based)."""

    document: bytes
    page: int
    qr: Rect
    fields: dict[str, Rect]


def compose(revision0: bytes, marks: Marks) -> Composed:
    """Stamp a normalised revision 0 (MediaBox [0 0 w h], no Rotate, no AcroForm). Raises ``compose.unreadable``."""
    try:
        writer = IncrementalPdfFileWriter(io.BytesIO(revision0))
        if "/AcroForm" in writer.root:
            raise BadInput("compose.has_form")
        count = int(writer.root["/Pages"]["/Count"])
        references = [writer.find_page_for_modification(index)[0] for index in range(count)]
        return _Sheet(writer, references, marks).compose()
    except (PdfError, KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInput("compose.unreadable") from error


class _Sheet:
    """One composition; holds the writer while it lasts."""

    def __init__(self, writer: IncrementalPdfFileWriter, references: list[Any], marks: Marks) -> None:
        self.writer, self.references, self.marks = writer, references, marks
        self.pages = [reference.get_object() for reference in references]
        self._place: dict[int, tuple[float, float]] = {}
        """Width and bottom of each grown page."""
        self.regular, self.bold = typeface(), typeface(bold=True)
        self.used: tuple[set[int], set[int]] = (set(), set())
        """Glyphs of the regular and of the bold face."""
        self.fonts = generic.DictionaryObject(
            {
                name("/DsR"): self.regular.embed(writer, self.used[0]),
                name("/DsB"): self.bold.embed(writer, self.used[1]),
            }
        )

    def compose(self) -> Composed:
        last = len(self.pages) - 1
        boxes = [self._box(page) for page in self.pages]
        append = self.marks.layout == "page" or boxes[last][3] + _BAND > 2 * A4[1]
        total = len(self.pages) + append
        for index, page in enumerate(self.pages):
            own = index == last and not append
            self._grow(page, boxes[index], index, total, band=own)
        where = last
        if append:
            where = total - 1
            self._append(total)
        page, (width, bottom) = self.pages[where], self._place[where]
        qr, fields = self._attest(page, width, bottom)
        self._form(self.references[where], page, fields)
        out = io.BytesIO()
        self.writer.write(out)
        return Composed(document=out.getvalue(), page=where, qr=qr, fields=fields)

    def _box(self, page: Any) -> Rect:
        x0, y0, x1, y1 = (float(v) for v in (page if "/MediaBox" in page else page["/Parent"])["/MediaBox"])
        if (x0, y0) != (0, 0) or ("/Rotate" in page and int(page["/Rotate"]) % 360):
            raise BadInput("compose.unreadable")
        return x0, y0, x1, y1

    def _grow(self, page: Any, box: Rect, index: int, total: int, *, band: bool) -> None:
        # a page too narrow for its footer's two texts grows to the right as well
        width = max(box[2], _MIN_WIDTH if band or index == 0 else self._footer_width(index + 1, total))
        down = _FOOTER + (_BAND if band else 0)
        top = _TOP if index == 0 and self.marks.regime is not Regime.CERTIFIED_COPY else 0
        grown = (0.0, -down, width, box[3] + top)
        page[name("/MediaBox")] = generic.ArrayObject(generic.FloatObject(round(v, 3)) for v in grown)
        page.pop("/CropBox", None)
        self._place[index] = (width, -down)
        content = self._footer(width, -down, index + 1, total)
        if top:
            content += self._text_mark(width, box[3] + top)
        self._add(page, content)

    def _append(self, total: int) -> None:
        stream = self.writer.add_object(generic.StreamObject(stream_data=b""))
        page = generic.DictionaryObject(
            {
                name("/Type"): name("/Page"),
                name("/MediaBox"): generic.ArrayObject(generic.FloatObject(v) for v in (0, 0, *A4)),
                name("/Contents"): generic.ArrayObject([stream]),
                name("/Resources"): generic.DictionaryObject(),
            }
        )
        self.writer.insert_page(page)
        reference, _ = self.writer.find_page_for_modification(total - 1)
        self.references.append(reference)
        self.pages.append(reference.get_object())
        self._place[total - 1] = (A4[0], A4[1] - _BAND - _FOOTER - 20 * MM)
        self._add(self.pages[-1], self._footer(A4[0], 0, total, total))

    # ------------------------------------------------------------------------------------------------- drawing
    def _text(self, text: str, x: float, y: float, size: float, *, bold: bool = False) -> bytes:
        face = self.bold if bold else self.regular
        return b"BT /Ds%s %.2f Tf %.2f %.2f Td %s Tj ET\n" % (
            b"B" if bold else b"R",
            size,
            x,
            y,
            face.encode(text, self.used[bold]),
        )

    def _centred(self, text: str, middle: float, y: float, size: float, room: float, *, bold: bool = False) -> bytes:
        face: Typeface = self.bold if bold else self.regular
        width = face.width(text, size)
        if width > room:  # a long name shrinks rather than leave its band
            size, width = size * room / width, room
        return self._text(text, middle - width / 2, y, size, bold=bold)

    def _footer_width(self, page: int, pages: int) -> float:
        text = self.marks.footer.format(page=page, pages=pages)
        return 2 * _EDGE + self.regular.width(text, 8.5) + 12 + self.bold.width(self.marks.training, 8.5)

    def _footer(self, width: float, bottom: float, page: int, pages: int) -> bytes:
        text = self.marks.footer.format(page=page, pages=pages)
        line = b"0.6 G 0.4 w %.2f %.2f m %.2f %.2f l S\n" % (
            _EDGE,
            bottom + _FOOTER - 3,
            width - _EDGE,
            bottom + _FOOTER - 3,
        )
        size = 8.5
        content = line + self._text(text, width - _EDGE - self.regular.width(text, size), bottom + 10, size)
        if self.marks.training:
            content += (
                b"0.75 0.1 0.1 rg\n" + self._text(self.marks.training, _EDGE, bottom + 10, 8.5, bold=True) + b"0 g\n"
            )
        return content

    def _text_mark(self, width: float, top: float) -> bytes:
        """Top right, size 10, upright, black (Decree 30/2020, Appendix I)."""
        rows = self.marks.attestation
        widest = max(self.regular.width(row, 10) for row in rows)
        x = max(_EDGE, width - _EDGE - widest)
        return b"".join(self._text(row, x, top - 16 - 13 * i, 10) for i, row in enumerate(rows))

    def _attest(self, page: Any, width: float, bottom: float) -> tuple[Rect, dict[str, Rect]]:
        marks = self.marks
        base = bottom + _FOOTER
        side = marks.qr_size
        qr_x, qr_y = _EDGE, base + _BAND - side - 2 * MM
        content = b"q 1 0 0 1 %.3f %.3f cm\n%s\nQ\n" % (qr_x, qr_y, marks.qr)
        left = min(76 * MM, width * 0.42)
        y = qr_y - 9.0
        for row in marks.qr_lines:
            for line in self.regular.wrap(row, 7.6, left - 4):
                content += self._text(line, qr_x + 2, y, 7.6)
                y -= 9.2
        room = width - left - 2 * _EDGE
        middle = left + _EDGE + room / 2
        fields: dict[str, Rect] = {}
        top = base + _BAND - 8 * MM
        radius = marks.seal_diameter / 2
        if marks.regime is Regime.CERTIFIED_COPY:
            title, *rest = marks.attestation
            content += self._centred(title, middle, top, 11.5, room, bold=True)
            for i, row in enumerate(rest):
                content += self._centred(row, middle, top - 15 - 13.5 * i, 10.5, room)
            y = top - 15 - 13.5 * len(rest) - 4
            content += self._centred(marks.capacity, middle, y, 10.5, room, bold=True)
            name_y = base + 5
            content += self._centred(marks.certifier, middle, name_y, 11, room, bold=True)
            low, high = name_y + 12, y - 4
            half = 24 * MM
            fields[CERTIFIER] = (middle - half, low, middle + half, high)
            # the seal covers about a third of the signature, on its left (Decree 30/2020 art. 33)
            centre = (middle - half + 2 * half / 3 - radius, (low + high) / 2 + 3)
        else:
            centre = (middle, base + _BAND / 2)
        fields[SEAL] = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        self._add(page, content)
        return (qr_x, qr_y, qr_x + side, qr_y + side), fields

    # ----------------------------------------------------------------------------------------------- structure
    def _add(self, page: Any, content: bytes) -> None:
        """Append a content stream; the old ones are bracketed so that their graphics state cannot reach ours."""
        writer = self.writer
        resolved = page["/Contents"] if "/Contents" in page else generic.ArrayObject()
        if isinstance(resolved, generic.ArrayObject):
            old_list = [resolved.raw_get(i) for i in range(len(resolved))]
        else:
            old_list = [page.raw_get("/Contents")]
        opened = writer.add_object(generic.StreamObject(stream_data=b"q\n"))
        packed = zlib.compress(b"\nQ q\n" + content + b"Q\n", 6)
        marks = writer.add_object(generic.StreamObject({name("/Filter"): name("/FlateDecode")}, encoded_data=packed))
        page[name("/Contents")] = generic.ArrayObject([opened, *old_list, marks])
        if "/Resources" not in page:
            page[name("/Resources")] = generic.DictionaryObject()
        resources = page["/Resources"]
        if "/Font" not in resources:
            resources[name("/Font")] = generic.DictionaryObject()
        fonts = resources["/Font"]
        for key, value in self.fonts.items():
            fonts[key] = value
        for changed in (fonts, resources, page):
            if changed.container_ref is not None:
                writer.update_container(changed)

    def _form(self, reference: Any, page: Any, fields: dict[str, Rect]) -> None:
        writer = self.writer
        references = generic.ArrayObject()
        for field, rect in fields.items():
            width, height = rect[2] - rect[0], rect[3] - rect[1]
            empty = writer.add_object(
                generic.StreamObject(
                    {
                        name("/Type"): name("/XObject"), name("/Subtype"): name("/Form"),
                        name("/BBox"): generic.ArrayObject(generic.FloatObject(round(v, 3)) for v in (0, 0, width, height)),
                    },
                    stream_data=b"",
                )
            )  # fmt: skip
            widget = generic.DictionaryObject(
                {
                    name("/Type"): name("/Annot"), name("/Subtype"): name("/Widget"), name("/FT"): name("/Sig"),
                    name("/T"): generic.pdf_string(field), name("/F"): generic.NumberObject(4),
                    name("/Rect"): generic.ArrayObject(generic.FloatObject(round(v, 3)) for v in rect),
                    name("/P"): generic.IndirectObject(reference.idnum, reference.generation, writer), name("/AP"): generic.DictionaryObject({name("/N"): empty}),
                }
            )  # fmt: skip
            references.append(writer.add_object(widget))
        page[name("/Annots")] = generic.ArrayObject(list(references))
        writer.update_container(page)
        writer.root[name("/AcroForm")] = writer.add_object(
            generic.DictionaryObject({name("/Fields"): references, name("/SigFlags"): generic.NumberObject(3)})
        )
        writer.update_root()
