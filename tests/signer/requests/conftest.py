"""One home for each database, built once; each test opens a desk of its own over it."""

import asyncio
import uuid

import pytest

from core.settings import Settings
from tests.signer.requests import office as building


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def home(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("requests")
    url = ""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{folder / 'dauso.db'}"
    else:
        url = request.getfixturevalue("postgres")("r" + uuid.uuid4().hex[:12])
    settings = Settings(home=folder / "home", database_url=url)
    return settings, asyncio.run(building.build(settings))


@pytest.fixture
async def office(home):
    made = await building.open_office(*home)
    yield made
    await made.desk.drain()
    await made.close()


@pytest.fixture
async def second(home):
    """Another signer process over the same tables."""
    made = await building.open_office(*home)
    yield made
    await made.desk.drain()
    await made.close()
