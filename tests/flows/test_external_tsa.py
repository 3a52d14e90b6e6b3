"""A whole copy stamped by ``openssl ts``: made, judged, and honest about an authority that is away."""

import shutil
from pathlib import Path

import pytest

from api import bootstrap
from api.certifying import certify_file
from api.checking import Checker
from api.roles import ProcessRole
from core.errors import ServiceError
from signer.copies import store
from tests.conftest import live_or_skip
from tests.flows import town
from tests.servers import OpenSslTsa, http
from verification.report import Verdict


async def test_a_copy_stamped_outside_is_genuine_and_an_absent_authority_loses_nothing(tmp_path):
    if shutil.which("openssl") is None:
        live_or_skip("openssl")
    tsa = OpenSslTsa(tmp_path / "tsa")
    plain = await town.build(tmp_path / "home")
    with http(tsa.answer) as port:
        settings = plain.model_copy(
            update={"tsa_url": f"http://127.0.0.1:{port}/", "tsa_anchor": tsa.anchor,
                    "outbound_private": f"127.0.0.1:{port}"}
        )  # fmt: skip
        async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
            done = await certify_file(service, [town.scan()], "a.jpg", town.request(), tmp_path)
        async with Checker.open(settings, []) as checker:
            report = await checker.check(Path(done["file"]).read_bytes())
    assert report.verdict is Verdict.GENUINE, report.findings
    assert all(s.timestamp for s in report.signatures)

    # nobody answers now: the approval is spent and the intent logged, so the same copy goes on later, same number
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        with pytest.raises(ServiceError) as caught:
            await certify_file(service, [town.scan("hai")], "b.jpg", town.request(), tmp_path)
        assert caught.value.code == "tsa.unavailable"
        async with service.db.read() as uow:
            (left,) = await store.interrupted(uow, service.clock.now())
    async with bootstrap.open_service(plain, ProcessRole.SIGNER) as service:
        await service.jobs.settle(30)
        for _ in range(100):
            async with service.db.read() as uow:
                copy = await store.get(uow, left)
            if copy.receipt is not None:
                break
            await service.jobs.settle(0.2)
    assert copy.state == "released"
