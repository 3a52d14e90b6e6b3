"""Budgets of service keys: how often a key that works without a person's approval may be used in a day.

A stolen session could use such a key without anybody noticing; the budget bounds the harm and makes it show. Uses are
taken from the database in small leases, so that the fast path does not wait for a commit; a crash loses at most one
lease, never gains one.
"""

import asyncio
from dataclasses import dataclass

import sqlalchemy as sa

from core.clock import VIETNAM, Clock
from core.db import Database, insert_new
from core.errors import Refused
from core.limits import LIMITS
from core.signing import SigningKey
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.model import KeyPurpose
from signer.keystores.records import budget_table

__all__ = ["BudgetedKey", "Budgets"]


class Budgets:
    """Leases of this process."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock
        self._left: dict[tuple[str, str], int] = {}
        self._turn = asyncio.Lock()

    async def spend(self, key_name: str, purpose: KeyPurpose) -> None:
        """One use. Raises ``key.budget_spent`` and touches no key."""
        day = f"{self._clock.now().astimezone(VIETNAM):%Y-%m-%d}"
        place = (key_name, day)
        async with self._turn:  # whoever waits finds the lease of the one before
            if self._left.get(place, 0) == 0:
                taken = await self._lease(key_name, day, purpose)
                self._left = {p: n for p, n in self._left.items() if p[1] >= day}
                self._left[place] = taken
            self._left[place] -= 1

    async def _lease(self, key_name: str, day: str, purpose: KeyPurpose) -> int:
        most, size = LIMITS[f"budget.{purpose.value}"], LIMITS["budget.lease"]
        t = budget_table.c
        mine = sa.and_(t.key_name == key_name, t.day == day)
        async with self._db.write() as uow:
            await uow.execute(insert_new(uow, budget_table), {"key_name": key_name, "day": day, "used": 0})
            used = (await uow.execute(sa.select(t.used).where(mine).with_for_update())).scalar_one()
            taken = min(size, most - used)
            if taken <= 0:
                raise Refused("key.budget_spent", key=key_name, most=most)
            await uow.execute(budget_table.update().where(mine).values(used=t.used + taken))
        return int(taken)


@dataclass(frozen=True, slots=True)
class BudgetedKey:
    """A service key's ``core.signing.SigningKey``: each use is paid for first."""

    key: SigningKey
    name: str
    purpose: KeyPurpose
    budgets: Budgets

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """Pinned at creation."""
        return self.key.algorithm

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.key.spki

    async def sign(self, to_sign: Digest | Message) -> bytes:
        """Raises ``key.budget_spent`` and what the key raises."""
        await self.budgets.spend(self.name, self.purpose)
        return await self.key.sign(to_sign)
