"""The PDF side of a signature field: opening, filling, certifying, drawing (ISO 32000-2 §12.7, 12.8). pyHanko writes."""

import datetime as dt
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name as name
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError

from core import pdf_hex  # noqa: F401  (puts its reader in place)
from core.errors import BadInput, Refused

__all__ = ["RANGE_WIDTH", "UNREADABLE", "Appearance", "Holes", "Placed", "add_image", "fill", "open_update"]

RANGE_WIDTH = 60
UNREADABLE = (PdfError, KeyError, TypeError, ValueError, AttributeError, IndexError, OSError)
"""What pyHanko lets out on hostile or broken files (stack traps); all mean the same to us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """A picture shown by the signature's own widget, filling its rectangle."""

    width_px: int
    height_px: int
    rgb: bytes
    """Deflated once, since a seal goes onto every copy."""
    alpha: bytes | None

    @classmethod
    def of(cls, *, width_px: int, height_px: int, rgb: bytes, alpha: bytes | None) -> "Appearance":
        """From plain samples, 8 bits each."""
        soft = None if alpha is None else zlib.compress(alpha, 9)
        return cls(width_px=width_px, height_px=height_px, rgb=zlib.compress(rgb, 9), alpha=soft)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A field that was found or added in the update at hand: pyHanko's dictionaries."""

    field: Any
    """Takes the signature."""
    widget: Any
    """Takes the look; mostly the same dictionary."""
    look: Any
    """Reference of its form, None where nothing is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holes:
    """Where the update left room, in bytes from the start of the file."""

    contents: int
    """Of the ``<`` of ``/Contents``."""
    size: int
    """Bytes of CMS the hole takes (twice as many digits)."""
    byte_range: int


class _Hole(generic.PdfObject):
    """A hexadecimal string of zeros."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.at = -1
        """Offset in the file, known once written; never searched for, since a name or reason may hold any text."""

    def write_to_stream(self, stream: Any, handler: Any = None, container_ref: Any = None) -> None:
        self.at = stream.tell()
        stream.write(b"<" + b"0" * (2 * self.size) + b">")


class _RangeHole(generic.PdfObject):
    def __init__(self) -> None:
        self.at = -1

    def write_to_stream(self, stream: Any, handler: Any = None, container_ref: Any = None) -> None:
        self.at = stream.tell()
        stream.write(b"[" + b" " * (RANGE_WIDTH - 2) + b"]")


def fill(
    stream: BinaryIO,
    *,
    field: str,
    size: int,
    signed_at: dt.datetime,
    signer_name: str,
    reason: str | None,
    docmdp: int | None,
    appearance: Appearance | None,
    place: Callable[[IncrementalPdfFileWriter], Placed] | None = None,
) -> Holes:
    """Append to ``stream`` the update that fills the empty field ``field``, all but the two holes.

    ``docmdp``: permission level of a certification signature (first signature only). ``place`` finds or adds the field
    itself, in the same update, and draws it. Raises ``pades.unreadable``, ``pades.no_such_field``,
    ``pades.field_signed``, ``pades.locked``, and what ``place`` raises.
    """
    if place is None:
        writer, widget, signed_before = _open(stream, field)
        if docmdp is not None and signed_before:
            raise Refused("pades.locked")
        look = None if appearance is None else _draw(writer, widget, appearance)
        placed = Placed(field=widget, widget=widget, look=look)
    else:
        writer = open_update(stream)
        placed = _placed(writer, place)
    signature = generic.DictionaryObject(
        {
            name("/Type"): name("/Sig"),
            name("/Filter"): name("/Adobe.PPKLite"),
            name("/SubFilter"): name("/ETSI.CAdES.detached"),
            name("/Name"): generic.pdf_string(signer_name),
            name("/M"): generic.pdf_date(signed_at),
        }
    )
    if reason:
        signature[name("/Reason")] = generic.pdf_string(reason)
    if docmdp is not None:
        _certify(signature, docmdp)
    elif "/Lock" in placed.field:
        _lock(signature, placed.field["/Lock"])
    range_hole, hole = _RangeHole(), _Hole(size)
    signature[name("/ByteRange")] = range_hole
    signature[name("/Contents")] = hole
    reference = writer.add_object(signature)
    if docmdp is not None:
        perms = generic.DictionaryObject({name("/DocMDP"): reference})
        writer.root[name("/Perms")] = perms
        writer.update_root()
    placed.field[name("/V")] = reference
    if placed.look is not None:
        placed.widget[name("/AP")] = generic.DictionaryObject({name("/N"): placed.look})
    writer.update_container(placed.field)
    if placed.widget is not placed.field:
        writer.update_container(placed.widget)
    writer.write_in_place()
    return Holes(contents=hole.at, size=size, byte_range=range_hole.at)


def open_update(stream: BinaryIO) -> IncrementalPdfFileWriter:
    """An update to append to ``stream``. Raises ``pades.unreadable``."""
    try:
        return IncrementalPdfFileWriter(stream)
    except UNREADABLE as error:
        raise BadInput("pades.unreadable") from error


