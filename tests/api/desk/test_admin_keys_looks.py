"""The pages of keys in a real browser: no violation that axe finds, nothing wider than the screen."""

import asyncio
import shutil
import socket

import pytest
import pytest_asyncio
import uvicorn
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import async_playwright

from api import serving
from signer.keystores.model import KeyPurpose
from tests.api.desk.conftest import CHROME
from tests.api.desk.test_admin import office
from tests.api.desk.test_admin_keys import Keys
from tests.conftest import live_or_skip

__all__ = ["office"]
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def paths(office):
    """With something of each kind on them."""
    keys = Keys(office)
    await keys.fill()
    seal, qr = await keys.of(KeyPurpose.SEAL), await keys.of(KeyPurpose.QR)
    await keys.stop(qr)
    resume = await office.proposed(f"/desk/admin/keys/{qr.id}/resume", {})
    rule = await office.proposed(f"/desk/admin/keys/{qr.id}/rule", {"per_minute": "7", "per_day": "70", "at_once": "5"})
    end = await office.proposed(f"/desk/admin/keys/{seal.id}/disable", {"why": "Đổi con dấu", "revoke": ""})
    await office.agree(end)
    pages = ["", "/keys", f"/keys/{seal.id}", f"/keys/{qr.id}"]
    return pages + [f"/decisions/{each}" for each in (resume, rule, end)]


async def test_the_pages_of_keys_are_readable_by_everybody_on_every_screen(office, paths):
    chromium = shutil.which("chromium") or live_or_skip("chromium")
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen(50)
    server = serving._Server(uvicorn.Config(office.desk.app, lifespan="off", log_config=None))
    serving_now = asyncio.create_task(server.serve(sockets=[door]))
    url = f"http://localhost:{door.getsockname()[1]}/desk/admin"
    cookies = [
        {"name": c.name, "value": c.value, "domain": "localhost", "path": "/"} for c in office.browser.http.cookies.jar
    ]
    async with async_playwright() as tool:
        browser = await tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width in (360, 1280):
            context = await browser.new_context(viewport={"width": width, "height": 800}, user_agent=CHROME)
            await context.add_cookies(cookies)
            page = await context.new_page()
            for path in paths:
                answer = await page.goto(url + path)
                assert answer.status == 200, path
                for each in await page.query_selector_all("details"):
                    await each.evaluate("e => e.open = true")
                assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
                found = (await Axe().run(page)).response["violations"]
                assert not found, (path, width, [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found])
        await browser.close()
    server.should_exit = True
    await serving_now
    door.close()
