"""What the phone shows is what every common reader shows: pdfium, which draws for the phone, beside poppler.

Each paper that is refused is one on which readers differ, or may. For many poppler differs already; those are marked, so
that a rule without a reason is noticed.
"""

import io
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pikepdf import Array, Dictionary, Name, OutlineItem, Pdf, String
from PIL import Image, ImageChops

from core.errors import ServiceError
from signer.formats import pades
from signer.papers import Placement, inspecting, prepare, rendering
from tests.conftest import live_or_skip
from tests.signer.copies.test_compose import compose as certified
from tests.signer.copies.test_compose import marks, scan
from tests.signer.papers.kit import saved
from tests.signer.papers.test_prepare import AT, NAME, words

Change = Callable[[Pdf], object]
BOX = [40, 100, 340, 160]
LINE = [60, 120, 300, 120]
SQUARE = [60, 110, 300, 110, 300, 150, 60, 150]
QUADS = [60, 140, 300, 140, 60, 110, 300, 110]
FRAME = Dictionary(BG=Array([0, 0, 0]), BC=Array([1, 0, 0]))
REFUSED, PRINT, FORM = "request.paper_changes_look", ("request.warn_print_differs",), ("request.warn_form",)
LAYERS = ("request.warn_layers",)


def paper(*changes: Change, form: bool = True, pages: int = 1) -> bytes:
    """One sentence on each page, and a form without fields."""
    with Pdf.new() as pdf:
        font = pdf.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
        for _ in range(pages):
            page = pdf.add_blank_page(page_size=(400, 200)).obj
            page.Resources = Dictionary(Font=Dictionary(F=font))
            page.Contents = pdf.make_stream(b"BT /F 20 Tf 40 120 Td (I owe 1 dong, nothing) Tj ET")
        if form:
            resources = Dictionary(Font=Dictionary(F=font))
            pdf.Root.AcroForm = Dictionary(Fields=Array([]), DA=String("/F 12 Tf 0 g"), DR=resources)
        for change in changes:
            change(pdf)
        return saved(pdf)


def look(pdf: Pdf, body: bytes = b"1 0 0 rg 0 0 300 60 re f", box=(0, 0, 300, 60)) -> Dictionary:
    return Dictionary(N=pdf.make_stream(body, Type=Name.XObject, Subtype=Name.Form, BBox=Array(list(box))))


def states(pdf: Pdf) -> Dictionary:
    return Dictionary(N=Dictionary(Yes=look(pdf).N, Off=look(pdf, b"0 0 0 rg 0 0 40 60 re f").N))


def note(subtype: str, *, listed: bool = True, box=BOX, **more: Any) -> Change:
    """An annotation on the first page; a widget is also a field of the form if ``listed``."""

    def change(pdf: Pdf) -> None:
        entry = Dictionary(Type=Name.Annot, Subtype=Name("/" + subtype), Rect=Array(box))
        for key, value in more.items():
            entry["/" + key] = value(pdf) if callable(value) else value
        made = pdf.make_indirect(entry)
        page = pdf.pages[0].obj
        page.Annots = Array([*page.get("/Annots", Array([])), made])
        if subtype == "Widget" and listed:
            pdf.Root.AcroForm.Fields.append(made)

    return change


def signature(**more: Any) -> Change:
    return note("Widget", **{"FT": Name.Sig, "T": String("s"), "F": 132, **more})


def entry(**more: Any) -> Change:
    return note("Widget", **{"FT": Name.Tx, "T": String("t"), "F": 4, "DA": String("/F 20 Tf 0 g"), **more})


def layer(*, usage=None, config=None, rule=None, declared: bool = True, more=None) -> Change:
    """A black bar over the words, in a layer; of the configuration's lists each holds the layer."""

    def change(pdf: Pdf) -> None:
        group = pdf.make_indirect(Dictionary(Type=Name.OCG, Name=String("a")))
        if usage is not None:
            group.Usage = usage
        holder = group if rule is None else pdf.make_indirect(Dictionary(Type=Name.OCMD, OCGs=group, **rule))
        page = pdf.pages[0].obj
        page.Resources.Properties = Dictionary(M=holder)
        page.Contents = pdf.make_stream(page.Contents.read_bytes() + b" /OC /M BDC 0 g 40 100 300 60 re f EMC")
        if declared:
            lists = {key: Array([group]) if value is None else value for key, value in (config or {}).items()}
            pdf.Root.OCProperties = Dictionary(OCGs=Array([group]), D=Dictionary(**lists), **(more or {}))

    return change


