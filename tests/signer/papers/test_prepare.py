"""Papers made ready in the sandbox, signed, and judged by other people's validators."""

import datetime as dt
import io
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pikepdf
import pytest
from pikepdf import Dictionary, Name
from pyhanko.sign.fields import FieldMDPAction, FieldMDPSpec, SigFieldSpec

from core.errors import BadInput, Broken, Refused, ServiceError
from signer.formats import dss, pades
from signer.formats.pades import Appearance
from signer.papers import Placement, StampText, inspect, prepare
from tests.signer.formats.test_pades import Signer, judge
from tests.signer.papers.kit import changed_area, paper, read, shown, with_fields, written
from verification.engine.document import read_document

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT = dt.datetime(2026, 11, 25, 3, 0, 30, tzinfo=dt.UTC)
NAME = "Nguyễn Thị Ngọc Ẩn"
HERE = Placement(kind="coordinates", page=0, x=150, y=450, width=200, height=80)


def words(**more) -> StampText:
    return StampText(**{"signer": NAME, "signed_at": AT, "reason": "Đồng ý với nội dung", **more})


async def ready(sandbox, document: bytes, signer: Signer, placement: Placement | None = HERE, **more):
    given = {"stamp": words(), "field": "Dauso-1", "reason": "Đồng ý", **more}
    prepared, facts = await prepare(
        sandbox,
        document,
        signer.profile,
        placement=placement,
        signed_at=AT,
        signer_name=NAME,
        timestamp_size=8_000,
        **given,
    )
    assert [s.integrity for s in facts.signatures if s.field == prepared.field] == [True]
    assert {f.code for f in facts.findings} <= {"verify.no_trusted_path", "verify.timestamp_untrusted"}
    return prepared


async def signed(sandbox, document: bytes, signer: Signer, placement: Placement | None = HERE, **more) -> bytes:
    prepared = await ready(sandbox, document, signer, placement, **more)
    made = pades.embed(prepared, signer.cms(prepared))
    pades.check(made, prepared, signer.der)
    assert prepared.ground == dss.ground_of(made)  # what was read before the signature holds after it
    assert made.startswith(document)  # the paper's bytes stay as they were given
    return made


async def require_valid(document: bytes, signer: Signer, count: int, folder: Path) -> None:
    """pyHanko, pdfsig, qpdf and our own checker: every signature holds, nothing else was changed."""
    for index in range(count):
        status = await judge(document, index, signer)
        assert status.bottom_line, status.pretty_print_details()
    path = folder / "signed.pdf"
    path.write_bytes(document)
    if shutil.which("qpdf"):
        subprocess.run(["qpdf", "--check", path], check=True, capture_output=True)
    if shutil.which("pdfsig"):
        told = subprocess.run(["pdfsig", "-nocert", path], capture_output=True, text=True, check=False).stdout
        assert told.count("Signature is Valid") == count
        assert ("Total document signed" in told) == (count > 0)
    facts = read_document(document, AT, ())
    trusted_apart = {"verify.no_trusted_path", "verify.timestamp_untrusted"}
    assert {f.code for f in facts.findings} <= trusted_apart
    assert len(facts.signatures) == count
    assert all(s.intact for s in facts.signatures)


async def test_the_stamp_is_text_with_its_marks_inside_what_is_signed(sandbox, signer, tmp_path) -> None:
    document = written()
    made = await signed(sandbox, document, signer, stamp=words(training=True, capacity="CHỦ TỊCH"))
    await require_valid(made, signer, 1, tmp_path)
    found = read(made, with_stamps=True)
    for line in ("TẬP HUẤN · TRAINING", "CHỦ TỊCH", f"Ký bởi: {NAME}", "Lý do: Đồng ý với nội dung",
                 "Thời gian: 25/11/2026 10:00:30 +07:00"):  # fmt: skip
        assert line in " ".join(unicodedata.normalize("NFC", found).split())
    if shutil.which("pdftotext"):
        told = subprocess.run(["pdftotext", tmp_path / "signed.pdf", "-"], capture_output=True, text=True, check=True)
        assert f"Ký bởi: {NAME}" in " ".join(told.stdout.split())


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("more", [{}, {"box": (-100, 50, 500, 750), "crop": (20, 100, 420, 650)}])
async def test_coordinates_count_from_the_displayed_pages_top_left(sandbox, signer, tmp_path, turn, more) -> None:
    document = paper(turn=turn, **more)
    place = Placement(kind="coordinates", page=0, x=30, y=60, width=220, height=90)
    made = await signed(sandbox, document, signer, place)
    assert changed_area(document, made) == pytest.approx((30, 60, 250, 150), abs=1)
    await require_valid(made, signer, 1, tmp_path)
    # the frame's longer side is across and its words stand upright: more dark pixels in their first line than below it
    picture = shown(made, scale=2).crop((70, 130, 480, 290)).point(lambda v: 255 if v < 128 else 0)
    across = picture.resize((picture.width, 1)).tobytes()
    assert sum(v > 0 for v in across[:200]) > sum(v > 0 for v in across[-60:])


