"""The signing page on a phone of 360 × 740 with a passkey in it: every state, weak lines, old browsers."""

import re

import httpx2
import pytest

from api.sign.shown import Paper
from core.errors import Conflict
from core.values import Realm
from signer.activation import redeem
from tests.browser.signing import Passkeys, SignDoor, until

pytestmark = pytest.mark.live
_OLD = """
for (const name of ['parseRequestOptionsFromJSON', 'parseCreationOptionsFromJSON']) delete PublicKeyCredential[name];
delete PublicKeyCredential.prototype.toJSON;
delete window.IntersectionObserver;
"""


@pytest.fixture(scope="module")
def open_door(tmp_path_factory):
    with SignDoor(tmp_path_factory.mktemp("sign"), Realm.TRAINING) as door:
        yield door


@pytest.fixture
def sign(open_door):
    """The door with a fresh matter on its table."""
    open_door.clear()
    return open_door


def require_fit(page) -> None:
    """Nothing to scroll sideways, large targets, one heading with the focus, the banner, no barrier that axe knows."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        "[...document.querySelectorAll('button, summary, .button, input, textarea')]"
        ".filter((e) => e.getClientRects().length && e.getBoundingClientRect().height < 44).map((e) => e.outerHTML)"
    )
    assert small == []
    assert "TẬP HUẤN / TRAINING" in page.locator(".training").inner_text()
    assert page.locator("h1:visible").count() == 1
    found = Axe().run(page).response["violations"]
    assert not found, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found]


def enter(page, sign, link=None) -> None:
    page.goto(link or sign.link())
    page.click("text=Xác nhận đúng là tôi")


def read(page) -> None:
    page.locator("[data-view=reading]").wait_for()
    page.locator(".page img[src]").first.wait_for()


def signed(page) -> None:
    page.locator("h1:visible:text-is('Đã ký')").wait_for()


def calm(page) -> list:
    """What the browser complains about; to be looked at in the end."""
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


# ------------------------------------------------------------------------------------------------------- the whole way
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_enter_read_approve_and_take_the_file_home(phone, sign, scheme):
    page = phone(color_scheme=scheme, accept_downloads=True)
    said = calm(page)
    Passkeys(page).put(sign.door.hand)
    page.goto(sign.link())
    page.locator("text=Có việc chờ bạn ký").wait_for()
    require_fit(page)
    page.click("text=Xác nhận đúng là tôi")
    read(page)
    require_fit(page)
    text = page.inner_text("main")
    for words in (
        "Chưa ký", "Đơn đề nghị <b>cấp lại</b> sổ đỏ", "UBND xã Đường Lâm", "Cổng dịch vụ công", "Nguyễn Văn An",
        "Trần Thị Bưởi", "chỉ có thêm 1 chữ ký", "Tôi đồng ý ký", "Mã đối chiếu", "3 trang",
    ):  # fmt: skip
        assert words in text, words

    async def code():
        async with sign.door.service.db.read() as uow:
            return (await redeem.record(uow, sign.table.tx)).code

    assert page.locator(".code").inner_text().replace(" ", "") == sign.do(code())
    assert sign.table.state == "open"
    page.click("text=Tôi đồng ý ký")
    page.locator("[data-view=done]").wait_for()
    assert page.locator("[data-view=done] h1").inner_text() == "Đã ký"
    assert page.evaluate("document.activeElement.tagName") == "H1"
    require_fit(page)
    assert page.locator("#return").get_attribute("href") == "https://cong.example/xong?id=1"
    with page.expect_download() as waiting:
        page.click("text=Tải về")
    assert waiting.value.suggested_filename.endswith(".pdf")
    assert waiting.value.path().read_bytes().startswith(b"%PDF")
    assert page.context.cookies() == []
    assert said == []


def test_it_works_without_the_newer_parts_of_a_browser(phone, sign):
    page = phone()
    page.add_init_script(_OLD)
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    read(page)
    until(lambda: page.locator(".page img[src]").count() == 3)
    page.click("text=Tôi đồng ý ký")
    signed(page)


def test_all_of_it_goes_by_keyboard(phone, sign):
    page = phone()
    Passkeys(page).put(sign.door.hand)
    page.goto(sign.link())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#enter")
    page.keyboard.press("Enter")
    read(page)
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.focus(".zoom >> nth=0")
    page.keyboard.press("Enter")
    assert page.locator(".page.big").count() == 1
    assert page.locator(".zoom").first.get_attribute("aria-pressed") == "true"
    until(lambda: page.evaluate("document.querySelector('.big img').naturalWidth") > 500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.keyboard.press("Enter")
    assert page.locator(".page.big").count() == 0
    page.focus("#approve")
    page.keyboard.press("Enter")
    signed(page)


# ------------------------------------------------------------------------------------------------------------- reading
def test_pages_come_when_they_are_looked_at_and_can_be_asked_for_again(phone, sign):
    sign.table.papers = (Paper(id="d1", title="Đơn", kind="pdf", pages=3),)
    sign.table.fails = {1}
    page = phone()
    Passkeys(page).put(sign.door.hand)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/pages/" in request.url else None)
    enter(page, sign)
    read(page)
    assert not [url for url in asked if "/pages/2" in url], "the last page is far away"
    assert all(int(re.search(r"width=(\d+)", url)[1]) <= 360 for url in asked)
    page.locator(".page").nth(1).scroll_into_view_if_needed()
    failed = page.locator(".failed").nth(1)
    failed.wait_for()
    assert "Chưa tải được trang này" in failed.inner_text()
    require_fit(page)
    sign.table.fails = set()
    failed.locator("button").click()
    page.locator(".page").nth(1).locator("img[src]").wait_for()
    page.locator(".page").nth(2).scroll_into_view_if_needed()
    page.locator("text=Bạn đã xem hết các trang").wait_for()
    page.locator(".words summary").first.click()
    page.locator("text=Kính gửi Ủy ban nhân dân").wait_for()
    page.locator(".words summary").nth(2).click()
    page.locator("text=Trang này là ảnh").wait_for()
    require_fit(page)


def test_a_page_keeps_its_room_until_its_picture_is_in(phone, sign):
    sign.table.papers = (Paper(id="d1", title="Đơn", kind="pdf", pages=3),)
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    read(page)
    before, coming = page.evaluate(
        """() => {
            const image = document.querySelectorAll('.page img')[2], room = () => image.closest('.zoom').getBoundingClientRect().height;
            const before = room();
            image.src = document.querySelector('.page img[src]').src + '-that-never-comes';
            return [before, room()];
        }"""
    )
    assert before > 400
    assert coming == before


def test_a_picture_that_came_broken_can_be_asked_for_again(phone, sign):
    sign.table.papers = (Paper(id="d1", title="Đơn", kind="pdf", pages=1),)
    page = phone()
    Passkeys(page).put(sign.door.hand)
    broken = lambda route: route.fulfill(status=200, content_type="image/png", body=b"\x89PNG\r\n\x1a\n" + bytes(40))  # noqa: E731
    page.route("**/pages/0?**", broken)
    enter(page, sign)
    failed = page.locator(".failed").first
    failed.wait_for()
    assert page.locator(".page img[src]").count() == 0
    page.unroute("**/pages/0?**")
    failed.locator("button").click()
    read(page)
    assert not failed.is_visible()


LIVE = """
const { createObjectURL, revokeObjectURL } = URL;
window.live = new Set();
URL.createObjectURL = (blob) => { const made = createObjectURL.call(URL, blob); window.live.add(made); return made; };
URL.revokeObjectURL = (made) => { window.live.delete(made); revokeObjectURL.call(URL, made); };
"""


def test_one_picture_a_page_stays_however_often_it_was_asked_for(phone, sign):
    """Zoomed while the first was on its way, and the first came last; turned again and again meanwhile."""
    sign.table.papers = (Paper(id="d1", title="Đơn", kind="pdf", pages=1),)
    page = phone()
    page.add_init_script(LIVE)
    Passkeys(page).put(sign.door.hand)
    held, asked = [], []

    def hold(route):
        asked.append(int(re.search(r"width=(\d+)", route.request.url)[1]))
        if len(asked) == 1:
            held.append(route)
        else:
            route.continue_()

    page.route("**/pages/0?**", hold)
    enter(page, sign)
    page.locator("[data-view=reading]").wait_for()
    until(lambda: page.evaluate("1") and held)
    page.locator(".zoom").click()
    until(lambda: page.evaluate("document.querySelector('.page img').naturalWidth") > 500)
    held.pop().continue_()
    for _ in range(4):
        page.evaluate("dispatchEvent(new Event('resize'))")
    until(lambda: page.evaluate("[...window.live].length") == 1)
    page.wait_for_timeout(300)
    assert page.evaluate("[...window.live][0] === document.querySelector('.page img').src")
    assert page.evaluate("document.querySelector('.page img').naturalWidth") > 500
    assert len(asked) == 2
    assert not page.locator(".failed").first.is_visible()


def test_many_documents_are_counted_before_one_approval(phone, sign):
    papers = [Paper(id=f"d{n}", title=f"Văn bản {n}", kind="pdf", pages=3) for n in range(1, 12)]
    digest = Paper(id="d12", title="Bảng lương", kind="digest", digest="ab" * 32)
    sign.table.papers = (*papers, digest)
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    page.locator("[data-view=reading]").wait_for()
    assert "12 văn bản" in page.inner_text("main")
    assert "Một lần xác nhận sẽ ký cả 12 văn bản" in page.inner_text("#answers")
    assert page.locator("#documents > li").count() == 12
    assert page.locator(".page").count() == 0
    page.locator("#documents summary").nth(4).click()
    page.locator(".page img[src]").first.wait_for()
    page.locator("#documents > li > details > summary").nth(11).click()
    page.locator(".digest").wait_for()
    assert "không xem được nội dung" in page.locator("#documents > li").nth(11).inner_text()
    assert "abababab abababab" in page.locator(".digest").inner_text()
    require_fit(page)


def test_a_decision_is_read_as_words(phone, sign):
    sign.table.decides = True
    sign.table.papers = (Paper(id="words", title="Giao vai trò", kind="text", text=(("Người", "Khế"), ("Trước", "–"))),)
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    page.locator("#documents dd").first.wait_for()
    assert "Khế" in page.inner_text("#documents")
    assert "Tôi đồng ý" in page.inner_text("#approve")
    assert "ký" not in page.inner_text("#approve")
    require_fit(page)


# ----------------------------------------------------------------------------------------------------------- refusing
def test_a_refusal_asks_for_a_reason_and_for_a_second_press(phone, sign):
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    read(page)
    page.click("text=Tôi không ký")
    assert page.evaluate("document.activeElement.id") == "reason"
    require_fit(page)
    page.click("text=Xác nhận không ký")
    assert sign.table.state == "open", "without a reason nothing happens"
    page.click("text=Quay lại")
    assert not page.locator("#refusal").is_visible()
    page.click("text=Tôi không ký")
    page.fill("#reason", "Sai tên <i>tôi</i>")
    page.click("text=Xác nhận không ký")
    page.locator("[data-view=done]").wait_for()
    assert "Chưa ký: đã từ chối" in page.inner_text("[data-view=done] h1")
    assert "Sai tên <i>tôi</i>" in page.inner_text("[data-view=done]")
    assert page.locator("#files li").count() == 0
    require_fit(page)


# --------------------------------------------------------------------------------------------------------- the passkey
def test_a_person_who_is_not_verified_signs_nothing_and_may_try_again(phone, sign):
    page = phone()
    keys = Passkeys(page).put(sign.door.hand)
    keys.verified(False)
    enter(page, sign)
    page.locator("#entry-note").wait_for()
    assert "Chưa ký gì" in page.inner_text("#entry-note")
    assert page.locator("#elsewhere .qr").is_visible()
    require_fit(page)
    keys.verified(True)
    page.click("text=Xác nhận đúng là tôi")
    read(page)
    keys.verified(False)
    page.click("text=Tôi đồng ý ký")
    page.locator("#answer-note").wait_for()
    assert "Chưa ký gì" in page.inner_text("#answer-note")
    assert sign.table.state == "open"
    keys.verified(True)
    page.click("text=Tôi đồng ý ký")
    signed(page)


def test_a_phone_with_somebody_elses_passkey_shows_the_way_to_the_right_one(phone, sign):
    from tests.api.sign.matter import Hand

    page = phone()
    Passkeys(page).put(Hand())
    link = sign.link()
    enter(page, sign, link)
    page.locator("#entry-note").wait_for()
    assert page.input_value("#address") == link
    assert scanned(page) == link


def scanned(page) -> str:
    """What another phone's camera reads from the screen."""
    import io

    import zxingcpp
    from PIL import Image

    return zxingcpp.read_barcode(Image.open(io.BytesIO(page.locator(".qr").screenshot()))).text


