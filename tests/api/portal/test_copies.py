"""A portal makes, watches, fetches, voids and recalls copies."""

import json

import pytest

from tests.api.portal.conftest import officer_of, paper
from tests.flows import house, town


async def make(client, *, wait=20, headers=None, files=None, **change):
    body = json.dumps(paper(await officer_of(client), **change))
    given = files or [("file", ("scan.jpg", town.scan(), "image/jpeg"))]
    return await client.post(f"/api/v1/copies?wait={wait}", data={"request": body}, files=given, headers=headers or {})


async def test_a_copy_is_made_fetched_and_its_receipt_with_it(open_house):
    _, client, _ = open_house
    answer = await make(client)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert made["state"] == "released"
    assert made["number"].startswith("1/")
    assert answer.headers["location"] == f"/api/v1/copies/{made['id']}"
    file = await client.get(made["links"]["file"])
    assert file.content.startswith(b"%PDF-")
    assert (await client.get(made["links"]["receipt"])).text.startswith("c2sp.org/tlog-proof@v1")
    report = (
        await client.post("/api/v1/verifications", content=file.content, headers={"content-type": "application/pdf"})
    ).json()
    assert report["verdict"] == "genuine", report
    digest = (await client.post("/api/v1/verifications/digests", json={"sha256": made["sha256"]})).json()
    assert digest["released"]
    again = await client.get(f"/api/v1/copies/{made['id']}", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code in {200, 304}
    seen = await client.get(f"/api/v1/copies/{made['id']}")
    assert (
        await client.get(f"/api/v1/copies/{made['id']}", headers={"if-none-match": seen.headers["etag"]})
    ).status_code == 304


async def test_a_file_sent_first_is_named_by_the_request(open_house):
    _, client, _ = open_house
    sent = (await client.post("/api/v1/files", content=town.scan("TWO"))).json()
    body = paper(await officer_of(client), files=[sent["file"]])
    made = (await client.post("/api/v1/copies?wait=20", json=body)).json()
    assert made["state"] == "released"


async def test_a_digest_alone_gives_nobody_a_file(open_house, home):
    _, client, _ = open_house
    sent = (await client.post("/api/v1/files", content=town.scan("MINE"))).json()
    _, other = await house.add_client(home, "H1")
    body = paper(await officer_of(client), files=[sent["file"]])
    answer = await client.post("/api/v1/copies", json=body, headers={"authorization": f"Bearer {other}"})
    assert answer.json()["code"] == "upload.no_such_file"


async def test_what_is_wrong_with_a_paper_stands_beside_its_request(open_house):
    _, client, _ = open_house
    made = (await make(client, files=[("file", ("x.pdf", b"%PDF-1.7 broken", "application/pdf"))])).json()
    assert made["state"] == "refused"
    assert made["problem"]["code"].startswith("intake.")
    assert made["number"] is None
    made = (await make(client, pages=7)).json()
    assert made["problem"]["code"] == "copy.pages_differ"


async def test_a_repeated_request_is_answered_alike_and_made_once(open_house):
    _, client, _ = open_house
    body = json.dumps(paper(await officer_of(client)))
    files = [("file", ("scan.jpg", town.scan("ONCE"), "image/jpeg"))]
    first, second = [
        await client.post("/api/v1/copies", data={"request": body}, files=files, headers={"idempotency-key": "a-1"})
        for _ in range(2)
    ]
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotency-replayed"] == "true"
    other = await client.post(
        "/api/v1/copies", data={"request": body}, files=[("file", ("scan.jpg", town.scan("X"), "image/jpeg"))],
        headers={"idempotency-key": "a-1"},
    )  # fmt: skip
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.other_body")


async def test_a_recall_names_a_person_and_is_said_everywhere_at_once(open_house):
    parts, client, _ = open_house
    made = (await make(client)).json()
    people = (await client.get("/api/v1/agencies/H1/people")).json()["items"]
    official = next(p["id"] for p in people if p["roles"][0]["role"] == "certifier")
    clerk = next(p["id"] for p in people if p["roles"][0]["role"] == "clerk")
    path = f"/api/v1/copies/{made['id']}/recall"
    refused = await client.post(path, json={"reason": "sai tên", "by": clerk})
    assert (refused.status_code, refused.json()["code"]) == (403, "recall.not_entitled")
    recalled = (await client.post(path, json={"reason": "sai tên", "by": official})).json()
    assert recalled["recall"]["reason"] == "sai tên"
    assert recalled["recall"]["by"] == official
    again = await client.post(path, json={"reason": "sai tên", "by": official})
    assert again.status_code == 200
    other = await client.post(path, json={"reason": "lý do khác", "by": official})
    assert (other.status_code, other.json()["code"]) == (409, "copy.already_recalled")
    file = await client.get(f"/api/v1/copies/{made['id']}/file")
    assert "dauso-recalled" in file.headers
    report = await parts.checker.check(file.content)
    assert report.verdict.value == "recalled"
    assert all(s.intact for s in report.signatures)


async def test_a_stolen_key_cannot_recall_a_province(open_house, monkeypatch):
    from core.limits import LIMITS

    monkeypatch.setitem(LIMITS, "recall.day", 1)
    _, client, signer = open_house
    alarms = []
    object.__setattr__(signer.recalls, "alarm", lambda *what: alarms.append(what))
    people = (await client.get("/api/v1/agencies/H1/people")).json()["items"]
    official = next(p["id"] for p in people if p["roles"][0]["role"] == "certifier")
    codes = []
    for _ in range(2):
        made = (await make(client)).json()
        answer = await client.post(f"/api/v1/copies/{made['id']}/recall", json={"reason": "x", "by": official})
        codes.append(answer.status_code)
    assert codes[-1] == 429
    assert answer.json()["code"] == "recall.too_many"
    assert alarms[-1][0] == "recall.stopped"


@pytest.mark.parametrize(
    ("scopes", "path", "code"),
    [
        ((), "/api/v1/copies", "web.no_scope"),
    ],
)
async def test_a_client_opens_only_what_its_scopes_say(open_house, home, scopes, path, code):
    from api.clients.model import Scope

    _, client, _ = open_house
    _, key = await house.add_client(home, "H1", scopes=[Scope.VERIFY])
    answer = await client.get(path, headers={"authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["code"]) == (403, code)


async def test_nobody_without_credentials_and_nobody_with_wrong_ones(open_house):
    _, client, _ = open_house
    for header, code in (
        ("", "web.no_credentials"),
        ("Bearer dauso_x_y", "web.bad_credentials"),
        ("Basic abc", "web.bad_credentials"),
    ):
        answer = await client.get("/api/v1/copies", headers={"authorization": header})
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["www-authenticate"]
        assert answer.headers["content-type"] == "application/problem+json"


async def test_copies_of_another_agency_do_not_exist(open_house, home):
    from api import bootstrap
    from api.roles import ProcessRole

    _, client, signer = open_house
    made = (await make(client)).json()
    await signer.enrolment.agency(code="H2", name="UBND xã Khác", parent="UBND tỉnh Ví Dụ")
    _, key = await house.add_client(home, "H2")
    other = {"authorization": f"Bearer {key}"}
    for path in (f"/api/v1/copies/{made['id']}", f"/api/v1/copies/{made['id']}/file", f"/api/v1/copies/{'0' * 26}"):
        answer = await client.get(path, headers=other)
        assert (answer.status_code, answer.json()["code"]) == (404, "copy.no_such_copy"), path
    assert (await client.get("/api/v1/copies", headers=other)).json()["items"] == []
    assert bootstrap
    assert ProcessRole


async def test_lists_go_on_by_cursor_and_filter(open_house):
    _, client, _ = open_house
    for _ in range(3):
        await make(client, dossier="HS-9")
    first = (await client.get("/api/v1/copies", params={"dossier": "HS-9", "limit": 2})).json()
    assert len(first["items"]) == 2
    rest = (await client.get("/api/v1/copies", params={"dossier": "HS-9", "limit": 2, "after": first["next"]})).json()
    assert len(rest["items"]) == 1
    assert rest["next"] is None
    assert (await client.get("/api/v1/copies", params={"state": "voided"})).json()["items"] == []
    assert (await client.get("/api/v1/copies", params={"after": "../"})).json()["code"] == "web.invalid"


async def test_a_batch_is_worked_through_with_an_outcome_for_each_item(open_house):
    _, client, _ = open_house
    names = [(await client.post("/api/v1/files", content=town.scan(f"B{n}"))).json()["file"] for n in range(3)]
    bad = (await client.post("/api/v1/files", content=b"%PDF-1.4 nothing")).json()["file"]
    items = [{"kind": "Quyết định", "files": [name]} for name in (*names, bad)]
    answer = await client.post("/api/v1/batches", json={"agency": "H1", "regime": "so_hoa", "items": items})
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    import asyncio

    for _ in range(200):
        seen = (await client.get(batch["links"]["self"])).json()
        if seen["finished"]:
            break
        await asyncio.sleep(0.05)
    assert seen["counts"]["released"] == 3
    assert seen["counts"]["refused"] == 1
    failed = (await client.get(batch["links"]["items"], params={"place": "refused"})).json()["items"]
    assert [item["position"] for item in failed] == [3]
    assert failed[0]["copy"]["problem"]["code"].startswith("intake.")
    retried = (await client.post(f"{batch['links']['self']}/retry")).json()
    assert retried["total"] == 4


async def test_the_register_is_found_by_words_without_accents(open_house):
    _, client, _ = open_house
    made = (await make(client, requester="Nguyễn Thị Ánh Tuyết", original_number="77/2003")).json()
    assert made["state"] == "released", made
    for words in ("anh tuyet", "NGUYỄN 77", "giay khai sinh tuyết"):
        found = (await client.get("/api/v1/register", params={"agency": "H1", "q": words})).json()["items"]
        assert [f["copy_id"] for f in found] == [made["id"]], words
    assert (await client.get("/api/v1/register", params={"agency": "H1", "q": "tuyet khong"})).json()["items"] == []
    number = found[0]["number"] if found else 1
    one = (await client.get("/api/v1/register", params={"agency": "H1", "number": number})).json()["items"]
    assert len(one) == 1
    book = (await client.get("/api/v1/agencies/H1/books")).json()["items"][0]
    table = (await client.get(f"/api/v1/books/{book['id']}/export")).content.decode("utf-8-sig")
    assert "Ánh Tuyết" in table


async def test_statistics_count_without_naming_anybody(open_house):
    _, client, _ = open_house
    await make(client, requester="Một Người")
    found = (await client.get("/api/v1/statistics")).json()
    assert found["totals"]["released"] >= 1
    assert found["totals"]["on_time_rate"] > 0
    table = (await client.get("/api/v1/statistics/open-data.csv")).text
    assert "Giấy khai sinh" in table
    assert "Một Người" not in table


async def test_a_weak_line_sends_its_file_in_pieces(open_house):
    _, client, _ = open_house
    data = town.scan("PIECES")
    tus = {"tus-resumable": "1.0.0"}
    begun = await client.post("/api/v1/uploads", headers={**tus, "upload-length": str(len(data))})
    assert begun.status_code == 201
    where = begun.headers["location"].split("localhost", 1)[1]
    piece = {**tus, "content-type": "application/offset+octet-stream"}
    first = await client.patch(where, content=data[:1000], headers={**piece, "upload-offset": "0"})
    assert first.headers["upload-offset"] == "1000"
    lost = await client.patch(where, content=data[:1000], headers={**piece, "upload-offset": "0"})
    assert (lost.status_code, lost.json()["code"]) == (409, "upload.wrong_offset")
    at = (await client.head(where, headers=tus)).headers["upload-offset"]
    last = await client.patch(where, content=data[int(at) :], headers={**piece, "upload-offset": at})
    body = paper(await officer_of(client), files=[last.headers["dauso-file"]])
    assert (await client.post("/api/v1/copies?wait=20", json=body)).json()["state"] == "released"
