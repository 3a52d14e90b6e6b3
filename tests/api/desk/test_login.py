"""Log-in: who gets a session, what it is worth on another device, when it locks and ends."""

import dataclasses
import hashlib
import itertools
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from api.desk.login import _passkeys
from api.desk.sessions import Cookies
from api.sign.webauthn import Credential, to_text
from api.web.app import make_app
from core.limits import LIMITS
from core.values import Realm
from signer.activation import redeem
from signer.activation.passkeys import RelyingParty
from tests.api.desk.conftest import CHROME, FIREFOX, ORIGIN, Browser, LoginKey, said
from tests.flows.authenticator import text

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_ticket_registers_one_passkey_and_that_passkey_logs_in(desk):
    person = await desk.person("certifier")
    ticket, key, browser = await desk.ticket(person), LoginKey(), Browser(desk.app)
    assert (await browser.get("/desk/inbox")).headers["location"] == "/desk/login?next=/desk/inbox"
    answer = await browser.register(key, ticket)
    assert answer.json() == {"next": "/desk", "who": person}
    page = await browser.get("/desk/inbox")
    assert page.status_code == 200
    assert "Lê Thị Hữu" in page.text
    assert said(await Browser(desk.app).register(LoginKey(), ticket)) == "ticket.unknown"  # once
    other = Browser(desk.app)
    assert (await other.log_in(key)).json()["who"] == person
    assert (await other.get("/desk")).headers["location"] == "/desk/inbox"


async def test_cookies_cannot_be_read_by_scripts_nor_sent_from_elsewhere(desk):
    browser, key = await desk.signed_in("clerk")
    answer = await browser.log_in(key)
    for cookie in answer.headers.get_list("set-cookie"):
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert "Domain" not in cookie
    headers = (await browser.get("/desk/seals")).headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"


async def test_on_https_the_cookies_are_bound_to_the_host(desk):
    cookies = Cookies(desk.parts.service.settings.model_copy(update={"web_url": "https://dauso.example"}))
    assert (cookies.session, cookies.device, cookies.secure) == ("__Host-dauso-desk", "__Host-dauso-device", True)


async def test_an_assertion_for_something_else_opens_nothing(desk):
    _, key = await desk.signed_in("certifier")
    for how in (
        {"flags": 0x01}, {"kind": "webauthn.create"}, {"signed_for": "http://localhost:8000"},
        {"signed_for": "http://sign.localhost:8001"}, {"signed_for": "http://evil.example"},
    ):  # fmt: skip
        browser = Browser(desk.app)
        assert said(await browser.log_in(key, **how)) == "desk.login_failed", how
        assert (await browser.get("/desk/inbox")).status_code == 303


async def test_an_unknown_passkey_and_a_signing_passkey_open_nothing(desk):
    assert said(await Browser(desk.app).log_in(LoginKey())) == "desk.login_failed"
    signing = await desk.signing_key("certifier")
    assert said(await Browser(desk.app).log_in(signing)) == "desk.login_failed"


async def test_a_log_in_passkey_is_refused_for_signing(desk):
    """It is in another table, of another RP ID: the signer has never heard of it."""
    browser, key = await desk.signed_in("certifier")
    copy_id = await desk.copy(browser)
    _, opened = await desk.signer.copies.question(copy_id)
    rp = RelyingParty("sign.localhost", "http://sign.localhost:8001")
    given = key.get({"challenge": to_text(opened.challenge), "rpId": rp.rp_id}, rp.origin)
    assertion = Credential.model_validate(given).assertion()
    with pytest.raises(Exception, match=r"activation\.foreign_passkey"):
        async with desk.signer.db.write() as uow:
            await redeem.approve(uow, desk.clock, rp, opened.tx, assertion)


async def test_a_question_is_answered_once_and_in_time(desk):
    _, key = await desk.signed_in("certifier")
    browser = Browser(desk.app)
    asked = (await browser.ask("/desk/login/options")).json()
    answer = {"tx": asked["tx"], "credential": key.get(asked["publicKey"], ORIGIN)}
    assert (await browser.ask("/desk/login", answer)).status_code == 200
    assert said(await browser.ask("/desk/login", answer)) == "desk.question_gone"
    asked = (await browser.ask("/desk/login/options")).json()
    wrong = {"tx": asked["tx"], "credential": key.get(asked["publicKey"], "http://evil.example")}
    assert said(await browser.ask("/desk/login", wrong)) == "desk.login_failed"
    good = {"tx": asked["tx"], "credential": key.get(asked["publicKey"], ORIGIN)}
    assert said(await browser.ask("/desk/login", good)) == "desk.question_gone"  # a wrong answer uses it up too
    asked = (await browser.ask("/desk/login/options")).json()
    desk.clock.move(seconds=LIMITS["desk.challenge_seconds"])
    late = {"tx": asked["tx"], "credential": key.get(asked["publicKey"], ORIGIN)}
    assert said(await browser.ask("/desk/login", late)) == "desk.question_gone"


