"""The signing page's questions and answers: who may ask what, and every wrong answer with its own code."""

import asyncio
import re

import pytest

from core.limits import LIMITS
from core.values import Realm
from signer import links
from tests.api.sign.matter import TITLE, Hand, opened


@pytest.fixture
async def door(tmp_path, clock):
    async with opened(tmp_path, clock) as made:
        yield made


@pytest.fixture
async def phone(door):
    async with door.phone() as client:
        yield client


async def enter(door, phone, token, hand=None):
    """The pass that the passkey gives, as a header."""
    asked = (await phone.get(f"/s/{token}/enter")).json()
    credential = (hand or door.hand).craft(asked["publicKey"], door.rp)
    answer = await phone.post(f"/s/{token}/enter", json={"tx": asked["tx"], "credential": credential})
    assert answer.status_code == 200, answer.text
    return {"dauso-pass": answer.json()["pass"]}


def said(answer):
    return answer.status_code, answer.json()["code"]


# ------------------------------------------------------------------------------------------------------- the whole way
async def test_a_person_enters_reads_approves_and_fetches_the_file(door, phone):
    token = await door.link()
    described = (await phone.get(f"/s/{token}/describe")).json()
    assert (described["portal"], described["realm"]) == ("Cổng dịch vụ công", "training")
    key = await enter(door, phone, token)
    standing = (await phone.get(f"/s/{token}/status", headers=key)).json()
    assert (standing["state"], standing["said"], standing["final"]) == ("ready", "Chưa ký", False)
    shown = (await phone.post(f"/s/{token}/show", headers=key)).json()
    assert shown["title"] == TITLE
    assert len(shown["code"]) == 6
    assert shown["publicKey"]["userVerification"] == "required"
    assert [each["id"] for each in shown["publicKey"]["allowCredentials"]]
    again = (await phone.post(f"/s/{token}/show", headers=key)).json()
    assert again["tx"] == shown["tx"]
    picture = await phone.get(f"/s/{token}/documents/d1/pages/0?width=320", headers=key)
    assert (picture.headers["content-type"], picture.content[8:12]) == ("image/webp", b"WEBP")
    words = (await phone.get(f"/s/{token}/documents/d1/pages/0/text", headers=key)).json()
    assert words["text"].startswith("Trang 1")
    assert said(await phone.get(f"/s/{token}/documents/d1/file", headers=key)) == (409, "sign.no_file")
    credential = door.hand.craft(shown["publicKey"], door.rp)
    sent = await phone.post(f"/s/{token}/approve", json={"tx": shown["tx"], "credential": credential}, headers=key)
    assert sent.status_code == 202
    standing = (await phone.get(f"/s/{token}/status?wait=5", headers=key)).json()
    assert (standing["state"], standing["said"], standing["final"]) == ("signed", "Đã ký", True)
    file = await phone.get(f"/s/{token}/documents/{standing['files'][0]['id']}/file", headers=key)
    assert file.content.startswith(b"%PDF")
    assert file.headers["content-disposition"] == 'attachment; filename="1-d1.pdf"'


async def test_a_person_refuses_with_a_reason(door, phone):
    token = await door.link()
    key = await enter(door, phone, token)
    for reason in ("", "   ", "x" * (LIMITS["page.refusal_letters"] + 1)):
        refused = await phone.post(f"/s/{token}/refuse", json={"reason": reason}, headers=key)
        assert said(refused) == (422, "web.invalid")
    assert (await phone.post(f"/s/{token}/refuse", json={"reason": " Sai tên "}, headers=key)).status_code == 200
    standing = (await phone.get(f"/s/{token}/status", headers=key)).json()
    assert (standing["state"], standing["why"]) == ("refused", "Sai tên")


