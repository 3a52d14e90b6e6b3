"""Displayed coordinates and user space: turned, cropped, scaled pages; what no page has; what locks forbid."""

import io

import pikepdf
import pytest
from pikepdf import Array, Dictionary, Name
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import FieldMDPAction, FieldMDPSpec, SigFieldSpec

from core.errors import BadInput, Refused
from core.values import SignatureAlgorithm
from signer.formats import pades
from signer.formats.placing import PageBox, certification, new_field, old_field, page_box
from tests.signer.formats.test_pades import Signer
from tests.signer.papers.kit import paper, with_fields


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer(SignatureAlgorithm.ECDSA_P256_SHA256)


def signed(document: bytes, field: str, signer: Signer, **more) -> bytes:
    prepared = signer.prepare(document, field, **more)
    return pades.embed(prepared, signer.cms(prepared))


def writer(document: bytes) -> IncrementalPdfFileWriter:
    return IncrementalPdfFileWriter(io.BytesIO(document))


@pytest.mark.parametrize(
    ("turn", "size", "rect"),
    [
        (0, (200, 400), (110, 550, 160, 570)),
        (90, (400, 200), (130, 210, 150, 260)),
        (180, (200, 400), (240, 230, 290, 250)),
        (270, (400, 200), (250, 540, 270, 590)),
    ],
)
def test_a_box_of_the_displayed_page_is_found_in_user_space_and_back(turn, size, rect) -> None:
    box = PageBox(x0=100, y0=200, x1=300, y1=600, turn=turn, unit=1)
    assert (box.width, box.height) == size
    assert box.rect(10, 30, 50, 20) == pytest.approx(rect)
    assert box.displayed(rect) == pytest.approx((10, 30, 50, 20))


def test_a_unit_scales_both_ways() -> None:
    box = PageBox(x0=0, y0=0, x1=100, y1=100, turn=0, unit=2)
    assert (box.width, box.height) == (200, 200)
    assert box.rect(20, 20, 100, 40) == pytest.approx((10, 70, 60, 90))
    assert box.displayed((10, 70, 60, 90)) == pytest.approx((20, 20, 100, 40))


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (160, 0), (0, 390)])
def test_a_box_that_leaves_the_page_is_refused(place) -> None:
    with pytest.raises(BadInput, match=r"request\.placement_off_page"):
        PageBox(x0=0, y0=0, x1=200, y1=400, turn=0, unit=1).rect(*place, 50, 20)


@pytest.mark.parametrize("size", [(10, 40), (100, 5), (0, 0), (-50, -50)])
def test_a_box_too_small_to_read_is_refused(size) -> None:
    with pytest.raises(BadInput, match=r"request\.placement_too_small"):
        PageBox(x0=0, y0=0, x1=200, y1=400, turn=0, unit=1).rect(20, 20, *size)


def test_boxes_and_rotation_are_inherited_and_the_crop_never_leaves_the_page() -> None:
    def inherit(pdf: pikepdf.Pdf) -> None:
        node, page = pdf.Root.Pages, pdf.pages[0].obj
        del page["/MediaBox"]
        node.MediaBox, node.CropBox, node.Rotate = Array([400, 600, 0, 0]), Array([-50, 100, 300, 900]), 450

    with pikepdf.open(io.BytesIO(paper(change=inherit))) as pdf:
        assert page_box(pdf.pages[0].obj) == PageBox(x0=0, y0=100, x1=300, y1=600, turn=90, unit=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"Rotate": 45},
        {"MediaBox": Array([0, 0, 5, 5])},
        {"MediaBox": Array([0, 0, 99_999, 100])},
        {"MediaBox": Array([0, 0])},
        {"MediaBox": Name.None_},
        {"CropBox": Array([500, 700, 900, 900])},
        {"UserUnit": 0},
    ],
)
def test_a_page_of_impossible_shape_is_unreadable(wrong) -> None:
    page = Dictionary(MediaBox=Array([0, 0, 400, 600]), **wrong) if "MediaBox" not in wrong else Dictionary(**wrong)
    with pytest.raises(BadInput, match=r"pades\.unreadable"):
        page_box(page)


def test_a_page_tree_that_is_a_loop_is_unreadable() -> None:
    with pikepdf.new() as pdf:
        node = pdf.make_indirect(Dictionary())
        node.Parent = node
        with pytest.raises(BadInput, match=r"pades\.unreadable"):
            page_box(node)


@pytest.mark.parametrize("name", ["Seal", "Certifier", "a.b", "A"])
def test_a_new_field_takes_no_name_that_is_used_reserved_or_nested(name: str) -> None:
    document = with_fields(paper(), SigFieldSpec("A"))
    with pytest.raises(BadInput, match=r"request\.field_taken"):
        new_field(writer(document), name, page=0, box=None, draw=None)


def test_a_certified_paper_is_signed_in_its_own_fields_only(signer: Signer) -> None:
    document = with_fields(paper(), SigFieldSpec("A"), SigFieldSpec("B"))
    closed = signed(document, "A", signer, docmdp=1)
    open_for_filling = signed(document, "A", signer, docmdp=2)
    assert certification(writer(closed).root) == 1
    assert certification(writer(document).root) is None
    with pytest.raises(Refused, match=r"request\.paper_locked"):
        old_field(writer(closed), "B", draw=None)
    with pytest.raises(Refused, match=r"request\.paper_needs_field"):
        new_field(writer(open_for_filling), "C", page=0, box=None, draw=None)
    assert old_field(writer(open_for_filling), "B", draw=None).look is None


@pytest.mark.parametrize(
    ("lock", "refused"),
    [
        (FieldMDPSpec(FieldMDPAction.ALL), True),
        (FieldMDPSpec(FieldMDPAction.INCLUDE, ["B"]), True),
        (FieldMDPSpec(FieldMDPAction.INCLUDE, ["C"]), False),
        (FieldMDPSpec(FieldMDPAction.EXCLUDE, ["B"]), False),
        (FieldMDPSpec(FieldMDPAction.EXCLUDE, ["C"]), True),
    ],
)
def test_a_signed_fields_lock_is_obeyed(signer: Signer, lock: FieldMDPSpec, refused: bool) -> None:
    document = with_fields(paper(), SigFieldSpec("A", field_mdp_spec=lock), SigFieldSpec("B"))
    document = signed(document, "A", signer)
    if refused:
        with pytest.raises(Refused, match=r"request\.paper_locked"):
            old_field(writer(document), "B", draw=None)
    else:
        assert "/V" not in old_field(writer(document), "B", draw=None).field


def test_a_field_that_is_missing_signed_or_wants_another_kind_is_refused_by_its_own_code(signer: Signer) -> None:
    document = signed(with_fields(paper(), SigFieldSpec("A"), SigFieldSpec("B")), "A", signer)
    with pytest.raises(BadInput, match=r"request\.no_such_field"):
        old_field(writer(document), "X", draw=None)
    with pytest.raises(Refused, match=r"request\.field_signed"):
        old_field(writer(document), "A", draw=None)
    with pikepdf.open(io.BytesIO(document)) as pdf:
        (field,) = [f for f in pdf.Root.AcroForm.Fields if str(f.T) == "B"]
        field.SV = Dictionary(Type=Name.SV, Ff=2, SubFilter=Array([Name("/adbe.x509.rsa_sha1")]))
        target = io.BytesIO()
        pdf.save(target)
    with pytest.raises(Refused, match=r"request\.field_unusable"):
        old_field(writer(target.getvalue()), "B", draw=None)
