"""Calls over HTTP: a bounded pool of threads, each with one hvac adapter and one requests session of its own.

What became of a call is told apart carefully, since a signature may exist that nobody has seen: our connections note the
moment before the first byte leaves, so *not sent* and *sent, no answer* are facts and not guesses from an exception's
class. Exceptions of hvac, requests and urllib3 end here: their texts and frames may hold URLs, tokens and bodies.

A deadline is kept by the event loop, which cuts the socket; a server that trickles bytes does not hold a thread. Nothing
is retried, redirected, taken from the environment or decompressed. A caller who is cancelled frees the thread, and what was
not sent by then is never sent.

The rule of ``core.outbound`` about private addresses is not applied: the address is the operator's setting and never comes
from a document or a portal, and a key store belongs behind our own walls.
"""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Any, Final
from urllib.parse import urlencode

import requests
import urllib3
from hvac.adapters import RawAdapter
from hvac.exceptions import VaultError
from pydantic import SecretBytes, SecretStr
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from core.limits import LIMITS
from core.vault.config import Cert, VaultConfig

__all__ = ["Call", "Fate", "Reply", "Wire"]

_READS: Final = frozenset({"GET", "LIST"})
_FOREIGN: Final = (
    requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, VaultError, OSError, ValueError,
)  # fmt: skip


class Fate(StrEnum):
    """What became of a call."""

    ANSWERED = "answered"
    NOT_SENT = "not_sent"
    UNTRUSTED = "untrusted"
    """Not sent: the server's certificate does not lead to our roots."""
    CROWDED = "crowded"
    """Not sent: no thread was free in time."""
    LOST = "lost"
    """Sent, and no answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """``path`` without ``/v1/``; ``body`` is JSON, or the query where the method reads."""

    method: str
    path: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    namespace: str = ""

    @property
    def reads(self) -> bool:
        """Whether it may be repeated without asking what became of the first."""
        return self.method in _READS


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """``body`` is None where there was none, or none that could be read (then ``intact`` is false)."""

    fate: Fate
    status: int = 0
    body: dict[str, Any] | None = field(default=None, repr=False)
    intact: bool = True
    date: str = ""
    """The header's text."""


class _Job:
    """One call on its way through a thread; the loop may give it up at any time."""

    __slots__ = ("_lock", "_socket", "abandoned", "sent", "started")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.started = self.sent = self.abandoned = False

    def sending(self, where: Any) -> None:
        """Before the first byte leaves. Raises OSError where nobody waits any more."""
        with self._lock:
            if self.abandoned:
                raise ConnectionAbortedError
            self.sent = True
            self._socket = where

    def abandon(self) -> bool:
        """Nobody waits any more: the thread is freed. Whether the call was sent."""
        with self._lock:
            self.abandoned = True
            if self._socket is not None:
                with suppress(OSError):  # the plain method: the one of TLS sockets changes what the thread uses
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            return self.sent

    def over(self) -> None:
        """The connection may serve another call now."""
        with self._lock:
            self._socket = None


class _Here(threading.local):
    """What this thread is about."""

    job: _Job | None = None
    client: "_Client | None" = None


_HERE: Final = _Here()


def _note_sending(connection: HTTPConnection) -> None:
    if connection.sock is None:
        connection.connect()
    if _HERE.job is not None and not _HERE.job.sent:
        _HERE.job.sending(connection.sock)


class _Plain(HTTPConnection):
    def send(self, data: Any) -> None:
        _note_sending(self)
        super().send(data)


class _Tls(HTTPSConnection):
    def send(self, data: Any) -> None:
        _note_sending(self)
        super().send(data)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


class _Transport(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


class _Session(requests.Session):
    """What sessions do for browsers is left out: cookies, redirects, proxies, hooks, names looked up in the environment.

    It is not needed here, may do harm, and costs as much as the server's signature.
    """

    def request(  # type: ignore[override]  # hvac's adapter is the one caller, and gives just these
        self, method: str, url: str, *, headers: dict[str, str], params: Mapping[str, Any] | None, data: bytes | None,
        timeout: tuple[float, float], **_: Any,
    ) -> requests.Response:  # fmt: skip
        """``_``: what hvac repeats of the session's own settings, and ``allow_redirects``."""
        request = requests.PreparedRequest()
        request.method = method
        request.url = f"{url}?{urlencode(params)}" if params else url
        request.headers = CaseInsensitiveDict(dict(self.headers) | headers)
        request.body = data
        if data is not None:
            request.headers["Content-Length"] = str(len(data))
        return self.get_adapter(url).send(request, stream=True, timeout=timeout, verify=self.verify, cert=self.cert)


class _Client:
    """One thread's session under one hvac adapter."""

    def __init__(self, config: VaultConfig) -> None:
        self.session = _Session()
        self.session.verify = str(config.ca_file) if config.ca_file else True
        if isinstance(config.login, Cert):
            self.session.cert = (str(config.login.cert_file), str(config.login.key_file))
        self.session.headers.clear()
        self.session.headers.update({
            "User-Agent": "dauso", "Accept": "application/json", "Accept-Encoding": "identity",
        })  # fmt: skip
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, _Transport(pool_connections=1, pool_maxsize=1, max_retries=0))
        # no token in it: it is given with each call, so a new login needs no lock
        self.adapter = RawAdapter(base_uri=config.url, session=self.session, allow_redirects=False, request_header=True)
        self.used = monotonic()

    def refresh(self) -> None:
        """A connection that was idle for long may be gone without a word; then a call would be lost on it."""
        if monotonic() - self.used > LIMITS["vault.idle_seconds"]:
            self.session.close()
        self.used = monotonic()


