"""Settings and addresses."""

import pytest

from core.errors import BadInput
from core.settings import Settings
from core.vault import AppRole, Cert, Kubernetes, TokenFile, Vault, VaultConfig, config_of


def made(tmp_path, **values):
    return config_of(Settings(home=tmp_path, **{f"vault_{k}": v for k, v in values.items()}))


@pytest.mark.parametrize(
    "url", ["https://vault.example.vn:8200", "http://127.0.0.1:8200", "http://localhost", "http://[::1]:8200", "https://[2001:db8::1]"]
)  # fmt: skip
def test_https_or_this_machine(url, tmp_path):
    assert made(tmp_path, url=url, login="token", token_file=tmp_path / "t").url == url


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://vault.example.vn:8200", "vault.not_https"),
        ("http://10.0.0.7:8200", "vault.not_https"),
        ("http://127.0.0.1.example.vn", "vault.not_https"),
        ("ftp://127.0.0.1", "vault.not_https"),
        ("https://user:pass@vault.example.vn", "vault.not_configured"),
        ("https://vault.example.vn/v1", "vault.not_configured"),
        ("https://vault.example.vn?x=1", "vault.not_configured"),
        ("vault.example.vn", "vault.not_configured"),
        ("", "vault.not_configured"),
    ],
)
def test_any_other_address_is_refused(url, code, tmp_path):
    with pytest.raises(BadInput) as caught:
        made(tmp_path, url=url, login="token", token_file=tmp_path / "t")
    assert caught.value.code == code
    assert "pass" not in repr(caught.value.evidence)


def test_the_four_logins(tmp_path):
    url, file = "https://v.example.vn/", tmp_path / "f"
    wrapped = made(tmp_path, url=url, role_id="r", role="signer", secret_id_file=file).login
    assert wrapped == AppRole(role_id="r", secret_id_file=file, creation_path="auth/approle/role/signer/secret-id")
    plain = made(tmp_path, url=url, role_id="r", secret_id_file=file, wrapped=False, mount="machines").login
    assert plain == AppRole(role_id="r", secret_id_file=file, wrapped=False, mount="machines")
    assert made(tmp_path, url=url, login="kubernetes", role="r", jwt_file=file).login == Kubernetes(
        role="r", jwt_file=file
    )
    assert made(tmp_path, url=url, login="cert", cert_file=file, key_file=file).login == Cert(
        cert_file=file, key_file=file
    )
    assert made(tmp_path, url=url, login="token", token_file=file).login == TokenFile(path=file)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({}, "vault_role_id"),
        ({"role_id": "r"}, "vault_secret_id_file"),
        ({"role_id": "r", "secret_id_file": "f"}, "vault_role"),  # a wrapped one must come from a known place
        ({"role_id": "r", "secret_id_file": "f", "role": "../x"}, "vault_role"),
        ({"role_id": "r", "secret_id_file": "f", "role": "x", "mount": "a b"}, "vault_mount"),
        ({"login": "kubernetes", "jwt_file": "f"}, "vault_role"),
        ({"login": "kubernetes", "role": "r"}, "vault_jwt_file"),
        ({"login": "cert", "cert_file": "f"}, "vault_key_file"),
        ({"login": "token"}, "vault_token_file"),
        ({"login": "token", "token_file": "f", "namespace": "a\nb"}, "vault_namespace"),
    ],
)
def test_the_missing_setting_is_named(values, what, tmp_path):
    with pytest.raises(BadInput) as caught:
        made(tmp_path, url="https://v.example.vn", **values)
    assert caught.value.code == "vault.not_configured" and caught.value.evidence == {"what": what}


async def test_a_file_of_roots_that_is_not_there_is_named(tmp_path):
    login = TokenFile(path=tmp_path / "t")
    vault = Vault(VaultConfig(url="https://v.example.vn", login=login, ca_file=tmp_path / "none.pem"))
    with pytest.raises(BadInput) as caught:
        await vault.start()
    assert caught.value.evidence == {"what": "vault_ca_file"}
    await vault.close()


async def test_what_is_shown_of_it_is_its_host(tmp_path):
    config = VaultConfig(
        url="https://v.example.vn:8200",
        login=AppRole(role_id="role-7", secret_id_file=tmp_path / "f", creation_path="x"),
    )
    vault = Vault(config)
    assert repr(vault) == "Vault('v.example.vn')"
    assert "role-7" not in repr(config)
    await vault.close()
