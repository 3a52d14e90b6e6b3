"""Budgets of service keys, on both databases."""

import asyncio

import pytest

from core.errors import Refused
from core.limits import LIMITS
from core.values import Digest, SignatureAlgorithm
from signer.keystores.budget import BudgetedKey, Budgets
from signer.keystores.model import KeyPurpose


class Key:
    algorithm = SignatureAlgorithm.ECDSA_P256_SHA256
    spki = b"spki"
    uses = 0

    async def sign(self, to_sign):
        self.uses += 1
        return b"value"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(LIMITS, "budget.qr", 7)
    monkeypatch.setitem(LIMITS, "budget.lease", 3)


async def test_a_key_is_used_as_often_as_its_day_allows_and_not_once_more(db, clock):
    key = Key()
    budgeted = BudgetedKey(key, "qr-1", KeyPurpose.QR, Budgets(db, clock))
    for _ in range(7):
        assert await budgeted.sign(Digest.of(b"x")) == b"value"
    with pytest.raises(Refused, match=r"key\.budget_spent"):
        await budgeted.sign(Digest.of(b"x"))
    assert key.uses == 7


async def test_processes_share_one_budget_and_a_crash_gives_nothing_back(db, clock):
    spent, refused = 0, 0
    for _ in range(3):  # each time as a new process would
        budgets = Budgets(db, clock)
        for _ in range(2):
            try:
                await budgets.spend("qr-1", KeyPurpose.QR)
                spent += 1
            except Refused:
                refused += 1
    assert spent <= 6
    assert refused >= 1


async def test_keys_and_days_have_budgets_of_their_own(db, clock):
    budgets = Budgets(db, clock)
    for name in ("qr-1", "qr-2"):
        for _ in range(7):
            await budgets.spend(name, KeyPurpose.QR)
    with pytest.raises(Refused):
        await budgets.spend("qr-1", KeyPurpose.QR)
    clock.move(days=1)
    assert await budgets.spend("qr-1", KeyPurpose.QR) is None


async def test_many_at_once_never_get_more_than_there_is(db, clock):
    budgets = [Budgets(db, clock) for _ in range(4)]
    outcomes = await asyncio.gather(
        *(b.spend("qr-1", KeyPurpose.QR) for b in budgets for _ in range(4)), return_exceptions=True
    )
    assert sum(not isinstance(o, Exception) for o in outcomes) <= 7
    assert all(isinstance(o, Refused) for o in outcomes if isinstance(o, Exception))


def test_every_purpose_of_a_service_key_has_a_budget():
    for purpose in set(KeyPurpose) - {KeyPurpose.DOCUMENT, KeyPurpose.SEAL}:
        assert LIMITS[f"budget.{purpose.value}"] > LIMITS["budget.lease"]


async def test_uses_of_one_moment_share_a_lease(db, clock):
    budgets = Budgets(db, clock)
    outcomes = await asyncio.gather(*(budgets.spend("qr-1", KeyPurpose.QR) for _ in range(7)), return_exceptions=True)
    assert [o for o in outcomes if o is not None] == []