# ------------------------------------------------------------------------------------------------- wrong answers: entry
async def test_each_wrong_answer_at_the_entry_is_refused_with_its_code(door, phone):
    token, other = await door.link(), await door.link()
    theirs = Hand()
    await theirs.enrol(door.service, door.stranger)
    asked = (await phone.get(f"/s/{token}/enter")).json()
    options, rp, mine = asked["publicKey"], door.rp, door.hand
    wrong = {
        "another person's passkey": ("activation.foreign_passkey", theirs.craft(options, rp)),
        "nobody's passkey": ("activation.foreign_passkey", Hand().craft(options, rp)),
        "user verification false": ("activation.no_user_verification", mine.craft(options, rp, flags=0x01)),
        "user presence false": ("activation.no_user_verification", mine.craft(options, rp, flags=0x04)),
        "the portal's origin": ("activation.wrong_origin", mine.craft(options, rp, origin="http://localhost:8000")),
        "another port": ("activation.wrong_origin", mine.craft(options, rp, origin="http://sign.localhost:8000")),
        "a subdomain": ("activation.wrong_origin", mine.craft(options, rp, origin="http://x.sign.localhost:8001")),
        "in a frame": ("activation.wrong_origin", mine.craft(options, rp, crossOrigin=True)),
        "crossOrigin as text": ("activation.wrong_origin", mine.craft(options, rp, crossOrigin="false")),
        "with a top origin": ("activation.wrong_origin", mine.craft(options, rp, topOrigin="http://localhost:8000")),
        "a log-in's RP ID": ("activation.wrong_origin", mine.craft(options, rp, rp_id="localhost")),
        "a registration": ("activation.wrong_type", mine.craft(options, rp, type="webauthn.create")),
        "another challenge": ("activation.wrong_challenge", mine.craft({"challenge": "AAAA"}, rp)),
    }
    for name, (code, credential) in wrong.items():
        answer = await phone.post(f"/s/{token}/enter", json={"tx": asked["tx"], "credential": credential})
        assert said(answer) == (403, code), name
        assert "pass" not in answer.json()
    good = mine.craft(options, rp)
    broken = {**good, "response": {**good["response"], "signature": "AAAA"}}
    answer = await phone.post(f"/s/{token}/enter", json={"tx": asked["tx"], "credential": broken})
    assert said(answer) == (403, "activation.bad_signature")
    broken = {**good, "response": {**good["response"], "authenticatorData": "!!"}}
    answer = await phone.post(f"/s/{token}/enter", json={"tx": asked["tx"], "credential": broken})
    assert said(answer) == (400, "activation.malformed")
    body = {"tx": asked["tx"], "credential": good}
    assert said(await phone.post(f"/s/{other}/enter", json=body)) == (404, "enter.unknown")
    assert (await phone.post(f"/s/{token}/enter", json=body)).status_code == 200
    assert said(await phone.post(f"/s/{token}/enter", json=body)) == (409, "enter.spent")


async def test_an_answer_that_comes_too_late_does_not_enter(door, phone, clock):
    token = await door.link()
    asked = (await phone.get(f"/s/{token}/enter")).json()
    credential = door.hand.craft(asked["publicKey"], door.rp)
    clock.move(seconds=LIMITS["enter.seconds"])
    answer = await phone.post(f"/s/{token}/enter", json={"tx": asked["tx"], "credential": credential})
    assert said(answer) == (403, "enter.expired")


async def test_a_cloned_authenticator_is_turned_away(door, phone):
    token = await door.link()
    for count, expected in ((7, 200), (7, 403), (3, 403), (8, 200)):
        asked = (await phone.get(f"/s/{token}/enter")).json()
        credential = door.hand.craft(asked["publicKey"], door.rp, count=count)
        answer = await phone.post(f"/s/{token}/enter", json={"tx": asked["tx"], "credential": credential})
        assert answer.status_code == expected
        assert expected == 200 or answer.json()["code"] == "activation.replayed"


