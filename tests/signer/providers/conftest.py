"""The simulated people and the empty database are made once: keys and tables take their time."""

import shutil

import pytest
import sqlalchemy as sa

from api.simulate.people import People
from core.clock import SystemClock
from core.db import Database
from tests.signer.providers.city import city


@pytest.fixture(scope="session")
def people() -> People:
    return People(SystemClock(), count=2)


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """A file of all tables."""
    from tests.tables import EVERY

    path = tmp_path_factory.mktemp("empty") / "dauso.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    EVERY.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
async def town(empty, tmp_path, people):
    """On SQLite."""
    shutil.copy(empty, tmp_path / "town.db")
    async with Database(f"sqlite+aiosqlite:///{tmp_path / 'town.db'}") as db:
        async with city(db, tmp_path, people) as found:
            yield found


@pytest.fixture
async def towns(db, tmp_path, people):
    """On each database."""
    async with city(db, tmp_path, people) as found:
        yield found
