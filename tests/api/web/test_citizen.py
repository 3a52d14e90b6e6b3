"""The citizen's door over HTTP: codes, seals, files, lists; for people without a script and for programs."""

import asyncio
import io
import re
import subprocess
from dataclasses import replace

import pytest
import segno

from core.db import Prepared
from core.formats import key_list, status_list
from core.limits import LIMITS
from signer.copies.publication import publication_table
from tests.browser import papers as makers
from tests.flows import house

HTML = {"accept": "text/html,application/xhtml+xml"}
JSON = {"accept": "application/json"}


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return asyncio.run(makers.build(tmp_path_factory.mktemp("town") / "home"))


@pytest.fixture
async def web(papers, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.file_minute", 1000)
    async with house.web_here(papers.settings) as (parts, client):
        client.parts = parts
        yield client


def words(html: str) -> str:
    """What a person reads of the result; the templates for the script are not on the page yet."""
    shown = re.sub(r"(?s)<template.*?</template>|<head>.*?</head>", "", html)
    return " ".join(re.sub(r"<[^>]+>", " ", shown).split())


def state_of(html: str) -> str:
    return re.search(r'<article class="result" data-state="(\w+)"', html).group(1)


async def typed(web, code, **more):
    return (await web.post("/v/code", data={"code": code, **more}, headers=HTML)).text


# -------------------------------------------------------------------------------------------------------- the page
async def test_the_page_is_the_same_for_everybody_and_cheap_to_ask_again(web):
    first, second = await web.get("/v"), await web.get("/v", headers={"accept-language": "en", "cookie": "a=b"})
    assert first.content == second.content
    again = await web.get("/v", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "max-age=60" in first.headers["cache-control"]
    assert "set-cookie" not in first.headers


async def test_the_page_obeys_a_policy_without_inline_script_or_style_and_names_no_other_host(web):
    page = await web.get("/v")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page.text)
    assert not re.search(r"https?://", page.text)
    assert "TẬP HUẤN" in words(page.text)


async def test_static_files_are_kept_for_good_under_an_address_that_changes_with_them(web):
    page = (await web.get("/v")).text
    for address in set(re.findall(r"/v/static/[^\"]+", page)):
        answer = await web.get(address)
        assert answer.status_code == 200, address
        assert "immutable" in answer.headers["cache-control"]
    assert (await web.get("/v/static/x/citizen.css")).headers["cache-control"] == "no-cache"
    for bad in ("nothing.js", "..%2fciti", "__init__.py"):
        assert (await web.get(f"/v/static/x/{bad}")).status_code == 404
    worker = await web.get("/v/sw.js")
    assert worker.headers["service-worker-allowed"] == "/v"
    assert "__" not in worker.text
    assert (await web.get("/v/app.webmanifest")).json()["scope"] == "/v"


# ---------------------------------------------------------------------------------------------------------- typed
async def test_a_typed_code_gives_the_checklist_in_two_languages_and_never_a_lone_tick(web, papers):
    html = await typed(web, papers.valid.code.lower().replace("-", " "))
    assert state_of(html) == "valid"
    said = words(html)
    for each in (
        "MÃ HỢP LỆ – hãy đối chiếu", "THE CODE IS VALID", "UBND xã Đường Lâm", "1/ĐT", "01/2026-SCTĐT/BS",
        "Giấy khai sinh", "45/2001", "P.T.O", papers.valid.code, "Mã đúng chưa có nghĩa là tờ giấy đúng", "TẬP HUẤN",
    ):  # fmt: skip
        assert each in said
    assert "Phạm Thị Ổn" not in html
    assert html.count('type="checkbox"') >= 9


async def test_a_recall_speaks_first_with_date_reason_and_successor(web, papers):
    html = await typed(web, papers.superseded.code)
    assert state_of(html) == "revoked"
    said = words(html)
    assert said.index("ĐÃ THU HỒI ngày") < said.index("Sai số trang") < said.index("4/ĐT") < said.index("UBND xã")
    assert "MÃ HỢP LỆ" not in said
    assert "Bản thay thế" not in words(await typed(web, papers.recalled.code))


async def test_an_agency_that_has_merged_shows_both_names(web, papers):
    said = words(await typed(web, papers.merged.code))
    assert "UBND xã Cũ Kỹ nay là: UBND xã Đường Lâm" in said


async def test_every_code_that_is_no_released_copys_gets_the_same_answer(web, papers):
    codes = [papers.draft.code, papers.voided.code, "0000-0000-0000-0000", "7K3M", "", "x" * 5000, "'; --", "\u202e"]
    pages = {re.sub(r"\d\d/\d\d/\d{4}, \d\d:\d\d", "", await typed(web, code)) for code in codes}
    assert len(pages) == 1
    (html,) = pages
    assert state_of(html) == "invalid"
    answers = set()
    for code in [*codes, None, 7, [], {"a": 1}]:
        answer = (await web.post("/v/status", json={"code": code})).json()
        answer.pop("checked_at")
        answers.add(str(answer))
    assert answers == {str({"state": "invalid", "facts": None, "recall": None})}
    for body in (b"", b"[]", b"\xff", b"[" * 100_000, b'"x"'):
        assert (await web.post("/v/status", content=body)).json()["state"] == "invalid"


async def test_unknown_and_malformed_codes_ask_the_database_as_known_ones_do(web, papers, monkeypatch):
    asked = []
    real = Prepared.first

    async def counted(self, **values):
        asked.append(values)
        return await real(self, **values)

    monkeypatch.setattr(Prepared, "first", counted)
    for code in (papers.valid.code, papers.draft.code, "0000-0000-0000-0000", "not a code", None):
        asked.clear()
        await web.post("/v/status", json={"code": code})
        assert len(asked) == 1


async def test_programs_get_the_facts_as_json_and_nothing_that_names_a_person(web, papers):
    code = (await web.post("/v/code", data={"code": papers.valid.code}, headers=JSON)).json()
    status = (await web.post("/v/status", json={"code": papers.valid.code})).json()
    assert code["facts"] == status["facts"]
    assert (status["state"], status["facts"]["initials"], status["recall"]) == ("valid", "P.T.O", None)
    recalled = (await web.post("/v/status", json={"code": papers.superseded.code})).json()
    assert recalled["recall"]["successor"] == "4/ĐT"
    assert "Phạm" not in str(status) + str(recalled)


def test_no_more_of_the_originals_number_is_told_than_the_seal_has():
    from api.web.lookup import _original
    from tests.core.formats.test_qr_seal import CLAIMS

    told = replace(CLAIMS, original_number="123456789012")
    assert _original(told, "123456789012") == "123456789012"
    assert _original(told, "1234567890123456 Số dài") == "123456789012…"
    assert _original(replace(CLAIMS, original_number=None), " ") == ""


async def test_a_recall_is_told_at_once(tmp_path):
    papers = await makers.build(tmp_path / "home")
    from api import bootstrap
    from api.roles import ProcessRole
    from signer.copies import store

    async with house.web_here(papers.settings) as (_, web):
        assert (await web.post("/v/status", json={"code": papers.valid.code})).json()["state"] == "valid"
        async with bootstrap.open_service(papers.settings, ProcessRole.SIGNER) as signer:
            async with signer.db.read() as uow:
                copy = next(c for c in await store.all_copies(uow) if c.qr == papers.valid.qr)
            await signer.copies.recall(copy.id, "sai tên")
            answer = (await web.post("/v/status", json={"code": papers.valid.code})).json()
        assert (answer["state"], answer["recall"]["reason"]) == ("revoked", "sai tên")


async def test_the_access_code_opens_small_pictures_and_a_wrong_one_opens_nothing(web, papers):
    assert "data:image" not in await typed(web, papers.merged.code)
    html = await typed(web, papers.merged.code, access=papers.merged.access.lower())
    assert html.count("data:image/jpeg;base64,") == 2
    for wrong in ("7K3M-9QXT-2H5R-WD4F", "x", papers.merged.code):
        html = await typed(web, papers.merged.code, access=wrong)
        assert "data:image" not in html
        assert "Mã truy cập không đúng" in words(html)
    html = await typed(web, papers.valid.code, access=papers.merged.access)  # a paper without such a code
    assert "data:image" not in html
    assert typed_text(await typed(web, papers.draft.code, access="x")) == typed_text(await typed(web, "x", access="x"))


async def test_pictures_that_cannot_be_drawn_take_nothing_from_the_answer(web, papers, monkeypatch):
    from core.errors import Unavailable

    async def away(*_):
        raise Unavailable("store.unreachable")

    monkeypatch.setattr(type(web.parts.service.documents), "get", away)
    html = await typed(web, papers.merged.code, access=papers.merged.access)
    assert state_of(html) == "valid"
    assert "Chưa mở được ảnh" in words(html)


def typed_text(html: str) -> str:
    return re.sub(r"\d\d/\d\d/\d{4}, \d\d:\d\d", "", html)


# ----------------------------------------------------------------------------------------------------------- seals
async def test_the_server_judges_a_seal_where_a_browser_cannot(web, papers):
    seals = {
        papers.valid.seal: ("valid", "compare"), papers.valid.seal.lower(): ("valid", "caution"),
        papers.superseded.seal: ("revoked", "recall.successor"), papers.draft.seal: ("invalid", "why.not_in_register"),
        papers.voided.seal: ("invalid", "why.not_in_register"), papers.forged["forged"]: ("invalid", "why.forged"),
        papers.forged["same_kid"]: ("invalid", "why.forged"), papers.forged["tampered"]: ("invalid", "why.forged"),
        papers.forged["unknown_key"]: ("invalid", "why.unknown_key"), papers.forged["differs"]: ("invalid", "why.differs"),
        papers.forged["not_in_register"]: ("invalid", "why.not_in_register"), "AAAA": ("invalid", "why.malformed"),
    }  # fmt: skip
    for seal, (state, part) in seals.items():
        answer = (await web.post("/v/seal", json={"seal": seal})).json()
        assert answer["state"] == state, seal
        assert {part, f"say.{state}", "note.by_server"} <= set(answer["parts"]), answer
    for body in (b"", b"{}", b'{"seal": null}', b'{"seal": ["A"]}'):
        assert (await web.post("/v/seal", content=body)).json()["state"] == "invalid"


# ----------------------------------------------------------------------------------------------------------- files
async def sent(web, data, name="a.pdf", headers=HTML):
    return await web.post("/v/file", files={"file": (name, data, "application/octet-stream")}, headers=headers)


async def test_a_released_file_is_valid_and_a_touched_one_is_not(web, papers):
    data = papers.valid.file.read_bytes()
    html = (await sent(web, data)).text
    assert state_of(html) == "valid"
    said = words(html)
    assert "TỆP HỢP LỆ" in said
    assert "Lê Thị Hữu" in said
    assert "chứng thư đáng tin cậy" in said
    touched = (await sent(web, data + b"\n%")).text
    assert state_of(touched) == "invalid"
    assert "TỆP HỢP LỆ" not in words(touched)
    recalled = (await sent(web, papers.recalled.file.read_bytes())).text
    assert state_of(recalled) == "revoked"
    assert "Cấp nhầm người" in words(recalled)


async def test_a_file_that_is_no_copy_of_ours_is_of_unknown_origin(web):
    from tests.flows import town

    said = (await sent(web, b"%PDF-1.7\nnonsense")).text
    assert state_of(said) in {"undetermined", "invalid"}
    assert "Không thấy mã QR" in words((await sent(web, town.scan())).text)


async def test_a_result_has_no_address_to_come_back_to(web):
    for address in ("/v/code", "/v/file"):
        answer = await web.get(address)
        assert (answer.status_code, answer.headers["location"]) == (303, "/v")


async def test_a_photo_of_the_paper_shows_the_same_checklist(web, papers, tmp_path):
    for paper, state in ((papers.valid, "valid"), (papers.superseded, "revoked")):
        subprocess.run(["pdftoppm", "-r", "200", "-png", paper.file, str(tmp_path / "page")], check=True)
        html = (await sent(web, max(tmp_path.glob("page*.png")).read_bytes(), "photo.png")).text
        assert state_of(html) == state
        assert paper.code in words(html)
        assert "Chỉ đọc mã QR trong ảnh" in words(html)


async def test_a_photo_of_a_forged_seal_says_why(web, papers):
    out = io.BytesIO()
    segno.make(f"https://localhost/v#{papers.forged['differs']}", error="m", micro=False).save(out, kind="png", scale=4)
    html = (await sent(web, out.getvalue())).text
    assert state_of(html) == "invalid"
    assert "khác với sổ" in words(html)


async def test_programs_get_the_report(web, papers):
    report = (await sent(web, papers.valid.file.read_bytes(), headers=JSON)).json()
    assert (report["verdict"], report["state"], report["facts"]["code"]) == ("genuine", "valid", papers.valid.code)
    refused = await sent(web, b"", headers=JSON)
    assert (refused.status_code, refused.json()["code"]) == (400, "upload.empty")


async def test_a_file_that_cannot_be_taken_is_answered_in_words(web, monkeypatch):
    answer = await sent(web, b"")
    assert (answer.status_code, state_of(answer.text)) == (400, "undetermined")
    assert "CHƯA KIỂM TRA ĐƯỢC" in words(answer.text)
    monkeypatch.setitem(LIMITS, "verify.bytes", 3)
    assert (await sent(web, b"%PDF-")).status_code == 413
    assert (await web.post("/v/file", data={"file": "text"}, headers=HTML)).status_code == 400


async def test_what_a_file_says_stays_text(web, papers, monkeypatch):
    real = type(web.parts.checker).check

    async def check(self, data):
        report = await real(self, data)
        return replace(report, signatures=tuple(replace(s, signer="<script>x</script>") for s in report.signatures))

    monkeypatch.setattr(type(web.parts.checker), "check", check)
    html = (await sent(web, papers.valid.file.read_bytes())).text
    assert "&lt;script&gt;x" in html
    assert "<script>x" not in html


# ----------------------------------------------------------------------------------------------------------- lists
async def test_the_lists_are_served_as_published_and_cheap_to_ask_again(web, papers):
    keys = await web.get("/.well-known/qr-seal-keys")
    assert keys.headers["content-type"] == "application/json"
    listed = key_list.read(keys.content)
    year = 2000 + int(re.search(r"/(\d\d)(\d\d)", papers.valid.number.replace(" ", "")).group(2))
    marks = await web.get(f"/.well-known/qr-status/H1/{year}")
    assert marks.headers["content-type"] == "application/cose"
    assert status_list.read(marks.content, next(k for k in listed.keys if k.agency == "H1").spki, "H1", year)
    assert (await web.get("/.well-known/qr-seal-keys.p7s")).content[:1] == b"0"
    again = await web.get("/.well-known/qr-seal-keys", headers={"if-none-match": keys.headers["etag"]})
    assert again.status_code == 304
    for missing in ("H9/2026", f"H1/{year + 1}"):
        answer = await web.get(f"/.well-known/qr-status/{missing}")
        assert (answer.status_code, answer.json()["code"]) == (404, "qr.no_such_list")
    async with web.parts.service.db.read() as uow:
        names = {row.name for row in await uow.execute(publication_table.select())}
    assert f"qr-status-H1-{year}" in names


async def test_neither_code_nor_seal_nor_file_name_reaches_a_log(web, papers, capsys):
    await typed(web, papers.valid.code)
    await web.post("/v/seal", json={"seal": papers.valid.seal})
    await sent(web, papers.valid.file.read_bytes(), "Pham-Thi-On.pdf")
    out = "".join(capsys.readouterr())
    assert "citizen.checked" in out
    for secret in (papers.valid.code, papers.valid.seal[:20], "Pham-Thi-On"):
        assert secret not in out
