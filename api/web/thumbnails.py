"""Small pictures of a scan's pages, for who typed the access code; drawn in the sandbox."""

import base64
import io
from typing import Any

import pypdfium2

from core.errors import BadInput
from core.limits import LIMITS

__all__ = ["draw", "urls"]

_WIDTH = 640
"""Pixels: enough to tell papers apart, too few to pass as a copy."""


def draw(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """JPEGs of the first pages, one behind the other; ``sizes`` says where each ends. Raises ``intake.damaged``."""
    del arguments
    made = []
    try:
        document = pypdfium2.PdfDocument(payload)
        for number in range(min(len(document), LIMITS["web.thumbnails"])):
            page = document[number]
            width, height = page.get_size()
            scale = _WIDTH / max(width, height / 2)  # a very long page stays small
            target = io.BytesIO()
            page.render(scale=scale).to_pil().convert("L").save(target, "JPEG", quality=50)
            made.append(target.getvalue())
    except pypdfium2.PdfiumError as error:
        raise BadInput("intake.damaged") from error
    return {"sizes": [len(each) for each in made], "pages": len(document)}, b"".join(made)


def urls(answer: dict[str, Any], blob: bytes) -> list[str]:
    """As ``data:`` URLs, so that no address of a picture exists."""
    found, at = [], 0
    for size in answer["sizes"]:
        found.append("data:image/jpeg;base64," + base64.b64encode(blob[at : at + size]).decode())
        at += size
    return found
