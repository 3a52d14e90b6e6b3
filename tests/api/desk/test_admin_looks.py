"""Every page of the administrator in a real browser: no violation that axe finds, nothing wider than the screen."""

import asyncio
import re
import shutil
import socket

import pytest
import uvicorn
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import async_playwright

from api import serving
from api.clients.model import Scope
from core.clock import SystemClock
from tests.api.desk.conftest import CHROME
from tests.api.desk.test_admin import NUMBER, grant, office, png
from tests.conftest import live_or_skip
from tests.flows import house

__all__ = ["office"]
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


async def matters(office):
    """Paths of pages with something on each of them."""
    people = await office.proposed("/desk/admin/people", {"name": "Hồ Thị Mới", "national_id": NUMBER, **grant()})
    book = await office.proposed("/desk/admin/books", {"year": str(SystemClock().now().year + 1)})
    await office.agree(book, office.people[0])
    seal = await office.proposed(
        "/desk/admin/seal-image", {"size": "38,5"}, files={"file": ("a.png", png(), "image/png")}
    )
    await office.agree(seal)
    lines = dict(re.findall(r'<input id="(\w+)" name="\1" value="([^"]*)"', await office.page("/desk/admin/templates")))
    lines |= {"layout": "band", "show_seal": "1", "number": "{number}/CT", "do": "propose"}
    wording = await office.proposed("/desk/admin/templates", lines)
    own = await office.proposed(f"/desk/admin/people/{office.people[0]}/suspend", {})
    await house.add_client(office.signer.settings, office.code, scopes=(Scope.COPIES_READ, Scope.COPIES_WRITE))
    pages = ["", "/people", f"/people/{office.people[1]}", "/books", "/templates", "/seal-image", "/trust", "/clients"]
    return pages + [f"/decisions/{each}" for each in (people, book, seal, wording, own)]


async def test_every_page_is_readable_by_everybody_on_every_screen(office):
    chromium = shutil.which("chromium") or live_or_skip("chromium")
    paths = await matters(office)
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
