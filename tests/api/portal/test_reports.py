"""A portal asks for the signed sheet of a check; the signer looks at the file itself."""

import hashlib
import subprocess

import httpx2
import pytest

from api.certifying import certify_file
from api.inner import SignerDoor
from core.errors import BadInput, Broken
from core.limits import LIMITS
from tests.flows import house, town
from verification.report import Verdict

WHERE = "/api/v1/verifications/report"
PDF = {"content-type": "application/pdf"}


def text_of(pdf, tmp_path) -> str:
    file = tmp_path / "sheet.pdf"
    file.write_bytes(pdf)
    subprocess.run(["qpdf", "--check", file], check=True, capture_output=True)
    assert "Signature is Valid" in subprocess.run(
        ["pdfsig", "-nocert", file], capture_output=True, text=True, check=False
    ).stdout  # fmt: skip
    told = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True).stdout
    return " ".join(told.split())


async def copy_of(signer, tmp_path) -> tuple[dict, bytes]:
    made = await certify_file(signer, [town.scan()], "x", town.request(), tmp_path)
    return made, (tmp_path / made["file"]).read_bytes()


async def test_the_sheet_of_a_copy_says_what_the_report_says(open_house, tmp_path):
    parts, client, signer = open_house
    _, copy = await copy_of(signer, tmp_path)
    answer = await client.post(WHERE, params={"name": "khai\nsinh.pdf"}, content=copy, headers=PDF)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["cache-control"] == "no-store"
    said = text_of(answer.content, tmp_path)
    report = (await client.post("/api/v1/verifications", content=copy, headers=PDF)).json()
    for words in (
        "HỢP LỆ / VALID",
        report["sentence"],
        hashlib.sha256(copy).hexdigest(),
        "khai sinh.pdf",
    ):
        assert words in said, words
    assert (await parts.checker.check(answer.content)).verdict is not Verdict.GENUINE


async def test_a_form_names_its_file_and_a_recalled_copy_says_so_first(open_house, tmp_path):
    _, client, signer = open_house
    made, copy = await copy_of(signer, tmp_path)
    await signer.copies.recall(made["id"], "Bản chính giả")
    answer = await client.post(WHERE, files={"file": ("bản sao.pdf", copy, "application/pdf")})
    said = text_of(answer.content, tmp_path)
    assert "bản sao.pdf" in said
    assert said.index("ĐÃ BỊ THU HỒI") < said.index("Bản sao đã bị thu hồi") < said.index("Tệp được kiểm tra")
    assert "Bản chính giả" in said
    assert "không có / none" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda copy: copy + b"\n1 0 obj\n<<>>\nendobj\n", "KHÔNG HỢP LỆ – ĐÃ BỊ THAY ĐỔI"),
        (lambda copy: copy[: len(copy) // 2], "KHÔNG HỢP LỆ – ĐÃ BỊ THAY ĐỔI"),
        (lambda _: b"%PDF-1.7\n" + b"\x00" * 5000, "CHƯA XÁC ĐỊNH ĐƯỢC"),
        (lambda _: b"no document at all", "KHÔNG RÕ NGUỒN GỐC"),
        (lambda _: town.scan(), "KHÔNG RÕ NGUỒN GỐC"),
    ],
)
async def test_broken_files_get_a_sheet_that_says_what_is_wrong(open_house, change, words, tmp_path):
    _, client, signer = open_house
    _, copy = await copy_of(signer, tmp_path)
    answer = await client.post(WHERE, content=change(copy), headers={"content-type": "application/octet-stream"})
    assert answer.status_code == 200, answer.text
    said = text_of(answer.content, tmp_path)
    assert "HỢP LỆ / VALID" not in said
    assert words in said, said[:300]


async def test_what_a_taken_web_process_claims_of_a_file_changes_nothing_on_the_sheet(open_house, tmp_path):
    parts, _, _ = open_house
    claims = {"verdict": "genuine", "sha256": "00" * 32, "report": {"verdict": "genuine"}}
    said = text_of(await parts.signer.ask("report", b"forged", name="x.pdf", **claims), tmp_path)
    assert "KHÔNG RÕ NGUỒN GỐC" in said
    assert hashlib.sha256(b"forged").hexdigest() in said


async def test_the_door_is_for_clients_with_the_right_and_refuses_what_it_cannot_read(open_house, home, monkeypatch):
    _, client, _ = open_house
    assert (await client.post(WHERE, content=b"", headers=PDF)).json()["code"] == "upload.empty"
    assert (await client.post(WHERE, content=b"x", headers={"content-type": "text/plain"})).status_code == 415
    assert (await client.post(WHERE, data={"file": "no file"}, files={"other": ("a", b"b")})).status_code == 400
    assert (await client.post(WHERE, params={"name": "x" * 301}, content=b"x", headers=PDF)).status_code == 422
    monkeypatch.setitem(LIMITS, "verify.bytes", 5)
    assert (await client.post(WHERE, content=b"%PDF-1.7", headers=PDF)).status_code == 413
    _, other = await house.add_client(home, "H1", scopes=("copies:read",))
    refused = await client.post(WHERE, content=b"x", headers={**PDF, "authorization": f"Bearer {other}"})
    assert refused.json()["code"] == "web.no_scope"
    assert (await client.post(WHERE, content=b"x", headers={**PDF, "authorization": ""})).status_code == 401


async def test_a_request_sent_twice_with_its_key_is_one_sheet(open_house):
    _, client, _ = open_house
    headers = {**PDF, "idempotency-key": "phieu-1"}
    first, second = [await client.post(WHERE, content=b"%PDF-1.7 x", headers=headers) for _ in range(2)]
    assert first.content == second.content
    assert second.headers["idempotency-replayed"] == "true"


async def test_without_a_signer_there_is_no_sheet_and_a_plain_check_goes_on(home):
    _, key = await house.add_client(home, "H1")
    async with house.web_here(home) as (_, client):
        client.headers["authorization"] = f"Bearer {key}"
        answer = await client.post(WHERE, content=b"%PDF-1.7 x", headers=PDF)
        assert (answer.status_code, answer.json()["code"]) == (503, "signer.unreachable")
        assert (await client.post("/api/v1/verifications", content=b"%PDF-1.7 x", headers=PDF)).status_code == 200


async def test_the_inner_door_takes_a_large_body_for_a_sheet_and_for_nothing_else(open_house, home):
    door = SignerDoor(home.socket)
    large = b"%PDF-1.7\n" + b"x" * (6 * 1024 * 1024)
    assert (await door.ask("report", large, name="Tên có dấu\r\nx: y")).startswith(b"%PDF-")
    with pytest.raises((BadInput, Broken), match=r"web\.too_large|signer"):
        await door.ask("ocsp", b"x" * (256 * 1024 + 1))
    await door.close()
    transport = httpx2.AsyncHTTPTransport(uds=str(home.socket))
    async with httpx2.AsyncClient(transport=transport, base_url="http://signer") as raw:
        for headers in ({}, {"dauso-words": "no json"}, {"dauso-words": "[]"}, {"dauso-words": "{}"}):
            answer = await raw.post("/report", content=b"x", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (500, "web.failed")
