"""The web process with every secret it has signs nothing: it opens no store, reads no login, and its identity may nothing."""

import json
import subprocess
import sys

import pytest

from api import bootstrap
from api.roles import ProcessRole
from core.errors import Broken
from core.settings import Settings
from signer.keystores.policies import Identity, policy_for
from tests.flows import town

_PROBE = """
import json, os, sys
from pathlib import Path
import requests
from api.confinement import shut_out_of_keys
from core.settings import Settings

settings = Settings()
confined = shut_out_of_keys(settings)
tried, had = {}, []
for name, value in settings:
    if name.endswith("_file") and value is not None and name != "web_key_file":
        try:
            had.append(Path(value).read_text())
            tried[name] = "read"
        except PermissionError:
            tried[name] = "refused"
for folder, _, files in os.walk(settings.home):
    for each in files:
        try:
            had.append((Path(folder) / each).read_bytes().decode("latin-1"))
        except PermissionError:
            pass
had += [*os.environ.values(), *map(str, settings.model_dump().values())]
url, session = settings.vault_url + "/v1/", requests.Session()
session.trust_env = False
def may(token, path, body=None):
    ask = session.post if body is not None else session.get
    return ask(url + path, json=body, headers={"X-Vault-Token": token}, timeout=9).status_code
usable = [each.strip() for each in had if 0 < len(each.strip()) < 200 and each.isprintable()]
entered = []
for each in usable:
    if each.isascii() and may(each, "auth/token/lookup-self") == 200:
        entered.append("a token")
    login = {"role_id": settings.vault_role_id, "secret_id": each}
    if session.post(url + "auth/approle/login", json=login, timeout=9).status_code == 200:
        entered.append("a secret id")
sign = {"input": "AAAA", "key_version": "1", "signature_algorithm": "pkcs1v15"}
sys.stdout.write(json.dumps({
    "confined": confined, "tried": tried, "entered": entered, "usable": len(usable), "bare": may("", "transit-web/sign/seal", sign),
}))
"""


@pytest.fixture
def server(openbao, tmp_path):
    """A house whose signer logs in at a real server; what its files hold lets in."""
    openbao.enable("transit-web")
    openbao.api("POST", "transit-web/keys/seal", {"type": "ecdsa-p256"})
    policy = policy_for(Identity.SIGNER, ["transit-web"], "web-test")
    openbao.add_policy(policy.name, policy.hcl())
    role = openbao.role(policy.name, token_no_default_policy=True)
    files = {
        "vault_secret_id_file": openbao.secret_id(role), "vault_token_file": openbao.token_for(policy.name),
        "vault_enroller_secret_id_file": openbao.secret_id(role), "vault_custodian_secret_id_file": openbao.secret_id(role),
        "vault_key_file": "a key", "vault_jwt_file": "a token", "pkcs11_pin_file": "1234",
    }  # fmt: skip
    given = {"vault_url": openbao.url, "vault_role_id": openbao.role_id(role), "vault_role": role}
    for name, text in files.items():
        path = tmp_path / "logins" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        given[name] = str(path)
    return given


async def test_a_taken_web_process_reads_no_login_and_enters_with_nothing_it_has(openbao, server, tmp_path):
    await town.build(tmp_path / "home")
    entry = {"role_id": server["vault_role_id"], "secret_id": (tmp_path / "logins/vault_secret_id_file").read_text()}
    assert openbao.status("POST", "auth/approle/login", entry, token="") == 200  # whoever reads the file is in
    env = town.environment() | {"DAUSO_HOME": str(tmp_path / "home")}
    env |= {f"DAUSO_{name.upper()}": value for name, value in server.items()}
    result = subprocess.run(
        [sys.executable, "-P", "-c", _PROBE], env=env, cwd="/", capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert seen["confined"]
    assert len(seen["tried"]) >= 7
    assert set(seen["tried"].values()) == {"refused"}, seen["tried"]
    assert seen["usable"] > 20
    assert seen["entered"] == []
    assert seen["bare"] in {400, 403}


@pytest.mark.parametrize("role", [ProcessRole.WEB, ProcessRole.WORKER], ids=str)
async def test_no_other_role_opens_a_store(tmp_path, monkeypatch, role):
    settings = await town.build(tmp_path / "home")

    def never(*_, **__):
        raise AssertionError("a store was opened")

    monkeypatch.setattr(bootstrap, "open_ring", never)
    monkeypatch.setattr(bootstrap, "open_signer", never)
    async with bootstrap.open_service(settings, role) as service:
        assert service.signing is None
        for part in ("copies", "enrolment", "publisher", "books", "jobs"):
            with pytest.raises(Broken) as raised:
                getattr(service, part)
            assert raised.value.code == "home.role"
    with pytest.raises(AssertionError):
        async with bootstrap.open_service(settings, ProcessRole.SIGNER):
            pass


def test_no_setting_holds_a_login_itself():
    """Settings are read by every process; logins stand in files, so that a file's rights decide who has them."""
    named = [name for name in Settings.model_fields if name.startswith(("vault_", "pkcs11_"))]
    secrets = [n for n in named if any(word in n for word in ("secret", "token", "pin", "key", "jwt", "password"))]
    assert [n for n in secrets if not n.endswith("_file")] == ["pkcs11_token"]  # a label