async def test_a_unit_of_two_halves_what_is_written_and_keeps_what_is_meant(sandbox, signer) -> None:
    document = paper(unit=2)
    facts = await inspect(sandbox, document)
    assert (facts.pages[0].width, facts.pages[0].height) == (800, 1200)
    made = await signed(
        sandbox, document, signer, Placement(kind="coordinates", page=0, x=100, y=200, width=300, height=100)
    )
    with pikepdf.open(io.BytesIO(made)) as pdf:
        rect = [float(v) for v in pdf.pages[0].Annots[0].Rect]
    assert rect == pytest.approx([50, 450, 200, 500])


@pytest.mark.parametrize("turn", [0, 90, 270])
async def test_an_anchor_is_found_composed_or_not_and_the_box_hangs_under_it(sandbox, signer, turn) -> None:
    document = written(turn=turn)
    under = {}
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, "Người  đề\nnghị")
        place = Placement(kind="anchor", text=text, width=120, height=50, y=4, x=-5)
        (spot,) = (await inspect(sandbox, document, [place])).spots
        made = await signed(sandbox, document, signer, place)
        assert changed_area(document, made) == pytest.approx((spot.x, spot.y, spot.x + 120, spot.y + 50), abs=1)
        under[form] = spot
    assert under["NFC"] == under["NFD"]
    if turn == 0:  # the third line stands at 460 points from below, 140 from above
        assert under["NFC"].x == pytest.approx(55, abs=2)
        assert 140 < under["NFC"].y < 156


async def test_occurrence_and_page_choose_among_anchors(sandbox) -> None:
    document = written(pages=2)
    first, second = (Placement(kind="anchor", text="Người đề nghị", width=100, height=30, occurrence=n) for n in (1, 2))
    spots = (await inspect(sandbox, document, [first, second])).spots
    assert spots[1].y - spots[0].y == pytest.approx(40)
    for missing in (
        Placement(kind="anchor", text="Người đề nghị", width=100, height=30, occurrence=3),
        Placement(kind="anchor", text="Người đề nghị", width=100, height=30, page=1),
        Placement(kind="anchor", text="người Đề nghị", width=100, height=30),
    ):
        with pytest.raises(BadInput, match=r"request\.anchor_missing"):
            await inspect(sandbox, document, [missing])


def marks_one_by_one(pdf: pikepdf.Pdf) -> None:
    """As some word processors write: a base letter, then its marks in an order of their own."""
    cmap = (
        b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <FF> endcodespacerange\n"
        b"5 beginbfchar <41> <0056> <42> <0069> <43> <0065> <44> <0302> <45> <0323> endbfchar endcmap end"
    )
    font = Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica, ToUnicode=pdf.make_stream(cmap))
    page = pdf.pages[0]
    page.obj.Resources = Dictionary(Font=Dictionary(F=pdf.make_indirect(font)))
    page.obj.Contents = pdf.make_stream(b"BT /F 20 Tf 60 400 Td (ABCDE) Tj ET")


async def test_marks_in_another_order_are_the_same_letter(sandbox) -> None:
    document = paper(change=marks_one_by_one)
    (spot,) = (await inspect(sandbox, document, [Placement(kind="anchor", text="Việ", width=90, height=30)])).spots
    assert spot.x == pytest.approx(60, abs=2)


