"""The guided practice on a phone of 360 × 740: one visitor from the first page to a lost phone, with every page looked at."""

import asyncio
import contextlib
import re
import threading

import pytest

from api import serving
from api.sign.app import make_sign_app
from api.training.guide import STEPS
from api.training.prepare import prepare
from api.web.app import make_app
from core.limits import LIMITS
from core.messages import sentence
from tests.browser.office import _listening as listening
from tests.browser.signing import Passkeys
from tests.flows import house, town

pytestmark = pytest.mark.live


class School:
    """A training house: guide, check page and signing pages on ports of their own, in a thread of their own."""

    def __init__(self, folder) -> None:
        self.port, self.sign_port = house.free_port(), house.free_port()
        self.url, self.sign_url = f"http://localhost:{self.port}", f"http://sign.localhost:{self.sign_port}"
        self._folder, self._ready = folder, threading.Event()

    def __enter__(self):
        self._before = dict(LIMITS)
        LIMITS.update({k: 1_000_000 for k in LIMITS if k.startswith("rate.")})
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(120)
        return self

    def __exit__(self, *_) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(60)
        LIMITS.update(self._before)

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        made = await town.build(self._folder)
        settings = made.model_copy(update={"web_url": self.url, "sign_url": self.sign_url, "web_hosts": "localhost"})
        async with house.signer_here(settings) as service:
            await prepare(service)
            async with serving.open_web(settings) as parts, contextlib.AsyncExitStack() as stack:
                for app, port in ((make_app(parts), self.port), (make_sign_app(service), self.sign_port)):
                    await stack.enter_async_context(listening(app, port))
                self._ready.set()
                await self._end.wait()


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    with School(tmp_path_factory.mktemp("school") / "home") as opened:
        yield opened


def require_fit(page) -> None:
    """Nothing to scroll sideways, large targets, one heading, the banner, no barrier that axe knows."""
    from axe_playwright_python.sync_playwright import Axe

    width = page.viewport_size["width"]
    page.wait_for_load_state()  # a page that is being left has no element to measure
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate(
        "[...document.querySelectorAll('button, summary, a.button, .bar a, input:not([type=checkbox])')]"
        ".filter((e) => e.getClientRects().length && e.getBoundingClientRect().height < 44).map((e) => e.outerHTML)"
    )
    assert small == []
    assert "TẬP HUẤN" in page.locator(".training").inner_text()
    assert page.locator("h1:visible").count() == 1
    found = Axe().run(page).response["violations"]
    assert not found, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found]


def button(page, words: str):
    return page.locator(f"a.button:has-text('{words}'), button:has-text('{words}')").first


def begin(page, school) -> str:
    """Somebody new; returns the number as it is written on the page."""
    page.goto(f"{school.url}/training")
    require_fit(page)
    button(page, "Bắt đầu").click()
    page.wait_for_url("**/training/step/person")
    require_fit(page)
    return page.locator(".who .digits").inner_text()


def log_in(page, number: str, press: str = "#login") -> None:
    page.locator(".dead").wait_for(state="detached")  # its script has begun
    page.click(press)
    page.wait_for_url("**/training/identity/**")
    page.fill("#number", number)  # in groups, as it is written
    page.click("button.main")


def enrol(page, number: str) -> None:
    log_in(page, number)
    page.locator("[data-view=consent]").wait_for()
    page.click("label.check")
    page.click("#consent")
    page.locator("[data-view=phone]").wait_for()
    page.click("#make")


def opened(page, words: str):
    """The tab in which a button opens."""
    with page.context.expect_page() as waiting:
        button(page, words).click()
    return waiting.value


