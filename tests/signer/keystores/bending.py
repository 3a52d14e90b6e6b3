"""A proxy between a key store and the real server that bends what passes: the faults of tests.

``with Bending(url) as proxy: proxy.bend(status(503)); …``. Bends are used up in order, each by one request to ``/sign/``
(or to what ``on`` matches); everything else passes. ``proxy.seen`` is what was asked: (method, path, body).
"""

import http.client
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

__all__ = ["Bending", "cut", "data", "late", "rows", "status"]

Answer = tuple[int, bytes]
Bend = Callable[[Callable[[], Answer]], Answer | None]
"""Given what asks the real server; None closes the connection without an answer."""


def status(code: int, *errors: str) -> Bend:
    """The server is not asked."""
    return lambda ask: (code, json.dumps({"errors": list(errors)}).encode())


def data(change: Callable[[dict[str, Any]], Any]) -> Bend:
    """The server's ``data``, changed in place or replaced by what ``change`` returns."""

    def bend(ask: Callable[[], Answer]) -> Answer:
        code, body = ask()
        told = json.loads(body)
        told["data"] = change(told["data"]) or told["data"]
        return code, json.dumps(told).encode()

    return bend


def rows(change: Callable[[list[dict[str, Any]]], Any]) -> Bend:
    """The same for the rows of a batch."""
    return data(lambda told: {"batch_results": change(told["batch_results"]) or told["batch_results"]})


def cut() -> Bend:
    """The signature is made, its answer lost."""

    def bend(ask: Callable[[], Answer]) -> None:
        ask()

    return bend


def late(seconds: float) -> Bend:
    """The signature is made, its answer comes late."""

    def bend(ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        time.sleep(seconds)
        return answer

    return bend


class Bending:
    """One proxy, one real server behind it."""

    def __init__(self, url: str) -> None:
        self._real = urlsplit(url).netloc
        self._bends: list[tuple[re.Pattern[str], Bend]] = []
        self._turn = threading.Lock()
        self.seen: list[tuple[str, str, Any]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def pass_on(self) -> None:
                proxy._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        for method in ("GET", "POST", "PUT", "DELETE", "LIST", "PATCH"):
            setattr(Handler, f"do_{method}", Handler.pass_on)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def bend(self, *bends: Bend, on: str = "/sign/") -> None:
        """Each for one request whose path matches."""
        self._bends += [(re.compile(on), one) for one in bends]

    def calls(self, on: str = "/sign/") -> list[tuple[str, str, Any]]:
        """What was asked so far."""
        return [one for one in self.seen if re.search(on, one[1])]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

        def ask() -> Answer:
            connection = http.client.HTTPConnection(self._real, timeout=30)
            try:
                keep = {k: v for k, v in handler.headers.items() if k.lower() not in {"host", "connection"}}
                connection.request(handler.command, handler.path, body or None, keep)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        with self._turn:
            self.seen.append((handler.command, handler.path, json.loads(body) if body else None))
            place = next((n for n, (on, _) in enumerate(self._bends) if on.search(handler.path)), None)
            bend = self._bends.pop(place)[1] if place is not None else None
        answer = bend(ask) if bend else ask()
        if answer is None:
            handler.close_connection = True
            handler.connection.close()
            return
        code, content = answer
        try:
            handler.send_response(code)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)
        except OSError:  # whoever asked has gone
            handler.close_connection = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
