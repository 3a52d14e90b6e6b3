"""Stopping: a lost phone suspends everything at once; *that was not me* ends what a wrong enrolment began.

Stopping needs little proof and gives nothing away; what comes back afterwards needs identity, a delay and a notice.
"""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from audit.events import LeafType
from core.clock import Clock
from core.db import Database, UnitOfWork, row_by
from core.errors import Conflict, NotFound
from core.logs import logger
from signer.activation.devices import passkeys_of, set_state
from signer.activation.records import activation_table
from signer.credentials import Credential
from signer.enrolment.desk_stops import stop_desk
from signer.enrolment.facts import Facts
from signer.enrolment.keys import SUPERSEDED, WITHDRAWN, PersonKeys
from signer.enrolment.letters import Letters
from signer.enrolment.people import People
from signer.enrolment.records import RUNNING, objection_table, run_table
from signer.enrolment.runs import Run, end_running, lock_person, move, run_by_id, sha256_of

__all__ = ["Losses"]

_STOPPED: Final = ("objected", "ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What takes away; it never gives."""

    db: Database
    clock: Clock
    people: People
    keys: PersonKeys
    facts: Facts
    letters: Letters

    async def suspend(self, person_id: str, *, by: str) -> int:
        """Every passkey of the person, at once; returns how many. ``by``: ``person`` or ``agency``. May be repeated.

        Raises ``directory.no_such_person``.
        """
        async with self.db.write() as uow:
            return await self.suspend_in(uow, person_id, by=by)

    async def suspend_in(self, uow: UnitOfWork, person_id: str, *, by: str) -> int:
        """The same inside a transaction."""
        await lock_person(uow, person_id)
        await stop_desk(uow, self.clock, person_id)
        await self.stop_waiting(uow, person_id, "ended")
        await end_running(uow, person_id)
        stopped = [key for key in await passkeys_of(uow, person_id) if key.state == "active"]
        for key in stopped:
            await set_state(uow, key.id, "active", "suspended")
            await self.facts.note(uow, LeafType.PASSKEY_CHANGED, person_id, passkey=key.id, state="suspended", by=by)
        await self._refuse_open(uow, person_id)
        if stopped:
            await self.letters.write(uow, person_id, "suspended")
            logger().warning("enrol.suspended", id=person_id, kind=by, count=len(stopped))
        return len(stopped)

    @staticmethod
    async def _refuse_open(uow: UnitOfWork, person_id: str) -> None:
        """What waits for the person's approval, or was approved and not yet used, by whomever holds the phone now."""
        t = activation_table.c
        mine = t.person_id == person_id, t.state.in_(("open", "approved"))
        await uow.execute(activation_table.update().where(*mine).values(state="refused"))

    async def take_back(self, uow: UnitOfWork, person_id: str) -> None:
        """Identity is proven again after a loss: the old passkeys, credential and certificate end for good."""
        for key in await self.people.settled_passkeys(uow, person_id):
            if key.state != "revoked":
                await set_state(uow, key.id, key.state, "revoked")
                await self.facts.note(uow, LeafType.PASSKEY_CHANGED, person_id, passkey=key.id, state="revoked")
        for credential in await self.keys.active(uow, person_id):
            await self.end_credential(uow, person_id, credential, SUPERSEDED)

    async def end_credential(self, uow: UnitOfWork, person_id: str, credential: Credential, reason: int) -> None:
        """Retired, its certificate revoked with that CRL reason, and a leaf."""
        await self.keys.end(uow, credential, reason)
        await self.facts.note(
            uow, LeafType.CREDENTIAL_CHANGED, person_id, credential=credential.id, state="retired", reason=str(reason)
        )

    # ------------------------------------------------------------------------------------------------ not me
    async def objectable(self, token: str) -> Run:
        """What a notice's link is about. Raises ``objection.unknown``."""
        async with self.db.read() as uow:
            return await self._objection(uow, token)

    async def object_to(self, token: str) -> str:
        """The person says it was somebody else; returns ``stopped`` (it never began), or ``suspended`` (it had).

        Raises ``objection.unknown``.
        """
        async with self.db.write() as uow:
            run = await self._objection(uow, token)
            await lock_person(uow, run.person_id)
            run = await run_by_id(uow, run.id)
            if run.state in _STOPPED:
                return "stopped"
            if run.state == "done":  # too late to stop it quietly: everything rests until identity is proven again
                await self.suspend_in(uow, run.person_id, by="person")
                return "suspended"
            await self.stop(uow, run, "objected")
            await self.letters.write(uow, run.person_id, "objected")
            logger().warning("enrol.objected", id=run.id)
            return "stopped"

    async def _objection(self, uow: UnitOfWork, token: str) -> Run:
        row = (await uow.execute(row_by(objection_table.c.sha256), {"value": sha256_of(token)})).first()
        if row is None or self.clock.now() >= row.expires_at:
            raise NotFound("objection.unknown")
        return await run_by_id(uow, row.run_id)

    async def give_way(self, uow: UnitOfWork, person_id: str) -> None:
        """The person logged in: what waits on a portal's word alone ends. Raises ``enrol.waiting`` where it rests on more."""
        t = run_table.c
        query = sa.select(t.method).where(t.person_id == person_id, t.state == "waiting")
        if any(method != "portal" for method in (await uow.execute(query)).scalars()):
            raise Conflict("enrol.waiting")
        await self.stop_waiting(uow, person_id, "ended")

    async def stop_waiting(self, uow: UnitOfWork, person_id: str, state: str) -> int:
        """Whatever waits for a delay to end never becomes usable; returns how many. ``state``: ``objected``, ``ended``."""
        t = run_table.c
        query = sa.select(run_table).where(t.person_id == person_id, t.state == "waiting")
        waiting = [Run.of(row) for row in (await uow.execute(query)).all()]
        for run in waiting:
            await self.stop(uow, run, state)
        return len(waiting)

    async def stop(self, uow: UnitOfWork, run: Run, state: str) -> None:
        """A run that has not come to its end leaves nothing usable behind."""
        assert run.state in {*RUNNING, "waiting"}
        await move(uow, run.id, run.state, state, email=None)
        for key in await passkeys_of(uow, run.person_id):
            if key.id == run.passkey_id and key.state != "revoked":
                await set_state(uow, key.id, key.state, "revoked")
                await self.facts.note(uow, LeafType.PASSKEY_CHANGED, run.person_id, passkey=key.id, state="revoked")
        for credential in await self.keys.active(uow, run.person_id):
            if credential.id == run.credential_id:
                await self.end_credential(uow, run.person_id, credential, WITHDRAWN)
