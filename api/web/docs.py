"""``/openapi.json`` and ``/docs``: what portals and programs may ask, for generators, testers and people.

The routes say most of it; here is what holds for all of them: who may call, what the gate and the access check may
answer, which headers come along. The first sentence of an operation is Vietnamese, in the catalogue under ``api.<id>``.
"""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from api.clients.model import Scope
from api.portal.idempotency import IdempotentRoute
from api.portal.schemas import CopyForm, CopyIn
from api.web.access import ANYONE, Access
from api.web.parts import Parts, WebParts
from api.web.problems import MEDIA_TYPE
from api.web.shell import build
from core.messages import sentence
from core.values import Realm

__all__ = ["access_of", "document", "operations", "router"]

router = APIRouter(include_in_schema=False)
_SCHEMAS: Final = "#/components/schemas/{model}"


class Wrong(BaseModel):
    """One member that was refused; never its value."""

    at: str
    why: str


class Problem(BaseModel):
    """RFC 9457. ``code`` is stable; ``title`` speaks the language asked for, the other one stands beside it."""

    model_config = ConfigDict(extra="allow")
    type: Annotated[str, Field(pattern="^urn:dauso:error:")]
    title: str
    title_vi: str | None = None
    title_en: str | None = None
    status: int
    code: str
    instance: Annotated[str, Field(description="Names this answer in the service's logs.")]
    errors: list[Wrong] = []


_BYTES: Final = {"type": "string", "format": "binary", "minLength": 1}
_BODIES: Final[dict[str, Any]] = {
    "Bytes": {**_BYTES, "description": "A whole file."},
    "Piece": {"type": "string", "format": "binary", "description": "The next bytes of a file."},
    "FileForm": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": _BYTES},
        "description": "A file in a form.",
    },
}
"""Bodies without a model, by the names that generated clients give them."""


# --------------------------------------------------------------------------------------------------------- headers
def _header(text: str, **more: Any) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}, **more}


_REFERENCE: Final = {"X-Request-Id": _header("Names this answer in the service's logs.", required=True)}
_WAIT: Final = {"Retry-After": _header("Seconds to wait.", required=True, schema={"type": "integer"})}
_PACE: Final = {
    "RateLimit-Limit": _header("Requests a minute.", schema={"type": "integer"}),
    "RateLimit-Remaining": _header("How many are left.", schema={"type": "integer"}),
}
_TAG: Final = {"ETag": _header("For If-None-Match.", required=True)}
_REPLAYED: Final = {
    "Idempotency-Replayed": _header("`true`: the answer of the first request with this key.", schema={"const": "true"})
}
_IF_NONE_MATCH: Final = {
    "name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"},
    "description": "Entity tags that the caller has; 304 where one of them still holds.",
}  # fmt: skip
_KEY: Final = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "One key for one piece of work: sent again within seven days it is done once and answered alike.",
}  # fmt: skip
_LANGUAGE: Final = {
    "name": "Accept-Language", "in": "header", "required": False, "schema": {"type": "string", "examples": ["en"]},
    "description": "Language of `title` in problems: `vi` (default) or `en`.",
}  # fmt: skip

