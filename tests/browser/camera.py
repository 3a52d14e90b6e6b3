"""Pictures of pages as a phone and a desk see them: small, and the same names each time."""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.browser.conftest import PHONE

DESK = {"width": 1280, "height": 900}
SIZES = {"phone": PHONE, "desk-1280": DESK}
_MOST = 110_000
"""Bytes of one picture."""
_LONGEST = 3_200
"""Pixels of height: what comes below looks the same."""

_DRAWN = """() => [...document.images].every((each) => {
  const box = each.getBoundingClientRect();
  return !box.width || box.top > innerHeight || !each.getAttribute('src') || (each.complete && each.naturalWidth > 1);
})"""
"""Every picture that a screen shows at once is there."""


class Camera:
    """``camera(page, "sign-read")`` makes ``phone-sign-read.png`` and ``desk-1280-sign-read.png``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[str] = []

    def __call__(self, page: Page, name: str, *sizes: str, whole: bool = True) -> None:
        """``whole``: all of the page, not only what a screen shows at once. Leaves the page at its own size."""
        before = page.viewport_size
        page.evaluate("scrollTo(0, 0)")
        for size in sizes or SIZES:
            page.set_viewport_size(SIZES[size])
            page.wait_for_timeout(300)
            page.wait_for_function(_DRAWN, timeout=15_000)
            self._keep(page.screenshot(full_page=whole), f"{size}-{name}")
        page.set_viewport_size(before)

    def _keep(self, png: bytes, name: str) -> None:
        target = self.folder / f"{name}.png"
        image = Image.open(io.BytesIO(png)).convert("RGB")
        image = image.crop((0, 0, image.width, min(image.height, _LONGEST)))
        for colours in (64, 32, 16, 8):  # a fifth of the bytes
            image.quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)
            if target.stat().st_size <= _MOST:
                break
        self.made.append(name)
        sys.stdout.write(f"{target}\n")
