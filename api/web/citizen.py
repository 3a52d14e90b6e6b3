"""The citizen's door: ``/v`` and the public lists. Nothing personal in a URL, nothing kept of what is checked.

What a seal says is checked in the browser; codes and files by form, so that all of it works without a script too.
"""

import hashlib
import json
from functools import lru_cache
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.datastructures import UploadFile

from api.web import answers, thumbnails
from api.web.access import ANYONE, open_to_anyone
from api.web.answers import Answer
from api.web.lookup import Found, by_code, by_id, opens
from api.web.pages import TYPES
from api.web.parts import Parts, WebParts
from api.web.problems import status_of
from api.web.shell import build, render, shell, static
from core.errors import BadInput, NotFound, ServiceError
from core.limits import LIMITS
from core.logs import logger
from signer.copies.publication import KEYS, Published, published
from verification.seals import SealLists, judge_seal

__all__ = ["hot", "router"]

router = APIRouter(include_in_schema=False)
_NEVER_KEPT: Final = {"cache-control": "no-store"}
_PUBLIC: Final = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}
"""The lists are for every verifier, also in other people's pages."""


# -------------------------------------------------------------------------------------------------------- the page
async def page(request: Request) -> Response:
    """The same for everybody: the seal stands behind the ``#`` and never comes here."""
    service = request.app.state.parts.service
    made = shell(service.settings.host, service.realm)
    return _tagged(request, made.page, "text/html; charset=utf-8", 60)


@router.get("/v/sw.js", dependencies=[ANYONE])
async def worker(request: Request, parts: Parts) -> Response:
    """The service worker: keeps the page, never a result."""
    made = shell(parts.service.settings.host, parts.service.realm)
    return _tagged(request, made.worker, TYPES[".js"], 0, {"service-worker-allowed": "/v"})


@router.get("/v/app.webmanifest", dependencies=[ANYONE])
async def manifest(request: Request, parts: Parts) -> Response:
    """For who puts the page on the home screen."""
    made = shell(parts.service.settings.host, parts.service.realm)
    return _tagged(request, made.manifest, "application/manifest+json", 3600)


@router.get("/v/static/{version}/{name}", dependencies=[ANYONE])
async def static_file(request: Request, version: str, name: str) -> Response:
    """Style, script, icons. Raises ``web.no_such_thing``."""
    data = static().get(name)
    if data is None:
        raise NotFound("web.no_such_thing")
    age = 31_536_000 if version == build() else 0  # an older page may still ask while servers change
    return _tagged(request, data, TYPES[name[name.rfind(".") :]], age)


@router.get("/v/code", dependencies=[ANYONE])
@router.get("/v/file", dependencies=[ANYONE])
async def back() -> Response:
    """Who opens the address of a result again gets the page: no result has an address."""
    return RedirectResponse("/v", 303, _NEVER_KEPT)


# ---------------------------------------------------------------------------------------------------------- checks
async def status(request: Request) -> Response:
    """``{"code": …}`` → what the register says now; one read, and the same for every code that is none."""
    parts: WebParts = request.app.state.parts
    try:
        code = json.loads(await request.body()).get("code")
    except (ValueError, AttributeError, RecursionError):
        code = None
    found = await by_code(parts.service.db, code)
    return _status(parts, found, "seal")


@router.post("/v/code", dependencies=[ANYONE])
async def code(request: Request, parts: Parts) -> Response:
    """A typed code; with the access code also small pictures of the pages."""
    async with request.form(max_files=0, max_fields=4) as form:
        given, access = form.get("code"), form.get("access")
    found = await by_code(parts.service.db, given)
    if _wants_json(request):
        return _status(parts, found, "code")
    answer = answers.of_code(found, parts.service.clock.now())
    if isinstance(access, str) and access.strip() and found is not None:
        answer = await _opened(parts, answer, found, access)
    _note("code", answer.state, found)
    return _result(parts, answer)


@router.post("/v/seal", dependencies=[ANYONE])
async def seal(request: Request, parts: Parts) -> Response:
    """``{"seal": BASE32}`` from a browser that cannot check signatures itself."""
    try:
        text = json.loads(await request.body()).get("seal")
    except (ValueError, AttributeError, RecursionError):
        text = None
    service, host = parts.service, parts.service.settings.host
    at, url = service.clock.now(), f"https://{host}/v#{text}"
    lists = SealLists(await service.facts.seal_keys())
    first = judge_seal(url, host=host, lists=lists, at=at, copy=None, online=True)
    found, judged = None, first
    if first.claims is not None:
        copy = await service.facts.by_code(first.claims.id)
        judged = judge_seal(url, host=host, lists=lists, at=at, copy=copy, online=True)
        found = await by_id(service.db, first.claims.id)
    answer = answers.of_seal(judged.state.value, judged.findings, found, at).having("note.by_server")
    _note("seal", answer.state, found)
    said = {"state": answer.state, "parts": sorted(answer.parts), "slots": answer.slots}
    return JSONResponse(said, headers=_NEVER_KEPT)


