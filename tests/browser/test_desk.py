"""The desk in Chromium with a virtual authenticator: an official and a clerk, at 1280 and at 360 pixels."""

import re

import pytest

from core.limits import LIMITS
from tests.browser.office import Office
from tests.browser.signing import Passkeys, until

pytestmark = pytest.mark.live
SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 360, "height": 740}}


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    with Office(tmp_path_factory.mktemp("office") / "home") as opened:
        opened.first = opened.hand("certifier")
        opened.sealed = [opened.paper(kind) for kind in ("Giấy khai sinh", "Bằng tốt nghiệp", "Sổ hộ khẩu")]
        for copy_id in opened.sealed:
            opened.approve(copy_id, opened.first)
        opened.big = opened.paper("Giấy chứng nhận đăng ký doanh nghiệp", 40, checked=False)
        yield opened


@pytest.fixture
def tab(chromium):
    """A function that opens a fresh browser of a size, with an authenticator in it."""
    made = []

    def make(size: str = "desk", **more):
        context = chromium.new_context(viewport=SIZES[size], locale="vi-VN", **more)
        made.append(context)
        page = context.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.keys = Passkeys(page)
        return page

    yield make
    for context in made:
        context.close()


def register(page, office, role: str) -> None:
    page.goto(f"{office.url}/desk/register#{office.ticket(role)}")
    page.locator("form[data-register] button").click()
    page.wait_for_url("**/desk/inbox" if role == "certifier" else "**/desk/seals")


def require_fit(page) -> None:
    """Nothing to scroll sideways, no target too small, no barrier that axe knows, no fault in the script."""
    from axe_playwright_python.sync_playwright import Axe

    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    small = page.evaluate(
        "[...document.querySelectorAll('button, a.button, nav a, label.check, summary, h3 a')].filter((e) => e.offsetParent"
        " && e.getBoundingClientRect().height < 43.5).map((e) => e.outerHTML)"
    )
    assert small == []
    found = Axe().run(page).response["violations"]
    assert not found, (page.url, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found])
    assert page.faults == []