@pytest.mark.parametrize(
    "missing", ["delete window.PublicKeyCredential", "Object.defineProperty(navigator, 'credentials', {value: undefined})"]
)  # fmt: skip
def test_without_webauthn_the_page_says_so_and_shows_the_way_out(phone, sign, missing):
    page = phone()
    page.add_init_script(missing)
    link = sign.link()
    page.goto(link)
    page.locator("[data-view=nokey]").wait_for()
    assert "Trình duyệt này không ký được" in page.inner_text("h1:visible")
    assert not page.locator("#enter").is_visible()
    assert scanned(page) == link
    require_fit(page)


def test_without_a_script_the_page_says_what_it_needs(phone, sign):
    page = phone(java_script_enabled=False)
    page.goto(sign.link())
    assert "cần JavaScript" in page.inner_text("noscript")


# ------------------------------------------------------------------------------------------------------------ the line
def test_a_reload_at_any_step_goes_on_where_it_was(phone, sign):
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    read(page)
    page.reload()
    read(page)
    assert sign.table.asked == 1
    page.goto(page.url + "?lang=en")
    read(page)
    page.click("text=I agree and sign")
    page.locator("[data-view=done]").wait_for()
    page.reload()
    page.locator("[data-view=done]").wait_for()
    assert page.inner_text("[data-view=done] h1") == "Signed"
    assert not page.locator("#approve").is_visible()


