"""What ``deploy/local-up`` runs: PostgreSQL, OpenBao, an object store, signer, worker and web, each a process of its own.

Every role gets its own environment, home and database user, as in ``compose.yaml``; only the signer's names OpenBao.
Started again on its folder it goes on with what is there. Each start lays a new wrapped secret id for the signer.
"""

# ruff: noqa: S603, T201  (starting programs and saying where they are is its business)

import argparse
import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[1]

_BAO = """
log_level = "warn"
api_addr = "http://127.0.0.1:{bao}"
cluster_addr = "https://127.0.0.1:{cluster}"
listener "tcp" {{
  address = "127.0.0.1:{bao}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_disable = true
}}
storage "raft" {{
  path = "{folder}/bao/raft"
  node_id = "local-1"
  performance_multiplier = 1
}}
seal "static" {{
  current_key_id = "1"
  current_key = "file://{folder}/secrets/openbao-seal"
}}
audit "file" "to-file" {{
  options {{
    file_path = "{folder}/bao/audit.log"
  }}
}}
audit "file" "to-stdout" {{
  options {{
    file_path = "stdout"
  }}
}}
initialize "setup" {{
  request "operator-policy" {{
    operation = "update"
    path = "sys/policies/acl/operator"
    data = {{ policy = "path \\"*\\" {{ capabilities = [\\"create\\", \\"read\\", \\"update\\", \\"delete\\", \\"list\\", \\"sudo\\"] }}" }}
  }}
  request "userpass" {{
    operation = "update"
    path = "sys/auth/userpass"
    data = {{ type = "userpass" }}
  }}
  request "operator" {{
    operation = "update"
    path = "auth/userpass/users/operator"
    data = {{
      password = {{
        eval_type = "string"
        eval_source = "file"
        path = "{folder}/secrets/openbao-operator"
      }}
      token_policies = ["operator"]
      token_ttl = "1h"
    }}
  }}
}}
"""


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
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd="/", start_new_session=True,
                preexec_fn=_end_with_parent, **options,
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
            _write(path, make())
        return str(path)

    def password(self, name: str) -> str:
        """What that file says."""
        return Path(self.secret(name)).read_text()

    # ----------------------------------------------------------------------------------------------- environments
    def environment(self, role: str, user: str) -> dict[str, str]:
        """Of one of our processes; ``user``: its user in PostgreSQL."""
        ports = self.ports
        found = {
            **_basic(self.folder), "PYTHONPATH": str(ROOT), "PGPASSWORD": self.password(f"database-{user}"),
            "DAUSO_HOME": str(self.home(role)),
            "DAUSO_DATABASE_URL": f"postgresql+psycopg://{user}@127.0.0.1:{ports['postgres']}/dauso",
            "DAUSO_HOST": "localhost", "DAUSO_WEB_URL": f"http://localhost:{ports['web']}",
            "DAUSO_PKI_URL": f"http://localhost:{ports['web']}", "DAUSO_SIGN_URL": f"http://sign.localhost:{ports['sign']}",
            "DAUSO_WEB_BIND": f"127.0.0.1:{ports['web']}", "DAUSO_SIGN_BIND": f"127.0.0.1:{ports['sign']}",
            "DAUSO_OPERATOR_BIND": f"127.0.0.1:{ports['operator']}", "DAUSO_SIGNER_SOCKET": str(self.folder / "run" / "signer.sock"),
            "DAUSO_EXECUTOR_ID": f"{role}-0", "DAUSO_WEB_KEY_FILE": self.secret("web-key", _key),
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
            "DAUSO_PEOPLE_KEY_FILE": self.secret("people-key", _key),
        }  # fmt: skip
        if self.keys == "transit":
            found |= {
                "DAUSO_TRANSIT_MOUNTS": self.mount, "DAUSO_VAULT_URL": self.bao, "DAUSO_VAULT_LOGIN": "approle",
                "DAUSO_VAULT_ROLE": "dauso-signer", "DAUSO_VAULT_ROLE_ID": "dauso-signer",
                "DAUSO_VAULT_SECRET_ID_FILE": str(self.folder / "secrets" / "signer-secret-id"),
            }  # fmt: skip
        return found


