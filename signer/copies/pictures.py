"""Pictures of hand signatures and seals: an owner's own PNG, or in realm training one drawn at run time.

Training papers never carry a real seal: there the drawn one, with TẬP HUẤN in its middle, is the only one.
"""

import io
import math
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from PIL import Image, ImageDraw, ImageFont

from core.clock import Clock
from core.db import Database, UtcDateTime, metadata, row_by
from core.directory.model import Agency, Person
from core.errors import BadInput
from core.objects import Documents
from core.sandbox import Sandbox
from core.values import Realm
from signer.copies.wording import Wording
from signer.formats.pades import Appearance

__all__ = ["Pictures", "picture_table", "read_png", "sample_seal", "sample_signature"]

_DPMM = 12
_MOST_PIXELS = 4_000_000
picture_table = sa.Table(
    "picture",
    metadata,
    sa.Column("owner", sa.String(26), primary_key=True),
    sa.Column("document", sa.String(64), nullable=False),
    sa.Column("set_at", UtcDateTime, nullable=False),
)
"""The newest PNG of a person's hand signature or an agency's seal, by its owner's id."""


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    data = files("font_source_serif_pro").joinpath("files/SourceSerifPro-Bold.ttf").read_bytes()
    return ImageFont.truetype(io.BytesIO(data), size)


def _appearance(image: Image.Image, ink: tuple[int, int, int]) -> Appearance:
    """One ink everywhere, its cover in the alpha: resampling would leave noise in the colour that packs badly."""
    return Appearance.of(
        width_px=image.width, height_px=image.height, rgb=bytes(ink) * (image.width * image.height),
        alpha=image.getchannel("A").tobytes(),
    )  # fmt: skip


def sample_signature(name: str) -> Appearance:
    """A blue stroke that looks hand-drawn and differs by name."""
    width, height = 48 * _DPMM, 16 * _DPMM
    image = Image.new("RGBA", (width * 2, height * 2), (20, 50, 160, 0))
    draw = ImageDraw.Draw(image)
    seed = sum(ord(c) * (i + 3) for i, c in enumerate(name))
    a, b, c = 2 + seed % 3, 5 + seed % 4, (seed % 100) / 16
    points = []
    for step in range(400):
        t = step / 399
        x = width * 2 * (0.12 + 0.74 * t) + width * 0.16 * math.sin(b * 2 * math.pi * t + c)
        y = height * (1 - 0.62 * (1 - 0.6 * t) * math.sin(a * 2 * math.pi * t + c) * math.cos(b * math.pi * t))
        points.append((x, y))
    for (p, q), step in zip(pairwise(points), range(400), strict=False):
        draw.line((*p, *q), fill=(20, 50, 160, 255), width=7 + int(4 * math.sin(step / 17)))
    draw.line((width * 0.3, height * 1.75, width * 1.7, height * 1.55), fill=(20, 50, 160, 255), width=7)
    return _appearance(image.resize((width, height), Image.Resampling.LANCZOS), (20, 50, 160))


