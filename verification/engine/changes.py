"""Step 5 of the check: what changed after each signature, and whether that was allowed. Pure."""

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.diff_analysis import DEFAULT_DIFF_POLICY, ModificationLevel, SuspiciousModification
from pyhanko.sign.fields import FieldMDPSpec, MDPPerm
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.status import SignatureCoverageLevel

from verification.engine.layout import require_plain_update
from verification.engine.revisions import Revisions
from verification.engine.updates import Updates

__all__ = ["account_for_updates", "changes_after", "is_stamp", "replaced_stream"]


def is_stamp(signature: EmbeddedPdfSignature) -> bool:
    """A document time-stamp rather than somebody's signature."""
    return str(signature.sig_object.get("/Type", "/Sig")) == "/DocTimeStamp"


def changes_after(reader: PdfFileReader, ordered: list[EmbeddedPdfSignature]) -> list[str]:
    """What came after each signature, up to the next: after the last one validation data and document time-stamps only.

    Every update is compared with the newest signed state before it, under the strictest certification so far and
    under each lock so far; what an earlier signature saw changed was judged with the states in between. Returns the
    names of the fields after which something else was changed.
    """
    broken = []
    total = reader.xrefs.total_revisions
    updates = Updates(reader, {s.signed_revision: int(s.sig_field.raw_get("/V").idnum) for s in ordered})
    allowed = ModificationLevel.FORM_FILLING
    locks: list[FieldMDPSpec | None] = []
    for position, signature in enumerate(ordered):
        signature.compute_integrity_info(skip_diff=True)
        level = signature.docmdp_level
        if level is not None and level.value < allowed.value:
            allowed = ModificationLevel(level.value)
        locks.append(signature.fieldmdp)
        if all(is_stamp(s) for s in ordered[position + 1 :]):
            allowed = min(allowed, ModificationLevel.LTA_UPDATES)
        end = ordered[position + 1].signed_revision if position + 1 < len(ordered) else total - 1
        covers = signature.coverage is not None and signature.coverage >= SignatureCoverageLevel.ENTIRE_REVISION
        if not covers or _level(reader, updates, signature.signed_revision, end, level, locks) > allowed:
            broken.append(str(signature.fq_name))
    return broken


def _level(
    reader: PdfFileReader, updates: Updates, base: int, end: int, docmdp: MDPPerm | None,
    locks: list[FieldMDPSpec | None],
) -> ModificationLevel:  # fmt: skip
    """The gravest change in revisions ``base`` + 1 … ``end``."""
    if end == base + 1 and not any(locks) and (seen := updates.level(end)) is not None:
        return seen
    worst = ModificationLevel.NONE
    old = reader.get_historical_resolver(base)
    named: list[FieldMDPSpec | None] = [lock for lock in locks if lock is not None] or [None]
    try:
        for revision in range(base + 1, end + 1):
            new = reader.get_historical_resolver(revision)
            for lock in named:
                found = DEFAULT_DIFF_POLICY.apply(old, new, field_mdp_spec=lock, doc_mdp=docmdp)
                worst = max(worst, found.modification_level)
    except SuspiciousModification:
        return ModificationLevel.OTHER
    return worst


def account_for_updates(document: bytes, reader: PdfFileReader, revisions: Revisions, first: int) -> None:
    """Every revision after ``first`` (the oldest signed one) has one reading. Raises ``NotAccounted``."""
    skipped = reader.xrefs.total_revisions - len(revisions.ends)
    for number in range(first + 1, len(revisions.ends)):
        require_plain_update(document, reader, number + skipped, revisions.ends[number - 1], revisions.ends[number])


def replaced_stream(reader: PdfFileReader, signed: int) -> int | None:
    """No content stream that stood in the signed revision may get a new body (pyHanko lets some pass as filling).

    Returns the object number of the first that did.
    """
    old = reader.get_historical_resolver(signed)
    xrefs = reader.xrefs
    for revision in range(signed + 1, xrefs.total_revisions):
        for ref in xrefs.explicit_refs_in_revision(revision):
            if xrefs.get_introducing_revision(ref) > signed:
                continue
            before = old.get_object(ref)
            if isinstance(before, generic.StreamObject) and before.get("/Type") not in {
                "/XRef",
                "/ObjStm",
                "/Metadata",
            }:
                return int(ref.idnum)
    return None
