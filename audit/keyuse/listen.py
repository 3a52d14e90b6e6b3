"""The other end of OpenBao's ``socket`` audit device: lines that arrive are appended to a file and made durable in batches.

A second device beside the file, on another machine, so that nobody who can write the one can change both. The server writes
a line before it answers and again on a new connection where writing failed: so a line that breaks off is not kept, and one
that comes twice counts once when the file is read. One that is longer than the reader takes, which anybody can make without
logging in, is kept as a line that says so: nobody can read it, and it must not hide the ones behind it. The file may be rotated
by copying and truncating.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from audit.keyuse.reading import MOST_LINE
from core.errors import Unavailable
from core.limits import LIMITS
from core.logs import logger

__all__ = ["Listener"]

_MOST_WAITING = MOST_LINE
"""Bytes."""


class Listener:
    """``async with Listener(path) as it: await it.serve(host, port)``."""

    def __init__(self, path: Path, kept: Callable[[int], None] = lambda _lines: None) -> None:
        """``kept`` is told how many lines are durable."""
        self._path, self._kept = path, kept
        self._lines: list[bytes] = []
        self._size = 0
        self._more = asyncio.Event()
        self._room = asyncio.Condition()
        self._failed: OSError | None = None
        self.count = 0

    async def serve(self, host: str, port: int, ready: Callable[[int], None] = lambda _port: None) -> None:
        """Until it is cancelled. ``ready`` is told the port. Raises ``keyuse.cannot_listen``, ``store.full``."""
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            server = await asyncio.start_server(self._connection, host, port, limit=MOST_LINE)
        except (OSError, OverflowError, ValueError) as error:  # a port, or a name, that can be none
            raise Unavailable("keyuse.cannot_listen", host=host, port=port) from error
        writing = asyncio.create_task(self._write(file))
        try:
            async with server:
                ready(int(server.sockets[0].getsockname()[1]))
                await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if self._lines and self._failed is None:
                self._append(file, self._lines)
            os.close(file)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                line = await _line(reader)
                async with self._room:  # a slow disk holds the server up rather than this process's memory
                    await self._room.wait_for(self._has_room)
                self._lines.append(line)
                self._size += len(line)
                self._more.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _has_room(self) -> bool:
        return len(self._lines) < 4 * LIMITS["keyuse.socket_lines"] and self._size < _MOST_WAITING

    async def _write(self, file: int) -> None:
        while True:
            await self._more.wait()
            if len(self._lines) < LIMITS["keyuse.socket_lines"]:
                await asyncio.sleep(LIMITS["keyuse.socket_ms"] / 1000)
            self._more.clear()
            lines, self._lines, self._size = self._lines, [], 0
            try:
                await asyncio.to_thread(self._append, file, lines)
            except OSError as error:
                self._failed = error
                raise Unavailable("store.full") from error
            async with self._room:
                self._room.notify_all()

    def _append(self, file: int, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
        self.count += len(lines)
        self._kept(self.count)


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next one, or what stands for one that is too long. Raises ``IncompleteReadError``."""
    size = 0
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as over:
            size += len(await reader.readexactly(over.consumed))
        else:
            break
    if not size:
        return line
    logger().error("keyuse.line_unreadable", kind="socket")
    return b'{"too_long":%d}\n' % (size + len(line))
