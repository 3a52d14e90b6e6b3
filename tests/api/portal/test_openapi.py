"""The portal's document is true: what it allows is answered as it says, what it forbids is refused."""

import asyncio
import datetime as dt
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from api.clients.model import Scope
from core.clock import SystemClock
from core.messages import codes
from tests.api.portal.conftest import paper
from tests.flows import house, phones, town

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
# what no schema can say: days in order or to come, DER, an address that resolves; too large has its own status
CONFIG = """
hooks = {hooks}
[parameters]
{parameters}
[[operations]]
include-operation-id = ["get_statistics", "get_open_data"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "422", "429"]
[[operations]]
include-operation-id = ["ask_ocsp", "get_ocsp", "make_timestamp", "create_webhook", "change_webhook"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "403", "404", "429"]
[[operations]]
include-operation-id = ["create_signature_request", "extend_signature_request"]
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "403", "404", "409", "429"]
[[operations]]
include-operation-id = ["begin_upload"]
[operations.checks.negative_data_rejection]
expected-statuses = ["4xx"]
"""


@pytest.fixture(scope="module")
def town_home(tmp_path_factory):
    return asyncio.run(town.build(tmp_path_factory.mktemp("openapi")))


@pytest.fixture(scope="module")
def door(town_home):
    """(url, API key of a client that may do everything) of a house of real processes."""
    _, key = asyncio.run(house.add_client(town_home, "H1"))
    with house.processes(town_home.home) as (url, _):
        yield url, key


@pytest.fixture(scope="module")
def things(door):
    """Ids of one of each, so that not everything is 404."""
    url, key = door
    with httpx2.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
        officer = client.get("/agencies/H1/people").json()["items"][0]["id"]
        file = client.post("/files", content=town.scan()).json()["file"]
        made = client.post("/copies?wait=20", json=paper(officer, files=[file])).json()
        assert made["state"] == "released", made
        item = {k: v for k, v in paper(officer, files=[file]).items() if k != "agency"}
        batch = client.post("/batches", json={"agency": "H1", "regime": "certified_copy", "items": [item]}).json()
        hook = client.post("/webhooks", json={"url": "https://portal.example.gov.vn/hooks"}).json()
        paper_file = client.post("/files", content=phones.paper()).json()["file"]
        asked = client.post(
            "/signature-requests",
            json={"agency": "H1", "title": "Đơn", "deadline": (SystemClock().now() + dt.timedelta(days=1)).isoformat(),
                  "documents": [{"title": "Đơn", "file": paper_file}], "signers": [{"kind": "official", "person": {"id": officer}}]},
        ).json()  # fmt: skip
        return {
            "agency": "H1", "code": "H1", "copy_id": made["id"], "batch_id": batch["id"], "endpoint_id": hook["id"],
            "book_id": client.get("/agencies/H1/books").json()["items"][0]["id"],
            "entry_id": client.get("/register?agency=H1").json()["items"][0]["id"], "slug": "root",
            "request_id": asked["id"], "step_id": asked["steps"][0]["id"],
        }  # fmt: skip


@pytest.mark.slow
def test_schemathesis_finds_nothing(door, things, tmp_path):
    url, key = door
    given = "\n".join(f"{name} = {json.dumps(value)}" for name, value in things.items())
    (tmp_path / "st.toml").write_text(CONFIG.format(hooks=json.dumps(str(HOOKS)), parameters=given))
    done = subprocess.run(
        [Path(sys.executable).with_name("st"), "--config-file", "st.toml", "run", f"{url}/openapi.json", "--checks", "all",
         "--header", f"Authorization: Bearer {key}", "--max-examples", "10", "--generation-deterministic",
         "--continue-on-failure", "--no-color", "--warnings", "off"],
        cwd=tmp_path, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-2_000:]


def test_the_document_is_whole(door):
    url, _ = door
    made = httpx2.get(f"{url}/openapi.json").json()
    assert made["openapi"].startswith("3.1")
    assert made["servers"] == [{"url": url}]
    flow = made["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    assert set(flow["scopes"]) == {scope.value for scope in Scope}
    every = {(path, method): o for path, methods in made["paths"].items() for method, o in methods.items()}
    names = [o["operationId"] for o in every.values()]
    assert len(names) == len(set(names))
    assert {f"api.{name}" for name in names} <= codes()
    for (path, method), operation in every.items():
        headers = {p["name"] for p in operation["parameters"] if p["in"] == "header"}
        portal = path.startswith("/api/v1/")
        assert bool(operation["security"]) == portal
        assert ("Idempotency-Key" in headers) == (portal and method == "post")
        assert ("If-None-Match" in headers) == ("304" in operation["responses"])
        assert {"400", "421", "429", "503"} <= operation["responses"].keys()
        assert {"401", "403"} <= operation["responses"].keys() or not portal


def test_every_reference_in_the_document_leads_somewhere(door):
    made = httpx2.get(f"{door[0]}/openapi.json").json()
    text = json.dumps(made)
    for kind, name in set(re.findall(r'"#/components/(\w+)/(\w+)"', text)):
        assert name in made["components"][kind], (kind, name)


def test_the_document_is_made_once(door):
    first, second = (httpx2.get(f"{door[0]}/openapi.json") for _ in range(2))
    assert first.content == second.content


def test_people_read_the_same_without_a_script(door):
    url, _ = door
    made = httpx2.get(f"{url}/openapi.json").json()
    page = httpx2.get(f"{url}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text
    assert 'lang="vi"' in page.text
    for methods in made["paths"].values():
        for operation in methods.values():
            assert f'<section id="{operation["operationId"]}"' in page.text
    for address in re.findall(r'(?:href|src)="([^"#]+)"', page.text):
        assert address.startswith("/")
        assert httpx2.get(url + address).status_code == 200
