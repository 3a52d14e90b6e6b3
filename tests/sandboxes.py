"""Sandbox servers of a test session, born warm: one parent has imported and used the readers, as the service lists them, and
forks a server when a test wants one. It has only been spared the seconds of a fresh start.

A sandbox that preloads anything else, and every process that a test starts, starts its own (``core.sandbox``).
"""

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from pathlib import Path

from api.bootstrap import PRELOAD
from core.sandbox import Sandbox, server


class Parent:
    """Started with the first sandbox; ends when the test session does."""

    def __init__(self) -> None:
        self._turn, self._control = threading.Lock(), None

    def bear(self, theirs: socket.socket, folder: str) -> int:
        """Process id of a server at the other end of ``theirs``. From any thread."""
        with self._turn:
            for last in (False, True):
                try:
                    if self._control is None:
                        self._begin()
                    socket.send_fds(self._control, [folder.encode()], [theirs.fileno()])
                    return int(self._control.recv(16))
                except (OSError, ValueError):  # somebody killed it
                    self.end()
                    if last:
                        raise
            raise AssertionError

    def _begin(self) -> None:
        self._control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(60)
        root = str(Path(__file__).resolve().parents[1])
        begin = f"import sys; sys.path.insert(0, {root!r}); from tests.sandboxes import main; main({far.fileno()})"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", begin], pass_fds=[far.fileno()], env={}, stdin=subprocess.DEVNULL, cwd="/"
        )
        far.close()
        assert self._control.recv(16) == b"ready"

    def end(self) -> None:
        """At the session's end."""
        if self._control is not None:
            self._control.close()
            self._control = None
            self._process.kill()
            self._process.wait(30)


class Born:
    """What ``Sandbox`` wants of a process."""

    def __init__(self, pid: int) -> None:
        self._handle = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._handle)

    @property
    def returncode(self) -> int | None:
        asked = select.poll()
        asked.register(self._handle, select.POLLIN)
        return -signal.SIGKILL if asked.poll(0) else None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    async def wait(self) -> None:
        while self.returncode is None:
            await asyncio.sleep(0.002)


def use(parent: Parent) -> None:
    """From now on in this process."""
    fresh = Sandbox._spawn

    async def spawn(self, theirs, folder):
        if not set(self._preload) <= set(PRELOAD):
            return await fresh(self, theirs, folder)
        return Born(await asyncio.to_thread(parent.bear, theirs, folder))

    Sandbox._spawn = spawn


# --------------------------------------------------------------------------------------------------------- the parent
def main(descriptor: int) -> None:
    """Until the session's end of the socket is closed; the servers end with those who asked for them."""
    server.warm(PRELOAD)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork of many threads is not whole"
    server.serve(socket.socket(fileno=descriptor), _begin)


def _begin(descriptor: int, folder: str) -> None:
    os.chdir(folder)
    sys.argv = ["", folder]  # nothing to be warmed: everything is
    try:
        server.main(descriptor)
    finally:
        os._exit(0)
