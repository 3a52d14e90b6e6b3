"""The gate in front of every door: who is answered at all, how much may come in, and what every answer carries.

Pure ASGI, because it counts bytes as they arrive. In order: request id · host · URL and header size · pace · body size
and time · the application · security headers · metrics and access log (route templates, never paths or codes).
"""

import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import SpanKind
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.web.metrics import Metrics
from api.web.pace import Pace
from api.web.problems import language_of, on_error, problem
from core.clock import Clock
from core.errors import BadInput, Refused, ServiceError, Unavailable
from core.ids import new_id
from core.limits import LIMITS
from core.logs import logger

__all__ = ["Gate"]

_CSP: Final = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _CSP.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), geolocation=(), microphone=(), payment=()"),
)
_HSTS: Final = (b"strict-transport-security", b"max-age=63072000; includeSubDomains; preload")
_PACED: Final = (
    ("POST", "/v/file", "file"), ("POST", "/v", "check"), ("POST", "/oauth2/", "token"), ("POST", "/mcp", "check"),
    ("POST", "/s/", "sign"), ("POST", "/e/", "sign"),
    ("POST", "/desk/login", "desk"), ("POST", "/desk/unlock", "desk"), ("POST", "/desk/register", "desk"),
    ("GET", "/desk/copies/", "picture"), ("POST", "/training", "training"),
)  # fmt: skip
_FILES: Final = re.compile(
    r"^(/v/file|/desk/(new|admin/seal-image)|/api/v1/(copies|files|verifications(/report)?|uploads/[0-9a-z]+))$"
)
"""Where the body is a file, or a form with files in it."""
_LISTS: Final = re.compile(r"^/api/v1/batches$")
_REQUEST_ID: Final = re.compile(rb"^[A-Za-z0-9._-]{8,64}$")
_OPEN: Final = frozenset({"/healthz", "/readyz"})
"""Asked by load balancers under any name."""


Known = Callable[[Scope], Awaitable[str | None]]
"""Names the link or session that a request carries, once it was found among ours; None for a stranger's."""


@dataclass(slots=True, kw_only=True)
class _Passing:
    """One request on its way."""

    scope: Scope
    reference: str
    started: float
    status: int = 0
    most: int = 0
    got: int = 0
    deadline: float = field(default=0.0)


