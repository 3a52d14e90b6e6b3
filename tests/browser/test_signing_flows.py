"""Each way of signing, end to end: real processes, Chromium with an authenticator on a phone, a portal over HTTP.

Other people's tools judge what comes out: ``pdfsig``, pyHanko's validator, ``openssl ocsp``.
"""

import asyncio
import io
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from asn1crypto import pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import async_validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from tests.browser.hands import Hands
from tests.browser.signing import until
from tests.browser.town_here import AGENCY, BACK, UNDER_THE_NAME, TownHere, box, signer

pytestmark = [pytest.mark.live, pytest.mark.slow]
MAI = "Nguyễn Thị Ngọc Mai"
AN, BINH, CHI, DUNG, EM, GIANG, HOA, KIM, LAN, OANH, PHUC = (
    "Phạm Thị An", "Lê Văn Bình", "Ngô Thị Chi", "Đặng Văn Dũng", "Võ Thị Em", "Trịnh Văn Giang", "Dương Thị Hoa",
    "Lý Văn Kim", "Hoàng Thị Lan", "Bùi Kiều Oanh", "Vũ Hồng Phúc",
)  # fmt: skip
HAVE_PHONES = dict.fromkeys((AN, BINH, CHI, DUNG, EM, GIANG, HOA, KIM, LAN, OANH, PHUC), True)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """One house for all. Each test takes its own people: a passkey that begins to count anew would look cloned."""
    with TownHere(tmp_path_factory.mktemp("town") / "home", {MAI: False, **HAVE_PHONES}) as opened:
        yield opened


@pytest.fixture
def at(phone, town):
    """``at(name)``: somebody with a phone in the hand. ``keyed=False``: a new phone, empty."""

    def make(name: str, **how) -> Hands:
        who = town.citizens.get(name) or town.officials[name]
        return Hands(phone(accept_downloads=True), who, **how)

    return make


# ----------------------------------------------------------------------------------------------- what others find right
def judged(town, data: bytes, folder) -> list[x509.Certificate]:
    """The signers' certificates, in the order of signing, after ``pdfsig`` and pyHanko have found every signature good."""
    (folder / "signed.pdf").write_bytes(data)
    told = subprocess.run(
        ["pdfsig", "-nocert", folder / "signed.pdf"], capture_output=True, text=True, check=False
    ).stdout
    _, _, der = pem.unarmor((town.settings.home / "pki" / "root.pem").read_bytes())
    root = asn1_x509.Certificate.load(der)
    signatures = PdfFileReader(io.BytesIO(data)).embedded_signatures

    async def validate():
        return [await async_validate_pdf_signature(each, ValidationContext(trust_roots=[root])) for each in signatures]

    with ThreadPoolExecutor(1) as thread:  # playwright keeps a loop running in this one
        found = thread.submit(asyncio.run, validate()).result()
    for status in found:
        assert status.bottom_line, status.pretty_print_details()
        assert status.timestamp_validity.trusted
    assert told.count("Signature is Valid") == len(signatures), told
    return [x509.load_der_x509_certificate(each.signer_cert.dump()) for each in signatures]


def names(certificates) -> list[str]:
    return [each.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value for each in certificates]


def words_of(data: bytes, folder) -> str:
    """What stands on the pages, with single spaces."""
    (folder / "read.pdf").write_bytes(data)
    told = subprocess.run(
        ["pdftotext", "-layout", folder / "read.pdf", "-"], capture_output=True, text=True, check=True
    )
    return " ".join(told.stdout.split())


def later(work):
    """``work`` in a thread, as a portal's backend waits while somebody signs."""
    return ThreadPoolExecutor(1).submit(work)


# ---------------------------------------------------------------------------------------------------------------- flows
def test_1_a_citizen_enrols_signs_a_portals_paper_and_other_tools_find_it_right(town, at, tmp_path):
    mai = at(MAI)
    asked = town.ask(signer(town.citizens[MAI], place=UNDER_THE_NAME))
    page = mai.page
    page.goto(asked.links[0])
    before = mai.look()
    assert "Bạn chưa đăng ký điện thoại để ký" in before
    assert MAI not in before
    mai.press("button:has-text('Đăng ký điện thoại')")
    page.wait_for_url("**/e/*")
    mai.enrol(looks=True)
    page.click("#return a")
    page.wait_for_url(asked.links[0])
    mai.look()
    mai.enter()
    assert "Đơn đề nghị trợ cấp xã hội" in mai.read()
    mai.look()
    assert asked.seen()["steps"][0]["code"] == mai.code  # the same six digits in the portal
    waits = later(asked.settled)
    mai.approve()
    mai.heading("Đã ký")
    mai.look()
    found = waits.result()
    assert (found["state"], found["steps"][0]["state"]) == ("completed", "signed")
    data = asked.file()
    assert names(judged(town, data, tmp_path)) == [MAI]
    stamp = words_of(data, tmp_path).partition("Người làm đơn")[2]
    assert f"Ký bởi: {MAI} Lý do: Nộp hồ sơ trợ cấp Thời gian: " in stamp
    assert page.locator("#return").get_attribute("href") == f"{BACK}/ho-so/12"
    with page.expect_download() as waiting:
        page.click("text=Tải về")
    assert waiting.value.path().read_bytes() == data
    assert page.context.cookies() == []


