"""A CA and its judge for each test of this room."""

import shutil

import pytest

from tests.ca_bridge.makers import Ca, OpenSsl
from tests.conftest import live_or_skip


@pytest.fixture
async def ca(clock):
    return await Ca(clock).start()


@pytest.fixture
def openssl(tmp_path, clock):
    if shutil.which("openssl") is None:
        live_or_skip("openssl")
    return OpenSsl(tmp_path, clock)
