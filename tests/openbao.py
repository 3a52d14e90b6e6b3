"""A real OpenBao for tests: raft, a static seal, a declared audit file, set up by itself, no root token.

``OpenBao(folder).start()`` answers after some two seconds. ``api`` speaks to it as ``admin`` (a userpass identity that may
do everything), or with the token given. Nothing here is used by the product.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import requests

AUDIT = "to-file"
"""Name of the audit device, as ``sys/audit-hash/`` wants it."""

ALL = '["create", "read", "update", "patch", "delete", "list", "scan", "sudo"]'

# the audit file's path is relative: a declared device must read the same on all nodes, or standbys refuse to serve
CONFIG = """
disable_mlock = true
log_level = "warn"
api_addr = "{url}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  {tls}
}}
storage "raft" {{
  path = "{folder}/data"
  node_id = "{node}"
  performance_multiplier = 1
{join}
}}
seal "static" {{
  current_key_id = "test-1"
  current_key = "file://{seal_key}"
}}
audit "file" "to-file" {{
  options {{
    file_path = "audit.log"
  }}
}}
"""

SETUP = """
initialize "setup" {{
  request "admin-policy" {{
    operation = "update"
    path = "sys/policies/acl/admin"
    data = {{ policy = <<EOT
path "*" {{ capabilities = {all} }}
EOT
    }}
  }}
  request "userpass" {{
    operation = "update"
    path = "sys/auth/userpass"
    data = {{ type = "userpass" }}
  }}
  request "admin" {{
    operation = "update"
    path = "auth/userpass/users/admin"
    data = {{
      password = "{password}"
      token_policies = ["admin"]
      token_ttl = "24h"
    }}
  }}
  request "approle" {{
    operation = "update"
    path = "sys/auth/approle"
    data = {{ type = "approle" }}
  }}
  request "transit" {{
    operation = "update"
    path = "sys/mounts/transit"
    data = {{ type = "transit" }}
  }}
}}
"""


class ApiError(Exception):
    """An answer that is an error: ``status`` and what the server says."""

    def __init__(self, status: int, errors: list[str]) -> None:
        super().__init__(f"{status}: {errors}")
        self.status = status
        self.errors = errors


def binary() -> str | None:
    """The server's program: what ``DAUSO_TEST_BAO`` names, or ``bao`` on PATH."""
    return os.environ.get("DAUSO_TEST_BAO") or shutil.which("bao")


