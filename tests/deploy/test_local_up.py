"""deploy/local-up: the whole topology with the real programs. It comes up, does its work, keeps its walls, and leaves nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import pytest
import requests

from core.limits import LIMITS
from tests.conftest import _postgres_bin, live_or_skip
from tests.deploy.kit import DEPLOY, path_with_tools, tool
from tests.flows import town
from tests.openbao import binary, free_port

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(400)]


class Running:
    """One town; what its processes know is read from the kernel."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.out = folder.parent / f"{folder.name}.out"
        env = {"PATH": path_with_tools(), "LANG": "C.UTF-8", "HOME": str(folder), "DAUSO_PYTHON": sys.executable}
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [DEPLOY / "local-up", folder, "--port", str(port), "--objects", "s3"],
                env=env,
                stdout=out,
                stderr=out,
                cwd="/",
            )
        until = time.monotonic() + 240
        while not (folder / "addresses.json").exists():
            assert self.process.poll() is None, self.out.read_text()
            assert time.monotonic() < until, self.out.read_text()
            time.sleep(0.2)
        self.at = json.loads((folder / "addresses.json").read_text())

    def children(self) -> dict[str, int]:
        """Pids by what they are."""
        found = {}
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            found["openbao" if "server" in words else Path(words[0]).name if "api.cli" not in words else words[-2]] = (
                int(pid)
            )
        return found

    def environment(self, name: str) -> dict[str, str]:
        raw = Path(f"/proc/{self.children()[name]}/environ").read_bytes().decode()
        return dict(line.split("=", 1) for line in raw.split("\0") if "=" in line)

    def dauso(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of ours with what one of the processes knows."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "api.cli", *arguments], env=self.environment(name), cwd="/", capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip

    def bao(self, method: str, path: str, body: dict | None = None) -> dict:
        """As the operator."""
        login = {"password": (self.folder / "secrets" / "openbao-operator").read_text()}
        token = requests.post(f"{self.at['openbao']}/v1/auth/userpass/login/operator", json=login, timeout=10).json()[
            "auth"
        ]["client_token"]
        return requests.request(
            method, f"{self.at['openbao']}/v1/{path}", headers={"X-Vault-Token": token}, json=body, timeout=10
        ).json()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(120)


@pytest.fixture(scope="module")
def up():
    if binary() is None:
        live_or_skip("OpenBao (bao)")
    if _postgres_bin() is None:
        live_or_skip("PostgreSQL")
    tool("versitygw")
    folder = Path(tempfile.mkdtemp(prefix="dauso-up-", dir="/tmp"))
    folder.chmod(0o755)  # PostgreSQL runs as a user of its own
    running = Running(folder / "town", free_port() // 10 * 10)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_the_public_door_answers_and_reaches_the_signer_and_its_keys(up):
    assert httpx2.get(f"{up.at['web']}/readyz", timeout=10).text == "ready\n"
    assert httpx2.get(f"{up.at['web']}/pki/certs/root.cer", timeout=10).status_code == 200
    before = (up.folder / "bao" / "audit.log").read_text().count('"path":"transit/sign/')
    assert httpx2.get(f"{up.at['web']}/pki/crl/issuing.crl", timeout=10).status_code == 200
    assert (up.folder / "bao" / "audit.log").read_text().count('"path":"transit/sign/') > before


def test_a_portal_leaves_a_file_in_the_object_store(up):
    made = up.dauso(
        "signer",
        "client",
        "add",
        "Cổng thử",
        "--agency",
        "H99.1",
        "--scope",
        "copies:write",
        "--scope",
        "directory:read",
        "--json",
    )
    assert made.returncode == 0, made.stderr
    head = {"authorization": f"Bearer {json.loads(made.stdout)['api_key']}", "content-type": "application/octet-stream"}
    assert httpx2.get(f"{up.at['web']}/api/v1/agencies", headers=head, timeout=10).json()["items"][0]["code"] == "H99.1"
    sent = httpx2.post(f"{up.at['web']}/api/v1/files", headers=head, content=town.scan(), timeout=30)
    assert sent.status_code == 201, sent.text
    assert [
        each
        for each in (up.folder / "objects" / "documents").rglob("*")
        if each.is_file() and each.read_bytes() == town.scan()
    ]


def test_openbao_holds_the_keys_and_the_signers_home_holds_none(up):
    names = up.bao("LIST", "transit/keys")["data"]["keys"]
    assert {name.partition("-")[0] for name in names} >= {"ca", "log", "tsa", "ocsp", "list", "report", "seal", "qr"}
    for name in names:
        key = up.bao("GET", f"transit/keys/{name}")["data"]
        assert (key["exportable"], key["allow_plaintext_backup"], key["deletion_allowed"]) == (False, False, False)
    home = {each.name for each in (up.folder / "home" / "signer").rglob("*")}
    assert not home & {"keys", "key-file"}


def test_the_doctor_finds_stores_and_keys_well(up):
    done = up.dauso("signer", "doctor", "keys")
    assert done.returncode == 0, done.stdout
    assert "key store transit: open" in done.stdout
    assert "rights: as generated" in done.stdout


def test_only_the_signer_knows_of_openbao(up):
    assert up.environment("signer")["DAUSO_VAULT_URL"] == up.at["openbao"]
    for name in ("serve", "worker"):
        known = up.environment(name)
        assert not [
            key for key in known if "VAULT" in key or key in {"DAUSO_KEYS", "DAUSO_PEOPLE_KEY_FILE", "DAUSO_HIGHWATER"}
        ]
        assert not {known["DAUSO_DATABASE_URL"], known["PGPASSWORD"]} & set(up.environment("signer").values())


def test_the_wrapped_secret_ids_are_used_up(up):
    assert not list((up.folder / "secrets").glob("*.secret-id"))


def test_the_auditor_proves_every_use_of_a_key_with_a_user_and_a_login_of_its_own(up, tmp_path):
    """What compose.yaml's auditor is told and nothing else, but for the way it logs in: there by certificate."""
    role = "auth/approle/role/dauso-auditor"
    (tmp_path / "secret-id").write_text(up.bao("POST", f"{role}/secret-id", {})["data"]["secret_id"])
    signer = up.environment("signer")
    env = {
        "PATH": signer["PATH"], "LANG": "C.UTF-8", "HOME": str(tmp_path), "PYTHONPATH": signer["PYTHONPATH"],
        "DAUSO_HOME": str(tmp_path / "none"), "PGPASSWORD": (up.folder / "secrets" / "database-dauso_auditor").read_text(),
        "DAUSO_DATABASE_URL": signer["DAUSO_DATABASE_URL"].replace("//dauso@", "//dauso_auditor@"),
        "DAUSO_AUDIT_FILES": up.at["audit"], "DAUSO_TRANSIT_MOUNTS": "transit", "DAUSO_VAULT_URL": up.at["openbao"],
        "DAUSO_VAULT_LOGIN": "approle", "DAUSO_VAULT_ROLE": "dauso-auditor", "DAUSO_VAULT_WRAPPED": "false",
        "DAUSO_VAULT_ROLE_ID": up.bao("GET", f"{role}/role-id")["data"]["role_id"],
        "DAUSO_VAULT_SECRET_ID_FILE": str(tmp_path / "secret-id"),
    }  # fmt: skip
    time.sleep(LIMITS["keyuse.settle_seconds"])  # whatever is younger waits for the next run
    done = subprocess.run(
        [sys.executable, "-P", "-m", "api.cli", "audit", "keys", "--json"], env=env, cwd="/", capture_output=True, text=True, timeout=120
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr  # 1: the ceremony that prepared the store is found, too
    counts = json.loads(done.stdout.splitlines()[-1])["counts"]
    assert counts["matched"] == counts["calls"] > 0, done.stdout


def test_no_secret_stands_in_what_was_said(up):
    said = up.out.read_text() + "".join(each.read_text(errors="replace") for each in (up.folder / "logs").iterdir())
    for each in (up.folder / "secrets").iterdir():
        data = each.read_bytes()
        assert data.hex() not in said
        if len(data) != 32:
            assert data.decode() not in said, each.name


def test_ctrl_c_stops_all_of_it(up):
    pids = up.children().values()
    assert len(pids) == 6
    assert up.stop() == 0, up.out.read_text()
    assert "ready" in up.out.read_text()
    for pid in pids:
        assert not os.path.exists(f"/proc/{pid}")
    assert not (up.folder / "run" / "signer.sock").exists()
    assert not (up.folder / "addresses.json").exists()


@pytest.mark.parametrize("python", [None, "/nowhere/python", "bare"])
def test_without_an_environment_it_says_what_to_do(tmp_path, python):
    """A checkout as it was cloned; a Python that is not there; one that knows nothing of ours."""
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(DEPLOY / "local-up", tmp_path / "deploy" / "local-up")
    env = {"PATH": os.environ["PATH"]}
    if python == "bare":
        (tmp_path / "bare").write_text(
            "#!/bin/sh\necho 'Traceback …' >&2; echo 'ModuleNotFoundError: psycopg' >&2; exit 1\n"
        )
        (tmp_path / "bare").chmod(0o755)
        python = str(tmp_path / "bare")
    done = subprocess.run(
        [script, tmp_path / "town"],
        env=env | ({"DAUSO_PYTHON": python} if python else {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    guide = (DEPLOY.parent / "docs/operate/deployment.md").read_text()
    for each in ("make .venv/.ready", "DAUSO_PYTHON"):
        assert each in done.stderr
        assert f"`{each}`" in guide
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "town").exists()
