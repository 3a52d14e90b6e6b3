"""Finding QR codes: in pixels, in a picture file, on a page of a PDF. The last two run in the sandbox."""

import io
from typing import Any

import pypdfium2
import zxingcpp
from PIL import Image

from core.errors import BadInput

__all__ = ["in_picture", "in_pixels", "on_pages", "warm"]

_DPI = 200
"""What a phone or an office scanner sees."""
_MOST_PIXELS = 60_000_000


def in_pixels(gray: bytes, width: int, height: int) -> list[str]:
    """Texts of all QR codes in 8-bit grey pixels. Raises ``qr.unreadable`` when the size does not fit."""
    if len(gray) != width * height or width * height == 0:
        raise BadInput("qr.unreadable")
    pixels = memoryview(gray).cast("B", (height, width))
    found = zxingcpp.read_barcodes(pixels, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    return [code.text for code in found]


def in_picture(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """All QR texts of a PNG or JPEG. Raises ``qr.unreadable``, ``qr.too_big``."""
    del arguments
    try:
        with Image.open(io.BytesIO(payload), formats=("PNG", "JPEG")) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise BadInput("qr.too_big")
            gray = picture.convert("L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise BadInput("qr.unreadable") from None
    return {"texts": in_pixels(gray.tobytes(), gray.width, gray.height)}, b""


def on_pages(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Texts on the pages of a PDF, last page first, until a page shows one that begins with ``prefix``.

    ``arguments``: prefix; and, to look at one place only, page (0-based) and rect in points. Raises ``qr.unreadable``.
    """
    prefix = str(arguments["prefix"])
    try:
        document = pypdfium2.PdfDocument(payload)
        if "rect" in arguments:
            return {"texts": _texts(document[arguments["page"]], arguments["rect"])}, b""
        # attestations stand on the last page, the mark of the agency-only regimes on the first or last
        for number in dict.fromkeys([len(document) - 1, 0]):
            found = [text for text in _texts(document[number], None) if text.startswith(prefix)]
            if found:
                return {"texts": found}, b""
    except pypdfium2.PdfiumError as error:
        raise BadInput("qr.unreadable") from error
    return {"texts": []}, b""


def _texts(page: Any, rect: Any) -> list[str]:
    left, bottom, right, top = page.get_mediabox()
    if (right - left) * (top - bottom) * (_DPI / 72) ** 2 > _MOST_PIXELS:
        raise BadInput("qr.too_big")
    x0, y0, x1, y1 = rect or (left, bottom, right, top)
    picture = page.render(
        scale=_DPI / 72, crop=(x0 - left, y0 - bottom, right - x1, top - y1), grayscale=True
    ).to_pil().convert("L")  # fmt: skip
    return in_pixels(picture.tobytes(), picture.width, picture.height)


def warm() -> None:
    """Decode a picture of each kind and render a page once before the walls."""
    for form in ("PNG", "JPEG"):
        target = io.BytesIO()
        Image.new("L", (60, 60), 255).save(target, form)
        in_picture(target.getvalue(), {})
    document = pypdfium2.PdfDocument.new()
    document.new_page(200, 200)
    target = io.BytesIO()
    document.save(target)
    on_pages(target.getvalue(), {"prefix": ""})
    on_pages(target.getvalue(), {"prefix": "", "page": 0, "rect": [10, 10, 110, 110]})
