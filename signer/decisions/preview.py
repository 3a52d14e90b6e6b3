"""Samples to look at before anybody agrees: the printed page, and the seal beside a ruler. Drawn in the sandbox.

The page is composed by the same code as a real one, on an empty low sheet, with a code that leads nowhere and *MẪU · SAMPLE*
across it, so that no sample can pass for a copy.
"""

import asyncio
import io
import zlib
from functools import cache
from importlib.resources import files
from typing import Any, Final

import pikepdf
import pypdfium2
from PIL import Image, ImageDraw, ImageFont

from core.clock import VIETNAM
from core.directory.model import Agency
from core.values import Realm, Regime
from signer.copies import qr
from signer.copies.compose import CERTIFIER, SEAL, Marks, compose
from signer.copies.pictures import sample_seal, sample_signature
from signer.copies.wording import Wording
from signer.decisions.room import Room
from signer.formats.pades import Appearance

__all__ = ["draw_page", "draw_seal", "page_picture", "seal_picture", "warm"]

MM: Final = 72 / 25.4
_RULER_MM: Final = 50
_DPMM: Final = 12
_INK: Final = (20, 20, 20, 255)
_CODE: Final = "MAU0-0000-0000-0000"


# ------------------------------------------------------------------------------------------------- what callers use
async def page_picture(
    room: Room, agency: Agency, wording: dict[str, Any], seal: str, regime: Regime, width: int
) -> bytes:
    """The last page as it would be printed, as WebP ``width`` pixels wide (300 to 2000).

    ``wording``: all overrides; ``seal``: name of the seal's PNG, empty for none. In realm training the drawn seal stands
    in its place, as on real training papers.
    """
    drawn = agency.realm is Realm.TRAINING
    png = await _png(room, agency, seal, Wording.of(wording).seal_diameter_mm)
    arguments = {
        "wording": wording, "agency": agency.name, "parent": agency.parent, "host": room.host, "system": room.system,
        "regime": regime.value, "training": drawn, "width": max(300, min(width, 2000)),
        "day": [int(part) for part in f"{room.clock.now().astimezone(VIETNAM):%d-%m-%Y}".split("-")],
    }  # fmt: skip
    return (await room.sandbox.run(draw_page, png, arguments))[1]


async def seal_picture(room: Room, agency: Agency, seal: str, tenths: int) -> bytes:
    """The seal at its size beside a ruler of 50 mm, as WebP of 58 × 58 mm. ``tenths``: its diameter in tenths of a mm."""
    png = await _png(room, agency, seal, tenths / 10)
    return (await room.sandbox.run(draw_seal, png, {"tenths": tenths}))[1]


async def _png(room: Room, agency: Agency, seal: str, millimetres: float) -> bytes:
    """The agency's own picture; in realm training the drawn one. Nothing of a stranger is read here."""
    if agency.realm is not Realm.TRAINING:
        return await room.documents.get(seal) if seal else b""
    return await asyncio.to_thread(_drawn, agency.name, millimetres)


def _drawn(agency: str, millimetres: float) -> bytes:
    out = io.BytesIO()
    _image(sample_seal(agency, millimetres)).save(out, "PNG")
    return out.getvalue()


# --------------------------------------------------------------------------------------------------- in the sandbox
def warm() -> None:
    """Everything once, so that a child finds it loaded behind its walls."""
    arguments = {
        "wording": {}, "agency": "A", "parent": "P", "host": "h.vn", "system": "S", "regime": "certified_copy",
        "training": True, "width": 300, "day": [1, 1, 2026],
    }  # fmt: skip
    seal = _drawn("A", 36.0)
    draw_page(seal, arguments)
    draw_seal(seal, {"tenths": 360})


