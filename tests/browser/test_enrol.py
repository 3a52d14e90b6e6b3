"""Enrolment on a phone of 360 × 740: link, simulated log-in, consent, passkey, ready; a second passkey; a lost phone."""

import asyncio
import contextlib
import hashlib
import re
import threading

import httpx2
import pytest
import uvicorn

from api.sign.app import make_sign_app
from api.training.identity import SIMULATED
from core.limits import LIMITS
from signer.enrolment.model import consent_text
from tests.browser.signing import Passkeys
from tests.flows import house, town
from tests.flows.house import free_port
from tests.signer.enrolment.town import Phone

pytestmark = pytest.mark.live
TAP, HUAN, MAU = SIMULATED[:3]
_OLD = """
for (const name of ['parseRequestOptionsFromJSON', 'parseCreationOptionsFromJSON']) delete PublicKeyCredential[name];
delete PublicKeyCredential.prototype.toJSON;
"""

_LOSES = """
const whole = window.fetch; let lost = false;
window.fetch = async (path, how) => {
  const answer = await whole(path, how);
  if (lost || path !== '/e/run/registered') return answer;
  lost = true;
  throw new TypeError('the answer was lost on its way');
};
"""


class Devices(Passkeys):
    """A phone that can be laid aside for another."""

    def exchanged(self) -> None:
        self._cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self._id})
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        self._id = self._cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]


class Door:
    """A whole signer with its signing origin on a port, in a thread of its own."""

    def __init__(self, home) -> None:
        self.home, self.port = home, free_port()
        self.origin = f"http://sign.localhost:{self.port}"
        self._ready = threading.Event()

    def __enter__(self):
        self._before = dict(LIMITS)
        LIMITS.update({k: 1_000_000 for k in LIMITS if k.startswith("rate.")})
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        LIMITS.update(self._before)

    async def _run(self) -> None:
        self.loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        made = await town.build(self.home)
        self.settings = made.model_copy(update={"sign_url": self.origin, "enrol_portal_levels": "2"})
        async with house.signer_here(self.settings) as self.service:
            self.phones = self.service.parts().phones
            app = make_sign_app(self.service)
            config = uvicorn.Config(app, host="127.0.0.1", port=self.port, lifespan="off", log_config=None)
            server = uvicorn.Server(config)
            server.capture_signals = contextlib.nullcontext
            running = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            self._ready.set()
            await self._end.wait()
            server.should_exit = server.force_exit = True
            await running

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def citizen(self, who) -> str:
        async def make():
            async with self.service.db.write() as uow:
                agency = await self.service.directory.agency(uow, "H1")
                return await self.phones.people.expected(uow, agency, national_id=who.number, name=who.name)

        return self.do(make())

    def link(self, person: str, **how) -> str:
        return f"{self.origin}/e/{self.do(self.phones.invite(person, **how))}"


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    with Door(tmp_path_factory.mktemp("enrol") / "home") as made:
        yield made


