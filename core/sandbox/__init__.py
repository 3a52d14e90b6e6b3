"""Hostile bytes are handled in a child without network, processes, other files, environment or secrets.

A fork server is started once as a fresh interpreter with an empty environment; it imports and *uses* the named functions
on tiny inputs of its own (libraries import lazily and would fail behind the walls), then forks one child a file. What
the kernel does not offer is said by ``features`` and the other walls are kept.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Self

from core import errors
from core.errors import Refused, Unavailable
from core.limits import LIMITS
from core.sandbox import walls

__all__ = ["Sandbox", "walls"]

_MOST_ANSWER = 16 * 2**20
_MOST_BLOB = 512 * 2**20

Function = Callable[[bytes, dict[str, Any]], tuple[dict[str, Any], bytes]]


class Sandbox:
    """``async with Sandbox(preload=[…]) as sandbox: await sandbox.run(function, payload, arguments)``."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        """``preload``: ``module:function`` called without arguments in the server before it forks."""
        self._preload = list(preload)
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._numbers = count()
        self._starting = asyncio.Lock()
        self._forking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()

    @staticmethod
    def features() -> dict[str, bool]:
        """Which walls this kernel gives."""
        return walls.features()

    async def _start(self) -> socket.socket:
        """Start the server when it is first needed, and again if it died."""
        async with self._starting:
            if self._process is not None and self._process.returncode is None and self._control is not None:
                return self._control
            if self._control is not None:
                self._control.close()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="dauso-")
            self._process = await self._spawn(theirs, self._folder.name)
            theirs.close()
            self._control = ours
            ours.setblocking(False)
            ready = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 16), 60)
            if ready != b"ready":
                raise Unavailable("sandbox.failed")
            return ours

    async def _spawn(self, theirs: socket.socket, folder: str) -> asyncio.subprocess.Process:
        """The server: a fresh interpreter that holds its end of the socket and nothing else of ours."""
        root = str(Path(__file__).resolve().parents[2])
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c",
            f"import sys; sys.path.insert(0, {root!r}); from core.sandbox.server import main; main({theirs.fileno()})",
            folder, *self._preload,
            pass_fds=(theirs.fileno(),), env={}, stdin=asyncio.subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip

    async def run(
        self, function: Function | str, payload: bytes, arguments: dict[str, Any], *, cpu: int | None = None,
        memory: int | None = None, wall: int | None = None,
    ) -> tuple[dict[str, Any], bytes]:  # fmt: skip
        """Run ``function(payload, arguments)`` in a child; returns what it returned.

        Raises the ``ServiceError`` the function raised, ``sandbox.limit`` when the child was stopped or died, and
        ``sandbox.failed`` for any other fault.
        """
        where = function if isinstance(function, str) else f"{function.__module__}:{function.__name__}"
        limits = {
            "cpu": cpu or LIMITS["sandbox.cpu_seconds"], "memory": memory or LIMITS["sandbox.memory_bytes"],
            "wall": wall or LIMITS["sandbox.wall_seconds"],
        }  # fmt: skip
        ours, child, own = await self._fork()
        loop = asyncio.get_running_loop()
        done = False
        try:
            head = json.dumps({"function": where, "arguments": arguments, "limits": limits}).encode()
            async with asyncio.timeout(limits["wall"]):
                # the child reads everything before it begins, so this never waits for its answer
                await loop.sock_sendall(ours, struct.pack(">QQ", len(head), len(payload)) + head)
                await loop.sock_sendall(ours, payload)
                size, blob = struct.unpack(">QQ", await _exactly(ours, 16))
                if size > _MOST_ANSWER or blob > _MOST_BLOB:
                    raise Refused("sandbox.limit")
                answer = json.loads(await _exactly(ours, size))
                data = await _exactly(ours, blob)
            done = True
        except (ConnectionError, TimeoutError) as error:
            raise Refused("sandbox.limit") from error
        except (ValueError, RecursionError) as error:
            raise Refused("sandbox.failed", detail="answer") from error
        finally:
            ours.close()
            _end(child, kill=not done)
            _remove(own)
        return _opened(answer), data

    async def _fork(self) -> tuple[socket.socket, int | None, str]:
        """One child: our end of its socket, a handle that ends exactly it, and its folder, which is ours to remove."""
        control = await self._start()
        assert self._folder is not None
        own = f"{self._folder.name}/{next(self._numbers)}"
        os.mkdir(own, 0o700)  # noqa: PTH102 - one call a file
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            async with self._forking:
                socket.send_fds(control, [own.encode()], [theirs.fileno()])
                answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(control, 32), 30)
            return ours, _handle(int(answer)), own
        except (OSError, ValueError, TimeoutError) as error:
            ours.close()
            control.close()
            self._control = None
            raise Unavailable("sandbox.failed", detail="server") from error
        finally:
            theirs.close()


async def _exactly(connection: socket.socket, size: int) -> bytes:
    """``size`` bytes. Raises ``ConnectionError`` when the child is gone before."""
    loop = asyncio.get_running_loop()
    data = bytearray(size)
    view = memoryview(data)
    got = 0
    while got < size:
        count = await loop.sock_recv_into(connection, view[got:])
        if count == 0:
            raise ConnectionError
        got += count
    return bytes(data)


def _remove(folder: str) -> None:
    """Nearly always empty."""
    try:
        os.rmdir(folder)  # noqa: PTH106 - one call a file
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def _handle(pid: int) -> int | None:
    """A descriptor that names this very process, so that a reused number is never hit; None if it is gone already."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _end(child: int | None, *, kill: bool) -> None:
    """The wall clock is ours: a child that disarmed its own timer ends here."""
    if child is None:
        return
    try:
        if kill:
            signal.pidfd_send_signal(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(child)


def _opened(answer: Any) -> dict[str, Any]:
    """The result, or the error the child reports; a child may write anything, so its shape is asked first."""
    match answer:
        case {"result": dict(result)}:
            return result
        case {"error": str(code), "kind": str(kind), "evidence": dict(evidence)}:
            found = getattr(errors, kind, None) if kind in errors.__all__ else None
            if found is not None and all(isinstance(key, str) and key != "code" for key in evidence):
                raise found(code, **evidence)
            raise Refused("sandbox.failed", detail=code[:40])
    raise Refused("sandbox.failed", detail="answer")
