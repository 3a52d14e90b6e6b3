"""``make screens``: every page as a phone and a desk see it, into ``docs/screens``; made anew, never edited."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from core import logs
from tests.browser import papers as makers
from tests.browser import screens_signing
from tests.browser.camera import DESK, Camera
from tests.browser.conftest import PHONE, Door


def _seen(page: Page, target: Path, *, whole: bool = True) -> None:
    page.wait_for_timeout(700)
    page.screenshot(path=target, full_page=whole)
    Image.open(target).convert("RGB").quantize(64).save(target, optimize=True)  # a fifth of the bytes
    sys.stdout.write(f"{target}\n")


def main(folder: Path) -> None:
    """Every state, then what a person does by hand."""
    logs.configure("error")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        camera = Camera(folder)
        screens_signing.production(Path(name), browser, camera)
        screens_signing.training(Path(name), browser, camera)
        browser.close()
    _check(folder)


def _check(folder: Path) -> None:
    """The citizen's check page."""
    with tempfile.TemporaryDirectory() as name:
        papers = asyncio.run(makers.build(Path(name) / "home"))
        door = Door(papers.settings)
        door.open()
        seals = {
            "valid": papers.valid.seal, "recalled": papers.recalled.seal, "superseded": papers.superseded.seal,
            "merged": papers.merged.seal, "draft": papers.draft.seal, "forged": papers.forged["forged"],
        }  # fmt: skip
        with sync_playwright() as tool:
            browser = tool.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for state, seal in seals.items():
                context = browser.new_context(viewport=PHONE, locale="vi-VN")
                page = context.new_page()
                page.goto(f"{door.url}/v#{seal}")
                _seen(page, folder / f"phone-{state}.png")
                context.close()
            dark = browser.new_context(viewport=PHONE, color_scheme="dark").new_page()
            dark.goto(f"{door.url}/v#{papers.valid.seal}")
            _seen(dark, folder / "phone-valid-dark.png")
            desk = browser.new_context(viewport=DESK).new_page()
            desk.goto(f"{door.url}/v#{papers.valid.seal}")
            _seen(desk, folder / "desk-valid.png")
            plain = browser.new_context(viewport=PHONE, java_script_enabled=False).new_page()
            plain.goto(f"{door.url}/v")
            _seen(plain, folder / "phone-plain.png")
            plain.goto(f"{door.url}/docs")
            _seen(plain, folder / "phone-docs.png", whole=False)
            plain.goto(f"{door.url}/v")
            plain.fill("input[name=code]", papers.recalled.code)
            plain.locator("form[action='/v/code'] button").click()
            _seen(plain, folder / "phone-plain-code.png")
            browser.close()
        door.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
