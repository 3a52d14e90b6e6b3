"""Processes that a test kills, born quickly: one parent has imported and warmed everything, and forks them.

Each is a process of its own with a sandbox server of its own; it has only been spared the seconds of a fresh start. The
parent has one thread and no loop, so that a fork of it is whole.
"""

import asyncio
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from api import bootstrap
from core.sandbox import Sandbox, server, walls
from tests.flows.town import environment


# -------------------------------------------------------------------------------------------------------- the test's
class Child:
    """One process; its parent is the nursery."""

    def __init__(self, nursery: "Nursery", pid: int, said: Path) -> None:
        self.pid, self._nursery, self._said = pid, nursery, said
        self._handle = os.pidfd_open(pid)  # its parent buries it only when asked to, so the number is still its own

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        return self._said.read_text()

    def alive(self) -> bool:
        return not select.select([self._handle], [], [], 0)[0]

    def kill(self) -> None:
        """-9, and gone when this returns."""
        signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        self.wait(30)

    def wait(self, seconds: float) -> int:
        """How it ended: 0, or what it was killed with, negative. One that does not end by itself is killed."""
        if not select.select([self._handle], [], [], seconds)[0]:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            self._nursery.ask({"bury": self.pid})
            raise TimeoutError(self.said)
        return int(self._nursery.ask({"bury": self.pid})["code"])


class Nursery:
    """``with Nursery() as nursery: nursery.bear("module:function", …).wait(60)``."""

    def __enter__(self) -> Self:
        self._turn, self._folder = threading.Lock(), tempfile.TemporaryDirectory(prefix="dauso-nursery-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.nursery", self._folder.name], env=environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._folder.cleanup()

    def ask(self, what: dict) -> dict:
        """From any thread."""
        with self._turn:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def bear(self, where: str, *arguments: str) -> Child:
        """Run the coroutine function ``where`` (``module:function``) in a process of its own."""
        born = self.ask({"bear": where, "arguments": arguments})
        return Child(self, born["pid"], Path(born["said"]))


# --------------------------------------------------------------------------------------------------------- the parent
def main(folder: str) -> None:
    """Until the test's end of the pipe is closed; then all that were born here end with it."""
    for where in bootstrap.PRELOAD:
        server.find(where)()
    for module in ("core.jobs.durable", "tests.flows.kill_child", "tests.flows.kill_requests_child"):
        importlib.import_module(module)
    walls.features()
    gc.collect()
    gc.freeze()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork of many threads is not whole"
    _answer("ready")
    servers: list[int] = []
    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        if "bury" in order:
            _, status = os.waitpid(order["bury"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            said = Path(folder) / f"{number}.txt"
            pid, sandbox = _bear(order["bear"], order["arguments"], said, folder)
            servers.append(sandbox)
            answer = {"pid": pid, "said": str(said)}
        servers = [each for each in servers if os.waitpid(each, os.WNOHANG)[0] == 0]
        _answer(json.dumps(answer))


def _answer(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def _bear(where: str, arguments: list[str], said: Path, folder: str) -> tuple[int, int]:
    """(its process, its sandbox's server), both forked from here."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sandbox = os.fork()
    if sandbox == 0:
        ours.close()
        _become(said, folder)
        os.environ.clear()
        sys.argv = ["", folder]  # nothing to be warmed: everything is
        _run(lambda: server.main(theirs.detach()))
    theirs.close()
    child = os.fork()
    if child == 0:
        _become(said, folder)
        bootstrap.make_sandbox = lambda: _sandbox(ours)
        _run(lambda: asyncio.run(server.find(where)(*arguments)))
    ours.close()
    return child, sandbox


def _become(said: Path, folder: str) -> None:
    """A process of its own: it ends with its parent, and holds nothing of the pipe."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    told = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, file in ((0, nothing), (1, told), (2, told)):
        os.dup2(file, number)
    tempfile.tempdir = folder


def _run(work) -> None:
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


class _Begun(Sandbox):
    """The server is there already; killed, it is not started again."""

    def __init__(self, control: socket.socket) -> None:
        super().__init__()
        self._begun = control

    async def _start(self) -> socket.socket:
        async with self._starting:
            if self._control is None:
                self._folder = tempfile.TemporaryDirectory(prefix="sandbox-")
                self._control = self._begun
                self._control.setblocking(False)
                assert await asyncio.get_running_loop().sock_recv(self._control, 16) == b"ready"
            return self._control


@asynccontextmanager
async def _sandbox(control: socket.socket):
    async with _Begun(control) as sandbox:
        yield sandbox


if __name__ == "__main__":
    main(*sys.argv[1:])
