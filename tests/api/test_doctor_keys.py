"""``dauso doctor keys`` over a real server: what is well, and each thing that is not."""

import asyncio
import datetime as dt
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from api import doctor_keys
from api.doctor_keys import KeyDoctor, look
from api.keystores import open_stores
from audit.keyuse import Finding, Severity
from audit.keyuse.store import Saved, save
from core.clock import SystemClock
from core.db import Database
from core.ids import new_id
from core.limits import LIMITS
from core.values import Realm
from signer.credentials import credential_table
from signer.keystores.allowed import Policies
from signer.keystores.policies import Identity, bundle_sha256, policy_for
from signer.keystores.records import key_table
from signer.keystores.registry import Registry
from tests.conftest import BentClock
from tests.flows import house, stores, town

MOUNT = "transit-doctor"


@pytest.fixture(scope="module")
def built(openbao, tmp_path_factory):
    """Settings of a town whose keys are in the server, to be copied: making one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "logins").mkdir()
    given = stores.transit(openbao, folder / "logins", MOUNT)
    for role in (given["vault_role"], given["vault_enroller_role"]):
        openbao.api("POST", f"auth/approle/role/{role}", {"token_no_default_policy": True})
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, town.build(folder / "home", **given)).result()


@pytest.fixture
def made(openbao, built, tmp_path):
    """The same with a life of its own, but for the server."""
    for identity in (Identity.SIGNER, Identity.ENROLLER):  # other modules give these names to other mounts
        policy = policy_for(identity, (MOUNT,))
        openbao.add_policy(policy.name, policy.hcl())
    shutil.copytree(built.home, tmp_path / "home")
    return built.model_copy(update={"home": tmp_path / "home"})


async def examined(settings, clock=None):
    clock = clock or SystemClock()
    async with Database(settings.database) as db, open_stores(settings, clock, db) as keys:
        doctor = KeyDoctor(settings=settings, realm=Realm.TRAINING, clock=clock, db=db, keys=keys)
        return await doctor.examine()


def bad(rows):
    return {name: detail for name, good, detail in rows if not good}


async def test_a_house_that_is_well_reads_so_line_by_line(made):
    rows = await look(made)
    assert bad(rows) == {}
    told = {name: detail for name, _, detail in rows}
    assert told["key store transit"].startswith("open, OpenBao")
    assert "as generated (dauso-signer " in told["transit signer rights"]
    assert "as generated (dauso-enroller " in told["transit enroller rights"]
    assert told["transit signer audit"].startswith("unknown")
    assert "1 seal" in told["keys"]
    assert {"transit signer clock", "transit signer token"} <= set(told)


async def test_a_running_signer_is_asked_and_nobody_logs_in_again(made, monkeypatch):
    def never(*_, **__):
        raise AssertionError

    async with house.signer_here(made):
        monkeypatch.setattr(doctor_keys, "open_stores", never)
        rows = await look(made)
    assert bad(rows) == {}
    assert "keys" in {name for name, *_ in rows}


async def test_a_secret_id_that_is_good_once_is_not_spent_on_looking(made, monkeypatch):
    waiting = made.model_copy(update={"vault_wrapped": True})
    ((name, good, detail),) = await look(waiting)
    assert (name, good) == ("key store transit", False)
    assert "keys.not_looked" in detail
    assert made.vault_secret_id_file.exists()


@pytest.mark.parametrize("how", ["wider", "narrower", "another"])
async def test_rights_that_were_changed_on_the_server_are_drift(openbao, made, how):
    policy = policy_for(Identity.SIGNER, (MOUNT,))
    text = policy.hcl()
    changed = {
        "wider": text.replace(f'path "{MOUNT}/export/*" {{\n  capabilities = ["deny"]', f'path "{MOUNT}/export/*" {{\n  capabilities = ["read"]'),
        "narrower": text.replace(f'path "{MOUNT}/keys/+" {{\n  capabilities = ["read"]', f'path "{MOUNT}/keys/+" {{\n  capabilities = ["deny"]'),
        "another": text.replace('["update"]', '["update", "read"]', 1),
    }[how]  # fmt: skip
    assert changed != text
    openbao.add_policy(policy.name, changed)
    try:
        wrong = bad(await examined(made))
        assert "keys.policy_drift" in wrong["transit signer rights"]
        assert MOUNT in wrong["transit signer rights"]
    finally:
        openbao.add_policy(policy.name, text)
    assert bad(await examined(made)) == {}


async def test_a_changed_parameter_rule_is_seen_where_the_token_may_read_policies(openbao, made, tmp_path):
    policy = policy_for(Identity.SIGNER, (MOUNT,))
    openbao.add_policy("dauso-auditor-reads", f'path "sys/policies/acl/{policy.name}" {{ capabilities = ["read"] }}')
    token = tmp_path / "token"
    token.write_text(openbao.token_for(policy.name, "dauso-auditor-reads", no_default_policy=True))
    reads = made.model_copy(update={"vault_login": "token", "vault_token_file": token, "vault_enroller_role": "", "vault_enroller_role_id": ""})  # fmt: skip
    openbao.add_policy(policy.name, policy.hcl().replace('"key_version", ', ""))
    try:
        assert "transit signer rights" in bad(await examined(reads))
    finally:
        openbao.add_policy(policy.name, policy.hcl())


async def test_policies_that_are_not_ours_are_named(openbao, made):
    role = made.vault_role
    openbao.api("POST", f"auth/approle/role/{role}", {"token_policies": ["dauso-signer", "admin"]})
    try:
        wrong = bad(await examined(made))
        assert "admin" in wrong["transit signer policies"]
    finally:
        openbao.api("POST", f"auth/approle/role/{role}", {"token_policies": ["dauso-signer"]})


async def test_the_decided_policies_are_compared(made):
    clock = SystemClock()
    policies = [policy_for(each, (MOUNT,)) for each in Identity]
    async with Database(made.database) as db:
        for digest, well in (("0" * 64, False), (bundle_sha256(policies), True)):
            async with db.write() as uow:
                await Policies(clock).decide(uow, new_id(clock), Realm.TRAINING, "transit", digest)
            assert ("transit policies decided" in bad(await examined(made))) is not well


async def test_a_stopped_key_and_a_certificate_near_its_end_are_named(made):
    async with Database(made.database) as db, db.write() as uow:
        await Registry(SystemClock()).fill(uow)
        t = key_table.c
        await uow.execute(key_table.update().where(t.purpose == "seal").values(state="stopped"))
    wrong = bad(await examined(made))
    assert any("key.stopped" in detail for detail in wrong.values())
    late = BentClock(SystemClock().now() + dt.timedelta(days=3 * 365 - LIMITS["keys.end_days"] + 5))
    async with Database(made.database) as db, db.write() as uow:
        await uow.execute(key_table.update().where(t.purpose == "seal").values(state="active"))

    async def ends():
        rows = await examined(made, late)
        return [
            (good, told) for name, good, told in rows if name.startswith("key seal/") and "certificate ends" in told
        ]

    ((good, _),) = await ends()
    assert good  # a word in time
    late.move(days=LIMITS["keys.end_days"])
    ((good, _),) = await ends()
    assert not good


async def test_a_server_that_is_away_is_a_row_and_no_traceback(made):
    away = made.model_copy(update={"vault_url": "http://127.0.0.1:9"})
    wrong = bad(await look(away))
    assert wrong["key store transit"].startswith("unreachable")
    assert "vault.unreachable" in wrong["transit signer"]


async def test_a_key_that_is_gone_and_one_that_is_not_its_certificates_are_named(openbao, made):
    """The last one here: the key is gone from the server for all copies."""
    async with Database(made.database) as db:
        async with db.write() as uow:
            t = credential_table.c
            mine = (t.purpose == "seal") & (t.state == "active")
            seal = (await uow.execute(sa.select(credential_table).where(mine))).one()
            other = (await uow.execute(sa.select(t.certificate).where(t.purpose == "tsa"))).scalar_one()
            await uow.execute(credential_table.update().where(t.id == seal.id).values(certificate=other))
        (wrong,) = [d for n, d in bad(await examined(made)).items() if n.startswith("key seal/")]
        assert "credential.wrong_key" in wrong
        async with db.write() as uow:
            await uow.execute(credential_table.update().where(t.id == seal.id).values(certificate=seal.certificate))
        name = openbao.api("LIST", f"{MOUNT}/keys")["data"]["keys"]
        seals = [each for each in name if f'"{each}"' in seal.key]
        openbao.api("POST", f"{MOUNT}/keys/{seals[0]}/config", {"deletion_allowed": True})
        openbao.api("DELETE", f"{MOUNT}/keys/{seals[0]}")
        wrong = bad(await examined(made))
        assert any("key.missing" in detail for detail in wrong.values())
        assert "keys" in wrong


async def test_how_far_keys_are_reconciled_and_what_waits_for_somebody_are_rows(made):
    before = await examined(made)
    told = {name: (good, detail) for name, good, detail in before}
    assert told["key reconciliation"] == (True, "never run (dauso audit keys)")
    now = SystemClock().now()
    run = Saved(
        id=new_id(SystemClock()), device="d", before=None, state="whole", began_at=now, ended_at=now, since=now, until=now,
        counts={}, carry={}, places=[],
        findings=[Finding(code="keyuse.raw_audit", severity=severity, key=None, what="a.log") for severity in Severity],
    )  # fmt: skip
    async with Database(made.database) as db:
        await save(db, SystemClock(), run)
    found = bad(await examined(made))
    assert found.keys() - bad(before).keys() == {"key findings"}
    assert "1 critical finding" in found["key findings"]
    late = BentClock(now + dt.timedelta(hours=LIMITS["keyuse.overdue_hours"], seconds=1))
    assert "(keyuse.overdue)" in bad(await examined(made, late))["key reconciliation"]