# -------------------------------------------------------------------------------------------------------- problems
_PROBLEMS: Final[dict[int, tuple[str, dict[str, Any]]]] = {
    400: ("The request cannot be read, or its parts do not go together.", {}),
    401: ("No credentials, or wrong ones.", {"WWW-Authenticate": _header("What to send.", required=True)}),
    403: ("Known, and not allowed: no scope, or nobody at the agency is entitled.", {}),
    404: ("There is no such thing, or it is not the caller's.", {}),
    408: ("The request came too slowly.", {}),
    409: ("Not in this state, or the first request with this key still runs.", {}),
    413: ("Too large.", {}),
    414: ("The address is too long.", {}),
    415: ("Another media type than those listed.", {}),
    421: ("This host is not served here.", {}),
    422: ("A member or parameter breaks its schema, or the Idempotency-Key was used for another request.", {}),
    429: ("Too many requests; wait as told.", _WAIT),
    431: ("The headers are too large.", {}),
    503: ("Part of the service is away; nothing is lost, try again with the same Idempotency-Key.", _WAIT),
    507: ("The store of documents is full.", {}),
}
_DONE: Final = {"200": "Done.", "201": "Made.", "202": "Taken in; the work goes on.", "204": "Done."}
_ALWAYS: Final = (400, 408, 414, 421, 429, 431, 503)
_NAMING: Final = frozenset({
    "create_copy", "create_batch", "create_enrolment", "create_signature_request", "send_file",
})  # fmt: skip
"""Operations whose body names things that may not be there."""
_STORING: Final = frozenset({"create_copy", "send_file", "begin_upload", "continue_upload"})


def access_of(route: Any) -> Access | None:
    """Who may open a route; None where it does not say so, or says it twice."""
    plain = getattr(route, "access", None)
    declared = [d.call for d in getattr(getattr(route, "dependant", None), "dependencies", ())]
    found = [each for each in (plain, *declared) if isinstance(each, Access)]
    return found[0] if len(found) == 1 else None


def operations(app: FastAPI) -> Iterator[RouteContext]:
    """Routes that the document describes."""
    for each in iter_route_contexts(app.routes):
        if isinstance(each.original_route, APIRoute) and each.include_in_schema:
            yield each


def document(app: FastAPI, base_url: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    made: dict[str, Any] = get_openapi(
        title=f"{sentence('api.title', 'vi')} / {sentence('api.title', 'en')}", version=app.version,
        openapi_version="3.1.0", routes=app.routes, servers=[{"url": base_url}],
        description=f"{sentence('api.about', 'vi')}\n\n{sentence('api.about', 'en')}",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )  # fmt: skip
    for route in operations(app):
        for method in sorted(route.methods or ()):
            _complete(made["paths"][route.path_format][method.lower()], route, method)
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):  # the framework's own form of 422, which we do not send
        schemas.pop(unused, None)
    more = models_json_schema([(m, "validation") for m in (CopyIn, CopyForm, Problem)], ref_template=_SCHEMAS)[1]
    schemas.update(more["$defs"])
    schemas.update(_BODIES)
    made["components"] |= {
        "responses": {f"Problem{status}": _problem(text, headers) for status, (text, headers) in _PROBLEMS.items()},
        "securitySchemes": _security(base_url),
    }
    return made


def _problem(text: str, headers: dict[str, Any]) -> dict[str, Any]:
    schema = {"$ref": _SCHEMAS.format(model="Problem")}
    return {"description": text, "headers": {**_REFERENCE, **headers}, "content": {MEDIA_TYPE: {"schema": schema}}}


def _security(base_url: str) -> dict[str, Any]:
    scopes = {scope.value: sentence(f"api.scope.{scope.name.lower()}", "en") for scope in Scope}
    flow = {"tokenUrl": f"{base_url}/oauth2/token", "scopes": scopes}
    return {
        "apiKey": {"type": "http", "scheme": "bearer", "description": "The client's API key `dauso_…`."},
        "oauth2": {"type": "oauth2", "description": "Tokens for ten minutes.", "flows": {"clientCredentials": flow}},
    }


