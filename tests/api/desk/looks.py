"""Pages of the administrator in a real browser: no violation that axe finds, nothing wider than the screen."""

import asyncio
import shutil
import socket

import uvicorn
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import async_playwright

from api import serving
from tests.api.desk.conftest import CHROME
from tests.conftest import live_or_skip


async def require_readable(office, paths) -> None:
    """Each of ``paths`` below ``/desk/admin``, with everything unfolded, on a phone and on a desk."""
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