def test_an_answer_whose_reply_is_lost_is_not_given_twice(phone, sign):
    """The approval arrives, the line breaks before the reply: the page asks again and hears that it is done."""
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    read(page)
    lost = []

    def drop(route):
        if lost:
            route.continue_()
            return
        request = route.request  # playwright's own client does not know names under localhost
        headers = {**request.headers, "host": f"sign.localhost:{sign.port}"}
        url = request.url.replace("sign.localhost", "127.0.0.1")
        lost.append(httpx2.post(url, content=request.post_data_buffer, headers=headers).status_code)
        route.abort("connectionreset")

    page.route("**/approve", drop)
    page.click("text=Tôi đồng ý ký")
    page.locator("#line").wait_for()
    page.locator("[data-view=done]").wait_for(timeout=20_000)
    assert lost == [202]
    assert page.inner_text("[data-view=done] h1") == "Đã ký"
    assert sign.table.asked == 1


def test_a_cut_line_is_said_and_waited_out(phone, sign):
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    read(page)
    with sign.away():
        page.click("text=Tôi đồng ý ký")
        page.locator("#line").wait_for()
        assert "Mất kết nối" in page.inner_text("#line")
        assert sign.table.state == "open"
    page.locator("[data-view=done]").wait_for(timeout=20_000)
    assert not page.locator("#line").is_visible()


