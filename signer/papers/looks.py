"""What a paper shows beside the contents of its pages: annotations and form fields. Runs in the sandbox.

One rule: what the phone shows is what every common reader shows. So an annotation brings its own look, readers have no
choice whether they draw it, and no value stands behind it that a reader might show instead. The rest is refused; see
``tests/signer/papers/test_looks.py`` for how readers differ on each.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf, Stream

from core.errors import Refused
from signer.formats.placing import Rect, corners

__all__ = ["require_one_look"]

_CODE = "request.paper_changes_look"
_HIDDEN, _PRINT, _READ_ONLY, _LOCKED, _LOCKED_CONTENTS = 2, 4, 64, 128, 512
_ALIKE = _PRINT | _READ_ONLY | _LOCKED | _LOCKED_CONTENTS
"""Flags of a visible annotation that change nothing of its look. Without ``_PRINT`` it is on the screen only."""
_MARKUP = {
    "/FreeText", "/Line", "/Square", "/Circle", "/Polygon", "/PolyLine", "/Underline", "/Squiggly", "/StrikeOut", "/Stamp",
    "/Caret", "/Ink", "/Watermark",
}  # fmt: skip
"""Drawn as they say themselves. Not so: Highlight (pdfium lets shine through what others cover), Text (Acrobat draws its own
icon), Redact (what is there may be gone tomorrow), and those of press and film, which only some readers draw."""
_PAINTS_NOTHING = {"BMC", "BDC", "EMC", "q", "Q", "re", "W", "W*", "n", "BT", "ET", "Tf", "g", "rg", "k"}
_AREAS = ("/ViewArea", "/ViewClip", "/PrintArea", "/PrintClip")
_DEEP = 64


def require_one_look(pdf: Pdf) -> list[str]:
    """Codes of warnings; raises ``request.paper_changes_look`` where readers may show something different."""
    root = pdf.Root
    preferences = root.get("/ViewerPreferences", Dictionary())
    if "/Collection" in root or any(preferences.get(key, Name.CropBox) != Name.CropBox for key in _AREAS):
        raise Refused(_CODE)
    controls, inputs = _controls(root.get("/AcroForm", Dictionary()))
    found = {"request.warn_form"} if inputs else set()
    paper = _Paper(controls=controls)
    for page in pdf.pages:
        notes = page.obj.get("/Annots")
        if notes is None:
            continue
        if not isinstance(notes, Array):
            raise Refused(_CODE)
        found.update(paper.page(notes))
    return sorted(found)


@dataclass(slots=True)
class _Paper:
    """What was seen so far."""

    controls: set[tuple[int, int]]
    """Widgets that the form knows: readers do not draw strangers, or not all of them."""
    drawn: set[tuple[int, int]] = field(default_factory=set)

    def page(self, notes: Any) -> Iterator[str]:
        above: list[Rect] = []
        """Fields with a look, which the phone draws over everything else."""
        for i in range(len(notes)):
            note = notes[i]
            if note is None:
                continue
            if isinstance(note, Stream) or not isinstance(note, Dictionary):
                raise Refused(_CODE)
            kind = str(note.get("/Subtype"))
            if _flags(note) & _HIDDEN:
                continue
            if kind in {"/Link", "/Popup"}:
                _require_unseen(note, kind)
            elif kind == "/Widget":
                yield from self._widget(note, above)
            else:
                _require_markup(note, kind, above)
                yield "request.warn_print_differs"

    def _widget(self, note: Any, above: list[Rect]) -> Iterator[str]:
        kind = _inherited(note, "/FT")
        if kind == Name.Tx:
            _require_blank(note)
            yield "request.warn_form"
            return
        if kind != Name.Sig:
            raise Refused(_CODE)  # boxes, lists and buttons: each reader has its own
        box = corners(note.Rect)
        if box[0] == box[2] and box[1] == box[3]:
            return
        if _look(note) is None:
            _require_no_frame(note)
            return
        if note.objgen not in self.controls or note.objgen in self.drawn:
            raise Refused(_CODE)
        _require_alike(note)
        self.drawn.add(note.objgen)
        above.append(box)


def _flags(note: Any) -> int:
    flags = note.get("/F", 0)
    if isinstance(flags, bool) or not isinstance(flags, int) or not 0 <= flags < 1 << 16:
        raise Refused(_CODE)  # 4.0 is a four to some
    return flags


def _require_unseen(note: Any, kind: str) -> None:
    """A link without a frame, a note that is shut."""
    if "/AP" in note:
        raise Refused(_CODE)
    if kind == "/Popup":
        if note.get("/Open", False) is not False:
            raise Refused(_CODE)
        return
    widths = []
    if "/Border" in note:
        widths.append(note.Border[2])
    if "/BS" in note:
        widths.append(note.BS.get("/W", 1))
    if not widths or any(width != 0 for width in widths):  # one point of black if nothing is said
        raise Refused(_CODE)


def _require_markup(note: Any, kind: str, above: list[Rect]) -> None:
    if kind not in _MARKUP or "/FixedPrint" in note or _look(note) is None:
        raise Refused(_CODE)
    _require_alike(note)
    box = corners(note.Rect)
    if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in above):
        raise Refused(_CODE)  # others draw it over the field


def _require_alike(note: Any) -> None:
    """The look is there on the screen and on paper, and fills its rectangle however large the page is shown."""
    flags = _flags(note)
    if not flags & _PRINT or flags & ~_ALIKE:
        raise Refused(_CODE)
    look = _look(note)
    for x0, y0, x1, y1 in (corners(note.Rect), corners(look.BBox)):
        if not (x1 > x0 and y1 > y0):
            raise Refused(_CODE)


def _look(note: Any) -> Any:
    """The form that is drawn; None without any. Raises ``request.paper_changes_look`` for more than one."""
    if "/AP" not in note:
        return None
    looks = note.AP
    if not isinstance(looks, Dictionary) or "/R" in looks or "/D" in looks or "/N" not in looks:
        raise Refused(_CODE)  # another one under the mouse
    normal = looks.N
    if isinstance(normal, Stream):
        return normal
    state = note.get("/AS")
    chosen = normal.get(str(state)) if isinstance(normal, Dictionary) and isinstance(state, Name) else None
    if not isinstance(chosen, Stream):
        raise Refused(_CODE)
    return chosen


def _require_no_frame(note: Any) -> None:
    """Some readers draw an empty field from its colours."""
    colours = note.get("/MK", Dictionary())
    if any(len(colours.get(key, Array([]))) for key in ("/BG", "/BC")):
        raise Refused(_CODE)


def _require_blank(note: Any) -> None:
    """An input field into which nobody wrote: readers may show the value or the look, so there is neither."""
    value = _inherited(note, "/V")
    if value is not None and not (isinstance(value, pikepdf.String) and not bytes(value)):
        raise Refused(_CODE)
    _require_no_frame(note)
    look = _look(note)
    steps = [] if look is None else pikepdf.parse_content_stream(look)
    if any(str(step.operator) not in _PAINTS_NOTHING for step in steps):
        raise Refused(_CODE)


def _inherited(note: Any, key: str) -> Any:
    for _ in range(_DEEP):
        if key in note:
            return note[key]
        if "/Parent" not in note:
            return None
        note = note["/Parent"]
    raise RecursionError


def _controls(form: Any) -> tuple[set[tuple[int, int]], bool]:
    """Fields and widgets reached from the form; whether one takes more than a signature, to be filled in afterwards."""
    waiting: list[tuple[Any, Any]] = [(each, None) for each in form.get("/Fields", Array([]))]
    seen: set[tuple[int, int]] = set()
    inputs = False
    while waiting:
        each, above = waiting.pop()
        if each.is_indirect:
            if each.objgen in seen:
                continue
            seen.add(each.objgen)
        kind = each.get("/FT", above)
        if "/Kids" in each:
            for child in each.Kids:
                if each.is_indirect and child.get("/Parent", each).objgen != each.objgen:
                    raise Refused(_CODE)  # seen from above one kind of field, from below another
                waiting.append((child, kind))
        elif kind is not None and kind != Name.Sig:
            inputs = True
    return seen, inputs
