"""``/api/v1/copies``: make, watch, fetch, void, recall."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile

from api.clients.model import Caller
from api.portal.answers import TAGGED, created, download, page, tagged
from api.portal.idempotency import IdempotentRoute, media_type
from api.portal.requests import lay
from api.portal.schemas import AgencyCode, CopyIn, CopyOut, CopyState, Cursor, Id, Moment, Page, RecallIn, VoidIn, Words
from api.portal.uploads import keep_file
from api.portal.views import copies_of, copy_view
from api.web.access import client
from api.web.parts import Parts, WebParts
from core.errors import BadInput, Conflict
from core.ids import new_id
from core.limits import LIMITS
from signer.copies import store

__all__ = ["router"]

router = APIRouter(prefix="/copies", tags=["copies"], route_class=IdempotentRoute)
Reader = Annotated[Caller, client("copies:read")]
Writer = Annotated[Caller, client("copies:write")]
Recaller = Annotated[Caller, client("copies:recall")]
Wait = Annotated[int, Query(ge=0, le=LIMITS["web.wait_seconds"], description="Seconds to wait for the copy to rest.")]
Limit = Annotated[int, Query(ge=1, le=LIMITS["web.page"])]
_CopyIn: TypeAdapter[CopyIn] = TypeAdapter(CopyIn)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/CopyIn"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object", "required": ["request", "file"], "properties": {
                        "request": {"$ref": "#/components/schemas/CopyForm"},
                        "file": {
                            "type": "array", "minItems": 1, "maxItems": LIMITS["web.files_per_copy"],
                            "items": {"type": "string", "format": "binary", "minLength": 1},
                        },
                    },
                },
                "encoding": {"request": {"contentType": "application/json"}},
            },
        },
    }
}  # fmt: skip


@router.post("", status_code=202, response_model=CopyOut, responses=created(202), openapi_extra=_BODY)
async def create_copy(request: Request, parts: Parts, caller: Writer, wait: Wait = 0) -> Response:
    """Leave a paper to be certified; the answer names the copy it becomes."""
    wanted = await _wanted(request, parts, caller)
    await lay(parts, caller, request.state.subject, wanted)
    await parts.signer.wake()
    return await _view(request, parts, caller, request.state.subject, wait, status=202)


async def _wanted(request: Request, parts: WebParts, caller: Caller) -> CopyIn:
    """From JSON, or from a form with the files in it. Raises ``web.unreadable``, ``web.invalid_request``."""
    kind = media_type(request)
    try:
        if kind == "application/json":
            return _CopyIn.validate_json(await request.body())
        if kind != "multipart/form-data":
            raise BadInput("web.wrong_type")
        form = await request.form(max_files=LIMITS["web.files_per_copy"], max_fields=50)
        value = json.loads(str(form.get("request", "")))
        if not isinstance(value, dict):
            raise BadInput("web.unreadable")
        names = []
        for file in form.getlist("file"):
            if not isinstance(file, UploadFile):
                raise BadInput("web.unreadable")
            names.append(await keep_file(parts, caller, new_id(parts.service.clock), await file.read()))
        return _CopyIn.validate_json(json.dumps({**value, "files": names}))  # JSON again: it refuses half letters
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput("web.invalid_member", at=".".join(map(str, first["loc"])), why=first["type"]) from error
    except ValueError as error:
        raise BadInput("web.unreadable") from error


async def _view(
    request: Request, parts: WebParts, caller: Caller, copy_id: str, wait: int = 0, status: int = 200
) -> Response:
    if wait:
        await parts.signer.rest(copy_id, wait)
    async with parts.service.db.read() as uow:
        found = await copy_view(parts, uow, caller, copy_id)
    location = {"location": f"/api/v1/copies/{copy_id}"} if status != 200 else {}
    return tagged(request, found, status, location)


@router.get("", response_model=Page[CopyOut])
async def list_copies(
    parts: Parts, caller: Reader, agency: AgencyCode | None = None, state: CopyState | Literal["recalled"] | None = None,
    dossier: Words | None = None, since: Moment | None = None, after: Cursor | None = None, limit: Limit = 50,
) -> Response:  # fmt: skip
    """The newest first; filters may be combined."""
    async with parts.service.db.read() as uow:
        found = await copies_of(
            parts, uow, caller, agency=agency, state=state, dossier=dossier, since=since, after=after, limit=limit + 1
        )  # fmt: skip
    return page(found, limit, found[limit - 1].id if len(found) > limit else None)


@router.get("/{copy_id}", response_model=CopyOut, responses=TAGGED)
async def get_copy(request: Request, copy_id: Id, parts: Parts, caller: Reader, wait: Wait = 0) -> Response:
    """One copy; with ``wait`` the answer comes when it rests, and ``If-None-Match`` says what the caller has."""
    return await _view(request, parts, caller, copy_id, wait)


@router.get("/{copy_id}/file", response_class=Response, responses={**TAGGED, **download("application/pdf")})
async def get_copy_file(request: Request, copy_id: Id, parts: Parts, caller: Reader) -> Response:
    """The released file. A recalled one says so in a header; its own check says it first."""
    async with parts.service.db.read() as uow:
        await copy_view(parts, uow, caller, copy_id)
        copy = await store.find(uow, copy_id)
    if copy is None or copy.released is None:
        raise Conflict("copy.not_released", copy=copy_id)
    headers = {"etag": f'"{copy.released[:32]}"', "cache-control": "private, no-cache",
               "content-disposition": f'attachment; filename="{copy_id}.pdf"'}  # fmt: skip
    if copy.recalled_at is not None:
        headers["dauso-recalled"] = copy.recalled_at.isoformat()
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(await parts.service.documents.get(copy.released), headers=headers, media_type="application/pdf")


@router.get("/{copy_id}/receipt", response_class=Response, responses=download("text/plain"))
async def get_copy_receipt(copy_id: Id, parts: Parts, caller: Reader) -> Response:
    """The log's inclusion proof (C2SP tlog-proof) of the release."""
    async with parts.service.db.read() as uow:
        await copy_view(parts, uow, caller, copy_id)
        copy = await store.find(uow, copy_id)
    if copy is None or copy.receipt is None:
        raise Conflict("copy.no_receipt", copy=copy_id)
    return Response(
        copy.receipt, media_type="text/plain; charset=utf-8", headers={"cache-control": "private, max-age=86400"}
    )


@router.post("/{copy_id}/void", response_model=CopyOut)
async def void_copy(request: Request, copy_id: Id, wanted: VoidIn, parts: Parts, caller: Writer) -> Response:
    """Give up a copy that is not released; its number keeps its line in the book."""
    async with parts.service.db.read() as uow:
        found = await copy_view(parts, uow, caller, copy_id)
    if found.state in {"received", "refused"}:
        raise Conflict("copy.not_in_state", copy=copy_id, state=found.state)
    await parts.signer.ask("void", copy=copy_id, reason=wanted.reason, client=caller.client_id)
    return await _view(request, parts, caller, copy_id)


@router.post("/{copy_id}/recall", response_model=CopyOut)
async def recall_copy(request: Request, copy_id: Id, wanted: RecallIn, parts: Parts, caller: Recaller) -> Response:
    """Take a released copy back; when this answers, the public list says so already."""
    async with parts.service.db.read() as uow:
        await copy_view(parts, uow, caller, copy_id)
        if wanted.successor is not None:
            await copy_view(parts, uow, caller, wanted.successor)
    words = wanted.model_dump(mode="json", exclude_none=True)
    await parts.signer.ask("recall", copy=copy_id, **words)
    return await _view(request, parts, caller, copy_id)
