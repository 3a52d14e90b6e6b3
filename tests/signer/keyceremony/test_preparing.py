"""Preparing a real server, again and again; and with what was handed over, a house that signs."""

import dataclasses
import stat

import pytest

import tests.openbao as server
from core.clock import SystemClock
from core.errors import Broken, Conflict, Refused, ServiceError
from core.values import Digest, SignatureAlgorithm
from core.vault import AppRole, TokenFile, Vault, VaultConfig
from signer.keyceremony.operator import Operator
from signer.keyceremony.preparing import Preparation, look_over
from signer.keyceremony.protocol import Outcome, Protocol
from signer.keystores.model import KeyPurpose
from signer.keystores.policies import Identity, bundle_sha256, policy_for
from signer.keystores.transit import TransitKeyStore

AGENCY, MOUNTS = "H88", ("transit-h88", "transit-h88-b")


def config_of(openbao):
    return VaultConfig(url=openbao.url, login=TokenFile(path=openbao.folder / "nowhere"))


def preparation(openbao, token=None, **more):
    protocol = Protocol(clock=SystemClock(), kind="init", store="transit")
    operator = Operator(config_of(openbao), openbao.admin_token() if token is None else token)
    return Preparation(operator=operator, protocol=protocol, mounts=MOUNTS, agency=AGENCY, **more)


async def run(openbao, tmp_path, *identities, **more):
    made = preparation(openbao, **more)
    try:
        return await made.run(tmp_path, identities), made.protocol
    finally:
        made.operator.close()


def told(protocol):
    return " ".join(value for step in protocol.steps for label, value in step.facts) + " ".join(
        label[1] for step in protocol.steps for label, _ in step.facts
    )


async def entered(openbao, handed):
    login = AppRole(
        role_id=handed.role_id,
        secret_id_file=handed.secret_id_file,
        creation_path=f"auth/approle/role/{handed.role}/secret-id",
    )
    vault = Vault(VaultConfig(url=openbao.url, login=login))
    await vault.start()
    return vault


async def test_a_prepared_server_lets_each_identity_in_and_the_signer_signs(openbao, tmp_path):
    handed, protocol = await run(openbao, tmp_path, Identity.SIGNER, Identity.ENROLLER)
    assert protocol.good
    assert [each.identity for each in handed] == [Identity.SIGNER, Identity.ENROLLER]
    for each in handed:
        assert stat.S_IMODE(each.secret_id_file.stat().st_mode) == 0o600
        assert each.secret_id_file.read_text() not in told(protocol) + repr(handed)
    signer, enroller = [await entered(openbao, each) for each in handed]
    try:
        store = TransitKeyStore(signer, MOUNTS, enroller=enroller)
        ref = await store.create("seal-prepared", KeyPurpose.SEAL, SignatureAlgorithm.ECDSA_P256_SHA256)
        assert await store.sign(ref, Digest.of(b"x"), purpose=KeyPurpose.SEAL, event_id="e")
        with pytest.raises(ServiceError, match=r"key\.denied"):
            await store.disable(ref)
        mine = await signer.call("GET", "auth/token/lookup-self")
        assert mine["policies"] == ["dauso-signer-h88"]  # and not the default one
    finally:
        await signer.close()
        await enroller.close()
    for mount in MOUNTS:
        assert openbao.api("GET", f"{mount}/config/keys")["data"]["disable_upsert"] is True
        assert openbao.api("GET", f"{mount}/cache-config")["data"]["size"] > 0


async def test_a_second_run_changes_nothing(openbao, tmp_path):
    await run(openbao, tmp_path)
    handed, protocol = await run(openbao, tmp_path)
    assert handed == []
    assert "/ made" not in told(protocol)
    assert "/ changed" not in told(protocol)
    assert protocol.product.partition(" ")[0] == openbao.product


async def test_what_the_operator_should_know_is_said(openbao, tmp_path):
    _, protocol = await run(openbao, tmp_path)
    assert [s.code for s in protocol.steps if s.outcome is Outcome.WARNING] == ["keys.one_audit"]  # the server has one