@router.post("/v/file", dependencies=[ANYONE])
async def file(request: Request, parts: Parts) -> Response:
    """A PDF, or a picture of the paper; judged in the sandbox and forgotten."""
    at = parts.service.clock.now()
    try:
        data = await _uploaded(request)
        report = await parts.checker.check(data)
        found = None if report.copy is None else await by_id(parts.service.db, report.copy.seal_id)
    except ServiceError as error:
        if _wants_json(request):
            raise
        return _result(parts, answers.of_failure((error.say("vi"), error.say("en")), at), status_of(error))
    answer = answers.of_report(report, found, at)
    _note("file", answer.state, found)
    if _wants_json(request):
        facts = None if found is None else answers.facts_json(found)
        return JSONResponse({**report.to_json(), "state": answer.state, "facts": facts}, headers=_NEVER_KEPT)
    return _result(parts, answer)


async def _uploaded(request: Request) -> bytes:
    """Raises ``upload.empty``, ``web.too_large``."""
    async with request.form(max_files=1, max_fields=2) as form:
        given = form.get("file")
        data = await given.read() if isinstance(given, UploadFile) else b""
    if not data:
        raise BadInput("upload.empty")
    if len(data) > LIMITS["verify.bytes"]:
        raise BadInput("web.too_large", most=LIMITS["verify.bytes"])
    return data


async def _opened(parts: WebParts, answer: Answer, found: Found, access: str) -> Answer:
    """With what the access code opens; the answer about the code itself never waits for it to succeed."""
    if not opens(found, access):
        return answer.having("access.wrong")
    try:
        scan = await parts.service.documents.get(found.content)
        drawn = await parts.service.sandbox.run(thumbnails.draw, scan, {})
    except ServiceError as error:
        logger().warning("citizen.no_pictures", code=error.code)
        return answer.having("access.failed")
    return answer.having("pictures", pictures=tuple(thumbnails.urls(*drawn)))


hot = (open_to_anyone("/v", page, "GET"), open_to_anyone("/v/status", status, "POST"))
"""Asked most, so without the framework's work around each request."""


# ----------------------------------------------------------------------------------------------------------- lists
@router.get(f"/.well-known/{KEYS}", dependencies=[ANYONE])
async def keys(request: Request, parts: Parts) -> Response:
    """Who may seal, for browsers."""
    return _list(request, (await _published(parts, KEYS)).body, "application/json")


@router.get(f"/.well-known/{KEYS}.p7s", dependencies=[ANYONE])
async def keys_signature(request: Request, parts: Parts) -> Response:
    """Its detached CMS, for verifiers with the legal trust list."""
    return _list(request, (await _published(parts, KEYS)).signature, "application/pkcs7-signature")


@router.get("/.well-known/qr-status/{agency}/{year}", dependencies=[ANYONE])
async def statuses(
    request: Request, parts: Parts, agency: Annotated[str, Path(max_length=64)],
    year: Annotated[int, Path(ge=2000, le=9999)],
) -> Response:  # fmt: skip
    """What became of every seal of an agency and year: fetched whole, so nobody learns which paper is checked."""
    return _list(request, (await _published(parts, f"qr-status-{agency}-{year}")).body, "application/cose")


async def _published(parts: WebParts, name: str) -> Published:
    async with parts.service.db.read() as uow:
        found = await published(uow, name)
    if found is None:
        raise NotFound("qr.no_such_list", list=name)
    return found


def _list(request: Request, body: bytes, kind: str) -> Response:
    return _tagged(request, body, kind, 5, _PUBLIC)


# --------------------------------------------------------------------------------------------------------- answers
@lru_cache(64)
def _tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:24]}"'


def _tagged(request: Request, body: bytes, kind: str, seconds: int, headers: dict[str, str] | None = None) -> Response:
    """With a strong ETag; 304 for who has these bytes."""
    tag = _tag(body)
    kept = f"public, max-age={seconds}" + (", immutable" if seconds > 86_400 else "") if seconds else "no-cache"
    told = {"etag": tag, "cache-control": kept, **(headers or {})}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=told)
    return Response(body, headers=told, media_type=kind)


def _status(parts: WebParts, found: Found | None, way: str) -> Response:
    at = parts.service.clock.now()
    recalled = None if found is None else found.recalled
    state = "invalid" if found is None else "valid" if recalled is None else "revoked"
    said: dict[str, Any] = {"state": state, "checked_at": at.isoformat(), "facts": None, "recall": None}
    if found is not None:
        said["facts"] = answers.facts_json(found)
    if recalled is not None:
        said["recall"] = {"at": recalled.at.isoformat(), "reason": recalled.reason, "successor": recalled.successor}
    _note(way, state, found)
    return JSONResponse(said, headers=_NEVER_KEPT)


def _result(parts: WebParts, answer: Answer, status_code: int = 200) -> Response:
    body = render(parts.service.settings.host, parts.service.realm, answer)
    return Response(body, status_code, headers=_NEVER_KEPT, media_type="text/html; charset=utf-8")


def _wants_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


def _note(way: str, state: str, found: Found | None) -> None:
    """For the agency's statistics: that somebody asked and what the answer was; not which paper, not who."""
    logger().info("citizen.checked", kind=way, state=state, id=found.agency_code if found else None)