def state(event: str, key: str, value: str) -> Dictionary:
    return Dictionary({"/" + event: Dictionary({"/" + key: Name("/" + value)})})


def one_on_two_pages(pdf: Pdf) -> None:
    signature(AP=look)(pdf)
    pdf.pages[1].obj.Annots = pdf.pages[0].obj.Annots


def two_kinds_of_parent(pdf: Pdf) -> None:
    signature(AP=look, listed=False)(pdf)
    widget = pdf.pages[0].obj.Annots[0]
    other = pdf.make_indirect(Dictionary(T=String("o"), FT=Name.Sig))
    widget.Parent = other
    pdf.Root.AcroForm.Fields.append(pdf.make_indirect(Dictionary(T=String("p"), FT=Name.Tx, Kids=Array([widget]))))


def root(**more: Any) -> Change:
    return lambda pdf: [pdf.Root.__setitem__("/" + key, value) for key, value in more.items()]


def alternate(pdf: Pdf) -> None:
    image = pdf.make_stream(
        b"\0", Type=Name.XObject, Subtype=Name.Image, Width=1, Height=1, BitsPerComponent=8, ColorSpace=Name.DeviceGray,
        Alternates=Array([Dictionary(DefaultForPrinting=True)]),
    )  # fmt: skip
    pdf.pages[0].obj.Resources.XObject = Dictionary(I=image)


def form_without_edges(pdf: Pdf) -> None:
    page = pdf.pages[0].obj
    bar = pdf.make_stream(b"0 g 40 100 300 60 re f", Type=Name.XObject, Subtype=Name.Form, Resources=Dictionary())
    page.Resources.XObject = Dictionary(X=bar)
    page.Contents = pdf.make_stream(page.Contents.read_bytes() + b" /X Do")


BARE: dict[str, dict[str, Any]] = {
    "Line": {"L": Array(LINE), "BS": Dictionary(W=8)}, "Polygon": {"Vertices": Array(SQUARE)}, "PolyLine": {"Vertices": Array(SQUARE)},
    "Ink": {"InkList": Array([Array(SQUARE)])}, "Stamp": {"Name": Name.Draft}, "Circle": {}, "Square": {}, "Caret": {},
    "FreeText": {"DA": String("/Helv 14 Tf 1 0 0 rg"), "Contents": String("and my house")}, "Watermark": {},
    "Highlight": {"QuadPoints": Array(QUADS)}, "Underline": {"QuadPoints": Array(QUADS)},
    "Squiggly": {"QuadPoints": Array(QUADS)}, "StrikeOut": {"QuadPoints": Array(QUADS)},
    "Redact": {"QuadPoints": Array(QUADS)}, "Text": {"Contents": String("x")}, "PrinterMark": {}, "TrapNet": {},
    "Projection": {}, "Unknown": {},
}  # fmt: skip
COLOURS = {"F": 4, "C": Array([0, 0, 0]), "IC": Array([0, 0, 0])}
OWN_LOOK = {
    "FreeText", "Line", "Square", "Circle", "Polygon", "PolyLine", "Underline", "Squiggly", "StrikeOut", "Stamp", "Caret",
    "Ink", "Watermark",
}  # fmt: skip
SEEN = {"Line", "Polygon", "PolyLine", "Stamp", "Squiggly", "Text", "FreeText"}
"""Of those without a look, the ones that poppler and pdfium draw differently."""