@pytest.mark.parametrize(
    ("place", "code"),
    [
        (Placement(kind="coordinates", page=0, x=300, y=0, width=150, height=40), "request.placement_off_page"),
        (Placement(kind="coordinates", page=0, x=0, y=0, width=10, height=40), "request.placement_too_small"),
        (Placement(kind="coordinates", page=4, x=0, y=0, width=100, height=40), "request.placement_no_page"),
        (Placement(kind="anchor", page=4, text="x", width=100, height=40), "request.placement_no_page"),
        (Placement(kind="anchor", text="Không có", width=100, height=40), "request.anchor_missing"),
        (Placement(kind="anchor", text="ĐƠN", x=300, width=100, height=40), "request.placement_off_page"),
        (Placement(kind="field", field="Không có"), "request.no_such_field"),
    ],
)
async def test_a_place_that_is_not_there_is_refused_when_asked_and_when_prepared(sandbox, signer, place, code) -> None:
    document = written()
    for attempt in (inspect(sandbox, document, [place]), ready(sandbox, document, signer, place)):
        with pytest.raises(BadInput, match=code.replace(".", r"\.")):
            await attempt


async def test_an_existing_field_is_filled_where_it_is_whatever_it_is_called(sandbox, signer, tmp_path) -> None:
    document = with_fields(paper(turn=90), SigFieldSpec("don.nguoi_ky", box=(50, 60, 130, 260)), SigFieldSpec("Hidden"))
    (spot,) = (await inspect(sandbox, document, [Placement(kind="field", field="don.nguoi_ky")])).spots
    assert (spot.x, spot.y, spot.width, spot.height) == pytest.approx((60, 50, 200, 80))
    prepared = await ready(sandbox, document, signer, Placement(kind="field", field="don.nguoi_ky"))
    assert prepared.field == "don.nguoi_ky"
    made = pades.embed(prepared, signer.cms(prepared))
    assert changed_area(document, made) == pytest.approx((60, 50, 260, 130), abs=1)
    made = await signed(sandbox, made, signer, Placement(kind="field", field="Hidden"))
    await require_valid(made, signer, 2, tmp_path)
    with pytest.raises(Refused, match=r"request\.field_signed"):
        await ready(sandbox, made, signer, Placement(kind="field", field="don.nguoi_ky"))


@pytest.mark.parametrize("place", [HERE, Placement(kind="field", field="A")])
async def test_readers_are_told_that_only_appending_is_allowed(sandbox, signer, tmp_path, place) -> None:
    def form(pdf: pikepdf.Pdf) -> None:
        pdf.Root.AcroForm = Dictionary(Fields=pikepdf.Array([]), NeedAppearances=True)

    document = with_fields(paper(change=form), SigFieldSpec("A", box=(20, 20, 120, 70)), SigFieldSpec("B"))
    made = await signed(sandbox, document, signer, place)
    with pikepdf.open(io.BytesIO(made)) as pdf:
        assert int(pdf.Root.AcroForm.SigFlags) == 3
        assert "/NeedAppearances" not in pdf.Root.AcroForm  # a reader would draw the stamps anew
    made = await signed(sandbox, made, signer, Placement(kind="field", field="B"))
    await require_valid(made, signer, 2, tmp_path)


async def test_without_a_place_nothing_is_seen(sandbox, signer, tmp_path) -> None:
    document = written()
    made = await signed(sandbox, document, signer, None)
    assert shown(made).tobytes() == shown(document).tobytes()
    await require_valid(made, signer, 1, tmp_path)


async def test_many_signatures_on_one_paper_all_stay_valid(sandbox, signer, tmp_path) -> None:
    document = made = written(pages=2)
    places = [
        HERE,
        Placement(kind="anchor", text="Người đề nghị", width=150, height=40, occurrence=2),
        Placement(kind="none"),
        Placement(kind="coordinates", page=1, x=20, y=20, width=160, height=50),
    ]
    for number, place in enumerate(places):
        made = await signed(sandbox, made, signer, place, field=f"Dauso-{number}")
        facts = await inspect(sandbox, made)
        assert [s.field for s in facts.signatures] == [f"Dauso-{n}" for n in range(number + 1)]
    assert made.startswith(document)
    await require_valid(made, signer, 4, tmp_path)
    assert {s.signer for s in facts.signatures} == {"UBND phường Thử"}
    assert facts.signatures[0].signed_at is not None
    with pytest.raises(BadInput, match=r"request\.field_taken"):
        await ready(sandbox, made, signer, HERE, field="Dauso-1")


