"""A client that a generator makes of the document alone does the portal's whole job."""

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.flows import house, town

JOB = """
import sys
from portal_client import client, schemas

def good(answer, kind):
    assert type(answer) is kind, answer
    return answer

people = good(client.list_people(code="H1"), schemas.PagePersonout).items
official = next(p for p in people if p.roles[0].role == "certifier")
scan = schemas.ScanIn(officer=people[0].id, device="máy quét", scanned_at="2026-11-25T09:00:00+07:00")
wanted = schemas.CopyIn(agency="H1", kind="Giấy khai sinh", files=[sys.argv[1]], scan=scan)
made = good(client.create_copy(data=wanted, wait=20), schemas.CopyOut)
made = good(client.get_copy(copy_id=made.id, wait=20), schemas.CopyOut)
assert made.state == "released", made
assert made.id in [each.id for each in good(client.list_copies(agency="H1", limit=5), schemas.PageCopyout).items]
assert good(client.verify_digest(data=schemas.DigestIn(sha256=made.sha256)), schemas.DigestOut).released
why = schemas.RecallIn(reason="Sai tên", by=official.id)
assert good(client.recall_copy(data=why, copy_id=made.id), schemas.CopyOut).recall.reason == "Sai tên"
print(made.sha256)
"""


@pytest.mark.slow
def test_it_makes_checks_and_recalls_a_copy(tmp_path):
    home = asyncio.run(town.build(tmp_path / "home"))
    _, key = asyncio.run(house.add_client(home, "H1"))
    with house.processes(home.home) as (url, _):
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
        file = httpx2.post(f"{url}/api/v1/files", content=town.scan(), headers=headers).json()["file"]
        done = subprocess.run(
            [sys.executable, "-c", JOB, file], cwd=tmp_path, capture_output=True, text=True, timeout=90,
            env={**town.environment(), "PYTHONPATH": str(tmp_path), "BASE_URL": url, "HEADERS": json.dumps(headers),
                 "TIMEOUT": "30"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        listed = httpx2.get(f"{url}/api/v1/copies?state=recalled", headers=headers).json()["items"]
        pdf = httpx2.get(url + listed[0]["links"]["file"], headers=headers).content
    assert done.stdout.strip() == listed[0]["sha256"] == hashlib.sha256(pdf).hexdigest()
