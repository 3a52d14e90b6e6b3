"""The end of a run: what was made becomes its person's, at once or when the delay is over; and the person is told."""

import datetime as dt
from dataclasses import dataclass, replace

import sqlalchemy as sa

from audit.events import LeafType
from core.clock import VIETNAM, Clock
from core.db import Database, UnitOfWork
from core.errors import Conflict, Unavailable
from core.logs import code_of, logger
from signer.activation.devices import set_state
from signer.enrolment.facts import Facts
from signer.enrolment.identity import Rules
from signer.enrolment.keys import Certified, PersonKeys
from signer.enrolment.letters import Letters
from signer.enrolment.losses import Losses
from signer.enrolment.people import People, is_email
from signer.enrolment.records import objection_table, run_table
from signer.enrolment.runs import Run, lock_person, move, new_pass, run_by_id, sha256_of

__all__ = ["Finishing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing:
    """Step 6, and what happens by itself after it."""

    db: Database
    clock: Clock
    rules: Rules
    people: People
    keys: PersonKeys
    facts: Facts
    letters: Letters
    losses: Losses
    origin: str
    """Of the signing pages: links in letters lead there."""

    async def settle(self, uow: UnitOfWork, run: Run, made: Certified | None, *, official: bool) -> Run:
        """The last step, under the lock on the person: ``done`` or ``waiting``, or ``ended`` where it may not go on.

        ``official``: what the certificate was made for. Raises ``enrol.moved``.
        """
        now = self.clock.now()
        if not await self._stands(uow, run):
            await self.losses.stop(uow, run, "ended")
            return replace(run, state="ended")
        if bool(await self.people.roles(uow, run.person_id)) != official:  # given a role in this very moment
            raise Conflict("enrol.moved")
        credential_id = None
        if made is not None:
            if await self.keys.valid(uow, run.person_id):  # another run of the person was first
                raise Conflict("enrol.moved")
            await self.keys.retire_expired(uow, run.person_id)
            credential_id = (await self.keys.keep(uow, run.person_id, made)).id
            await self.facts.note(
                uow, LeafType.CREDENTIAL_CHANGED, run.person_id, credential=credential_id, state="active",
                certificate=made.certificate.sha256.hex(),
            )  # fmt: skip
        delay = self.rules.delay if run.delayed else dt.timedelta()
        state, usable = ("waiting", now + delay) if delay else ("done", now)
        await move(uow, run.id, run.state, state, credential_id=credential_id, usable_from=usable)
        run = replace(run, state=state, credential_id=credential_id, usable_from=usable)
        await self._tell(uow, run)
        if state == "done":
            await self._make_usable(uow, run)
        else:
            await self.facts.note(
                uow, LeafType.PASSKEY_CHANGED, run.person_id, passkey=run.passkey_id, state="waiting",
                usable=usable.isoformat(),
            )  # fmt: skip
        return run

    async def _stands(self, uow: UnitOfWork, run: Run) -> bool:
        """Who acts for an agency by now: no portal's word was ever enough for that, and a role must run."""
        if not await self.people.roles(uow, run.person_id):
            return True
        return run.method != "portal" and bool(await self.people.running_roles(uow, run.person_id))

    async def _make_usable(self, uow: UnitOfWork, run: Run) -> None:
        if run.passkey_id is not None:
            await set_state(uow, run.passkey_id, "suspended", "active")
            await self.facts.note(uow, LeafType.PASSKEY_CHANGED, run.person_id, passkey=run.passkey_id, state="active")
        email = None if run.email is None else self.people.open_email(run.person_id, run.email)
        if email is not None and is_email(email):
            await self.people.set_contact(uow, run.person_id, email)

    async def _tell(self, uow: UnitOfWork, run: Run) -> None:
        """A notice with the way to object, to the address known before and to the new one."""
        objection = new_pass()
        until = self.clock.now() + self.rules.objection
        row = {"sha256": sha256_of(objection), "run_id": run.id, "expires_at": until}
        await uow.execute(objection_table.insert(), row)
        also = None if run.email is None else self.people.open_email(run.person_id, run.email)
        assert run.usable_from is not None
        await self.letters.write(
            uow, run.person_id, "waiting" if run.state == "waiting" else "ready", also=also,
            link=f"{self.origin}/e/stop/{objection}", when=f"{run.usable_from.astimezone(VIETNAM):%H:%M %d/%m/%Y}",
        )  # fmt: skip

    async def ripen(self) -> int:
        """Delays that are over: what waited becomes usable. Returns how many."""
        t = run_table.c
        async with self.db.read() as uow:
            query = sa.select(t.id, t.person_id).where(t.state == "waiting", t.usable_from <= self.clock.now())
            due = (await uow.execute(query.limit(100))).all()
        return sum([await self._ripe(run_id, person_id) for run_id, person_id in due])

    async def _ripe(self, run_id: str, person_id: str) -> bool:
        try:
            async with self.db.write() as uow:
                await lock_person(uow, person_id)
                run = await run_by_id(uow, run_id)
                if run.state != "waiting":
                    return False
                if not await self._stands(uow, run):
                    await self.losses.stop(uow, run, "ended")
                    logger().warning("enrol.not_usable", id=run_id)
                    return False
                await move(uow, run_id, "waiting", "done")
                await self._make_usable(uow, run)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one that cannot ripen must not keep all the others waiting
            logger().error("enrol.ripening", id=run_id, code=code_of(error))
            return False
        return True
