"""Verification sheets: what they say, how they look to other people's readers, and what their key cannot do."""

import asyncio
import dataclasses
import datetime as dt
import re
import subprocess

import pytest
from asn1crypto import x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import async_validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from api import bootstrap
from api.certifying import certify_file
from api.checking import Checker
from api.roles import ProcessRole
from core.certificates import Certificate, signs_reports
from core.errors import Broken, Refused
from core.limits import LIMITS
from core.values import Realm
from signer.credentials import credential_table
from signer.keystores.model import KeyPurpose
from signer.reports import sheet
from signer.reports.sheet import CheckedFile, compose
from tests.flows import town
from verification.report import Finding, Indication, Report, SignatureReport, SubIndication, Verdict

AT = dt.datetime(2026, 11, 25, 7, 5, tzinfo=dt.UTC)
FILE = CheckedFile.of("giấy khai sinh.pdf", b"abc")


def signature(**change) -> SignatureReport:
    return SignatureReport(
        **{
            "field": "Seal", "signer": "UBND xã Đường Lâm", "level": "PAdES-B-LT", "indication": Indication.TOTAL_PASSED,
            "sub_indication": None, "signed_at": AT.isoformat(), "timestamp": "2026-11-25T07:06:07+00:00", "intact": True,
            "trusted": True, "role": "seal", "issuing_ca": "CA của tỉnh", "managing_unit": "Đơn vị quản lý",
            "signing_time": "2026-11-25T07:05:09+00:00", "integrity": True, "valid_at_signing_time": True,
            "certificate_validity": ("2026-01-01T00:00:00+00:00", "2028-01-01T00:00:00+00:00"),
            "certificate_sha256": "ab" * 32, "realm": "production", **change,
        }
    )  # fmt: skip


def found(verdict=Verdict.GENUINE, **change) -> Report:
    return Report(verdict=verdict, realm=Realm.PRODUCTION, at=AT, **{"signatures": (signature(),), **change})


def text_of(pdf, tmp_path, *options) -> str:
    file = tmp_path / "sheet.pdf"
    file.write_bytes(pdf)
    return subprocess.run(
        ["pdftotext", "-layout", *options, file, "-"], capture_output=True, text=True, check=True
    ).stdout


def words_of(report, tmp_path, file=FILE, realm=Realm.PRODUCTION) -> str:
    """On one line, so that a sentence is found however it was wrapped."""
    pdf = compose(report, file, system="Hệ thống chứng thực tỉnh Ví Dụ", host="chungthuc.vidu.gov.vn", realm=realm)
    return " ".join(text_of(pdf, tmp_path).split())


# --------------------------------------------------------------------------------------------------- what it says
def test_the_sheet_holds_what_article_6_asks_for_in_letters_that_can_be_copied_out(tmp_path):
    said = words_of(found(), tmp_path)
    for words in (
        "PHIẾU KẾT QUẢ KIỂM TRA", "HỢP LỆ / VALID", "25/11/2026, 14:05 (giờ Việt Nam)", "giấy khai sinh.pdf",
        FILE.sha256.hex(), "3 byte", "CA của tỉnh", "UBND xã Đường Lâm", "Đơn vị quản lý", "25/11/2026, 14:05:09",
        "25/11/2026, 14:06:07", "còn nguyên vẹn", "có / yes", "01/01/2026, 07:00:00 – 01/01/2028, 07:00:00", "TOTAL-PASSED",
        "Hệ thống chứng thực tỉnh Ví Dụ", "chungthuc.vidu.gov.vn", "KHÔNG phải là bản sao chứng thực", "Trang 1/",
    ):  # fmt: skip
        assert words in said, words
    assert "TẬP HUẤN" not in said


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.ALTERED, "KHÔNG HỢP LỆ – ĐÃ BỊ THAY ĐỔI"),
        (Verdict.INVALID, "KHÔNG HỢP LỆ / NOT VALID"),
        (Verdict.RECALLED, "ĐÃ BỊ THU HỒI / RECALLED"),
        (Verdict.UNKNOWN, "KHÔNG RÕ NGUỒN GỐC"),
        (Verdict.UNDETERMINED, "CHƯA XÁC ĐỊNH ĐƯỢC"),
    ],
)
def test_every_other_verdict_says_so_and_never_the_word_for_genuine(verdict, words, tmp_path):
    said = words_of(found(verdict), tmp_path)
    assert words in said
    assert "HỢP LỆ / VALID" not in said


