"""Hostile bytes are handled in a child without network, processes, other files, environment or secrets.

A fork server is started once as a fresh interpreter with an empty environment; it imports and *uses* the named functions
on tiny inputs of its own (libraries import lazily and would fail behind the walls), then forks one child a file. What
the kernel does not offer is said by ``features`` and the other walls are kept.
"""

import asyncio
import json
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from core import errors
from core.errors import Refused, ServiceError, Unavailable
from core.limits import LIMITS
from core.sandbox import walls

__all__ = ["Sandbox", "walls"]

Function = Callable[[bytes, dict[str, Any]], tuple[dict[str, Any], bytes]]


class Sandbox:
    """``async with Sandbox(preload=[…]) as sandbox: await sandbox.run(function, payload, arguments)``."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        """``preload``: ``module:function`` called without arguments in the server before it forks."""
        self._preload = list(preload)
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._starting = asyncio.Lock()

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
            root = str(Path(__file__).resolve().parents[2])
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c",
                f"import sys; sys.path.insert(0, {root!r}); from core.sandbox.server import main; main({theirs.fileno()})",
                self._folder.name, *self._preload,
                pass_fds=(theirs.fileno(),), env={}, stdin=asyncio.subprocess.DEVNULL, cwd=self._folder.name,
            )  # fmt: skip
            theirs.close()
            self._control = ours
            ours.setblocking(False)
            ready = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 16), 60)
            if ready != b"ready":
                raise Unavailable("sandbox.failed")
            return ours

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
        control = await self._start()
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(control, [b"f"], [theirs.fileno()])
        except OSError as error:
            ours.close()
            control.close()
            self._control = None
            raise Unavailable("sandbox.failed") from error
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            head = json.dumps({"function": where, "arguments": arguments, "limits": limits}).encode()
            async with asyncio.timeout(limits["wall"] + 5):
                sending = asyncio.ensure_future(self._send(writer, head, payload))
                size, blob = struct.unpack(">QQ", await reader.readexactly(16))
                answer = json.loads(await reader.readexactly(size))
                data = await reader.readexactly(blob)
                await sending
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, struct.error) as error:
            raise Refused("sandbox.limit") from error
        finally:
            writer.close()
        if "error" in answer:
            raise _error(answer)
        return answer["result"], data

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, head: bytes, payload: bytes) -> None:
        try:
            writer.write(struct.pack(">QQ", len(head), len(payload)) + head)
            writer.write(payload)
            await writer.drain()
        except ConnectionError:
            pass  # the child died before it read everything; the reading side says so


def _error(answer: dict[str, Any]) -> ServiceError:
    kind = getattr(errors, answer["kind"], None)
    if isinstance(kind, type) and issubclass(kind, ServiceError):
        return kind(answer["error"], **answer["evidence"])
    return Refused("sandbox.failed", detail=answer["error"])
