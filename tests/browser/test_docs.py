"""The portals' page: readable on a phone, in light and dark, without a script, without a barrier."""

import pytest
from axe_playwright_python.sync_playwright import Axe


@pytest.mark.live
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_the_portals_door_has_no_barrier_and_fits_a_phone(phone, door, scheme):
    page = phone(color_scheme=scheme)
    scripts = []
    page.on("request", lambda r: scripts.append(r.url) if r.resource_type == "script" else None)
    page.goto(f"{door.url}/docs")
    assert page.locator("h2").count() > 30
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert scripts == []
    found = Axe().run(page).response["violations"]
    assert [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in found] == []
