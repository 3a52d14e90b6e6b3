"""The service's side of the workers: spawned interpreters, one call at a time each, a bounded queue before them.

* Back-pressure: who finds the queue full, or waits in it too long, gets ``key.unavailable`` and nothing was sent.
* A call that was not sent whole goes to another worker. Once sent, a worker that dies or overruns its deadline is killed
  and replaced, and the call is ``key.outcome_unknown``; one that does no harm twice is asked again instead.
* A caller that gives up does not disturb the worker: its answer is read and dropped.
* After a refused PIN nothing is tried until the PIN's file changes (the byte that workers share, ``device``).
"""

import asyncio
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from core.errors import BadInput, ServiceError, Unavailable
from core.limits import LIMITS
from core.settings import Settings
from signer.keystores.pkcs11.wire import HEAD, MOST, error_of, frame, opened

__all__ = ["Pkcs11Config", "Pool", "config_of"]

_TRIES: Final = 3
"""How often one call is given to a worker that turns out to be gone."""
_REST: Final = 1.0
"""Seconds after a worker that did not start before another is started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Config:
    """Where the token is; holds no secret."""

    module: Path
    """The vendor's shared library."""
    token: str
    """Label of the token; references name it as their place."""
    pin_file: Path
    """Read by the workers, never here."""
    workers: int = 2


def config_of(settings: Settings) -> Pkcs11Config:
    """Raises ``key.not_configured``."""
    if settings.pkcs11_module is None or settings.pkcs11_pin_file is None or not settings.pkcs11_token:
        raise BadInput("key.not_configured", store="pkcs11")
    return Pkcs11Config(
        module=settings.pkcs11_module, token=settings.pkcs11_token, pin_file=settings.pkcs11_pin_file,
        workers=settings.pkcs11_workers,
    )  # fmt: skip


