"""A new request: what is asked is judged, the papers are looked at in the sandbox, then all rows stand in one transaction."""

import asyncio
from collections.abc import Sequence
from typing import Any

from audit.events import LeafType
from core.db import UnitOfWork, insert_new
from core.directory.model import Agency
from core.errors import BadInput, Conflict, NotFound, Refused
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from signer.papers.model import PaperFacts
from signer.requests import store
from signer.requests.model import NewDocument, NewRequest, NewStep, RequestView
from signer.requests.parts import Parts, record
from signer.requests.records import document_table, request_table, step_table
from signer.requests.rights import require_may

__all__ = ["gather_few", "make", "require_text"]

_KINDS = frozenset({"citizen", "official", "seal"})


async def make(parts: Parts, wanted: NewRequest, *, digests_allowed: bool) -> RequestView:
    """The request as it then stands; asked again under its id, it is the one that was made before.

    Raises ``request.*``, ``directory.*`` and what the sandbox says of the papers.
    """
    _require_shape(parts, wanted, digests_allowed=digests_allowed)
    async with parts.signing.db.read() as uow:
        known = await store.find(uow, wanted.id)
    if known is not None:
        return _same(known, wanted)
    looked = await _look(parts, wanted)
    async with parts.signing.db.write() as uow:
        return await _write(uow, parts, wanted, looked)


def _same(known: RequestView, wanted: NewRequest) -> RequestView:
    if (known.client_id, known.agency_id) != (wanted.client_id, wanted.agency_id):
        raise Conflict("request.exists", request=wanted.id)
    return known


# ------------------------------------------------------------------------------------------------------------- shape
def require_text(text: str, what: str, *, empty: bool = False) -> str:
    """Words of people, trimmed. Raises ``request.bad_text``."""
    text = text.strip()
    if len(text) > LIMITS["request.letters"] or (not text and not empty) or any(ord(c) < 32 for c in text):
        raise BadInput("request.bad_text", what=what, most=LIMITS["request.letters"])
    return text


def _require_shape(parts: Parts, wanted: NewRequest, *, digests_allowed: bool) -> None:
    """All that needs neither a table nor the bytes."""
    now = parts.clock.now()
    if not 0 < (wanted.deadline - now).total_seconds() <= LIMITS["request.days"] * 86_400:
        raise BadInput("request.deadline", most=LIMITS["request.days"])
    if not 1 <= len(wanted.documents) <= min(LIMITS["request.documents"], LIMITS["activation.documents"]):
        raise BadInput("request.documents", most=LIMITS["request.documents"])
    if not 1 <= len(wanted.steps) <= LIMITS["request.steps"]:
        raise BadInput("request.steps", most=LIMITS["request.steps"])
    require_text(wanted.title, "title")
    require_text(wanted.reason, "reason", empty=True)
    if wanted.return_url is not None and not wanted.return_url.startswith(("https://", "http://")):
        raise BadInput("request.return_url")
    for document in wanted.documents:
        _require_document(document)
    _require_steps(parts, wanted.steps)
    if any(document.kind == "digest" for document in wanted.documents):
        if not digests_allowed:
            raise Refused("request.digest_not_allowed")
        if any(step.kind != "citizen" for step in wanted.steps):
            raise Refused("request.digest_for_official")


def _require_document(document: NewDocument) -> None:
    require_text(document.title, "title")
    pdf = document.name is not None and document.digest is None and document.algorithm is None
    digest = document.name is None and document.digest is not None and document.algorithm is not None
    if not {"pdf": pdf, "digest": digest}.get(document.kind, False):
        raise BadInput("request.bad_document")
    sized = document.digest is None or document.algorithm is None or len(document.digest) == document.algorithm.size
    if not sized:
        raise BadInput("request.bad_document")


def _require_steps(parts: Parts, steps: Sequence[NewStep]) -> None:
    people = [step.person_id for step in steps]
    if len(set(people)) != len(people):
        raise BadInput("request.same_person")
    fields = [s.placement.field for s in steps if s.placement is not None and s.placement.kind == "field"]
    if len(set(fields)) != len(fields):
        raise BadInput("request.same_field")
    for step in steps:
        if step.kind not in _KINDS or step.position < 0 or (step.kind == "seal" and step.provider is not None):
            raise BadInput("request.bad_step")
        if step.provider is not None and step.provider not in parts.signing.providers:
            raise NotFound("provider.unknown", provider=step.provider)
        if step.kind == "seal" and not any(s.kind == "official" and s.position < step.position for s in steps):
            raise Refused("request.seal_alone")


