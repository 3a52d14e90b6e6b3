"""From a photograph of the printed page to the page's verdict, as a phone's camera and its browser would take it."""

import io
import subprocess

import pytest
import zxingcpp
from PIL import Image, ImageFilter


def printed(pdf, folder) -> Image.Image:
    """The last page as an office prints it: 200 dpi."""
    subprocess.run(["pdftoppm", "-r", "200", "-png", pdf, str(folder / "page")], check=True)
    return Image.open(max(folder.glob("page*.png"))).convert("RGB")


def photographed(page: Image.Image, *, turn: float, lean: float, blur: float, quality: int) -> bytes:
    """On a table, not quite flat, not quite sharp, with a shadow over one side."""
    table = Image.new("RGB", (page.width + 500, page.height + 500), (150, 140, 128))
    table.paste(page, (250, 250))
    w, h = table.size
    lean_px = lean * w
    leaned = table.transform(
        (w, h), Image.Transform.QUAD, (lean_px, 0, 0, h, w, h - lean_px / 2, w - lean_px * 1.4, lean_px / 3),
        resample=Image.Resampling.BICUBIC, fillcolor=(150, 140, 128),
    )  # fmt: skip
    turned = leaned.rotate(turn, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=(150, 140, 128))
    w, h = turned.size
    shadow = Image.linear_gradient("L").resize((w, h)).point(lambda v: 150 + v * 105 // 255)
    lit = Image.composite(turned, Image.new("RGB", (w, h), (20, 20, 30)), shadow)
    noisy = Image.blend(lit, Image.effect_noise((w, h), 40).convert("RGB"), 0.06)
    out = io.BytesIO()
    noisy.filter(ImageFilter.GaussianBlur(blur)).save(out, "JPEG", quality=quality)
    return out.getvalue()


@pytest.mark.live
@pytest.mark.parametrize(
    "how",
    [
        {"turn": 3.0, "lean": 0.02, "blur": 1.0, "quality": 70},
        {"turn": -11.0, "lean": 0.06, "blur": 1.4, "quality": 55},
        {"turn": 92.0, "lean": 0.04, "blur": 1.2, "quality": 60},
    ],
)
def test_a_photograph_of_the_paper_leads_to_the_checklist(phone, door, papers, tmp_path, how):
    photo = photographed(printed(papers.valid.file, tmp_path), **how)
    seen = [code.text for code in zxingcpp.read_barcodes(Image.open(io.BytesIO(photo)))]
    assert seen == [papers.valid.qr]  # what a camera opens, byte for byte
    page = phone()
    page.goto(f"{door.url}/v#{seen[0].partition('#')[2]}")
    page.locator("#result [data-state=valid]").wait_for()
    by_hand = phone(java_script_enabled=False)
    (tmp_path / "photo.jpg").write_bytes(photo)
    by_hand.goto(f"{door.url}/v")
    by_hand.set_input_files("#file", tmp_path / "photo.jpg")
    by_hand.locator("form[action='/v/file'] button").click()
    by_hand.locator("[data-state=valid]").wait_for()
    text = by_hand.inner_text("body")
    assert papers.valid.code in text
    assert "UBND xã Đường Lâm" in text
