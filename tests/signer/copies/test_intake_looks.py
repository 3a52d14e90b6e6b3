"""What intake writes looks as it looked, and carries nothing beside the look."""

import io

import pikepdf
import pypdfium2
import pytest
from pikepdf import Array, Dictionary, Name
from PIL import Image, ImageChops

from core.errors import Refused
from signer.copies.intake import work


def take(*files):
    facts, document = work.normalise(b"".join(files), {"sizes": [len(f) for f in files], "title": "x"})
    return facts, document


def look(data):
    return pypdfium2.PdfDocument(data)[0].render(scale=1).to_pil().convert("RGB")


def saved(pdf):
    target = io.BytesIO()
    pdf.save(target)
    return target.getvalue()


def shaded(turn):
    pdf = pikepdf.new()
    page = pdf.add_blank_page(page_size=(300, 200))
    function = Dictionary(FunctionType=2, Domain=[0, 1], C0=[1, 0, 0], C1=[0, 0, 1], N=1)
    shading = Dictionary(ShadingType=2, ColorSpace=Name.DeviceRGB, Coords=[0, 0, 300, 0], Function=function)
    page.Resources = Dictionary(Pattern=Dictionary(P=Dictionary(Type=Name.Pattern, PatternType=2, Shading=shading)))
    page.Contents = pdf.make_stream(b"/Pattern cs /P scn 0 0 300 200 re f")
    page.Rotate = turn
    return saved(pdf)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_shading_turns_with_its_page(turn):
    before = shaded(turn)
    _, after = take(before)
    difference = ImageChops.difference(look(before), look(after))
    assert look(after).size == look(before).size
    assert max(high for _, high in difference.getextrema()) <= 3


def test_a_photo_keeps_its_picture_and_loses_place_maker_and_tail():
    image = Image.linear_gradient("L").convert("RGB")
    exif = Image.Exif()
    exif[0x010F] = "MAKERNAME"
    exif[0x0112] = 6
    target = io.BytesIO()
    image.save(target, "JPEG", exif=exif, comment=b"A COMMENT", quality=90)
    photo = target.getvalue()
    assert b"MAKERNAME" in photo
    _, document = take(photo + b"HIDDEN TAIL")
    with pikepdf.open(io.BytesIO(document)) as pdf:
        stored = pdf.pages[0].Resources.XObject.I.read_raw_bytes()
    assert not [w for w in (b"MAKERNAME", b"A COMMENT", b"HIDDEN TAIL") if w in stored]
    assert Image.open(io.BytesIO(stored)).tobytes() == Image.open(io.BytesIO(photo)).tobytes()


def test_a_second_picture_behind_the_first_is_dropped_and_progressive_scans_stay_whole():
    one, two = io.BytesIO(), io.BytesIO()
    image = Image.radial_gradient("L").convert("RGB")
    image.save(one, "JPEG", progressive=True, quality=80)
    Image.new("RGB", (50, 50), "red").save(two, "JPEG")
    _, document = take(one.getvalue() + two.getvalue())
    with pikepdf.open(io.BytesIO(document)) as pdf:
        stored = pdf.pages[0].Resources.XObject.I.read_raw_bytes()
    assert len(stored) <= len(one.getvalue())
    assert Image.open(io.BytesIO(stored)).tobytes() == Image.open(one).tobytes()


def test_a_turned_cmyk_photo_stands_upright():
    image = Image.new("CMYK", (80, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    target = io.BytesIO()
    image.save(target, "JPEG", exif=exif)
    shown = look(take(target.getvalue())[1])
    assert shown.height > shown.width


def test_the_same_scan_gives_the_same_bytes():
    target = io.BytesIO()
    Image.new("RGB", (90, 90), "white").save(target, "PNG")
    assert take(target.getvalue())[1] == take(target.getvalue())[1]


def test_another_picture_for_print_is_taken_out():
    pdf = pikepdf.new()
    page = pdf.add_blank_page(page_size=(100, 100))

    def image(level):
        return pdf.make_stream(
            bytes([level]), Type=Name.XObject, Subtype=Name.Image, Width=1, Height=1, BitsPerComponent=8,
            ColorSpace=Name.DeviceGray,
        )  # fmt: skip

    shown = image(0)
    shown.Alternates = Array([Dictionary(Image=pdf.make_indirect(image(255)), DefaultForPrinting=True)])
    page.Resources = Dictionary(XObject=Dictionary(I=shown))
    page.Contents = pdf.make_stream(b"100 0 0 100 0 0 cm /I Do")
    facts, document = take(saved(pdf))
    assert "alternate_images" in facts["removed"]
    assert b"/Alternates" not in document


def test_a_signature_that_no_field_list_names_is_still_a_signature():
    pdf = pikepdf.new()
    page = pdf.add_blank_page(page_size=(100, 100))
    value = pdf.make_indirect(Dictionary(Type=Name.Sig))
    widget = Dictionary(Type=Name.Annot, Subtype=Name.Widget, FT=Name.Sig, Rect=[0, 0, 9, 9], V=value)
    page.Annots = Array([pdf.make_indirect(widget)])
    with pytest.warns(UserWarning, match="not reachable from /AcroForm"):
        hidden = saved(pdf)
    with pytest.raises(Refused, match=r"intake\.signed"):
        take(hidden)
