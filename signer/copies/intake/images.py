"""Images to PDF/A-2b pages. JPEG passes through losslessly; everything else is decoded and packed again without alpha."""

import io
import re
import struct
import zlib
from dataclasses import dataclass
from decimal import Decimal

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from core.errors import BadInput
from core.limits import LIMITS

__all__ = ["PageImage", "read", "require_pixels", "sniff", "warm_heic", "write"]

_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
_A4 = (595.276, 841.89)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageImage:
    """One page: encoded samples and how to place them."""

    width: int
    height: int
    data: bytes
    filter: str
    """``DCTDecode`` or ``FlateDecode``."""
    colour: str
    """``DeviceRGB`` or ``DeviceGray``."""
    orientation: int
    """EXIF 1–8, applied by the page's matrix."""
    dpi: int | None


def sniff(data: bytes) -> str:
    """What the bytes claim to be. Raises ``intake.not_a_document``, ``intake.bytes_outside``."""
    if data.startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data[:4] in {b"II*\0", b"MM\0*"}:
        return "tiff"
    if data[4:8] == b"ftyp" and data[8:12] in {b"heic", b"heix", b"mif1", b"msf1", b"hevc"}:
        return "heic"
    if b"%PDF-" in data[:1024]:
        raise BadInput("intake.bytes_outside")
    raise BadInput("intake.not_a_document")


def read(data: bytes) -> list[PageImage]:
    """All pages of one image file. Raises ``intake.*``."""
    kind = sniff(data)
    _require_header(kind, data)
    if kind == "heic":
        warm_heic()
    Image.MAX_IMAGE_PIXELS = None  # our own limit is asked first, from the header
    try:
        with Image.open(io.BytesIO(data), formats=("HEIF",) if kind == "heic" else (kind.upper(),)) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > LIMITS["intake.pages"]:
                raise BadInput("intake.too_many_pages", most=LIMITS["intake.pages"])
            pages = []
            for frame in range(frames if kind == "tiff" else 1):
                image.seek(frame)
                require_pixels(*image.size)
                pages.append(_jpeg(image, data) if kind == "jpeg" else _packed(image))
            return pages
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        KeyError,
        struct.error,
        UnidentifiedImageError,
        zlib.error,
    ) as error:
        raise BadInput("intake.damaged") from error


def _require_header(kind: str, data: bytes) -> None:
    """Size from the header before anything is decoded."""
    if kind == "png" and len(data) >= 24:
        require_pixels(*struct.unpack(">II", data[16:24]))


