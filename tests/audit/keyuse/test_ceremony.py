"""Against a real OpenBao: what ``dauso keys init`` sets there explains itself, and a thief's calls beside it do not."""

import asyncio

import pytest

from audit.keyuse import Hashes, Rules, Severity, reconcile_keys
from core.clock import SystemClock
from core.limits import LIMITS
from core.vault import TokenFile, VaultConfig
from signer.keyceremony.operator import Operator
from signer.keyceremony.preparing import Preparation
from signer.keyceremony.protocol import Protocol
from signer.keystores.causes import KeyCauses
from signer.keystores.policies import Identity, policy_for
from signer.keystores.prepared import Prepared
from tests.conftest import live_or_skip
from tests.openbao import AUDIT, binary
from tests.vault import server_kind

pytestmark = pytest.mark.live
CLOCK = SystemClock()
MOUNTS = ("transit-c1", "transit-c2")


@pytest.fixture
def server(tmp_path):
    """Fresh: nothing is set up yet."""
    if binary() is None:
        live_or_skip("OpenBao (bao)")
    with server_kind()(tmp_path / "bao") as made:
        yield made


async def prepare(server, folder, cidrs=()):
    config = VaultConfig(url=server.url, login=TokenFile(path=folder / "nowhere"))
    async with Operator(config, server.admin_token()) as operator:
        protocol = Protocol(clock=CLOCK, kind="init", store="transit")
        work = Preparation(operator=operator, protocol=protocol, mounts=MOUNTS, cidrs=cidrs)
        await work.run(folder, [Identity.SIGNER])


async def test_a_ceremony_explains_itself_and_nothing_beside_it(server, db, tmp_path, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.settle_seconds", 0)
    monkeypatch.setitem(LIMITS, "keyuse.horizon_seconds", 0)
    began = CLOCK.now()

    async def ask(text):
        return server.audit_hash(text)

    async def look():
        await asyncio.sleep(1.1)  # whole seconds decide what a run reads
        rules = Rules(device=AUDIT, mounts=frozenset(MOUNTS), signers=frozenset({"dauso-signer"}))
        report = await reconcile_keys(
            db=db, clock=CLOCK, files=[server.audit_file], hashes=Hashes(ask),
            source=KeyCauses(db, CLOCK, Prepared(mounts=MOUNTS)), rules=rules, since=began,
        )  # fmt: skip
        return report, [(f.code, f.key.name) for f in report.findings if f.severity is not Severity.NOTE]

    await prepare(server, tmp_path)
    report, found = await look()
    assert found == [("keyuse.rules_changed", "auth/approle/role")]  # a secret id was handed out
    assert [f.count for f in report.findings if f.severity is not Severity.NOTE] == [1]
    told = {f.key.name: f.count for f in report.findings if f.code == "keyuse.as_prepared"}
    assert told["sys/policies/acl"] == len(Identity)
    assert told["auth/approle/role"] == len(Identity) - 1
    assert "sys/mounts/transit-c1" in told

    # while the operator's token was out, a thief had it too
    wide = 'path "transit-c1/*" { capabilities = ["create", "update", "read", "delete"] }'
    server.api("POST", "sys/policies/acl/dauso-signer", {"policy": wide})
    server.api("POST", "sys/policies/acl/dauso-signer", {"policy": policy_for(Identity.SIGNER, MOUNTS).hcl()})
    server.api("POST", "auth/approle/role/dauso-signer", {"token_policies": ["dauso-signer", "dauso-custodian"]})
    server.api("POST", "auth/approle/role/mine", {"token_policies": ["dauso-signer"]})
    server.api("POST", "transit-c1/config/keys", {"disable_upsert": False})
    server.api("DELETE", "auth/approle/role/mine")
    server.api("POST", "identity/entity", {"name": "mine", "policies": ["dauso-signer"]})
    report, found = await look()
    assert found == [
        ("keyuse.forbidden_operation", ""), ("keyuse.rules_changed", "sys/policies/acl"),
        ("keyuse.rules_changed", "auth/approle/role"), ("keyuse.rules_changed", "identity/entity"),
    ]  # fmt: skip
    assert [f.count for f in report.findings if f.code == "keyuse.rules_changed"] == [1, 3, 1]

    await prepare(server, tmp_path, cidrs=("10.0.0.0/24",))
    _, found = await look()
    assert found == [("keyuse.rules_changed", "auth/approle/role")]  # networks of which the auditor was not told
