"""The two main jobs over each key store, and what people see while a store is away."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from api.certifying import certify_file
from api.checking import Checker
from tests.conftest import live_or_skip
from tests.flows import phones, stores, town
from tests.flows.stores import approved, signer, wanted
from tests.openbao import binary
from verification.report import Indication, Verdict

pytestmark = pytest.mark.live


def judged(file: Path, count: int) -> None:
    told = subprocess.run(["pdfsig", "-nocert", file], capture_output=True, text=True, check=False).stdout
    assert told.count("Signature is Valid") == count


@pytest.mark.parametrize("kind", stores.STORES)
async def test_a_copy_is_certified_and_a_request_signed_with_keys_of_this_store(kind, request, tmp_path, database_url):
    more = stores.of(kind, request, tmp_path / "store")
    settings = await town.build(tmp_path / "home", database_url, **more)
    async with signer(settings) as service:
        done = await certify_file(service, [town.scan()], "scan.jpg", town.request(), tmp_path)
        person, hand = await phones.enrol_person(service)
        made, link = await wanted(service, person, 3)
        phone = await approved(service, hand, link)
        assert (await phone.rested())["state"] == "signed"
        async with service.db.read() as uow:
            view = await service.parts().requests.view(uow, made.id)
            owners = ("root", "issuing", "tsa", "ocsp", "lists", "report", "log", person)
            credentials = [await service.credentials.get(uow, each) for each in await _all(service, uow, owners)]
        assert {each.key.store for each in credentials} == {kind}
        assert view.state == "completed"
        for document in view.documents:
            (tmp_path / "signed.pdf").write_bytes(await phone.file(document.id))
            judged(tmp_path / "signed.pdf", 1)
    async with Checker.open(settings, []) as checker:
        report = await checker.check(Path(done["file"]).read_bytes())
    assert report.verdict is Verdict.GENUINE, report.to_json()
    assert [s.indication for s in report.signatures] == [Indication.TOTAL_PASSED] * 2
    assert ("verify.software_key" in {f.code for f in report.findings}) is (kind != "transit")
    judged(Path(done["file"]), 2)


async def _all(service, uow, owners):
    from signer.credentials import credential_table as table

    rows = await uow.execute(table.select().where(table.c.owner.in_(owners)))
    return [row.id for row in rows]


@pytest.mark.slow
def test_the_demo_does_everything_with_an_openbao_it_starts_itself(tmp_path):
    if binary() is None:
        live_or_skip("OpenBao (bao)")
    home = tmp_path / "demo"
    command = [
        sys.executable,
        "-P",
        "-m",
        "api.cli",
        "demo",
        "--home",
        str(home),
        "--keys",
        "openbao",
        "--json",
        "--no-serve",
    ]
    for _ in range(2):  # made, and taken up again
        done = subprocess.run(command, env=town.environment(), capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["verdict"] == "genuine"
    assert not (home / "key-file").exists()
    command[command.index("openbao")] = "software"
    other = subprocess.run(command, env=town.environment(), capture_output=True, text=True, check=False)
    assert "demo.other_keys" in other.stdout + other.stderr
