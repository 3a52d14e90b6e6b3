"""How many pages a PDF has; runs in the sandbox, so it imports nothing of ours that is large."""

from typing import Any

import pypdfium2

from core.errors import BadInput

__all__ = ["pages"]


def pages(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """``{"pages": n}``. Raises ``intake.damaged``."""
    del arguments
    try:
        return {"pages": len(pypdfium2.PdfDocument(payload))}, b""
    except pypdfium2.PdfiumError as error:
        raise BadInput("intake.damaged") from error