def crafted(key, options, *, count: int = 0, **more):
    """An answer as no good browser gives it."""
    client = json.dumps({"type": "webauthn.get", "challenge": options["challenge"], "origin": ORIGIN, **more}).encode()
    data = hashlib.sha256(options["rpId"].encode()).digest() + b"\x05" + count.to_bytes(4, "big")
    signature = key.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
    response = {"clientDataJSON": text(client), "authenticatorData": text(data), "signature": text(signature)}
    return {"rawId": text(key.credential_id), "response": response}


async def test_a_cloned_authenticator_is_noticed(desk):
    browser, key = await desk.signed_in("certifier")
    for count, good in ((5, True), (5, False), (4, False), (6, True), (0, False)):
        asked = (await browser.ask("/desk/login/options")).json()
        answer = {"tx": asked["tx"], "credential": crafted(key, asked["publicKey"], count=count)}
        assert ((await browser.ask("/desk/login", answer)).status_code == 200) is good, count


async def test_a_page_inside_another_ones_frame_is_refused(desk):
    browser, key = await desk.signed_in("certifier")
    for more in ({"crossOrigin": True}, {"topOrigin": "http://evil.example"}):
        asked = (await browser.ask("/desk/login/options")).json()
        answer = {"tx": asked["tx"], "credential": crafted(key, asked["publicKey"], **more)}
        assert said(await browser.ask("/desk/login", answer)) == "desk.login_failed", more


# ----------------------------------------------------------------------------------------------------------- sessions
async def test_a_planted_token_is_worth_nothing_after_log_in(desk):
    """Session fixation: whatever cookie a browser brings, log-in gives a new one and ends the old."""
    browser, key = await desk.signed_in("certifier")
    planted = dict(browser.http.cookies)
    await browser.log_in(key)
    assert browser.http.cookies["dauso-desk"] != planted["dauso-desk"]
    thief = Browser(desk.app)
    thief.http.cookies.update(planted)
    assert (await thief.get("/desk/inbox")).status_code == 303
    asked = (await thief.ask("/desk/login/options")).json()
    given = {"tx": asked["tx"], "credential": key.get(asked["publicKey"], ORIGIN)}
    chosen = {
        "cookie": f"dauso-desk={'A' * 43}; dauso-device={'B' * 43}",
        "origin": ORIGIN,
        "accept": "application/json",
    }
    answer = await Browser(desk.app).http.post("/desk/login", json=given, headers=chosen)
    assert {"dauso-desk", "dauso-device"} == set(answer.cookies)
    assert not {"A" * 43, "B" * 43} & set(answer.cookies.values())


async def test_a_stolen_cookie_opens_nothing_on_another_device(desk):
    browser, _ = await desk.signed_in("certifier")
    mine = {name: browser.http.cookies[name] for name in ("dauso-desk", "dauso-device")}
    for agent, stolen in (
        (CHROME, {"dauso-desk": mine["dauso-desk"]}), (CHROME, mine | {"dauso-device": "C" * 43}), (FIREFOX, mine),
    ):  # fmt: skip
        thief = Browser(desk.app, agent)
        thief.http.cookies.update(stolen)
        assert (await thief.get("/desk/inbox")).headers["location"].startswith("/desk/login")
        assert said(await thief.ask("/desk/touch")) == "desk.signed_out"
    assert (await browser.get("/desk/inbox")).status_code == 200


async def test_a_browsers_update_keeps_the_session(desk):
    browser, _ = await desk.signed_in("certifier")
    browser.http.headers["user-agent"] = CHROME.replace("156.0", "157.0")
    assert (await browser.get("/desk/inbox")).status_code == 200


async def test_an_idle_page_locks_and_the_same_persons_passkey_opens_it_again(desk):
    browser, key = await desk.signed_in("certifier")
    _, other = await desk.signed_in("clerk")
    before = browser.http.cookies["dauso-desk"]
    desk.clock.move(seconds=LIMITS["desk.idle_seconds"] - 1)
    assert (await browser.get("/desk/inbox")).status_code == 200  # a sign of life
    desk.clock.move(seconds=LIMITS["desk.idle_seconds"])
    page = await browser.get("/desk/inbox")
    assert (page.status_code, "Trang đã khóa" in page.text) == (403, True)
    assert "Giấy" not in page.text
    assert said(await browser.ask("/desk/touch")) == "desk.locked"  # a late sign of life opens nothing
    assert (await browser.http.get("/desk/session", headers={"accept": "application/json"})).json()["locked"]
    assert said(await browser.log_in(other, "/desk/unlock")) == "desk.login_failed"
    assert (await browser.log_in(key, "/desk/unlock")).status_code == 200
    assert browser.http.cookies["dauso-desk"] != before
    assert (await browser.get("/desk/inbox")).status_code == 200


