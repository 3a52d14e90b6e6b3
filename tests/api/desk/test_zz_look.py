import asyncio, socket
import uvicorn, pytest
from playwright.async_api import async_playwright
from axe_playwright_python.async_playwright import Axe
from tests.api.desk.test_admin import office, grant, png, NUMBER, house, Scope, SystemClock
from tests.api.desk.conftest import CHROME
from api import serving


@pytest.mark.timeout(500)
async def test_look(office):
    d1 = await office.proposed("/desk/admin/people", {"name": "Hồ Thị Mới", "national_id": NUMBER, **grant()})
    d2 = await office.proposed("/desk/admin/books", {"year": str(SystemClock().now().year + 1)})
    await office.agree(d2, office.people[0])
    d3 = await office.proposed(
        "/desk/admin/seal-image", {"size": "38,5"}, files={"file": ("dau.png", png(), "image/png")}
    )
    await office.agree(d3)
    d4 = await office.proposed(
        "/desk/admin/templates",
        {
            **{
                k: v
                for k, v in __import__("re").findall(
                    r'<input id="(\w+)" name="\1" value="([^"]*)"', await office.page("/desk/admin/templates")
                )
            },
            "layout": "band",
            "show_seal": "1",
            "number": "{number}/CT",
            "do": "propose",
        },
    )
    d5 = await office.proposed(f"/desk/admin/people/{office.people[0]}/suspend", {})
    client, _ = await house.add_client(
        office.signer.settings,
        office.code,
        scopes=(Scope.COPIES_READ, Scope.COPIES_WRITE),
        name="Cổng Dịch vụ công tỉnh",
    )
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(50)
    port = sock.getsockname()[1]
    server = serving._Server(uvicorn.Config(office.desk.app, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve(sockets=[sock]))
    pages = {
        "admin": "",
        "people": "/people",
        "person": f"/people/{office.people[1]}",
        "books": "/books",
        "templates": "/templates",
        "seal": "/seal-image",
        "trust": "/trust",
        "clients": "/clients",
        "d1": f"/decisions/{d1}",
        "d4": f"/decisions/{d4}",
        "d5": f"/decisions/{d5}",
        "d3": f"/decisions/{d3}",
    }
    async with async_playwright() as p:
        browser = await p.chromium.launch(executable_path=__import__("shutil").which("chromium"), args=["--no-sandbox"])
        for width in (360, 1280):
            ctx = await browser.new_context(viewport={"width": width, "height": 800}, user_agent=CHROME)
            for c in office.browser.http.cookies.jar:
                await ctx.add_cookies([{"name": c.name, "value": c.value, "domain": "localhost", "path": "/"}])
            pg = await ctx.new_page()
            for name, path in pages.items():
                r = await pg.goto(f"http://localhost:{port}/desk/admin{path}")
                assert r.status == 200, (name, r.status, await pg.content())
                for el in await pg.query_selector_all("details"):
                    await el.evaluate("e => e.open = true")
                wide = await pg.evaluate("document.documentElement.scrollWidth")
                res = await Axe().run(pg)
                print(
                    "PAGE",
                    name,
                    width,
                    "scroll",
                    wide,
                    [(v["id"], [n["html"][:140] for n in v["nodes"][:3]]) for v in res.response["violations"]],
                )
                await pg.screenshot(path=f"/tmp/look-{name}-{width}.png", full_page=True)
            await ctx.close()
        await browser.close()
    server.should_exit = True
    await task