# ---------------------------------------------------------------------------------------------- wrong answers: approval
async def test_each_wrong_approval_is_refused_with_its_code_and_signs_nothing(door, phone):
    token = await door.link()
    key = await enter(door, phone, token)
    theirs = Hand()
    await theirs.enrol(door.service, door.stranger)
    shown = (await phone.post(f"/s/{token}/show", headers=key)).json()
    entry = (await phone.get(f"/s/{token}/enter")).json()
    options, rp, mine = shown["publicKey"], door.rp, door.hand
    wrong = {
        "an entry's answer": ("activation.wrong_challenge", mine.craft(entry["publicKey"], rp)),
        "another person's passkey": ("activation.foreign_passkey", theirs.craft(options, rp)),
        "user verification false": ("activation.no_user_verification", mine.craft(options, rp, flags=0x01)),
        "the portal's origin": ("activation.wrong_origin", mine.craft(options, rp, origin="http://localhost:8000")),
        "in a frame": ("activation.wrong_origin", mine.craft(options, rp, crossOrigin=True)),
        "with a top origin": ("activation.wrong_origin", mine.craft(options, rp, topOrigin="http://localhost:8000")),
        "a log-in's RP ID": ("activation.wrong_origin", mine.craft(options, rp, rp_id="localhost")),
    }
    for name, (code, credential) in wrong.items():
        body = {"tx": shown["tx"], "credential": credential}
        assert said(await phone.post(f"/s/{token}/approve", json=body, headers=key)) == (403, code), name
    body = {"tx": entry["tx"], "credential": mine.craft(options, rp)}
    assert said(await phone.post(f"/s/{token}/approve", json=body, headers=key)) == (409, "activation.not_open")
    body = {"tx": entry["tx"], "credential": mine.craft(options, rp)}  # an approval's answer opens no page either
    assert said(await phone.post(f"/s/{token}/enter", json=body)) == (403, "activation.wrong_challenge")
    assert door.table.state == "open"
    body = {"tx": shown["tx"], "credential": mine.craft(options, rp)}
    assert (await phone.post(f"/s/{token}/approve", json=body, headers=key)).status_code == 202
    assert said(await phone.post(f"/s/{token}/approve", json=body, headers=key)) == (409, "activation.not_open")
    assert door.table.asked == 1


async def test_of_two_approvals_at_once_one_wins(door, phone):
    token = await door.link()
    key = await enter(door, phone, token)
    shown = (await phone.post(f"/s/{token}/show", headers=key)).json()
    body = {"tx": shown["tx"], "credential": door.hand.craft(shown["publicKey"], door.rp)}
    answers = await asyncio.gather(
        *(phone.post(f"/s/{token}/approve", json=body, headers=key) for _ in range(5))
    )  # fmt: skip
    assert sorted(each.status_code for each in answers) == [202, 409, 409, 409, 409]


# ------------------------------------------------------------------------------------------------------------ passes
def _guarded(token):
    read = ["status", "documents/d1", "documents/d1/pages/0", "documents/d1/pages/0/text", "documents/d1/file"]
    return [("GET", f"/s/{token}/{each}") for each in read] + [
        ("POST", f"/s/{token}/show"),
        ("POST", f"/s/{token}/start"),
    ]


async def test_nothing_is_shown_without_a_pass_of_this_link_in_its_time(door, phone, clock):
    token, other = await door.link(), await door.link()
    key = await enter(door, phone, token)
    for method, path in _guarded(token):
        assert said(await phone.request(method, path)) == (403, "pass.missing")
        wrong = {"dauso-pass": "A" * 43}
        assert said(await phone.request(method, path, headers=wrong)) == (403, "pass.expired")
        cookie = {"cookie": f"dauso-pass={key['dauso-pass']}"}
        assert said(await phone.request(method, path, headers=cookie)) == (403, "pass.missing")
    for method, path in _guarded(other):
        assert said(await phone.request(method, path, headers=key)) == (403, "pass.foreign")
    clock.move(seconds=LIMITS["pass.seconds"])
    for method, path in _guarded(token):
        assert said(await phone.request(method, path, headers=key)) == (403, "pass.expired")
    reason = {"reason": "Không"}
    assert said(await phone.post(f"/s/{token}/refuse", json=reason, headers=key)) == (403, "pass.expired")
    assert said(await phone.post(f"/s/{token}/refuse", json=reason)) == (403, "pass.missing")
    assert door.table.state == "ready"


