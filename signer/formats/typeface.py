"""The embedded typeface: Source Serif, subset once per process to Latin and Vietnamese, glyph ids kept in our hands.

Text is NFC, one character one glyph, so no shaping is needed; ToUnicode makes every letter extractable.
"""

import io
import unicodedata
import zlib
from functools import cache
from importlib.resources import files
from typing import Any

from fontTools import subset
from fontTools.ttLib import TTFont, TTLibError
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name as name

from core.errors import BadInput

__all__ = ["Typeface", "typeface"]

_VIETNAMESE = "ăâđêôơưĂÂĐÊÔƠƯ" + "".join(
    unicodedata.normalize("NFC", base + mark)
    for base in "aăâeêioôơuưyAĂÂEÊIOÔƠUƯY"
    for mark in "\u0300\u0301\u0303\u0309\u0323"
)
_OTHER = "–—“”‘’…·•°№«»€₫×−"
# Latin Extended-A too: names of the Central Highlands (Y Bĕ, H' Čư) use it
_LETTERS = "".join(map(chr, range(0x20, 0x7F))) + "".join(map(chr, range(0xA0, 0x180))) + _VIETNAMESE + _OTHER


class _Widths(generic.PdfObject):
    """``/W`` of the glyphs that were used by the time the file is written."""

    def __init__(self, advance: dict[int, float], used: set[int]) -> None:
        self._advance, self._used = advance, used

    def write_to_stream(self, stream: Any, handler: Any = None, container_ref: Any = None) -> None:
        stream.write(("[" + " ".join(f"{i} [{self._advance[i]:g}]" for i in sorted(self._used)) + "]").encode())


