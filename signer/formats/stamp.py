"""What a visible signature shows: selectable words in the embedded typeface, and a picture (ISO 32000-2 §12.5.5).

The words shrink until they fit their box; a long reason is cut before they become too small to read. What is drawn lies
inside the update that the signature covers.
"""

import base64
import datetime as dt
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name as name

from core.clock import timestamp_text
from signer.formats.fields import Appearance, add_image
from signer.formats.typeface import Typeface, typeface

__all__ = ["Line", "StampText", "draw", "lines"]

_BIGGEST, _GOOD, _READABLE, _SMALLEST = 11.0, 7.5, 5.5, 0.5
_STEP = 0.94
_LEADING = 1.22
_BASE = 0.93
"""Of a line's size, from its top to where its letters stand."""
_EDGE = 3.0
_PICTURE = 0.38
"""Share of the box's width that a picture beside words takes at most."""
_TRAINING = "TẬP HUẤN · TRAINING"
_RED = b"0.75 0.1 0.1 rg "


@dataclass(frozen=True, slots=True, kw_only=True)
class StampText:
    """What is said. ``signed_at`` is the time the signer claims."""

    signer: str
    signed_at: dt.datetime
    reason: str = ""
    capacity: str = ""
    """For officials: the capacity in which they sign, above the name."""
    training: bool = False
    """Realm training: the stamp says so."""
    picture: Appearance | None = None
    words: bool = True
    """False: the picture alone, as an agency's seal is; what is left of the words is the line of realm training."""

    def require(self) -> None:
        """The names can be printed. Raises ``compose.glyph_missing``; a reason's odd letters are replaced instead."""
        typeface().require(self.signer)
        typeface().require(self.capacity)

    def to_json(self) -> dict[str, Any]:
        """For the way into the sandbox."""
        picture = self.picture and {
            "width_px": self.picture.width_px, "height_px": self.picture.height_px,
            "rgb": base64.b64encode(self.picture.rgb).decode(),
            "alpha": None if self.picture.alpha is None else base64.b64encode(self.picture.alpha).decode(),
        }  # fmt: skip
        return {
            "signer": self.signer, "signed_at": self.signed_at.isoformat(), "reason": self.reason,
            "capacity": self.capacity, "training": self.training, "picture": picture, "words": self.words,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "StampText":
        """Back."""
        held = value["picture"]
        picture = None if held is None else Appearance(
            width_px=held["width_px"], height_px=held["height_px"], rgb=base64.b64decode(held["rgb"]),
            alpha=None if held["alpha"] is None else base64.b64decode(held["alpha"]),
        )  # fmt: skip
        return cls(**{**value, "signed_at": dt.datetime.fromisoformat(value["signed_at"]), "picture": picture})


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text, points from the box's lower left corner."""

    text: str
    x: float
    y: float
    size: float
    strong: bool = False
    red: bool = False


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    strong: bool = False
    red: bool = False
    may_break: bool = False
    """A reason may take several lines; name and time rather become smaller."""


def draw(stamp: StampText) -> Callable[[Any, float, float, int], Any]:
    """``placing.Drawing`` of this stamp. The drawing raises ``compose.glyph_missing`` for a name that cannot be set."""

    def drawn(writer: Any, width: float, height: float, turn: int) -> Any:
        return _form(writer, stamp, width, height, turn)

    return drawn


def lines(stamp: StampText, width: float, height: float) -> list[Line]:
    """The words as they fit ``width`` × ``height`` points, the first line highest."""
    face = typeface()
    room, high = width - 2 * _EDGE, height - 2 * _EDGE
    for size, reason in _tries(_printable(stamp.reason, face)):
        said = _sentences(stamp, reason)
        rows = [_Said(row, s.strong, s.red) for s in said for row in face.wrap(s.text, size, room)]
        wide = max((face.width(row.text, size) for row in rows), default=0.0)
        broken = size > _GOOD and any(face.width(s.text, size) > room for s in said if not s.may_break)
        if wide <= room and len(rows) * size * _LEADING <= high and not broken:
            break
    top = height - _EDGE - max(0.0, (high - len(rows) * size * _LEADING) / 2)
    return [
        Line(row.text, _EDGE, top - (i * _LEADING + _BASE) * size, size, row.strong, row.red)
        for i, row in enumerate(rows)
    ]


def _tries(reason: str) -> Iterator[tuple[float, str]]:
    """Sizes and reasons, the best first: smaller while it can be read, then fewer words, then smaller in any case."""
    size = _BIGGEST
    while size > _READABLE:
        yield size, reason
        size *= _STEP
    words = reason.split()
    while words:
        words = words[: len(words) * 3 // 4]
        yield _READABLE, " ".join(words) + " …" if words else ""
    while size > _SMALLEST:
        yield size, ""
        size *= _STEP


def _sentences(stamp: StampText, reason: str) -> list[_Said]:
    said = []
    if stamp.training:
        said.append(_Said(_TRAINING, strong=True, red=True))
    if stamp.words:
        if stamp.capacity:
            said.append(_Said(stamp.capacity))
        said.append(_Said(f"Ký bởi: {stamp.signer}", strong=True))
        if reason:
            said.append(_Said(f"Lý do: {reason}", may_break=True))
        said.append(_Said(f"Thời gian: {timestamp_text(stamp.signed_at)}"))
    return said


def _printable(text: str, face: Typeface) -> str:
    """One line of letters that the typeface has; any other becomes a question mark."""
    return "".join(c if face.has(c) else "?" for c in " ".join(unicodedata.normalize("NFC", text).split()))


def _form(writer: Any, stamp: StampText, width: float, height: float, turn: int) -> Any:
    """Form XObject of ``width`` × ``height``; its matrix turns it against the page's rotation."""
    face, used = typeface(), set[int]()
    content, left, images = b"", 0.0, generic.DictionaryObject()
    if stamp.picture is not None:
        share = _PICTURE if stamp.words else 1.0
        operators, left = _picture(stamp.picture, width * share, height, beside=stamp.words)
        content += operators
        images[name("/I")] = _images(writer, stamp.picture)
    if stamp.words:
        content += b"q 0.45 G 0.5 w 0.25 0.25 %.2f %.2f re S Q\n" % (width - 0.5, height - 0.5)
    room, high = (width - left, height) if stamp.words else (width, min(height, 3 * _EDGE + _BIGGEST))
    shift = width - room
    if stamp.words or stamp.training:
        content += b"".join(_set(line, shift, face, used) for line in lines(stamp, room, high))
    resources = generic.DictionaryObject({name("/XObject"): images})
    if used:
        resources[name("/Font")] = generic.DictionaryObject({name("/DsR"): face.embed(writer, used)})
    form = generic.StreamObject(
        {
            name("/Type"): name("/XObject"), name("/Subtype"): name("/Form"), name("/Filter"): name("/FlateDecode"),
            name("/BBox"): _numbers(0, 0, width, height), name("/Resources"): resources,
        },
        encoded_data=zlib.compress(content, 6),
    )  # fmt: skip
    if turn:
        form[name("/Matrix")] = _numbers(
            *{90: (0, 1, -1, 0, height, 0), 180: (-1, 0, 0, -1, width, height), 270: (0, -1, 1, 0, 0, width)}[turn]
        )
    return writer.add_object(form)


def _set(line: Line, shift: float, face: Typeface, used: set[int]) -> bytes:
    """Strong letters get an outline of their own colour, which saves a second face in the file."""
    colour = _RED + _RED.replace(b"rg", b"RG") if line.red else b"0 g 0 G "
    weight = b"2 Tr %.3f w " % (line.size * 0.03) if line.strong else b"0 Tr "
    return b"BT %s%s/DsR %.3f Tf %.3f %.3f Td %s Tj ET\n" % (
        colour, weight, line.size, shift + line.x, line.y, face.encode(line.text, used),
    )  # fmt: skip


def _picture(picture: Appearance, width: float, height: float, *, beside: bool) -> tuple[bytes, float]:
    """Operators that show it as large as it fits, and the width it takes from the left; alone it stands in the middle."""
    scale = min((width - 2) / picture.width_px, (height - 2) / picture.height_px)
    wide, high = picture.width_px * scale, picture.height_px * scale
    part = min(width, wide + 2) if beside else width
    place = (wide, high, (part - wide) / 2, (height - high) / 2)
    return b"q %.3f 0 0 %.3f %.3f %.3f cm /I Do Q\n" % place, part


def _images(writer: Any, picture: Appearance) -> Any:
    image = add_image(writer, picture, picture.rgb, "/DeviceRGB")
    if picture.alpha is not None:
        image.get_object()[name("/SMask")] = add_image(writer, picture, picture.alpha, "/DeviceGray")
    return image


def _numbers(*values: float) -> generic.ArrayObject:
    return generic.ArrayObject(generic.FloatObject(round(v, 3)) for v in values)