BAD: dict[str, tuple[Change, bool]] = {
    **{f"{kind}_without_a_look": (note(kind, **COLOURS, **more), kind in SEEN) for kind, more in BARE.items()},
    **{f"{kind}_with_a_look": (note(kind, **COLOURS, **BARE[kind], AP=look), kind == "Highlight")
       for kind in sorted(BARE.keys() - OWN_LOOK)},
    **{f"flags_{flags}": (note("Stamp", F=flags, AP=look), False)
       for flags in (0, 1, 5, 12, 20, 32, 36, 64, 256, 260, 292, -4, 1 << 20 | 4, Decimal("4.0"), True)},
    "link_with_a_wide_frame": (note("Link", F=4, C=Array([1, 1, 1]), Border=Array([0, 0, 20])), True),
    "link_with_the_frame_of_nothing_said": (note("Link", F=4), False),
    "link_with_a_style": (note("Link", Border=Array([0, 0, 0]), BS=Dictionary(W=14), C=Array([0, 0, 0])), True),
    "link_with_a_look": (note("Link", F=4, Border=Array([0, 0, 0]), AP=look), False),
    "note_that_is_open": (note("Popup", Open=True, Contents=String("x")), False),
    "note_with_a_look": (note("Popup", AP=look), True),
    "watermark_placed_anew_for_print": (note("Watermark", F=4, AP=look, FixedPrint=Dictionary()), False),
    "no_state": (note("Stamp", F=4, AP=states), False),
    "unknown_state": (note("Stamp", F=4, AP=states, AS=Name.Foo), True),
    "state_as_text": (note("Stamp", F=4, AP=states, AS=String("Yes")), True),
    "another_look_under_the_mouse": (note("Stamp", F=4, AP=lambda p: Dictionary(N=look(p).N, R=look(p).N)), False),
    "look_of_no_size": (note("Stamp", F=4, AP=lambda p: look(p, box=(0, 0, 0, 0))), False),
    "flat_rectangle": (note("Stamp", F=4, box=[40, 120, 300, 120], AP=look), False),
    "layer_of_a_note": (note("Stamp", F=4, AP=look, OC=lambda p: p.make_indirect(
        Dictionary(Type=Name.OCG, Name=String("a"), Usage=state("Print", "PrintState", "OFF")))), False),
    "signature_field_with_a_frame": (signature(MK=FRAME), True),
    "signature_field_unknown_to_the_form": (signature(AP=look, listed=False), False),
    "widget_of_no_kind": (note("Widget", T=String("a"), F=4, AP=look), True),
    "field_with_two_parents": (two_kinds_of_parent, False),
    "stamp_over_a_signature": (lambda p: (signature(AP=look)(p), note(
        "Stamp", F=4, AP=lambda q: look(q, b"0 0 0 rg 0 0 300 60 re f"))(p)), True),
    "value_without_a_look": (entry(V=String("mmmmm")), True),
    "value_and_another_look": (entry(V=String("mmmmm"), AP=look), False),
    "look_without_a_value": (entry(AP=look), False),
    "input_with_a_frame": (entry(MK=FRAME), False),
    "choice": (note("Widget", FT=Name.Ch, T=String("c"), F=4, Opt=Array([String("a")])), False),
    "box_to_tick": (note("Widget", FT=Name.Btn, T=String("b"), F=4, AP=states, AS=Name.Yes, V=Name.Off), False),
    "layer_off": (layer(config={"OFF": None}), False),
    "layers_off_unless_said": (layer(config={"BaseState": Name.OFF}), False),
    "layers_as_they_were": (layer(config={"BaseState": Name.Unchanged}), False),
    "layers_without_a_configuration": (lambda p: (layer()(p), p.Root.OCProperties.__delitem__("/D")), False),
    "layer_off_in_another_configuration": (layer(more={"Configs": Array([Dictionary(BaseState=Name.OFF)])}), False),
    "one_of_many_layers": (layer(config={"RBGroups": None}), False),
    "layer_off_for_viewing": (layer(usage=state("View", "ViewState", "OFF")), True),
    "layer_off_for_viewing_undeclared": (layer(usage=state("View", "ViewState", "OFF"), declared=False), True),
    "layer_off_for_printing": (layer(usage=state("Print", "PrintState", "OFF")), False),
    "layer_by_zoom": (layer(usage=Dictionary(Zoom=Dictionary(min=2))), False),
    "layer_if_all_are_off": (layer(rule={"P": Name.AllOff}), False),
    "layer_if_any_is_off": (layer(rule={"P": Name.AnyOff}), False),
    "layer_by_a_formula": (layer(rule={"VE": Array([Name.Not, Array([])])}), True),
    "another_picture_for_print": (alternate, False),
    "form_without_edges": (form_without_edges, True),
    "portfolio": (root(Collection=Dictionary(View=Name.D)), False),
    "shown_beyond_its_edges": (root(ViewerPreferences=Dictionary(ViewArea=Name.MediaBox)), False),
    "annotations_that_are_none": (lambda p: p.pages[0].obj.__setitem__("/Annots", Array([Array([])])), False),
}  # fmt: skip


