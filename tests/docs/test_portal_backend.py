"""The example backend of docs/examples does its job against a real house, and stays short."""

import asyncio
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from core.clock import SystemClock
from tests.flows import house, town

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/portal_backend.py"


@pytest.fixture(scope="module")
def backend():
    spec = importlib.util.spec_from_file_location("portal_backend", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """(url, API key, port where the portal may be told)."""
    home = asyncio.run(town.build(tmp_path_factory.mktemp("backend")))
    _, key = asyncio.run(house.add_client(home, "H1"))
    port = house.free_port()
    with house.processes(home.home, DAUSO_OUTBOUND_PRIVATE=f"localhost:{port}") as (url, _):
        yield url, key, port


def test_it_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 100


def test_it_makes_a_copy_once_and_hears_of_it(backend, door):
    url, key, port = door
    dauso, heard, secrets = backend.Dauso(url, key), [], []
    server = backend.listen(port, secrets, heard.append)
    try:
        hook = dauso.call("POST", "/webhooks", "hook", json={"url": f"http://localhost:{port}/hooks"}).json()
        secrets.append(hook["secret"])
        first, again = (dauso.make_copy("H1", town.scan(), "Sổ hộ tịch", "H1-1", regime="so_hoa") for _ in range(2))
        assert first == again
        until = time.monotonic() + 40
        while not any(e["type"] == "copy.released" for e in heard) and time.monotonic() < until:
            time.sleep(0.1)
        assert [e["data"]["copy_id"] for e in heard if e["type"] == "copy.released"] == [first]
        assert dauso.look(first)["state"] == "released"
        assert dauso.look(first)["state"] == "released", "the second answer is a 304"
        forged = httpx2.post(f"http://localhost:{port}/hooks", content=b'{"type": "copy.released"}', headers={
            "webhook-id": "x", "webhook-timestamp": str(int(SystemClock().now().timestamp())), "webhook-signature": "v1,AAAA",
        })  # fmt: skip
        assert forged.status_code == 401
        with pytest.raises(RuntimeError, match=r"directory\.no_such_agency"):
            dauso.make_copy("H2", town.scan(), "Sổ hộ tịch", "H2-1")
    finally:
        dauso.http.close()
        server.shutdown()
        server.server_close()


def test_it_runs_as_a_program(door, tmp_path):
    url, key, _ = door
    (tmp_path / "scan.jpg").write_bytes(town.scan("HAI"))
    done = subprocess.run(
        [sys.executable, EXAMPLE, "H1", "scan.jpg", "Sổ hộ tịch", "H1-2"], cwd=tmp_path, capture_output=True, text=True,
        env={**town.environment(), "DAUSO": url, "DAUSO_KEY": key, "PORTAL": "https://portal.example.gov.vn/hooks",
             "PORT": str(house.free_port())}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "released"