@dataclass(slots=True, kw_only=True, eq=False)
class _Call:
    """One call on its way."""

    body: dict[str, Any] = field(repr=False)
    seconds: float
    repeatable: bool
    """Done twice it does no harm, and no signature."""
    future: asyncio.Future[dict[str, Any]]
    tries: int = 0
    sent: bool = False

    def fail(self, error: ServiceError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def finish(self, answer: dict[str, Any]) -> None:
        if not self.future.done():
            self.future.set_result(answer)


class _Process:
    """One worker's process and our end of its pipe."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: socket.socket) -> None:
        self._process, self._pipe = process, pipe

    @classmethod
    async def start(cls, denied: int) -> Self:
        """A fresh interpreter, with what a vendor's module may read from the environment and nothing of ours."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        root = str(Path(__file__).resolve().parents[3])
        code = (
            f"import sys; sys.path.insert(0, {root!r}); from signer.keystores.pkcs11.worker import main; "
            f"main({theirs.fileno()}, {denied})"
        )
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", code, pass_fds=(theirs.fileno(), denied), cwd="/",
                env={k: v for k, v in os.environ.items() if not k.startswith(("DAUSO_", "PG", "PYTHON"))},
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def send(self, body: dict[str, Any]) -> None:
        """Raises ``OSError`` when the process is gone; then it has not got the whole of it."""
        await asyncio.get_running_loop().sock_sendall(self._pipe, frame(body))

    async def receive(self) -> dict[str, Any]:
        """Raises ``OSError`` or ``ValueError`` when no answer comes any more."""
        (size,) = HEAD.unpack(await self._exactly(HEAD.size))
        if size > MOST:
            raise ValueError("frame")
        return opened(await self._exactly(size))

    async def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            more = await asyncio.get_running_loop().sock_recv(self._pipe, size - len(data))
            if not more:
                raise ConnectionError
            data += more
        return bytes(data)

    async def kill(self) -> None:
        self._pipe.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """The worker ends its call and its module, if that does not take long."""
        self._pipe.close()
        try:
            await asyncio.wait_for(self._process.wait(), LIMITS["pkcs11.stop_seconds"])
        except (TimeoutError, asyncio.CancelledError):
            await self.kill()


class Pool:
    """``await pool.call({"op": "sign", …}, seconds=10)``; workers start with the first call or ``start``."""

    def __init__(self, config: Pkcs11Config) -> None:
        self._config = config
        self._queue: asyncio.Queue[_Call] = asyncio.Queue()
        self._lanes: list[asyncio.Task[None]] = []
        self._processes: dict[int, _Process] = {}
        self._denied, self._closed = -1, False
        self._pin_used: tuple[int, ...] = ()
        self._rest_until, self._why = 0.0, ""
        self.maker = ""
        """Of the token, once it was open."""
        self.product = ""

    @property
    def pids(self) -> list[int]:
        """Of the workers that run now."""
        return [process.pid for process in self._processes.values()]

    def start(self) -> None:
        """Lanes run; each starts its process when a call comes to it."""
        self._closed = False
        if not self._lanes:
            self._denied = os.memfd_create("dauso-pkcs11", os.MFD_CLOEXEC)
            os.pwrite(self._denied, b"\0", 0)
            self._lanes = [asyncio.create_task(self._lane(number)) for number in range(self._config.workers)]

    async def close(self) -> None:
        """Workers end after the call they are at, whose caller is told that its outcome is unknown."""
        self._closed = True
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)
        while not self._queue.empty():
            self._queue.get_nowait().fail(Unavailable("key.unavailable", detail="closed"))
        if self._lanes:
            os.close(self._denied)
        self._lanes = []

    async def call(self, body: dict[str, Any], *, seconds: float, repeatable: bool = False) -> dict[str, Any]:
        """The answer. Raises what the worker says, ``key.unavailable``, ``key.denied``, ``key.outcome_unknown``."""
        if self._closed:
            raise Unavailable("key.unavailable", detail="closed")
        self.start()
        self._require_pin()
        if self._queue.qsize() >= LIMITS["pkcs11.queue"]:
            raise Unavailable("key.unavailable", detail="queue full")
        loop = asyncio.get_running_loop()
        call = _Call(
            body=body | {"seconds": seconds}, seconds=seconds, repeatable=repeatable, future=loop.create_future()
        )
        patience = loop.call_later(LIMITS["pkcs11.wait_seconds"], self._gave_up, call)
        self._queue.put_nowait(call)
        try:
            answer = await call.future
        finally:
            patience.cancel()
            call.future.cancel()
        if "error" in answer:
            raise error_of(answer["error"])
        return answer

    @staticmethod
    def _gave_up(call: _Call) -> None:
        if not call.sent:
            call.fail(Unavailable("key.unavailable", detail="queue"))

    def _require_pin(self) -> None:
        """Raises ``key.denied`` while the PIN's file is the one that was refused."""
        if os.pread(self._denied, 1, 0) == b"\0":
            return
        if self._pin_state() == self._pin_used:
            raise Unavailable("key.denied", detail="pin")
        os.pwrite(self._denied, b"\0", 0)

    def _pin_state(self) -> tuple[int, ...]:
        try:
            stat = self._config.pin_file.stat()
        except OSError:
            return (0,)
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

    async def _lane(self, number: int) -> None:
        """One worker after another; whoever stops us lets the living one end by itself."""
        try:
            while True:
                call = await self._queue.get()
                if call.future.done():
                    continue
                try:
                    good = await self._serve(await self._ready(number), call)
                except ServiceError as error:
                    call.fail(error)
                    continue
                except Exception as error:  # noqa: BLE001 - a lane that ended would never serve again
                    call.fail(Unavailable("key.unavailable", detail=type(error).__name__))
                    good = number not in self._processes
                if not good:
                    await self._processes.pop(number).kill()
        finally:
            last = self._processes.pop(number, None)
            if last is not None:
                await last.stop()

    async def _ready(self, number: int) -> _Process:
        """This lane's worker. Raises ``key.unavailable`` when none starts."""
        if number in self._processes:
            return self._processes[number]
        loop = asyncio.get_running_loop()
        if loop.time() < self._rest_until:
            raise Unavailable("key.unavailable", detail=self._why)
        self._pin_used = self._pin_state()
        try:
            process = await _Process.start(self._denied)
        except OSError:
            raise self._failed("process") from None
        try:
            async with asyncio.timeout(LIMITS["pkcs11.open_seconds"]):
                await process.send(self._hello())
                answer = await process.receive()
        except (OSError, ValueError, TimeoutError):
            await process.kill()
            raise self._failed("module") from None
        except asyncio.CancelledError:
            await process.kill()
            raise
        self._processes[number] = process
        self._take_note(answer)
        return process

    def _failed(self, why: str) -> Unavailable:
        self._rest_until, self._why = asyncio.get_running_loop().time() + _REST, why
        return Unavailable("key.unavailable", detail=why)

    def _hello(self) -> dict[str, Any]:
        module = self._config.module  # a bare name is looked for by the system's loader
        return {
            "module": str(module.absolute() if len(module.parts) > 1 else module), "token": self._config.token,
            "pin_file": str(self._config.pin_file.absolute()),
            "record_seconds": LIMITS["pkcs11.record_seconds"], "unwrapped": LIMITS["pkcs11.unwrapped"],
            "open_seconds": LIMITS["pkcs11.open_seconds"],
        }  # fmt: skip

    def _take_note(self, answer: dict[str, Any]) -> None:
        self.maker = str(answer.get("maker", "")) or self.maker
        self.product = str(answer.get("product", "")) or self.product

    async def _serve(self, process: _Process, call: _Call) -> bool:
        """One call; whether the worker is good for another."""
        if call.future.done():  # given up while the worker was made ready: the caller was told that nothing was done
            return True
        call.tries += 1
        self._pin_used = self._pin_state()  # it may have to log in again
        try:
            async with asyncio.timeout(call.seconds):
                call.sent = True  # before the first byte: who gives up from here on does not know what became of it
                try:
                    await process.send(call.body)
                except OSError:  # a frame that is not whole is not read
                    call.sent = False
                    self._again(call, Unavailable("key.unavailable", detail="worker ended"))
                    return False
                answer = await process.receive()
        except (OSError, ValueError, TimeoutError) as error:
            self._lost(call, "deadline" if isinstance(error, TimeoutError) else "worker ended")
            return False
        except asyncio.CancelledError:
            self._lost(call, "closed")
            raise
        self._take_note(answer)
        call.finish(answer)
        return True

    def _lost(self, call: _Call, why: str) -> None:
        """Its answer will not come."""
        if call.repeatable:
            self._again(call, Unavailable("key.unavailable", detail=why))
        else:
            call.fail(Unavailable("key.outcome_unknown", detail=why))

    def _again(self, call: _Call, error: ServiceError) -> None:
        """Another worker takes it, a few times."""
        if call.tries < _TRIES:
            call.sent = False
            self._queue.put_nowait(call)
        else:
            call.fail(error)