def test_a_pass_that_ended_leads_back_to_the_entry(phone, sign):
    page = phone()
    Passkeys(page).put(sign.door.hand)
    link = sign.link()
    page.goto(link)
    page.evaluate("sessionStorage.setItem(location.pathname, 'A'.repeat(43))")
    page.reload()
    page.locator("#entry-note").wait_for()
    assert "Hãy xác nhận lại" in page.inner_text("#entry-note")
    page.click("text=Xác nhận đúng là tôi")
    read(page)


# ---------------------------------------------------------------------------------------------------------- the states
STATES = {
    "waiting": "Chưa ký: chưa đến lượt bạn", "busy": "Chưa ký: người khác đang ký", "approved": "đang ký",
    "signed": "Đã ký", "refused": "Chưa ký: đã từ chối", "cancelled": "Chưa ký: việc này đã hủy",
    "expired": "Chưa ký: đã quá hạn", "replaced": "Chưa ký: đã giao người khác", "failed": "Chưa ký: có lỗi",
    "counted": "chờ người khác", "applied": "đã có hiệu lực", "declined": "Không thông qua: có người",
    "lapsed": "Không thông qua: đã quá hạn",
}  # fmt: skip


def test_every_state_is_said_in_words(phone, sign):
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    read(page)
    for state, words in STATES.items():
        sign.table.state = state
        page.reload()
        page.locator(f"h1:visible:has-text('{words}')").wait_for()
        require_fit(page)


