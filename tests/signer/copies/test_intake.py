"""Intake, through the real sandbox: hostile and odd files, made here, become revision 0 or are refused by name."""

import io
import struct
import subprocess
import zlib
from pathlib import Path

import pikepdf
import pypdfium2
import pytest
import pytest_asyncio
from pikepdf import Array, Dictionary, Name, Pdf, pdfa
from PIL import Image

from core.errors import BadInput, ServiceError
from core.sandbox import Sandbox
from signer.copies.intake import Intake, take_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox():
    async with Sandbox(preload=["signer.copies.intake.work:warm"]) as walls:
        yield walls


def picture(form: str, mode: str = "RGB", *, size=(400, 600), colour=RED, **options: object) -> bytes:
    target = io.BytesIO()
    Image.new(mode, size, colour).save(target, form, **options)
    return target.getvalue()


def marked(size=(400, 600)) -> Image.Image:
    """White with a red upper left quarter."""
    image = Image.new("RGB", size, "white")
    image.paste(RED, (0, 0, size[0] // 2, size[1] // 2))
    return image


def document(
    content: bytes = b"1 0 0 rg 20 20 60 60 re f", *, pages: int = 1, box=(0, 0, 200, 300), change=None
) -> bytes:
    pdf = Pdf.new()
    for _ in range(pages):
        page = pdf.add_blank_page(page_size=(box[2] - box[0], box[3] - box[1]))
        page.obj.MediaBox = Array(list(box))
        page.obj.Contents = pdf.make_stream(content)
        page.obj.Resources = Dictionary()
    if change:
        change(pdf)
    target = io.BytesIO()
    pdf.save(target)
    return target.getvalue()


def rendered(data: bytes, page: int = 0) -> Image.Image:
    opened = pypdfium2.PdfDocument(data)
    try:
        return opened[page].render(scale=1).to_pil().convert("RGB")
    finally:
        opened.close()


def near(pixel, colour) -> bool:
    return all(abs(a - b) < 40 for a, b in zip(pixel, colour, strict=True))


def at(image: Image.Image, x: float, y: float):
    """The pixel at fractions of width and height, from the upper left."""
    return image.getpixel((int(image.width * x), int(image.height * y)))


def require_sound(found: Intake, tmp_path: Path) -> None:
    path = tmp_path / "out.pdf"
    path.write_bytes(found.document)
    checked = subprocess.run(["qpdf", "--check", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def refusal(sandbox: Sandbox, *files: bytes) -> str:
    with pytest.raises(ServiceError) as caught:
        await take_in(sandbox, list(files), title="Bản chụp")
    assert caught.value.say("vi") and caught.value.say("en")
    return caught.value.code


def gray16() -> bytes:
    target = io.BytesIO()
    Image.new("I;16", (300, 300), 40_000).save(target, "PNG", dpi=(300, 300))
    return target.getvalue()


IMAGES = {
    "plain": ("jpeg", lambda: picture("JPEG", dpi=(300, 300)), RED),
    "cmyk": ("jpeg", lambda: picture("JPEG", "CMYK", colour=(0, 255, 255, 0), dpi=(300, 300)), RED),
    "grey": ("jpeg", lambda: picture("JPEG", "L", colour=100, dpi=(300, 300)), (100, 100, 100)),
    "alpha": ("png", lambda: picture("PNG", "RGBA", colour=(0, 0, 0, 0), dpi=(300, 300)), WHITE),
    "16 bit": ("png", gray16, (156, 156, 156)),
    "tiff": ("tiff", lambda: picture("TIFF", dpi=(300, 300)), RED),
    "g4": ("tiff", lambda: picture("TIFF", "1", colour=1, compression="group4", dpi=(300, 300)), WHITE),
}


@pytest.mark.parametrize("name", IMAGES)
async def test_an_image_becomes_a_sound_pdfa_page_that_looks_the_same(sandbox, tmp_path, name):
    kind, make, colour = IMAGES[name]
    found = await take_in(sandbox, [make()], title="Bản chụp")
    assert (found.kind, found.pages, found.dpi, found.pdfa, found.warnings) == (kind, 1, 300, "2b", ())
    assert near(at(rendered(found.document), 0.5, 0.5), colour)
    with Pdf.open(io.BytesIO(found.document)) as pdf:
        assert pdfa.check(pdf, "2b").passed
    require_sound(found, tmp_path)


async def test_a_jpeg_keeps_its_own_bytes(sandbox):
    data = picture("JPEG", dpi=(300, 300))
    assert data in (await take_in(sandbox, [data], title="x")).document


async def test_a_jpeg_turned_by_exif_stands_upright(sandbox):
    exif = Image.Exif()
    exif[0x0112] = 6
    target = io.BytesIO()
    marked().save(target, "JPEG", exif=exif, dpi=(300, 300))
    shown = rendered((await take_in(sandbox, [target.getvalue()], title="x")).document)
    assert shown.width > shown.height
    assert near(at(shown, 0.75, 0.25), RED)
    assert near(at(shown, 0.25, 0.25), WHITE)
    assert near(at(shown, 0.75, 0.75), WHITE)


async def test_every_frame_of_a_tiff_is_a_page_in_order(sandbox, tmp_path):
    frames = [Image.new("1", (400, 600), value) for value in (1, 0, 1)]
    target = io.BytesIO()
    frames[0].save(target, "TIFF", save_all=True, append_images=frames[1:], compression="group4", dpi=(200, 200))
    found = await take_in(sandbox, [target.getvalue()], title="x")
    assert (found.pages, found.dpi, found.pdfa) == (3, 200, "2b")
    assert [at(rendered(found.document, n), 0.5, 0.5)[0] for n in range(3)] == [255, 0, 255]
    require_sound(found, tmp_path)


async def test_a_coarse_scan_and_one_of_unknown_resolution_are_warned_about(sandbox):
    low = await take_in(sandbox, [picture("JPEG", dpi=(100, 100))], title="x")
    assert (low.dpi, low.warnings) == (100, ("intake.warn_low_dpi",))
    unknown = await take_in(sandbox, [picture("PNG")], title="x")
    assert (unknown.dpi, unknown.warnings) == (None, ("intake.warn_dpi_unknown",))


def signed_field(pdf: Pdf) -> None:
    value = pdf.make_indirect(Dictionary(Type=Name.Sig, Filter=Name("/Adobe.PPKLite")))
    field = pdf.make_indirect(Dictionary(FT=Name.Sig, T=pikepdf.String("s"), V=value))
    pdf.Root.AcroForm = Dictionary(Fields=Array([field]))


def signed_child(pdf: Pdf) -> None:
    value = pdf.make_indirect(Dictionary(Type=Name.Sig, Filter=Name("/Adobe.PPKLite")))
    child = pdf.make_indirect(Dictionary(T=pikepdf.String("s"), V=value))
    parent = pdf.make_indirect(Dictionary(FT=Name.Sig, T=pikepdf.String("p"), Kids=Array([child])))
    parent.Kids.append(parent)  # a loop, which must not hold the reader
    pdf.Root.AcroForm = Dictionary(Fields=Array([parent]))


def xfa(pdf: Pdf) -> None:
    pdf.Root.AcroForm = Dictionary(Fields=Array([]), XFA=pdf.make_stream(b"<xdp/>"))


def locked() -> bytes:
    target = io.BytesIO()
    with Pdf.open(io.BytesIO(document())) as pdf:
        pdf.save(target, encryption=pikepdf.Encryption(owner="o", user="u"))
    return target.getvalue()


def empty_tree() -> bytes:
    pdf = Pdf.new()
    target = io.BytesIO()
    pdf.save(target)
    return target.getvalue()


def huge_png() -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def noisy(form: str) -> bytes:
    target = io.BytesIO()
    Image.effect_noise((400, 400), 90).save(target, form)
    return target.getvalue()[:-20_000]


REFUSALS = {
    "nothing": (lambda: b"", "intake.empty"),
    "text": (lambda: b"Kinh gui Uy ban nhan dan", "intake.not_a_document"),
    "bytes before the header": (lambda: b"GIF89a\n" + document(), "intake.bytes_outside"),
    "bytes after the end": (lambda: document() + b"PK\x03\x04 more", "intake.bytes_outside"),
    "a password": (locked, "intake.password"),
    "XFA": (lambda: document(change=xfa), "intake.xfa"),
    "a signature": (lambda: document(change=signed_field), "intake.signed"),
    "a signature below a parent field": (lambda: document(change=signed_child), "intake.signed"),
    "301 pages": (lambda: document(pages=301), "intake.too_many_pages"),
    "no page": (empty_tree, "intake.no_pages"),
    "a header of 100 000 squared": (huge_png, "intake.too_many_pixels"),
    "a truncated JPEG": (lambda: noisy("JPEG"), "intake.damaged"),
    "a truncated PNG": (lambda: noisy("PNG"), "intake.damaged"),
    "a PDF of one line": (lambda: b"%PDF-1.7\n%%EOF", "intake.damaged"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_what_cannot_be_copied_is_refused_by_its_own_code(sandbox, name):
    make, code = REFUSALS[name]
    assert await refusal(sandbox, make()) == code


async def test_a_pdf_comes_alone(sandbox):
    assert await refusal(sandbox, document(), document()) == "intake.one_pdf"
    assert await refusal(sandbox) == "intake.empty"


async def test_a_flate_bomb_is_stopped_and_the_next_file_is_served(sandbox):
    # 3 GiB of zeros, packed once and repeated: after a full flush the blocks do not refer to each other
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = b"\x78\xda" + block * 192 + packer.flush() + struct.pack(">HH", (192 * 2**24) % 65521, 1)

    def change(pdf: Pdf) -> None:
        stream = pdf.make_stream(b"")
        stream.write(packed, filter=Name.FlateDecode)
        pdf.pages[0].obj.Contents = stream

    assert await refusal(sandbox, document(change=change)) == "sandbox.limit"
    assert (await take_in(sandbox, [document()], title="x")).pages == 1


async def test_a_plain_pdf_keeps_its_look_and_size(sandbox, tmp_path):
    found = await take_in(sandbox, [document(pages=2)], title="x")
    assert (found.kind, found.pages, found.pdfa, found.removed) == ("pdf", 2, None, ())
    shown = rendered(found.document, 1)
    assert shown.size == (200, 300)
    assert near(shown.getpixel((50, 250)), RED)
    assert near(shown.getpixel((150, 50)), WHITE)
    require_sound(found, tmp_path)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
async def test_a_turned_and_cropped_page_looks_as_before(sandbox, tmp_path, turn):
    def change(pdf: Pdf) -> None:
        pdf.pages[0].obj.Rotate = turn
        pdf.pages[0].obj.CropBox = Array([10, 20, 150, 240])

    before = document(b"1 0 0 rg 10 20 60 60 re f 0 0 1 rg 90 180 60 60 re f", change=change)
    found = await take_in(sandbox, [before], title="x")
    old, new = rendered(before), rendered(found.document)
    assert new.size == old.size == ((140, 220) if turn in {0, 180} else (220, 140))
    for x in (0.1, 0.5, 0.9):
        for y in (0.1, 0.5, 0.9):
            assert near(at(new, x, y), at(old, x, y))
    with Pdf.open(io.BytesIO(found.document)) as pdf:
        assert pdf.pages[0].obj.Rotate == 0 and "/CropBox" not in pdf.pages[0].obj
    require_sound(found, tmp_path)


@pytest.mark.parametrize("extra", [b"", b"Q Q Q Q Q ", b"Q Q q q "])
async def test_what_was_outside_stays_invisible_when_the_box_is_enlarged(sandbox, tmp_path, extra):
    def change(pdf: Pdf) -> None:
        pdf.pages[0].obj.CropBox = Array([0, 0, 100, 100])

    content = extra + b"1 0 0 rg 20 20 40 40 re f 0 0 1 rg 120 120 60 60 re f"
    found = await take_in(sandbox, [document(content, change=change)], title="x")
    with Pdf.open(io.BytesIO(found.document)) as pdf:
        pdf.pages[0].obj.MediaBox = Array([0, 0, 200, 300])
        target = io.BytesIO()
        pdf.save(target)
    shown = rendered(target.getvalue())
    assert near(shown.getpixel((40, 260)), RED)
    assert near(shown.getpixel((150, 150)), WHITE)
    require_sound(found, tmp_path)


async def test_an_annotation_becomes_part_of_the_page(sandbox, tmp_path):
    def change(pdf: Pdf) -> None:
        look = pdf.make_stream(b"0 0 1 rg 0 0 50 50 re f", Type=Name.XObject, Subtype=Name.Form)
        look.BBox = Array([0, 0, 50, 50])
        note = Dictionary(
            Type=Name.Annot, Subtype=Name.Stamp, Rect=Array([120, 200, 170, 250]), F=4, AP=Dictionary(N=look),
            A=Dictionary(S=Name.JavaScript, JS=pikepdf.String("app.alert(1)")),
        )  # fmt: skip
        pdf.pages[0].obj.Annots = Array([pdf.make_indirect(note)])

    found = await take_in(sandbox, [document(change=change)], title="x")
    assert found.removed == ("annotation_actions", "annotations_flattened")
    assert near(rendered(found.document).getpixel((145, 75)), BLUE)
    with Pdf.open(io.BytesIO(found.document)) as pdf:
        assert "/Annots" not in pdf.pages[0].obj
    assert b"app.alert" not in found.document
    require_sound(found, tmp_path)


async def test_a_hidden_layer_stays_hidden(sandbox, tmp_path):
    def change(pdf: Pdf) -> None:
        layer = pdf.make_indirect(Dictionary(Type=Name.OCG, Name=pikepdf.String("hidden")))
        pdf.Root.OCProperties = Dictionary(OCGs=Array([layer]), D=Dictionary(OFF=Array([layer]), Order=Array([layer])))
        pdf.pages[0].obj.Resources = Dictionary(Properties=Dictionary(L=layer))

    content = b"1 0 0 rg 20 20 60 60 re f /OC /L BDC 0 0 1 rg 120 200 60 60 re f EMC"
    before = document(content, change=change)
    assert near(rendered(before).getpixel((150, 70)), WHITE)
    found = await take_in(sandbox, [before], title="x")
    shown = rendered(found.document)
    assert "layers_flattened" in found.removed
    assert near(at(shown, 0.25, 0.83), RED)
    assert near(at(shown, 0.75, 0.23), WHITE)
    require_sound(found, tmp_path)


async def test_actions_scripts_and_attachments_are_taken_out_and_named(sandbox, tmp_path):
    def change(pdf: Pdf) -> None:
        script = Dictionary(S=Name.JavaScript, JS=pikepdf.String("app.alert(1)"))
        pdf.Root.OpenAction = script
        pdf.Root.AA = Dictionary(WC=script)
        pdf.attachments["a.exe"] = b"MZ"
        pdf.Root.Names.JavaScript = Dictionary(Names=Array([pikepdf.String("x"), script]))

    before = document(change=change)
    assert b"app.alert" in before and b"EmbeddedFile" in before
    found = await take_in(sandbox, [before], title="x")
    assert set(found.removed) >= {"open_action", "actions", "names_scripts_attachments"}
    with Pdf.open(io.BytesIO(found.document)) as pdf:
        assert not {"/OpenAction", "/AA", "/Names", "/AF"} & set(pdf.Root.keys())
    for word in (b"JavaScript", b"app.alert", b"EmbeddedFile"):
        assert word not in found.document
    require_sound(found, tmp_path)


@pytest.mark.parametrize("layered", [False, True])
async def test_an_annotation_of_a_hidden_layer_stays_hidden(sandbox, layered):
    def change(pdf: Pdf) -> None:
        layer = pdf.make_indirect(Dictionary(Type=Name.OCG, Name=pikepdf.String("hidden")))
        look = pdf.make_stream(b"0 0 1 rg 0 0 50 50 re f", Type=Name.XObject, Subtype=Name.Form)
        look.BBox = Array([0, 0, 50, 50])
        note = Dictionary(
            Type=Name.Annot, Subtype=Name.Stamp, Rect=Array([120, 200, 170, 250]), F=4, AP=Dictionary(N=look)
        )
        if layered:
            note.OC = layer
        else:
            note.F = 2  # hidden by its own flag
        pdf.Root.OCProperties = Dictionary(OCGs=Array([layer]), D=Dictionary(OFF=Array([layer]), Order=Array([layer])))
        pdf.pages[0].obj.Annots = Array([pdf.make_indirect(note)])

    before = document(change=change)
    shown = rendered((await take_in(sandbox, [before], title="x")).document)
    assert near(at(shown, 0.25, 0.83), RED)
    assert near(at(shown, 0.725, 0.25), WHITE)


async def test_a_photograph_from_a_phone_is_decoded_behind_the_walls(sandbox):
    data = (Path(__file__).parents[2] / "assets" / "phone.heic").read_bytes()
    taken = await take_in(sandbox, [data], title="x")
    assert (taken.kind, taken.pages) == ("heic", 1)
    with pikepdf.open(io.BytesIO(taken.document)) as pdf:
        assert pdf.pages[0].mediabox[2] > pdf.pages[0].mediabox[3]


@pytest.mark.parametrize("revision", [2, 3, 4, 6])
async def test_a_pdf_that_is_encrypted_without_a_password_is_taken_in_the_clear(sandbox, revision):
    made = io.BytesIO()
    with pikepdf.new() as pdf:
        pdf.add_blank_page(page_size=(595, 842))
        how = pikepdf.Encryption(owner="x", user="", R=revision, aes=revision >= 4, metadata=revision >= 4)
        pdf.save(made, encryption=how)
    taken = await take_in(sandbox, [made.getvalue()], title="x")
    with pikepdf.open(io.BytesIO(taken.document)) as pdf:
        assert not pdf.is_encrypted


async def test_a_pdf_that_was_cut_short_is_called_damaged(sandbox):
    with pytest.raises(BadInput, match=r"intake\.damaged"):
        await take_in(sandbox, [document()[:-60]], title="x")


@pytest.mark.parametrize(("pixels", "warned"), [(1654, False), (827, True)])
async def test_a_scan_inside_a_pdf_says_its_resolution(sandbox, pixels, warned):
    picture = io.BytesIO()
    Image.new("L", (pixels, round(pixels * 1.414)), 255).save(picture, "JPEG")
    made = io.BytesIO()
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595.32, 841.68))
        image = pdf.make_stream(picture.getvalue())
        image.Type, image.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
        image.Width, image.Height = pixels, round(pixels * 1.414)
        image.ColorSpace, image.BitsPerComponent = pikepdf.Name.DeviceGray, 8
        image.Filter = pikepdf.Name.DCTDecode
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=image))
        page.Contents = pdf.make_stream(b"q 595.32 0 0 841.68 0 0 cm /I Do Q")
        pdf.save(made)
    taken = await take_in(sandbox, [made.getvalue()], title="x")
    assert abs(taken.dpi - pixels / 8.27) < 2
    assert ("intake.warn_low_dpi" in taken.warnings) is warned


@pytest.mark.parametrize("packing", ["JBIG2Decode", "FlateDecode", "CCITTFaxDecode", "JPXDecode", "DCTDecode"])
async def test_a_picture_inside_a_pdf_that_would_unpack_to_a_wall_is_refused_from_its_size(sandbox, packing):
    def change(pdf: Pdf) -> None:
        image = pdf.make_stream(b"")
        image.write(b"\0" * 64, filter=Name("/" + packing))
        image.Type, image.Subtype = Name.XObject, Name.Image
        image.Width, image.Height = 100_000, 100_000
        image.ColorSpace, image.BitsPerComponent = Name.DeviceGray, 1
        pdf.pages[0].obj.Resources = Dictionary(XObject=Dictionary(I=image))
        pdf.pages[0].obj.Contents = pdf.make_stream(b"/I Do")

    assert await refusal(sandbox, document(change=change)) == "intake.too_many_pixels"


async def test_an_archive_is_no_document(sandbox):
    import zipfile

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(10_000_000))
    assert await refusal(sandbox, target.getvalue()) == "intake.not_a_document"
