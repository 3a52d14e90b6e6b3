"""``dauso audit keys``, as an auditor runs it: an identity of the key server that may not sign, and exit codes."""

import asyncio
import base64
import json
import logging
import socket
import subprocess
import sys
import time

import pytest
import structlog
from typer.testing import CliRunner

from api.cli.app import app
from core.clock import VIETNAM, SystemClock
from core.db import Database
from core.limits import LIMITS
from core.values import Digest, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.policies import Identity, policy_for
from signer.keystores.uses import UseBook
from tests.audit.keyuse.makers import noise
from tests.flows.town import environment
from tests.openbao import free_port

CLOCK = SystemClock()
runner = CliRunner()


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.settle_seconds", 0)
    monkeypatch.setitem(LIMITS, "keyuse.horizon_seconds", 0)


class Office:
    """A database with a use book, a QR key at the server, and the auditor's environment."""

    def __init__(self, server, url, folder):
        self.server, self.url, self.folder = server, url, folder
        self.name = f"qr-{time.time_ns()}.p256"
        server.enable("transit")
        server.api("POST", f"transit/keys/{self.name}", {"type": "ecdsa-p256"})
        policy = policy_for(Identity.AUDITOR, ["transit"])
        server.add_policy(policy.name, policy.hcl())
        self.token = folder / "auditor.token"
        self.token.write_text(server.token_for(policy.name))
        self.since = f"{CLOCK.now().astimezone(VIETNAM):%Y-%m-%dT%H:%M:%S}"
        self.role = server.role("signing")
        server.add_policy("signing", 'path "transit/sign/+" { capabilities = ["update"] }')
        login = {"role_id": server.role_id(self.role), "secret_id": server.secret_id(self.role)}
        self.signer = server.api("POST", "auth/approle/login", login, token="")["auth"]["client_token"]

    def env(self, **more):
        return {
            "DAUSO_DATABASE_URL": self.url, "DAUSO_VAULT_URL": self.server.url, "DAUSO_VAULT_LOGIN": "token",
            "DAUSO_VAULT_TOKEN_FILE": str(self.token), "DAUSO_AUDIT_SIGNERS": f"dauso-signer, {self.role}",
            "DAUSO_AUDIT_FILES": str(self.server.audit_file), **more,
        }  # fmt: skip

    def note(self, text):
        ref = KeyRef(
            store="transit", name=self.name, version=1, purpose=KeyPurpose.QR,
            algorithm=SignatureAlgorithm.ECDSA_P256_SHA256, spki=b"", place="transit",
        )  # fmt: skip

        async def write():
            async with Database(self.url) as db, UseBook(db=db, clock=CLOCK, folder=self.folder) as book:
                await book.write(ref, Digest.of(text.encode()), "copy-1")

        asyncio.run(write())

    def sign(self, text):
        body = {"input": base64.b64encode(Digest.of(text.encode()).value).decode(), "prehashed": True, "key_version": 1}
        self.server.api("POST", f"transit/sign/{self.name}", body, self.signer)

    def audit(self, *arguments, code=0, env=None):
        time.sleep(1.1)  # whole seconds decide what a run reads
        result = runner.invoke(
            app, ["--home", str(self.folder), "audit", "keys", *map(str, arguments)], env=env or self.env()
        )
        logging.getLogger("dbos").handlers.clear()
        structlog.reset_defaults()
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result


@pytest.fixture
def office(openbao, laid_url, tmp_path):
    return Office(openbao, laid_url, tmp_path)


