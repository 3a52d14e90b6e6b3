"""A client that a generator makes of the document alone has a paper signed by a person with a phone."""

import asyncio
import datetime as dt
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from core.clock import SystemClock
from tests.flows import house, phones, town

JOB = """
import sys
from portal_client import client, schemas

def good(answer, kind):
    assert type(answer) is kind, answer
    return answer

file, deadline = sys.argv[1:]
somebody = schemas.NewPersonIn(name="Phạm Thị Ổn", national_id="001085000017")
where = schemas.AtAnchor(kind="anchor", text="Người làm đơn")
wanted = schemas.SignatureRequestIn(
    agency="H1", title="Đơn đề nghị", deadline=deadline, documents=[schemas.PdfIn(title="Đơn", file=file)],
    signers=[schemas.SignerIn(person=somebody, placement=where)],
)
made = good(client.create_signature_request(data=wanted), schemas.SignatureRequestMade)
print(made.signing[0].url, flush=True)
seen = good(client.get_signature_request(request_id=made.id, wait=20), schemas.SignatureRequestOut)
assert (seen.state, seen.steps[0].state) == ("completed", "signed"), seen
assert made.id in [each.id for each in good(client.list_signature_requests(limit=5), schemas.PageSignaturerequestout).items]
print(seen.links["self"], seen.documents[0].signed_sha256, flush=True)
"""


@pytest.mark.slow
def test_it_asks_waits_and_names_the_signed_file(tmp_path):
    home = asyncio.run(town.build(tmp_path / "home"))
    _, hand = asyncio.run(phones.enrol_in(home, "Phạm Thị Ổn", "001085000017"))
    _, key = asyncio.run(house.add_client(home, "H1"))
    bind = f"127.0.0.1:{house.free_port()}"
    with house.processes(home.home, DAUSO_SIGN_BIND=bind) as (url, _):
        (tmp_path / "openapi.json").write_bytes(httpx2.get(f"{url}/openapi.json").content)
        generator = [
            Path(sys.executable).with_name("clientele"),
            "start-api",
            "-f",
            "openapi.json",
            "-o",
            "portal_client",
        ]
        subprocess.run(generator, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        headers = {"authorization": f"Bearer {key}"}
        file = httpx2.post(f"{url}/api/v1/files", content=phones.paper(), headers=headers).json()["file"]
        deadline = (SystemClock().now() + dt.timedelta(days=2)).isoformat()
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, file, deadline], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**town.environment(), "PYTHONPATH": str(tmp_path), "BASE_URL": url,
                            "HEADERS": json.dumps(headers), "TIMEOUT": "30"},
        )  # fmt: skip
        link = job.stdout.readline().strip()
        state = asyncio.run(_sign(bind, home, hand, link)) if link else "no link"
        said, wrong = job.communicate(timeout=60)
        assert (job.returncode, state) == (0, "signed"), wrong
        path, sha256 = said.split()
        signed = httpx2.get(f"{url}{path}/documents/1/file", headers=headers).content
    assert hashlib.sha256(signed).hexdigest() == sha256


async def _sign(bind, settings, hand, link):
    async with phones.sign_door_at(bind, settings) as door:
        phone = phones.PhoneClient(door, hand, link, settings.sign_url)
        return (await phone.sign())["state"]
