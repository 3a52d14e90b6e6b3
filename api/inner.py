"""The inner door: how the web process asks the signer, over a Unix socket that only this account may open.

A question has a name, a few words (JSON in a header) and a raw body, small unless its name is in ``_MOST``; what needs a
person's approval is never asked here. Errors come back as themselves. ``wake`` says "look at the tables now", so nobody waits for a polling interval.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core import errors
from core.errors import BadInput, Broken, ServiceError, Unavailable
from core.limits import LIMITS
from core.logs import logger

__all__ = ["Handler", "SignerDoor", "inner_app", "make_run_folder", "make_socket_folder"]

Handler = Callable[[Mapping[str, Any], bytes], Awaitable[bytes]]
"""``(words, body)`` → the answer's bytes."""

_SMALL = 256 * 1024
_MOST = {"report": LIMITS["verify.bytes"]}
"""Largest body in bytes where it is not ``_SMALL``. So large a one waits for its turn before it is read at all."""
_SECONDS = {"report": LIMITS["report.seconds"], "request.create": LIMITS["request.create_seconds"]}
"""How long an answer may take where it is not the door's own time."""
_WORDS = "dauso-words"
_CLASSES = {name: getattr(errors, name) for name in errors.__all__}


class SignerDoor:
    """The web's side."""

    def __init__(self, socket: Path, seconds: float = LIMITS["web.wait_seconds"] + 5.0) -> None:
        transport = httpx2.AsyncHTTPTransport(uds=str(socket))
        self._client = httpx2.AsyncClient(transport=transport, base_url="http://signer")
        self._seconds = seconds
        self._room = asyncio.Semaphore(LIMITS["web.waiting"])

    async def ask(self, what: str, body: bytes = b"", **words: Any) -> bytes:
        """Raises ``signer.unreachable`` and whatever the signer says."""
        asked = {_WORDS: json.dumps(words)}  # ASCII, without line ends: what a header may hold
        seconds = _SECONDS.get(what, self._seconds)
        try:
            answer = await self._client.post(f"/{what}", content=body, headers=asked, timeout=seconds)
        except (httpx2.HTTPError, OSError) as error:
            raise Unavailable("signer.unreachable") from error
        if answer.status_code == 200:
            return answer.content
        try:
            said = answer.json()
            raise _CLASSES[said["class"]](said["code"], **said["evidence"])
        except (ValueError, KeyError, TypeError) as error:
            raise Broken("signer.unreadable") from error

    async def wake(self) -> bool:
        """Never fails: a signer that is away looks at the tables when it comes back."""
        try:
            await self.ask("wake")
        except ServiceError:
            return False
        return True

    async def rest(self, copy_id: str, seconds: float) -> None:
        """Returns when a copy rests or the time is up. A signer that is away is asked again: what waits for it is safe.

        Where too many wait already it returns at once: a recall or a status answer must still get through.
        """
        if self._room.locked():
            return
        async with self._room:
            await self._rest(copy_id, seconds)

    async def _rest(self, copy_id: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                await self.ask("rest", copy=copy_id, seconds=left)
            except Unavailable:
                await asyncio.sleep(min(0.25, left))
            else:
                return

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()


def inner_app(handlers: Mapping[str, Handler]) -> Starlette:
    """The signer's side: one route, the table of what may be asked."""
    turns = {what: asyncio.Semaphore(LIMITS["report.at_once"]) for what in _MOST}

    async def answer(request: Request) -> Response:
        what = request.path_params["what"]
        handler = handlers.get(what)
        if handler is None:
            return _error(Broken("signer.unknown_question"))
        try:
            async with turns.get(what, contextlib.nullcontext()):
                body = await _body(request, _MOST.get(what, _SMALL))
                return Response(await handler(json.loads(request.headers[_WORDS]), body))
        except ServiceError as error:
            return _error(error)
        except Exception as error:  # noqa: BLE001 - a question must not end the signer
            logger().error("inner.failed", error=type(error).__name__, kind=what)
            return _error(Broken("web.failed"))

    return Starlette(routes=[Route("/{what}", answer, methods=["POST"])])


async def _body(request: Request, most: int) -> bytes:
    """No more than ``most`` is ever held. Raises ``web.too_large``."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise BadInput("web.too_large", most=most)
    return bytes(body)


def _error(error: ServiceError) -> Response:
    return JSONResponse({"class": type(error).__name__, "code": error.code, "evidence": error.plain()}, 500)


def make_run_folder(socket: Path) -> None:
    """Only this account looks in."""
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)


def make_socket_folder(socket: Path) -> None:
    """What a dead process left is taken away."""
    make_run_folder(socket)
    if socket.exists() and not _answers(socket):
        socket.unlink()


def _answers(socket: Path) -> bool:
    import socket as sockets  # noqa: PLC0415

    with sockets.socket(sockets.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(socket))
        except OSError:
            return False
    return True
