"""Papers that portals give to be signed: looked into, made ready and shown. Hostile bytes are parsed in the sandbox only.

The bytes of a paper never change: a signature is one incremental update, of which the sandbox makes the PDF side. What
is hashed, and so approved, is computed here, over bytes that begin with the paper as it was given. How a checker will
judge the finished file is tried there too, before anybody is asked.
"""

import asyncio
import datetime as dt
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.errors import BadInput, Broken, Refused, ServiceError
from core.formats.cms import CmsProfile
from core.limits import LIMITS
from core.sandbox import Sandbox
from signer.formats import pades
from signer.formats.dss import Ground
from signer.formats.fields import RANGE_WIDTH, Holes
from signer.formats.stamp import StampText
from signer.papers import work
from signer.papers.cache import PageCache, page_image, page_text
from signer.papers.judging import require_rehearsed
from signer.papers.model import EarlierSignature, PageFacts, PaperFacts, Placement, Spot
from verification.engine.document import DocumentFacts
from verification.worker import facts_of

__all__ = [
    "EarlierSignature",
    "PageCache",
    "PageFacts",
    "PaperFacts",
    "Placement",
    "Spot",
    "StampText",
    "inspect",
    "page_image",
    "page_text",
    "prepare",
]

_NOWHERE = Placement(kind="none")
_ANY_SIZE = 20_000
"""Bytes of a CMS, about."""


async def inspect(sandbox: Sandbox, document: bytes, placements: Sequence[Placement] = ()) -> PaperFacts:
    """Facts of a paper that may be signed; ``placements`` are looked for as ``prepare`` will.

    Raises ``request.paper_…``, ``pades.…``, ``request.placement_…``, ``request.anchor_missing``, ``request.no_such_field``,
    ``request.field_signed``, ``sandbox.*``.
    """
    if not document:
        raise BadInput("request.paper_unreadable")
    if len(document) > LIMITS["paper.bytes"]:
        raise BadInput("request.paper_too_large", most=LIMITS["paper.bytes"] // 2**20)
    arguments = {"placements": [p.to_json() for p in placements], "size": _ANY_SIZE}
    found, _ = await sandbox.run(work.inspect, document, arguments)
    facts = PaperFacts.from_json(found["facts"])
    if found["rehearsal"] is not None:
        try:
            require_rehearsed(facts_of(found["rehearsal"]), str(found["field"]), ours={}, earlier=facts.signatures)
        except Broken as error:  # not ours yet: whoever gave it is told
            raise Refused("request.paper_unsound") from error
    return facts


async def prepare(
    sandbox: Sandbox, document: bytes, profile: CmsProfile, *, placement: Placement | None, signed_at: dt.datetime,
    signer_name: str, reason: str | None, timestamp_size: int, field: str, stamp: StampText | None,
) -> tuple[pades.PreparedSignature, DocumentFacts]:  # fmt: skip
    """The paper with one more update, complete but for the signature value, and how its rehearsal was judged.

    ``field`` names a new field (no full stop inside); ``placement`` of kind ``field`` uses its own. ``timestamp_size``:
    bytes kept for the time-stamp. Raises what ``inspect`` raises of placements, ``pades.unreadable``,
    ``pades.catalog_too_large``, ``request.field_…``, ``compose.glyph_missing``, ``sandbox.*``.
    """
    size = profile.size + timestamp_size
    arguments = {
        "placement": (placement or _NOWHERE).to_json(), "field": field, "size": size, "signed_at": signed_at.isoformat(),
        "signer_name": signer_name, "reason": reason, "stamp": None if stamp is None else stamp.to_json(),
    }  # fmt: skip
    answer, update = await sandbox.run(work.prepare, document, arguments)
    return await asyncio.to_thread(_finished, document, update, answer, size, profile)


def _finished(
    document: bytes, update: bytes, answer: dict[str, Any], size: int, profile: CmsProfile
) -> tuple[pades.PreparedSignature, DocumentFacts]:
    holes = Holes(contents=int(answer["contents"]), size=size, byte_range=int(answer["byte_range"]))
    _require_holes(len(document), update, holes)
    stream = io.BytesIO()
    stream.write(document)
    stream.write(update)
    prepared = pades.finish_in(stream, holes, field=str(answer["field"]), profile=profile)
    try:
        ground, facts = Ground.from_json(answer["ground"]), facts_of(answer["facts"])
    except (KeyError, TypeError, ValueError, ServiceError) as error:  # a paper that took its sandbox over
        raise Broken("sandbox.failed", detail="rehearsal") from error
    whole = stream.getvalue()
    if ground.size != len(whole) or not len(document) <= ground.startxref < len(whole):
        raise Broken("sandbox.failed", detail="ground")
    return replace(prepared, document=whole, ground=ground), facts


def _require_holes(start: int, update: bytes, holes: Holes) -> None:
    """What the sandbox says of its update is true: both holes lie in it, empty. Raises ``sandbox.failed``."""
    contents, numbers = holes.contents - start, holes.byte_range - start
    empty = b"<" + b"0" * (2 * holes.size) + b">"
    room = b"[" + b" " * (RANGE_WIDTH - 2) + b"]"
    if min(contents, numbers) < 0 or not (
        update[contents : contents + len(empty)] == empty and update[numbers : numbers + len(room)] == room
    ):
        raise Broken("sandbox.failed", detail="update")