def test_a_ticket_a_passkey_and_the_inbox(tab, office):
    page = tab()
    register(page, office, "certifier")
    assert page.url == f"{office.url}/desk/inbox"  # the ticket stands in no address
    assert page.locator("h1").inner_text().startswith("Chờ chứng thực")
    page.locator(".me form[action='/desk/logout'] button").click()
    page.wait_for_url("**/desk/login?said=desk.logged_out")
    page.goto(f"{office.url}/desk/copies/{office.big}")
    page.wait_for_url("**/desk/login?next=**")
    page.locator("[data-login]").click()
    page.wait_for_url(f"{office.url}/desk/copies/{office.big}")  # where the person was going
    page.goto(f"{office.url}/desk/account")
    page.locator("button[data-register]").click()
    page.locator("#failed:not([hidden])").wait_for()  # this authenticator holds one already: said, nothing breaks
    require_fit(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_no_page_of_the_desk_has_a_barrier(tab, office, size, scheme):
    page = tab(size, color_scheme=scheme)
    for path in ("login", "register"):
        page.goto(f"{office.url}/desk/{path}")
        require_fit(page)
    register(page, office, "certifier")
    for path in ("inbox", "new", f"copies/{office.big}", f"copies/{office.sealed[0]}", "account", "statistics", "steps",
                 f"copies/{'0' * 26}"):  # fmt: skip
        page.goto(f"{office.url}/desk/{path}")
        require_fit(page)
    other = tab(size, color_scheme=scheme)
    register(other, office, "clerk")
    require_fit(other)
    other.locator(".me form[action='/desk/lock'] button").click()
    other.locator("[data-unlock-page]").wait_for()
    require_fit(other)


def test_a_scan_of_forty_pages_is_ticked_by_keyboard_and_leads_to_the_signing_page(tab, office):
    page = tab()
    register(page, office, "certifier")
    page.goto(f"{office.url}/desk/copies/{office.big}")
    until(lambda: page.evaluate("document.querySelector('#page-1 img').naturalWidth > 100"))
    drawn = "[...document.querySelectorAll('.sheets img')].filter((i) => i.complete && i.naturalWidth > 1).length"
    assert page.evaluate(drawn) < 20  # the rest is fetched when it comes near
    page.locator("input[name=page]").first.focus()
    for _ in range(39):
        page.keyboard.press("Enter")
    assert page.locator("[data-count=page] .n").first.inner_text() == "39"
    page.reload()  # an interruption costs nothing
    assert page.locator("input[name=page]:checked").count() == 39
    page.get_by_role("button", name="Chứng thực và ký").click()
    assert page.evaluate("document.activeElement.value") == "40"  # the one that is missing
    page.keyboard.press("Space")
    for box in page.locator("#sign input[name=check]").all():
        box.check()
    page.get_by_role("button", name="Chứng thực và ký").click()
    link = page.locator("#signing-link")
    link.wait_for()
    assert re.fullmatch(re.escape(office.sign_url) + r"/s/[A-Za-z0-9_-]{26,}", link.get_attribute("href"))
    assert page.evaluate("document.activeElement.id") == "signing-link"
    page.locator("summary").click()
    assert page.locator("svg.qr").is_visible()
    require_fit(page)


def test_pages_come_into_view_as_pictures_sized_to_the_screen(tab, office):
    page = tab("phone")
    register(page, office, "certifier")
    seen = []
    page.on("request", lambda request: seen.append(request.url) if "/pages/" in request.url else None)
    page.goto(f"{office.url}/desk/copies/{office.big}")
    page.locator("#page-40").scroll_into_view_if_needed()
    until(lambda: page.evaluate("document.querySelector('#page-40 img').naturalWidth > 100"))
    assert all(url.endswith("?w=480") for url in seen)


def test_a_new_paper_from_the_counter_by_form(tab, office, tmp_path):
    from tests.browser.office import sheet

    page = tab()
    register(page, office, "certifier")
    page.get_by_role("link", name="Nhận giấy tờ tại quầy").first.click()
    for n in (1, 2):
        (tmp_path / f"{n}.jpg").write_bytes(sheet(n, 2))
    page.set_input_files("#file", [tmp_path / "1.jpg", tmp_path / "2.jpg"])
    for name, value in (
        ("device", "Máy quét quầy 1"),
        ("kind", "Chứng minh thư"),
        ("requester", "Lò Thị Mai"),
        ("pages", "2"),
    ):
        page.fill(f"#{name}", value)
    for box in page.locator("input[name=check]").all():
        box.check()
    page.get_by_role("button", name="Gửi để lấy số").click()
    page.wait_for_url("**/desk/copies/*")
    page.locator("#sign").wait_for(timeout=30_000)
    assert "Lò Thị Mai" in page.locator(".facts").inner_text()
    page.get_by_text("Không chứng thực, hủy số").click()
    page.fill("#reason-void", "Thử nghiệm")
    page.get_by_role("button", name="Hủy số").click()
    page.get_by_role("button", name="Không No").click()  # asked first; nothing has happened
    assert page.locator("#sign").is_visible()
    page.get_by_role("button", name="Hủy số").click()
    page.get_by_role("button", name="Đồng ý").click()
    page.wait_for_url("**/desk/inbox?said=desk.voided")


def test_a_clerk_chooses_by_keyboard_and_gets_one_link_over_all(tab, office):
    page = tab()
    register(page, office, "clerk")
    boxes = page.locator("input[name=copy]")
    assert boxes.count() == 3
    boxes.first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert [box.is_checked() for box in boxes.all()] == [False, True, False]
    assert page.locator("[data-count=copy] .n").first.inner_text() == "1"
    page.locator("[data-all]").check()
    assert page.locator("[data-count=copy] .n").first.inner_text() == "3"
    boxes.first.focus()
    page.keyboard.press("Enter")
    page.locator("#signing-link").wait_for()
    assert "3" in page.locator(".lead").inner_text()


def test_an_idle_page_locks_keeps_what_was_typed_and_opens_with_the_passkey(tab, office, monkeypatch):
    monkeypatch.setitem(LIMITS, "desk.idle_seconds", 3)
    page = tab()
    register(page, office, "certifier")
    page.goto(f"{office.url}/desk/new")
    page.fill("#kind", "Giấy khai sinh")
    page.locator("#locked[open]").wait_for(timeout=15_000)
    assert not page.locator("#kind").is_visible()  # nobody reads over an empty chair
    require_fit(page)
    page.keyboard.press("Escape")
    assert page.locator("#locked[open]").count() == 1
    office.clock.move(seconds=5)  # the server has its own clock
    monkeypatch.setitem(LIMITS, "desk.idle_seconds", 600)
    page.keys.verified(yes=False)
    page.locator("[data-unlock]").click()
    page.locator("#locked .note:not([hidden])").wait_for()  # said in words
    page.keys.verified(yes=True)
    page.locator("[data-unlock]").click()
    page.locator("#locked:not([open])").wait_for(state="attached")
    assert page.input_value("#kind") == "Giấy khai sinh"


def test_a_form_sent_from_a_session_that_has_locked_meanwhile_is_not_lost(tab, office):
    page = tab()
    register(page, office, "certifier")
    page.goto(f"{office.url}/desk/copies/{office.big}")
    page.get_by_text("Không chứng thực, hủy số").click()
    page.fill("#reason-void", "Viết dở")
    office.clock.move(seconds=LIMITS["desk.idle_seconds"])
    page.get_by_role("button", name="Hủy số").click()
    page.get_by_role("button", name="Đồng ý").click()
    page.locator("#locked[open]").wait_for()
    page.locator("[data-unlock]").click()
    page.locator("#locked:not([open])").wait_for(state="attached")
    assert page.input_value("#reason-void") == "Viết dở"
    until(lambda: office.do(office.state(office.big)) == "awaiting_certifier")


def test_log_in_works_without_the_browsers_own_conversions_and_says_when_there_is_no_webauthn(tab, office):
    page = tab()
    page.add_init_script(
        "for (const name of ['parseRequestOptionsFromJSON', 'parseCreationOptionsFromJSON']) delete PublicKeyCredential[name];"
        "delete PublicKeyCredential.prototype.toJSON;"
    )
    register(page, office, "clerk")
    page.locator(".me form[action='/desk/logout'] button").click()
    page.locator("[data-login]").click()
    page.wait_for_url("**/desk/seals")
    bare = tab()
    bare.add_init_script("Object.defineProperty(navigator, 'credentials', {value: undefined});")
    bare.goto(f"{office.url}/desk/login")
    bare.locator("[data-login]").click()
    bare.locator("#failed:not([hidden])").wait_for()
    assert "trình duyệt mới hơn" in bare.locator("#failed").inner_text()


def test_without_a_script_the_pages_say_what_is_missing(tab, office):
    page = tab("phone", java_script_enabled=False)
    page.goto(f"{office.url}/desk/login")
    assert page.locator(".no-script").is_visible()
    assert not page.locator("[data-login]").is_visible()


def test_coming_back_from_the_signing_page_the_person_is_still_signed_in(tab, office):
    """Another site's link carries no cookie of SameSite=Strict; the page reloads itself once."""
    page = tab()
    register(page, office, "certifier")
    page.goto(f"{office.sign_url}/s/unknown-token-of-nobody-at-all")
    page.evaluate(f"location.href = '{office.url}/desk'")
    page.wait_for_url("**/desk/inbox")


def sign_there(page, office) -> None:
    """From the link on the desk over the signing page and back."""
    page.locator("#signing-link").click()
    page.wait_for_url(f"{office.sign_url}/s/*")
    page.locator("#enter").click()
    page.locator("#approve").click()
    page.locator("[data-view=done]").wait_for()
    page.locator("#return").click()


def test_an_official_and_a_clerk_make_a_certified_copy_from_desk_to_release(tab, office):
    copy_id = office.paper("Giấy chứng nhận kết hôn")
    official, clerk = tab(), tab()
    register(official, office, "certifier")
    official.keys.put(office.hand("certifier"))
    official.goto(f"{office.url}/desk/copies/{copy_id}")
    for box in official.locator("input[name=page]").all():
        box.check()
    official.get_by_role("button", name="Chứng thực và ký").click()
    sign_there(official, office)
    official.wait_for_url(f"{office.url}/desk/inbox")  # signed in still
    assert official.locator(f"a[href='/desk/copies/{copy_id}']").count() == 0
    register(clerk, office, "clerk")
    clerk.keys.put(office.hand("clerk"))
    clerk.locator("[data-all]").check()
    count = clerk.locator("input[name=copy]").count()
    clerk.get_by_role("button", name="Đóng dấu").click()
    assert str(count) in clerk.locator(".lead").inner_text()
    sign_there(clerk, office)
    clerk.wait_for_url(f"{office.url}/desk/seals")
    until(lambda: office.do(office.state(copy_id)) == "released")
    until(lambda: {office.do(office.state(each)) for each in office.sealed} == {"released"})
    official.goto(f"{office.url}/desk/copies/{copy_id}")
    with official.expect_download() as waiting:
        official.get_by_text("Tải bản đã phát hành").click()
    assert waiting.value.path().read_bytes().startswith(b"%PDF")
