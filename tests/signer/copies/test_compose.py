"""The composed page: nothing covers the original, letters survive, fields are where the law wants them."""

import io
import re
import shutil
import subprocess

import pikepdf
import pypdfium2
import pytest
from PIL import Image, ImageChops
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import enumerate_sig_fields

from core.errors import BadInput
from core.values import Regime
from signer.copies import qr
from signer.copies.compose import CERTIFIER, SEAL, Marks, compose

MM = 72 / 25.4
URL = "HTTPS://KIEMTRA.EXAMPLE.GOV.VN/V#" + "ABCDEFGHIJKLMNOP" * 16
SIZES = {
    "A4": [(210, 297)] * 2,
    "A5": [(148, 210)],
    "ID card": [(85.6, 54)],
    "landscape": [(297, 210)],
    "taller than two A4": [(210, 600)],
    "forty pages": [(210, 297)] * 40,
    "ID card between A4": [(210, 297), (85.6, 54), (210, 297)],
}


def scan(sizes: list[tuple[float, float]]) -> bytes:
    pdf = pikepdf.new()
    for width, height in sizes:
        page = pdf.add_blank_page(page_size=(round(width * MM, 2), round(height * MM, 2)))
        target = io.BytesIO()
        Image.linear_gradient("L").resize((round(width * 2), round(height * 2))).convert("RGB").save(target, "JPEG")
        image = pdf.make_stream(
            target.getvalue(), Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Image, Width=round(width * 2),
            Height=round(height * 2), ColorSpace=pikepdf.Name.DeviceRGB, BitsPerComponent=8,
            Filter=pikepdf.Name.DCTDecode,
        )  # fmt: skip
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=image))
        page.Contents = pdf.make_stream(b"q %.2f 0 0 %.2f 0 0 cm /I Do Q" % tuple(map(float, page.MediaBox[2:])))
    target = io.BytesIO()
    pdf.save(target)
    return target.getvalue()


def marks(regime: Regime = Regime.CERTIFIED_COPY, **changes: object) -> Marks:
    certified = regime is Regime.CERTIFIED_COPY
    values: dict[str, object] = {
        "regime": regime,
        "attestation": (
            "CHỨNG THỰC BẢN SAO ĐÚNG VỚI BẢN CHÍNH", "Số chứng thực 1523/ĐT quyển số 01/2026-SCTĐT/BS",
            "Ngày 25 tháng 11 năm 2026",
        ) if certified else ("SAO Y", "Ủy ban nhân dân phường Nghĩa Đô", "21/11/2026 09:15:30 +07:00"),
        "capacity": "PHÓ CHỦ TỊCH ỦY BAN NHÂN DÂN" if certified else "",
        "certifier": "Nguyễn Thị Ánh Nguyệt" if certified else "",
        "qr": qr.vector_path(qr.matrix(URL), 35 * MM),
        "qr_lines": ("Kiểm tra tại: kiemtra.example.gov.vn", "Mã tra cứu: ABCD-EFGH-JKLM-NPQR"),
        "footer": "trang {page}/{pages} · mã ABCD-EFGH-JKLM-NPQR",
        "training": "TẬP HUẤN · TRAINING · không có giá trị pháp lý",
    }  # fmt: skip
    return Marks(**(values | changes))  # type: ignore[arg-type]


def original_areas(document: bytes, sizes: list[tuple[float, float]]) -> list[Image.Image]:
    """The pages cut back to the boxes they had, rendered."""
    with pikepdf.open(io.BytesIO(document)) as pdf:
        for page, (width, height) in zip(pdf.pages, sizes, strict=False):
            page.MediaBox = [0, 0, round(width * MM, 2), round(height * MM, 2)]
        target = io.BytesIO()
        pdf.save(target)
    pages = pypdfium2.PdfDocument(target.getvalue())
    return [pages[i].render(scale=1).to_pil().convert("RGB") for i in range(len(sizes))]


def words(document: bytes, tmp_path, page: int) -> list[tuple[float, float, float, float, str]]:
    if shutil.which("pdftotext") is None:
        pytest.skip("poppler is not installed")
    file = tmp_path / "c.pdf"
    file.write_bytes(document)
    out = subprocess.run(
        ["pdftotext", "-bbox", "-f", str(page + 1), "-l", str(page + 1), file, "-"], capture_output=True, check=True
    ).stdout.decode()
    found = re.findall(r'xMin="([-\d.]+)" yMin="([-\d.]+)" xMax="([-\d.]+)" yMax="([-\d.]+)">(.*?)</word', out)
    return [(float(a), float(b), float(c), float(d), w) for a, b, c, d, w in found]


