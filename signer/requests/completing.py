"""Everybody has signed: validation data, a last look at each whole file, and only then the files are given out.

1. *finish* each PDF gets what a verifier needs years later and is judged whole in the sandbox; signatures over a bare
   digest are joined into one file. Each of our signatures is checked once more here against its own order.
2. *release* names of the finished files, the leaf that commits to them, and the state ``completed``, in one transaction.

A crash between the two leaves finished files that nobody was given; repeating makes others, and one set is released.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Final

from audit.events import LeafType
from audit.outbox import EventType
from core.errors import Broken, Refused
from core.jobs import Note
from core.limits import LIMITS
from signer.ceremony import SigningOrder
from signer.credentials import Credential
from signer.formats import cades, pades
from signer.papers.model import PaperFacts
from signer.requests import detached, store
from signer.requests.ending import signed_said
from signer.requests.making import gather_few
from signer.requests.model import RequestDocument, RequestView
from signer.requests.parts import Parts, SignedPaper, Wanted, record, tell
from signer.requests.records import document_table

__all__ = ["Signed", "complete", "signed_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """One signature over one document."""

    order: SigningOrder
    credential: Credential

    @property
    def certificate(self) -> bytes:
        """DER."""
        assert self.credential.certificate is not None
        return self.credential.certificate


_Paper = tuple[RequestDocument, list[Signed]]
_FEW_PAGES: Final = 20
"""A paper with more has a child of its own."""


async def signed_of(parts: Parts, view: RequestView) -> list[list[Signed]]:
    """By document, in the order in which its signatures were made."""
    steps = sorted((s for s in view.wanted if s.state == "signed"), key=lambda s: (str(s.signed_at), s.id))
    async with parts.signing.db.read() as uow:
        found: list[list[Signed]] = [[] for _ in view.documents]
        for step in steps:
            for place, order_id in enumerate(step.orders):
                order = await parts.signing.order(uow, order_id)
                credential = await parts.signing.credentials.get(uow, order.credential_id)
                found[place].append(Signed(order=order, credential=credential))
    return found


async def complete(parts: Parts, view: RequestView, note: Note) -> None:
    """Finish and release. Raises ``request.self_check``, ``pades.self_check``, ``cades.self_check``; ``Unavailable``."""
    signed = await signed_of(parts, view)
    names = await gather_few(
        [_finish(parts, piece) for piece in _pieces(list(zip(view.documents, signed, strict=True)))]
    )
    released = [name for piece in names for name in piece]
    note("request.finish")
    async with parts.signing.db.write() as uow:
        now = await store.locked(uow, request_id=view.id)
        if now.state != "open" or not now.all_signed:
            return  # another process was first
        for document, name in zip(now.documents, released, strict=True):
            await uow.execute(document_table.update().where(document_table.c.id == document.id).values(released=name))
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


def _pieces(papers: list[_Paper]) -> list[list[_Paper]]:
    """Alike and few at a time: a child of the sandbox costs more than the look at one small paper."""
    most = LIMITS["request.papers_together"]
    found: list[list[_Paper]] = []
    for _, alike in groupby(papers, key=lambda paper: (paper[0].kind, paper[0].pages > _FEW_PAGES)):
        kept = list(alike)
        step = 1 if kept[0][0].pages > _FEW_PAGES else most
        found += [kept[at : at + step] for at in range(0, len(kept), step)]
    return found


async def _finish(parts: Parts, papers: list[_Paper]) -> list[str]:
    """Names of the finished files, in the same order."""
    first, signed = papers[0]
    if any(not each or document.current is None for document, each in papers):
        raise Broken("request.self_check", detail="signature")
    if first.kind == "digest":
        return [await _join(parts, each) for _, each in papers]
    whole = [await _paper(parts, document, each) for document, each in papers]
    ours = [each.certificate for each in signed if each.order.provider is None]
    foreign = [each for each in signed if each.order.provider is not None]
    certificates, ocsps, crls = await parts.validation.evidence(list(dict.fromkeys(ours)))
    chains = [link for each in foreign for link in (each.certificate, *each.credential.chain)]
    finished = await _looked_at(parts, whole, ([*certificates, *chains], ocsps, crls))
    for document, (_, made) in zip(finished, papers, strict=True):
        for each in made:  # every paper of a request is signed by the same people
            pades.check(document, pades.PreparedSignature.from_json(each.order.prepared, b""), each.certificate)
    return [await parts.signing.documents.put(document) for document in finished]


async def _paper(parts: Parts, document: RequestDocument, signed: list[Signed]) -> SignedPaper:
    return SignedPaper(
        data=await parts.signing.documents.get(str(document.current)),
        wanted=tuple(
            Wanted(
                field=str(each.order.prepared["field"]), certificate=each.certificate,
                remote=each.order.provider is not None,
            )
            for each in signed
        ),
        earlier=PaperFacts.from_json(dict(document.facts)).signatures,
    )  # fmt: skip


async def _looked_at(
    parts: Parts, papers: list[SignedPaper], validation: tuple[list[bytes], list[bytes], list[bytes]]
) -> list[bytes]:
    """Once more and each alone where a child met its limits: together they may be too much, or the machine was busy."""
    try:
        return await parts.files.finish(papers, validation=validation)
    except Refused as error:
        if error.code != "sandbox.limit":
            raise
    return [each for paper in papers for each in await parts.files.finish([paper], validation=validation)]


async def _join(parts: Parts, signed: list[Signed]) -> str:
    """One detached file with everybody's signature."""
    pieces = []
    for each in signed:
        assert each.order.signed_document is not None
        data = await parts.signing.documents.get(each.order.signed_document)
        cades.check(data, cades.PreparedDigest.from_json(each.order.prepared), each.certificate)
        pieces.append(data)
    return await parts.signing.documents.put(detached.joined(pieces))