def draw_page(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """``payload``: the seal's PNG or nothing. Returns the picture's size and the picture."""
    wording = Wording.of(arguments["wording"])
    regime = Regime(arguments["regime"])
    composed = compose(_empty(), _marks(wording, regime, arguments))
    document = pypdfium2.PdfDocument(composed.document)
    page = document[composed.page]
    scale = arguments["width"] / page.get_width()
    image = page.render(scale=scale).to_pil().convert("RGBA")
    left, _, _, top = page.get_mediabox()
    document.close()
    seal = _seal(payload)
    signature = _image(sample_signature("Nguyễn Văn Mẫu"))
    drawn = {CERTIFIER: signature, SEAL: seal if wording.show_seal else None}
    for field, picture in drawn.items():
        if picture is None or field not in composed.fields:
            continue
        x0, y0, x1, y1 = composed.fields[field]
        size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        image.alpha_composite(picture.resize(size), (round((x0 - left) * scale), round((top - y1) * scale)))
    _sample(image)
    return {"width": image.width, "height": image.height}, _webp(image)


def draw_seal(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """``payload``: the seal's PNG or nothing."""
    side = (_RULER_MM + 8) * _DPMM
    image = Image.new("RGBA", (side, side), (255, 255, 255, 255))
    millimetres = arguments["tenths"] / 10
    seal = _seal(payload)
    if seal is not None:
        diameter = round(millimetres * _DPMM)
        image.alpha_composite(seal.resize((diameter, diameter), Image.Resampling.LANCZOS), (5 * _DPMM, 5 * _DPMM))
    _ruler(image)
    return {"width": side, "height": side}, _webp(image)


def _empty() -> bytes:
    pdf = pikepdf.new()
    pdf.add_blank_page(page_size=(210 * MM, 110 * MM))  # the marks stay as large as on a full sheet
    out = io.BytesIO()
    pdf.save(out)
    return out.getvalue()


def _marks(wording: Wording, regime: Regime, arguments: dict[str, Any]) -> Marks:
    day, month, year = arguments["day"]
    number, book = wording.number_text(1523), wording.book_text(1, year, wording.book_kind)
    date = wording.attestation_date.format(day=f"{day:02d}", month=f"{month:02d}", year=year)
    lines = (wording.attestation_number.format(number=number, book=book), date)
    if regime is not Regime.CERTIFIED_COPY:
        lines = (arguments["agency"], f"{day:02d}/{month:02d}/{year} 09:15:30 +07:00")
    access = (wording.access_line.format(code=_CODE),) if wording.access_code else ()
    return Marks(
        regime=regime, attestation=(wording.title(regime), *lines), capacity="TUQ. CHỦ TỊCH",
        certifier="Nguyễn Văn Mẫu",
        qr=qr.vector_path(qr.matrix(f"https://{arguments['host'] or 'localhost'}/v#MAU"), 35 * MM),
        qr_lines=(
            wording.check_at.format(host=arguments["host"]), wording.code_line.format(code=_CODE), *access,
            wording.system_line.format(system=arguments["system"], parent=arguments["parent"]), wording.trust_line,
        ),
        footer=wording.footer.replace("{code}", _CODE),
        training="TẬP HUẤN · TRAINING · không có giá trị pháp lý" if arguments["training"] else "",
        layout=wording.layout, seal_diameter=wording.seal_diameter_mm * MM,
    )  # fmt: skip


def _seal(payload: bytes) -> Image.Image | None:
    if not payload:
        return None
    with Image.open(io.BytesIO(payload), formats=("PNG",)) as found:
        return found.convert("RGBA")


def _image(look: Appearance) -> Image.Image:
    size = look.width_px, look.height_px
    image = Image.frombytes("RGB", size, zlib.decompress(look.rgb)).convert("RGBA")
    if look.alpha is not None:
        image.putalpha(Image.frombytes("L", size, zlib.decompress(look.alpha)))
    return image


@cache
def _typeface() -> bytes:
    """Read once, before the walls stand."""
    return files("font_source_serif_pro").joinpath("files/SourceSerifPro-Bold.ttf").read_bytes()


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO(_typeface()), size)


def _sample(image: Image.Image) -> None:
    """Across the sheet, light enough to read what is under it."""
    font = _font(max(24, image.width // 9))
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    middle = image.width / 2, image.height * 0.3
    ImageDraw.Draw(layer).text(middle, "MẪU · SAMPLE", (160, 30, 30, 70), font, anchor="mm")
    image.alpha_composite(layer)


def _ruler(image: Image.Image) -> None:
    """Millimetres along the top and the left edge, numbers every ten."""
    draw, font, start = ImageDraw.Draw(image), _font(26), 5 * _DPMM
    for millimetre in range(_RULER_MM + 1):
        at = start + millimetre * _DPMM
        long = 30 if millimetre % 10 == 0 else 22 if millimetre % 5 == 0 else 13
        draw.line((at, start - long, at, start), _INK, 2)
        draw.line((start - long, at, start, at), _INK, 2)
        if millimetre % 10 == 0 and millimetre:
            draw.text((at, start - 44), str(millimetre), _INK, font, anchor="mm")
            draw.text((start - 46, at), str(millimetre), _INK, font, anchor="mm")
    draw.line((start, start, start + _RULER_MM * _DPMM, start), _INK, 2)
    draw.line((start, start, start, start + _RULER_MM * _DPMM), _INK, 2)


def _webp(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGB").save(out, "WEBP", quality=82)
    return out.getvalue()
