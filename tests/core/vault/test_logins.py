"""Logging in at a real server."""

import asyncio
import datetime as dt
import json

import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core.clock import SystemClock
from core.errors import Refused, ServiceError
from core.vault import AppRole, Cert, Kubernetes, TokenFile, Vault, VaultConfig
from tests.openbao import ApiError, OpenBao, binary
from tests.servers import http

pytestmark = pytest.mark.live

KEYS = 'path "transit/keys/+" { capabilities = ["create", "update", "read"] }'


@pytest.fixture
def policy(openbao):
    return openbao.add_policy("h1-keys", KEYS)


async def entered(openbao, login, **more) -> Vault:
    vault = Vault(VaultConfig(url=openbao.url, login=login, **more))
    try:
        await vault.start()
    except ServiceError:
        await vault.close()
        raise
    return vault


async def refused(openbao, login, **more) -> str:
    with pytest.raises(Refused) as caught:
        await entered(openbao, login, **more)
    assert caught.value.__context__ is None
    return caught.value.code


async def test_a_wrapped_secret_id(openbao, policy):
    login = openbao.login_for(policy)
    vault = await entered(openbao, login)
    assert await vault.call("POST", "transit/keys/h1-a", {"type": "ecdsa-p256"}) is not None
    assert (await vault.call("GET", "transit/keys/h1-a"))["latest_version"] == 1
    assert not login.secret_id_file.exists()  # used up
    version = openbao.raw("GET", "sys/health").json()["version"]
    assert (vault.capabilities.product, vault.capabilities.version) == (openbao.product, version)
    health = await vault.health()
    assert (health.state, health.version, health.code) == ("open", version, "")
    assert abs(health.clock_skew_seconds) < 2 and 3_000 < health.token_seconds_left <= 3_600
    await vault.close()


async def test_a_wrapping_token_that_somebody_has_used_is_an_alarm(openbao, policy):
    login = openbao.login_for(policy)
    stolen = login.secret_id_file.read_text()
    openbao.api("POST", "sys/wrapping/unwrap", token=stolen)
    with structlog.testing.capture_logs() as logs:
        assert await refused(openbao, login) == "vault.wrapped_twice"
    assert {"event": "vault.alarm", "code": "vault.wrapped_twice", "log_level": "error"} in logs
    assert stolen not in str(logs)


async def test_the_second_of_two_processes_with_one_wrapping_token_is_refused(openbao, policy):
    login = openbao.login_for(policy)
    kept = login.secret_id_file.read_text()
    first = await entered(openbao, login)
    login.secret_id_file.write_text(kept)
    assert await refused(openbao, login) == "vault.wrapped_twice"
    await first.close()


async def test_a_wrapping_token_made_elsewhere_is_an_alarm_and_stays_unopened(openbao, policy):
    login, other = openbao.login_for(policy), openbao.role(policy)
    foreign = openbao.wrapped_secret_id(other)
    login.secret_id_file.write_text(foreign)
    assert await refused(openbao, login) == "vault.wrong_wrapping"
    assert openbao.api("POST", "sys/wrapping/unwrap", token=foreign)["data"][
        "secret_id"
    ]  # still good: ours was not the hand
    cubbyhole = openbao.api("POST", "sys/wrapping/wrap", {"secret_id": "planted"}, wrap="60")["wrap_info"]["token"]
    login.secret_id_file.write_text(cubbyhole)
    assert await refused(openbao, login) == "vault.wrong_wrapping"


@pytest.mark.parametrize("content", [None, "", "two words", "chữ", "s.neverexisted"])
async def test_a_file_without_a_good_wrapping_token(openbao, policy, content):
    login = openbao.login_for(policy)
    login.secret_id_file.unlink()
    if content is not None:
        login.secret_id_file.write_text(content)
    assert await refused(openbao, login) == (
        "vault.wrapped_twice" if content == "s.neverexisted" else "vault.login_failed"
    )


async def test_a_new_login_uses_the_secret_id_in_memory_and_a_new_file_wins(openbao, policy):
    login = openbao.login_for(policy)
    vault = await entered(openbao, login)
    await vault._entered(vault._lease)
    assert vault.logins == 2
    role = login.creation_path.split("/")[3]
    openbao.api(
        "POST",
        f"auth/approle/role/{role}/secret-id/destroy",
        {"secret_id": vault._entrance._secret_id.get_secret_value()},
    )
    with pytest.raises(Refused):
        await vault._entered(vault._lease)
    login.secret_id_file.write_text(openbao.wrapped_secret_id(role))
    vault._refused_until = 0
    await vault._entered(vault._lease)
    assert vault.logins == 3
    await vault.close()


async def test_a_plain_secret_id_where_it_is_allowed(openbao, policy, tmp_path):
    role, file = openbao.role(policy), tmp_path / "secret-id"
    file.write_text(openbao.secret_id(role) + "\n")
    vault = await entered(openbao, AppRole(role_id=openbao.role_id(role), secret_id_file=file, wrapped=False))
    assert file.exists()
    await vault.close()
    file.write_text("00000000-0000-0000-0000-000000000000")
    login = AppRole(role_id=openbao.role_id(role), secret_id_file=file, wrapped=False)
    assert await refused(openbao, login) == "vault.login_failed"
    elsewhere = AppRole(role_id="x", secret_id_file=file, wrapped=False, mount="nowhere")
    assert await refused(openbao, elsewhere) == "vault.login_failed"


