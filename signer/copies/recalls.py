"""Taking released copies back, by a named person, with a brake: one stolen key of a portal must not void a province.

The brake counts an agency's recalls of the last 24 hours in the database, whichever door they came through. Who must
take back more works through the operator's command, which says ``--beyond-limit``.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from core.clock import Clock
from core.db import Database, UnitOfWork
from core.directory.model import Role
from core.directory.records import Directory
from core.errors import Refused
from core.limits import LIMITS
from core.logs import logger
from signer.copies import store
from signer.copies.desk import CopyDesk
from signer.copies.model import CertifiedCopy
from signer.copies.notices import Notices

__all__ = ["Recalls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalls:
    """Signer role only."""

    db: Database
    clock: Clock
    directory: Directory
    desk: CopyDesk
    notices: Notices
    alarm: Callable[[str, str], None] = lambda _kind, _agency: None

    async def recall(
        self, *, copy: str, reason: str, by: str, successor: str | None = None, since: str | None = None,
        beyond_limit: bool = False,
    ) -> CertifiedCopy:  # fmt: skip
        """Recall, log it, publish the list that says so; returns when all of it is done.

        ``by``: a certifier or administrator of the copy's agency whose term runs. Saying the same again is harmless.
        Raises ``recall.too_many``, ``recall.not_entitled`` and what ``CopyDesk.recall`` raises.
        """
        since_at = None if since is None else dt.datetime.fromisoformat(since)
        async with self.db.read() as uow:
            found = await store.get(uow, copy)
            await self._require_person(uow, found.agency_id, by)
        if found.recalled_at is not None and self._same(found, reason, successor, by):
            await self.notices.now(found.agency_id, found.status_year)  # the first time may have ended before this
            return found
        lately = 0

        async def brake(uow: UnitOfWork, _: CertifiedCopy) -> None:
            nonlocal lately
            await self.directory.lock(uow, found.agency_id)  # who recalls at the same time counts one after the other
            lately = await store.recalled_since(uow, found.agency_id, self.clock.now() - dt.timedelta(days=1))
            if lately >= LIMITS["recall.day"] and not beyond_limit:
                raise Refused("recall.too_many", most=LIMITS["recall.day"], retry_after=3600)

        try:
            recalled = await self.desk.recall(copy, reason, successor, by=by, since=since_at, guard=brake)
        except Refused as error:
            if error.code == "recall.too_many":
                self._alarm("recall.stopped", found.agency_id, lately)
            raise
        if lately + 1 >= LIMITS["recall.alarm"]:
            self._alarm("recall.many", found.agency_id, lately + 1)
        await self.notices.now(recalled.agency_id, recalled.status_year)
        return recalled

    @staticmethod
    def _same(copy: CertifiedCopy, reason: str, successor: str | None, by: str) -> bool:
        return (copy.recall_reason, copy.successor, copy.recalled_by) == (reason.strip(), successor, by)

    def _alarm(self, kind: str, agency_id: str, count: int) -> None:
        logger().error("alarm", kind=kind, id=agency_id, count=count)
        self.alarm(kind, agency_id)

    async def _require_person(self, uow: UnitOfWork, agency_id: str, person_id: str) -> None:
        now = self.clock.now()
        people = await self.directory.people(uow, agency_id)
        for person, rights in people:
            if person.id == person_id and any(
                r.role in {Role.CERTIFIER, Role.ADMINISTRATOR} and r.runs(now) for r in rights
            ):
                return
        raise Refused("recall.not_entitled", person=person_id)
