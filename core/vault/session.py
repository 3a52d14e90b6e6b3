"""The one session with OpenBao or Vault: login, renewal, repetitions, breaker. Used by key stores, PKI and audit."""

import asyncio
import datetime as dt
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, Final

from pydantic import SecretStr

from core.clock import Clock, SystemClock
from core.errors import BadInput, Refused, ServiceError, Unavailable
from core.ids import random_bytes
from core.limits import LIMITS
from core.logs import code_of, logger
from core.vault.answers import Answer, answer_of, may_be_repeated
from core.vault.breaker import Breaker
from core.vault.capabilities import UNKNOWN, Capabilities, capabilities_of
from core.vault.config import VaultConfig
from core.vault.logins import Entrance, Lease
from core.vault.wire import Call, Fate, Reply, Wire

__all__ = ["Vault", "VaultHealth"]

_METHODS: Final = frozenset({"GET", "LIST", "POST", "PUT", "PATCH", "DELETE"})
_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+~-]*(/[A-Za-z0-9_][A-Za-z0-9_.:@+~-]*)*/?", re.ASCII)
_RENEW_AT: Final = 2 / 3
_STATES: Final = {429: "standby", 472: "standby", 473: "standby", 501: "sealed", 503: "sealed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultHealth:
    """How the store does, asked now."""

    state: str
    """``open``, ``standby`` (answers too, in part through the active node), ``sealed`` (or not set up), ``unreachable``, ``denied``."""
    version: str
    clock_skew_seconds: float | None
    """The server's clock minus ours, from a header in whole seconds: ± 0.5 s and half the way."""
    token_seconds_left: float | None
    """None where there is no token, or one without end."""
    code: str = ""
    """The error behind a bad state."""


class Vault:
    """Used from one event loop. Shows nothing secret in ``repr``, logs and errors."""

    def __init__(self, config: VaultConfig, *, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._wire = Wire(config)
        self._breaker = Breaker(monotonic)
        self._entrance = Entrance(config, self._send)
        self._lease: Lease | None = None
        self._entering: asyncio.Task[Lease] | None = None
        self._caretaker: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._capabilities = UNKNOWN
        self._refusal: ServiceError | None = None
        self._refused_until = 0.0
        self._futile_until = 0.0
        self._closed = False

    def __repr__(self) -> str:
        return f"Vault({self._config.host!r})"

    async def start(self) -> None:
        """Log in and keep the token fresh. May be called again.

        Raises as ``call``; after that the object is usable all the same: it goes on trying, and each call logs in when
        it must. Raises ``vault.not_configured`` for a file that is not there.
        """
        if self._config.ca_file and not self._config.ca_file.is_file():
            raise BadInput("vault.not_configured", what="vault_ca_file")
        if self._caretaker is None:
            self._caretaker = asyncio.create_task(self._take_care())
        await self._current()

    async def close(self) -> None:
        """Give the token back where it is ours, end the tasks, close the connections."""
        if self._closed:
            return
        self._closed = True
        for task in (self._caretaker, self._entering):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, ServiceError):
                    await task
        if self._lease is not None and self._lease.ours and not self._breaker.is_open:
            call = Call(method="POST", path="auth/token/revoke-self", body={}, namespace=self._config.namespace)
            await self._wire.exchange(call, self._lease.token, self._config.connect_seconds)
        self._lease = None
        await self._wire.close()

    @property
    def capabilities(self) -> Capabilities:
        """The subset all share until the store has answered once."""
        return self._capabilities

    @property
    def logins(self) -> int:
        """How many times this object has logged in."""
        return self._lease.generation if self._lease else 0

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, namespace: str | None = None, tries: int = 2,
        seconds: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """The answer's ``data``, {} where there is none. Arguments and errors as ``ask``."""
        return (await self.ask(method, path, body, namespace=namespace, tries=tries, seconds=seconds)).data

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, namespace: str | None = None, tries: int = 2,
        seconds: float | None = None,
    ) -> Answer:  # fmt: skip
        """Carry out ``method`` (GET, LIST, POST, PUT, PATCH, DELETE) on ``path``, which has no ``/v1/``.

        ``body``: JSON; the query for GET and LIST, so no secret there. ``namespace``: the whole path of another than the
        configured one. ``tries``: repetitions after the first, where one is harmless. ``seconds``: for all of it, but for logging in.

        Raises, where nothing was done: ``vault.unreachable``, ``vault.untrusted`` (its certificate), ``vault.sealed``,
        ``vault.busy``, ``vault.redirected``, ``vault.bad_answer`` (of a reading call); ``vault.denied`` (after one new
        login), ``vault.login_failed``, ``vault.wrapped_twice``, ``vault.wrong_wrapping``; ``vault.missing``;
        ``vault.bad_request``. And ``vault.outcome_unknown``: it was sent, and nobody knows what became of it.
        """
        if method not in _METHODS or not _PATH.fullmatch(path) or len(path) > 1_000:
            raise BadInput("vault.bad_request", status=0)
        call = Call(
            method=method, path=path, body=body, namespace=self._config.namespace if namespace is None else namespace
        )
        lease = await self._current()
        deadline = monotonic() + (seconds or self._config.total_seconds)
        reply = await self._attempts(call, lease.token, tries, deadline)
        if _is_denial(reply):
            reply = await self._once_more(call, lease, reply, tries, deadline)
        return answer_of(call, reply, self._config.host)

    async def health(self) -> VaultHealth:
        """Asked now, past the breaker; never raises."""
        before = self._clock.now()
        reply = await self._look()
        skew = _skew(reply.date, before, self._clock.now())
        state, code = "open", ""
        if reply.fate is not Fate.ANSWERED:
            state, code = "unreachable", f"vault.{'untrusted' if reply.fate is Fate.UNTRUSTED else 'unreachable'}"
        elif reply.status != 200:
            state = _STATES.get(reply.status, "unreachable")
            code = {"sealed": "vault.sealed", "unreachable": "vault.busy"}.get(state, "")
        if state in {"open", "standby"}:
            state, code = await self._may_enter(state)
        return VaultHealth(
            state=state, version=self._capabilities.version, clock_skew_seconds=skew, code=code,
            token_seconds_left=self._lease.left(monotonic()) if self._lease else None,
        )  # fmt: skip

    # one call

    async def _attempts(self, call: Call, token: SecretStr | None, tries: int, deadline: float) -> Reply:
        for attempt in range(tries + 1):
            if not self._breaker.lets_through():
                return Reply(fate=Fate.NOT_SENT)
            reply = await self._wire.exchange(call, token, max(deadline - monotonic(), 0.05))
            self._note(reply)
            pause = _jittered(LIMITS["vault.pause_ms"] / 1000 * 2**attempt)
            if not may_be_repeated(call, reply) or attempt == tries or monotonic() + pause >= deadline:
                break
            await asyncio.sleep(pause)
        return reply

    def _note(self, reply: Reply) -> None:
        if reply.fate is Fate.CROWDED:
            return  # our own fault
        was = self._breaker.is_open
        self._breaker.note(answered=reply.fate is Fate.ANSWERED)
        if was != self._breaker.is_open:
            logger().warning("vault.breaker", state="open" if self._breaker.is_open else "closed")

    async def _send(self, call: Call, token: SecretStr | None) -> Reply:
        """For logging in: with a deadline of its own, since a caller's is not the login's."""
        return await self._attempts(call, token, 2, monotonic() + self._config.total_seconds)

    async def _once_more(self, call: Call, used: Lease, reply: Reply, tries: int, deadline: float) -> Reply:
        """After a 403: the token may have ended, or the role may have got more rights. One new login, for all callers.

        Where a new login has just not helped, the next denial asks first whether the token lives: a caller who may not do
        what he asks for must not spend a login each time.
        """
        if self._is_current(used) and monotonic() < self._futile_until and await self._is_alive(used):
            return reply
        lease = await self._entered(used)
        again = await self._attempts(call, lease.token, tries, max(deadline, monotonic() + 1))
        if _is_denial(again):
            self._futile_until = monotonic() + LIMITS["vault.denied_rest_seconds"]
        return again

    async def _is_alive(self, lease: Lease) -> bool:
        call = Call(method="GET", path="auth/token/lookup-self", namespace=self._config.namespace)
        reply = await self._send(call, lease.token)
        return not _is_denial(reply)

    # the token

    def _is_current(self, lease: Lease) -> bool:
        return self._lease is not None and self._lease.generation == lease.generation

    async def _current(self) -> Lease:
        lease = self._lease
        if lease is not None and lease.left(monotonic()) != 0:
            return lease
        return await self._entered(lease)

    async def _entered(self, instead_of: Lease | None) -> Lease:
        """A token newer than that one. Whoever asks meanwhile shares the login; nobody's cancellation ends it."""
        if self._closed:
            raise Unavailable("vault.unreachable", host=self._config.host)
        if self._lease is not None and (instead_of is None or not self._is_current(instead_of)):
            return self._lease
        if self._refusal is not None and monotonic() < self._refused_until:
            raise type(self._refusal)(self._refusal.code, **self._refusal.evidence)
        if self._entering is None or self._entering.done():
            self._entering = asyncio.create_task(self._enter())
            self._entering.add_done_callback(_look_at)
        entering = self._entering
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            if self._closed and entering.cancelled():  # not this caller was cancelled, the login was
                raise Unavailable("vault.unreachable", host=self._config.host) from None
            raise

    async def _enter(self) -> Lease:
        try:
            self._lease = await self._entrance.login()
        except Refused as error:
            self._refusal, self._refused_until = error, monotonic() + LIMITS["vault.login_rest_seconds"]
            logger().error("vault.login", code=error.code)
            raise
        self._refusal = None
        self._changed.set()
        if self._capabilities is UNKNOWN:
            await self._look()
        return self._lease

    async def _take_care(self) -> None:
        """Renew at two thirds of the token's time, some earlier by chance so that processes do not come together."""
        failures = 0
        while True:
            self._changed.clear()
            lease = self._lease
            with suppress(TimeoutError):
                async with asyncio.timeout(_soon(lease, failures) if failures else _due(lease)):
                    await self._changed.wait()  # somebody else logged in: there is another time to wait for
                failures = 0
                continue
            try:
                await self._refresh(lease)
                failures = 0
            except ServiceError as error:
                failures += 1
                logger().warning("vault.renewal", code=code_of(error))

    async def _refresh(self, lease: Lease | None) -> None:
        if lease is None:
            await self._entered(None)
            return
        if not self._is_current(lease) or not lease.seconds:
            return
        renewed = await self._entrance.renew(lease)
        if renewed is None:
            await self._entered(lease)
        elif self._is_current(lease):
            self._lease = renewed

    # health

    async def _look(self) -> Reply:
        """``sys/health`` takes no token; what it says also closes the breaker."""
        reply = await self._wire.exchange(Call(method="GET", path="sys/health"), None, self._config.total_seconds)
        self._note(reply)
        if reply.body and "version" in reply.body:
            self._capabilities = capabilities_of(reply.body)
        return reply

    async def _may_enter(self, state: str) -> tuple[str, str]:
        try:
            await self.ask("GET", "auth/token/lookup-self")
        except Refused as error:
            return "denied", error.code
        except ServiceError as error:
            return "sealed" if error.code == "vault.sealed" else "unreachable", error.code
        return state, ""