def test_2_who_does_not_sign_says_why_and_the_portal_hears_it(town, at):
    an = at(AN)
    asked = town.ask(signer(town.citizens[AN]))
    an.open(asked.links[0]).read()
    an.page.click("#refuse")
    an.look()
    an.page.fill("#reason", "Sai ngày sinh của tôi")
    an.page.click("text=Xác nhận không ký")
    an.heading("Chưa ký: đã từ chối")
    assert "Sai ngày sinh của tôi" in an.look()
    found = asked.settled()
    assert (found["state"], found["steps"][0]["reason"]) == ("refused", "Sai ngày sinh của tôi")
    assert "request.refused" in asked.told()
    refused = town.portal.get(f"{asked.path}/documents/1/file")
    assert (refused.status_code, refused.json()["code"]) == (409, "request.not_completed")


def test_3_after_the_deadline_the_link_says_so_and_nothing_is_signed(town, at):
    oanh = at(OANH)
    asked = town.ask(signer(town.citizens[OANH]), seconds=6)
    oanh.open(asked.links[0]).read()
    until(lambda: asked.seen()["state"] == "expired", 20)
    oanh.approve()
    oanh.heading("Chưa ký: đã quá hạn")
    oanh.look()
    oanh.page.evaluate("sessionStorage.clear()")
    oanh.page.goto(asked.links[0])  # as who opens it for the first time
    oanh.heading("Hạn ký đã qua")
    oanh.look()
    oanh.enter()
    oanh.heading("Chưa ký: đã quá hạn")
    assert "request.step_signed" not in asked.told()
    assert town.portal.get(f"{asked.path}/documents/1/file").json()["code"] == "request.not_completed"


def test_4_the_browsers_own_approval_sent_again_signs_nothing(town, at, tmp_path):
    phuc = at(PHUC)
    asked = town.ask(signer(town.citizens[PHUC], place=UNDER_THE_NAME))
    sent = []
    phuc.page.on("request", lambda each: sent.append(each) if each.url.endswith("/approve") else None)
    phuc.open(asked.links[0]).read()
    phuc.approve()
    phuc.heading("Đã ký")
    phuc.look()

    def again() -> tuple[int, str]:
        headers = {name: sent[0].all_headers()[name] for name in ("content-type", "dauso-pass", "origin")}
        path = sent[0].url.removeprefix(town.sign_url)
        answer = town.sign_door.post(path, content=sent[0].post_data_buffer, headers=headers)
        return answer.status_code, answer.json()["code"]

    assert again() == (409, "request.already_approved")
    asked.settled()
    assert again() == (409, "request.already_approved")
    assert len(sent) == 1
    assert asked.told().count("request.step_signed") == 1
    assert names(judged(town, asked.file(), tmp_path)) == [PHUC]


def test_5_two_sign_one_after_the_other_and_the_first_signature_stays_good(town, at, tmp_path):
    binh, chi = at(BINH), at(CHI)
    asked = town.ask(
        signer(town.citizens[BINH], 1, box(60, 560)), signer(town.citizens[CHI], 2, box(320, 560)), pages=3
    )
    chi.open(asked.links[1])
    chi.heading("chưa đến lượt bạn")
    chi.look()
    binh.sign(asked.links[0])
    assert "Còn người khác phải ký" in binh.look()
    second = chi.read()  # the page that waited goes on by itself
    assert BINH in second
    assert "chỉ có thêm 1 chữ ký" in second
    chi.look()
    chi.approve()
    chi.heading("Đã ký")
    assert asked.settled()["state"] == "completed"
    data = asked.file()
    assert names(judged(town, data, tmp_path)) == [BINH, CHI]
    assert f"Ký bởi: {BINH}" in words_of(data, tmp_path)
    binh.page.reload()
    binh.page.locator("text=Tải về").wait_for()  # now the first one has the file too


def test_6_of_two_in_any_order_one_waits_while_the_other_reads(town, at, tmp_path):
    dung, em = at(DUNG), at(EM)
    asked = town.ask(signer(town.citizens[DUNG], 1, box(60, 560)), signer(town.citizens[EM], 1, box(320, 560)))
    em.open(asked.links[1]).read()
    dung.open(asked.links[0])
    dung.heading("Chưa ký: người khác đang ký văn bản này")
    dung.look()
    em.approve()
    em.heading("Đã ký")
    assert EM in dung.read()
    dung.approve()
    dung.heading("Đã ký")
    assert asked.settled()["state"] == "completed"
    assert names(judged(town, asked.file(), tmp_path)) == [EM, DUNG]