def sample_seal(agency: str, diameter_mm: float) -> Appearance:
    """A round red seal with the agency's name on its rim; says TẬP HUẤN in the middle."""
    side = round(diameter_mm * _DPMM) * 2
    red = (200, 32, 38, 235)
    image = Image.new("RGBA", (side, side), (200, 32, 38, 0))
    draw = ImageDraw.Draw(image)
    middle, outer = side / 2, side / 2 - 6
    for radius, line in ((outer, 16), (outer - 26, 5), (outer * 0.62, 5)):
        draw.ellipse((middle - radius, middle - radius, middle + radius, middle + radius), outline=red, width=line)
    text = agency.upper()
    size = max(34, min(72, int(4.6 * outer / max(len(text), 18))))
    _around(image, text, outer * 0.79, size, red)
    star = []
    for i in range(10):
        radius = outer * (0.24 if i % 2 == 0 else 0.1)
        angle = -math.pi / 2 + i * math.pi / 5
        star.append((middle + radius * math.cos(angle), middle - outer * 0.14 + radius * math.sin(angle)))
    draw.polygon(star, fill=red)
    draw.text((middle, middle + outer * 0.32), "TẬP HUẤN", red, _font(int(outer * 0.19)), anchor="mm")
    return _appearance(image.resize((side // 2, side // 2), Image.Resampling.LANCZOS), red[:3])


def _around(image: Image.Image, text: str, radius: float, size: int, colour: tuple[int, int, int, int]) -> None:
    font = _font(size)
    middle = image.width / 2
    total = sum(font.getlength(c) for c in text) + size * 0.12 * len(text)
    angle = -math.pi / 2 - total / radius / 2
    for letter in text:
        advance = font.getlength(letter) + size * 0.12
        angle += advance / radius / 2
        tile = Image.new("RGBA", (size * 2, size * 2), (*colour[:3], 0))
        ImageDraw.Draw(tile).text((size, size), letter, colour, font, anchor="mm")
        turned = tile.rotate(-math.degrees(angle) - 90, resample=Image.Resampling.BICUBIC)
        x, y = middle + radius * math.cos(angle), middle + radius * math.sin(angle)
        image.alpha_composite(turned, (int(x - size), int(y - size)))
        angle += advance / radius / 2


def read_png(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """In the sandbox: size, whether there is an alpha channel, and the samples (RGB, then alpha).

    Raises ``copy.bad_picture``.
    """
    del arguments
    try:
        with Image.open(io.BytesIO(payload), formats=("PNG",)) as image:
            if image.width * image.height > _MOST_PIXELS or min(image.size) < 16:
                raise BadInput("copy.bad_picture")
            whole = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise BadInput("copy.bad_picture") from None
    alpha = whole.getchannel("A")
    clear = alpha.getextrema() == (255, 255)
    samples = whole.convert("RGB").tobytes() + (b"" if clear else alpha.tobytes())
    return {"width": whole.width, "height": whole.height, "alpha": not clear}, samples


class Pictures:
    """What a signature looks like, by its owner."""

    def __init__(self, db: Database, clock: Clock, documents: Documents, sandbox: Sandbox) -> None:
        self._db, self._clock, self._documents, self._sandbox = db, clock, documents, sandbox
        self._made: dict[object, Appearance] = {}

    async def set(self, owner: str, png: bytes) -> None:
        """From now on. Raises ``copy.bad_picture``; what was signed before keeps its own."""
        await self._sandbox.run(read_png, png, {})
        name = await self._documents.put(png)
        async with self._db.write() as uow:
            t = picture_table.c
            values = {"owner": owner, "document": name, "set_at": self._clock.now()}
            await uow.execute(picture_table.delete().where(t.owner == owner))
            await uow.execute(picture_table.insert(), values)

    async def of(self, role: str, agency: Agency, person: Person) -> Appearance | None:
        """For a certifier's signature or the agency's seal; None where nothing is to be shown."""
        wording = Wording.of(agency.wording)
        if role == "seal" and not wording.show_seal:
            return None
        if agency.realm is Realm.TRAINING:
            key: object = person.name if role == "certifier" else (agency.name, wording.seal_diameter_mm)
            if key not in self._made:
                self._made[key] = (
                    sample_signature(person.name) if role == "certifier"
                    else sample_seal(agency.name, wording.seal_diameter_mm)
                )  # fmt: skip
            return self._made[key]
        async with self._db.read() as uow:
            owner = person.id if role == "certifier" else agency.id
            row = (await uow.execute(row_by(picture_table.c.owner), {"value": owner})).first()
        if row is None:
            return None
        if row.document not in self._made:
            found, samples = await self._sandbox.run(read_png, await self._documents.get(row.document), {})
            size = found["width"] * found["height"] * 3
            self._made[row.document] = Appearance.of(
                width_px=found["width"], height_px=found["height"], rgb=samples[:size],
                alpha=samples[size:] if found["alpha"] else None,
            )  # fmt: skip
        return self._made[row.document]