async def test_asking_whether_it_is_locked_is_no_sign_of_life(desk):
    browser, _ = await desk.signed_in("certifier")
    for _ in range(4):
        desk.clock.move(seconds=LIMITS["desk.idle_seconds"] / 3)
        answer = await browser.http.get("/desk/session", headers={"accept": "application/json"})
    assert answer.json()["locked"]


async def test_a_page_locked_by_hand_is_locked(desk):
    browser, key = await desk.signed_in("clerk")
    assert (await browser.post("/desk/lock")).status_code == 303
    assert (await browser.get("/desk/seals")).status_code == 403
    assert (await browser.log_in(key, "/desk/unlock")).status_code == 200
    assert (await browser.get("/desk/seals")).status_code == 200


async def test_another_sessions_question_does_not_unlock(desk):
    one, key = await desk.signed_in("clerk")
    two = Browser(desk.app)
    await two.log_in(key)
    asked = (await two.ask("/desk/unlock/options")).json()
    answer = {"tx": asked["tx"], "credential": key.get(asked["publicKey"], ORIGIN)}
    assert said(await one.ask("/desk/unlock", answer)) == "desk.login_failed"


async def test_a_session_ends_after_a_day_however_busy(desk):
    browser, _ = await desk.signed_in("certifier")
    steps = 80
    for _ in range(steps):
        assert (await browser.ask("/desk/touch")).status_code == 204
        desk.clock.move(seconds=LIMITS["desk.session_seconds"] / steps)
    assert (await browser.get("/desk/inbox")).headers["location"].startswith("/desk/login")
    assert said(await browser.ask("/desk/unlock/options")) == "desk.signed_out"


async def test_logging_out_everywhere_ends_every_session(desk):
    one, key = await desk.signed_in("certifier")
    two = Browser(desk.app)
    await two.log_in(key)
    assert (await two.get("/desk/account")).text.count("Chrome · Windows") >= 2
    assert (await one.post("/desk/logout")).headers["location"] == "/desk/login?said=desk.logged_out"
    assert (await one.get("/desk/inbox")).status_code == 303
    assert (await two.get("/desk/inbox")).status_code == 200
    await one.log_in(key)
    await two.post("/desk/logout", {"everywhere": "1"})
    assert (await one.get("/desk/inbox")).status_code == 303


async def test_the_oldest_session_ends_when_there_are_too_many(desk, monkeypatch):
    monkeypatch.setitem(LIMITS, "desk.sessions", 2)
    first, key = await desk.signed_in("certifier")
    for _ in range(2):
        desk.clock.move(seconds=1)
        await Browser(desk.app).log_in(key)
    assert (await first.get("/desk/inbox")).status_code == 303


# ----------------------------------------------------------------------------------------------------------- passkeys
async def test_a_second_passkey_needs_one_used_a_moment_ago(desk):
    browser, key = await desk.signed_in("clerk")
    second = LoginKey()
    assert (await browser.register(second)).json()["next"].startswith("/desk/account")
    desk.clock.move(seconds=LIMITS["desk.fresh_seconds"])
    assert said(await browser.register(LoginKey())) == "desk.verify_again"
    await browser.log_in(key, "/desk/unlock")
    assert (await browser.register(LoginKey())).status_code == 200
    assert said(await Browser(desk.app).register(LoginKey())) == "desk.signed_out"
    assert (await Browser(desk.app).log_in(second)).status_code == 200


async def test_a_revoked_passkey_opens_nothing_and_the_last_one_stays(desk):
    browser, first = await desk.signed_in("clerk")
    async with desk.parts.service.db.read() as uow:
        (lost,) = await _passkeys(desk.parts).of(uow, await desk.person("clerk"))
    desk.clock.move(seconds=1)
    keeper, keep = await desk.signed_in("clerk")
    assert (await keeper.post(f"/desk/account/passkeys/{lost.id}/revoke")).status_code == 303
    assert said(await Browser(desk.app).log_in(first)) == "desk.login_failed"
    assert (await browser.get("/desk/seals")).status_code == 303  # its sessions are over
    async with desk.parts.service.db.read() as uow:
        (last,) = await _passkeys(desk.parts).of(uow, await desk.person("clerk"))
    answer = await keeper.post(f"/desk/account/passkeys/{last.id}/revoke")
    assert (answer.status_code, "cuối cùng" in answer.text) == (403, True)
    assert (await Browser(desk.app).log_in(keep)).status_code == 200


async def test_nobody_revokes_anothers_passkey(desk):
    browser, _ = await desk.signed_in("clerk")
    await desk.signed_in("certifier")
    async with desk.parts.service.db.read() as uow:
        others = await _passkeys(desk.parts).of(uow, await desk.person("certifier"))
    assert (await browser.post(f"/desk/account/passkeys/{others[0].id}/revoke")).status_code == 404


