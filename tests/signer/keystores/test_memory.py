"""The tests' store keeps the contract too."""

import pytest

from signer.keystores.memory import MemoryKeyStore
from tests.signer.keystores.contract import House, KeyStoreContract


class TestMemory(KeyStoreContract):
    @pytest.fixture
    def house(self):
        return House(MemoryKeyStore(), names_lead=False)


def test_it_says_that_it_is_not_for_production():
    assert MemoryKeyStore.not_for_production