class Wire:
    """Used from one event loop."""

    def __init__(self, config: VaultConfig) -> None:
        self._config = config
        self._pool = ThreadPoolExecutor(config.threads, thread_name_prefix="vault")
        self._clients: list[_Client] = []
        self._most = config.threads + LIMITS["vault.waiting"]
        self._under_way = 0
        self._closed = False

    async def exchange(self, call: Call, token: SecretStr | None, seconds: float) -> Reply:
        """One call, once, within ``seconds``. Raises nothing for what the network or the server does."""
        if self._closed:
            return Reply(fate=Fate.NOT_SENT)
        if self._under_way >= self._most:
            return Reply(fate=Fate.CROWDED)
        job = _Job()
        content = SecretBytes(b"" if call.body is None or call.reads else json.dumps(call.body).encode())
        future = self._pool.submit(self._run, job, call, content, token, monotonic() + seconds)
        self._under_way += 1
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if job.abandon():
                return Reply(fate=Fate.LOST)
            return Reply(fate=Fate.NOT_SENT if job.started else Fate.CROWDED)
        except asyncio.CancelledError:
            job.abandon()
            raise
        finally:
            self._under_way -= 1

    async def close(self) -> None:
        """Waits for calls under way (each has a deadline), then closes the connections."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._pool.shutdown, wait=True)
        for client in self._clients:
            client.session.close()

    # in a thread of the pool

    def _run(self, job: _Job, call: Call, content: SecretBytes, token: SecretStr | None, deadline: float) -> Reply:
        job.started = True
        left = deadline - monotonic()
        if job.abandoned or left <= 0:
            return Reply(fate=Fate.CROWDED)
        _HERE.job = job
        try:
            return self._ask(self._client(), call, content, token, deadline)
        except requests.exceptions.SSLError:
            return Reply(fate=Fate.LOST if job.sent else Fate.UNTRUSTED)
        except _FOREIGN:
            return Reply(fate=Fate.LOST if job.sent else Fate.NOT_SENT)
        finally:
            job.over()
            _HERE.job = None

    def _client(self) -> _Client:
        if _HERE.client is None:
            _HERE.client = _Client(self._config)
            self._clients.append(_HERE.client)
        _HERE.client.refresh()
        return _HERE.client

    def _ask(
        self, client: _Client, call: Call, content: SecretBytes, token: SecretStr | None, deadline: float
    ) -> Reply:
        query = dict(call.body or {}) if call.reads else {}
        if call.method == "LIST":  # the verb is not known to every proxy
            query["list"] = "true"
        data = content.get_secret_value() or None
        headers = {"Content-Type": "application/json"} if data else {}
        if token is not None:
            headers["X-Vault-Token"] = token.get_secret_value()
        if call.namespace:
            headers["X-Vault-Namespace"] = call.namespace
        left = max(deadline - monotonic(), 0.01)
        response = client.adapter.request(
            "GET" if call.method == "LIST" else call.method, f"/v1/{call.path}", headers=headers, raise_exception=False,
            params=query or None, data=data, timeout=(min(self._config.connect_seconds, left), left),
        )  # fmt: skip
        try:
            body, intact = _read(response, deadline)
        finally:
            response.close()
        date = response.headers.get("Date", "")
        return Reply(fate=Fate.ANSWERED, status=response.status_code, body=body, intact=intact, date=date)


def _read(response: requests.Response, deadline: float) -> tuple[dict[str, Any] | None, bool]:
    """The body as JSON, and whether it was whole and an object. The status counts whatever becomes of the body."""
    parts, size = [], 0
    try:
        while part := response.raw.read1(65_536, decode_content=False):
            size += len(part)
            if size > LIMITS["vault.answer_bytes"] or monotonic() > deadline:
                return None, False
            parts.append(part)
        content = b"".join(parts)
        if not content:
            return None, True
        value = json.loads(content)
    except (*_FOREIGN, RecursionError):
        return None, False
    return (value, True) if isinstance(value, dict) else (None, False)