def rows(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.live
def test_every_use_with_its_cause_is_clean_and_one_without_is_a_finding(office):
    office.note("copy")
    office.sign("copy")
    said = office.audit("--since", office.since, code=1).stdout  # the roles that this test made are changed rules
    assert "keyuse.rules_changed" in said
    assert "keyuse.call_without_intent" not in said
    assert "1 lần ký, 1 lần có căn cứ" in said
    assert "Mọi lần dùng khóa đều có căn cứ" in office.audit().stdout
    office.sign("stolen")
    found = office.audit("--json", code=1)
    *findings, summary = rows(found)
    assert [(f["code"], f["severity"], f["key"], f["count"]) for f in findings] == [
        ("keyuse.call_without_intent", "critical", office.name, 1)
    ]
    assert (summary["clean"], summary["counts"]["calls"]) == (False, 1)
    assert "chưa" not in findings[0]["sentence"]
    assert office.name in findings[0]["sentence"]
    assert rows(office.audit("--json"))[-1]["clean"]


@pytest.mark.live
def test_a_first_run_that_comes_too_early_does_not_say_that_all_is_well(office, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.settle_seconds", 30)
    office.note("copy")
    office.sign("copy")
    said = office.audit("--since", office.since).stdout
    assert "Chưa có gì mới để đối soát; dòng trẻ hơn 30 giây" in said
    assert "Mọi lần dùng khóa đều có căn cứ" not in said


@pytest.mark.live
def test_a_comparison_that_ends_long_ago_is_no_clean_one(office, tmp_path, monkeypatch):
    office.note("x")
    office.sign("x")
    monkeypatch.setitem(LIMITS, "keyuse.late_seconds", 1)
    copy = tmp_path / "copy.log"
    time.sleep(2.1)
    copy.write_bytes(office.server.audit_file.read_bytes())
    said = office.audit(copy, "--since", office.since, code=3).stdout
    assert "keyuse.compared_late" in said
    assert "Mọi lần dùng khóa đều có căn cứ" not in said
    assert "keyuse.compared_late" not in office.audit(office.server.audit_file, "--live").stdout


@pytest.mark.live
def test_a_file_that_was_named_and_is_not_there_proves_nothing(office, tmp_path):
    result = office.audit(tmp_path / "nowhere.log", "--json", code=3)
    assert rows(result)[0]["error"] == "cli.no_such_file"


@pytest.mark.live
def test_an_auditor_who_is_not_let_in_has_proven_nothing(office, tmp_path):
    office.note("x")
    office.sign("x")
    (tmp_path / "wrong").write_text("s.wrong")
    env = office.env(DAUSO_VAULT_TOKEN_FILE=str(tmp_path / "wrong"))
    result = office.audit("--since", office.since, "--json", code=3, env=env)
    assert rows(result)[0]["error"].startswith("vault.")
    signer = tmp_path / "signer.token"
    signer.write_text(office.server.token_for("signing"))
    result = office.audit("--since", office.since, "--json", code=3, env=office.env(DAUSO_VAULT_TOKEN_FILE=str(signer)))
    assert rows(result)[0]["error"] == "vault.denied"


@pytest.mark.live
def test_a_device_that_the_server_does_not_know_proves_nothing(office):
    office.note("x")
    result = office.audit("--since", office.since, "--device", "nowhere", "--json", code=3)
    assert rows(result)[0]["error"].startswith("vault.")


def test_without_a_server_or_a_file_nothing_is_compared(laid_url, tmp_path):
    def audit(*arguments, **env):
        result = runner.invoke(
            app,
            ["--home", str(tmp_path), "audit", "keys", "--json", *arguments],
            env={"DAUSO_DATABASE_URL": laid_url, **env},
        )
        structlog.reset_defaults()
        assert result.exit_code == 3
        return rows(result)[0]["error"]

    assert audit() == "keyuse.no_transit"
    (tmp_path / "token").write_text("t")
    server = {"DAUSO_VAULT_URL": f"http://127.0.0.1:{free_port()}", "DAUSO_VAULT_LOGIN": "token",
              "DAUSO_VAULT_TOKEN_FILE": str(tmp_path / "token")}  # fmt: skip
    assert audit(**server).startswith("vault.")


def test_what_a_socket_device_sends_is_appended_to_a_file(tmp_path):
    port, file = free_port(), tmp_path / "second.log"
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "api.cli", "audit", "listen", str(file), "--bind", f"127.0.0.1:{port}"],
        env=environment() | {"DAUSO_HOME": str(tmp_path)}, cwd="/", stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert str(file) in child.stderr.readline()
        data = noise(20)
        with socket.create_connection(("127.0.0.1", port)) as sending:
            sending.sendall(data)
        until = time.monotonic() + 10
        while time.monotonic() < until and (not file.exists() or file.stat().st_size < len(data)):
            time.sleep(0.05)
        assert file.read_bytes() == data
    finally:
        child.terminate()
        child.communicate(timeout=10)


def test_an_address_that_is_none_is_refused(tmp_path):
    for bind in ("nowhere", "127.0.0.1:99999"):
        result = runner.invoke(app, ["--home", str(tmp_path), "audit", "listen", str(tmp_path / "f"), "--bind", bind])
        assert (result.exit_code, type(result.exception)) == (3, SystemExit)
        assert "keyuse.cannot_listen" in result.output
