"""Placements found on their paper. Runs in the sandbox; text is looked for with the reader that draws the pages."""

import unicodedata
from typing import Any

import pypdfium2
from pyhanko.sign.fields import enumerate_sig_fields

from core.errors import BadInput, Refused
from core.limits import LIMITS
from signer.formats.placing import PageBox, corners, page_at, page_box, page_of, require_open
from signer.papers.model import Placement, Spot

__all__ = ["find_spot"]

_ODD = {0xFFFE, 0xFFFF, 0}


def find_spot(document: bytes, handler: Any, placement: Placement) -> Spot | None:
    """Where the box lies; None for an invisible signature. ``handler``: pyHanko's, over the same bytes.

    Raises ``request.placement_…``, ``request.anchor_missing``, ``request.no_such_field``, ``request.field_signed``,
    ``request.paper_needs_field``.
    """
    if placement.kind == "none":
        require_open(handler, "", new=True)
        return None
    if placement.kind == "field":
        return _field(handler, placement)
    require_open(handler, "", new=True)
    pages = [page_at(handler, i) for i in range(int(handler.root["/Pages"]["/Count"]))]
    if placement.kind == "anchor":
        number, x, y = _anchor(document, pages, placement)
    else:
        number, x, y = placement.page or 0, placement.x, placement.y
        if number >= len(pages):
            raise BadInput("request.placement_no_page", pages=len(pages))
    page_box(pages[number]).rect(x, y, placement.width, placement.height)  # refuses what leaves the page
    return Spot(page=number, x=x, y=y, width=placement.width, height=placement.height)


def _field(handler: Any, placement: Placement) -> Spot | None:
    found = [(value, ref) for _, value, ref in enumerate_sig_fields(handler, with_name=placement.field)]
    if not found:
        raise BadInput("request.no_such_field", field=placement.field)
    value, reference = found[0]
    if value is not None:
        raise Refused("request.field_signed", field=placement.field)
    require_open(handler, placement.field, new=False)
    holder = reference.get_object()
    widget = holder["/Kids"][0] if "/Kids" in holder and len(holder["/Kids"]) else holder
    number = page_of(handler, widget)
    if number is None:
        return None
    x, y, width, height = page_box(page_at(handler, number)).displayed(corners(widget["/Rect"]))
    return Spot(page=number, x=x, y=y, width=width, height=height)


def _anchor(document: bytes, pages: list[Any], placement: Placement) -> tuple[int, float, float]:
    """Page and the box's top left corner, in displayed points."""
    drawn = pypdfium2.PdfDocument(document)
    try:
        left = placement.occurrence
        numbers = range(len(pages)) if placement.page is None else [placement.page]
        for number in numbers:
            if number >= len(pages):
                raise BadInput("request.placement_no_page", pages=len(pages))
            page = drawn[number]
            text = page.get_textpage()
            found = _occurrences(text, placement.text)
            if len(found) >= left:
                x, y = _below(page_box(pages[number]), text.get_charbox(found[left - 1], loose=True))
                return number, x + placement.x, y + placement.y
            left -= len(found)
            text.close()
            page.close()
    finally:
        drawn.close()
    raise BadInput("request.anchor_missing")


def _below(box: PageBox, letter: tuple[float, float, float, float]) -> tuple[float, float]:
    x, y, _, height = box.displayed(letter)
    return x, y + height


def _occurrences(text: Any, wanted: str) -> list[int]:
    """Index of the first letter of each place that reads ``wanted``: composed or not, whatever the space between."""
    letters, places = _letters(text)
    needle = _plain(wanted)
    found, at = [], letters.find(needle)
    while at >= 0:
        found.append(places[at])
        at = letters.find(needle, at + len(needle))
    return found


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFD", text).split())


def _letters(text: Any) -> tuple[str, list[int]]:
    """The page's letters taken apart (NFD), any space as one blank, and the index each came from."""
    parts: list[tuple[str, int]] = []
    for index in range(min(text.count_chars(), LIMITS["paper.text_letters"])):
        code = pypdfium2.raw.FPDFText_GetUnicode(text, index)
        if code in _ODD or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            continue
        letter = chr(code)
        for part in " " if letter.isspace() else unicodedata.normalize("NFD", letter):
            if part != " " or (parts and parts[-1][0] != " "):
                parts.append((part, index))
    _order_marks(parts)
    return "".join(part for part, _ in parts), [index for _, index in parts]


def _order_marks(parts: list[tuple[str, int]]) -> None:
    """Marks that were written one by one get the order that NFD gives them."""
    start = 0
    while start < len(parts):
        end = start
        while end < len(parts) and unicodedata.combining(parts[end][0]):
            end += 1
        if end - start > 1:
            parts[start:end] = sorted(parts[start:end], key=lambda part: unicodedata.combining(part[0]))
        start = end + 1
