"""Reads a composed page's QR code back, from pixels, in the sandbox: what a phone would see at 200 dpi."""

import io
from typing import Any

import pypdfium2

from core.errors import BadInput
from signer.copies import qr

__all__ = ["read", "warm"]


def read(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """``arguments``: page (0-based) and rect in PDF points. Only that crop is rendered."""
    try:
        document = pypdfium2.PdfDocument(payload)
        page = document[arguments["page"]]
        left, bottom, right, top = page.get_mediabox()
        x0, y0, x1, y1 = arguments["rect"]
        picture = (
            page.render(scale=200 / 72, crop=(x0 - left, y0 - bottom, right - x1, top - y1), grayscale=True)
            .to_pil()
            .convert("L")
        )
    except pypdfium2.PdfiumError as error:
        raise BadInput("compose.unreadable") from error
    return {"texts": qr.read(picture.tobytes(), picture.width, picture.height)}, b""


def warm() -> None:
    """Render and read once before the walls."""
    document = pypdfium2.PdfDocument.new()
    document.new_page(200, 200)
    target = io.BytesIO()
    document.save(target)
    read(target.getvalue(), {"page": 0, "rect": [10, 10, 110, 110]})
