"""Keeps the public lists in step with the register: what changed is signed anew at once, what grows old before it does.

A code reads as valid only when the list says so; so a released copy asks for its list, releases in a row share one.
"""

import asyncio
import datetime as dt
from dataclasses import dataclass, field

from core.clock import Clock
from core.db import Database
from core.errors import Conflict, ServiceError
from core.formats import key_list
from core.limits import LIMITS
from core.logs import code_of, logger
from signer.copies.model import CertifiedCopy
from signer.copies.publication import KEYS, Publisher, published

__all__ = ["Notices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """One in each signer process. Two that publish the same list at once: the second tries again."""

    db: Database
    clock: Clock
    publisher: Publisher
    changed: set[tuple[str, int]] = field(default_factory=set)
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    def mark(self, copy: CertifiedCopy) -> None:
        """Its agency's list of the year no longer says what is so."""
        self.changed.add((copy.agency_id, copy.status_year))
        self.bell.set()

    async def flush(self) -> None:
        """Publish what was marked. Raises what ``Publisher`` raises; what is not done stays marked."""
        while self.changed:
            agency_id, year = self.changed.pop()
            try:
                await self.now(agency_id, year)
            except ServiceError:
                self.changed.add((agency_id, year))
                raise

    async def now(self, agency_id: str, year: int) -> None:
        """This list, from the register as it stands; returns when a list that knows at least that is published."""
        for attempt in range(5):
            try:
                await self.publisher.statuses(agency_id, year)
            except Conflict:
                if attempt == 4:
                    raise
            else:
                return

    async def serve(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._refresh()
                while True:
                    self.bell.clear()
                    await self.flush()
                    await asyncio.wait_for(self.bell.wait(), LIMITS["lists.look_seconds"])
                    await asyncio.sleep(LIMITS["lists.gather_ms"] / 1000)
            except TimeoutError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever it was, it is tried again in a moment
                logger().warning("lists.not_published", code=code_of(error))
                await asyncio.sleep(LIMITS["lists.gather_ms"] / 1000)

    async def _refresh(self) -> None:
        """Everything that is missing, near its end, or older than what it speaks of."""
        async with self.db.write() as uow:
            await self.publisher.credentials.retire_followed(uow)  # lists say which keys are active
        async with self.db.read() as uow:
            listed = await published(uow, KEYS)
            keys = await self.publisher.current_keys(uow)
            behind = await self.publisher.behind(uow)
        soon = self.clock.now() + dt.timedelta(hours=LIMITS["qr.list_hours"]) / 2
        if listed is None or listed.next_update < soon or key_list.read(listed.body).keys != keys.keys:
            await self.publisher.keys()
        for agency_id, year in behind:
            await self.now(agency_id, year)