def blank(pdf: Pdf) -> Dictionary:
    return look(pdf, b"/Tx BMC EMC")


GOOD: dict[str, tuple[Change, tuple[str, ...]]] = {
    **{f"{kind}_with_a_look": (note(kind, **COLOURS, **BARE[kind], AP=look), PRINT) for kind in sorted(OWN_LOOK)},
    "a_state": (note("Stamp", F=4, AP=states, AS=Name.Off), PRINT),
    "locked": (note("Stamp", F=4 | 64 | 128 | 512, AP=look), PRINT),
    "hidden": (note("Stamp", F=6, AP=look), ()),
    "hidden_without_a_look": (note("Polygon", F=2, Vertices=Array(SQUARE), IC=Array([0, 0, 0])), ()),
    "link_of_word": (note("Link", F=4, BS=Dictionary(W=0), StructParent=1), ()),
    "link_of_libreoffice": (note("Link", Border=Array([0, 0, 0]), F=4), ()),
    "note_that_is_shut": (note("Popup", Open=False, Contents=String("x")), ()),
    "empty_signature_field": (signature(), ()),
    "signature_field_with_a_look": (signature(AP=look), ()),
    "signature_nobody_sees": (signature(AP=look, MK=FRAME, box=[0, 0, 0, 0]), ()),
    "signature_over_a_stamp": (lambda p: (note("Stamp", F=4, AP=look)(p), signature(AP=look)(p)), PRINT),
    "signature_beside_a_stamp": (lambda p: (signature(AP=look, box=[40, 20, 140, 60])(p), note("Stamp", F=4, AP=look)(p)), PRINT),
    "empty_input": (entry(), FORM),
    "empty_input_with_a_blank_look": (entry(V=String(""), AP=blank), FORM),
    "layer_on": (layer(), LAYERS),
    "layer_on_by_all_means": (layer(rule={}, usage=Dictionary(
        View=Dictionary(ViewState=Name.ON), Print=Dictionary(PrintState=Name.ON), PageElement=Dictionary(Subtype=Name.BG),
        CreatorInfo=Dictionary(Creator=String("a")))), LAYERS),
}  # fmt: skip


def verdict(document: bytes) -> str | tuple[str, ...]:
    try:
        return inspecting.inspect(document, []).warnings
    except ServiceError as error:
        return error.code


def differ(document: bytes, folder) -> int:
    """Squares of 4 points whose grey is not the same on the phone and in poppler."""
    if shutil.which("pdftoppm") is None:
        live_or_skip("poppler")
    (folder / "a.pdf").write_bytes(document)
    subprocess.run(
        ["pdftoppm", "-scale-to-x", "800", "-scale-to-y", "400", "-png", "-singlefile", folder / "a.pdf", folder / "a"],
        check=True, capture_output=True,
    )  # fmt: skip
    phone = Image.open(io.BytesIO(rendering.pictures(document, [0], 800)[0][0]))
    both = [each.convert("L").resize((100, 50), Image.Resampling.BOX) for each in (phone, Image.open(folder / "a.png"))]
    return sum(value > 40 for value in ImageChops.difference(*both).tobytes())


LETTERS = 4
"""Squares that differ on the same letters, drawn by two readers."""


STRANGERS = pytest.mark.filterwarnings("ignore:This document has 1 form widget")


@STRANGERS
@pytest.mark.parametrize("name", BAD)
def test_what_readers_may_show_differently_is_refused(name, tmp_path) -> None:
    change, seen = BAD[name]
    document = paper(change)
    assert verdict(document) == REFUSED
    if seen:
        assert differ(document, tmp_path) > LETTERS


