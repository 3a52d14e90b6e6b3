"""What the portal sees of a copy: the request while it waits, the copy afterwards, under one id."""

import datetime as dt
from typing import Any

import sqlalchemy as sa

from api.clients.model import Caller
from api.portal.requests import agency_of
from api.portal.schemas import CopyOut, RecallOut
from api.web.parts import WebParts
from core.db import UnitOfWork
from core.errors import NotFound
from core.formats import typed_code
from core.messages import sentence
from signer.copies import store
from signer.copies.inbox import Inbox, PortalRequest, request_table
from signer.copies.model import CertifiedCopy
from signer.copies.wording import Wording
from signer.records import copy_table

__all__ = ["copies_of", "copy_view"]


async def copy_view(parts: WebParts, uow: UnitOfWork, caller: Caller, copy_id: str) -> CopyOut:
    """One copy or waiting request of the caller's agencies. Raises ``copy.no_such_copy``."""
    request = await Inbox(parts.service.clock).find(uow, copy_id)
    copy = await store.find(uow, copy_id)
    known = copy or request
    if known is None or known.agency_id not in caller.agencies:
        raise NotFound("copy.no_such_copy", copy=copy_id[:26])
    return await _view(parts, uow, request, copy)


async def _view(parts: WebParts, uow: UnitOfWork, request: PortalRequest | None, copy: CertifiedCopy | None) -> CopyOut:
    base = copy or request
    assert base is not None
    agency = await parts.service.directory.agency(uow, base.agency_id)
    values: dict[str, Any] = {
        "id": base.id, "handle": parts.handles.write(base.id), "realm": base.realm.value, "agency": agency.code, "created_at": base.created_at,
        "dossier": "" if request is None else request.dossier, "batch": None if request is None else request.batch_id,
    }  # fmt: skip
    if copy is None:
        assert request is not None
        refused = request.state == "refused"
        return CopyOut(
            **values, state="refused" if refused else "received", regime=request.request["regime"],
            kind=request.request["kind"], settled_at=request.settled_at,
            problem=_problem(request) if refused else None,
        )  # fmt: skip
    entry = await parts.service.register.entry(uow, copy.entry_id)
    book = await parts.service.register.book(uow, entry.book_id)
    wording = Wording.of(agency.wording)
    released = copy.state == "released"
    links = {"self": f"/api/v1/copies/{copy.id}"}
    if released:
        links["file"] = f"/api/v1/copies/{copy.id}/file"
        if copy.receipt is not None:
            links["receipt"] = f"/api/v1/copies/{copy.id}/receipt"
    return CopyOut(
        **values, state=copy.state, regime=copy.regime.value, kind=copy.facts["kind"], pages=copy.facts["pages"],
        number=f"{wording.number_text(entry.number)} - {wording.book_text(book.volume, book.year, book.kind)}",
        # a code that reads as nothing yet is given to nobody
        code=typed_code.write(copy.seal_id) if released else None, qr=copy.qr if released else None,
        sha256=copy.released, settled_at=copy.settled_at, reason=copy.reason, warnings=list(copy.facts["warnings"]),
        recall=_recall(copy), links=links,
    )  # fmt: skip


def _recall(copy: CertifiedCopy) -> RecallOut | None:
    if copy.recalled_at is None:
        return None
    return RecallOut(
        at=copy.recalled_at, since=copy.recall_from or copy.recalled_at, reason=copy.recall_reason or "",
        by=copy.recalled_by, successor=copy.successor,
    )  # fmt: skip


def _problem(request: PortalRequest) -> dict[str, Any]:
    code, evidence = request.code or "jobs.failed", request.evidence or {}
    return {"code": code, "title": sentence(code, "vi", **evidence), "title_en": sentence(code, "en", **evidence)}


async def copies_of(
    parts: WebParts, uow: UnitOfWork, caller: Caller, *, agency: str | None, state: str | None, dossier: str | None,
    since: dt.datetime | None, after: str | None, limit: int,
) -> list[CopyOut]:  # fmt: skip
    """The newest first, of the caller's agencies: copies, and requests that are no copies (yet)."""
    r, c = request_table.c, copy_table.c
    agencies = set(caller.agencies)
    if agency is not None:
        agencies = {(await agency_of(parts, uow, caller, agency)).id}
    waiting = sa.select(r.id).where(r.agency_id.in_(agencies), r.state != "accepted")
    copies = sa.select(c.id).where(c.agency_id.in_(agencies))
    if dossier is not None:
        waiting = waiting.where(r.dossier == dossier)
        copies = copies.where(sa.exists().where(r.id == c.id, r.dossier == dossier))
    if since is not None:
        waiting, copies = waiting.where(r.created_at >= since), copies.where(c.created_at >= since)
    if after is not None:
        waiting, copies = waiting.where(r.id < after), copies.where(c.id < after)
    if state is not None:
        waiting = waiting.where(r.state.in_(["received", "taken"]) if state == "received" else r.state == state)
        copies = copies.where(c.recalled_at.is_not(None) if state == "recalled" else c.state == state)
    both = sa.union_all(
        sa.select(waiting.order_by(r.id.desc()).limit(limit).subquery()),
        sa.select(copies.order_by(c.id.desc()).limit(limit).subquery()),
    ).subquery()
    ids = (await uow.execute(sa.select(both.c.id).order_by(both.c.id.desc()).limit(limit))).scalars().all()
    return [await copy_view(parts, uow, caller, each) for each in ids]
