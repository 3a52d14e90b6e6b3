"""Files before they belong to anything: sent whole, or in pieces over a weak line (tus 1.0.0, core and creation).

Each piece is an object of its own and a row; the last one joins them. Nothing is kept in this process, so the next
piece may reach another. A file belongs to the client that sent it; its name is its SHA-256.
"""

import base64
import binascii
import datetime as dt
import hashlib
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response

from api.clients.model import Caller
from api.portal.answers import created
from api.portal.idempotency import IdempotentRoute
from api.portal.schemas import FileOut, Id
from api.web.access import ANYONE, client
from api.web.parts import Parts, WebParts
from core.db import UnitOfWork, UtcDateTime, insert_new, metadata, row_by
from core.errors import BadInput, Conflict, NotFound, Refused
from core.limits import LIMITS

__all__ = ["keep_file", "require_files", "router"]

upload_table = sa.Table(
    "upload",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("client_id", sa.String(26), nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("document", sa.String(64)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("ix_upload_client_document", "client_id", "document"),
    sa.Index("ix_upload_client_created_at", "client_id", "created_at"),
)
part_table = sa.Table(
    "upload_part",
    metadata,
    sa.Column("upload_id", sa.String(26), sa.ForeignKey("upload.id"), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("document", sa.String(64), nullable=False),
)

router = APIRouter(tags=["files"], route_class=IdempotentRoute)
_TUS = {"tus-resumable": "1.0.0", "cache-control": "no-store"}
Writer = Annotated[Caller, client("copies:write", "signatures:write")]


def _header(name: str, text: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}, **more}


def _says(*headers: dict[str, Any], body: bool = False) -> dict[str, Any]:
    """For ``openapi_extra``: the headers of tus."""
    version = _header("Tus-Resumable", "Version of tus.", schema={"const": "1.0.0"})
    said: dict[str, Any] = {"parameters": [version, *headers]}
    if body:
        piece = {"application/offset+octet-stream": {"schema": {"$ref": "#/components/schemas/Piece"}}}
        said["requestBody"] = {"required": True, "content": piece}
    return said


def _count(most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": most}


_LENGTH = _header("Upload-Length", "Bytes of the whole file.", schema={**_count(LIMITS["intake.bytes"]), "minimum": 1})
_OFFSET = _header("Upload-Offset", "Where this piece begins.", schema=_count(LIMITS["intake.bytes"]))
_CHECKSUM = _header("Upload-Checksum", "`sha256` and the piece's digest in base64.", required=False)
_AT = {"Upload-Offset": {"description": "Bytes that have arrived.", "required": True, "schema": {"type": "integer"}}}
_DONE = {"Dauso-File": {"description": "Name of the file, once it is whole.", "schema": {"type": "string"}}}
_BEGUN: dict[int | str, dict[str, Any]] = {201: {"headers": {**_AT, **created(201)[201]["headers"]}}}
_PLACE: dict[int | str, dict[str, Any]] = {200: {"headers": {**_AT, **_DONE}}}
_MOVED: dict[int | str, dict[str, Any]] = {204: {"headers": {**_AT, **_DONE}}}


async def keep_file(parts: WebParts, caller: Caller, upload_id: str, data: bytes) -> str:
    """Store a whole file for ``caller``; returns its name. Raises ``upload.empty``, ``store.full``."""
    if not data:
        raise BadInput("upload.empty")
    name = await parts.service.documents.put(data)
    async with parts.service.db.write() as uow:
        await _require_room(parts, uow, caller, len(data))
        await uow.execute(
            insert_new(uow, upload_table),
            {"id": upload_id, "client_id": caller.client_id, "length": len(data), "position": len(data), "document": name,
             "created_at": parts.service.clock.now()},
        )  # fmt: skip
    return name


async def _require_room(parts: WebParts, uow: UnitOfWork, caller: Caller, more: int) -> None:
    """One client does not fill the store for all. Raises ``upload.too_much``."""
    t = upload_table.c
    since = parts.service.clock.now() - dt.timedelta(days=1)
    lately = sa.select(sa.func.sum(t.length)).where(t.client_id == caller.client_id, t.created_at > since)
    if int((await uow.execute(lately)).scalar_one() or 0) + more > LIMITS["upload.day_bytes"]:
        raise Refused("upload.too_much", most=LIMITS["upload.day_bytes"] // 2**30, retry_after=3600)


async def require_files(uow: UnitOfWork, caller: Caller, names: list[str]) -> None:
    """Each was sent by this client: a digest alone gives nobody a file. Raises ``upload.no_such_file``."""
    wanted = sorted(set(names))
    t = upload_table.c
    found: set[str] = set()
    for at in range(0, len(wanted), 500):
        query = sa.select(t.document).where(t.client_id == caller.client_id, t.document.in_(wanted[at : at + 500]))
        found |= set((await uow.execute(query)).scalars())
    missing = set(wanted) - found
    if missing:
        raise NotFound("upload.no_such_file", file=min(missing)[:12])


@router.post(
    "/files", status_code=201, response_model=FileOut,
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"$ref": "#/components/schemas/Bytes"}}}}},
)  # fmt: skip
async def send_file(request: Request, parts: Parts, caller: Writer) -> dict[str, Any]:
    """A whole file as the body; the answer names it for ``files`` of a copy."""
    data = await request.body()
    return {"file": await keep_file(parts, caller, request.state.subject, data), "bytes": len(data)}