# ------------------------------------------------------------------------------------------------------- the parts
def postgres(town: Town) -> None:
    """Initialised once, with a user for each role; not as root."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("postgres")
    folder = programs[-1] if programs else Path(found).parent if found else None
    if folder is None:
        raise GaveUp("PostgreSQL's server programs are missing")
    user = "postgres" if os.geteuid() == 0 else None
    room, data, port = town.folder / "postgres", town.folder / "postgres" / "data", town.ports["postgres"]
    room.mkdir(exist_ok=True, mode=0o700)
    as_user: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user else {}
    if user:
        shutil.chown(room, user, user)
    if not data.exists():
        first = room / "password"
        _write(first, town.password("database-dauso").encode())
        if user:
            shutil.chown(first, user)
        command = [folder / "initdb", "-D", data, "-U", "dauso", "-A", "scram-sha-256", f"--pwfile={first}", "-E", "UTF8",
                   "--locale=C.UTF-8"]  # fmt: skip
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, cwd="/", check=False, env=_basic(room), **as_user
        )
        first.unlink()
        if done.returncode:
            raise GaveUp(done.stderr)
    town.start(
        "postgres", [str(folder / "postgres"), "-D", str(data), "-k", str(room), "-p", str(port), "-c", "listen_addresses=127.0.0.1"],
        _basic(room), user,
    )  # fmt: skip
    town.wait_for("postgres", lambda: _psql(town, "SELECT 1", "postgres") is not None)
    if not _psql(town, "SELECT 1 FROM pg_database WHERE datname = 'dauso'", "postgres"):
        _sql(town, "CREATE DATABASE dauso", "postgres")
        for role in ("web", "worker"):
            _sql(town, f"CREATE USER dauso_{role} PASSWORD '{town.password(f'database-dauso_{role}')}'", "postgres")


def _psql(town: Town, statement: str, database: str = "dauso") -> list[Any] | None:
    import psycopg  # noqa: PLC0415

    try:
        with psycopg.connect(
            host="127.0.0.1", port=town.ports["postgres"], user="dauso", dbname=database, autocommit=True,
            password=town.password("database-dauso"), connect_timeout=3,
        ) as connection:  # fmt: skip
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
    except psycopg.OperationalError:
        return None


def _sql(town: Town, statement: str, database: str = "dauso") -> None:
    if _psql(town, statement, database) is None:
        raise GaveUp("PostgreSQL does not answer")


def openbao(town: Town) -> None:
    """Set up by itself on an empty folder; then mounts, policies and the signer's role by the operator's password."""
    program = os.environ.get("DAUSO_TEST_BAO") or shutil.which("bao")
    if program is None:
        raise GaveUp("bao is not on PATH")
    town.secret("openbao-seal", lambda: secrets.token_bytes(32))
    town.secret("openbao-operator")
    (town.folder / "bao" / "raft").mkdir(parents=True, exist_ok=True, mode=0o700)
    config = town.folder / "bao" / "server.hcl"
    _write(config, _BAO.format(folder=town.folder, **town.ports).encode())
    town.start("openbao", [program, "server", f"-config={config}"], _basic(town.folder / "bao"))
    town.wait_for("openbao", lambda: _operator(town) is not None)
    _prepare(town)


def _operator(town: Town) -> str | None:
    """A token of the operator's; None while nobody answers."""
    try:
        answer = requests.post(
            f"{town.bao}/v1/auth/userpass/login/operator", json={"password": town.password("openbao-operator")}, timeout=5
        )
    except requests.RequestException:
        return None
    return str(answer.json()["auth"]["client_token"]) if answer.status_code == 200 else None


def _ask(
    town: Town, token: str, method: str, path: str, body: dict[str, Any] | None = None, wrap: str = ""
) -> dict[str, Any]:
    headers = {"X-Vault-Token": token, "X-Vault-Request": "true"} | ({"X-Vault-Wrap-TTL": wrap} if wrap else {})
    answer = requests.request(method, f"{town.bao}/v1/{path}", json=body, headers=headers, timeout=10)
    if answer.status_code >= 400:
        raise GaveUp(f"OpenBao: {method} {path}: {answer.status_code}")
    return dict(answer.json()) if answer.content else {}


def _prepare(town: Town) -> None:
    """As ``deploy/openbao/prepare``, with the policies taken from the code that makes them."""
    token = _operator(town) or ""
    if f"{town.mount}/" not in _ask(town, token, "GET", "sys/mounts")["data"]:
        _ask(town, token, "POST", f"sys/mounts/{town.mount}", {"type": "transit"})
    _ask(town, token, "POST", f"{town.mount}/config/keys", {"disable_upsert": True})
    if "approle/" not in _ask(town, token, "GET", "sys/auth")["data"]:
        _ask(town, token, "POST", "sys/auth/approle", {"type": "approle"})
    from signer.keystores.policies import Identity, policy_for  # noqa: PLC0415

    names = []
    for identity in (Identity.SIGNER, Identity.ENROLLER):
        policy = policy_for(identity, [town.mount])
        _ask(town, token, "POST", f"sys/policies/acl/{policy.name}", {"policy": policy.hcl()})
        names.append(policy.name)
    role = "auth/approle/role/dauso-signer"
    _ask(town, token, "POST", role, {
        "token_policies": names, "token_period": "20m", "token_no_default_policy": True, "token_bound_cidrs": ["127.0.0.1/32"],
        "secret_id_ttl": "10m",
    })  # fmt: skip
    _ask(town, token, "POST", f"{role}/role-id", {"role_id": "dauso-signer"})


def lay_secret_id(town: Town) -> None:
    """A wrapped secret id for the signer's next start; it can be unwrapped once."""
    answer = _ask(town, _operator(town) or "", "POST", "auth/approle/role/dauso-signer/secret-id", {}, wrap="300s")
    _write(town.folder / "secrets" / "signer-secret-id", str(answer["wrap_info"]["token"]).encode())