class Typeface:
    """One weight, ready to embed and to measure with."""

    def __init__(self, data: bytes) -> None:
        """``data``: a TrueType file that has all Vietnamese letters. Raises ``compose.glyph_missing``."""
        options = subset.Options(hinting=False, layout_features=[], notdef_outline=True, name_IDs=[6])
        try:
            font = TTFont(io.BytesIO(data))
        except TTLibError as error:
            raise BadInput("compose.bad_font") from error
        worker = subset.Subsetter(options)
        worker.populate(text=_LETTERS)
        worker.subset(font)
        target = io.BytesIO()
        font.save(target)
        self._font = font
        self._file = zlib.compress(target.getvalue(), 9)
        self._length = len(target.getvalue())
        self._upm = font["head"].unitsPerEm
        order = {glyph: i for i, glyph in enumerate(font.getGlyphOrder())}
        self._glyphs = {chr(c): order[g] for c, g in font.getBestCmap().items()}
        self._advance = {i: font["hmtx"][g][0] * 1000 / self._upm for g, i in order.items()}
        if missing := set(_VIETNAMESE) - set(self._glyphs):
            raise BadInput("compose.glyph_missing", letters="".join(sorted(missing)[:10]))
        self.name = str(font["name"].getDebugName(6) or "Serif")
        self._unicode = zlib.compress(self._cmap(), 9)

    def _ids(self, text: str) -> list[int]:
        try:
            return [self._glyphs[c] for c in unicodedata.normalize("NFC", text)]
        except KeyError as error:
            raise BadInput("compose.glyph_missing", letters=str(error.args[0])) from error

    def has(self, letter: str) -> bool:
        """The letter can be printed."""
        return letter in self._glyphs

    def require(self, text: str) -> None:
        """Every letter can be printed. Raises ``compose.glyph_missing``."""
        self._ids(text)

    def encode(self, text: str, used: set[int]) -> bytes:
        """The hexadecimal string operand for ``Tj``; adds its glyphs to ``used``. Raises ``compose.glyph_missing``."""
        ids = self._ids(text)
        used.update(ids)
        return b"<" + b"".join(b"%04X" % i for i in ids) + b">"

    def width(self, text: str, size: float) -> float:
        """Points."""
        return float(sum(self._advance[i] for i in self._ids(text)) * size / 1000)

    def wrap(self, text: str, size: float, width: float) -> list[str]:
        """Lines no wider than ``width``; a single long word keeps its line."""
        lines: list[str] = []
        for word in text.split():
            if lines and self.width(f"{lines[-1]} {word}", size) <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    def embed(self, writer: Any, used: set[int]) -> Any:
        """Add the font's objects to a pyHanko writer; returns the reference for ``/Font`` resources.

        Only widths of ``used`` are written, as the set stands when the file is: every reader has to walk through them.
        """
        head, os2 = self._font["head"], self._font["OS/2"]
        scale = 1000 / self._upm
        base = name("/DAUSOA+" + self.name)
        file = writer.add_object(
            generic.StreamObject(
                {name("/Filter"): name("/FlateDecode"), name("/Length1"): generic.NumberObject(self._length)},
                encoded_data=self._file,
            )
        )
        box = [round(v * scale) for v in (head.xMin, head.yMin, head.xMax, head.yMax)]
        descriptor = writer.add_object(
            generic.DictionaryObject(
                {
                    name("/Type"): name("/FontDescriptor"), name("/FontName"): base,
                    name("/Flags"): generic.NumberObject(4),
                    name("/FontBBox"): generic.ArrayObject(map(generic.NumberObject, box)),
                    name("/ItalicAngle"): generic.NumberObject(0),
                    name("/Ascent"): generic.NumberObject(round(os2.sTypoAscender * scale)),
                    name("/Descent"): generic.NumberObject(round(os2.sTypoDescender * scale)),
                    name("/CapHeight"): generic.NumberObject(round(getattr(os2, "sCapHeight", 670) * scale)),
                    name("/StemV"): generic.NumberObject(90), name("/FontFile2"): file,
                }
            )
        )  # fmt: skip
        info = {name("/Registry"): generic.pdf_string("Adobe"), name("/Ordering"): generic.pdf_string("Identity"),
                name("/Supplement"): generic.NumberObject(0)}  # fmt: skip
        cid = writer.add_object(
            generic.DictionaryObject(
                {
                    name("/Type"): name("/Font"), name("/Subtype"): name("/CIDFontType2"), name("/BaseFont"): base,
                    name("/CIDSystemInfo"): generic.DictionaryObject(info), name("/FontDescriptor"): descriptor,
                    name("/DW"): generic.NumberObject(1000), name("/W"): _Widths(self._advance, used),
                    name("/CIDToGIDMap"): name("/Identity"),
                }
            )
        )  # fmt: skip
        unicode_map = writer.add_object(
            generic.StreamObject({name("/Filter"): name("/FlateDecode")}, encoded_data=self._unicode)
        )
        return writer.add_object(
            generic.DictionaryObject(
                {
                    name("/Type"): name("/Font"), name("/Subtype"): name("/Type0"), name("/BaseFont"): base,
                    name("/Encoding"): name("/Identity-H"), name("/DescendantFonts"): generic.ArrayObject([cid]),
                    name("/ToUnicode"): unicode_map,
                }
            )
        )  # fmt: skip

    @property
    def _pairs(self) -> list[tuple[int, str]]:
        return sorted({glyph: char for char, glyph in reversed(self._glyphs.items())}.items())

    def _cmap(self) -> bytes:
        rows = [f"<{g:04X}> <{c.encode('utf-16-be').hex().upper()}>" for g, c in self._pairs]
        blocks = [rows[i : i + 100] for i in range(0, len(rows), 100)]
        body = "\n".join(f"{len(b)} beginbfchar\n" + "\n".join(b) + "\nendbfchar" for b in blocks)
        return (
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
            "/CMapName /Adobe-Identity-UCS def /CMapType 2 def\n"
            "1 begincodespacerange <0000> <FFFF> endcodespacerange\n"
            f"{body}\nendcmap CMapName currentdict /CMap defineresource pop end end"
        ).encode()


@cache
def typeface(bold: bool = False) -> Typeface:
    """The default typeface; prepared once per process (about 150 ms)."""
    weight = "Bold" if bold else "Regular"
    return Typeface(files("font_source_serif_pro").joinpath(f"files/SourceSerifPro-{weight}.ttf").read_bytes())