@STRANGERS
def test_a_widget_on_two_pages_or_without_a_form_is_refused(tmp_path) -> None:
    assert verdict(paper(one_on_two_pages, pages=2)) == REFUSED
    stranger = paper(signature(AP=look, listed=False), form=False)
    assert verdict(stranger) == REFUSED
    assert differ(stranger, tmp_path) > LETTERS  # the phone draws no widget where there is no form


@pytest.mark.parametrize("name", GOOD)
def test_what_is_let_in_looks_the_same_in_both_readers(name, tmp_path) -> None:
    change, warnings = GOOD[name]
    document = paper(change)
    assert verdict(document) == warnings
    assert differ(document, tmp_path) <= LETTERS


def office(pdf: Pdf) -> None:
    """What word processors write beside the words: structure, bookmarks, links into the text and out of it, preferences."""
    page = pdf.pages[0].obj
    note("Link", F=4, BS=Dictionary(W=0), StructParent=0,
         A=Dictionary(S=Name.URI, URI=String("https://vidu.gov.vn")))(pdf)  # fmt: skip
    note("Link", Border=Array([0, 0, 0]), Dest=Array([page, Name.XYZ, 0, 200, 0]))(pdf)
    page.Contents = pdf.make_stream(b"/P <</MCID 0>> BDC " + page.Contents.read_bytes() + b" EMC")
    page.StructParents, page.Tabs, page.Group = 1, Name.S, Dictionary(S=Name.Transparency, CS=Name.DeviceRGB)
    paragraph = pdf.make_indirect(Dictionary(Type=Name.StructElem, S=Name.P, Pg=page, K=0))
    top = pdf.make_indirect(Dictionary(Type=Name.StructTreeRoot, K=paragraph, RoleMap=Dictionary(Standard=Name.P)))
    pdf.Root.StructTreeRoot, pdf.Root.MarkInfo, pdf.Root.Lang = top, Dictionary(Marked=True), String("vi-VN")
    pdf.Root.ViewerPreferences = Dictionary(DisplayDocTitle=True, ViewArea=Name.CropBox)
    pdf.Root.PageMode = Name.UseOutlines
    with pdf.open_outline() as outline:
        outline.root.append(OutlineItem("Mục 1", 0))


def test_an_office_paper_passes_without_a_warning(tmp_path) -> None:
    document = paper(office, form=False)
    assert verdict(document) == ()
    assert differ(document, tmp_path) <= LETTERS


def test_scans_and_our_own_copies_pass_without_a_warning(tmp_path) -> None:
    taken = scan([(210, 297)])
    assert verdict(taken) == ()
    assert verdict(certified(taken, marks()).document) == ()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("asked", [False, True])
async def test_a_paper_we_signed_is_seen_alike_and_its_stamp_is_read(sandbox, signer, tmp_path, asked) -> None:
    """Also where the form asked readers to draw its fields anew: the signed paper does not."""
    document = paper(lambda pdf: pdf.Root.AcroForm.__setitem__("/NeedAppearances", asked))
    for number, place in enumerate(
        (Placement(kind="coordinates", page=0, x=20, y=120, width=200, height=70), Placement(kind="none"))
    ):
        prepared, _ = await prepare(
            sandbox, document, signer.profile, placement=place, signed_at=AT, signer_name=NAME, reason=None,
            timestamp_size=8_000, field=f"Dauso-{number}", stamp=words(),
        )  # fmt: skip
        document = pades.embed(prepared, signer.cms(prepared))
    assert verdict(document) == ()
    assert differ(document, tmp_path) <= 3 * LETTERS  # small letters
    assert NAME in " ".join(rendering.text(document, 0).split())


def test_what_notes_say_is_read_with_the_page_and_what_is_hidden_is_not() -> None:
    def said(pdf: Pdf) -> Dictionary:
        return look(pdf, b"BT /F 20 Tf 5 20 Td (and my house) Tj ET")

    assert rendering.text(paper(note("FreeText", F=4, AP=said)), 0) == "I owe 1 dong, nothing\nand my house"
    assert rendering.text(paper(note("FreeText", F=6, AP=said)), 0) == "I owe 1 dong, nothing"
    assert rendering.text(paper(note("Link", Border=Array([0, 0, 0]))), 0) == "I owe 1 dong, nothing"