def require_fit(page, *, heading=True) -> None:
    """Nothing to scroll sideways, large targets, the banner, no barrier that axe knows, no cookie."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        "[...document.querySelectorAll('button, summary, .button, input:not([type=checkbox]), label.check')]"
        ".filter((e) => e.getClientRects().length && e.getBoundingClientRect().height < 44).map((e) => e.outerHTML)"
    )
    assert small == []
    assert "TẬP HUẤN" in page.locator(".training").inner_text()
    assert page.locator("h1:visible").count() == 1
    assert page.context.cookies() == []
    found = Axe().run(page).response["violations"]
    assert not found, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found]


def shot(page, shots, name) -> None:
    if shots is not None:
        page.screenshot(path=str(shots / f"phone-enrol-{name}.png"), full_page=True)


def log_in(page, who, button="Đăng nhập định danh điện tử") -> None:
    page.click(f"button:has-text('{button}')")
    page.wait_for_url("**/training/identity/**")
    require_fit(page)
    page.click(f"button:has-text('{who.name}')")


def agree(page) -> None:
    page.locator("[data-view=consent]").wait_for()
    page.click("label.check")
    page.click("#consent")


def make(page) -> None:
    page.locator("[data-view=phone]").wait_for()
    page.click("#make")


def to_ready(page, door, who, shots=None) -> None:
    page.goto(door.link(door.citizen(who)))
    require_fit(page)
    shot(page, shots, "arrival")
    log_in(page, who)
    page.locator("[data-view=consent]").wait_for()
    require_fit(page)
    shot(page, shots, "consent")
    agree(page)
    page.locator("[data-view=phone]").wait_for()
    require_fit(page)
    shot(page, shots, "phone")
    make(page)
    page.locator("[data-view=ready]").wait_for()
    require_fit(page)
    shot(page, shots, "ready")


@pytest.fixture(scope="module")
def shots(request):
    """A folder named by DAUSO_SHOTS gets pictures of every page."""
    import os
    from pathlib import Path

    folder = os.environ.get("DAUSO_SHOTS")
    return None if folder is None else Path(folder)


def test_link_log_in_consent_passkey_ready_and_then_a_second_one(phone, door, shots):
    page = phone()
    keys = Devices(page)
    to_ready(page, door, TAP, shots)
    assert "Điện thoại đã sẵn sàng" in page.locator("h1:visible").inner_text()
    assert "code=" not in page.url
    page.reload()
    page.locator("[data-view=ready]").wait_for()  # taken up again, nothing asked twice
    page.goto(door.link(door.citizen(TAP)))
    require_fit(page)
    shot(page, shots, "second")
    page.click("#passkey")
    agree(page)
    make(page)
    page.locator("#phone-note:visible").wait_for()  # this device holds one already
    assert "Máy này đã có khóa" in page.inner_text("#phone-note")
    require_fit(page)
    keys.exchanged()  # another device
    page.click("#make")
    page.locator("[data-view=ready]").wait_for()


def test_a_lost_phone_is_locked_and_a_new_one_waits(phone, door, shots):
    page = phone()
    Passkeys(page)
    to_ready(page, door, HUAN)
    other = phone()
    Passkeys(other)
    other.goto(f"{door.origin}/e/lost")
    require_fit(other)
    shot(other, shots, "lost")
    log_in(other, HUAN, "Đăng nhập để khóa")
    other.locator("[data-view=locked]").wait_for()
    require_fit(other)
    shot(other, shots, "locked")
    other.reload()
    other.locator("[data-view=locked]").wait_for()  # what was locked, and the way on, are kept
    other.click("button:has-text('Đăng ký điện thoại mới')")
    agree(other)
    make(other)
    other.locator("[data-view=waiting]").wait_for()
    require_fit(other)
    shot(other, shots, "waiting")
    other.goto(door.link(door.citizen(HUAN)))
    other.locator("[data-view=waiting]").wait_for()
    assert re.search(r"\d\d:\d\d", other.inner_text("[data-view=waiting]"))
    require_fit(other)
    other.click("#halt")  # it waits on a log-in: only locking everything stops it
    other.wait_for_url("**/training/identity/**")
    other.click(f"button:has-text('{HUAN.name}')")
    other.locator("[data-view=locked]").wait_for()


def test_who_did_not_enrol_the_phone_that_waits_stops_it_by_logging_in(phone, door, shots):
    who = type(TAP)("999000000011", "Nạn Nhân Tập")
    person = door.citizen(who)

    async def attack():
        token = await door.phones.vouched(person, level="2", email="attacker@tap-huan.example", subject="x")
        await door.phones.send_code(token)
        held = await door.phones.answer_code(token, re.search(r"\b\d{6}\b", newest(door))[0])
        await door.phones.consent(held, hashlib.sha256(consent_text().encode()).digest())
        asked, _ = await door.phones.ask_registration(held)
        made = Phone().create(asked.value, origin=door.origin)
        await door.phones.register(
            held, asked.tx, **dict(zip(("credential_id", "client_data", "attestation"), made, strict=True))
        )
        return (await door.phones.finish(held)).state

    assert door.do(attack()) == "waiting"
    page = phone()
    Passkeys(page)
    page.goto(door.link(person))
    page.locator("[data-view=waiting]").wait_for()
    require_fit(page)
    shot(page, shots, "waiting-foreign")
    assert "Không phải bạn đăng ký? Đăng nhập để dừng lại" in page.inner_text("main")
    assert "Không cần làm gì" not in page.inner_text("main")
    page.click("#halt")
    page.fill("#name", who.name)
    page.fill("#number", who.number)
    page.click("button:has-text('Đăng nhập với người này')")
    agree(page)
    make(page)
    page.locator("[data-view=ready]").wait_for()


def test_a_second_phone_that_waits_is_stopped_with_the_first(phone, door, shots):
    who = type(TAP)("999000000012", "Người Hai Máy")
    person = door.citizen(who)
    page = phone()
    Passkeys(page)

    def by_log_in(tab):
        tab.goto(door.link(person))
        tab.click("#login")
        tab.fill("#name", who.name)
        tab.fill("#number", who.number)
        tab.click("button:has-text('Đăng nhập với người này')")
        agree(tab)
        make(tab)

    by_log_in(page)
    page.locator("[data-view=ready]").wait_for()
    other = phone()
    Passkeys(other)
    by_log_in(other)
    other.locator("[data-view=waiting]").wait_for()
    page.goto(door.link(person))
    page.locator("#pending").wait_for()
    require_fit(page)
    shot(page, shots, "pending")
    page.click("#halt-key")
    page.locator("#halted:visible").wait_for()
    page.goto(door.link(person))
    assert page.locator("#pending").count() == 0


def test_a_line_that_breaks_on_the_way_back_costs_no_log_in(phone, door, shots):
    page = phone()
    Passkeys(page)
    page.goto(door.link(door.citizen(SIMULATED[3])))
    page.click("#login")
    page.wait_for_url("**/training/identity/**")
    page.route("**/e/back", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    page.click(f"button:has-text('{SIMULATED[3].name}')")
    page.wait_for_url(re.compile(r"/e/back$"))
    page.locator("#line:visible").wait_for()
    page.reload()
    page.locator("#retry:visible").wait_for(timeout=30_000)
    require_fit(page)
    shot(page, shots, "back-offline")
    page.unroute("**/e/back")
    page.click("#retry")
    page.locator("[data-view=consent]").wait_for()


def test_two_tabs_log_in_and_each_finds_its_own_way_back(phone, door):
    one = phone()
    other = one.context.new_page()
    for tab in (one, other):
        tab.goto(door.link(door.citizen(type(TAP)("999000000013" if tab is one else "999000000014", "Hai Thẻ"))))
        tab.click("#login")
        tab.wait_for_url("**/training/identity/**")
    for tab, number in ((one, "999000000013"), (other, "999000000014")):
        tab.fill("#name", "Hai Thẻ")
        tab.fill("#number", number)
        tab.click("button:has-text('Đăng nhập với người này')")
        tab.locator("[data-view=consent]").wait_for()


def test_who_comes_back_in_another_browser_is_told_what_to_do(phone, door, shots):
    page = phone()
    page.goto(door.link(door.citizen(MAU)))
    page.click("#login")
    page.wait_for_url("**/training/identity/**")
    other = phone()
    other.goto(page.url)
    other.click(f"button:has-text('{MAU.name}')")
    for _ in range(2):
        other.locator("[data-view=refused]").wait_for()
        words = other.inner_text("main")
        assert "Hãy mở lại liên kết trong tin nhắn" in words
        assert "errors" not in words
        assert other.locator("#lock a:visible").get_attribute("href") == "/e/lost"
        require_fit(other)
        other.goto(f"{door.origin}/e/back")
    shot(other, shots, "back-reopen")


def test_what_the_browser_sent_wrong_is_said_in_words(phone, door):
    token = door.do(door.phones.vouched(door.citizen(MAU), level="2", email="m@tap-huan.example", subject="p"))
    page = phone()
    page.goto(f"{door.origin}/e/{token}")
    page.click("#send")
    page.locator("#code:visible").wait_for()
    page.evaluate("document.getElementById('code').noValidate = true")
    page.fill("#digits", "12ab")
    page.click("#code button")
    page.locator("#identity-note:visible").wait_for()
    assert "errors" not in page.inner_text("#identity-note")


def test_another_person_and_a_cancelled_log_in_are_told_plainly(phone, door, shots):
    page = phone()
    link = door.link(door.citizen(MAU))
    page.goto(link)
    log_in(page, TAP)
    page.locator("[data-view=refused]").wait_for()
    require_fit(page)
    shot(page, shots, "refused")
    words = page.inner_text("main")
    assert "không phải người được mời" in words
    for secret in (TAP.name, MAU.name, TAP.number, MAU.number):
        assert secret not in words
    page.click("a:has-text('Bắt đầu lại')")
    page.wait_for_url(link)
    page.click("#login")
    page.click("button:has-text('Không đăng nhập')")
    page.locator("[data-view=refused]").wait_for()
    assert "Đăng nhập đã bị hủy" in page.inner_text("main")


def test_an_official_goes_on_to_the_desk(phone, door, shots):
    async def clerk():
        async with door.service.db.read() as uow:
            people = await door.service.directory.people(uow)
        return next(person for person, rights in people if rights[0].role == "clerk")

    who = door.do(clerk())
    page = phone()
    Passkeys(page)
    page.goto(door.link(who.id, national_id="999000000078"))
    assert "cán bộ" in page.inner_text("main")
    page.click("#login")
    page.fill("#name", who.name)
    page.fill("#number", "999000000078")
    page.click("button:has-text('Đăng nhập với người này')")
    agree(page)
    make(page)
    page.locator("[data-view=ready]").wait_for()
    page.click("#ticket")
    page.locator("#desk-open a").wait_for()
    require_fit(page)
    shot(page, shots, "ready-official")
    assert re.search(r"/desk/register#[A-Za-z0-9_-]{32}$", page.locator("#desk-open a").get_attribute("href"))
    first = page.locator("#desk-open a").get_attribute("href")
    page.goto(door.link(who.id))  # a new computer: the passkey that is there gives a ticket, nothing is locked
    page.click("#passkey")
    page.locator("[data-view=consent]").wait_for()
    require_fit(page)
    shot(page, shots, "desk-only")
    page.click("#ticket-only")
    page.locator("#desk-only-open a").wait_for()
    assert page.locator("#desk-only-open a").get_attribute("href") not in {None, first}


def test_a_portals_word_a_code_a_wait_and_an_objection(phone, door, shots):
    person = door.citizen(type(TAP)("999000000015", "Lời Cổng"))
    token = door.do(door.phones.vouched(person, level="2", email="thu@tap-huan.example", subject="p"))
    page = phone()
    Passkeys(page)
    page.goto(f"{door.origin}/e/{token}")
    page.click("#send")
    page.locator("#code:visible").wait_for()
    require_fit(page)
    shot(page, shots, "code")
    page.fill("#digits", "000000")
    page.click("#code button")
    page.locator("#identity-note:visible").wait_for()
    assert "chưa đúng" in page.inner_text("#identity-note")
    page.fill("#digits", re.search(r"\b\d{6}\b", newest(door))[0])
    page.click("#code button")
    agree(page)
    make(page)
    page.locator("[data-view=waiting]").wait_for()
    door.do(door.phones.letters.flush())
    page.goto(re.search(r"http://\S+/e/stop/\S+", newest(door))[0])
    require_fit(page)
    shot(page, shots, "stop")
    page.click("#stop")
    page.locator("[data-view=stopped]").wait_for()
    require_fit(page)
    shot(page, shots, "stopped")


def newest(door) -> str:
    import email
    import email.policy

    file = max((door.settings.home / "mail").glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
    return email.message_from_bytes(file.read_bytes(), policy=email.policy.default).get_content()


def test_a_line_that_breaks_after_the_passkey_was_made_costs_nothing(phone, door):
    page = phone()
    Passkeys(page)
    page.add_init_script(_OLD)  # and the browser is an old one
    page.add_init_script(_LOSES)
    page.goto(door.link(door.citizen(type(TAP)("999000000010", "Nguyễn Thị Tập"))))
    page.click("#login")
    page.fill("#name", "Nguyễn Thị Tập")
    page.fill("#number", "999000000010")
    page.click("button:has-text('Đăng nhập với người này')")
    agree(page)
    make(page)
    page.locator("[data-view=ready]").wait_for()


def test_without_webauthn_the_page_names_the_way_out(phone, door, shots):
    page = phone()
    page.add_init_script("delete window.PublicKeyCredential")
    page.goto(door.link(door.citizen(MAU)))
    page.locator("[data-view=nokey]").wait_for()
    require_fit(page)
    shot(page, shots, "nokey")
    assert page.locator("svg.qr").is_visible()


def test_user_verification_false_never_makes_a_passkey(phone, door):
    page = phone()
    keys = Passkeys(page)
    keys.verified(False)
    page.goto(door.link(door.citizen(MAU)))
    log_in(page, MAU)
    agree(page)
    make(page)
    page.locator("#phone-note:visible").wait_for()
    assert "Chưa tạo khóa" in page.inner_text("#phone-note")
    keys.verified(True)
    page.click("#make")
    page.locator("[data-view=ready]").wait_for()


def test_a_page_weighs_little(door):
    """Page, style and scripts of the phone: at most 100 KB."""
    host = {"host": f"sign.localhost:{door.port}"}
    with httpx2.Client(base_url=f"http://127.0.0.1:{door.port}", headers=host) as client:
        page = client.get(door.link(door.citizen(MAU)).removeprefix(door.origin)).text
        found = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
        more = [client.get(path).content for path in {*found, found[0].rsplit("/", 1)[0] + "/sign.js"}]
    assert len(page.encode()) + sum(map(len, more)) < 100_000