def _placed(writer: IncrementalPdfFileWriter, place: Callable[[IncrementalPdfFileWriter], Placed]) -> Placed:
    try:
        return place(writer)
    except (*UNREADABLE, AssertionError) as error:
        raise BadInput("pades.unreadable") from error


def _open(stream: BinaryIO, field: str) -> tuple[IncrementalPdfFileWriter, Any, bool]:
    try:
        writer = IncrementalPdfFileWriter(stream)
        # Only indexing follows references; ``get`` and iteration hand out the references themselves.
        listed = writer.root["/AcroForm"]["/Fields"] if "/AcroForm" in writer.root else []
        fields = [listed[i] for i in range(len(listed))]
        signed_before = any("/V" in f for f in fields)
        permissions = writer.root["/Perms"] if "/Perms" in writer.root else {}  # noqa: SIM401
        if "/DocMDP" in permissions:
            params = permissions["/DocMDP"]["/Reference"][0]["/TransformParams"]
            if "/P" in params and int(params["/P"]) == 1:
                raise Refused("pades.locked")
        if any("/V" in f and "/Lock" in f and _locks(f["/Lock"], field) for f in fields):
            raise Refused("pades.locked")
        widget = next((f for f in fields if "/T" in f and str(f["/T"]) == field), None)
    except UNREADABLE as error:
        raise BadInput("pades.unreadable") from error
    if widget is None:
        raise BadInput("pades.no_such_field", field=field)
    if "/V" in widget:
        raise Refused("pades.field_signed", field=field)
    return writer, widget, signed_before


def _locks(lock: Any, field: str) -> bool:
    """Whether a signed field's lock covers ``field`` (ISO 32000-2 table 236)."""
    if "/P" in lock and int(lock["/P"]) == 1:
        return True
    named = [str(lock["/Fields"][i]) for i in range(len(lock["/Fields"]))] if "/Fields" in lock else []
    action = str(lock["/Action"])
    return action == "/All" or (action == "/Include") == (field in named)


def _certify(signature: generic.DictionaryObject, level: int) -> None:
    """DocMDP transform (ISO 32000-2 §12.8.2.2)."""
    params = generic.DictionaryObject({name("/P"): generic.NumberObject(level)})
    signature[name("/Reference")] = generic.ArrayObject([_transform("/DocMDP", params)])


def _lock(signature: generic.DictionaryObject, lock: Any) -> None:
    """What the field's own lock asks of its signature: FieldMDP, and DocMDP where it has a level (table 236)."""
    params = generic.DictionaryObject({name("/Action"): name(str(lock["/Action"]))})
    if "/Fields" in lock:
        named = lock["/Fields"]
        params[name("/Fields")] = generic.ArrayObject(generic.pdf_string(str(named[i])) for i in range(len(named)))
    transforms = [_transform("/FieldMDP", params)]
    if "/P" in lock:
        level = generic.DictionaryObject({name("/P"): generic.NumberObject(int(lock["/P"]))})
        transforms.insert(0, _transform("/DocMDP", level))
    signature[name("/Reference")] = generic.ArrayObject(transforms)


def _transform(method: str, params: generic.DictionaryObject) -> generic.DictionaryObject:
    params[name("/Type")], params[name("/V")] = name("/TransformParams"), name("/1.2")
    return generic.DictionaryObject(
        {
            name("/Type"): name("/SigRef"),
            name("/TransformMethod"): name(method),
            name("/TransformParams"): params,
        }
    )


def _draw(writer: IncrementalPdfFileWriter, widget: Any, picture: Appearance) -> Any:
    """A form with the picture over the widget's whole rectangle."""
    x0, y0, x1, y1 = (float(v) for v in widget["/Rect"])
    image = add_image(writer, picture, picture.rgb, "/DeviceRGB")
    if picture.alpha is not None:
        image.get_object()[name("/SMask")] = add_image(writer, picture, picture.alpha, "/DeviceGray")
    width, height = x1 - x0, y1 - y0
    form = generic.StreamObject(
        {
            name("/Type"): name("/XObject"),
            name("/Subtype"): name("/Form"),
            name("/BBox"): generic.ArrayObject([generic.FloatObject(v) for v in (0, 0, width, height)]),
            name("/Resources"): generic.DictionaryObject(
                {name("/XObject"): generic.DictionaryObject({name("/I"): image})}
            ),
        },
        stream_data=b"q %.3f 0 0 %.3f 0 0 cm /I Do Q" % (width, height),
    )
    return writer.add_object(form)


def add_image(writer: IncrementalPdfFileWriter, picture: Appearance, samples: bytes, space: str) -> Any:
    """One plane of ``picture`` as an object: ``space`` is ``/DeviceRGB`` or ``/DeviceGray``."""
    return writer.add_object(
        generic.StreamObject(
            {
                name("/Type"): name("/XObject"),
                name("/Subtype"): name("/Image"),
                name("/Width"): generic.NumberObject(picture.width_px),
                name("/Height"): generic.NumberObject(picture.height_px),
                name("/ColorSpace"): name(space),
                name("/BitsPerComponent"): generic.NumberObject(8),
                name("/Filter"): name("/FlateDecode"),
            },
            encoded_data=samples,
        )
    )
