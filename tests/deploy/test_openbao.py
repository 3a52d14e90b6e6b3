"""deploy/openbao/ as it stands, with the secrets that deploy/prepare-secrets makes: OpenBao starts and opens itself, and signer
and auditor log in by their certificates, each with one duty."""

import json
import os
import shutil
import subprocess

import pytest

from core.clock import SystemClock
from core.errors import ServiceError
from core.settings import Settings
from core.values import Digest, SignatureAlgorithm
from core.vault import Vault, config_of
from signer.keystores.model import KeyPurpose
from signer.keystores.policies import Identity, policy_for
from signer.keystores.transit import TransitKeyStore
from tests.conftest import live_or_skip
from tests.deploy.kit import DEPLOY
from tests.openbao import binary, free_port, wait_until

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(url, folder with secrets, folder of the audit file)."""
    program = binary()
    if program is None:
        live_or_skip("OpenBao (bao)")
    folder = tmp_path_factory.mktemp("bao")
    secrets = folder / "secrets"
    subprocess.run([DEPLOY / "prepare-secrets", secrets, folder / "data"], check=True, capture_output=True)
    port, cluster = free_port(), free_port()
    text = (DEPLOY / "openbao" / "server.hcl").read_text()
    for old, new in (
        ("/run/secrets", str(secrets)), ("/openbao/file", str(folder / "raft")), ("/openbao/logs", str(folder)),
        ("0.0.0.0:8200", f"127.0.0.1:{port}"), ("0.0.0.0:8201", f"127.0.0.1:{cluster}"), ("openbao:8200", f"localhost:{port}"),
        ("openbao:8201", f"localhost:{cluster}"),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    (folder / "raft").mkdir()
    (folder / "server.hcl").write_text(text)
    url = f"https://127.0.0.1:{port}"
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "BAO_ADDR": url, "BAO_CACERT": str(secrets / "ca.pem")}
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [program, "server", f"-config={folder / 'server.hcl'}"], env=env, stdout=out, stderr=out
        )
    bao = shutil.which("bao") or program

    def run(*command, check=True):
        return subprocess.run(command, env=env, check=check, capture_output=True, text=True)

    def enter():
        assert process.poll() is None, (folder / "out").read_text()[-2000:]
        password = (secrets / "openbao-operator").read_text()
        return (
            run(
                bao, "login", "-no-print", "-method=userpass", "username=operator", f"password={password}", check=False
            ).returncode
            == 0
        )

    try:
        wait_until(enter, "OpenBao")
        run(bao, "secrets", "enable", "transit")
        for identity in (Identity.SIGNER, Identity.ENROLLER, Identity.AUDITOR, Identity.CUSTODIAN):
            policy = policy_for(identity, ["transit"])
            (folder / "policy.hcl").write_text(policy.hcl())
            run(bao, "policy", "write", policy.name, str(folder / "policy.hcl"))
        if not os.path.exists(folder / "bin" / "bao"):
            (folder / "bin").mkdir()
            (folder / "bin" / "bao").symlink_to(program)
        env["PATH"] = f"{folder / 'bin'}:{env['PATH']}"
        for _ in range(2):  # repeating it changes nothing
            run(DEPLOY / "openbao" / "logins", "cert", secrets / "ca.pem")
        yield url, secrets, folder, run
    finally:
        process.kill()
        process.wait()


def session(server, who, role):
    url, secrets, *_ = server
    return Vault(config_of(Settings(
        vault_url=url, vault_ca_file=secrets / "ca.pem", vault_login="cert", vault_role=role,
        vault_cert_file=secrets / f"{who}.pem", vault_key_file=secrets / f"{who}-key.pem",
    )))  # fmt: skip


async def test_the_signer_signs_the_enroller_makes_and_neither_does_the_others_work(server):
    signer, enroller = session(server, "signer", "dauso-signer"), session(server, "signer", "dauso-enroller")
    await signer.start()
    await enroller.start()
    try:
        store = TransitKeyStore(signer, ["transit"], enroller=enroller, clock=SystemClock())
        ref = await store.create("seal-01", KeyPurpose.SEAL, SignatureAlgorithm.ECDSA_P256_SHA256)
        assert await store.sign(ref, Digest.of(b"x"), purpose=KeyPurpose.SEAL, event_id="e")
        with pytest.raises(ServiceError) as refused:
            await signer.call("POST", "transit/keys/other", {"type": "ecdsa-p256"})
        assert refused.value.code == "vault.denied"
        with pytest.raises(ServiceError) as refused:
            await enroller.call(
                "POST", "transit/sign/seal-01", {"input": "eA==", "key_version": "1", "signature_algorithm": "pkcs1v15"}
            )
        assert refused.value.code == "vault.denied"
    finally:
        await signer.close()
        await enroller.close()


async def test_the_auditor_is_told_hashes_and_signs_nothing(server):
    auditor = session(server, "auditor", "dauso-auditor")
    await auditor.start()
    try:
        assert (await auditor.call("POST", "sys/audit-hash/to-file", {"input": "x"}))["hash"].startswith("hmac-sha256:")
        with pytest.raises(ServiceError):
            await auditor.call(
                "POST", "transit/sign/seal-01", {"input": "eA==", "key_version": "1", "signature_algorithm": "pkcs1v15"}
            )
    finally:
        await auditor.close()


@pytest.mark.parametrize(
    ("who", "role"), [("auditor", "dauso-signer"), ("signer", "dauso-auditor"), ("signer", "dauso-custodian")]
)
async def test_nobody_enters_as_somebody_else(server, who, role):
    vault = session(server, who, role)
    with pytest.raises(ServiceError) as refused:
        await vault.start()
    await vault.close()
    assert refused.value.code == "vault.login_failed"


async def test_the_custodian_is_there_for_a_while(server):
    _, secrets, _, run = server
    run(DEPLOY / "openbao" / "logins", "custodian", "cert", secrets / "ca.pem")
    vault = session(server, "signer", "dauso-custodian")
    await vault.start()
    await vault.close()
    run(DEPLOY / "openbao" / "logins", "no-custodian", "cert")
    vault = session(server, "signer", "dauso-custodian")
    with pytest.raises(ServiceError):
        await vault.start()
    await vault.close()


async def test_both_audit_devices_write_and_the_signer_is_named_as_compose_says(server):
    _, _, folder, _ = server
    lines = [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]
    signs = [each for each in lines if each["request"]["path"].startswith("transit/sign/") and not each.get("error")]
    names = {each["auth"]["display_name"] for each in signs if "dauso-signer" in each["auth"]["policies"]}
    named = (DEPLOY / "compose.yaml").read_text()
    assert names
    assert all(f"DAUSO_AUDIT_SIGNERS: {name}\n" in named for name in names), names
    assert '"type":"request"' in (folder / "out").read_text()


def test_what_is_asked_wrongly_is_explained():
    done = subprocess.run([DEPLOY / "openbao" / "logins", "password"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "logins cert" in done.stderr