def objects(town: Town) -> None:
    """An S3 server over a folder, or the folder alone."""
    (town.folder / "objects" / "documents").mkdir(parents=True, exist_ok=True)
    if town.objects == "folder":
        return
    program = shutil.which("versitygw")
    if program is None:
        raise GaveUp("versitygw is not on PATH")
    address = f"127.0.0.1:{town.ports['objects']}"
    env = _basic(town.folder) | {"ROOT_ACCESS_KEY": "dauso", "ROOT_SECRET_KEY": town.password("objects")}
    town.start("objects", [program, "--port", address, "posix", str(town.folder / "objects")], env)
    town.wait_for("objects", lambda: _answers(f"http://{address}/"))


def first_time(town: Town, signer: dict[str, str]) -> None:
    """Keys, certificates, log and a first agency; the rights of web and worker."""
    if not (town.home("signer") / "home.json").exists():
        _run(town, signer, "init", "--realm", town.realm)
        _run(town, signer, "agency", "add", "--code", "H99.1", "--name", "UBND xã Ví Dụ", "--parent", "UBND tỉnh Ví Dụ")
    for user in ("dauso_web", "dauso_worker"):
        for statement in _run(town, signer, "grants", user, keyless=True).split(";"):
            if statement.strip():
                _sql(town, statement)


def _run(town: Town, env: dict[str, str], *arguments: str, keyless: bool = False) -> str:
    if town.keys == "transit" and not keyless:
        lay_secret_id(town)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "api.cli", *arguments], env=env, cwd="/", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise GaveUp(f"dauso {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def ours(town: Town, signer: dict[str, str]) -> None:
    """Signer, then worker and web."""
    ports = town.ports
    (town.folder / "run").mkdir(exist_ok=True, mode=0o700)
    if town.keys == "transit":
        lay_secret_id(town)
    command = [sys.executable, "-P", "-m", "api.cli"]
    town.start("signer", [*command, "signer"], signer)
    town.wait_for("signer", (town.folder / "run" / "signer.sock").exists)
    _sql(town, "GRANT USAGE, CREATE ON SCHEMA dbos TO dauso_worker")
    _sql(town, "GRANT ALL ON ALL TABLES IN SCHEMA dbos TO dauso_worker")
    _sql(town, "GRANT ALL ON ALL SEQUENCES IN SCHEMA dbos TO dauso_worker")
    town.start("worker", [*command, "worker"], town.environment("worker", "dauso_worker"))
    town.start("web", [*command, "serve"], town.environment("web", "dauso_web"))
    town.wait_for("web", lambda: _answers(f"http://127.0.0.1:{ports['web']}/readyz"))


# -------------------------------------------------------------------------------------------------------- small things
def _basic(home: Path) -> dict[str, str]:
    """Nothing of ours goes to others by way of the environment."""
    return {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "HOME": str(home)}


def _key() -> bytes:
    return secrets.token_bytes(32)


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=3).status_code < 500
    except requests.RequestException:
        return False


def _end_with_parent() -> None:
    """Linux: who starts us and is killed leaves nothing behind (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _say(town: Town) -> None:
    ports = town.ports
    found = {
        "web": f"http://localhost:{ports['web']}", "sign": f"http://sign.localhost:{ports['sign']}",
        "metrics": f"http://127.0.0.1:{ports['operator']}/metrics", "openbao": town.bao if town.keys == "transit" else None,
        "objects": town.objects, "realm": town.realm, "keys": town.keys, "folder": str(town.folder),
        "audit": str(town.folder / "bao" / "audit.log"),
    }  # fmt: skip
    _write(town.folder / "addresses.json", json.dumps(found).encode())
    for name, value in found.items():
        print(f"  {name:<8} {value}")
    print("ready; Ctrl+C stops everything", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="local-up", description="Dauso and all it needs, on this machine, until Ctrl+C.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--realm", choices=("training", "production"), default="training")
    parser.add_argument("--keys", choices=("transit", "software"), default="transit")
    parser.add_argument("--objects", choices=("s3", "folder"), default="folder")
    parser.add_argument("--port", type=int, default=8000, help="the first of seven in a row")
    return parser.parse_args()


def main() -> int:
    """0 after a signal, 1 where a part gave up."""
    given = _arguments()
    folder: Path = given.folder.resolve()
    for part, mode in (("", 0o755), ("logs", 0o700), ("secrets", 0o700), ("objects", 0o700)):
        (folder / part).mkdir(parents=True, exist_ok=True, mode=mode)
    (folder / "addresses.json").unlink(missing_ok=True)
    town = Town(folder=folder, realm=given.realm, keys=given.keys, objects=given.objects, port=given.port)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: town.stopping.set())
    try:
        postgres(town)
        if town.keys == "transit":
            openbao(town)
        objects(town)
        signer = town.environment("signer", "dauso")
        first_time(town, signer)
        ours(town, signer)
        _say(town)
        town.watch()
    except GaveUp as why:
        if not town.stopping.is_set():
            print(why, file=sys.stderr, flush=True)
            return 1
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            town.stop()
        (folder / "addresses.json").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
