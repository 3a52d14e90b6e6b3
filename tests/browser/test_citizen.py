"""The citizen's page on a phone of 360 × 740: every state, with and without a script, with and without a network."""

import asyncio
import base64
import dataclasses
import datetime as dt
import json
import random  # noqa: TID251  (seeded, so that a failure can be repeated)
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from core.errors import ServiceError
from core.formats import cbor, cose, qr_seal, status_list
from tests.browser.conftest import Door
from tests.browser.papers import HOST

pytestmark = pytest.mark.live


def open_seal(page, door, seal: str) -> None:
    page.goto(f"{door.url}/v#{seal}")
    page.locator("#result .result").wait_for()


def state(page) -> str:
    return page.locator("#result .result").get_attribute("data-state")


def said(page) -> str:
    return " ".join(page.locator("#result").inner_text().split())


def seals_of(papers) -> dict[str, tuple[str, str, str]]:
    """Name → seal, state, what a person reads."""
    f = papers.forged
    gone, forged = "không có trong sổ", "Chữ ký của mã sai"
    return {
        "valid": (papers.valid.seal, "valid", "MÃ HỢP LỆ – hãy đối chiếu"),
        "merged": (papers.merged.seal, "valid", "nay là: UBND xã Đường Lâm"),
        "recalled": (papers.recalled.seal, "revoked", "Cấp nhầm người"),
        "superseded": (papers.superseded.seal, "revoked", "Bản thay thế: số 4/ĐT"),
        "voided": (papers.voided.seal, "invalid", gone),
        "draft": (papers.draft.seal, "invalid", gone),
        "forged": (f["forged"], "invalid", forged),
        "same kid": (f["same_kid"], "invalid", forged),
        "tampered": (f["tampered"], "invalid", forged),
        "unknown key": (f["unknown_key"], "invalid", "không có trong danh mục khóa"),
        "stolen key": (f["not_in_register"], "invalid", gone),
        "other facts": (f["differs"], "invalid", "khác với sổ"),
        "malformed": ("AAAA", "invalid", "Mã QR hỏng"),
    }


