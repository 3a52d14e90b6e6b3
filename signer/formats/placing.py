"""Where a signature goes on a page, and its field: found or added in the update that fills it (ISO 32000-2 §12.7.5.5).

Two systems of coordinates. *Displayed*: points of 1/72 inch from the top left corner of the page as a reader sees it, y
downwards. *User space*: what a PDF counts in, before ``/Rotate`` and ``/UserUnit``, inside the crop box.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name as name
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import (
    FieldMDPSpec,
    SigFieldSpec,
    append_signature_field,
    ensure_sig_flags,
    enumerate_sig_fields,
)

from core.errors import BadInput, Refused
from signer.formats.fields import UNREADABLE, Placed

__all__ = [
    "LEAST",
    "Drawing",
    "PageBox",
    "Rect",
    "certification",
    "corners",
    "new_field",
    "old_field",
    "page_at",
    "page_box",
    "page_of",
    "require_open",
]

Rect = tuple[float, float, float, float]
"""``x0, y0, x1, y1`` in user space, the lower left corner first."""
Drawing = Callable[[Any, float, float, int], Any]
"""``(writer, width, height, turn) -> reference`` of a form that fills ``width`` × ``height`` displayed points."""
LEAST = (36.0, 14.0)
"""Width and height below which no visible signature can be read, in points."""
_RESERVED = {"Certifier", "Seal"}
"""Field names that say a role on certified copies; a portal's paper may not borrow them."""
_DEEP = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PageBox:
    """The visible part of a page in user space, its rotation (clockwise degrees) and its unit (1/72 inch)."""

    x0: float
    y0: float
    x1: float
    y1: float
    turn: int
    unit: float

    @property
    def width(self) -> float:
        """Displayed points."""
        return (self.y1 - self.y0 if self.turn % 180 else self.x1 - self.x0) * self.unit

    @property
    def height(self) -> float:
        """Displayed points."""
        return (self.x1 - self.x0 if self.turn % 180 else self.y1 - self.y0) * self.unit

    def _point(self, x: float, y: float) -> tuple[float, float]:
        across, down = x / self.unit, y / self.unit
        return {
            0: (self.x0 + across, self.y1 - down), 90: (self.x0 + down, self.y0 + across),
            180: (self.x1 - across, self.y0 + down), 270: (self.x1 - down, self.y1 - across),
        }[self.turn]  # fmt: skip

    def rect(self, x: float, y: float, width: float, height: float) -> Rect:
        """User space of a displayed box. Raises ``request.placement_off_page``, ``request.placement_too_small``."""
        if width < LEAST[0] or height < LEAST[1]:
            raise BadInput("request.placement_too_small", width=round(LEAST[0]), height=round(LEAST[1]))
        slack = 0.01  # what rounding may add
        if min(x, y) < -slack or x + width > self.width + slack or y + height > self.height + slack:
            raise BadInput("request.placement_off_page", width=round(self.width), height=round(self.height))
        (ax, ay), (bx, by) = self._point(x, y), self._point(x + width, y + height)
        return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)

    def displayed(self, rect: Rect) -> tuple[float, float, float, float]:
        """``x, y, width, height`` in displayed points of a box in user space."""
        a, b, c, d = rect
        left, top = {
            0: (a - self.x0, self.y1 - d), 90: (b - self.y0, a - self.x0),
            180: (self.x1 - c, b - self.y0), 270: (self.y1 - d, self.x1 - c),
        }[self.turn]  # fmt: skip
        across, down = (d - b, c - a) if self.turn % 180 else (c - a, d - b)
        return left * self.unit, top * self.unit, across * self.unit, down * self.unit


def page_box(page: Any) -> PageBox:
    """Of a page dictionary (pyHanko's or pikepdf's). Raises ``pades.unreadable``, also for sizes no page has."""
    try:
        media = corners(_inherited(page, "/MediaBox"))
        crop = corners(_inherited(page, "/CropBox") or media)
        turn = int(_inherited(page, "/Rotate") or 0) % 360
        unit = float(_at(page, "/UserUnit", 1.0))
    except UNREADABLE as error:
        raise BadInput("pades.unreadable") from error
    x0, y0 = max(media[0], crop[0]), max(media[1], crop[1])
    x1, y1 = min(media[2], crop[2]), min(media[3], crop[3])
    good = turn in {0, 90, 180, 270} and 10 <= (x1 - x0) * unit <= 14_400 and 10 <= (y1 - y0) * unit <= 14_400
    if not good:
        raise BadInput("pades.unreadable")
    return PageBox(x0=x0, y0=y0, x1=x1, y1=y1, turn=turn, unit=unit)


def _inherited(page: Any, key: str) -> Any:
    """From the page or the nodes above it (ISO 32000-2 §7.7.3.4)."""
    for _ in range(_DEEP):
        if key in page:
            return page[key]
        if "/Parent" not in page:
            return None
        page = page["/Parent"]
    raise ValueError("a page tree without end")


def _at(held: Any, key: str, otherwise: Any) -> Any:
    """An entry itself: ``get`` of pyHanko's dictionaries may hand out a reference to it."""
    return held[key] if key in held else otherwise  # noqa: SIM401


