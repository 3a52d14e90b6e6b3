"""Everybody has signed: a last look at every signature, validation data, and only then the files are given out.

1. *finish* each signature of each PDF is read again from the bytes that will be given out, and what a verifier needs
   years later is appended on the ground that was read before anybody was asked: no document is parsed here. Signatures
   over a bare digest are joined into one file.
2. *release* names of the finished files, the leaf that commits to them, and the state ``completed``, in one transaction.

A crash between the two leaves finished files that nobody was given; repeating makes others, and one set is released.
"""

import asyncio
from typing import Any

import sqlalchemy as sa

from audit.events import LeafType
from audit.outbox import EventType
from core.errors import Broken
from core.jobs import Note
from core.limits import LIMITS
from signer.formats import cades, dss
from signer.orders import in_pieces
from signer.requests import detached, store
from signer.requests.checking import LastLook
from signer.requests.ending import signed_said
from signer.requests.model import RequestDocument, RequestView
from signer.requests.parts import Parts, record, tell
from signer.requests.records import document_table
from signer.requests.signed import Signed, signed_of

__all__ = ["complete"]

_Paper = tuple[RequestDocument, list[Signed]]


_RELEASE = (
    document_table.update().where(document_table.c.id == sa.bindparam("which")).values(released=sa.bindparam("name"))
)


async def complete(parts: Parts, view: RequestView, note: Note) -> None:
    """Finish and release. Raises ``request.self_check``, ``cades.self_check``; ``Unavailable``."""
    signed = await signed_of(parts, view)
    released = await _finish(parts, list(zip(view.documents, signed, strict=True)))
    note("request.finish")
    async with parts.signing.db.write() as uow:
        now = await store.locked(uow, request_id=view.id)
        if now.state != "open" or not now.all_signed:
            return  # another process was first
        papers = zip(now.documents, released, strict=True)
        await uow.execute(_RELEASE, [{"which": document.id, "name": name} for document, name in papers])
        version = await store.touch(uow, now)
        await store.settle_request(uow, now, "completed", parts.clock.now())
        said = {
            "what": "completed",
            "documents": [{"id": d.id, "sha256": name} for d, name in zip(now.documents, released, strict=True)],
            "signed": signed_said(now),
        }
        await record(uow, parts, now, version, LeafType.REQUEST_SETTLED, said)
        await tell(uow, parts, now, version, EventType.REQUEST_COMPLETED)
    note("request.release")


async def _finish(parts: Parts, papers: list[_Paper]) -> list[str]:
    """Names of the finished files, in the same order."""
    if any(not each or document.current is None for document, each in papers):
        raise Broken("request.self_check", detail="signature")
    signed = [each for document, made in papers if document.kind == "pdf" for each in made]
    validation = await _validation(parts, signed)
    look = LastLook()

    async def one(document: RequestDocument, made: list[Signed]) -> str:
        if document.kind == "digest":
            return await _join(parts, made)
        data = await parts.signing.documents.get(str(document.current))

        def finished() -> bytes:
            for each in made:
                look.require_fits(data, each)
            return data + _update(data, made, validation)

        whole = finished() if len(data) <= LIMITS["copies.check_here_bytes"] else await asyncio.to_thread(finished)
        return await parts.signing.documents.put(whole)

    names: list[str] = []
    for piece in in_pieces(papers, [made[-1].order.size for _, made in papers]):
        names += await asyncio.gather(*(one(*paper) for paper in piece))
    if signed:
        look.require_trusted(parts.anchors, validation)
    return names


async def _validation(parts: Parts, signed: list[Signed]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """The same for all files of a request, since the same people sign them."""
    ours = dict.fromkeys(each.certificate for each in signed if each.order.provider is None)
    foreign = [each for each in signed if each.order.provider is not None]
    certificates, ocsps, crls = await parts.validation.evidence(list(ours))
    chains = dict.fromkeys(link for each in foreign for link in (each.certificate, *each.credential.chain))
    return [*certificates, *chains], ocsps, crls


def _update(data: bytes, signed: list[Signed], validation: tuple[list[bytes], list[bytes], list[bytes]]) -> bytes:
    """On the ground of this revision, which the opening of its signature read."""
    grounds = (each.order.prepared.get("ground", {}) for each in signed)
    kept: dict[str, Any] = next((each for each in grounds if each.get("size") == len(data)), {})
    try:
        ground = dss.Ground.from_json(kept)
    except (KeyError, TypeError, ValueError) as error:
        raise Broken("request.self_check", detail="ground") from error
    certificates, ocsps, crls = validation
    return dss.update(ground, certificates=certificates, ocsps=ocsps, crls=crls)


async def _join(parts: Parts, signed: list[Signed]) -> str:
    """One detached file with everybody's signature."""
    pieces = []
    for each in signed:
        assert each.order.signed_document is not None
        data = await parts.signing.documents.get(each.order.signed_document)
        cades.check(data, cades.PreparedDigest.from_json(each.order.prepared), each.certificate)
        pieces.append(data)
    return await parts.signing.documents.put(detached.joined(pieces))
