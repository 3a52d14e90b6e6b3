"""Shared by the flows."""

import pytest

from tests.flows.nursery import Nursery


@pytest.fixture(scope="session")
def nursery():
    """Where processes that are killed come from."""
    with Nursery() as opened:
        yield opened