def overlapping(found: list[tuple[float, float, float, float, str]]) -> list[tuple[str, str]]:
    return [
        (one[4], two[4])
        for i, one in enumerate(found)
        for two in found[:i]
        if min(one[2], two[2]) - max(one[0], two[0]) > 1
        and min(one[3], two[3]) - max(one[1], two[1]) > 0.45 * min(one[3] - one[1], two[3] - two[1])
    ]


@pytest.mark.parametrize("regime", [Regime.CERTIFIED_COPY, Regime.SAO_Y])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_original_area_is_pixel_identical_and_its_bytes_are_a_prefix(sizes, regime):
    before = scan(sizes)
    after = compose(before, marks(regime)).document
    assert after.startswith(before)
    for one, two in zip(original_areas(before, sizes), original_areas(after, sizes), strict=True):
        assert ImageChops.difference(one, two).getbbox() is None


def test_a_mark_over_the_original_would_be_seen_by_the_comparison():
    before = scan([(210, 297)])
    with pikepdf.open(io.BytesIO(before)) as pdf:
        pdf.pages[0].contents_add(b"1 0 0 rg 100 100 20 20 re f")
        target = io.BytesIO()
        pdf.save(target)
    one, two = original_areas(before, [(210, 297)])[0], original_areas(target.getvalue(), [(210, 297)])[0]
    assert ImageChops.difference(one, two).getbbox() is not None


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_no_word_lies_on_another_on_any_page(sizes, tmp_path):
    composed = compose(scan(sizes), marks())
    for page in range(min(3, len(sizes))):
        assert overlapping(words(composed.document, tmp_path, page)) == []


def test_every_letter_of_the_attestation_is_extracted_as_it_was_given(tmp_path):
    given = marks()
    composed = compose(scan([(210, 297)]), given)
    text = " ".join(word[4] for word in words(composed.document, tmp_path, 0))
    for line in (*given.attestation, given.capacity, given.certifier):
        assert all(word in text for word in line.split())


@pytest.mark.parametrize("name", ["Y Bĕ Niê Kđăm", "H' Čư Êban", "Nguye\u0302\u0303n Thi\u0323"])
def test_names_of_the_highlands_and_decomposed_names_are_printed(name):
    assert compose(scan([(210, 297)]), marks(certifier=name)).fields


def test_a_letter_the_typeface_lacks_is_refused_by_name():
    with pytest.raises(BadInput) as caught:
        compose(scan([(210, 297)]), marks(certifier="漢"))
    assert caught.value.code == "compose.glyph_missing"
    assert caught.value.evidence == {"letters": "漢"}


def test_both_fields_are_empty_and_the_seal_covers_a_third_of_the_signature_on_the_left():
    composed = compose(scan([(210, 297)]), marks())
    found = enumerate_sig_fields(PdfFileReader(io.BytesIO(composed.document)), filled_status=False)
    assert [field[0] for field in found] == [CERTIFIER, SEAL]
    signature, seal = composed.fields[CERTIFIER], composed.fields[SEAL]
    assert seal[0] < signature[0]
    assert (seal[2] - signature[0]) / (signature[2] - signature[0]) == pytest.approx(1 / 3)
    assert seal[2] - seal[0] == pytest.approx(36 * MM)
    assert seal[3] <= 0, "the seal stays below the original"


def test_sao_y_has_the_agency_field_alone():
    composed = compose(scan([(210, 297)]), marks(Regime.SAO_Y))
    assert set(composed.fields) == {SEAL}


@pytest.mark.parametrize("damage", [b"", b"junk" * 99, "half"], ids=["empty", "junk", "half"])
def test_damaged_bytes_are_one_refusal(damage):
    data = scan([(210, 297)])
    with pytest.raises(BadInput, match=r"compose\.unreadable"):
        compose(data[: len(data) // 2] if damage == "half" else damage, marks())


def test_a_form_is_refused():
    with pikepdf.open(io.BytesIO(scan([(210, 297)]))) as pdf:
        pdf.Root.AcroForm = pikepdf.Dictionary(Fields=[])
        target = io.BytesIO()
        pdf.save(target)
    with pytest.raises(BadInput, match=r"compose\.has_form"):
        compose(target.getvalue(), marks())


def test_qpdf_finds_nothing(tmp_path):
    if shutil.which("qpdf") is None:
        pytest.skip("qpdf is not installed")
    file = tmp_path / "c.pdf"
    file.write_bytes(compose(scan([(210, 297), (85.6, 54)]), marks()).document)
    assert subprocess.run(["qpdf", "--check", file], capture_output=True, check=False).returncode == 0


def test_bytes_that_are_no_typeface_are_refused_by_name():
    from signer.formats.typeface import Typeface

    with pytest.raises(BadInput, match=r"compose\.bad_font"):
        Typeface(b"junk")