@pytest.mark.parametrize(("of_file", "of_house"), [(Realm.TRAINING, Realm.PRODUCTION), (None, Realm.TRAINING)])
def test_training_stands_on_every_page_whether_the_file_or_the_house_is(of_file, of_house, tmp_path):
    report = dataclasses.replace(found(signatures=(signature(),) * 9), realm=of_file)
    pdf = compose(report, FILE, system="S", host="h", realm=of_house)
    pages = text_of(pdf, tmp_path).split("\f")[:-1]
    assert len(pages) > 3
    assert all("TẬP HUẤN – KHÔNG CÓ GIÁ TRỊ PHÁP LÝ" in page for page in pages)


def test_many_signatures_go_on_over_numbered_pages_each_with_the_digests_beginning(tmp_path):
    many = tuple(signature(signer=f"Người ký {n}") for n in range(LIMITS["verify.signatures"]))
    pages = text_of(compose(found(signatures=many), FILE, system="S", host="h", realm=Realm.PRODUCTION), tmp_path)
    assert all(f"Người ký {n}\n" in pages for n in range(len(many)))
    parts = pages.split("\f")[:-1]
    for number, page in enumerate(parts, 1):
        assert f"Trang {number}/{len(parts)}" in page
        assert FILE.sha256.hex()[:16] in page


def test_what_could_not_be_checked_has_its_own_place(tmp_path):
    findings = (
        Finding("verify.revocation_not_checked", "error", {"field": "A"}),
        Finding("verify.wrong_signer", "error"),
    )
    said = words_of(found(Verdict.INVALID, findings=findings), tmp_path)
    findings_at, unchecked_at = said.index("Các điều ghi nhận"), said.index("What could not be checked")
    assert findings_at < said.index("verify.wrong_signer") < unchecked_at < said.index("verify.revocation_not_checked")


def test_a_name_that_no_path_proves_is_said_to_be_only_claimed(tmp_path):
    forged = signature(trusted=False, indication=Indication.INDETERMINATE, valid_at_signing_time=None,
                       sub_indication=SubIndication.NO_CERTIFICATE_CHAIN_FOUND)  # fmt: skip
    said = words_of(found(Verdict.UNKNOWN, signatures=(forged,)), tmp_path)
    assert "con dấu của cơ quan – chưa được chứng minh" in said
    assert "INDETERMINATE · NO_CERTIFICATE_CHAIN_FOUND" in said
    assert "chưa kiểm tra được / not checked" in said


# ------------------------------------------------------------------------------------------------- hostile texts
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\nTrang 1/1\r\x0bHỢP LỆ", "a Trang 1/1 HỢP LỆ"),
        ("p\u0430y.pdf", "p[U+0430]y.pdf"),  # a Cyrillic look-alike
        ("a\u202efdp.exe", "a[U+202E]fdp.exe"),
        ("中\x00\ud800", "[U+4E2D][U+0000][U+D800]"),
        ("Y Be\u0306", "Y Bĕ"),
        (") Tj ET (", ") Tj ET ("),
        ("", "–"),
        (" \u00a0\t", "–"),
    ],
)
def test_texts_of_strangers_stand_on_one_line_and_hide_no_letter(given, shown):
    assert sheet.printable(given, sheet.typeface()) == shown


def test_endless_texts_are_cut_and_words_without_spaces_wrapped(tmp_path):
    file = dataclasses.replace(FILE, name="x" * 5000 + ".pdf")
    report = found(signatures=(signature(signer="Ơ" * 100_000, issuing_ca="dài " * 100_000),))
    pdf = compose(report, file, system="S" * 400, host="h", realm=Realm.PRODUCTION)
    box = text_of(pdf, tmp_path, "-bbox")
    assert max(float(x) for x in re.findall(r'xMax="([\d.]+)"', box)) < 595.28 - 40
    assert "xxx.pdf" in text_of(pdf, tmp_path)
    assert box.count("<page ") < 5


@pytest.mark.parametrize(
    ("iso", "shown"),
    [
        ("9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59+00:00"),  # "no end" (RFC 5280 §4.1.2.5)
        ("0001-01-01T00:00:00+00:00", "01/01/1, 07:00:00"),
        ("2026-11-25T14:05:00", "2026-11-25T14:05:00"),  # whose time, it does not say
        ("2026-11-25T14:05:00-05:00", "26/11/2026, 02:05:00"),
        ("", "không có / none"),
    ],
)
def test_times_that_break_calendars_are_shown_as_they_stand(iso, shown, tmp_path):
    assert shown in words_of(found(signatures=(signature(signing_time=iso),)), tmp_path).replace("/0001", "/1")


# ----------------------------------------------------------------------------------------------------- signed
@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return asyncio.run(town.build(tmp_path_factory.mktemp("sheets")))


@pytest.fixture
async def service(home):
    async with bootstrap.open_service(home, ProcessRole.SIGNER) as opened:
        yield opened


async def issued(service, data=b"%PDF-1.7 nothing") -> bytes:
    report = await Checker.of(service).check(data)
    return await service.parts().sheets.issue(report, CheckedFile.of("x.pdf", data))