def require_fit(page) -> None:
    """Nothing to scroll sideways, no empty value, no barrier that axe knows."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    empty = (
        "[...document.querySelectorAll('#result [data-slot]')].filter((e) => !e.textContent).map((e) => e.outerHTML)"
    )
    assert page.evaluate(empty) == []
    found = Axe().run(page).response["violations"]
    assert not found, [(v["id"], [n["html"] for n in v["nodes"]]) for v in found]


# ---------------------------------------------------------------------------------------------------------- states
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_is_said_in_words_fits_the_phone_and_has_no_barrier(phone, door, papers, scheme):
    page = phone(color_scheme=scheme)
    page.goto(f"{door.url}/v")
    require_fit(page)
    for name, (seal, expected, words) in seals_of(papers).items():
        page = phone(color_scheme=scheme)
        open_seal(page, door, seal)
        assert state(page) == expected, name
        assert words in said(page), name
        assert "TẬP HUẤN" in page.inner_text("body")
        if expected != "valid":
            assert "MÃ HỢP LỆ" not in said(page)
        require_fit(page)


def test_a_valid_code_is_a_checklist_to_tick_and_never_a_lone_tick(phone, door, papers):
    page = phone()
    open_seal(page, door, papers.valid.seal)
    for each in ("UBND xã Đường Lâm", "1/ĐT", "Giấy khai sinh", "45/2001", "P.T.O", papers.valid.code):
        assert each in said(page)
    assert "Mã đúng chưa có nghĩa là tờ giấy đúng" in said(page)
    boxes = page.locator(".facts input:visible")
    assert boxes.count() == 9
    page.locator(".facts label").first.click()
    assert boxes.first.is_checked()
    assert f"localhost:{door.port}" in page.inner_text("header")


def phone_of(page):
    """The same phone, another page."""
    return page.context.new_page()


def test_a_recall_speaks_before_the_paper_and_offers_nothing_to_tick(phone, door, papers):
    page = phone()
    open_seal(page, door, papers.superseded.seal)
    words = said(page)
    assert words.index("ĐÃ THU HỒI ngày") < words.index("Sai số trang") < words.index("UBND xã")
    assert page.locator(".facts input:visible").count() == 0


def test_a_second_scan_in_the_same_page_is_checked_anew(phone, door, papers):
    page = phone()
    open_seal(page, door, papers.valid.seal)
    page.evaluate("(seal) => { location.hash = seal; }", papers.recalled.seal)
    page.locator("#result [data-state=revoked]").wait_for()
    assert page.url == f"{door.url}/v"


# --------------------------------------------------------------------------------------------------------- privacy
def test_a_seal_never_leaves_the_phone_and_no_address_says_which_paper_it_is(phone, door, papers):
    page = phone()
    seen, bodies = [], []
    page.context.on("request", lambda r: (seen.append(r.url), bodies.append(r.post_data or "")))
    messages = []
    page.on("console", lambda m: messages.append(m.text))
    page.on("pageerror", lambda e: messages.append(str(e)))
    open_seal(page, door, papers.valid.seal)
    page.locator("#offline").wait_for()
    assert page.url == f"{door.url}/v"
    assert papers.valid.seal not in page.evaluate("JSON.stringify(history.state) + location.href + document.referrer")
    assert {url.split("/v")[0].split("/.")[0] for url in seen} == {door.url}
    code = papers.valid.code
    for url in seen:  # playwright tells the address as the page has it; a fragment never goes on the wire
        sent = url.partition("#")[0]
        assert "?" not in sent
        assert not re.search(f"{code}|{code.replace('-', '')}|{papers.valid.seal[:16]}", sent, re.IGNORECASE)
    assert papers.valid.seal not in "".join(bodies)
    assert [json.loads(b) for b in bodies if b] == [{"code": code}]
    assert messages == []
    assert page.context.cookies() == []


def test_a_first_visit_costs_at_most_60_kilobytes(phone, door):
    page = phone()
    asked = {f"{door.url}/v/app.webmanifest", f"{door.url}/v/sw.js"}
    page.context.on("request", lambda request: asked.add(request.url))
    page.goto(f"{door.url}/v")
    page.locator("#offline").wait_for()
    manifest = page.request.get(f"{door.url}/v/app.webmanifest").json()
    asked |= {door.url + icon["src"] for icon in manifest["icons"]}
    sizes = {url: len(page.request.get(url).body()) for url in asked if "/.well-known/" not in url}
    assert 30_000 < sum(sizes.values()) <= 60_000, sizes


# ----------------------------------------------------------------------------------------------- without a network
@pytest.fixture
def own_door(papers):
    """One that a test may close."""
    opened = Door(papers.settings)
    opened.open()
    yield opened
    if opened._thread.is_alive():
        opened.close()


def test_after_one_visit_papers_are_checked_without_a_network_and_the_page_says_what_it_could_not(
    phone, own_door, papers
):
    page = phone()
    open_seal(page, own_door, papers.valid.seal)
    page.locator("#offline").wait_for()
    own_door.close()
    for seal, expected, words in (
        (papers.valid.seal, "valid", "chưa kiểm tra thu hồi sau danh mục ngày"),
        (papers.recalled.seal, "revoked", "ĐÃ THU HỒI"),
        (papers.superseded.seal, "revoked", "ĐÃ THU HỒI"),
        (papers.voided.seal, "invalid", "chưa được cấp hoặc đã bị hủy"),
        (papers.draft.seal, "invalid", "chưa được cấp hoặc đã bị hủy"),
        (papers.forged["beyond"], "invalid", "chưa được cấp hoặc đã bị hủy"),
        (papers.forged["forged"], "invalid", "Chữ ký của mã sai"),
        (papers.merged.seal, "undetermined", "chưa có danh mục trạng thái"),  # of another agency
    ):
        page = phone_of(page)
        open_seal(page, own_door, seal)
        assert state(page) == expected
        assert words in said(page)
        if expected != "invalid":  # the seal knows the number, not how the agency writes it
            assert "/…" in said(page)
            assert "chỉ so phần đứng trước" in said(page)
        assert re.search(r"\d\d/\d\d/20\d\d, \d\d:\d\d", said(page))
        require_fit(page)
    page.fill("#code", papers.valid.code)
    page.click("text=Kiểm tra mã")
    page.locator("#result .note").wait_for()
    assert "Không có mạng" in said(page)


def lists_only(page, **bodies: bytes) -> None:
    """The register does not answer; lists named in ``bodies`` are replaced."""
    page.context.route("**/v/status", lambda route: route.abort())
    for name, body in bodies.items():
        page.context.route(f"**/.well-known/{name}", partial(_fulfil, body))


def _fulfil(body: bytes, route) -> None:
    route.fulfill(body=body)


def test_old_lists_leave_it_undetermined(phone, door, papers):
    page = phone(service_workers="block")
    page.clock.set_fixed_time("2040-01-01T00:00:00Z")
    open_seal(page, door, papers.valid.seal)
    assert state(page) == "undetermined"
    assert "Chưa có danh mục khóa mới" in said(page)
    require_fit(page)
    open_seal(phone_with_clock(page), door, papers.recalled.seal)
    page = page.context.pages[-1]
    assert state(page) == "revoked"  # the register knows, however old the lists are
    page = phone(service_workers="block")
    lists_only(page)
    page.clock.set_fixed_time("2040-01-01T00:00:00Z")
    keys = json.loads(page.request.get(f"{door.url}/.well-known/qr-seal-keys").body())
    lists_only(page, **{"qr-seal-keys": json.dumps({**keys, "next_update": "2050-01-01T00:00:00+00:00"}).encode()})
    open_seal(page, door, papers.valid.seal)
    assert state(page) == "undetermined"
    assert "đã cũ" in said(page)


def phone_with_clock(page):
    made = page.context.new_page()
    made.clock.set_fixed_time("2040-01-01T00:00:00Z")
    return made


def test_a_list_older_than_the_last_seen_is_refused(phone, door, papers):
    page = phone(service_workers="block")
    open_seal(page, door, papers.recalled.seal)
    marks = {
        f"qr-status/H1/{name[-4:]}": body for name, body in papers.older.items() if name.startswith("qr-status-H1-")
    }
    assert marks
    lists_only(page, **marks)
    page = phone_of(page)
    open_seal(page, door, papers.recalled.seal)
    assert state(page) == "revoked"
    fresh = phone(service_workers="block")  # who never saw the newer one cannot know
    lists_only(fresh, **marks)
    open_seal(fresh, door, papers.recalled.seal)
    assert state(fresh) == "valid"
    assert "chưa kiểm tra thu hồi sau danh mục ngày" in said(fresh)


def test_without_lists_or_with_foreign_ones_nothing_reads_as_valid(phone, door, papers):
    other = next(body for name, body in papers.older.items() if name.startswith("qr-status-H2-") or True)
    for name, body, words in (
        ("qr-seal-keys", b"", "chưa có danh mục khóa"),
        ("qr-seal-keys", b"{}", "chưa có danh mục khóa"),
        ("qr-status/**", b"", "chưa có danh mục trạng thái"),
        ("qr-status/**", other, "chưa có danh mục trạng thái"),
    ):
        page = phone(service_workers="block")
        lists_only(page, **{name: body})
        open_seal(page, door, papers.valid.seal)
        assert state(page) == "undetermined"
        assert words in said(page)
        require_fit(page)


def test_a_browser_that_cannot_check_signatures_lets_the_server_do_it_and_says_so(phone, door, papers):
    for seal, expected in (
        (papers.valid.seal, "valid"),
        (papers.forged["forged"], "invalid"),
        (papers.superseded.seal, "revoked"),
    ):
        page = phone()
        page.add_init_script("Object.defineProperty(Crypto.prototype, 'subtle', { get: () => undefined })")
        open_seal(page, door, seal)
        assert state(page) == expected
        assert "máy chủ đã kiểm tra thay" in said(page)
        require_fit(page)


# ------------------------------------------------------------------------------------------------- codes and files
def test_a_typed_code_answers_within_the_page(phone, door, papers):
    page = phone()
    page.goto(f"{door.url}/v")
    page.fill("#code", papers.merged.code.lower())
    page.click("summary")
    page.fill("#access", papers.merged.access)
    page.click("text=Kiểm tra mã")
    page.locator("#result .result").wait_for()
    assert state(page) == "valid"
    assert page.url == f"{door.url}/v"
    assert page.locator("#result img").count() == 2
    assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth)")
    require_fit(page)
    page.fill("#code", papers.draft.code)
    page.click("text=Kiểm tra mã")
    page.locator("#result [data-state=invalid]").wait_for()


def test_a_file_is_compared_on_the_phone_and_sent_only_at_the_second_click(phone, door, papers):
    page = phone()
    sent = []
    page.on("request", lambda r: sent.append(r.url) if r.method == "POST" else None)
    open_seal(page, door, papers.valid.seal)
    sent.clear()
    page.set_input_files("#file", papers.valid.file)
    page.locator("#file-said .good").wait_for()
    assert "trùng bản chụp đã chứng thực" in page.inner_text("#file-said")
    assert "chưa nói lên chữ ký số" in page.inner_text("#file-said")
    require_fit(page)
    page.set_input_files("#file", papers.recalled.file)
    page.locator("#file-said .bad").wait_for()
    assert sent == []
    page.set_input_files("#file", papers.valid.file)
    page.locator("#file-said .good").wait_for()
    page.click("#file-button")
    page.locator("#result [data-part='say.genuine']").wait_for()
    assert sent == [f"{door.url}/v/file"]
    assert page.url == f"{door.url}/v"
    require_fit(page)


def test_a_dropped_file_takes_the_same_way(phone, door, papers):
    page = phone()
    page.goto(f"{door.url}/v")
    data = base64.b64encode(papers.valid.file.read_bytes()).decode()
    page.evaluate(
        """(data) => {
          const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), moved = new DataTransfer();
          moved.items.add(new File([bytes], 'a.pdf', { type: 'application/pdf' }));
          document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: moved, bubbles: true, cancelable: true }));
        }""",
        data,
    )
    page.locator("#file-said .note").wait_for()
    assert "Tệp chưa được gửi đi" in page.inner_text("#file-said")
    page.click("#file-button")
    page.locator("#result [data-part='say.genuine']").wait_for()


def test_a_refusal_of_the_server_is_shown_in_its_words(phone, door, papers):
    page = phone()
    page.context.route("**/v/code", lambda route: route.fulfill(
        status=429, content_type="application/problem+json", body=json.dumps({"title": "Hỏi quá nhiều <b>lần</b>"})
    ))  # fmt: skip
    page.goto(f"{door.url}/v")
    page.fill("#code", papers.valid.code)
    page.click("text=Kiểm tra mã")
    page.locator("#result .note").wait_for()
    assert said(page) == "Hỏi quá nhiều <b>lần</b>"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_it_works_without_a_script(phone, door, papers, scheme, tmp_path):
    page = phone(java_script_enabled=False, color_scheme=scheme)
    page.goto(f"{door.url}/v#{papers.valid.seal}")
    page.wait_for_timeout(2200)
    assert "tắt JavaScript" in page.inner_text("main")
    page.fill("#code", papers.superseded.code)
    page.click("text=Kiểm tra mã")
    assert state(page) == "revoked"
    assert page.url == f"{door.url}/v/code"
    page.set_input_files("#file", papers.valid.file)
    page.click("#file-button")
    assert "TỆP HỢP LỆ" in said(page)
    assert page.url == f"{door.url}/v/file"
    subprocess.run(["pdftoppm", "-r", "200", "-png", papers.valid.file, tmp_path / "page"], check=True)
    page.set_input_files("#file", max(tmp_path.glob("page*.png")))
    page.click("#file-button")
    assert papers.valid.code in said(page)


def test_the_server_draws_results_without_a_barrier(phone, door, papers):
    for scheme in ("light", "dark"):
        for code in (papers.valid.code, papers.superseded.code, "x"):
            page = phone(color_scheme=scheme)
            page.goto(f"{door.url}/v")
            page.evaluate("document.getElementById('code-form').onsubmit = null")
            page.fill("#code", code)
            page.click("text=Kiểm tra mã")
            page.locator("#result .result").wait_for()
            assert page.url == f"{door.url}/v/code"
            require_fit(page)


def test_a_result_prints_as_a_slip(phone, door, papers, tmp_path):
    page = phone()
    open_seal(page, door, papers.valid.seal)
    assert page.locator(".print").is_visible()
    (tmp_path / "slip.pdf").write_bytes(page.pdf(prefer_css_page_size=True))
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "slip.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    for each in (
        "PHIẾU KẾT QUẢ KIỂM TRA",
        "MÃ HỢP LỆ",
        papers.valid.code,
        "Kiểm tra lúc",
        "TẬP HUẤN",
        f"localhost:{door.port}",
    ):
        assert each in text
    assert "Cách 2" not in text
    assert text.count("\f") == 1, "one sheet"


# ---------------------------------------------------------------------------------------------------------- camera
def seeing(page, text: str) -> None:
    """A browser that finds this QR code wherever it looks."""
    page.add_init_script(
        f"""window.BarcodeDetector = class {{ detect() {{ return Promise.resolve([{{ rawValue: {json.dumps(text)} }}]); }} }};"""
    )


def test_the_page_scans_by_itself_where_a_browser_can_and_refuses_codes_of_other_places(phone, door, papers):
    page = phone(permissions=["camera"])
    page.goto(f"{door.url}/v")
    assert not page.locator("#scan").is_visible()
    for text, shown in (
        (papers.valid.qr, "MÃ HỢP LỆ"), ("https://localhost.evil.example/v#" + papers.valid.seal, "không phải của trang này"),
        ("https://evil.example/", "không phải của trang này"), ("hello", "không phải của trang này"),
    ):  # fmt: skip
        page = phone(permissions=["camera"])
        seeing(page, text)
        page.goto(f"{door.url}/v")
        page.click("#scan")
        page.wait_for_function("(words) => document.getElementById('result').innerText.includes(words)", arg=shown)
        assert not page.locator("#camera").is_visible()
        require_fit(page)
    page = phone()
    page.add_init_script("navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('refused'))")
    seeing(page, "x")
    page.goto(f"{door.url}/v")
    page.click("#scan")
    page.locator("#result .note").wait_for()
    assert "Không mở được máy ảnh" in said(page)


def test_a_photo_is_read_on_the_phone_where_a_browser_can(phone, door, papers, tmp_path):
    from tests.flows import town

    (tmp_path / "photo.jpg").write_bytes(town.scan())
    page = phone()
    seeing(page, papers.valid.qr)
    posts = []
    page.on("request", lambda r: posts.append(r.url) if r.method == "POST" else None)
    page.goto(f"{door.url}/v")
    page.set_input_files("#file", tmp_path / "photo.jpg")
    page.locator("#result [data-state=valid]").wait_for()
    assert posts == [f"{door.url}/v/status"]


# -------------------------------------------------------------------------------------------------- strict reading
def mutants(seal: bytes) -> list[str]:
    """Fragments near a right one: bits, cuts, bytes between, other CBOR inside right CBOR."""
    rng = random.Random(11)
    made = [seal[:n] for n in range(0, len(seal), 7)] + [seal + b"\0", seal + seal, b"\xd2" + seal]
    for _ in range(250):
        data = bytearray(seal)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            data[rng.randrange(len(data) - 60)] = rng.randrange(256)
        made.append(bytes(data))
    sign1 = cose.parse(seal)
    claims = cbor.decode(sign1.payload)
    values = [
        0, 1, -1, 23, 24, 255, 256, 65535, 65536, 2**31, 2**31 + 1, 2**32, 2**53 + 1, 2**63, 2**64 - 1, -(2**64), 2**35, 2**35 + 1,
        1 << 24, (1 << 24) + 1, 1999, 2000, 9999, 10000, b"", b"0" * 10, b"h" * 32, b"x" * 31, "", "A", "é", "e\u0301", "N\u202eA",
        "A\nB", "\ufeffA", "A\u200d", "A" * 16, "A" * 17, "Đ" * 8, "Đ" * 9, "x" * 60, "x" * 61, "\ue000", "\u2028", "\uffff", "👩",
        [], [1, 2026, 1], [0, 2026, 1], [1, 2026], [1, 2026, 1, 1], ["1", 2026, 1], [2**31 + 1, 2026, 1], {}, {1: 2}, [[[[]]]],
    ]  # fmt: skip
    payloads = [cbor.encode({**claims, key: value}) for key in [*claims, -8, 8, "a", b"6"] for value in values]
    payloads += [cbor.encode({k: v for k, v in claims.items() if k != gone}) for gone in claims]
    raw = sign1.payload
    payloads += [
        raw[:1] + raw[1:2] * 2 + raw[2:],
        b"\xb8\x09" + raw[1:],
        b"\xbf" + raw[1:] + b"\xff",
        raw.replace(b"\x1a", b"\x1b" + bytes(4), 1),
    ]
    deep = b"\x81" * 9 + b"\x00"
    payloads += [
        raw + b"\0",
        b"\xf9\x3c\x00",
        b"\xc1" + raw,
        b"\xf5",
        b"\x80",
        deep,
        b"\x81" * 8 + b"\x00",
        b"\x62\xc3\x28",
        b"\x63\xed\xa0\x80",
    ]
    made += [
        cose.assemble(cose.protected_header(sign1.kid), payload, sign1.signature)
        for payload in payloads
        if len(payload) < 500
    ]
    headers = [
        {1: -7}, {4: sign1.kid}, {1: -8, 4: sign1.kid}, {1: -7, 4: b"abc"}, {1: -7, 4: "abcd"}, {1: -7, 4: sign1.kid, 2: [1]}, [],
        {"1": -7, 4: sign1.kid},
    ]  # fmt: skip
    made += [cbor.encode([cbor.encode(h), {}, raw, sign1.signature]) for h in headers]
    made += [
        cbor.encode(parts) for parts in (
            [cose.protected_header(sign1.kid), {1: 1}, raw, sign1.signature], [cose.protected_header(sign1.kid), {}, raw],
            [cose.protected_header(sign1.kid), {}, raw, sign1.signature[:-1]], [b"", {}, raw, sign1.signature],
            [cose.protected_header(sign1.kid), [], raw, sign1.signature], {1: 2}, "text",
        )
    ]  # fmt: skip
    texts = [base64.b32encode(data).decode().rstrip("=") for data in made]
    right = base64.b32encode(seal).decode().rstrip("=")
    texts += [
        right.lower(),
        right + "=",
        right + "A",
        right[:-1],
        right[:-1] + "B",
        "1" + right,
        right + " ",
        "",
        "A" * 961,
        right + "É",
    ]
    return texts


def as_python(text: str):
    try:
        claims = qr_seal.decode(cose.parse(qr_seal.parse_url(f"https://{HOST}/v#{text}", HOST)).payload)
    except ServiceError:
        return None
    return [
        int(claims.issued_at.timestamp()), claims.id.hex(), claims.content_sha256.hex(), claims.number, claims.year,
        claims.volume, claims.kind, claims.pages, claims.initials, claims.status_index, claims.original_number,
    ]  # fmt: skip


def script(page, door) -> str:
    return re.search(r'"(/v/static/[^"]+)/citizen.js"', page.request.get(f"{door.url}/v").text()).group(1) + "/seal.js"


def test_the_browser_accepts_and_refuses_exactly_the_seals_that_the_service_does(phone, door, papers):
    page = phone()
    page.goto(f"{door.url}/v")
    texts = [*mutants(qr_seal.parse_url(papers.valid.qr, HOST)), papers.valid.seal, *papers.forged.values()]
    found = page.evaluate(
        """async ([script, texts]) => {
          const { open, Refusal } = await import(script);
          const hex = (raw) => Array.from(raw, (b) => b.toString(16).padStart(2, '0')).join('');
          return texts.map((text) => {
            try {
              const c = open(text).claims;
              return [c.issued / 1000, hex(c.id), hex(c.content), c.number, c.year, c.volume, c.kind, c.pages, c.initials,
                c.index, c.original];
            } catch (error) {
              return error instanceof Refusal ? null : String(error);
            }
          });
        }""",
        [script(page, door), texts],
    )
    expected = [as_python(text) for text in texts]
    assert 20 < sum(e is not None for e in expected) < len(texts) - 200
    assert [(t, f, e) for t, f, e in zip(texts, found, expected, strict=True) if f != e] == []


def test_the_browser_reads_status_lists_as_the_service_does(phone, door, papers):
    page = phone()
    page.goto(f"{door.url}/v")
    keys = page.request.get(f"{door.url}/.well-known/qr-seal-keys").body()
    spki = {k["agency"]: base64.b64decode(k["spki"]) for k in json.loads(keys)["keys"]}
    name, right = next((n, b) for n, b in papers.older.items() if n.startswith("qr-status-H1-"))
    year = int(name[-4:])
    rng, lists = (
        random.Random(5),
        [right, right + b"\0", right[:-1], b"", *(b for n, b in papers.older.items() if n != name)],
    )
    for _ in range(60):
        data = bytearray(right)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        lists.append(bytes(data))

    def here(data):
        try:
            found = status_list.read(data, spki["H1"], "H1", year)
        except ServiceError:
            return None
        return [found.sequence, int(found.issued_at.timestamp()), [int(found.get(i)) for i in range(20)]]

    found = page.evaluate(
        """async ([script, keys, lists, year]) => {
          const { keyList, statusList, statusAt } = await import(script);
          const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), known = keyList(bytes(keys)), out = [];
          for (const each of lists) {
            const list = await statusList(bytes(each), known, 'H1', year);
            out.push(list && [list.sequence, list.issued / 1000, Array.from({ length: 20 }, (_, i) => statusAt(list, i))]);
          }
          return out;
        }""",
        [script(page, door), base64.b64encode(keys).decode(), [base64.b64encode(d).decode() for d in lists], year],
    )
    assert found == [here(data) for data in lists]
    assert found[0] is not None
    assert found[1:].count(None) == len(found) - 1


def test_what_a_list_lets_us_say_offline_is_what_the_service_says(phone, door, papers):
    """Each status × fresh or old list × made before or after the paper, against ``judge_seal``."""
    from core.formats import key_list
    from core.formats.status_list import Status, StatusList
    from tests.core.formats.test_qr_seal import SoftKey
    from verification.seals import SealLists, judge_seal

    day, key, kid = dt.timedelta(days=1), SoftKey(), b"kid4"
    claims = dataclasses.replace(
        qr_seal.decode(cose.parse(qr_seal.parse_url(papers.valid.qr, HOST)).payload), status_index=1
    )
    paper, at = claims.issued_at, claims.issued_at + 5 * day
    entry = key_list.KeyEntry(kid, key.spki, "H1", "Xã", paper - day, paper + 9 * day)
    keys = key_list.KeyList(1, paper, at + day, {}, (entry,))

    async def judged():
        seal = qr_seal.url(HOST, await qr_seal.seal(claims, key, kid))
        cases = []
        for status in Status:
            for issued in (paper - day, paper, paper + day):
                for until in (at - day, at + day):
                    marks = StatusList("H1", claims.year, 3, issued, until, bytes([status << 2]))
                    data = await status_list.write(marks, key, kid)
                    lists = SealLists(keys, {("H1", claims.year): data})
                    said = judge_seal(seal, host=HOST, lists=lists, at=at, copy=None, online=False)
                    cases.append((base64.b64encode(data).decode(), said.state.value))
        return seal.partition("#")[2], cases

    with ThreadPoolExecutor(1) as thread:
        seal, cases = thread.submit(lambda: asyncio.run(judged())).result()
    page = phone()
    page.goto(f"{door.url}/v")
    found = page.evaluate(
        """async ([script, keys, seal, lists, now, year]) => {
          const { open, keyList, checkSignature, statusList, byList } = await import(script);
          const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), known = keyList(bytes(keys)), out = [];
          const check = await checkSignature(open(seal), known, now);
          for (const each of lists) out.push(byList(check, await statusList(bytes(each), known, 'H1', year), now).state);
          return out;
        }""",
        [script(page, door), base64.b64encode(key_list.write(keys)).decode(), seal, [c for c, _ in cases],
         at.timestamp() * 1000, claims.year],
    )  # fmt: skip
    assert found == [s for _, s in cases]
    assert {"valid", "revoked", "invalid", "undetermined"} == set(found)


def test_typed_codes_read_the_same_in_the_browser(phone, door):
    from core.formats import typed_code

    page = phone()
    page.goto(f"{door.url}/v")
    rng = random.Random(3)
    ids = [bytes(rng.randrange(256) for _ in range(10)) for _ in range(50)] + [bytes(10), b"\xff" * 10]
    found = page.evaluate(
        "async ([script, ids]) => { const { typedCode } = await import(script); return ids.map((id) => typedCode(id)); }",
        [script(page, door), [list(i) for i in ids]],
    )
    assert found == [typed_code.write(i) for i in ids]


def test_claims_with_many_shapes_are_drawn_as_text(phone, door, papers):
    page = phone(service_workers="block")
    lists = json.loads(page.request.get(f"{door.url}/.well-known/qr-seal-keys").body())
    lists["keys"] = [{**k, "name": "<img src=x onerror=alert(1)>" * 3} for k in lists["keys"]]
    lists_only(page, **{"qr-seal-keys": json.dumps(lists).encode()})
    open_seal(page, door, papers.valid.seal)
    assert "<img src=x" in said(page)
    assert page.locator("#result img").count() == 0
    require_fit(page)


def test_fields_of_the_claims_are_all_compared_with_the_register(papers):
    """A seal by a stolen key over a known id may differ in any claim; the script names each of them."""
    from importlib.resources import files

    source = (files("api.web") / "static" / "seal.js").read_text()
    compared = source.partition("const differs")[2].partition("if (differs)")[0]
    script_names = {"issued_at": "issued", "content_sha256": "content", "original_number": "original"}
    for field in dataclasses.fields(qr_seal.SealClaims):
        if field.name not in {"id", "kind", "status_index"}:
            assert f"said.{script_names.get(field.name, field.name)}" in compared