# ------------------------------------------------------------------------------------------------------------- tus
@router.options("/uploads", dependencies=[ANYONE], include_in_schema=False)
async def what_uploads_can() -> Response:
    """Version and extensions, as tus clients ask."""
    return Response(
        status_code=204,
        headers={**_TUS, "tus-version": "1.0.0", "tus-extension": "creation,checksum",
                 "tus-checksum-algorithm": "sha256", "tus-max-size": str(LIMITS["intake.bytes"])},
    )  # fmt: skip


@router.post("/uploads", status_code=201, response_class=Response, responses=_BEGUN, openapi_extra=_says(_LENGTH))
async def begin_upload(request: Request, parts: Parts, caller: Writer) -> Response:
    """A new upload of ``Upload-Length`` bytes."""
    _require_tus(request)
    length = _number(request, "upload-length")
    if length == 0:
        raise BadInput("upload.empty")
    if length > LIMITS["intake.bytes"]:
        raise BadInput("web.too_large", most=LIMITS["intake.bytes"])
    async with parts.service.db.write() as uow:
        await _require_room(parts, uow, caller, length)
        await uow.execute(
            insert_new(uow, upload_table),
            {"id": request.state.subject, "client_id": caller.client_id, "length": length, "position": 0, "document": None,
             "created_at": parts.service.clock.now()},
        )  # fmt: skip
    location = f"{parts.base_url}/api/v1/uploads/{request.state.subject}"
    return Response(status_code=201, headers={**_TUS, "location": location, "upload-offset": "0"})


@router.head("/uploads/{upload_id}", response_class=Response, responses=_PLACE, openapi_extra=_says())
async def get_upload_offset(request: Request, upload_id: Id, parts: Parts, caller: Writer) -> Response:
    """How much has arrived."""
    _require_tus(request)
    async with parts.service.db.read() as uow:
        row = await _upload(uow, caller, upload_id)
    return Response(
        headers={**_TUS, "upload-offset": str(row.position), "upload-length": str(row.length), **_named(row)}
    )


@router.patch(
    "/uploads/{upload_id}", status_code=204, response_class=Response, responses=_MOVED,
    openapi_extra=_says(_OFFSET, _CHECKSUM, body=True),
)  # fmt: skip
async def continue_upload(request: Request, upload_id: Id, parts: Parts, caller: Writer) -> Response:
    """The next piece, at ``Upload-Offset``; exactly one sender moves it on."""
    _require_tus(request)
    if request.headers.get("content-type") != "application/offset+octet-stream":
        raise BadInput("web.wrong_type")
    offset = _number(request, "upload-offset")
    async with parts.service.db.read() as uow:
        row = await _upload(uow, caller, upload_id)
    if row.position != offset:
        raise Conflict("upload.wrong_offset", at=row.position)
    data = await request.body()
    _require_checksum(request.headers.get("upload-checksum", ""), data)
    end = offset + len(data)
    if end > row.length:
        raise BadInput("upload.too_long")
    service = parts.service
    piece = await service.documents.put(data)
    whole = None if end < row.length else await service.documents.put(await _joined(parts, upload_id, data))
    t = upload_table.c
    async with service.db.write() as uow:
        moved = await uow.execute(
            upload_table.update()
            .where(t.id == upload_id, t.position == offset, t.document.is_(None))
            .values(position=end, document=whole)
        )
        if moved.rowcount != 1:
            raise Conflict("upload.wrong_offset", at=offset)
        if data:
            await uow.execute(part_table.insert(), {"upload_id": upload_id, "position": offset, "document": piece})
        row = await _upload(uow, caller, upload_id)
    return Response(status_code=204, headers={**_TUS, "upload-offset": str(end), **_named(row)})


async def _joined(parts: WebParts, upload_id: str, last: bytes) -> bytes:
    t = part_table.c
    async with parts.service.db.read() as uow:
        names = (
            await uow.execute(sa.select(t.document).where(t.upload_id == upload_id).order_by(t.position))
        ).scalars().all()  # fmt: skip
    return b"".join([await parts.service.documents.get(name) for name in names] + [last])


async def _upload(uow: UnitOfWork, caller: Caller, upload_id: str) -> sa.Row[Any]:
    row: sa.Row[Any] | None = (await uow.execute(row_by(upload_table.c.id), {"value": upload_id})).first()
    if row is None or row.client_id != caller.client_id:
        raise NotFound("web.no_such_thing")
    return row


def _named(row: sa.Row[Any]) -> dict[str, str]:
    return {} if row.document is None else {"dauso-file": row.document}


def _require_tus(request: Request) -> None:
    if request.headers.get("tus-resumable") != "1.0.0":
        raise BadInput("upload.wrong_version")


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise BadInput("web.unreadable")
    return int(text)


def _require_checksum(header: str, data: bytes) -> None:
    """Tus' checksum extension: a piece damaged on its way is not taken."""
    if not header:
        return
    kind, _, value = header.partition(" ")
    try:
        good = kind == "sha256" and base64.b64decode(value, validate=True) == hashlib.sha256(data).digest()
    except (ValueError, binascii.Error):
        good = False
    if not good:
        raise BadInput("upload.wrong_checksum")
