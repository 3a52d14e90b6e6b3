"""The page of findings in a real browser: no violation that axe finds, nothing wider than the screen."""

import pytest
import pytest_asyncio

from audit.keyuse import KeyVersion, Severity
from core.limits import LIMITS
from tests.api.desk.looks import require_readable
from tests.api.desk.test_admin import office
from tests.api.desk.test_admin_findings import Keepers, ids, keepers

__all__ = ["Keepers", "keepers", "office"]
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def filled(keepers):
    """With something of each kind on it: looked at, waiting, of no key, long and wide."""
    await keepers.run(
        keepers.finding(count=3), keepers.finding("keyuse.signed_twice", what="01kc" * 6 + "ab"),
        keepers.finding("keyuse.raw_audit", what="audit.log", key=KeyVersion("", "", 0)),
        keepers.finding("keyuse.forbidden_operation", what="export", key=KeyVersion("transit-h55-242", "seal-" + "0" * 60, 0)),
        keepers.finding("keyuse.rules_changed", Severity.WARNING, key=KeyVersion("", "auth/approle/role", 0)),
        ago=LIMITS["keyuse.overdue_hours"] + 1,
    )  # fmt: skip
    await keepers.look(ids(await keepers.page())[1])
    return keepers


async def test_the_page_of_findings_is_readable_by_everybody_on_every_screen(filled):
    await require_readable(filled.office, ["", "/findings", "/keys"])