def test_7_an_official_certifies_and_a_clerk_seals_a_copy_at_the_desk(town, at, tmp_path):
    copy_id = town.copy("certifier", "clerk")

    def come_to_the_desk(name: str) -> Hands:
        """Enrol the phone that signs, take the ticket, register and then use the passkey that logs in."""
        person = at(name, keyed=False)
        page = person.page
        page.goto(f"{town.sign_url}/e/{person.who.invitation}")
        person.enrol()
        page.click("#ticket")
        page.click("#desk-open a")
        page.click("form[data-register] button")
        page.locator(".me").wait_for()
        page.click(".me form[action='/desk/logout'] button")
        page.click("[data-login]")
        page.locator(".me").wait_for()
        person.look()
        return person

    def sign_and_come_back(person: Hands) -> None:
        page = person.page
        page.locator("#signing-link").wait_for()
        person.look()
        page.click("#signing-link")
        person.enter()
        person.read()
        assert not page.locator(".code").is_visible()  # the desk has none to compare it with
        person.look()
        person.approve()
        person.heading("Đã ký")
        page.click("#return")
        page.locator(".me").wait_for()  # still signed in

    official = come_to_the_desk("certifier")
    page = official.page
    page.click("h3 a:has-text('Giấy khai sinh')")
    page.locator("#sign").wait_for()
    official.look()
    for tick in page.locator("input[name=page], #sign input[name=check]").all():
        tick.check()
    page.click("button:has-text('Chứng thực và ký')")
    sign_and_come_back(official)
    assert page.url.endswith("/desk/inbox")

    clerk = come_to_the_desk("clerk")
    clerk.page.check("input[name=copy]")
    clerk.page.click("form[data-choose] button")
    sign_and_come_back(clerk)
    assert clerk.page.url.endswith("/desk/seals")

    found = town.portal.get(f"/api/v1/copies/{copy_id}?wait=20").json()
    assert found["state"] == "released"
    data = town.portal.get(found["links"]["file"]).content
    kind = {"content-type": "application/pdf"}
    report = town.portal.post("/api/v1/verifications", content=data, headers=kind).json()
    assert (report["verdict"], report["realm"]) == ("genuine", "production")
    assert names(judged(town, data, tmp_path)) == [official.who.name, AGENCY]


def test_8_a_lost_phone_is_locked_at_once_and_a_new_one_takes_its_place(town, at, tmp_path):
    giang, first = town.citizens[GIANG], at(GIANG)
    asked = town.ask(signer(giang, place=UNDER_THE_NAME))
    first.open(asked.links[0]).read()  # whoever has the phone now is about to sign

    second = at(GIANG, keyed=False)
    second.page.goto(f"{town.sign_url}/e/lost")
    second.look()
    second.log_in("Đăng nhập để khóa")
    second.page.locator("[data-view=locked]").wait_for()
    second.look()
    first.approve()
    first.page.locator("#entry-note:visible, #answer-note:visible").wait_for()
    assert asked.seen()["steps"][0]["signed_at"] is None
    old = giang.certificate

    second.page.goto(asked.links[0])
    assert "Bạn chưa đăng ký điện thoại để ký" in second.look()
    second.press("button:has-text('Đăng ký điện thoại')")
    second.enrol()  # who it is is proven once more
    second.page.click("#return a")

    first.page.goto(asked.links[0])
    first.page.evaluate("sessionStorage.clear()")
    first.page.reload()
    first.enter()
    first.page.locator("#entry-note:visible").wait_for()  # the old passkey opens nothing any more
    assert first.page.locator("[data-view=reading]:visible").count() == 0

    second.enter()
    second.read()
    second.approve()
    second.heading("Đã ký")
    asked.settled()
    (new,) = judged(town, asked.file(), tmp_path)
    assert new.public_key() != old.public_key()
    assert ocsp(town, asked.file(), old, tmp_path) == "revoked"
    assert ocsp(town, asked.file(), new, tmp_path) == "good"


def ocsp(town, signed: bytes, certificate: x509.Certificate, folder) -> str:
    """What ``openssl`` hears about it; the issuer is taken from the signed file."""
    chain = PdfFileReader(io.BytesIO(signed)).embedded_signatures[0].other_embedded_certs
    issuer = next(each for each in chain if each.subject.hashable == _issuer(certificate))
    (folder / "issuer.pem").write_bytes(pem.armor("CERTIFICATE", issuer.dump()))
    (folder / "asked.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    told = subprocess.run(
        ["openssl", "ocsp", "-issuer", "issuer.pem", "-cert", "asked.pem", "-url", f"{town.url}/pki/ocsp",
         "-CAfile", str(town.settings.home / "pki" / "root.pem")],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Response verify OK" in told.stderr, told.stderr
    return told.stdout.partition("asked.pem: ")[2].split()[0]


def _issuer(certificate: x509.Certificate) -> str:
    return asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER)).issuer.hashable


