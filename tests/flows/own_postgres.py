"""A PostgreSQL that one test may kill: -9 of the postmaster and of all that it has started."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.conftest import _postgres_bin, live_or_skip


def kill_server(data: Path) -> None:
    """Returns when its process is gone."""
    pid = int((data / "postmaster.pid").read_text().split("\n")[0])
    handle = os.pidfd_open(pid)
    helpers = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    for each in helpers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    os.close(handle)


class OwnPostgres:
    """``with OwnPostgres() as server: server.url("name")``; on a Unix socket, not as root."""

    def __enter__(self) -> "OwnPostgres":
        found = _postgres_bin()
        if found is None:
            live_or_skip("PostgreSQL")
        self._bin = found
        self._home = Path(tempfile.mkdtemp(prefix="dauso-pg-", dir="/tmp"))
        self.data = self._home / "data"
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self._home, "postgres", "postgres")
            self._as_user = ["runuser", "-u", "postgres", "--"]
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")
        shutil.rmtree(self._home, ignore_errors=True)

    def _run(self, what: str, *arguments: str) -> None:
        subprocess.run([*self._as_user, str(self._bin / what), *arguments], check=True, capture_output=True, cwd="/")

    def start(self) -> None:
        """Also after a kill: what its processes still hold lets go within a moment."""
        until = time.monotonic() + 30
        options = f"-k {self._home} -c listen_addresses='' -c max_connections=100 -F"  # what a killed process wrote, the kernel still has
        while True:
            try:
                self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self._home / "log"), "-o", options, "start")
            except subprocess.CalledProcessError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return

    def alive(self) -> bool:
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n")[0])
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return False
        return state != "Z"

    def url(self, name: str) -> str:
        """An empty database of that name."""
        self._run("createdb", "-h", str(self._home), "-U", "postgres", name)
        return f"postgresql+psycopg://postgres@/{name}?host={self._home}"
