"""Errors at the HTTP doors: problem+json (RFC 9457) with our stable codes. Only this file knows status numbers."""

from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from core.errors import BadInput, Broken, Conflict, NotFound, Refused, ServiceError, Unavailable
from core.logs import logger
from core.messages import LANGUAGES, sentence

__all__ = ["MEDIA_TYPE", "language_of", "on_broken", "on_error", "on_http", "on_invalid", "problem", "status_of"]

MEDIA_TYPE = "application/problem+json"
_BY_CLASS: Final[dict[type[ServiceError], int]] = {
    BadInput: 400, Refused: 403, NotFound: 404, Conflict: 409, Unavailable: 503, Broken: 500,
}  # fmt: skip
_BY_CODE: Final[dict[str, int]] = {
    "web.no_credentials": 401, "web.bad_credentials": 401, "oauth.invalid_client": 401,
    "web.wrong_host": 421, "web.too_large": 413, "web.url_too_long": 414, "web.headers_too_large": 431,
    "web.too_many": 429, "upload.too_much": 429, "web.too_slow": 408, "web.invalid": 422, "web.method": 405, "web.wrong_type": 415,
    "web.not_modified_since": 412, "idempotency.other_body": 422, "recall.too_many": 429,
    "intake.too_large": 413, "intake.too_many_bytes": 413, "store.full": 507,
}  # fmt: skip
_OAUTH = {"oauth.invalid_client": "invalid_client", "oauth.invalid_scope": "invalid_scope",
          "oauth.unsupported_grant_type": "unsupported_grant_type"}  # fmt: skip


def status_of(error: ServiceError) -> int:
    """The HTTP status."""
    return _BY_CODE.get(error.code) or next(s for c, s in _BY_CLASS.items() if isinstance(error, c))


def language_of(request: Request) -> str:
    """``vi`` unless English is asked for first (Accept-Language, RFC 9110 §12.5.4)."""
    best, weight = LANGUAGES[0], 0.0
    for part in request.headers.get("accept-language", "")[:200].split(","):
        name, _, q = part.strip().partition(";q=")
        try:
            value = float(q) if q else 1.0
        except ValueError:
            continue
        if value > weight and name[:2].lower() in LANGUAGES:
            best, weight = name[:2].lower(), value
    return best


def problem(
    code: str, status: int, language: str, reference: str, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """One problem; ``more`` are evidence for the sentence and members of the answer."""
    evidence = more.pop("evidence", {})
    other = LANGUAGES[1 - LANGUAGES.index(language)]
    body = {
        "type": f"urn:dauso:error:{code}", "title": sentence(code, language, **evidence), "status": status, "code": code,
        f"title_{other}": sentence(code, other, **evidence), "instance": f"urn:dauso:request:{reference}", **more,
    }  # fmt: skip
    answer = JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)
    answer.headers["content-language"] = language
    answer.headers["cache-control"] = "no-store"
    return answer


def _reference(request: Request) -> str:
    return str(request.scope.get("dauso.request_id", "-"))


async def on_error(request: Request, error: Exception) -> Response:
    """One of ours."""
    assert isinstance(error, ServiceError)
    status = status_of(error)
    if status >= 500:
        logger().warning("request.failed", id=_reference(request), code=error.code)
    headers = {}
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="dauso"'
    if status == 503:
        headers["retry-after"] = "2"
    if "retry_after" in error.evidence:
        headers["retry-after"] = str(error.evidence["retry_after"])
    more: dict[str, Any] = {"evidence": error.evidence}
    if error.code in _OAUTH:
        more |= {"error": _OAUTH[error.code], "error_description": sentence(error.code, "en")}  # RFC 6749 §5.2
        status = 401 if error.code == "oauth.invalid_client" else 400
    return problem(error.code, status, language_of(request), _reference(request), headers, **more)


async def on_broken(request: Request, _: Exception) -> Response:
    """What nobody foresaw: it says nothing about itself; the gate writes it down."""
    return problem("web.failed", 500, language_of(request), _reference(request))


async def on_invalid(request: Request, error: Exception) -> Response:
    """What the schema refused: where and why, never the value itself."""
    assert isinstance(error, RequestValidationError)
    where = [{"at": ".".join(map(str, e["loc"])), "why": e["type"]} for e in error.errors()[:20]]
    return problem("web.invalid", 422, language_of(request), _reference(request), errors=where)


def _methods(request: Request) -> set[str]:
    """All methods of a path; the framework names those of the first route alone (RFC 9110 §15.5.6)."""
    path = request.scope["path"]
    routes = iter_route_contexts(request.app.routes)
    return {m for r in routes if r.path_regex.match(path) for m in r.methods or ()}


async def on_http(request: Request, error: Exception) -> Response:
    """What the framework says by itself: no such route, no such method, an unreadable body."""
    assert isinstance(error, HTTPException)
    code = {404: "web.no_such_thing", 405: "web.method", 413: "web.too_large"}.get(error.status_code, "web.unreadable")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["allow"] = ", ".join(sorted(_methods(request)))
    return problem(code, error.status_code, language_of(request), _reference(request), headers)
