"""PDFs: repaired, stripped of everything active, flattened as rendered, boxes and rotations baked, saved once."""

import io
import re
from typing import Any

import pikepdf
import pypdfium2
from pikepdf import Array, Dictionary, Name, Pdf

from core.errors import BadInput, Refused
from core.limits import LIMITS
from signer.copies.intake.images import PageImage, require_pixels, write

__all__ = ["normalise", "warm_rasteriser"]

_ROOT_DROPS = ("/OpenAction", "/AA", "/Names", "/AcroForm", "/URI", "/Collection", "/Extensions", "/Threads", "/Outlines",
               "/PageLabels", "/StructTreeRoot", "/MarkInfo", "/Perms", "/DSS", "/AF", "/Dests", "/Legal", "/Requirements",
               "/SpiderInfo", "/PieceInfo", "/OCProperties")  # fmt: skip
_SAID = {"/OpenAction": "open_action", "/AA": "actions", "/Names": "names_scripts_attachments", "/AcroForm": "form",
         "/AF": "attachments", "/Collection": "attachments"}  # fmt: skip
_WHOLE_PAGE = 0.6
"""A picture over this much of its page is the scan."""
_TAIL = re.compile(rb"%%EOF[\r\n \t\0]*$")


def normalise(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Facts and revision 0. Raises ``intake.*``."""
    if not _TAIL.search(data[-2048:]):
        raise BadInput("intake.bytes_outside" if b"%%EOF" in data[-2048:] else "intake.damaged")  # or cut short
    removed: list[str] = []
    try:
        with Pdf.open(io.BytesIO(data)) as pdf:
            _require_acceptable(pdf)
            layered = "/OCProperties" in pdf.Root
            flat = _needs_flattening(pdf)
            # The renderer must still know what the file hides, or it would paint it
            _strip(pdf, removed, keep_form=flat, keep_layers=layered)
            stripped = _save(pdf)
        if layered:
            return _rasterised(stripped if not flat else _flattened(stripped), removed)
        if flat:
            stripped = _flattened(stripped)
            removed.append("annotations_flattened")
        with Pdf.open(io.BytesIO(stripped)) as pdf:
            _strip(pdf, [], keep_form=False)
            for page in pdf.pages:
                _bake(pdf, page)
            document = _save(pdf)
            pages = len(pdf.pages)
    except pikepdf.PasswordError as error:
        raise BadInput("intake.password") from error
    except (pikepdf.PdfError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        if "bad_alloc" in str(error):
            raise MemoryError from error  # a bomb met the sandbox's wall: a limit, not damage
        raise BadInput("intake.damaged") from error
    dpi = _scan_dpi(document)
    warnings = ["intake.warn_low_dpi"] if dpi is not None and dpi < LIMITS["intake.warn_dpi"] else []
    facts = {"pages": pages, "kind": "pdf", "dpi": dpi, "pdfa": None, "removed": sorted(set(removed)),
             "warnings": warnings}  # fmt: skip
    return facts, document


def _scan_dpi(data: bytes) -> int | None:
    """The lowest resolution among pages that are one picture, as scanners make them; None if no page is."""
    found = []
    document = pypdfium2.PdfDocument(data)
    try:
        for index in range(len(document)):
            page = document[index]
            width, height = page.get_size()
            for picture in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=4):
                left, bottom, right, top = picture.get_bounds()
                if (right - left) * (top - bottom) < _WHOLE_PAGE * width * height:
                    continue
                across, down = picture.get_px_size()
                if (across > down) != (right - left > top - bottom):
                    across, down = down, across  # the picture lies on its side
                found.append(round(min(across / (right - left), down / (top - bottom)) * 72))
            page.close()
    except (pypdfium2.PdfiumError, ZeroDivisionError):
        return None  # a page that cannot be measured is no reason to refuse it
    finally:
        document.close()
    return min(found, default=None)


def _require_acceptable(pdf: Pdf) -> None:
    count = len(pdf.pages)
    if count == 0:
        raise BadInput("intake.no_pages")
    if count > LIMITS["intake.pages"]:
        raise BadInput("intake.too_many_pages", most=LIMITS["intake.pages"])
    if any(note.get("/FT") == Name.Sig and "/V" in note for page in pdf.pages for note in page.get("/Annots", [])):
        raise Refused("intake.signed")  # a widget that no field list names is a signature all the same
    for thing in pdf.objects:
        if isinstance(thing, pikepdf.Stream) and thing.get("/Subtype") == Name.Image:
            require_pixels(int(thing.get("/Width", 1)), int(thing.get("/Height", 1)))
    form = pdf.Root.get("/AcroForm")
    if form is None:
        return
    if "/XFA" in form:
        raise Refused("intake.xfa")
    if _is_signed(form):
        raise Refused("intake.signed")


def _is_signed(form: Any) -> bool:
    """A filled signature field at any depth; ``/FT`` is inherited (ISO 32000-1, 12.7.3.1)."""
    waiting = [(field, None) for field in form.get("/Fields", Array([]))]
    seen: set[tuple[int, int]] = set()
    while waiting:
        field, inherited = waiting.pop()
        if field.is_indirect:
            if field.objgen in seen:
                continue  # a loop in the tree
            seen.add(field.objgen)
        kind = field.get("/FT", inherited)
        if kind == Name.Sig and "/V" in field:
            return True
        waiting += [(child, kind) for child in field.get("/Kids", Array([]))]
    return False


def _needs_flattening(pdf: Pdf) -> bool:
    return "/AcroForm" in pdf.Root or any("/Annots" in page for page in pdf.pages)


def _strip(pdf: Pdf, removed: list[str], *, keep_form: bool, keep_layers: bool = False) -> None:
    kept = {key for key, keep in (("/AcroForm", keep_form), ("/OCProperties", keep_layers)) if keep}
    for key in _ROOT_DROPS:
        if key in pdf.Root and key not in kept:
            removed.append(_SAID.get(key, key[1:].lower()))
            del pdf.Root[key]
    for page in pdf.pages:
        for key in ("/AA", "/Metadata", "/PieceInfo", "/B", "/Trans", "/Dur", "/AF", "/StructParents", "/Tabs"):
            if key in page:
                del page[key]
        for note in page.get("/Annots", []):
            _strip_note(note, removed, keep_layers=keep_layers)
        if not keep_form and "/Annots" in page:
            del page["/Annots"]
    for thing in pdf.objects:
        if isinstance(thing, pikepdf.Stream) and thing.get("/Subtype") == Name.Image and "/Alternates" in thing:
            removed.append("alternate_images")
            del thing["/Alternates"]  # another picture for print than the one the officer saw
    if "/Info" in pdf.trailer:
        del pdf.trailer["/Info"]
    if "/Metadata" in pdf.Root:
        del pdf.Root["/Metadata"]  # a PDF/A claim of another writer would not be ours to repeat


def _strip_note(note: Any, removed: list[str], *, keep_layers: bool) -> None:
    for key in ("/A", "/AA", "/PA", "/FS", "/RichMediaContent", "/Popup"):
        if key in note:
            removed.append("annotation_actions")
            del note[key]
    if keep_layers and "/OC" in note:
        _hide_with_layer(note)


def _hide_with_layer(note: Any) -> None:
    """The renderer looks at the layer of a form, not of an annotation: say it there, before the two become one."""
    looks = note.get("/AP", Dictionary()).get("/N")
    for look in [looks] if isinstance(looks, pikepdf.Stream) else list((looks or {}).values()):
        look[Name.OC] = note.OC


def _flattened(data: bytes) -> bytes:
    document = pypdfium2.PdfDocument(data)
    try:
        document.init_forms()
        for index in range(len(document)):
            page = document[index]
            # The helper's flatten() wants a form; annotations alone need it too
            if pypdfium2.raw.FPDFPage_Flatten(page, pypdfium2.raw.FLAT_NORMALDISPLAY) == pypdfium2.raw.FLATTEN_FAIL:
                raise BadInput("intake.damaged")
            page.close()
        target = io.BytesIO()
        document.save(target)
        return target.getvalue()
    except pypdfium2.PdfiumError as error:
        raise BadInput("intake.damaged") from error
    finally:
        document.close()


def _rasterised(data: bytes, removed: list[str]) -> tuple[dict[str, Any], bytes]:
    """Optional content may hide anything: the page becomes the picture that the officer saw, at 200 dpi."""
    pages = []
    document = pypdfium2.PdfDocument(data)
    try:
        for index in range(len(document)):
            page = document[index]
            width, height = page.get_size()
            if width * height * (200 / 72) ** 2 > LIMITS["intake.pixels"]:
                raise BadInput("intake.too_many_pixels", most=LIMITS["intake.pixels"] // 1_000_000)
            picture = page.render(scale=200 / 72).to_pil().convert("RGB")
            page.close()
            target = io.BytesIO()
            picture.save(target, "JPEG", quality=90)
            pages.append(
                PageImage(width=picture.width, height=picture.height, data=target.getvalue(), filter="DCTDecode",
                          colour="DeviceRGB", orientation=1, dpi=200)
            )  # fmt: skip
    except pypdfium2.PdfiumError as error:
        raise BadInput("intake.damaged") from error
    finally:
        document.close()
    made, pdfa = write(pages, "Bản chụp")
    facts = {"pages": len(pages), "kind": "pdf", "dpi": 200, "pdfa": pdfa,
             "removed": sorted({*removed, "layers_flattened"}), "warnings": []}  # fmt: skip
    return facts, made


def _bake(pdf: Pdf, page: pikepdf.Page) -> None:
    """Visible box to [0 0 w h], rotation and user unit into a matrix, everything else clipped away for good."""
    media = [float(v) for v in page.mediabox]
    crop = [float(v) for v in page.cropbox]
    x0, y0 = max(min(crop[0], crop[2]), min(media[0], media[2])), max(min(crop[1], crop[3]), min(media[1], media[3]))
    x1, y1 = min(max(crop[0], crop[2]), max(media[0], media[2])), min(max(crop[1], crop[3]), max(media[1], media[3]))
    unit = float(page.obj.get("/UserUnit", 1))
    width, height = (x1 - x0) * unit, (y1 - y0) * unit
    if not (10 <= width <= 14_400 and 10 <= height <= 14_400):
        raise BadInput("intake.damaged")
    turn = int(page.obj.get("/Rotate", 0)) % 360
    if turn not in {0, 90, 180, 270}:
        raise BadInput("intake.damaged")
    matrix = {
        0: (unit, 0, 0, unit, -x0 * unit, -y0 * unit), 90: (0, -unit, unit, 0, -y0 * unit, x1 * unit),
        180: (-unit, 0, 0, -unit, x1 * unit, y1 * unit), 270: (0, unit, -unit, 0, y1 * unit, -x0 * unit),
    }[turn]  # fmt: skip
    if turn in {90, 270}:
        width, height = height, width
    page.contents_coalesce() if "/Contents" in page.obj else None
    body = page.Contents.read_bytes() if "/Contents" in page.obj else b""
    # A form of its own: patterns follow its matrix (they ignore ``cm``), its box clips for good, and no stray Q leaves it.
    form = pdf.make_stream(body)
    form.Type, form.Subtype = Name.XObject, Name.Form
    form.BBox = Array([round(v, 4) for v in (x0, y0, x1, y1)])
    form.Matrix = Array([round(v, 5) for v in matrix])
    form.Resources = page.resources if page.resources is not None else Dictionary()
    if "/Group" in page.obj:
        form.Group = page.obj.Group
    page.obj[Name.Contents] = pdf.make_stream(b"q /Original Do Q")
    page.obj[Name.Resources] = Dictionary(XObject=Dictionary(Original=form))
    for key in ("/CropBox", "/BleedBox", "/TrimBox", "/ArtBox", "/Rotate", "/UserUnit"):
        if key in page.obj:
            del page.obj[key]
    page.obj[Name.MediaBox] = Array([0, 0, round(width, 3), round(height, 3)])
    page.obj[Name.Rotate] = 0


def _save(pdf: Pdf) -> bytes:
    pdf.remove_unreferenced_resources()
    target = io.BytesIO()
    pdf.save(
        target,
        object_stream_mode=pikepdf.ObjectStreamMode.disable,
        encryption=False,
        linearize=False,
        deterministic_id=True,
    )
    return target.getvalue()


def warm_rasteriser(document: bytes) -> None:
    """Use every branch once before the walls."""
    _rasterised(document, [])
    _flattened(document)
