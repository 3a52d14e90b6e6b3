"""A town on each database; one on SQLite for what does not depend on it."""

import pytest

from core.db import Database
from tests.signer.enrolment.town import provider_here, town_in
from tests.tables import EVERY

assert EVERY.tables


@pytest.fixture
async def town(db, clock, tmp_path):
    """On each database, with a provider that answers."""
    async with (
        provider_here(clock) as provider,
        town_in(db, clock, tmp_path, provider=provider, enrol_portal_levels="2,3") as made,
    ):
        yield made


@pytest.fixture
async def village(clock, tmp_path):
    """The same on SQLite alone."""
    async with Database(f"sqlite+aiosqlite:///{tmp_path / 'v.db'}") as db:
        await db.create_all()
        async with (
            provider_here(clock) as provider,
            town_in(db, clock, tmp_path, provider=provider, enrol_portal_levels="2,3") as made,
        ):
            yield made
