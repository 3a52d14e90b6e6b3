"""A PostgreSQL that one test may kill: -9 of the postmaster and of all that it has started."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg

from tests.conftest import _postgres_bin, live_or_skip


def kill_server(data: Path) -> None:
    """From any process that may."""
    pid = int((data / "postmaster.pid").read_text().split("\n")[0])
    helpers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, helpers)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


class OwnPostgres:
    """``with OwnPostgres() as server: server.url("name")``; on a Unix socket, not as root, a child of this process."""

    def __enter__(self) -> Self:
        found = _postgres_bin()
        if found is None:
            live_or_skip("PostgreSQL")
        self._bin, self._folder = found, Path(tempfile.mkdtemp(prefix="dauso-pg-", dir="/tmp"))
        self.data, self._log = self._folder / "data", self._folder / "log"
        self._user: dict = {}
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
            self._user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        command = [
            self._bin / "initdb",
            "-D",
            self.data,
            *["-N", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"],
        ]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._user)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.alive():
            kill_server(self.data)
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Returns when it answers. Also after a kill: what its processes still hold, they let go within a moment."""
        command = [self._bin / "postgres", "-D", self.data, "-k", self._folder, "-c", "listen_addresses="]
        command.append("-F")  # what a killed process has written, the kernel still has
        until = time.monotonic() + 60
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._user)
            while not self._answers():
                assert time.monotonic() < until, self._log.read_text()
                if not self.alive():
                    self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._user)
                time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def alive(self) -> bool:
        return self._process.poll() is None

    def url(self, name: str) -> str:
        """An empty database of that name."""
        with psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://postgres@/{name}?host={self._folder}"