async def test_a_policy_that_was_changed_by_hand_is_not_overwritten(openbao, tmp_path):
    await run(openbao, tmp_path)
    name = policy_for(Identity.SIGNER, MOUNTS, AGENCY).name
    openbao.add_policy(name, 'path "transit-h88/*" { capabilities = ["update"] }')
    with pytest.raises(Refused) as raised:
        await run(openbao, tmp_path)
    assert raised.value.code == "keys.policy_differs"
    assert "transit-h88/*" in openbao.api("GET", f"sys/policies/acl/{name}")["data"]["policy"]
    policies = [policy_for(each, MOUNTS, AGENCY) for each in Identity]
    with pytest.raises(Refused) as raised:
        await run(openbao, tmp_path, decided="0" * 64)
    assert raised.value.code == "keys.policy_not_decided"
    await run(openbao, tmp_path, decided=bundle_sha256(policies))
    assert "transit-h88/*" not in openbao.api("GET", f"sys/policies/acl/{name}")["data"]["policy"]


async def test_a_role_that_was_widened_is_narrowed_again(openbao, tmp_path):
    await run(openbao, tmp_path)
    path = "auth/approle/role/dauso-custodian-h88"
    openbao.api("POST", path, {"token_policies": ["admin"], "token_max_ttl": "24h", "secret_id_num_uses": 0})
    await run(openbao, tmp_path)
    role = openbao.api("GET", path)["data"]
    assert (role["token_policies"], role["secret_id_num_uses"]) == (["dauso-custodian-h88"], 1)
    assert role["token_no_default_policy"] is True
    assert role["token_max_ttl"] <= 3600


WIDER = {
    "bind_secret_id": False, "token_policies": ["dauso-signer-h88", "admin"], "token_no_default_policy": False, "token_type": "batch",
    "token_period": 86_400, "token_max_ttl": 86_400, "token_explicit_max_ttl": 86_400, "token_num_uses": 5, "secret_id_num_uses": 7,
    "secret_id_ttl": 86_400, "token_bound_cidrs": [], "secret_id_bound_cidrs": ["10.0.0.0/8"],
}  # fmt: skip


@pytest.mark.parametrize("name", WIDER)
async def test_whatever_was_changed_of_a_role_is_seen_by_a_ceremony_and_put_right_by_the_next_preparation(
    openbao, tmp_path, name
):
    here = ("127.0.0.1/32", "10.0.0.0/8")
    await run(openbao, tmp_path, cidrs=here)
    path = "auth/approle/role/dauso-signer-h88"
    before = openbao.api("GET", path)["data"]
    assert await looked_over(openbao, here) == ""
    change = {name: WIDER[name]}
    if name == "token_type":  # a batch token has no period
        change["token_period"] = 0
    openbao.api("POST", path, change)
    assert await looked_over(openbao, here) == "keys.role_differs"
    _, protocol = await run(openbao, tmp_path, cidrs=here)
    assert f"/ changed: {', '.join(sorted(change))}" in told(protocol)
    assert openbao.api("GET", path)["data"] == before
    assert await looked_over(openbao, here) == ""
    _, protocol = await run(openbao, tmp_path, cidrs=here)
    assert "/ changed" not in told(protocol), "one address is the same with and without its length"


async def test_a_ceremony_is_told_the_networks_that_were_given(openbao, tmp_path):
    await run(openbao, tmp_path, cidrs=("127.0.0.0/8",))
    assert await looked_over(openbao, ("127.0.0.0/8",)) == ""
    assert await looked_over(openbao, ()) == "keys.role_differs"


async def test_who_must_have_no_role_has_none(openbao, tmp_path):
    await run(openbao, tmp_path)
    path = "auth/approle/role/dauso-web-h88"
    openbao.api("POST", path, {"token_policies": ["dauso-web-h88"]})
    try:
        assert await looked_over(openbao) == "keys.role_differs"
    finally:
        openbao.api("DELETE", path)


