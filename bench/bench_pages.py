"""Pictures of pages: a 40-page colour scan at 200 dpi, from the request to the first page and to any page after it.

The paper lies in the document store; every reading happens in the sandbox, as for a person who approves.
"""

import asyncio
import io
import random
import statistics
import tempfile
import time
from pathlib import Path

import pikepdf
from PIL import Image, ImageFilter

from api import sample
from api.bootstrap import make_sandbox
from core.objects import Documents
from signer.papers import PageCache, inspect

PAGES, WIDTH, MOST_MS = 40, 1_080, 300
"""1080 pixels: a phone of 360 CSS pixels with three dots each."""


def scan(pages: int = PAGES, quality: int = 84) -> bytes:
    """Colour pages as a flatbed scanner gives them: grain, a slight turn, 200 dpi; no two pages alike."""
    out = io.BytesIO()
    drawn = [Image.open(io.BytesIO(page)).convert("RGB") for page in sample.scan_pages(90)]
    with pikepdf.new() as pdf:
        for number in range(pages):
            page = drawn[number % len(drawn)]
            grain = Image.effect_noise(page.size, 30).convert("RGB")
            page = page.rotate(random.uniform(-0.6, 0.6), fillcolor=(251, 249, 243))
            page = Image.blend(page, grain, 0.1).filter(ImageFilter.GaussianBlur(0.4))
            jpeg = io.BytesIO()
            page.save(jpeg, "JPEG", quality=quality, dpi=(200, 200))
            made = pdf.add_blank_page(page_size=(595.32, 841.68))
            image = pdf.make_stream(
                jpeg.getvalue(), Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Image, Width=page.width,
                Height=page.height, ColorSpace=pikepdf.Name.DeviceRGB, BitsPerComponent=8, Filter=pikepdf.Name.DCTDecode,
            )  # fmt: skip
            made.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=image))
            made.Contents = pdf.make_stream(b"q 595.32 0 0 841.68 0 0 cm /I Do Q")
        pdf.save(out, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    return out.getvalue()


def told(name: str, times: list[float]) -> str:
    """One line: median and 99th percentile in milliseconds."""
    ranked = sorted(times)
    worst = ranked[min(len(ranked) - 1, round(0.99 * len(ranked)))]
    return f"{name}: median {statistics.median(times):.0f} ms, p99 {worst:.0f} ms ({len(times)} times)"


async def measure(document: bytes, rounds: int) -> tuple[list[float], list[float], list[float], int]:
    """Milliseconds of looking into it, of first pages with nothing kept, and of pages while a person scrolls."""
    inspected, first, later, size = [], [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        name = await Documents.open("", Path(folder)).put(document)
        async with make_sandbox() as sandbox:
            for turn in range(rounds + 1):
                store = Documents.open("", Path(folder))  # nothing in memory
                pages = PageCache(sandbox=sandbox, load=store.get)
                start = time.perf_counter()
                size = len(await pages.image(name, 0, WIDTH))
                if turn:  # the first one starts the sandbox
                    first.append((time.perf_counter() - start) * 1_000)
                if turn in {1, 2}:
                    for page in range(1, PAGES):
                        await asyncio.sleep(0.4)
                        start = time.perf_counter()
                        await pages.image(name, page, WIDTH)
                        later.append((time.perf_counter() - start) * 1_000)
                await pages.settle()
                if turn <= 5:
                    start = time.perf_counter()
                    await inspect(sandbox, document)
                    inspected.append((time.perf_counter() - start) * 1_000)
    return inspected, first, later, size


def main() -> None:
    """Print the figures."""
    document = scan()
    inspected, first, later, size = asyncio.run(measure(document, 60))
    print(f"{PAGES} pages, {len(document) / 2**20:.1f} MB; a picture {WIDTH} wide has {size / 1024:.0f} KB")
    print(told("first page, nothing kept", first), f"(at most {MOST_MS} ms)")
    print(told("next page while reading on, 0.4 s a page", later))
    print(told("inspect", inspected))


if __name__ == "__main__":
    main()
