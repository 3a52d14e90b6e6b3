"""A whole office with its keys in OpenBao: everything it does has its cause, and one stolen call shows."""

import asyncio
import base64
import datetime as dt

import pytest
import sqlalchemy as sa

from api import bootstrap
from api.certifying import certify_file
from api.cli.audit import compare
from api.roles import ProcessRole
from audit.keyuse import Severity
from ca_bridge.records import token_table
from core.clock import SystemClock
from core.db import Database
from core.directory.model import Role
from core.limits import LIMITS
from core.settings import Settings
from core.values import Realm, Regime
from signer.keystores.model import KeyPurpose
from signer.keystores.policies import Identity, policy_for
from signer.records import copy_table
from tests.flows import town
from tests.rights import auditors_url

pytestmark = pytest.mark.live
CLOCK = SystemClock()
MOUNTS = ("transit-w1", "transit-w2")


@pytest.fixture
def settings(openbao, tmp_path, database_url):
    for mount in MOUNTS:
        openbao.enable(mount)
    for identity in (Identity.SIGNER, Identity.ENROLLER, Identity.AUDITOR):
        policy = policy_for(identity, MOUNTS)
        openbao.add_policy(policy.name, policy.hcl())
    (tmp_path / "signer").write_text(openbao.token_for("dauso-signer", "dauso-enroller"))
    (tmp_path / "auditor").write_text(openbao.token_for("dauso-auditor"))
    return Settings(
        home=tmp_path / "home", database_url=database_url, keys="transit", transit_mounts=",".join(MOUNTS),
        vault_url=openbao.url, vault_login="token", vault_token_file=tmp_path / "signer", audit_signers="token",
    )  # fmt: skip


async def open_office(settings):
    await bootstrap.create_home(settings, Realm.TRAINING)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        agency = await service.enrolment.agency(code="H1", name="UBND xã Đường Lâm", parent="UBND tỉnh Ví Dụ")
        now = service.clock.now()
        for name, role in (("Lê Thị Hữu", Role.CERTIFIER), ("Đỗ Văn Thư", Role.CLERK)):
            await service.enrolment.person(
                agency=agency.code, name=name, role=role, number="1/QĐ", capacity="TUQ. CHỦ TỊCH", dated=now,
                valid_to=now + dt.timedelta(days=9), scope=frozenset(Regime),
            )  # fmt: skip


async def test_an_office_leaves_no_call_unexplained_and_a_stolen_token_does(settings, openbao, tmp_path, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.settle_seconds", 0)
    monkeypatch.setitem(LIMITS, "keyuse.horizon_seconds", 2)
    began = CLOCK.now()
    await open_office(settings)
    auditor = settings.model_copy(update={"vault_token_file": tmp_path / "auditor"})
    if "postgresql" in settings.database:
        auditor = auditor.model_copy(update={"database_url": await auditors_url(settings.database)})

    async def look(since=None):
        await asyncio.sleep(4)  # twice the horizon: both sides are decided
        report = await compare(auditor, [openbao.audit_file], since=since)
        return report, [(f.code, f.what) for f in report.findings if f.severity is not Severity.NOTE]

    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        await certify_file(service, [town.scan()], "scan.jpg", town.request(), tmp_path)
        await service.publisher.all()
    report, found = await look(began)
    assert found == []
    # orders, proofs, the log, the QR code, lists, certificates, time-stamps, status answers, revocation lists
    assert report.counts["calls"] == report.counts["matched"] > 25
    async with Database(settings.database) as db, db.read() as uow:
        assert len((await uow.execute(sa.select(token_table))).all()) > 1
        assert (await uow.execute(sa.select(copy_table.c.qr))).scalar_one().startswith("https://")

    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        async with service.db.read() as uow:
            agency = await service.directory.agency(uow, "H1")
            seal = (await service.credentials.of(uow, agency.id, KeyPurpose.SEAL)).key
    body = {
        "batch_input": [{"input": base64.b64encode(b"\7" * 32).decode()}], "prehashed": True, "key_version": "1",
        "hash_algorithm": "sha2-256", "signature_algorithm": "pkcs1v15",
    }  # fmt: skip
    openbao.api("POST", f"{seal.place}/sign/{seal.name}", body, (tmp_path / "signer").read_text())
    report, found = await look()
    assert found == [("keyuse.call_without_intent", "")]
    assert report.findings[0].key.name == seal.name
    _, found = await look()
    assert found == []