async def test_an_own_lock_of_the_field_is_taken_into_the_signature(sandbox, signer, tmp_path) -> None:
    lock = FieldMDPSpec(FieldMDPAction.INCLUDE, ["B"])
    document = with_fields(paper(), SigFieldSpec("A", field_mdp_spec=lock), SigFieldSpec("B"), SigFieldSpec("C"))
    made = await signed(sandbox, document, signer, Placement(kind="field", field="A"))
    with pikepdf.open(io.BytesIO(made)) as pdf:
        field = next(f for f in pdf.Root.AcroForm.Fields if str(f.T) == "A")
        assert field.V.Reference[0].TransformMethod == Name.FieldMDP
    with pytest.raises(Refused, match=r"request\.paper_locked"):
        await ready(sandbox, made, signer, Placement(kind="field", field="B"))
    made = await signed(sandbox, made, signer, Placement(kind="field", field="C"))
    await require_valid(made, signer, 2, tmp_path)


async def test_a_picture_stands_beside_the_words_or_alone(sandbox, signer, tmp_path) -> None:
    picture = Appearance.of(width_px=20, height_px=20, rgb=bytes(1200), alpha=bytes([255] * 400))
    document = written()
    beside = await signed(sandbox, document, signer, stamp=words(picture=picture))
    alone = await signed(sandbox, document, signer, stamp=words(picture=picture, words=False))
    dark = [shown(made).crop((150, 450, 350, 530)).point(lambda v: v < 60 and 255) for made in (beside, alone)]
    assert dark[0].getpixel((35, 40)) == 255
    assert dark[0].getpixel((100, 40)) != 255 or dark[0].crop((80, 0, 200, 80)).getbbox() is not None
    assert dark[1].getpixel((100, 40)) == 255
    assert dark[1].getpixel((20, 40)) == 0
    for made in (beside, alone):
        await require_valid(made, signer, 1, tmp_path)


async def test_a_name_without_letters_in_the_typeface_is_refused(sandbox, signer) -> None:
    with pytest.raises(BadInput, match=r"compose\.glyph_missing"):
        await ready(sandbox, written(), signer, stamp=words(signer="阮"))


async def test_words_that_look_like_the_hole_do_not_move_it(sandbox, signer, tmp_path) -> None:
    trick = "/Contents <0000> /ByteRange [        ]"
    made = await signed(sandbox, written(), signer, reason=trick, stamp=words(reason=trick))
    await require_valid(made, signer, 1, tmp_path)


@pytest.mark.parametrize("lie", ["contents", "byte_range", "update", "size", "startxref", "catalog", "facts", "ground"])
async def test_a_sandbox_that_lies_about_its_update_is_not_believed(sandbox, signer, lie) -> None:
    class Liar:
        async def run(self, function, payload, arguments):
            answer, update = await sandbox.run(function, payload, arguments)
            if lie == "update":
                return answer, update.replace(b"00000000", b"00000001")
            if lie in answer["ground"]:
                return {**answer, "ground": {**answer["ground"], lie: 10}}, update
            return {**answer, lie: 10}, update

    with pytest.raises(Broken, match=r"sandbox\.failed"):
        await ready(Liar(), written(), signer)


async def test_the_paper_changed_between_reading_and_signing_gives_another_digest(sandbox, signer) -> None:
    document = written()
    prepared = await ready(sandbox, document, signer)
    other = await ready(sandbox, written("ĐƠN KHÁC"), signer)
    assert prepared.to_sign != other.to_sign
    swapped = pades.PreparedSignature.from_json(prepared.to_json(), other.document)
    with pytest.raises(Broken, match=r"signing\.prepared_bytes_changed"):
        pades.require_unchanged(swapped)


async def test_nonsense_is_refused_and_not_a_fault(sandbox, signer) -> None:
    for bad in (b"%PDF-1.7 nothing %%EOF", b"", b"\0" * 100):
        with pytest.raises(ServiceError, match=r"pades\.unreadable|request\.paper_unreadable"):
            await ready(sandbox, bad, signer)