async def test_a_token_file_is_read_again_at_each_login_and_its_token_is_not_revoked(openbao, policy, tmp_path):
    file = tmp_path / "token"
    first, second = openbao.token_for(policy), openbao.token_for(policy)
    file.write_text(first)
    vault = await entered(openbao, TokenFile(path=file))
    openbao.api("POST", "auth/token/revoke", {"token": first})
    file.write_text(second)
    await vault.call("POST", "transit/keys/h1-file", {"type": "ecdsa-p256"})
    assert vault.logins == 2
    await vault.close()
    assert openbao.status("GET", "auth/token/lookup-self", token=second) == 200
    file.write_text(first)
    assert await refused(openbao, TokenFile(path=file)) == "vault.login_failed"


async def test_a_token_of_ours_is_revoked_when_we_leave(openbao, policy):
    vault = await entered(openbao, openbao.login_for(policy))
    token = vault._lease.token.get_secret_value()
    assert openbao.status("GET", "auth/token/lookup-self", token=token) == 200
    await vault.close()
    assert openbao.status("GET", "auth/token/lookup-self", token=token) == 403


async def test_batch_tokens_are_replaced_instead_of_renewed(openbao, policy):
    vault = await entered(openbao, openbao.login_for(policy, token_type="batch", token_ttl="2s"))
    assert vault._lease.renewable is False
    await asyncio.sleep(1.6)
    assert vault.logins == 2
    await vault.call("POST", "transit/keys/h1-batch", {"type": "ecdsa-p256"})
    assert vault.logins == 2
    await vault.close()


def jwt(key: ec.EllipticCurvePrivateKey, **claims) -> str:
    from joserfc import jwt as jose
    from joserfc.jwk import ECKey

    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip
    now = int(SystemClock().now().timestamp())
    body = {"iss": "cluster", "sub": "signer", "aud": "openbao", "iat": now, "exp": now + 600, **claims}
    return jose.encode({"alg": "ES256"}, body, ECKey.import_key(pem))


