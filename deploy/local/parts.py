"""The parts: PostgreSQL, OpenBao, an object store, and our three processes."""

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import requests

from deploy.local.town import ROLES, ROOT, USERS, GaveUp, Town, answers, basic, write

__all__ = ["first_time", "objects", "openbao", "ours", "postgres"]


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
        write(first, town.password("database-dauso").encode())
        if user:
            shutil.chown(first, user)
        command = [folder / "initdb", "-D", data, "-U", "dauso", "-A", "scram-sha-256", f"--pwfile={first}", "-E", "UTF8",
                   "--locale=C.UTF-8"]  # fmt: skip
        done = subprocess.run(  # noqa: S603
            list(map(str, command)), capture_output=True, text=True, cwd="/", check=False, env=basic(room), **as_user
        )
        first.unlink()
        if done.returncode:
            raise GaveUp(done.stderr)
    town.start(
        "postgres", [str(folder / "postgres"), "-D", str(data), "-k", str(room), "-p", str(port), "-c", "listen_addresses=127.0.0.1"],
        basic(room), user,
    )  # fmt: skip
    town.wait_for("postgres", lambda: _psql(town, "SELECT 1", "postgres") is not None)
    if not _psql(town, "SELECT 1 FROM pg_database WHERE datname = 'dauso'", "postgres"):
        _sql(town, "CREATE DATABASE dauso", "postgres")
        _sql(town, (ROOT / "deploy" / "postgres" / "1-roles.sql").read_text())
        for user in USERS:
            _sql(town, f"ALTER USER {user} PASSWORD '{town.password(f'database-{user}')}'")


def _psql(town: Town, statement: str, database: str = "dauso") -> list[Any] | None:
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
    text = (ROOT / "deploy" / "openbao" / "local.hcl").read_text()
    for name, value in (("FOLDER", town.folder), ("BAO", town.ports["bao"]), ("CLUSTER", town.ports["cluster"])):
        text = text.replace(f"@{name}@", str(value))
    config = town.folder / "bao" / "server.hcl"
    write(config, text.encode())
    town.start("openbao", [program, "server", f"-config={config}"], basic(town.folder / "bao"))
    town.wait_for("openbao", lambda: _operator(town) is not None)
    _prepare(town)


def _operator(town: Town) -> str | None:
    """A token of the operator's; None while nobody answers."""
    try:
        answer = requests.post(
            f"{town.bao}/v1/auth/userpass/login/operator",
            json={"password": town.password("openbao-operator")},
            timeout=5,
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
    """Once, as an operator does it: ``dauso keys init`` with a token that ends afterwards."""
    token = _operator(town) or ""
    if "approle/" not in _ask(town, token, "GET", "sys/auth")["data"]:
        write(town.folder / "secrets" / "operator-token", token.encode())
        env = town.environment("signer", "dauso") | {"DAUSO_VAULT_ROLE_ID": "none-yet"}
        _run(
            town, env, "keys", "init", "--store", "transit", "--mounts", town.mount, "--hand-over", "", "--cidr", "127.0.0.1/32",
            "--token-file", str(town.folder / "secrets" / "operator-token"), "--out", str(town.folder / "keys-init.pdf"),
            typed="deploy/local-up\ny\n", keyless=True,
        )  # fmt: skip
        (town.folder / "secrets" / "operator-token").unlink()
    for role in ROLES:
        town.role_ids[role] = _ask(town, token, "GET", f"auth/approle/role/{role}/role-id")["data"]["role_id"]


def lay_secret_ids(town: Town, folder: str = "secrets") -> Path:
    """Wrapped secret ids for the signer's next start, or a command's own in another folder; each can be unwrapped once."""
    token, laid = _operator(town) or "", town.folder / folder
    laid.mkdir(exist_ok=True, mode=0o700)
    for role in ROLES:
        answer = _ask(town, token, "POST", f"auth/approle/role/{role}/secret-id", {}, wrap="300s")
        write(laid / f"{role}.secret-id", str(answer["wrap_info"]["token"]).encode())
    return laid


def objects(town: Town) -> None:
    """An S3 server over a folder, or the folder alone."""
    (town.folder / "objects" / "documents").mkdir(parents=True, exist_ok=True)
    if town.objects == "folder":
        return
    program = shutil.which("versitygw")
    if program is None:
        raise GaveUp("versitygw is not on PATH")
    address = f"127.0.0.1:{town.ports['objects']}"
    env = basic(town.folder) | {"ROOT_ACCESS_KEY": "dauso", "ROOT_SECRET_KEY": town.password("objects")}
    town.start("objects", [program, "--port", address, "posix", str(town.folder / "objects")], env)
    town.wait_for("objects", lambda: answers(f"http://{address}/"))


def first_time(town: Town, signer: dict[str, str]) -> None:
    """Keys, certificates, log and a first agency; the rights of web, worker and auditor."""
    if not (town.home("signer") / "home.json").exists():
        _run(town, signer, "init", "--realm", town.realm)
        _run(town, signer, "agency", "add", "--code", "H99.1", "--name", "UBND xã Ví Dụ", "--parent", "UBND tỉnh Ví Dụ")
    for user in USERS:
        which = ["--auditor"] if user == "dauso_auditor" else []
        for statement in _run(town, signer, "grants", user, *which, keyless=True).split(";"):
            if statement.strip():
                _sql(town, statement)


def _run(town: Town, env: dict[str, str], *arguments: str, keyless: bool = False, typed: str = "") -> str:
    """One command of ours, until it ends. ``keyless``: it does not log in at the store."""
    if town.keys == "transit" and not keyless:
        arguments = ("--cards", str(lay_secret_ids(town, "cards")), *arguments)
    done = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-P", "-m", "api.cli", *arguments], env=env, cwd="/", input=typed, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise GaveUp(f"dauso {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def ours(town: Town, signer: dict[str, str]) -> None:
    """Signer, then worker and web."""
    ports = town.ports
    (town.folder / "run").mkdir(exist_ok=True, mode=0o700)
    if town.keys == "transit":
        lay_secret_ids(town)
    command = [sys.executable, "-P", "-m", "api.cli"]
    town.start("signer", [*command, "signer"], signer)
    town.wait_for("signer", (town.folder / "run" / "signer.sock").exists)
    town.start("worker", [*command, "worker"], town.environment("worker", "dauso_worker"))
    town.start("web", [*command, "serve"], town.environment("web", "dauso_web"))
    town.wait_for("web", lambda: answers(f"http://127.0.0.1:{ports['web']}/readyz"))
