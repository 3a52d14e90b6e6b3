"""What officials have beside a phone: tickets to the desk while a role runs, and an end of the key when the last one ends."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

import sqlalchemy as sa

from core.clock import Clock
from core.db import Database, UnitOfWork
from core.directory.records import authorisation_table
from core.errors import Conflict, Refused, ServiceError
from core.logs import logger
from signer.activation.devices import passkeys_of
from signer.credentials import credential_table
from signer.enrolment import tickets
from signer.enrolment.keys import CESSATION, PersonKeys
from signer.enrolment.losses import Losses
from signer.enrolment.people import People
from signer.enrolment.records import RUNNING
from signer.enrolment.runs import Run, end_running, lock_person, running
from signer.keystores.model import KeyPurpose

__all__ = ["Officials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Officials:
    """Tickets and the end of a term."""

    db: Database
    clock: Clock
    people: People
    keys: PersonKeys
    losses: Losses
    key: bytes
    """32 bytes: for tickets."""

    # -------------------------------------------------------------------------------------------------------- tickets
    async def ticket_of(self, token: str) -> str:
        """The one ticket of a run, the same however often it is asked for: of who has just enrolled, or shown a passkey.

        Raises ``pass.missing``, ``pass.expired``, ``ticket.no_official``, ``ticket.used``, ``enrol.moved``.
        """
        async with self.db.write() as uow:
            run = await running(uow, self.clock, token)
            await lock_person(uow, run.person_id)
            refusal = await self.refusal(uow, run)
            if refusal is not None:
                raise refusal
            value = hmac.digest(self.key, f"ticket {run.id} {token}".encode(), hashlib.sha256)[:24]
            return await tickets.make(uow, self.clock, run.person_id, base64.urlsafe_b64encode(value).decode())

    async def refusal(self, uow: UnitOfWork, run: Run) -> ServiceError | None:
        """Why the run's pass gives no ticket: its time, its passkey or the role is over; None: it gives one."""
        if not await self.people.running_roles(uow, run.person_id):
            return Refused("ticket.no_official")
        if self.clock.now() >= run.expires_at:
            return Refused("pass.expired")
        shown = run.method == "passkey" and run.state in RUNNING  # nothing made yet: a passkey in use let it in
        usable = {key.id for key in await passkeys_of(uow, run.person_id) if key.state == "active"}
        counts = bool(usable) if shown or run.passkey_id is None else run.passkey_id in usable
        return None if counts and (shown or run.state == "done") else Conflict("enrol.moved")

    async def desk_ticket(self, person_id: str) -> str:
        """Lets an official register one log-in passkey at the desk. Raises ``ticket.no_official``."""
        async with self.db.write() as uow:
            if not await self.people.running_roles(uow, person_id):
                raise Refused("ticket.no_official")
            return await tickets.make(uow, self.clock, person_id)

    # -------------------------------------------------------------------------------------------------- end of a term
    async def end(self, uow: UnitOfWork, person_id: str) -> int:
        """Their keys for the agency: retired, certificates revoked (cessation), what was under way ended. Returns how many.

        Nothing while a role runs or is yet to begin, and nothing of a citizen's; may be repeated.
        """
        await lock_person(uow, person_id)
        if not await self.people.roles(uow, person_id) or await self.people.has_term(uow, person_id):
            return 0
        ended = await self.keys.active(uow, person_id)
        for credential in ended:
            await self.losses.end_credential(uow, person_id, credential, CESSATION)
        await end_running(uow, person_id)
        await self.losses.stop_waiting(uow, person_id, "ended")
        if ended:
            logger().warning("enrol.term_ended", id=person_id, count=len(ended))
        return len(ended)

    async def sweep(self) -> int:
        """Terms that ended by their date: nobody decides anything on that day. Returns how many keys ended."""
        a, c, now = authorisation_table.c, credential_table.c, self.clock.now()
        held = sa.exists().where(a.person_id == c.owner)
        lasting = held.where(sa.or_(a.valid_to.is_(None), a.valid_to > now))
        query = sa.select(c.owner).where(c.purpose == KeyPurpose.DOCUMENT, c.state == "active", held, ~lasting)
        async with self.db.read() as uow:
            due = set((await uow.execute(query.limit(100))).scalars())
        count = 0
        for person_id in sorted(due):
            async with self.db.write() as uow:
                count += await self.end(uow, person_id)
        return count
