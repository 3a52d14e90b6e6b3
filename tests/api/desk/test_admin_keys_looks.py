"""The pages of keys in a real browser: no violation that axe finds, nothing wider than the screen."""

import pytest
import pytest_asyncio

from signer.keystores.model import KeyPurpose
from tests.api.desk.looks import require_readable
from tests.api.desk.test_admin import office
from tests.api.desk.test_admin_keys import Keys

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
    await require_readable(office, paths)