async def test_unknown_ended_expired_and_other_links_give_the_same_answer(door, phone, clock):
    ended, expired, enrol = await door.link(), await door.link(hours=1), await door.link(kind="enrol", hours=90)
    key = await enter(door, phone, ended)
    clock.move(hours=2)
    async with door.service.db.write() as uow:
        await links.end_links(uow, clock, "step", "s1")
    expired_too = await door.link(hours=1)
    clock.move(hours=2)
    tokens = [ended, expired, expired_too, enrol, "A" * 32, "x", "%2e%2e", "ớ"]
    pages, answers = set(), set()
    for token in tokens:
        page = await phone.get(f"/s/{token}", headers={"accept": "text/html"})
        assert page.status_code == 404
        pages.add(page.text.partition("<main")[2])
        for path in ("describe", "enter", "status"):
            body = (await phone.get(f"/s/{token}/{path}", headers=key)).json()
            body.pop("instance")
            answers.add(str(body))
    assert len(answers) == 1
    assert "link.unknown" in answers.pop()
    assert len(pages) == 1


# ------------------------------------------------------------------------------------------------------------- the door
async def test_a_post_without_our_own_origin_is_refused(door, phone):
    token = await door.link()
    key = await enter(door, phone, token)
    shown = (await phone.post(f"/s/{token}/show", headers=key)).json()
    answer = {"tx": shown["tx"], "credential": door.hand.craft(shown["publicKey"], door.rp)}
    posts = {"enter": answer, "show": {}, "approve": answer, "refuse": {"reason": "Không"}, "start": {}}
    for origin in (None, "null", "http://localhost:8000", "http://sign.localhost", f"{door.rp.origin}/", ""):
        headers = {**key, "origin": origin} if origin is not None else key
        for path, body in posts.items():
            request = phone.build_request("POST", f"/s/{token}/{path}", json=body, headers=headers)
            if origin is None:
                del request.headers["origin"]
            assert said(await phone.send(request)) == (403, "web.foreign_page"), (origin, path)
    assert door.table.state == "open"


