"""Draws a sample original at run time and makes it look scanned: 200 dpi, slightly rotated, noisy, stamped.

For the demo, the bench and tests; no picture of anybody's real paper is kept anywhere.
"""

import io
from functools import cache
from importlib.resources import files

from PIL import Image, ImageDraw, ImageFont

__all__ = ["scan_pages"]

_DPI = 200
_SIZE = (1654, 2339)  # A4 at 200 dpi


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    weight = "Bold" if bold else "Regular"
    folder = files("font_source_serif_pro").joinpath("files")
    return ImageFont.truetype(io.BytesIO(folder.joinpath(f"SourceSerifPro-{weight}.ttf").read_bytes()), size)


_FIRST = [
    ("Họ và tên:", "PHẠM THỊ MẪU"),
    ("Ngày, tháng, năm sinh:", "Ngày 02 tháng 9 năm 2001"),
    ("Giới tính:", "Nữ        Dân tộc: Tày        Quốc tịch: Việt Nam"),
    ("Nơi sinh:", "Trạm y tế xã Mẫu Sơn, tỉnh Ví Dụ"),
    ("Quê quán:", "Xã Mẫu Sơn, tỉnh Ví Dụ"),
    ("Họ và tên mẹ:", "NGUYỄN THỊ VÍ DỤ"),
    ("Họ và tên cha:", "PHẠM VĂN MẪU"),
    ("Người đi đăng ký:", "PHẠM VĂN MẪU (cha)"),
    ("Nơi đăng ký:", "Ủy ban nhân dân xã Mẫu Sơn"),
    ("Ngày đăng ký:", "Ngày 10 tháng 9 năm 2001"),
]


def _page(number: int) -> Image.Image:
    image = Image.new("RGB", _SIZE, (251, 249, 243))
    draw = ImageDraw.Draw(image)
    ink = (28, 28, 36)
    middle = _SIZE[0] // 2
    draw.rectangle((90, 90, _SIZE[0] - 90, _SIZE[1] - 90), outline=(150, 60, 50), width=4)
    draw.text((middle, 190), "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", ink, _font(40, bold=True), anchor="mm")
    draw.text((middle, 245), "Độc lập - Tự do - Hạnh phúc", ink, _font(38, bold=True), anchor="mm")
    draw.line((middle - 230, 278, middle + 230, 278), ink, 2)
    title = "GIẤY KHAI SINH (MẪU TẬP HUẤN)" if number == 1 else "PHẦN GHI CHÚ NHỮNG THAY ĐỔI SAU NÀY"
    draw.text((middle, 400), title, (150, 40, 35), _font(58 if number == 1 else 44, bold=True), anchor="mm")
    if number == 1:
        draw.text((middle, 470), "Số: 45/2001", ink, _font(34), anchor="mm")
        for row, (label, value) in enumerate(_FIRST):
            draw.text((170, 580 + row * 92), label, ink, _font(34), anchor="lm")
            draw.text((590, 580 + row * 92), value, ink, _font(34, bold=True), anchor="lm")
        draw.text((1180, 1600), "TM. ỦY BAN NHÂN DÂN", ink, _font(34, bold=True), anchor="mm")
        draw.text((1180, 1650), "CHỦ TỊCH", ink, _font(34, bold=True), anchor="mm")
        draw.text((1180, 1960), "Lê Văn Thí Dụ", ink, _font(36, bold=True), anchor="mm")
        _stamp(image, (1020, 1800))
    else:
        for row in range(12):
            draw.line((170, 580 + row * 110, _SIZE[0] - 170, 580 + row * 110), (170, 165, 150), 2)
        draw.text(
            (190, 560), "Ngày 12/3/2015: cải chính nơi sinh theo Quyết định số 07/QĐ-UBND.", ink, _font(33), anchor="lm"
        )
        _stamp(image, (1250, 760))
    return image


def _stamp(image: Image.Image, centre: tuple[int, int]) -> None:
    x, y = centre
    red = (196, 46, 40)
    draw = ImageDraw.Draw(image)
    for radius, width in ((140, 7), (105, 3)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=red, width=width)
    draw.text((x, y - 20), "MẪU", red, _font(46, bold=True), anchor="mm")
    draw.text((x, y + 34), "TẬP HUẤN", red, _font(28, bold=True), anchor="mm")


def scan_pages(quality: int = 38) -> list[bytes]:
    """Two JPEG pages, about 70 KB each, as a flatbed scanner at 200 dpi would give them."""
    pages = []
    for number, angle in ((1, 0.6), (2, -0.4)):
        page = _page(number).rotate(angle, resample=Image.Resampling.BICUBIC, fillcolor=(238, 236, 230))
        noise = Image.effect_noise(_SIZE, 22).convert("RGB")
        page = Image.blend(page, noise, 0.045)
        buffer = io.BytesIO()
        page.save(buffer, "JPEG", quality=quality, dpi=(_DPI, _DPI))
        pages.append(buffer.getvalue())
    return pages