async def test_other_peoples_readers_accept_the_signature_and_the_file(service, home, tmp_path):
    file = tmp_path / "sheet.pdf"
    file.write_bytes(await issued(service))
    subprocess.run(["qpdf", "--check", file], check=True, capture_output=True)
    told = subprocess.run(["pdfsig", "-nocert", file], capture_output=True, text=True, check=False).stdout
    assert "Signature is Valid" in told
    assert "CN=Phiếu kết quả kiểm tra" in told
    assert "ETSI.CAdES.detached" in told
    context = ValidationContext(trust_roots=[x509.Certificate.load(service.root)], allow_fetching=False)
    with file.open("rb") as stream:
        (embedded,) = PdfFileReader(stream).embedded_signatures
        status = await async_validate_pdf_signature(embedded, context)
    assert (status.intact, status.valid, status.trusted) == (True, True, True)
    assert status.timestamp_validity is not None
    assert status.timestamp_validity.valid


async def test_a_sheet_reads_as_a_sheet_and_makes_nothing_genuine(service, tmp_path):
    done = await certify_file(service, [town.scan()], "x", town.request(), tmp_path)
    copy = (tmp_path / done["file"]).read_bytes()
    pdf = await issued(service, copy)
    said = " ".join(text_of(pdf, tmp_path).split())
    assert "Hợp lệ: bản sao số 1/ĐT" in said
    assert "Lê Thị Hữu" in said
    report = await Checker.of(service).check(pdf)
    assert report.verdict is Verdict.UNDETERMINED
    assert report.copy is None
    (s,) = report.signatures
    assert (s.role, s.indication, s.level) == ("report", Indication.TOTAL_PASSED, "PAdES-B-LT")
    assert "không phải bản sao chứng thực" in report.sentence("vi")
    changed = pdf.replace(b"/Lang", b"/Lamg")
    assert (await Checker.of(service).check(changed)).verdict is Verdict.ALTERED


class Careless:
    """Lets everything out, as a taken signer would."""

    def __init__(self, checks) -> None:
        self.evidence = checks.evidence

    async def require_sheet(self, document, realm) -> None:
        pass


@pytest.mark.parametrize("name", ["Seal", "Certifier"])
async def test_the_sheets_key_in_the_place_of_a_seal_is_refused_and_reads_as_invalid(service, monkeypatch, name):
    monkeypatch.setattr(sheet, "FIELD", name)
    with pytest.raises(Broken, match=r"copy\.self_check"):
        await issued(service)
    desk = dataclasses.replace(service.parts().sheets, checks=Careless(service.parts().evidence))
    report = await Checker.of(service).check(await desk.issue(found(), FILE))
    assert report.verdict is Verdict.INVALID
    assert {"verify.certificate_unfit", "verify.is_report"} <= {f.code for f in report.findings}
    assert report.signatures[0].role == "report"


async def test_only_the_sheets_key_carries_the_mark_of_sheets(service):
    async with service.db.read() as uow:
        held = {p: await service.credentials.all(uow, p) for p in KeyPurpose}
    marked = {
        purpose
        for purpose, rows in held.items()
        for each, _ in rows
        if each.certificate and signs_reports(Certificate.parse(each.certificate).parsed)
    }
    assert marked == {KeyPurpose.REPORT}


async def test_a_spent_budget_ends_sheets_for_the_day_and_nothing_else(service, monkeypatch, tmp_path):
    monkeypatch.setitem(LIMITS, "budget.report", 0)
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await issued(service)
    done = await certify_file(service, [town.scan("after")], "x", town.request(), tmp_path)
    assert done["file"]


async def test_a_home_older_than_sheets_gets_their_key_with_the_first_one_and_only_one(tmp_path):
    made = await town.build(tmp_path)
    async with bootstrap.open_service(made, ProcessRole.SIGNER) as service:
        async with service.db.write() as uow:
            await uow.execute(credential_table.delete().where(credential_table.c.purpose == "report"))
        sheets = await asyncio.gather(issued(service), issued(service))
        assert len({(await Checker.of(service).check(s)).signatures[0].certificate_sha256 for s in sheets}) == 1
        async with service.db.read() as uow:
            assert len(await service.credentials.all(uow, KeyPurpose.REPORT)) == 1


async def test_an_expired_key_signs_nothing(home, clock):
    async with bootstrap.open_service(home, ProcessRole.SIGNER) as service:
        late = dataclasses.replace(service.parts().sheets.signing, clock=clock)
        clock.at = service.clock.now() + dt.timedelta(days=4 * 365)
        with pytest.raises(Refused, match=r"credential\.expired"):
            await dataclasses.replace(service.parts().sheets, signing=late).issue(found(), FILE)
