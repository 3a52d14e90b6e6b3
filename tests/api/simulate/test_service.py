"""The simulator as portal teams meet it: paths, page, control door, command."""

import os
import signal
import subprocess
import sys

import httpx2
import pytest
from cryptography import x509
from typer.testing import CliRunner

from api.cli.app import app
from api.simulate.app import make_simulator_app
from api.simulate.people import People
from api.simulate.service import Fault, Simulator, faults_of
from core.clock import SystemClock
from core.errors import BadInput
from core.outbound import Outbound
from core.values import Digest
from tests.signer.providers.city import free_port

OWN = {"sp_id": "dauso-simulated", "sp_password": "pw"}
DIGEST = Digest.of(b"x").hex


@pytest.fixture(scope="module")
def people():
    return People(SystemClock(), count=2)


@pytest.fixture
async def service(people):
    outbound = Outbound()
    simulator = Simulator(people=people, clock=SystemClock(), outbound=outbound, sp_password="pw", slow=0)
    transport = httpx2.ASGITransport(make_simulator_app(simulator))
    async with httpx2.AsyncClient(transport=transport, base_url="http://simulator") as client:
        yield simulator, client
    await simulator.close()
    await outbound.close()


def wanted(**change):
    file = {
        "data_to_be_signed": DIGEST,
        "doc_id": "d",
        "file_type": "pdf",
        "sign_type": "hash",
        **change.pop("file", {}),
    }
    return {**OWN, "user_id": "000000000001", "serial_number": "", "transaction_id": "t1",
            "transaction_desc": "<b>Đơn</b>", "sign_files": [file], **change}  # fmt: skip


async def test_a_person_approves_on_the_operators_page(service):
    _, client = service
    given = (await client.post("/v1/signatures/sign", json=wanted())).json()["data"]
    page = (await client.get("/")).text
    assert "&lt;b&gt;Đơn&lt;/b&gt;" in page and DIGEST in page and '<html lang="vi">' in page
    assert page.index("Đang chờ xác nhận") < page.index("Waiting for confirmation")
    assert (await client.post("/v1/signatures/sign/t1/status")).json()["message"] == "WAITING_FOR_SIGNER"
    assert (await client.post(f"/transactions/{given['tran_code']}/approve")).status_code == 303
    said = (await client.post("/v1/signatures/sign/t1/status")).json()
    assert said["message"] == "SUCCESS" and said["data"]["signatures"][0]["doc_id"] == "d"
    assert (await client.post(f"/transactions/{given['tran_code']}/refuse")).status_code == 404


async def test_another_sites_page_presses_no_button(service):
    _, client = service
    code = (await client.post("/v1/signatures/sign", json=wanted())).json()["data"]["tran_code"]
    foreign = {"sec-fetch-site": "cross-site"}
    for path in (f"/transactions/{code}/approve", f"/control/transactions/{code}/approve", "/faults"):
        assert (await client.post(path, headers=foreign)).status_code == 400
    assert (await client.get("/control/transactions")).json()["transactions"][0]["state"] == "waiting"