def test_9_a_line_that_breaks_while_approving_is_said_and_nothing_is_signed_twice(town, at, tmp_path):
    hoa = at(HOA)
    asked = town.ask(signer(town.citizens[HOA], place=UNDER_THE_NAME))
    context, arrived = hoa.page.context, []

    def cut(route):
        """The approval arrives; before the answer is back the line is gone."""
        if arrived:
            route.continue_()
            return
        headers = {k: v for k, v in route.request.headers.items() if k in {"content-type", "dauso-pass", "origin"}}
        path = route.request.url.removeprefix(town.sign_url)
        arrived.append(town.sign_door.post(path, content=route.request.post_data_buffer, headers=headers).status_code)
        context.set_offline(True)
        route.abort("internetdisconnected")

    hoa.open(asked.links[0]).read()
    hoa.page.route("**/approve", cut)
    hoa.approve()
    hoa.page.locator("#line:visible").wait_for()
    assert "Mất kết nối" in hoa.page.inner_text("#line")
    hoa.look()
    time.sleep(1)
    context.set_offline(False)
    hoa.heading("Đã ký")
    assert not hoa.page.locator("#line").is_visible()
    assert arrived == [202]
    assert asked.settled()["state"] == "completed"
    assert asked.told().count("request.step_signed") == 1
    assert names(judged(town, asked.file(), tmp_path)) == [HOA]


def test_10_many_papers_are_counted_before_one_approval_signs_them_all(town, at, tmp_path):
    kim = at(KIM)
    titles = tuple(f"Văn bản số {n}" for n in range(1, 6))
    asked = town.ask(signer(town.citizens[KIM], place=UNDER_THE_NAME), papers=titles)
    words = kim.open(asked.links[0]).read()
    assert "5 văn bản" in words
    assert "Một lần xác nhận sẽ ký cả 5 văn bản" in kim.page.inner_text("#answers")
    kim.page.locator("#documents summary").nth(3).click()
    kim.page.locator(".page img[src]").first.wait_for()
    kim.look()
    kim.approve()
    kim.heading("Đã ký")
    assert kim.page.locator("#files li").count() == 5
    kim.look()
    found = asked.settled()
    assert [each["title"] for each in found["documents"]] == list(titles)
    for n, title in enumerate(titles, 1):
        data = asked.file(n)
        assert names(judged(town, data, tmp_path)) == [KIM]
        assert title in words_of(data, tmp_path)


def test_11_an_official_signs_and_the_agencys_seal_is_a_step_after_it(town, at, tmp_path):
    official, clerk = at("certifier2"), at("clerk2")
    asked = town.ask(
        signer(official.who, 1, box(60, 520, height=80), "official"), signer(clerk.who, 2, box(330, 520), "seal"),
        papers=("Giấy xác nhận tình trạng hôn nhân",), reason="Theo đề nghị của công dân",
    )  # fmt: skip
    clerk.open(asked.links[1])
    clerk.heading("chưa đến lượt bạn")
    official.open(asked.links[0])
    assert "cán bộ" in official.read().lower() or "cơ quan" in official.look().lower()
    official.look()
    official.approve()
    official.heading("Đã ký")
    assert official.who.name in clerk.read()
    clerk.look()
    clerk.approve()
    clerk.heading("Đã ký")
    assert asked.settled()["state"] == "completed"
    data = asked.file()
    assert names(judged(town, data, tmp_path)) == [official.who.name, AGENCY]
    words = words_of(data, tmp_path)
    assert "TUQ. CHỦ TỊCH" in words
    assert f"Ký bởi: {official.who.name}" in words


def test_a_stranger_with_the_link_sees_nothing_of_the_person_or_the_paper(town, phone):
    asked = town.ask(signer(town.citizens[LAN]), papers=("Đơn ly hôn",))
    page = phone()
    page.goto(asked.links[0])
    words = page.content()
    for secret in (LAN, "Đơn ly hôn", town.citizens[LAN].number, town.citizens[LAN].id):
        assert secret not in words
    for path in ("status", "show"):
        answer = httpx2.request(
            "POST" if path == "show" else "GET", f"{town.sign_door.base_url}/s/{asked.links[0].rpartition('/')[2]}/{path}",
            headers={**town.sign_door.headers, "origin": town.sign_url},
        )  # fmt: skip
        assert answer.json()["code"] == "pass.missing"
