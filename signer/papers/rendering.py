"""Pages as pictures and as text. Runs in the sandbox; the same reader draws for everybody who approves."""

import io
import unicodedata
from collections.abc import Sequence
from typing import Any

import pypdfium2
from pypdfium2 import raw

from core.errors import BadInput, NotFound
from core.limits import LIMITS

__all__ = ["pictures", "text"]

_MOST_PIXELS = 16_000_000
_LONGEST = 16_000
"""Pixels; WebP ends at 16 383."""
_QUALITY, _EFFORT = 72, 2
"""Effort 2 of 6: a third larger than the best, five times faster."""


def pictures(document: bytes, pages: Sequence[int], width: int) -> tuple[list[bytes], int]:
    """WebP pictures of ``pages``, ``width`` pixels wide, and the number of pages there are.

    Raises ``request.no_such_page``, ``request.paper_unreadable``.
    """
    paper = _open(document)
    try:
        paper.init_forms()  # what stands in form fields is drawn as well
        return [_picture(paper, page, width) for page in pages], len(paper)
    except pypdfium2.PdfiumError as error:
        raise BadInput("request.paper_unreadable") from error
    finally:
        paper.close()


def text(document: bytes, page: int) -> str:
    """The text of a page in reading order as far as the file has one, then what stamps and notes on it say, NFC; empty
    for a scan.

    Raises ``request.no_such_page``, ``request.paper_unreadable``.
    """
    paper = _open(document)
    try:
        shown = _page(paper, page)
        if raw.FPDFPage_Flatten(shown, raw.FLAT_NORMALDISPLAY) == raw.FLATTEN_SUCCESS:
            shown = _page(paper, page)  # with them among its contents
        found = shown.get_textpage().get_text_bounded()
    except pypdfium2.PdfiumError as error:
        raise BadInput("request.paper_unreadable") from error
    finally:
        paper.close()
    rows = (
        unicodedata.normalize("NFC", found[: LIMITS["paper.text_letters"]])
        .replace("\r\n", "\n")
        .replace("\r", "\n")
        .split("\n")
    )
    return "\n".join("".join(c for c in row if c.isprintable()).strip() for row in rows).strip()


def _open(document: bytes) -> Any:
    try:
        return pypdfium2.PdfDocument(document)
    except pypdfium2.PdfiumError as error:
        raise BadInput("request.paper_unreadable") from error


def _page(paper: Any, number: int) -> Any:
    if not 0 <= number < len(paper):
        raise NotFound("request.no_such_page", pages=len(paper))
    return paper[number]


def _picture(paper: Any, number: int, width: int) -> bytes:
    page = _page(paper, number)
    across, down = page.get_size()
    scale = min(width / across, _LONGEST / down, (_MOST_PIXELS / (across * down)) ** 0.5)
    bitmap = page.render(scale=scale, rev_byteorder=True, may_draw_forms=True)
    target = io.BytesIO()
    bitmap.to_pil().convert("RGB").save(target, "WEBP", quality=_QUALITY, method=_EFFORT)
    bitmap.close()
    page.close()
    return target.getvalue()