async def test_a_registration_for_something_else_is_refused_and_keeps_the_ticket(desk):
    ticket = await desk.ticket(await desk.person("clerk"))
    browser, key = Browser(desk.app), LoginKey()
    for how in ({"flags": 0x41}, {"kind": "webauthn.get"}, {"signed_for": "http://evil.example"}):
        assert said(await browser.register(key, ticket, **how)) == "desk.registration_failed", how
    assert (await browser.register(key, ticket)).status_code == 200


async def test_a_passkey_belongs_to_one_person_only(desk):
    _, key = await desk.signed_in("clerk")
    answer = await Browser(desk.app).register(key, await desk.ticket(await desk.person("certifier")))
    assert said(answer) == "desk.registration_failed"


# ------------------------------------------------------------------------------------------------------------ foreign
async def test_what_does_not_come_from_a_page_of_ours_changes_nothing(desk):
    browser, _ = await desk.signed_in("certifier")
    paths = ("/desk/lock", "/desk/logout", "/desk/new", "/desk/login/options", "/desk/register/options")
    foreign = (
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://localhost.evil.example"},
        {"origin": ORIGIN, "sec-fetch-site": "cross-site"}, {"origin": ORIGIN, "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"}, {"origin": "http://sign.localhost:8001"}, {},
    )  # fmt: skip
    for path, headers in itertools.product(paths, foreign):
        answer = await browser.http.post(path, json={}, headers={"accept": "application/json", **headers})
        assert (answer.status_code, said(answer)) == (403, "desk.foreign_page"), (path, headers)
    assert (await browser.get("/desk/inbox")).status_code == 200


async def test_next_leads_nowhere_but_to_the_desk(desk):
    _, key = await desk.signed_in("clerk")
    browser = Browser(desk.app)
    for path in (
        "https://evil.example", "//evil.example", "/\\evil.example", "/desk/../v", "/desk//evil.example", "javascript:alert(1)",
        "/desk/x?y=//evil", "/deskx", "/desk/\nx", "/desk/inbox\n", "/desk@evil.example", "/desk/%2f%2fevil",
    ):  # fmt: skip
        page = await browser.http.get("/desk/login", params={"next": path})
        assert 'data-login="/desk"' in page.text
        asked = (await browser.ask("/desk/login/options")).json()
        given = {"tx": asked["tx"], "credential": key.get(asked["publicKey"], ORIGIN), "next": path}
        assert (await browser.ask("/desk/login", given)).json()["next"] == "/desk"


async def test_what_a_page_says_comes_from_the_catalogue_only(desk):
    page = await Browser(desk.app).get("/desk/login?said=<script>alert(1)</script>")
    assert "alert(1)" not in page.text
    assert "Bạn đã đăng xuất" in (await Browser(desk.app).get("/desk/login?said=desk.logged_out")).text


async def test_the_first_step_from_the_signing_page_reloads_itself(desk):
    """SameSite=Strict keeps the cookies back on that step only."""
    answer = await Browser(desk.app).get("/desk", **{"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert (answer.status_code, 'content="0; url=/desk"' in answer.text) == (200, True)
    answer = await Browser(desk.app).get("/desk", **{"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"})
    assert answer.status_code == 303


async def test_roles_are_asked_at_every_request(desk):
    browser, _ = await desk.signed_in("clerk")
    answer = await browser.get("/desk/inbox")
    assert (answer.status_code, "không có nhiệm vụ này" in answer.text) == (403, True)
    assert (await browser.get("/desk/seals")).status_code == 200
    desk.clock.move(days=10)  # the instrument's term has ended, and the session with it
    assert (await browser.get("/desk/seals")).status_code == 303


async def test_too_many_tries_close_the_door_for_a_moment(desk, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.desk_minute", 3)
    browser = Browser(desk.app)
    seen = [(await browser.ask("/desk/login/options")).status_code for _ in range(6)]
    assert (seen[:3], seen[-1]) == ([200] * 3, 429)


async def test_training_is_said_on_every_page_and_opens_nothing_real(desk):
    """A session of the other realm is none, whatever the cookies say."""
    browser, _ = await desk.signed_in("certifier")
    service = dataclasses.replace(desk.parts.service, realm=Realm.TRAINING)
    training = Browser(make_app(dataclasses.replace(desk.parts, service=service)))
    training.http.cookies.update(browser.http.cookies)
    for path in ("/desk/login", "/desk/register"):
        assert "TẬP HUẤN" in (await training.get(path)).text
        assert "TẬP HUẤN" not in (await browser.get(path)).text
    assert (await training.get("/desk/inbox")).headers["location"].startswith("/desk/login")