def require_pixels(width: int, height: int) -> None:
    """Asked before anything is decoded. Raises ``intake.too_many_pixels``, ``intake.damaged``."""
    if width < 1 or height < 1:
        raise BadInput("intake.damaged")
    if width * height > LIMITS["intake.pixels"] or max(width, height) > 60_000:
        raise BadInput("intake.too_many_pixels", most=LIMITS["intake.pixels"] // 1_000_000)


def _dpi(image: Image.Image) -> int | None:
    try:
        x, y = image.info.get("dpi", (0, 0))
        value = round(min(float(x), float(y)))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return value if 50 <= value <= 2400 else None


def _jpeg(image: Image.Image, data: bytes) -> PageImage:
    """As it is, unless its colours are not what PDF/A's sRGB intent covers."""
    if image.mode not in {"RGB", "L"}:
        return _encoded(ImageOps.exif_transpose(image).convert("RGB"), image)
    image.load()  # a truncated file is found here, not by a citizen's viewer
    orientation = int(image.getexif().get(0x0112, 1))
    return PageImage(
        width=image.width, height=image.height, data=_bare(data), filter="DCTDecode",
        colour="DeviceRGB" if image.mode == "RGB" else "DeviceGray",
        orientation=orientation if 1 <= orientation <= 8 else 1, dpi=_dpi(image),
    )  # fmt: skip


def _bare(data: bytes) -> bytes:
    """The same picture without EXIF, comments and what follows its end: places and device owners are nobody's business.

    Segments as in ITU T.81 annex B. Kept: everything but APP1–APP13, APP15 and COM (APP0 is JFIF, APP14 says the colours).
    """
    kept, at = [data[:2]], 2
    while True:
        found = _MARKER.match(data, at)
        if found is None:
            raise BadInput("intake.damaged")
        marker, at = data[found.end() - 1], found.end()
        if marker == 0xD9:
            return b"".join(kept) + b"\xff\xd9"
        size = int.from_bytes(data[at : at + 2], "big")
        if not (0xE1 <= marker <= 0xED or marker in {0xEF, 0xFE}):
            kept.append(b"\xff" + data[at - 1 : at + size])
        at += size
        if marker == 0xDA:  # coded data runs to the next marker that is neither stuffing nor a restart
            after = _MARKER.search(data, at)
            end = len(data) if after is None else after.start()
            kept.append(data[at:end])
            if after is None:  # some scanners leave the end marker out; the decoder has read the picture whole
                return b"".join(kept) + b"\xff\xd9"
            at = end


def _srgb() -> bytes:
    """The profile with a fixed making time: the same scan gives the same bytes."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    return bytes(profile)


def _encoded(rgb: Image.Image, source: Image.Image) -> PageImage:
    target = io.BytesIO()
    rgb.save(target, "JPEG", quality=92)
    return PageImage(
        width=rgb.width, height=rgb.height, data=target.getvalue(), filter="DCTDecode", colour="DeviceRGB",
        orientation=1, dpi=_dpi(source),
    )  # fmt: skip


def _packed(image: Image.Image) -> PageImage:
    dpi = _dpi(image)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16") or upright.mode == "I":
        upright = upright.point(lambda v: v / 256).convert("L")
    if "A" in upright.getbands() or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright).convert("RGB")
    if upright.mode not in {"L", "RGB"}:
        upright = upright.convert("L" if upright.mode == "1" else "RGB")
    return PageImage(
        width=upright.width, height=upright.height, data=zlib.compress(upright.tobytes(), 6), filter="FlateDecode",
        colour="DeviceRGB" if upright.mode == "RGB" else "DeviceGray", orientation=1, dpi=dpi,
    )  # fmt: skip


def write(pages: list[PageImage], title: str) -> tuple[bytes, str | None]:
    """PDF/A-2b; the second value is ``2b`` only where pikepdf's gate finds nothing."""
    pdf = Pdf.new()
    for page in pages:
        _add(pdf, page)
    profile = pdf.make_stream(_srgb(), {"/N": 3})
    intent = Dictionary(
        Type=Name.OutputIntent,
        S=Name.GTS_PDFA1,
        OutputConditionIdentifier=pikepdf.String("sRGB"),
        DestOutputProfile=profile,
    )
    pdf.Root.OutputIntents = Array([pdf.make_indirect(intent)])
    with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as meta:
        meta["pdfaid:part"] = "2"
        meta["pdfaid:conformance"] = "B"
        meta["dc:title"] = title[:200] or "Bản chụp"
    target = io.BytesIO()
    pdf.save(target, object_stream_mode=pikepdf.ObjectStreamMode.disable, linearize=False, deterministic_id=True)
    document = target.getvalue()
    return document, "2b" if _gate_is_clean(document) else None


def _gate_is_clean(document: bytes) -> bool:
    try:
        from pikepdf import pdfa  # noqa: PLC0415

        with Pdf.open(io.BytesIO(document)) as pdf:
            return bool(pdfa.check(pdf, "2b").passed)
    except Exception:  # noqa: BLE001  (a gate that cannot judge says no)
        return False


def _add(pdf: Pdf, page: PageImage) -> None:
    turned = page.orientation >= 5
    wide, high = (page.height, page.width) if turned else (page.width, page.height)
    if page.dpi:
        width, height = wide * 72 / page.dpi, high * 72 / page.dpi
    else:
        room = _A4 if high >= wide else (_A4[1], _A4[0])
        scale = min(room[0] / wide, room[1] / high)
        width, height = wide * scale, high * scale
    image = pdf.make_stream(
        page.data,
        Type=Name.XObject, Subtype=Name.Image, Width=page.width, Height=page.height, BitsPerComponent=8,
        ColorSpace=Name("/" + page.colour), Filter=Name("/" + page.filter),
    )  # fmt: skip
    w, h = width, height
    matrix = {
        1: (w, 0, 0, h, 0, 0), 2: (-w, 0, 0, h, w, 0), 3: (-w, 0, 0, -h, w, h), 4: (w, 0, 0, -h, 0, h),
        5: (0, -h, -w, 0, w, h), 6: (0, -h, w, 0, 0, h), 7: (0, h, w, 0, 0, 0), 8: (0, h, -w, 0, w, 0),
    }[page.orientation]  # fmt: skip
    content = f"q {' '.join(f'{v:.4f}' for v in matrix)} cm /I Do Q".encode()
    made = pdf.add_blank_page(page_size=(Decimal(f"{width:.3f}"), Decimal(f"{height:.3f}")))
    made.Contents = pdf.make_stream(content)
    made.Resources = Dictionary(XObject=Dictionary(I=image))


def warm_heic() -> None:
    """Make Pillow know HEIC (decoding only)."""
    import pi_heif  # noqa: PLC0415

    # one thread, since the sandbox forbids more; only the picture itself is wanted
    pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