def free_port() -> int:
    """One below those the system lends to clients, so that it stays free while a server restarts."""
    for _ in range(200):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def wait_until(true: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


class OpenBao:
    """One server in a folder of its own. Stopped or killed, it starts again with what it had, on the same port."""

    product = "openbao"

    def __init__(self, folder: Path, *, tls: bool = False, first: "OpenBao | None" = None, node: str = "n1") -> None:
        """``tls``: https with a certificate of an authority of its own (``ca_file``); ``first``: joins that one."""
        program = self._program()
        if program is None:
            raise RuntimeError("no server's program")
        self.program = program
        self.folder = folder.absolute()
        self.node = node
        self.first = first
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.cluster_port = free_port(), free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.ca_file = self._certify() if tls else None
        self.audit_file = self.folder / "audit.log"
        self.log_file = self.folder / "log"
        self.password = first.password if first else secrets.token_urlsafe(18)
        self._token: str | None = None
        self._roles = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        if self.ca_file:
            self._session.verify = str(self.ca_file)
        self._write()

    @staticmethod
    def _program() -> str | None:
        return binary()

    # the process

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def seal_key(self) -> Path:
        """Whoever joins shares the seal."""
        return self.first.seal_key if self.first else self.folder / "seal.key"

    def start(self, *, wait: bool = True) -> Self:
        """Until it is unsealed and answers as active node, or as standby."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, "server", f"-config={self.folder / 'server.hcl'}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=self.folder, env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder)},
            )  # fmt: skip
        # whatever happens to the test session: when it is gone this pipe ends, and so does the server
        self._watch = subprocess.Popen(
            ["sh", "-c", 'read -r _; kill -9 "$0"', str(self._process.pid)], stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        if wait:
            self.wait_ready()
        return self

    def stop(self) -> None:
        """As a service manager stops it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9: nothing is tidied."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It takes connections (the system does) and does not answer."""
        os.kill(self.pid, signal.SIGSTOP)
        time.sleep(0.1)  # all of its threads

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def seal(self) -> None:
        """Sealed until ``unseal``: it answers, 503."""
        self.api("PUT", "sys/seal")
        wait_until(lambda: self.health() == 503, "sealed")

    def unseal(self) -> None:
        """The static seal opens at start."""
        self.stop()
        self.start()

    def health(self) -> int:
        """Status of ``sys/health``: 200 active, 429 standby, 501 not set up, 503 sealed; 0 nobody answers."""
        try:
            return self._session.get(f"{self.url}/v1/sys/health", timeout=2).status_code
        except requests.RequestException:
            return 0

    def wait_ready(self) -> None:
        """Raises with the log's end where the server gave up."""

        def ready() -> bool:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(self.log_file.read_text()[-2_000:])
            return self.health() in {200, 429} and self._may_enter()

        try:
            wait_until(ready, "ready")
        except TimeoutError:
            raise TimeoutError(f"OpenBao {self.node}: {self.log_file.read_text()[-2_000:]}") from None

    def close(self) -> None:
        """Gone, with its connections; the folder stays."""
        if self._process is not None:
            self.kill()
        self._session.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # speaking to it

    def admin_token(self) -> str:
        """Good for a day, and after restarts."""
        if self._token is None:
            answer = self.api("POST", "auth/userpass/login/admin", {"password": self.password}, token="")
            self._token = answer["auth"]["client_token"]
        return self._token

    def api(
        self, method: str, path: str, body: Any = None, token: str | None = None, *, namespace: str = "", wrap: str = "",
    ) -> dict[str, Any]:  # fmt: skip
        """The whole answer (``data``, ``auth``, ``request_id`` as the audit file has it, …), {} for none.

        ``token``: None is the admin's, "" is none. ``wrap``: seconds of a wrapped answer. Raises ``ApiError``.
        """
        answer = self.raw(method, path, body, token, namespace=namespace, wrap=wrap)
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, answer.json().get("errors", []) if answer.content else [])
        return answer.json() if answer.content else {}

    def status(self, method: str, path: str, body: Any = None, token: str | None = None) -> int:
        """Only the status: for what must be forbidden."""
        return self.raw(method, path, body, token).status_code

    def raw(
        self, method: str, path: str, body: Any = None, token: str | None = None, *, namespace: str = "", wrap: str = "",
    ) -> requests.Response:  # fmt: skip
        headers = {"X-Vault-Request": "true"}
        if (bearer := self.admin_token() if token is None else token) != "":
            headers["X-Vault-Token"] = bearer
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        if wrap:
            headers["X-Vault-Wrap-TTL"] = wrap
        return self._session.request(method, f"{self.url}/v1/{path}", json=body, headers=headers, timeout=30)

    def enable(self, mount: str, kind: str = "transit", *, namespace: str = "") -> str:
        """A secrets engine at ``mount``; nothing where it is there."""
        mounts = self.api("GET", "sys/mounts", namespace=namespace)["data"]
        if f"{mount}/" not in mounts:
            self.api("POST", f"sys/mounts/{mount}", {"type": kind}, namespace=namespace)
        return mount

    def add_policy(self, name: str, hcl: str, *, namespace: str = "") -> str:
        self.api("POST", f"sys/policies/acl/{name}", {"policy": hcl}, namespace=namespace)
        return name

    def role(self, *policies: str, **settings: Any) -> str:
        """A new AppRole role; its name. ``settings``: ``token_ttl="3s"``, ``token_type="batch"``, …"""
        self._roles += 1
        name = f"role-{self.node}-{self._roles}"
        self.api("POST", f"auth/approle/role/{name}", {"token_policies": list(policies), "token_ttl": "1h", **settings})
        return name

    def role_id(self, role: str) -> str:
        return self.api("GET", f"auth/approle/role/{role}/role-id")["data"]["role_id"]

    def secret_id(self, role: str) -> str:
        """A plain secret id."""
        return self.api("POST", f"auth/approle/role/{role}/secret-id")["data"]["secret_id"]

    def wrapped_secret_id(self, role: str, seconds: int = 300) -> str:
        """A wrapping token: unwrapped once, by whoever has it first."""
        return self.api("POST", f"auth/approle/role/{role}/secret-id", wrap=str(seconds))["wrap_info"]["token"]

    def approle(self, *policies: str, **settings: Any) -> tuple[str, str]:
        """(role id, wrapping token of a secret id) of a new role with these policies."""
        role = self.role(*policies, **settings)
        return self.role_id(role), self.wrapped_secret_id(role)

    def token_for(self, *policies: str, ttl: str = "1h", **settings: Any) -> str:
        """A service token with these policies and no more."""
        body = {"policies": list(policies), "ttl": ttl, "no_default_policy": False, **settings}
        return self.api("POST", "auth/token/create-orphan", body)["auth"]["client_token"]

    def login_for(self, *policies: str, **settings: Any) -> Any:
        """A ``core.vault.AppRole`` of a new role; its wrapped secret id lies in a file of the server's folder."""
        from core.vault import AppRole

        role = self.role(*policies, **settings)
        file = self.folder / f"{role}.secret-id"
        file.write_text(self.wrapped_secret_id(role))
        file.chmod(0o600)
        return AppRole(
            role_id=self.role_id(role), secret_id_file=file, creation_path=f"auth/approle/role/{role}/secret-id"
        )

    def audit_hash(self, value: str) -> str:
        """``hmac-sha256:…`` as the audit file shows that string."""
        return self.api("POST", f"sys/audit-hash/{AUDIT}", {"input": value})["data"]["hash"]

    def rotate_audit(self, kept: Path) -> None:
        """As logrotate: the file moves away, the server is told (SIGHUP) and opens a new one."""
        self.audit_file.rename(kept)
        os.kill(self.pid, signal.SIGHUP)
        wait_until(self.audit_file.exists, "a new audit file")

    # inside

    def _may_enter(self) -> bool:
        """Set up to the end: health is 200 before the first set-up has run."""
        try:
            self._token = None
            return bool(self.admin_token())
        except (ApiError, requests.RequestException):
            return False

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        if self._watch is not None:  # before the process: its number may be another's afterwards
            self._watch.kill()
            self._watch.communicate()
            self._watch = None
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def _write(self) -> None:
        join = "\n".join(self._join(peer) for peer in [self.first] if peer)
        tls = "tls_disable = true"
        if self.ca_file:
            tls = f'tls_cert_file = "{self.folder}/tls.pem"\n  tls_key_file = "{self.folder}/tls.key"'
        text = CONFIG.format(
            url=self.url, port=self.port, cluster_port=self.cluster_port, folder=self.folder, node=self.node, tls=tls,
            join=join, seal_key=self.seal_key,
        )  # fmt: skip
        if self.first is None:
            text += SETUP.format(all=ALL, password=self.password)
        (self.folder / "data").mkdir(exist_ok=True)
        if not self.seal_key.exists():
            self.seal_key.write_bytes(secrets.token_bytes(32))
            self.seal_key.chmod(0o600)
        config = self.folder / "server.hcl"
        config.write_text(text)
        config.chmod(0o600)

    @staticmethod
    def _join(peer: "OpenBao") -> str:
        return f'  retry_join {{\n    leader_api_addr = "{peer.url}"\n  }}'

    def _certify(self) -> Path:
        import trustme

        authority = trustme.CA()
        pair = authority.issue_cert("127.0.0.1", "localhost")
        pair.private_key_pem.write_to_path(self.folder / "tls.key")
        pair.cert_chain_pems[0].write_to_path(self.folder / "tls.pem")
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        return self.folder / "ca.pem"


