"""Entry of the sandbox: decide what the bytes are, normalise, and give revision 0 back."""

import io
from importlib.resources import files
from typing import Any

from core.errors import BadInput
from core.limits import LIMITS
from signer.copies.intake import documents, images

__all__ = ["normalise", "warm"]


def normalise(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """``arguments``: sizes of the joined files, title. Returns facts and revision 0."""
    given, at = [], 0
    for size in arguments["sizes"]:
        given.append(payload[at : at + size])
        at += size
    if images.sniff(given[0]) == "pdf":
        if len(given) > 1:
            raise BadInput("intake.one_pdf")
        return documents.normalise(given[0])
    pages: list[images.PageImage] = []
    for file in given:
        pages += images.read(file)
        if len(pages) > LIMITS["intake.pages"]:
            raise BadInput("intake.too_many_pages", most=LIMITS["intake.pages"])
    document, pdfa = images.write(pages, arguments["title"])
    known = [p.dpi for p in pages if p.dpi]
    dpi = min(known) if known else None
    warnings = []
    if dpi is None:
        warnings.append("intake.warn_dpi_unknown")
    elif dpi < LIMITS["intake.warn_dpi"]:
        warnings.append("intake.warn_low_dpi")
    facts = {
        "pages": len(pages),
        "kind": images.sniff(given[0]),
        "dpi": dpi,
        "pdfa": pdfa,
        "removed": [],
        "warnings": warnings,
    }
    return facts, document


def warm() -> None:
    """Use every reader once, before the walls: libraries import lazily."""
    from PIL import Image  # noqa: PLC0415

    for form in ("JPEG", "PNG", "TIFF"):
        target = io.BytesIO()
        Image.new("RGB", (40, 40), "white").save(target, form)
        facts, document = normalise(target.getvalue(), {"sizes": [len(target.getvalue())], "title": "x"})
        assert facts["pages"] == 1
        normalise(document, {"sizes": [len(document)], "title": "x"})
    heic = (files("signer.copies.intake") / "warm.heic").read_bytes()
    assert normalise(heic, {"sizes": [len(heic)], "title": "x"})[0]["kind"] == "heic"
    documents.warm_rasteriser(document)
