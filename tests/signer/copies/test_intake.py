"""Intake, through the real sandbox: hostile and odd files, made here, become revision 0 or are refused by name."""

import io
import subprocess
from pathlib import Path

import pikepdf
import pypdfium2
import pytest
import pytest_asyncio
from pikepdf import Array, Dictionary, Name, Pdf, pdfa
from PIL import Image

from core.errors import ServiceError
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
