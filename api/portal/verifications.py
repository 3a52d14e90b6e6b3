"""``/api/v1/verifications``: a file or a digest in, a report out; on request as a signed sheet."""

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import UploadFile

from api.portal.idempotency import IdempotentRoute, media_type
from api.portal.schemas import FileName
from api.web.access import client
from api.web.parts import Parts
from core.errors import BadInput
from core.limits import LIMITS
from core.values import Realm, Regime
from verification.report import SignatureReport, Verdict

__all__ = ["router"]

router = APIRouter(prefix="/verifications", tags=["verifications"], route_class=IdempotentRoute)
VERIFIER = client("verify")
_FILE: Final = {"$ref": "#/components/schemas/Bytes"}
_KINDS: Final = frozenset({"application/pdf", "application/octet-stream", "image/jpeg", "image/png"})
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            **{kind: {"schema": _FILE} for kind in sorted(_KINDS)},
            "multipart/form-data": {"schema": {"$ref": "#/components/schemas/FileForm"}},
        },
    }
}  # fmt: skip
_SHEET: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}}
}


class DigestIn(BaseModel):
    """SHA-256 of a whole file."""

    model_config = ConfigDict(extra="forbid")
    sha256: FileName


class RecalledOut(BaseModel):
    """Since when a copy does not hold, and why."""

    at: dt.datetime
    reason: str
    successor: str | None


class DigestOut(BaseModel):
    """What the register says about a digest; members beside the first three only where ``released``."""

    sha256: str
    released: bool
    recalled: RecalledOut | None
    number: str = ""
    agency: str = ""
    realm: Realm | None = None
    regime: Regime | None = None


class FindingOut(BaseModel):
    """One thing seen."""

    code: str
    severity: Literal["info", "warning", "error"]
    text: str


class SealOut(BaseModel):
    """The QR seal of a picture: its state is of the code, the verdict of the paper."""

    state: str
    claims: dict[str, Any] | None


class ReportOut(BaseModel):
    """Verdict, evidence, and a plain sentence in two languages."""

    file: str | None
    verdict: Verdict
    realm: Realm | None
    sentence: str
    sentence_en: str
    seal: SealOut | None = None
    signatures: list[SignatureReport]
    findings: list[FindingOut]


@router.post("", dependencies=[VERIFIER], response_model=ReportOut, openapi_extra=_BODY)
async def verify_file(request: Request, parts: Parts) -> Response:
    """A PDF, or a picture that shows a QR seal; judged in the sandbox and forgotten."""
    data, name = await _file(request)
    report = await parts.checker.check(data)
    return JSONResponse({**report.to_json(), "file": name}, headers={"cache-control": "no-store"})


@router.post("/report", dependencies=[VERIFIER], openapi_extra=_BODY, response_class=Response, responses=_SHEET)
async def verify_file_on_paper(
    request: Request, parts: Parts, name: Annotated[str, Query(max_length=300)] = ""
) -> Response:
    """The same check as a signed sheet for the files of an office. ``name``: of the file, where the body is the file alone.

    The signer looks at the file itself; it does not take this process's word.
    """
    data, given = await _file(request)
    sheet = await parts.signer.ask("report", data, name=(given or name)[:300])
    headers = {"cache-control": "no-store", "content-disposition": 'attachment; filename="phieu-ket-qua-kiem-tra.pdf"'}
    return Response(sheet, media_type="application/pdf", headers=headers)


async def _file(request: Request) -> tuple[bytes, str | None]:
    """The file of a request and its name. Raises ``web.unreadable``, ``web.wrong_type``, ``upload.empty``, ``web.too_large``."""
    kind = media_type(request)
    name = None
    if kind == "multipart/form-data":
        form = await request.form(max_files=1, max_fields=5)
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise BadInput("web.unreadable")
        data, name = await file.read(), file.filename
    elif kind in _KINDS:
        data = await request.body()
    else:
        raise BadInput("web.wrong_type")
    if not data:
        raise BadInput("upload.empty")
    if len(data) > LIMITS["verify.bytes"]:
        raise BadInput("web.too_large", most=LIMITS["verify.bytes"])
    return data, name


@router.post("/digests", dependencies=[VERIFIER], response_model=DigestOut)
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