def corners(value: Any) -> Rect:
    """Of a PDF rectangle, whichever two opposite corners it names."""
    a, b, c, d = (float(value[i]) for i in range(4))
    return min(a, c), min(b, d), max(a, c), max(b, d)


def certification(root: Any) -> int | None:
    """Permission level of the document's certification (1, 2, 3); None where there is none."""
    if "/Perms" not in root or "/DocMDP" not in root["/Perms"]:
        return None
    signature = root["/Perms"]["/DocMDP"]
    references = _at(signature, "/Reference", [])
    for i in range(len(references)):
        params = _at(references[i], "/TransformParams", {})
        if str(references[i]["/TransformMethod"]) == "/DocMDP":
            return int(_at(params, "/P", 2))
    return 2


def require_open(writer: Any, field: str, *, new: bool) -> None:
    """No earlier signature forbids to sign ``field``. Raises ``request.paper_locked``, ``request.paper_needs_field``.

    Certified for filling (level 2) means that what exists may be filled: readers judge a new field differently.
    """
    level = certification(writer.root)
    if level == 1:
        raise Refused("request.paper_locked")
    if level == 2 and new:
        raise Refused("request.paper_needs_field")
    for _, _, reference in enumerate_sig_fields(writer, filled_status=True):
        signed = reference.get_object()
        if "/Lock" not in signed:
            continue
        lock = signed["/Lock"]
        if ("/P" in lock and int(lock["/P"]) == 1) or FieldMDPSpec.from_pdf_object(lock).is_locked(field):
            raise Refused("request.paper_locked")


def new_field(
    writer: IncrementalPdfFileWriter, field: str, *, page: int, box: Rect | None, draw: Drawing | None
) -> Placed:
    """An empty field of ours on ``page``, invisible without ``box``.

    ``field`` has no full stop, since that would nest it. Raises ``request.field_taken``, and as ``require_open`` does.
    """
    require_open(writer, field, new=True)
    if field in _RESERVED or "." in field or any(n == field for n, _, _ in enumerate_sig_fields(writer)):
        raise BadInput("request.field_taken", field=field)
    append_signature_field(writer, SigFieldSpec(field, on_page=page, box=box))  # type: ignore[arg-type]
    _, _, reference = next(enumerate_sig_fields(writer, with_name=field))
    made = reference.get_object()
    _say_signed(writer)
    look = None if box is None or draw is None else _look(writer, made, page, draw)
    return Placed(field=made, widget=made, look=look)


def old_field(writer: IncrementalPdfFileWriter, field: str, *, draw: Drawing | None) -> Placed:
    """The empty field with this full name.

    Raises ``request.no_such_field``, ``request.field_signed``, ``request.field_unusable`` (asks for what we do not do),
    and as ``require_open`` does.
    """
    found = [(value, reference) for _, value, reference in enumerate_sig_fields(writer, with_name=field)]
    if not found or field in _RESERVED:
        raise BadInput("request.no_such_field", field=field)
    value, reference = found[0]
    if value is not None:
        raise Refused("request.field_signed", field=field)
    require_open(writer, field, new=False)
    holder = reference.get_object()
    kids = _at(holder, "/Kids", [])
    if len(kids) > 1 or _wants_more(holder):
        raise Refused("request.field_unusable", field=field)
    widget = kids[0] if len(kids) else holder
    _say_signed(writer)
    page = page_of(writer, widget)
    look = None if draw is None or page is None else _look(writer, widget, page, draw)
    return Placed(field=holder, widget=widget, look=look)


def _say_signed(writer: IncrementalPdfFileWriter) -> None:
    """Signatures exist, and readers may only append (ISO 32000-2 table 225); in a signed paper that word is not ours to change."""
    if all(value is None for _, value, _ in enumerate_sig_fields(writer)):
        ensure_sig_flags(writer)


def _wants_more(field: Any) -> bool:
    """A seed value with a required entry (ISO 32000-2 table 237): who drew the form wants a signature of another kind."""
    return "/SV" in field and int(_at(field["/SV"], "/Ff", 0)) != 0


def page_at(handler: Any, number: int) -> Any:
    """Dictionary of a page, counted from 0."""
    return handler.find_page_for_modification(number)[0].get_object()


def page_of(handler: Any, widget: Any) -> int | None:
    """Number of the page that shows ``widget``; None if none does or there is nothing to see."""
    x0, y0, x1, y1 = corners(widget["/Rect"])
    if x1 - x0 < 1 or y1 - y0 < 1 or widget.container_ref is None:
        return None
    for number in range(int(handler.root["/Pages"]["/Count"])):
        page = page_at(handler, number)
        notes = _at(page, "/Annots", [])
        for i in range(len(notes)):
            entry = notes.raw_get(i)
            if isinstance(entry, generic.IndirectObject) and entry.reference == widget.container_ref:
                return number
    return None


def _look(writer: IncrementalPdfFileWriter, widget: Any, page: int, draw: Drawing) -> Any:
    """The drawing, upright on a turned page and as large as the widget is displayed."""
    box = page_box(page_at(writer, page))
    _, _, width, height = box.displayed(corners(widget["/Rect"]))
    if box.turn:
        character = _at(widget, "/MK", generic.DictionaryObject())
        character[name("/R")] = generic.NumberObject(box.turn)
        widget[name("/MK")] = character
    return draw(writer, width, height, box.turn)
