"""May this paper be signed, and what is in it. Runs in the sandbox; three readers have to agree on the file."""

import datetime as dt
import io
import re
from typing import Any

import pikepdf
import pypdfium2
from pikepdf import Name, Pdf, Stream
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import FieldMDPAction, FieldMDPSpec, enumerate_sig_fields

from core import pdf_hex  # noqa: F401  (puts its reader in place)
from core.errors import BadInput, Refused
from core.limits import LIMITS
from signer.formats.fields import UNREADABLE
from signer.formats.placing import certification, page_box
from signer.papers.active import require_passive, warnings_of
from signer.papers.model import EarlierSignature, PageFacts, PaperFacts, Placement, Spot
from signer.papers.spots import find_spot
from verification.engine.document import read_document
from verification.engine.revisions import NotAccounted, read_revisions

__all__ = ["inspect"]

_END = re.compile(rb"%%EOF[\r\n \t\0]*\Z")
_FAULTS = (*UNREADABLE, pikepdf.PdfError, pypdfium2.PdfiumError, AssertionError, RecursionError)
_BROKEN = {
    "verify.signature_malformed",
    "verify.digest_differs",
    "verify.signature_wrong",
    "verify.signature_constraint",
}
_ANY_TIME = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
"""Earlier signatures are asked whether they fit their bytes; whether they are trusted, and when, is the checker's."""


def inspect(document: bytes, placements: list[Placement]) -> PaperFacts:
    """Facts of a paper that may be signed. Raises ``request.paper_…``, ``request.placement_…``, ``request.…field…``."""
    end = _END.search(document[-4096:])
    if not document.startswith(b"%PDF-") or end is None:
        raise BadInput("request.paper_outside" if b"%%EOF" in document else "request.paper_unreadable")
    try:
        pages, warnings = _by_qpdf(document)
        reader = PdfFileReader(io.BytesIO(document), strict=True)
        if reader.xrefs.hybrid_xrefs_present:
            raise Refused("request.paper_hybrid")
        _require_accounted(document.rstrip(b"\r\n \t\0"), reader)
        level, empty = _fields(reader)
        _require_same_pages(document, reader, len(pages))
        signatures, changed = _signatures(document, reader)
        if changed:  # a checker would say so of every later file: now is the time to hear it
            raise Refused("request.paper_changed")
        spots = [find_spot(document, reader, each) for each in placements]
    except NotAccounted as error:
        raise BadInput("request.paper_outside") from error
    except _FAULTS as error:
        if "bad_alloc" in str(error):
            raise MemoryError from error  # a bomb met the sandbox's wall: a limit, not damage
        raise BadInput("request.paper_unreadable") from error
    return PaperFacts(
        pages=tuple(pages), signatures=tuple(signatures), empty_fields=tuple(empty), certified=level,
        warnings=tuple(warnings),
        spots=tuple(spot or Spot(page=0, x=0, y=0, width=0, height=0) for spot in spots),
    )  # fmt: skip


def _by_qpdf(document: bytes) -> tuple[list[PageFacts], list[str]]:
    try:
        pdf = Pdf.open(io.BytesIO(document))
    except pikepdf.PasswordError as error:
        raise Refused("request.paper_encrypted") from error
    with pdf:
        if pdf.is_encrypted:
            raise Refused("request.paper_encrypted")  # opens without a password, and has rules about what may be done
        if not 1 <= len(pdf.pages) <= LIMITS["paper.pages"]:
            raise BadInput("request.paper_pages", most=LIMITS["paper.pages"])
        require_passive(pdf)
        for thing in pdf.objects:
            if isinstance(thing, Stream) and thing.get("/Subtype") == Name.Image:
                _require_pixels(int(thing.get("/Width", 1)), int(thing.get("/Height", 1)))
        pages = []
        for page in pdf.pages:
            box = page_box(page.obj)
            pages.append(PageFacts(width=round(box.width, 2), height=round(box.height, 2)))
        return pages, warnings_of(pdf)


def _require_pixels(width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > LIMITS["intake.pixels"] or max(width, height) > 60_000:
        raise BadInput("request.paper_pixels", most=LIMITS["intake.pixels"] // 1_000_000)


def _require_accounted(document: bytes, reader: PdfFileReader) -> None:
    xrefs = reader.xrefs
    read_revisions(document, [xrefs.get_startxref_for_revision(i) for i in range(xrefs.total_revisions)])


def _fields(reader: PdfFileReader) -> tuple[int | None, list[str]]:
    """Certification level and empty signature fields. Raises ``request.paper_locked`` where nothing may be signed."""
    level = certification(reader.root)
    if level == 1:
        raise Refused("request.paper_locked")
    empty = []
    for name, value, reference in enumerate_sig_fields(reader):
        if value is None:
            empty.append(str(name))
            continue
        field = reference.get_object()
        if "/Lock" in field and _shuts_all(field["/Lock"]):
            raise Refused("request.paper_locked")
    return level, empty


def _shuts_all(lock: Any) -> bool:
    closed = "/P" in lock and int(lock["/P"]) == 1
    return closed or FieldMDPSpec.from_pdf_object(lock).action is FieldMDPAction.ALL


def _require_same_pages(document: bytes, reader: PdfFileReader, pages: int) -> None:
    """The reader that draws for the signer, the one that signs, and the one that judged see the same paper."""
    drawn = pypdfium2.PdfDocument(document)
    try:
        if not len(drawn) == pages == int(reader.root["/Pages"]["/Count"]):
            raise BadInput("request.paper_unreadable")
    finally:
        drawn.close()


def _signatures(document: bytes, reader: PdfFileReader) -> tuple[list[EarlierSignature], bool]:
    """Those there are, and whether something was filled in since. Raises ``request.paper_broken_signature``."""
    if not reader.embedded_signatures:
        return [], False
    facts = read_document(document, _ANY_TIME, ())
    codes, fields = {finding.code for finding in facts.findings}, {s.field for s in facts.signatures}
    if "verify.bytes_unaccounted" in codes:
        raise NotAccounted("a signature covers no whole revision")
    if "verify.unreadable" in codes:
        raise BadInput("request.paper_unreadable")
    if codes & _BROKEN or not all(s.intact for s in facts.signatures):
        raise Refused("request.paper_broken_signature")
    if any(f.code == "verify.timestamp_wrong" and f.evidence.get("field") not in fields for f in facts.findings):
        raise Refused("request.paper_broken_signature")  # a time-stamp of the whole document
    changed = "verify.changed_after_signature" in codes
    if changed and _is_suspicious(document):
        raise Refused("request.paper_broken_signature")
    found = [EarlierSignature(field=s.field, signer=s.signer, signed_at=s.signed_at) for s in facts.signatures]
    return found, changed


def _is_suspicious(document: bytes) -> bool:
    """More than what a reader may do to a signed paper: pages, contents, other people's signatures."""
    for signature in PdfFileReader(io.BytesIO(document), strict=True).embedded_signatures:
        signature.compute_integrity_info()
        if signature.summarise_integrity_info()["docmdp_ok"] is False:
            return True
    return False