def _complete(operation: dict[str, Any], route: RouteContext, method: str) -> None:
    """What routes do not say themselves."""
    name, access = str(route.name), access_of(route)
    once = method == "POST" and isinstance(route.original_route, IdempotentRoute)
    text = operation.get("description", "")
    operation["operationId"] = name
    operation["summary"] = f"{sentence(f'api.{name}', 'vi')} / {sentence(f'api.{name}', 'en')}"
    operation["security"] = []
    scope = None
    if access is not None and access.who == "client":
        scope = [each.value for each in (access.scope, access.or_scope) if each is not None]
        operation["security"] = (
            [{"apiKey": []}, *({"oauth2": [each]} for each in scope)] if scope else [{"apiKey": []}, {"oauth2": []}]
        )
        if scope:
            text += f"\n\nScope: {' or '.join(f'`{each}`' for each in scope)}."
    operation["description"] = text
    parameters = operation.setdefault("parameters", [])
    parameters += [_KEY] * once + [_IF_NONE_MATCH] * ("304" in operation["responses"]) + [_LANGUAGE]
    _say_headers(operation["responses"], once=once, paced=scope is not None)
    for status in _statuses(operation, route, scope is not None, once):
        if (own := operation["responses"].get(str(status))) is None:
            operation["responses"][str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
        else:  # a protocol's own words for it, beside ours
            own["description"] = _PROBLEMS[status][0]
            own["content"] |= _problem(*_PROBLEMS[status])["content"]


def _say_headers(responses: dict[str, Any], *, once: bool, paced: bool) -> None:
    tagged = "304" in responses
    responses.pop("422", None)
    for status, each in responses.items():
        more = {**_REFERENCE, **(_PACE if paced else {}), **(_REPLAYED if once else {})}
        if tagged and status in {"200", "304"}:
            more |= _TAG
        each["description"] = _DONE.get(status, each["description"])
        each["headers"] = {**each.get("headers", {}), **more}


def _statuses(operation: dict[str, Any], route: RouteContext, client: bool, once: bool) -> list[int]:
    """The problems that this operation may answer with."""
    found = set(_ALWAYS)
    named = {p["name"] for p in operation["parameters"]}
    if client:
        found |= {401, 403}
    if once:
        found |= {409, 422}
    if "requestBody" in operation:
        found |= {413, 415, 422}
    if named - {"If-None-Match", "Accept-Language"}:
        found.add(422)
    if "{" in str(route.path_format) or "agency" in named or route.name in _NAMING:
        found.add(404)
    if str(route.path_format).endswith(("/file", "/receipt")):
        found.add(409)
    if route.name in _STORING:
        found |= {413, 507}
    if route.name == "create_token":
        found = (found | {401}) - {422}
    return sorted(found)


# ---------------------------------------------------------------------------------------------------------- routes
def _made(request: Request, parts: WebParts) -> tuple[bytes, bytes]:
    """The document and its page; made at the first question, then the same for the life of the process."""
    state = request.app.state
    if not hasattr(state, "documents"):
        found = document(request.app, parts.base_url)
        page = parts.templates.get_template("docs.html").render(
            operations=list(_shown(found)), server=parts.base_url, static=f"/v/static/{build()}", plain=sentence,
            training=parts.service.realm is Realm.TRAINING,
        )  # fmt: skip
        state.documents = (json.dumps(found, ensure_ascii=False).encode(), page.encode())
    made: tuple[bytes, bytes] = state.documents
    return made


def _shown(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Operations as the page has them."""
    for path, methods in found["paths"].items():
        for method, each in methods.items():
            text, _, scope = each["description"].partition("\n\nScope: ")
            yield {
                "operationId": each["operationId"], "method": method.upper(), "path": path, "text": text.replace("``", ""),
                "scope": scope.strip("`."), "bodies": list(each.get("requestBody", {}).get("content", ())),
                "statuses": sorted(each["responses"]),
                "parameters": [{"description": "", **p} for p in each["parameters"]],
            }  # fmt: skip


@router.get("/openapi.json", dependencies=[ANYONE])
async def openapi(request: Request, parts: Parts) -> Response:
    """For generators and tools."""
    headers = {"cache-control": "public, max-age=300"}
    return Response(_made(request, parts)[0], headers=headers, media_type="application/json")


@router.get("/docs", dependencies=[ANYONE])
async def page(request: Request, parts: Parts) -> Response:
    """The same for people, without a script."""
    headers = {"cache-control": "public, max-age=300"}
    return Response(_made(request, parts)[1], headers=headers, media_type="text/html; charset=utf-8")