async def test_a_projected_token_is_read_again_at_each_login(openbao, policy, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    openbao.api("POST", "sys/auth/h1-jwt", {"type": "jwt"})
    openbao.api("POST", "auth/h1-jwt/config", {"jwt_validation_pubkeys": [public.decode()]})
    openbao.api(
        "POST", "auth/h1-jwt/role/signer",
        {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["openbao"], "token_policies": [policy]},
    )  # fmt: skip
    file = tmp_path / "jwt"
    file.write_text(jwt(key))
    login = Kubernetes(role="signer", jwt_file=file, mount="h1-jwt")
    vault = await entered(openbao, login)
    await vault.call("POST", "transit/keys/h1-jwt", {"type": "ecdsa-p256"})
    file.write_text(jwt(key, aud="somebody-else"))
    with pytest.raises(Refused) as caught:
        await vault._entered(vault._lease)
    assert caught.value.code == "vault.login_failed"
    vault._refused_until = 0
    file.write_text(jwt(key))
    await vault._entered(vault._lease)
    await vault.close()


async def test_the_kubernetes_method_with_a_token_review(openbao, policy, tmp_path):
    """The method asks the cluster's API whether the token is good; that API is ours here."""
    import trustme

    review = {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "status": {
            "authenticated": True, "audiences": ["openbao"],
            "user": {"username": "system:serviceaccount:dauso:signer", "uid": "u-1", "groups": ["system:serviceaccounts"]},
        },
    }  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    about = {"namespace": "dauso", "serviceaccount": {"name": "signer", "uid": "u-1"}}
    file = tmp_path / "jwt"
    file.write_text(jwt(key, aud=["openbao"], sub="system:serviceaccount:dauso:signer", **{"kubernetes.io": about}))

    def answer(method, body):
        assert json.loads(body)["spec"]["token"] == file.read_text()
        return 201, {"content-type": "application/json"}, json.dumps(review).encode()

    with http(answer) as port:
        openbao.api("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
        openbao.api(
            "POST", "auth/kubernetes/config",
            {
                "kubernetes_host": f"http://127.0.0.1:{port}", "disable_local_ca_jwt": True,
                "kubernetes_ca_cert": trustme.CA().cert_pem.bytes().decode(), "token_reviewer_jwt": file.read_text(),
            },
        )  # fmt: skip
        openbao.api(
            "POST", "auth/kubernetes/role/signer",
            {
                "bound_service_account_names": ["signer"], "bound_service_account_namespaces": ["dauso"],
                "audience": "openbao", "token_policies": [policy],
            },
        )  # fmt: skip
        vault = await entered(openbao, Kubernetes(role="signer", jwt_file=file))
        await vault.call("POST", "transit/keys/h1-k8s", {"type": "ecdsa-p256"})
        await vault.close()
        assert await refused(openbao, Kubernetes(role="nobody", jwt_file=file)) == "vault.login_failed"


async def test_namespaces(openbao):
    if openbao.product == "vault":
        assert openbao.status("POST", "sys/namespaces/h1-team") == 404  # Enterprise alone has them
        return
    openbao.api("POST", "sys/namespaces/h1-team")
    openbao.api("POST", "sys/auth/approle", {"type": "approle"}, namespace="h1-team")
    openbao.enable("transit", namespace="h1-team")
    openbao.add_policy("keys", KEYS, namespace="h1-team")
    openbao.api("POST", "auth/approle/role/s", {"token_policies": ["keys"]}, namespace="h1-team")
    role_id = openbao.api("GET", "auth/approle/role/s/role-id", namespace="h1-team")["data"]["role_id"]
    wrapped = openbao.api("POST", "auth/approle/role/s/secret-id", namespace="h1-team", wrap="60")["wrap_info"]["token"]
    file = openbao.folder / "h1-team.secret-id"
    file.write_text(wrapped)
    login = AppRole(role_id=role_id, secret_id_file=file, creation_path="auth/approle/role/s/secret-id")
    vault = await entered(openbao, login, namespace="h1-team")
    await vault.call("POST", "transit/keys/inside", {"type": "ecdsa-p256"})
    assert (await vault.call("GET", "transit/keys/inside"))["latest_version"] == 1
    with pytest.raises(ApiError):
        openbao.api("GET", "transit/keys/inside")  # the root's mount does not have it
    with pytest.raises(Refused):  # a token of the inner namespace is nobody outside
        await vault.call("GET", "transit/keys/inside", namespace="")
    await vault.close()


# over TLS


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory):
    if binary() is None:
        from tests.conftest import live_or_skip

        live_or_skip("OpenBao (bao)")
    with OpenBao(tmp_path_factory.mktemp("openbao-tls"), tls=True) as server:
        yield server


async def test_tls_with_its_authority(over_tls):
    vault = await entered(over_tls, over_tls.login_for("admin"), ca_file=over_tls.ca_file)
    assert (await vault.health()).state == "open"
    await vault.close()


async def test_a_wrong_authority_gets_nothing(over_tls, tmp_path):
    import trustme

    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    login = over_tls.login_for("admin")
    for ca_file in (tmp_path / "other.pem", None):
        vault = Vault(VaultConfig(url=over_tls.url, login=login, ca_file=ca_file))
        with pytest.raises(ServiceError) as caught:
            await vault.start()
        assert caught.value.code == "vault.untrusted" and caught.value.__context__ is None
        health = await vault.health()
        assert (health.state, health.code) == ("unreachable", "vault.untrusted")
        await vault.close()
    assert login.secret_id_file.exists()  # the wrapping token did not leave


async def test_a_name_that_is_not_in_the_certificate(over_tls):
    login = over_tls.login_for("admin")
    vault = Vault(
        VaultConfig(url=over_tls.url.replace("127.0.0.1", "127.0.0.2"), login=login, ca_file=over_tls.ca_file)
    )
    with pytest.raises(ServiceError) as caught:
        await vault.start()
    assert caught.value.code in {"vault.untrusted", "vault.unreachable"}
    await vault.close()


async def test_a_client_certificate(over_tls, tmp_path):
    import trustme

    people = trustme.CA()
    good, other = (ca.issue_cert("signer.local", common_name="signer.local") for ca in (people, trustme.CA()))
    over_tls.api("POST", "sys/auth/cert", {"type": "cert"})
    over_tls.api(
        "POST", "auth/cert/certs/signer",
        {"certificate": people.cert_pem.bytes().decode(), "allowed_common_names": ["signer.local"], "token_policies": ["admin"]},
    )  # fmt: skip
    for name, pair in (("good", good), ("other", other)):
        pair.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        pair.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    login = Cert(cert_file=tmp_path / "good.pem", key_file=tmp_path / "good.key", role="signer")
    vault = await entered(over_tls, login, ca_file=over_tls.ca_file)
    assert (await vault.call("GET", "auth/token/lookup-self"))["display_name"] == "cert-signer"
    lease = await vault._entrance.renew(vault._lease)  # the certificate is asked for again
    assert lease is not None and lease.generation == 1
    await vault.close()
    login = Cert(cert_file=tmp_path / "other.pem", key_file=tmp_path / "other.key", role="signer")
    assert await refused(over_tls, login, ca_file=over_tls.ca_file) == "vault.login_failed"


def test_the_clock_is_compared(openbao):
    """``clock_skew_seconds`` is the server's clock minus ours."""

    class Late:
        def now(self) -> dt.datetime:
            return SystemClock().now() - dt.timedelta(seconds=90)

    async def skew() -> float:
        vault = Vault(VaultConfig(url=openbao.url, login=openbao.login_for("default")), clock=Late())
        try:
            return (await vault.health()).clock_skew_seconds
        finally:
            await vault.close()

    assert abs(asyncio.run(skew()) - 90) < 2
