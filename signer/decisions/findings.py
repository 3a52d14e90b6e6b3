"""What the reconciliation of keys has found, brought before those who decide about the realm's own keys.

The auditor's process only writes it down. A letter names no key and nothing that was found: whoever reads mail that is not
his learns that somebody will look.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from audit.keyuse import looks
from core.clock import Clock
from core.db import Database, UnitOfWork
from core.directory.model import Agency, Role
from core.errors import BadInput, NotFound, Refused, ServiceError
from core.limits import LIMITS
from core.logs import code_of, logger
from core.values import Realm
from signer.decisions.keys import is_keeper, require_keeper
from signer.decisions.room import Room, Text
from signer.enrolment.letters import Letters

__all__ = ["KeyFindings"]

_WHY: Final = TypeAdapter(Text)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFindings:
    """Signer role only."""

    db: Database
    clock: Clock
    realm: Realm
    room: Room
    letters: Letters

    async def look(self, *, agency_id: str, finding: str, person_id: str, why: str) -> None:
        """An administrator has looked at it, and says why it is what it is.

        Raises ``keyuse.no_reason``, ``keyuse.no_such_finding`` (to other agencies too), ``keyuse.looked_at``,
        ``decision.not_administrator``.
        """
        try:
            said = _WHY.validate_python(why)
        except ValidationError as error:
            raise BadInput("keyuse.no_reason", most=LIMITS["decision.text_letters"]) from error
        async with self.db.write() as uow:
            agency = await self.room.directory.agency(uow, agency_id)
            try:
                await require_keeper(uow, self.room, agency)
            except NotFound as error:
                raise NotFound("keyuse.no_such_finding") from error
            if person_id not in await self._administrators(uow, agency):
                raise Refused("decision.not_administrator")
            await looks.look(uow, self.clock, finding, person_id, said)

    async def tell(self) -> int:
        """One letter to each administrator with an address about all runs that are new; returns how many were written."""
        async with self.db.read() as uow:
            if not await looks.untold(uow):
                return 0
        async with self.db.write() as uow:
            new = [run for run in await looks.untold(uow) if await looks.tell(uow, self.clock, run)]
            if not new:
                return 0
            people = [
                person for agency in await self.room.directory.agencies(uow)
                if agency.realm is self.realm and await is_keeper(uow, self.room, agency)
                for person in await self._administrators(uow, agency)
            ]  # fmt: skip
            written = [await self._write(uow, person) for person in sorted(people)]
        logger().error("keyuse.told", count=sum(written), id=new[-1])
        return sum(written)

    async def _write(self, uow: UnitOfWork, person_id: str) -> bool:
        """False for who has no address; one that cannot be read keeps the others' letters from nobody."""
        try:
            return await self.letters.write(uow, person_id, "key_findings", system=self.room.system)
        except ServiceError as error:
            logger().warning("keyuse.not_told", id=person_id, code=error.code)
            return False

    async def _administrators(self, uow: UnitOfWork, agency: Agency) -> set[str]:
        return set(await self.room.directory.holders(uow, agency.id, Role.ADMINISTRATOR, self.clock.now()))

    async def serve(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.tell()
            except Exception as error:  # noqa: BLE001 - looked at again in a moment
                logger().warning("keyuse.not_told", code=code_of(error))
            await asyncio.sleep(LIMITS["keyuse.tell_seconds"])