class Gate:
    """Wraps the application."""

    def __init__(
        self, app: ASGIApp, *, hosts: frozenset[str], secure: bool, pace: Pace, metrics: Metrics, clock: Clock,
        traces: bool = False, known: Known | None = None,
    ) -> None:  # fmt: skip
        """``secure``: the public address is https, so browsers may be told never to come otherwise."""
        self._known = known
        self._app, self._hosts, self._pace, self._metrics, self._clock = app, hosts, pace, metrics, clock
        self._traces = traces
        self._mine, self._count = new_id(clock), itertools.count(1)
        self._extra = (*_HEADERS, _HSTS) if secure else _HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = [v for k, v in scope["headers"] if k == b"x-request-id"]
        reference = (
            given[0].decode() if given and _REQUEST_ID.match(given[0]) else f"{self._mine}{next(self._count):08x}"
        )
        scope["dauso.request_id"] = reference
        passing = _Passing(scope=scope, reference=reference, started=time.monotonic())
        self._metrics.under_way.inc()
        try:
            await self._pass(passing, receive, send)
        finally:
            self._metrics.under_way.dec()
            self._note(passing)

    async def _pass(self, passing: _Passing, receive: Receive, send: Send) -> None:
        scope = passing.scope

        async def counted() -> Message:
            return await self._received(passing, receive)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                passing.status = message["status"]
                self._dress(passing, message)
            await send(message)

        try:
            await self._admit(passing)
            await (self._traced(passing, counted, dressed) if self._traces else self._app(scope, counted, dressed))
        except ServiceError as error:
            self._metrics.refused.labels(error.code).inc()
            if passing.status == 0:
                answer = await on_error(Request(scope), error)
                if _is_page(scope):
                    answer = PlainTextResponse(
                        f"{error.say('vi')}\n\n{error.say('en')}\n", answer.status_code, _kept(answer)
                    )
                await answer(scope, receive, dressed)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw says nothing about itself to the outside
            logger().error("request.broken", id=passing.reference, error=type(error).__name__)
            if passing.status == 0:
                answer = problem("web.failed", 500, language_of(Request(scope)), passing.reference)
                await answer(scope, receive, dressed)

    async def _traced(self, passing: _Passing, receive: Receive, send: Send) -> None:
        with _tracer.start_as_current_span("request", kind=SpanKind.SERVER) as span:
            await self._app(passing.scope, receive, send)
            span.update_name(f"{passing.scope['method']} {_route(passing.scope)}")
            span.set_attribute("http.response.status_code", passing.status)

    async def _admit(self, passing: _Passing) -> None:
        """Raises ``web.wrong_host``, ``web.url_too_long``, ``web.headers_too_large``, ``web.too_large``, ``web.too_many``."""
        scope = passing.scope
        path, headers = scope["path"], scope["headers"]
        if (
            len(headers) > LIMITS["web.headers"]
            or sum(len(k) + len(v) for k, v in headers) > LIMITS["web.header_bytes"]
        ):
            raise Refused("web.headers_too_large")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LIMITS["web.url_bytes"]:
            raise BadInput("web.url_too_long")
        if path in _OPEN:
            return
        named = [v for k, v in headers if k == b"host"]
        host = named[0].decode("latin-1").lower() if len(named) == 1 else ""
        if re.sub(r":\d{1,5}$", "", host) not in self._hosts:
            raise Refused("web.wrong_host")
        _require_one_length(headers)
        passing.most = LIMITS[_size_row(scope)]
        passing.deadline = passing.started + LIMITS["web.body_seconds"]
        said = [v for k, v in headers if k == b"content-length"]
        if said and int(said[0]) > passing.most:
            raise BadInput("web.too_large", most=passing.most)
        if path.startswith("/api/"):  # portals are counted by client, once they have shown who they are
            return
        kind = next((k for m, p, k in _PACED if scope["method"] == m and path.startswith(p)), "public")
        address = scope["client"][0] if scope.get("client") else ""
        self._pace.address(address, kind)
        if kind != "public":
            await self._in_total(scope, kind)

    async def _in_total(self, scope: Scope, kind: str) -> None:
        """Everybody counts in the total. Only where it is full is it asked, at the price of one look, whom we know already."""
        try:
            self._pace.total(kind)
        except Refused:
            who = None if self._known is None else await self._known(scope)
            if who is None:
                raise
            self._pace.known(kind, who)

    async def _received(self, passing: _Passing, receive: Receive) -> Message:
        wait = max(0.001, passing.deadline - time.monotonic()) if passing.deadline else None
        if passing.status:  # the body is read; what comes now is only the news that the caller has gone
            wait = None
        try:
            message = await asyncio.wait_for(receive(), wait)
        except TimeoutError:
            raise Unavailable("web.too_slow") from None
        if message["type"] == "http.request":
            passing.got += len(message.get("body", b""))
            if passing.most and passing.got > passing.most:
                raise BadInput("web.too_large", most=passing.most)
            if not message.get("more_body", False):
                passing.deadline = 0.0
        return message

    def _dress(self, passing: _Passing, message: MutableMapping[str, Any]) -> None:
        headers = list(message.get("headers", ()))
        own = {k.lower() for k, _ in headers}
        headers += [(k, v) for k, v in self._extra if k not in own]
        headers.append((b"x-request-id", passing.reference.encode()))
        pace = passing.scope.get("state", {}).get("pace")
        if pace is not None:
            headers.append((b"ratelimit-limit", str(pace[0]).encode()))
            headers.append((b"ratelimit-remaining", str(pace[1]).encode()))
        message["headers"] = headers

    def _note(self, passing: _Passing) -> None:
        name = _route(passing.scope)
        seconds = time.monotonic() - passing.started
        status = passing.status or 499
        method = passing.scope["method"] if passing.scope["method"] in _METHODS else "other"
        self._metrics.answered(method, name, status, seconds)
        logger().info("request", id=passing.reference, kind=f"{method} {name}", state=status, ms=round(seconds * 1000))


def _size_row(scope: Scope) -> str:
    if scope["method"] not in {"POST", "PATCH"}:
        return "web.body_bytes"
    if _FILES.match(scope["path"]):
        return "web.file_bytes"
    return "web.list_bytes" if _LISTS.match(scope["path"]) else "web.body_bytes"


def _is_page(scope: Scope) -> bool:
    """A person is looking at this in a browser, and no script reads it."""
    accept = next((v for k, v in scope["headers"] if k == b"accept"), b"")
    return bool(scope["path"].startswith(("/v", "/s/", "/e/", "/desk", "/training")) and b"text/html" in accept)


def _kept(answer: Response) -> dict[str, str]:
    return {k: v for k, v in answer.headers.items() if k in {"retry-after", "cache-control", "content-language"}}


def _route(scope: Scope) -> str:
    """The template; a path may hold an id."""
    return str(getattr(scope.get("route"), "path", "-"))


_tracer: Final = trace.get_tracer("dauso.web")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _require_one_length(headers: list[tuple[bytes, bytes]]) -> None:
    """Two ways to say how long a body is, is how requests are smuggled (RFC 9112 §6.3)."""
    lengths = [v for k, v in headers if k == b"content-length"]
    coded = any(k == b"transfer-encoding" for k, _ in headers)
    if len(lengths) > 1 or (lengths and coded) or any(not v.isdigit() for v in lengths):
        raise BadInput("web.unreadable")