# ------------------------------------------------------------------------------------------------------------ papers
async def gather_few(works: Sequence[Any]) -> list[Any]:
    """Await coroutines in order, ``request.papers_at_once`` at a time; the first failure ends the rest."""
    room = asyncio.Semaphore(LIMITS["request.papers_at_once"])

    async def one(work: Any) -> Any:
        async with room:
            return await work

    tasks = [asyncio.ensure_future(one(work)) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for work in works:
            work.close()
        raise


async def _look(parts: Parts, wanted: NewRequest) -> list[tuple[int, dict[str, Any]]]:
    """(pages, facts) of each; a paper that cannot be signed is refused before anybody is asked."""
    sizes: list[int] = []
    places = [s.placement for s in wanted.steps if s.placement is not None and s.placement.kind != "none"]

    async def one(document: NewDocument) -> tuple[int, dict[str, Any]]:
        if document.name is None:
            return 0, {}
        data = await parts.signing.documents.get(document.name)
        sizes.append(len(data))
        if sum(sizes) > LIMITS["request.bytes"]:
            raise BadInput("request.too_large", most=LIMITS["request.bytes"] // 2**20)
        facts = await parts.papers.inspect(parts.sandbox, data, places)
        _require_free(facts, wanted.steps)
        _require_room(data, facts, len(wanted.steps))
        return len(facts.pages), facts.to_json()

    return await gather_few([one(document) for document in wanted.documents])


def _require_free(facts: PaperFacts, steps: Sequence[NewStep]) -> None:
    """Room for every step's signature. Raises ``request.certified_copy``, ``request.paper_needs_field``."""
    if any(signature.field in {"Certifier", "Seal"} for signature in facts.signatures):
        raise Refused("request.certified_copy")  # complete as it is: one signature more makes it no certified copy
    fields = [s.placement.field for s in steps if s.placement is not None and s.placement.kind == "field"]
    if facts.certified == 2 and len(fields) != len(steps):
        raise Refused("request.paper_needs_field")


def _require_room(data: bytes, facts: PaperFacts, more: int) -> None:
    """What the last look can take when all have signed. Raises ``request.too_many_signatures``.

    Document time-stamps and revisions stand in the file in clear: a signature's hole cannot be compressed. Each
    signature is one revision, the validation data at the end another.
    """
    signatures = len(facts.signatures) + data.count(b"/ETSI.RFC3161") + more
    revisions = data.count(b"startxref") + more + 1
    for count, most in ((signatures, LIMITS["verify.signatures"]), (revisions, LIMITS["verify.revisions"])):
        if count > most:
            raise Refused("request.too_many_signatures", most=most)


# -------------------------------------------------------------------------------------------------------------- rows
async def _write(
    uow: UnitOfWork, parts: Parts, wanted: NewRequest, looked: Sequence[tuple[int, dict[str, Any]]]
) -> RequestView:
    agency = await parts.directory.agency(uow, wanted.agency_id)
    for step in wanted.steps:
        await require_may(uow, parts, realm=agency.realm, agency_id=agency.id, kind=step.kind, person_id=step.person_id)
    row = {
        "id": wanted.id, "realm": agency.realm, "agency_id": agency.id, "client_id": wanted.client_id,
        "client_name": wanted.client_name.strip() or wanted.client_id, "title": wanted.title.strip(),
        "reason": wanted.reason.strip(), "return_url": wanted.return_url, "deadline": wanted.deadline, "state": "open",
        "version": 0, "salt": random_bytes(32), "created_at": parts.clock.now(),
    }  # fmt: skip
    if (await uow.execute(insert_new(uow, request_table).values(**row))).rowcount != 1:  # asked twice at once
        return _same(await store.get(uow, wanted.id), wanted)
    await uow.execute(
        document_table.insert(), [_document_row(parts, wanted, n, *each) for n, each in enumerate(looked)]
    )
    await uow.execute(step_table.insert(), [_step_row(parts, wanted, n) for n in range(len(wanted.steps))])
    view = await store.get(uow, wanted.id)
    await record(uow, parts, view, 0, LeafType.REQUEST_CREATED, _created(view, agency))
    return view


def _document_row(parts: Parts, wanted: NewRequest, position: int, pages: int, facts: dict[str, Any]) -> dict[str, Any]:
    document = wanted.documents[position]
    return {
        "id": new_id(parts.clock), "request_id": wanted.id, "position": position, "title": document.title.strip(),
        "kind": document.kind, "original": document.name, "digest": document.digest, "algorithm": document.algorithm,
        "pages": pages, "facts": facts, "current": document.name,
    }  # fmt: skip


def _step_row(parts: Parts, wanted: NewRequest, place: int) -> dict[str, Any]:
    step = wanted.steps[place]
    first = min(each.position for each in wanted.steps)
    return {
        "id": new_id(parts.clock), "request_id": wanted.id, "position": step.position, "place": place, "kind": step.kind,
        "person_id": step.person_id, "provider": step.provider,
        "placement": None if step.placement is None else step.placement.to_json(),
        "state": "ready" if step.position == first else "waiting", "orders": [],
    }  # fmt: skip


def _created(view: RequestView, agency: Agency) -> dict[str, Any]:
    return {
        "what": "created", "agency": view.agency_id, "agency_code": agency.code, "agency_name": agency.name,
        "client": view.client_id, "client_name": view.client_name, "title": view.title,
        "reason": view.reason, "deadline": view.deadline.isoformat(),
        "documents": [
            {"id": d.id, "title": d.title, "kind": d.kind, "pages": d.pages, "sha256": d.original, "digest": None if d.digest is None else d.digest.hex(),
             "algorithm": d.algorithm}
            for d in view.documents
        ],
        "steps": [
            {"id": s.id, "position": s.position, "kind": s.kind, "person": s.person_id, "provider": s.provider}
            for s in view.steps
        ],
    }  # fmt: skip
