"""Every page of the administrator in a real browser: no violation that axe finds, nothing wider than the screen."""

import re

import pytest

from api.clients.model import Scope
from core.clock import SystemClock
from tests.api.desk.looks import require_readable
from tests.api.desk.test_admin import NUMBER, grant, office, png
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
    await require_readable(office, await matters(office))
