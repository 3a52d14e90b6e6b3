"""What the portal sees of a signature found. Read from the database; nothing here asks the signer."""

import datetime as dt
from dataclasses import dataclass
from typing import Self

import qrcode
import sqlalchemy as sa

from api.clients.model import Caller
from api.portal.request_schemas import SignatureRequestOut, SignedDocumentOut, StepOut
from api.portal.requests import agency_of
from api.portal.schemas import RefusalOut
from api.web.parts import WebParts
from core.db import UnitOfWork
from core.errors import NotFound
from core.messages import sentence
from signer.requests import store
from signer.requests.model import RequestDocument, RequestStep, RequestView
from signer.requests.records import request_table

__all__ = ["Place", "masked", "own", "place_of", "qr_svg", "request_view", "requests_of"]

_QUIET = 4
_SHOWN_CODE = frozenset({"open", "approved"})


@dataclass(frozen=True, slots=True)
class Place:
    """How far a request is, in two columns."""

    version: int
    settled: bool

    @classmethod
    def of(cls, found: RequestView) -> Self:
        """Of a request that was read whole."""
        return cls(found.version, found.settled_at is not None)


async def own(uow: UnitOfWork, caller: Caller, request_id: str) -> RequestView:
    """A request of the caller's own, at one of its agencies; another does not exist. Raises ``request.no_such_request``."""
    found = await store.get(uow, request_id)
    if found.client_id != caller.client_id or found.agency_id not in caller.agencies:
        raise NotFound("request.no_such_request", request=request_id)
    return found


async def place_of(uow: UnitOfWork, request_id: str) -> Place:
    """For who waits; the caller's right to it was looked at before."""
    t = request_table.c
    row = (await uow.execute(sa.select(t.version, t.settled_at).where(t.id == request_id))).one()
    return Place(row.version, row.settled_at is not None)


async def request_view(parts: WebParts, uow: UnitOfWork, found: RequestView) -> SignatureRequestOut:
    """As the portal has it."""
    agency = await parts.service.directory.agency(uow, found.agency_id)
    path = f"/api/v1/signature-requests/{found.id}"
    links = {"self": path}
    if any(step.state == "signed" for step in found.steps):
        links["evidence"] = f"{path}/evidence"
    return SignatureRequestOut(
        id=found.id, state=found.state, realm=found.realm, agency=agency.code, title=found.title,
        reason=found.reason, return_url=found.return_url, deadline=found.deadline, created_at=found.created_at,
        settled_at=found.settled_at, outcome=found.why, problem=_problem(found.problem),
        documents=[_document(path, each) for each in found.documents],
        steps=[await _step(parts, uow, each) for each in found.steps], links=links,
    )  # fmt: skip


def _document(path: str, document: RequestDocument) -> SignedDocumentOut:
    n = document.position + 1
    return SignedDocumentOut(
        n=n, title=document.title, kind=document.kind, sha256=document.original,
        digest=None if document.digest is None else document.digest.hex(), algorithm=document.algorithm,
        signed_sha256=document.released,
        links={} if document.released is None else {"file": f"{path}/documents/{n}/file"},
    )  # fmt: skip


async def _step(parts: WebParts, uow: UnitOfWork, step: RequestStep) -> StepOut:
    person = await parts.service.directory.person(uow, step.person_id)
    return StepOut(
        id=step.id, order=step.position, kind=step.kind, state=step.state, person=person.id,
        name=masked(person.name) if step.kind == "citizen" else person.name, provider=step.provider,
        code=step.code if step.state in _SHOWN_CODE else None, opened_at=step.opened_at, signed_at=step.signed_at,
        reason=step.why, problem=_problem(step.problem), replaced_by=step.replaced_by,
    )  # fmt: skip


def _problem(code: str | None) -> RefusalOut | None:
    return None if code is None else RefusalOut(code=code, title=sentence(code, "vi"), title_en=sentence(code, "en"))


def masked(name: str) -> str:
    """A name in part, ``P. T. Ổ.``: who asked with a name knows it again, who asked with a number alone learns little."""
    return " ".join(f"{word[0]}." for word in name.split())


async def requests_of(
    parts: WebParts, uow: UnitOfWork, caller: Caller, *, agency: str | None, state: str | None,
    since: dt.datetime | None, until: dt.datetime | None, after: str | None, limit: int,
) -> list[SignatureRequestOut]:  # fmt: skip
    """The caller's own, the newest first."""
    t = request_table.c
    agencies = set(caller.agencies)
    if agency is not None:
        agencies = {(await agency_of(parts, uow, caller, agency)).id}
    query = sa.select(t.id).where(t.client_id == caller.client_id, t.agency_id.in_(agencies))
    if state is not None:
        query = query.where(t.state == state)
    if since is not None:
        query = query.where(t.created_at >= since)
    if until is not None:
        query = query.where(t.deadline < until)
    if after is not None:
        query = query.where(t.id < after)
    ids = (await uow.execute(query.order_by(t.id.desc()).limit(limit))).scalars().all()
    return [await request_view(parts, uow, await store.get(uow, each)) for each in ids]


def qr_svg(url: str) -> str:
    """A QR code as an SVG picture, quiet zone included, level M."""
    code = qrcode.QRCode(error_correction=qrcode.constants.ERROR_CORRECT_M, border=0, mask_pattern=3)
    code.add_data(url)
    code.make(fit=True)
    side = code.modules_count + 2 * _QUIET
    runs = []
    for y, row in enumerate(code.modules):
        start: int | None = None
        for x, black in enumerate([*row, False]):
            if black and start is None:
                start = x
            elif not black and start is not None:
                runs.append(f"M{start + _QUIET} {y + _QUIET}h{x - start}v1H{start + _QUIET}z")
                start = None
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges">'
        f'<path fill="#fff" d="M0 0h{side}v{side}H0z"/><path d="{"".join(runs)}"/></svg>'
    )