async def test_faults_are_set_while_it_runs(service):
    simulator, client = service
    assert (await client.put("/control/faults", json={"faults": ["slow", "pkcs7"]})).json() == {
        "faults": ["pkcs7", "slow"]
    }
    assert simulator.faults == {Fault.SLOW, Fault.PKCS7}
    assert (await client.post("/faults", data={"fault": ["refused", "expired"]})).status_code == 303
    assert simulator.faults == {Fault.REFUSED, Fault.EXPIRED}
    for body in (b"{}", b"[]", b"no", b'{"faults": ["fire"]}', b'{"faults": 1}'):
        assert (await client.put("/control/faults", content=body)).status_code == 400
    assert simulator.faults == {Fault.REFUSED, Fault.EXPIRED}
    with pytest.raises(BadInput, match=r"simulate\.unknown_fault"):
        faults_of("slow,fire")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"sp_password": "x"}, 401, 401),
        ({"sp_id": "x"}, 401, 401),
        ({"user_id": "123"}, 200, 404),
        ({"sign_files": []}, 200, 400),
        ({"sign_files": "x"}, 200, 400),
        ({"file": {"data_to_be_signed": DIGEST.upper()}}, 200, 400),
        ({"file": {"data_to_be_signed": DIGEST[:-2]}}, 200, 400),
        ({"file": {"data_to_be_signed": 7}}, 200, 400),
        ({"file": {"sign_type": "file"}}, 200, 400),
        ({"serial_number": "AB"}, 200, 400),
        ({"serial_number": "no hex"}, 200, 400),
    ],
)
async def test_a_request_that_the_service_would_not_take_is_not_taken(service, change, status, code):
    simulator, client = service
    answer = await client.post("/v1/signatures/sign", json=wanted(**change))
    assert (answer.status_code, answer.json()["status_code"]) == (status, code)
    assert simulator.transactions == []


async def test_what_is_no_json_is_said_so(service):
    _, client = service
    for body in (b"", b"x", b"[]", b"[" * 3_000):
        assert (await client.post("/v1/signatures/sign", content=body)).status_code == 400
    assert (await client.post("/v1/signatures/sign", content=b" " * 300_000)).status_code == 400
    assert (await client.post("/v1/signatures/sign/none/status")).status_code == 404


async def test_a_repeated_request_makes_a_second_transaction_as_nobody_promises_otherwise(service):
    simulator, client = service
    for _ in range(2):
        await client.post("/v1/signatures/sign", json=wanted())
    assert [t.id for t in simulator.transactions] == ["t1", "t1"]


def test_people_do_not_exist_and_outlive_a_restart_in_a_folder(tmp_path):
    clock = SystemClock()
    one = People(clock, tmp_path / "people", 2)
    two = People(clock, tmp_path / "people", 2)
    assert [p.certificate for p in one.all] == [p.certificate for p in two.all]
    assert one.anchor == two.anchor == (tmp_path / "people" / "root.pem").read_text()
    assert all(p.number.startswith("000") and "Thử" in p.name for p in one.all)
    assert (tmp_path / "people" / "root.key").stat().st_mode & 0o077 == 0


def test_the_command_runs_without_a_home_and_says_what_to_set(tmp_path):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "api.cli", "simulate", "provider", "--port", str(port), "--auto", "10", "--faults", "pkcs7",
         "--people", "2", "--sp-password", "pw", "--folder", str(tmp_path / "people")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said = [process.stdout.readline().strip() for _ in range(7)]
        told = dict(line.split("=", 1) for line in said if "=" in line)
        assert told["DAUSO_PROVIDER_URL"] == f"http://127.0.0.1:{port}" and told["DAUSO_PROVIDER_SP_PASSWORD"] == "pw"
        transport = httpx2.HTTPTransport(retries=20)
        with httpx2.Client(transport=transport, base_url=told["DAUSO_PROVIDER_URL"]) as client:
            assert client.get("/control/faults").json() == {"faults": ["pkcs7"]}
            pem = client.get("/control/ca.pem").content
            found = client.post("/v1/credentials/get_certificate", json={**OWN, "user_id": "000000000001"}).json()
        assert x509.load_pem_x509_certificate(pem).subject
        assert pem == (tmp_path / "people" / "root.pem").read_bytes()
        assert len(found["data"]["user_certificates"]) == 1
        assert "# 000000000001" in said[5]
        assert not (tmp_path / ".dauso").exists()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        process.stdout.close()
        process.stderr.close()


def test_an_unknown_fault_ends_the_command_with_its_sentence():
    done = CliRunner().invoke(app, ["simulate", "provider", "--faults", "fire"])
    assert done.exit_code == 1 and "simulate.unknown_fault" in done.stderr