async def looked_over(openbao, cidrs=()):
    """What a ceremony with witnesses says of the server; empty where all is well."""
    made = preparation(openbao)
    try:
        await look_over(made.operator, made.protocol, made.policies(), cidrs)
    except ServiceError as error:
        assert not made.protocol.good
        return error.code
    finally:
        made.operator.close()
    return ""


async def test_a_ceremony_lends_itself_what_the_settings_name_and_nothing_else(openbao, tmp_path):
    made = preparation(openbao)
    await made.run(tmp_path / "handed", [])
    (tmp_path / "own").mkdir()
    await made.lend(tmp_path / "own", {"dauso-signer-h88", ""})
    made.operator.close()
    assert [each.name for each in (tmp_path / "own").iterdir()] == ["dauso-signer-h88.secret-id"]
    assert not (tmp_path / "handed").exists()


async def test_another_kind_of_mount_ends_it(openbao, tmp_path):
    openbao.enable("transit-kv", "kv")
    made = preparation(openbao)
    made.mounts = ("transit-kv",)
    with pytest.raises(Conflict) as raised:
        await made.run(tmp_path, [])
    made.operator.close()
    assert raised.value.code == "keys.mount_taken"
    assert made.protocol.steps[-1].outcome is Outcome.FAILED
    assert not made.protocol.good


async def test_a_token_that_may_not_do_it_changes_nothing(openbao, tmp_path):
    policy = policy_for(Identity.SIGNER, ["transit-nobody"])
    openbao.add_policy("only-signs", policy.hcl())
    with pytest.raises(ServiceError) as raised:
        await run(openbao, tmp_path, Identity.SIGNER, token=openbao.token_for("only-signs"))
    assert raised.value.code == "vault.denied"
    assert list(tmp_path.iterdir()) == []


async def test_nothing_of_a_token_is_said_when_the_server_is_away(openbao, tmp_path):
    config = dataclasses.replace(config_of(openbao), url="http://127.0.0.1:9")
    operator = Operator(config, "s.very-secret")
    with pytest.raises(ServiceError) as raised:
        await operator.call("POST", "sys/mounts/x", {"secret": "very-secret"})
    assert raised.value.code == "vault.unreachable"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "secret" not in repr(operator) + str(raised.value)
    operator.close()


async def test_an_answer_that_was_wrapped_elsewhere_is_not_handed_over(openbao, tmp_path, monkeypatch):
    made = preparation(openbao)
    await made.run(tmp_path, [])

    async def ask(method, path, body, wrap=0):
        return (
            {"wrap_info": {"token": "s.x", "creation_path": "cubbyhole/mine", "ttl": 60}}
            if wrap
            else {"data": {"role_id": "r"}}
        )

    monkeypatch.setattr(made.operator, "_ask", ask)
    with pytest.raises(Broken) as raised:
        await made._hand_over(tmp_path, policy_for(Identity.SIGNER, MOUNTS, AGENCY))
    assert raised.value.code == "keys.not_wrapped"
    assert list(tmp_path.iterdir()) == []
    made.operator.close()


async def test_without_an_audit_device_nothing_is_prepared(tmp_path, monkeypatch):
    if server.binary() is None:
        pytest.skip("OpenBao is not on this machine")
    start = server.CONFIG.index('audit "file"')
    monkeypatch.setattr(server, "CONFIG", server.CONFIG[:start])
    with server.OpenBao(tmp_path / "bao") as bare:
        with pytest.raises(Refused) as raised:
            await run(bare, tmp_path)
        assert raised.value.code == "keys.no_audit"
        assert bare.status("GET", "sys/policies/acl/dauso-signer-h88") == 404
        bare.seal()
        with pytest.raises(ServiceError) as raised:
            await run(bare, tmp_path, token="s.x")
        assert raised.value.code == "vault.sealed"
