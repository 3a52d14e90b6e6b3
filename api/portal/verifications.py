"""``/api/v1/verifications``: a file or a digest in, a report out."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import UploadFile

from api.portal.idempotency import IdempotentRoute
from api.portal.schemas import FileName
from api.web.access import client
from api.web.parts import Parts
from core.errors import BadInput
from core.limits import LIMITS

__all__ = ["router"]

router = APIRouter(prefix="/verifications", tags=["verifications"], route_class=IdempotentRoute)
VERIFIER = client("verify")
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/pdf": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {"schema": {
                "type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}},
            }},
        },
    }
}  # fmt: skip


class DigestIn(BaseModel):
    """SHA-256 of a whole file."""

    model_config = ConfigDict(extra="forbid")
    sha256: FileName


@router.post("", dependencies=[VERIFIER], openapi_extra=_BODY)
async def verify_file(request: Request, parts: Parts) -> Response:
    """A PDF, or a picture that shows a QR seal; judged in the sandbox and forgotten."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    name = None
    if kind == "multipart/form-data":
        form = await request.form(max_files=1, max_fields=5)
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise BadInput("web.unreadable")
        data, name = await file.read(), file.filename
    elif kind in {"application/pdf", "application/octet-stream", "image/jpeg", "image/png"}:
        data = await request.body()
    else:
        raise BadInput("web.wrong_type")
    if not data:
        raise BadInput("upload.empty")
    if len(data) > LIMITS["verify.bytes"]:
        raise BadInput("web.too_large", most=LIMITS["verify.bytes"])
    report = await parts.checker.check(data)
    return JSONResponse({**report.to_json(), "file": name}, headers={"cache-control": "no-store"})


@router.post("/digests", dependencies=[VERIFIER])
async def verify_digest(wanted: DigestIn, parts: Parts) -> Response:
    """Whether a file with this digest is one that we released: without the file, its signatures are not looked at."""
    copy = await parts.service.facts.by_file(bytes.fromhex(wanted.sha256), [])
    known = copy is not None and bytes.fromhex(wanted.sha256) in copy.released_digests
    answer: dict[str, Any] = {"sha256": wanted.sha256, "released": known, "recalled": None}
    if known and copy is not None:
        answer |= {
            "number": copy.number,
            "agency": copy.agency_name,
            "realm": copy.realm.value,
            "regime": copy.regime.value,
        }
        if copy.recalled is not None:
            answer["recalled"] = {"at": copy.recalled.at.isoformat(), "reason": copy.recalled.reason,
                                  "successor": copy.recalled.successor}  # fmt: skip
    return JSONResponse(answer, headers={"cache-control": "no-store"})