def follows(guide, words: str) -> None:
    """The guide's page sees by itself what happened in the other tab."""
    guide.bring_to_front()
    guide.locator(f".note:has-text('{words}')").wait_for(timeout=15_000)
    require_fit(guide)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_villager_practises_from_the_first_page_to_a_lost_phone(phone, school, scheme):
    guide, said = phone(color_scheme=scheme), []
    guide.on("console", lambda message: said.append(message.text))
    guide.on("pageerror", lambda error: said.append(str(error)))
    number = begin(guide, school)
    assert re.fullmatch(r"999( \d{3}){3}", number)

    button(guide, "Bước tiếp theo").click()
    require_fit(guide)
    tab = opened(guide, "Mở trang đăng ký")
    Passkeys(tab)
    enrol(tab, number)
    tab.locator("[data-view=ready]").wait_for()
    follows(guide, "Đã đăng ký xong")

    tab.bring_to_front()
    tab.click("#return a")  # from enrolment straight to the paper that waits
    tab.click("text=Xác nhận đúng là tôi")
    tab.locator(".page img[src]").first.wait_for()
    guide.bring_to_front()
    button(guide, "Bước tiếp theo").click()
    guide.locator(".code-card .digits").wait_for()
    assert guide.locator(".code-card .digits").inner_text() == tab.locator(".code").inner_text()
    require_fit(guide)
    tab.bring_to_front()
    tab.click("text=Tôi đồng ý ký")
    tab.locator("[data-view=done] h1:text-is('Đã ký')").wait_for()
    follows(guide, "Đã ký.")

    button(guide, "Bước tiếp theo").click()
    require_fit(guide)
    with guide.expect_download() as waiting:
        button(guide, "Tải tệp đã ký").click()
    assert waiting.value.path().read_bytes().startswith(b"%PDF")
    button(guide, "Kiểm tra tệp này ngay").click()
    guide.wait_for_url("**/v/file")
    assert "TẬP HUẤN" in guide.locator(".verdict h2").inner_text()

    guide.goto(f"{school.url}/training/step/refuse")
    require_fit(guide)
    button(guide, "Nhận một tờ giấy lạ").click()
    require_fit(guide)
    tab.goto(button(guide, "Mở tờ đơn").get_attribute("href"))
    tab.click("text=Xác nhận đúng là tôi")
    tab.locator(".page img[src]").first.wait_for()
    tab.click("#refuse")
    tab.fill("#reason", "Tôi không làm đơn này")
    tab.click("#refusal .danger")
    tab.locator("[data-view=done]").wait_for()
    follows(guide, "Bạn đã từ chối")

    button(guide, "Bước tiếp theo").click()
    require_fit(guide)
    tab.goto(button(guide, "Báo mất").get_attribute("href"))
    log_in(tab, number)
    tab.locator("[data-view=locked]").wait_for()
    follows(guide, "Đã chặn")
    button(guide, "Bước tiếp theo").click()
    require_fit(guide)
    assert sentence("training.todo_mark") not in guide.inner_text("main")
    guide.goto(f"{school.url}/training")
    require_fit(guide)
    assert said == []


def test_every_step_can_be_seen_before_anything_is_done_and_on_a_wide_screen(phone, school):
    page = phone()
    begin(page, school)
    for size in ({"width": 360, "height": 740}, {"width": 1280, "height": 900}):
        page.set_viewport_size(size)
        for step in STEPS:
            page.goto(f"{school.url}/training/step/{step}")
            require_fit(page)


def test_it_works_without_a_script_on_the_guides_pages(phone, school):
    page = phone(java_script_enabled=False)
    page.goto(f"{school.url}/training")
    button(page, "Bắt đầu").click()
    assert page.url.endswith("/training/step/person")
    button(page, "Bước tiếp theo").click()
    button(page, "Tôi làm xong rồi").click()
    assert page.locator(".note:has-text('Chưa đăng ký')").is_visible()
    assert not page.locator("[data-copy]").is_visible()
    page.goto(f"{school.url}/training")
    button(page, "Bắt đầu lại").click()
    page.goto(f"{school.url}/training")
    button(page, "Thoát").click()
    assert button(page, "Bắt đầu").is_visible()
    page.goto(f"{school.url}/training/step/sign")
    assert page.url == f"{school.url}/training"


def test_a_browser_without_passkeys_is_told_before_a_number_is_typed(phone, school):
    page = phone()
    page.add_init_script("delete window.PublicKeyCredential")
    begin(page, school)
    page.goto(f"{school.url}/training/step/enrol")
    assert page.locator("#no-key").is_visible()
    require_fit(page)


def test_the_number_is_copied_with_one_press(phone, school):
    page = phone(permissions=["clipboard-read", "clipboard-write"])
    number = begin(page, school).replace(" ", "")
    page.click("[data-copy]")
    page.locator("[data-copy]:has-text('Đã chép')").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == number


def test_a_second_person_on_the_same_phone_gets_a_person_of_their_own(phone, school):
    page = phone()
    numbers = []
    for _ in range(2):
        if numbers:
            page.goto(f"{school.url}/training")
            button(page, "Bắt đầu lại").click()
            page.wait_for_url("**/training/step/person")
            numbers.append(page.locator(".who .digits").inner_text())
        else:
            numbers.append(begin(page, school))
        page.goto(f"{school.url}/training/step/enrol")
        tab = opened(page, "Mở trang đăng ký")
        Passkeys(tab)
        enrol(tab, numbers[-1])
        tab.locator("[data-view=ready]").wait_for()
        tab.close()
    assert numbers[0] != numbers[1]