async def test_only_its_own_name_is_answered_and_nothing_for_other_origins(door, phone):
    token = await door.link()
    for host in ("localhost", "evil.example", "sign.localhost.evil.example", "127.0.0.1:8001"):
        assert said(await phone.get(f"/s/{token}", headers={"host": host})) == (421, "web.wrong_host")
    assert (await phone.get("/.well-known/webauthn")).status_code == 404
    answer = await phone.options(f"/s/{token}/enter", headers={"access-control-request-method": "POST"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_every_answer_forbids_frames_and_keeping_and_sets_no_cookie(door, phone):
    token = await door.link()
    key = await enter(door, phone, token)
    paths = ["", "/describe", "/enter", *(path.removeprefix(f"/s/{token}") for _, path in _guarded(token)[:4])]
    for path in paths:
        answer = await phone.get(f"/s/{token}{path}", headers=key)
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers


async def test_bodies_have_their_bounds(door, phone):
    token = await door.link()
    asked = (await phone.get(f"/s/{token}/enter")).json()
    good = door.hand.craft(asked["publicKey"], door.rp)
    long = {**good, "response": {**good["response"], "clientDataJSON": "A" * 9_000}}
    for body in (
        {}, {"tx": asked["tx"]}, {"tx": "x", "credential": good}, {"tx": asked["tx"], "credential": good, "more": 1},
        {"tx": asked["tx"], "credential": long}, {"tx": asked["tx"], "credential": {**good, "rawId": "A" * 3_000}}, [],
    ):  # fmt: skip
        assert said(await phone.post(f"/s/{token}/enter", json=body)) == (422, "web.invalid")
    assert said(await phone.post(f"/s/{token}/enter", content=b"x" * 2_000_000)) == (413, "web.too_large")
    key = await enter(door, phone, token)
    for path in ("documents/D1/pages/0", "documents/d1/pages/-1", "documents/d1/pages/0?width=9999", "status?wait=900"):
        assert said(await phone.get(f"/s/{token}/{path}", headers=key)) == (422, "web.invalid")


async def test_who_asks_too_often_waits(door, phone, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.enter_minute", 3)
    token = await door.link()
    answers = [await phone.get(f"/s/{token}/enter") for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["retry-after"]
    monkeypatch.setitem(LIMITS, "rate.sign_minute", 2)
    answers = [await phone.post(f"/s/{token}/show") for _ in range(3)]
    assert [each.status_code for each in answers] == [403, 403, 429]


# ------------------------------------------------------------------------------------------------------------- the page
async def test_the_page_is_small_whole_and_from_nowhere_else(door, phone):
    token = await door.link()
    page = await phone.get(f"/s/{token}")
    sizes = len(page.content)
    paths = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))
    scripts = [path for path in paths if path.endswith(".js")]
    for path in sorted(paths):
        file = await phone.get(path)
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]
        sizes += len(file.content)
    for path in scripts:
        for name in re.findall(r"from '\./([a-z]+\.js)'", (await phone.get(path)).text):
            other = f"{path.rpartition('/')[0]}/{name}"
            if other not in paths:
                paths.add(other)
                sizes += len((await phone.get(other)).content)
    assert len(paths) >= 5
    assert sizes <= 100_000, sizes
    assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son[a-z]+=|<style", page.text)
    outside = set(re.findall(r'(?:src|href|action)="(?:https?:)?//[^"]+"', page.text))
    assert not outside
    assert (await phone.get("/static/other/nothing.js")).status_code == 404


async def test_the_page_says_nothing_of_the_person_or_the_paper_before_entry(door, phone):
    token = await door.link()
    page, described = (await phone.get(f"/s/{token}")).text, (await phone.get(f"/s/{token}/describe")).text
    for word in ("Bưởi", "sổ đỏ", "Nguyễn Văn An", "Cấp lại", door.person):
        assert word not in page
        assert word not in described
    assert "UBND xã Đường Lâm" in page
    assert "Cổng dịch vụ công" in page
    assert "17:00, 01/12/2026" in page


async def test_the_page_speaks_vietnamese_and_english_when_asked(door, phone):
    token = await door.link()
    page = (await phone.get(f"/s/{token}")).text
    assert '<html lang="vi">' in page
    assert "Xác nhận đúng là tôi" in page
    for how in ({"params": {"lang": "en"}}, {"headers": {"accept-language": "en-GB,en;q=0.9"}}):
        page = (await phone.get(f"/s/{token}", **how)).text
        assert '<html lang="en">' in page
        assert "Confirm that it is me" in page
        assert "Xác nhận" not in page
    page = (await phone.get(f"/s/{token}", params={"lang": "<x>"})).text
    assert '<html lang="vi">' in page
    answer = await phone.get("/s/nothing/describe", headers={"accept-language": "en"})
    assert answer.json()["title"].startswith("This link does not work")


async def test_training_says_so_on_every_page_and_production_does_not(tmp_path, clock):
    for realm in Realm:
        folder = tmp_path / realm.value
        folder.mkdir()
        async with opened(folder, clock, realm) as door, door.phone() as phone:
            for path in (f"/s/{await door.link()}", "/s/nothing", f"/s/{await door.link()}?lang=en"):
                page = (await phone.get(path)).text
                assert ("TẬP HUẤN" in page) == (realm is Realm.TRAINING)
                assert ("TRAINING" in page) == (realm is Realm.TRAINING)


async def test_a_gate_that_turns_a_person_away_says_so_in_words(door, phone, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.public_minute", 1)
    token = await door.link()
    answers = [await phone.get(f"/s/{token}", headers={"accept": "text/html"}) for _ in range(2)]
    assert answers[-1].status_code == 429
    assert answers[-1].headers["content-type"].startswith("text/plain")
