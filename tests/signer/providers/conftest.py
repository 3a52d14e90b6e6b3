"""The simulated people are made once: RSA keys take their time."""

import pytest

from api.simulate.people import People
from core.clock import SystemClock
from core.db import Database
from tests.signer.providers.city import city


@pytest.fixture(scope="session")
def people() -> People:
    return People(SystemClock(), count=2)


@pytest.fixture
async def town(tmp_path, people):
    """On SQLite."""
    import api.serving

    assert api.serving
    async with Database(f"sqlite+aiosqlite:///{tmp_path / 'dauso.db'}") as db:
        await db.create_all()
        async with city(db, tmp_path, people) as found:
            yield found


@pytest.fixture
async def towns(db, tmp_path, people):
    """On each database."""
    async with city(db, tmp_path, people) as found:
        yield found