def test_a_page_that_waits_goes_on_by_itself(phone, sign):
    sign.table.state = "busy"
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    page.locator("h1:visible:has-text('người khác đang ký')").wait_for()
    sign.table.state = "ready"
    read(page)


def test_what_cannot_be_opened_is_said_and_may_be_tried_again(phone, sign):
    sign.table.refusal = Conflict("request.leased", until="x")
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    page.locator("[data-view=problem]").wait_for()
    assert "Chưa ký gì" in page.inner_text("[data-view=problem]")
    require_fit(page)
    sign.table.refusal = None
    page.click("#again")
    read(page)


def test_a_providers_app_is_asked_from_here_and_waited_for(phone, sign):
    sign.table.provider = "sp769"
    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    read(page)
    assert not page.locator("#approve").is_visible()
    page.click("text=Gửi tới ứng dụng ký của tôi")
    page.locator("text=Hãy mở ứng dụng của dịch vụ đó").wait_for()
    require_fit(page)
    sign.table.state = "signed"
    page.locator("[data-view=done]").wait_for(timeout=20_000)


def test_a_link_that_ends_while_it_is_read_is_said(phone, sign):
    from signer import links

    page = phone()
    Passkeys(page).put(sign.door.hand)
    enter(page, sign)
    read(page)

    async def end():
        async with sign.door.service.db.write() as uow:
            await links.end_links(uow, sign.door.service.clock, "step", "s1")

    sign.do(end())
    page.click("text=Tôi đồng ý ký")
    page.locator("h1:visible:has-text('Liên kết không dùng được')").wait_for()
    require_fit(page)
    page.goto(f"{sign.origin}/s/nothing")
    assert "Liên kết không dùng được" in page.inner_text("h1")
    require_fit(page)


def test_the_page_does_not_load_in_another_pages_frame(phone, sign):
    page = phone()
    link = sign.link()
    page.route(
        "http://localhost:9/",
        lambda route: route.fulfill(body=f"<iframe src='{link}'></iframe>", content_type="text/html"),
    )
    page.goto("http://localhost:9/")
    page.wait_for_timeout(500)
    assert all("Có việc" not in frame.content() for frame in page.frames[1:])
