"""One sandbox for a module's papers, behind its real walls."""

import pytest
import pytest_asyncio

from core.sandbox import Sandbox
from core.values import SignatureAlgorithm
from tests.signer.formats.test_pades import Signer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox():
    async with Sandbox(preload=["signer.papers.work:warm"]) as walls:
        yield walls


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer(SignatureAlgorithm.ECDSA_P256_SHA256)