def _is_denial(reply: Reply) -> bool:
    return reply.fate is Fate.ANSWERED and reply.status == 403


def _look_at(task: asyncio.Task[Lease]) -> None:
    """A login nobody waited for to its end: its error was logged where it arose."""
    if not task.cancelled():
        task.exception()


def _jittered(seconds: float) -> float:
    """Half to one and a half of it."""
    return seconds * (0.5 + int.from_bytes(random_bytes(2)) / 65_536)


def _due(lease: Lease | None) -> float:
    """Seconds until a token wants care."""
    left = lease.left(monotonic()) if lease else 0.0
    if left is None:
        return 3_600.0
    if lease is None:
        return _jittered(LIMITS["vault.retry_seconds"] / 2)
    early = 1 - int.from_bytes(random_bytes(2)) / 65_536 / 10
    return max(left - lease.seconds * (1 - _RENEW_AT * early), 0.05)


def _soon(lease: Lease | None, failures: int) -> float:
    """Seconds until another try: several before the token ends, ever fewer afterwards."""
    left = lease.left(monotonic()) if lease else 0.0
    most = float(LIMITS["vault.retry_seconds"])
    return _jittered(min(max(left / 4, 0.2), most) if left else most * min(2 ** (failures - 1), 12))


def _skew(date: str, before: dt.datetime, after: dt.datetime) -> float | None:
    if not date:
        return None
    try:
        there = parsedate_to_datetime(date)
    except ValueError:
        return None
    if there.tzinfo is None:
        return None
    here = before + (after - before) / 2
    return round((there - here).total_seconds() + 0.5, 1)
