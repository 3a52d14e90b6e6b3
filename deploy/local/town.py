"""Where everything of one folder is, which process knows what, how they start and end."""

import ctypes
import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

__all__ = ["ROLES", "ROOT", "USERS", "GaveUp", "Town", "answers", "basic", "random_key", "write"]

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("dauso-signer", "dauso-enroller")
"""As which the signer logs in at OpenBao."""
USERS = ("dauso_web", "dauso_worker", "dauso_auditor")
"""In PostgreSQL, beside ``dauso``, who owns the tables and is the signer."""


class GaveUp(Exception):
    """A part did not come up; its words are the end of its log."""


@dataclass(slots=True, kw_only=True)
class Town:
    """Where everything is."""

    folder: Path
    realm: str
    keys: str
    objects: str
    port: int
    mount: str = "transit"
    role_ids: dict[str, str] = field(default_factory=dict)
    running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def ports(self) -> dict[str, int]:
        """Seven in a row."""
        names = ("web", "sign", "operator", "bao", "cluster", "objects", "postgres")
        return {name: self.port + i for i, name in enumerate(names)}

    @property
    def bao(self) -> str:
        """OpenBao's address."""
        return f"http://127.0.0.1:{self.ports['bao']}"

    # ------------------------------------------------------------------------------------------------- processes
    def start(self, name: str, command: list[str], env: dict[str, str], user: str | None = None) -> None:
        """In a session of its own, so that Ctrl+C reaches us alone; it ends when we are gone."""
        options: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  (names of our own)
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd="/", start_new_session=True,
                preexec_fn=_end_with_parent, **options,  # noqa: PLW1509  (no thread runs yet)
            )  # fmt: skip
        self.running.append((name, process))

    def wait_for(self, name: str, good: Callable[[], bool], seconds: float = 60) -> None:
        """Raises ``GaveUp``."""
        until = time.monotonic() + seconds
        process = dict(self.running)[name]
        while not good():
            if self.stopping.is_set():
                raise GaveUp("stopped")
            if process.poll() is not None or time.monotonic() > until:
                said = (self.folder / "logs" / f"{name}.log").read_text(errors="replace")[-2_000:]
                raise GaveUp(f"{name} did not come up:\n{said}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Doors first, then the signer, then what holds its data."""
        order = {"web": 0, "worker": 0, "signer": 1, "objects": 2, "openbao": 3, "postgres": 4}
        for name, process in sorted(self.running, key=lambda each: order[each[0]]):
            if process.poll() is None:
                process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
                try:
                    process.wait(75)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.running.clear()

    def watch(self) -> None:
        """Until a signal. Raises ``GaveUp`` when a part ends by itself."""
        while not self.stopping.wait(0.3):
            for name, process in self.running:
                if process.poll() is not None:
                    raise GaveUp(f"{name} ended ({process.returncode}); see logs/{name}.log")

    # --------------------------------------------------------------------------------------------------- secrets
    def secret(self, name: str, make: Callable[[], bytes] = lambda: secrets.token_hex(24).encode()) -> str:
        """Path of a secret's file, made once."""
        path = self.folder / "secrets" / name
        if not path.exists():
            write(path, make())
        return str(path)

    def password(self, name: str) -> str:
        """What that file says."""
        return Path(self.secret(name)).read_text()

    # ----------------------------------------------------------------------------------------------- environments
    def environment(self, role: str, user: str) -> dict[str, str]:
        """Of one of our processes; ``user``: its user in PostgreSQL."""
        ports = self.ports
        found = {
            **basic(self.folder), "PYTHONPATH": str(ROOT), "PGPASSWORD": self.password(f"database-{user}"),
            "DAUSO_HOME": str(self.home(role)),
            "DAUSO_DATABASE_URL": f"postgresql+psycopg://{user}@127.0.0.1:{ports['postgres']}/dauso",
            "DAUSO_HOST": "localhost", "DAUSO_WEB_URL": f"http://localhost:{ports['web']}",
            "DAUSO_PKI_URL": f"http://localhost:{ports['web']}", "DAUSO_SIGN_URL": f"http://sign.localhost:{ports['sign']}",
            "DAUSO_WEB_BIND": f"127.0.0.1:{ports['web']}", "DAUSO_SIGN_BIND": f"127.0.0.1:{ports['sign']}",
            "DAUSO_OPERATOR_BIND": f"127.0.0.1:{ports['operator']}", "DAUSO_SIGNER_SOCKET": str(self.folder / "run" / "signer.sock"),
            "DAUSO_EXECUTOR_ID": f"{role}-0", "DAUSO_WEB_KEY_FILE": self.secret("web-key", random_key),
            "DAUSO_OBJECTS_URL": "memory:",
        }  # fmt: skip
        if role != "worker":
            found |= self._objects()
        if role == "signer":
            found |= self._keys()
        return found

    def home(self, role: str) -> Path:
        """Of web and worker: a folder that only says which realm this is."""
        home = self.folder / "home" / role
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if role != "signer":
            (home / "home.json").write_text(json.dumps({"realm": self.realm}))
        return home

    def _objects(self) -> dict[str, str]:
        if self.objects == "folder":
            return {"DAUSO_OBJECTS_URL": f"file://{self.folder / 'objects' / 'documents'}"}
        return {
            "DAUSO_OBJECTS_URL": "s3://documents", "AWS_ENDPOINT": f"http://127.0.0.1:{self.ports['objects']}",
            "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "dauso",
            "AWS_SECRET_ACCESS_KEY": self.password("objects"),
        }  # fmt: skip

    def _keys(self) -> dict[str, str]:
        found = {
            "DAUSO_KEYS": self.keys, "DAUSO_HIGHWATER": str(self.folder / "highwater" / "mark.json"),
            "DAUSO_PEOPLE_KEY_FILE": self.secret("people-key", random_key),
        }  # fmt: skip
        if self.keys == "transit":
            found |= {
                "DAUSO_TRANSIT_MOUNTS": self.mount, "DAUSO_VAULT_URL": self.bao, "DAUSO_VAULT_LOGIN": "approle",
            }  # fmt: skip
            for role, prefix in zip(ROLES, ("", "ENROLLER_"), strict=True):
                found[f"DAUSO_VAULT_{prefix}ROLE"] = role
                found[f"DAUSO_VAULT_{prefix}ROLE_ID"] = self.role_ids.get(role, "")
                found[f"DAUSO_VAULT_{prefix}SECRET_ID_FILE"] = str(self.folder / "secrets" / f"{role}.secret-id")
        return found


def basic(home: Path) -> dict[str, str]:
    """Nothing of ours goes to others by way of the environment."""
    return {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "HOME": str(home)}


def random_key() -> bytes:
    """32 bytes."""
    return secrets.token_bytes(32)


def write(path: Path, data: bytes) -> None:
    """In place of what is there, mode 0600 from the first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def answers(url: str) -> bool:
    """Whether somebody answers there, with whatever but a failure."""
    try:
        return requests.get(url, timeout=3).status_code < 500
    except requests.RequestException:
        return False


def _end_with_parent() -> None:
    """Linux: who starts us and is killed leaves nothing behind (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
