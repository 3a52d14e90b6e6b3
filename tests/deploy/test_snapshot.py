"""docs/operate/keys.md, "Back up" and "Restore": a snapshot goes into an empty OpenBao with the same seal and audit paths, and the
keys in it sign as before; with another path of the audit file it stays sealed, as the guide warns.
"""

import contextlib
import os
import secrets
import subprocess

import pytest
import requests

from tests.conftest import live_or_skip
from tests.deploy.kit import DEPLOY
from tests.openbao import binary, free_port, wait_until

pytestmark = pytest.mark.live


@contextlib.contextmanager
def server(folder, seal, audit):
    """An empty OpenBao as deploy/local-up starts one; yields ``call(method, path, …)`` and ``enter(password)``."""
    program = binary()
    if program is None:
        live_or_skip("OpenBao (bao)")
    (folder / "bao" / "raft").mkdir(parents=True)
    (folder / "secrets").mkdir()
    (folder / "secrets" / "openbao-seal").write_bytes(seal)
    password = secrets.token_hex(12)
    (folder / "secrets" / "openbao-operator").write_text(password)
    port = free_port()
    text = (DEPLOY / "openbao" / "local.hcl").read_text().replace("@FOLDER@/bao/audit.log", str(audit))
    for name, value in (("FOLDER", folder), ("BAO", port), ("CLUSTER", free_port())):
        text = text.replace(f"@{name}@", str(value))
    (folder / "server.hcl").write_text(text)
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [program, "server", f"-config={folder / 'server.hcl'}"], env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield _Server(f"http://127.0.0.1:{port}/v1", password)
    finally:
        process.kill()
        process.wait()


class _Server:
    def __init__(self, url, password):
        self.url, self.password, self.token = url, password, ""
        wait_until(lambda: self.enter(password), "OpenBao")

    def enter(self, password):
        with contextlib.suppress(requests.ConnectionError):
            answer = requests.post(f"{self.url}/auth/userpass/login/operator", json={"password": password}, timeout=10)
            if answer.status_code == 200:
                self.token = answer.json()["auth"]["client_token"]
            return answer.status_code == 200
        return False

    def call(self, method, path, **more):
        return requests.request(method, f"{self.url}/{path}", headers={"X-Vault-Token": self.token}, timeout=20, **more)

    def sealed(self):
        return requests.get(f"{self.url}/sys/seal-status", timeout=10).json()["sealed"]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    """(bytes, seal, path of the audit file, password of the operator in it)."""
    folder, seal = tmp_path_factory.mktemp("first"), secrets.token_bytes(32)
    audit = folder / "audit.log"
    with server(folder, seal, audit) as first:
        assert first.call("POST", "sys/mounts/transit", json={"type": "transit"}).status_code == 204
        assert first.call("POST", "transit/keys/seal-1", json={"type": "ecdsa-p256"}).status_code == 200
        taken = first.call("GET", "sys/storage/raft/snapshot")
        assert taken.status_code == 200
        return taken.content, seal, audit, first.password


def test_an_empty_server_goes_on_with_what_was_saved(snapshot, tmp_path):
    data, seal, audit, password = snapshot
    with server(tmp_path, seal, audit) as other:
        assert other.call("POST", "sys/storage/raft/snapshot", data=data).status_code == 204
        wait_until(lambda: other.enter(password), "the operator of the snapshot")
        body = {"input": "eA==", "key_version": 1, "signature_algorithm": "pkcs1v15"}
        assert other.call("POST", "transit/sign/seal-1", json=body).json()["data"]["signature"].startswith("vault:v1:")
        assert not other.enter(other.password), "log-ins of the empty server are gone"


def test_another_path_of_the_audit_file_leaves_it_sealed(snapshot, tmp_path):
    data, seal, _, _ = snapshot
    with server(tmp_path, seal, tmp_path / "elsewhere.log") as other:
        other.call("POST", "sys/storage/raft/snapshot", data=data)
        wait_until(other.sealed, "sealed")