class Cluster:
    """Several nodes with one seal and one storage by raft."""

    def __init__(self, nodes: list[OpenBao]) -> None:
        self.nodes = nodes

    def leader(self) -> OpenBao:
        """The active node; waits for one."""
        found: list[OpenBao] = []

        def look() -> bool:
            found[:] = [n for n in self.nodes if n.health() == 200]
            return bool(found)

        wait_until(look, "a leader")
        return found[0]

    def standbys(self) -> list[OpenBao]:
        return [n for n in self.nodes if n.health() == 429]

    def step_down(self) -> OpenBao:
        """The leader gives up its place; the new one."""
        old = self.leader()
        old.api("PUT", "sys/step-down")
        found: list[OpenBao] = []

        def another() -> bool:
            found[:] = [n for n in self.nodes if n is not old and n.health() == 200]
            return bool(found)

        wait_until(another, "another leader")
        return found[0]

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def cluster(folder: Path, nodes: int = 3) -> Cluster:
    """Started, joined and all voting. The first node is the first leader; each may be stopped, killed, started."""
    first = OpenBao(folder / "n1", node="n1").start()
    made = Cluster([first])
    try:
        quick = {"server_stabilization_time": "1s"}
        first.api("POST", "sys/storage/raft/autopilot/configuration", quick)
        for number in range(2, nodes + 1):
            joined = OpenBao(folder / f"n{number}", node=f"n{number}", first=first)
            made.nodes.append(joined.start(wait=False))
        for joined in made.nodes[1:]:
            joined.wait_ready()
        wait_until(lambda: _voters(first) == nodes, "all nodes vote", 40)
    except BaseException:
        made.close()
        raise
    return made


def _voters(node: OpenBao) -> int:
    config = node.api("GET", "sys/storage/raft/configuration")["data"]["config"]
    return sum(bool(server["voter"]) for server in config["servers"])
