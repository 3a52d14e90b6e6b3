"""Ceremony: *enrol a phone*; steps as in ``docs/flows/enrol.md``.

What each step leaves behind, and so what a crash after it means:

1. *arrive* nothing: the link says whom it expects.
2. *identify* a run with a pass (``identified``), and the fact that identity was proven. Whoever loses the pass proves again.
3. *consent* the wording's digest and the time (``consented``).
4. *register* the passkey, suspended (``registered``). It cannot approve anything yet.
5. *certify* a key and its certificate, which belong to nobody yet; after a crash here they stay so and are made again.
6. *finish* credential, passkey, facts, leaves and notice in one transaction: ``done``, or ``waiting`` until the delay is over.

A run moves by compare-and-swap, under a lock on the person. No step is done for somebody else: each but the first needs
the pass, and no other way to a passkey exists.
"""

import asyncio
import datetime as dt
import hashlib
import itertools
from dataclasses import dataclass
from typing import Final

from core.clock import Clock
from core.db import Database, UnitOfWork, insert_new
from core.directory.records import Directory
from core.errors import Conflict, NotFound, Refused
from core.logs import code_of, logger
from core.values import Realm
from signer.activation import redeem
from signer.activation.devices import Passkey, passkeys_of, set_state
from signer.activation.passkeys import RelyingParty
from signer.enrolment import registration, tickets
from signer.enrolment.facts import Facts
from signer.enrolment.finishing import Finishing
from signer.enrolment.identity import Asked, Identities
from signer.enrolment.keys import PersonKeys
from signer.enrolment.known import KnownPasskeys
from signer.enrolment.letters import Letters
from signer.enrolment.losses import Losses
from signer.enrolment.model import Arrival, Lost, Stage, consent_text
from signer.enrolment.officials import Officials
from signer.enrolment.oidc import Claims
from signer.enrolment.people import People, Standing
from signer.enrolment.records import consent_table
from signer.enrolment.runs import Run, enrol_link, lock_person, move, run_by_id, running
from signer.enrolment.vouching import Vouching
from signer.links import end_links, make_link

__all__ = ["Arrival", "Lost", "Phones", "Stage", "consent_text"]

_LOOK_SECONDS: Final = 5.0
_SWEEP_LOOKS: Final = 12
"""Ends of terms are looked for once in so many looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phones:
    """The desk of enrolment."""

    db: Database
    clock: Clock
    realm: Realm
    directory: Directory
    people: People
    identities: Identities
    vouching: Vouching
    keys: PersonKeys
    losses: Losses
    officials: Officials
    known: KnownPasskeys
    finishing: Finishing
    letters: Letters
    facts: Facts
    relying_party: RelyingParty

    # ------------------------------------------------------------------------------------------------------ 1 arrive
    async def invite(
        self, person_id: str, *, national_id: str | None = None, email: str | None = None, days: int = 14
    ) -> str:
        """A link token for a person; older ones end. For officials and clerks the number is told here.

        Raises ``directory.no_such_person``, ``people.bad_number``, ``people.other_number``, ``people.bad_email``.
        """
        async with self.db.write() as uow:
            return await self.link_for(uow, person_id, national_id=national_id, email=email, days=days)

    async def link_for(
        self,
        uow: UnitOfWork,
        person_id: str,
        *,
        national_id: str | None = None,
        email: str | None = None,
        days: int = 14,
    ) -> str:
        """The same inside a transaction: for a step whose person has no phone yet. What a portal said goes along."""
        await self.directory.person(uow, person_id)
        if national_id is not None:
            await self.people.know(uow, person_id, national_id)
        if email is not None and await self.people.contact(uow, person_id) is None:
            await self.people.set_contact(uow, person_id, email)  # a known address changes only by enrolling
        await end_links(uow, self.clock, "enrol", person_id)
        token = await make_link(
            uow, self.clock, kind="enrol", subject=[person_id], person_id=person_id,
            expires_at=self.clock.now() + dt.timedelta(days=days),
        )  # fmt: skip
        await self.vouching.carry_over(uow, person_id, token)
        return token

    async def can_be_proven(self, uow: UnitOfWork, person_id: str) -> bool:
        """Whether somebody could show to be this person: a number is known, or a portal has given its word."""
        return await self.people.has_number(uow, person_id) or await self.vouching.is_vouched(uow, person_id)

    async def vouched(self, person_id: str, *, level: str, email: str, subject: str, days: int = 3) -> str:
        """A link token for a person whose identity a portal asserts. Raises what ``Vouching.vouched`` raises."""
        async with self.db.write() as uow:
            await self.directory.person(uow, person_id)
            await lock_person(uow, person_id)
            await end_links(uow, self.clock, "enrol", person_id)
            until = self.clock.now() + dt.timedelta(days=days)
            return await self.vouching.vouched(
                uow, person_id=person_id, level=level, email=email, subject=subject, expires_at=until
            )

    async def arrival(self, token: str) -> Arrival:
        """Raises ``link.unknown``, ``link.expired``."""
        async with self.db.read() as uow:
            link = await enrol_link(uow, self.clock, token)
            person = await self.directory.person(uow, link.person_id)
            agency = await self.directory.agency(uow, person.agency_id)
            standing = await self.people.enrolled(uow, person.id)
            if standing.state == "active" and not await self.people.has_phone(uow, person.id):
                standing = Standing(state="none")
            official = bool(await self.people.roles(uow, person.id))
            return Arrival(
                agency=agency.name, standing=standing, official=official, login=self.identities.provider is not None,
                portal=await self.vouching.vouched_run(uow, link) is not None, expires=link.expires_at,
                waiting=await self.people.waiting(uow, person.id),
                ended=official and not await self.people.running_roles(uow, person.id),
            )  # fmt: skip

    async def suspend(self, uow: UnitOfWork, person_id: str, *, by: str = "agency") -> None:
        """Stop all passkeys of a person at once, as their agency decided or they themselves asked."""
        await self.losses.suspend_in(uow, person_id, by=by)

    # ---------------------------------------------------------------------------------------------------- 2 identify
    async def ask_login(self, token: str | None) -> Asked:
        """Begin a log-in for a link, or, without one, about a lost phone. Raises ``identity.*``, ``link.*``."""
        link = None
        if token is not None:
            async with self.db.read() as uow:
                link = await enrol_link(uow, self.clock, token)
        return await self.identities.ask(link)

    async def answer_login(self, *, flow: str, state: str, code: str | None, iss: str | None) -> str | list[Lost]:
        """A pass; of a log-in about a lost phone what was suspended, each with a pass to enrol again.

        Raises ``identity.*``, ``enrol.waiting``.
        """
        returned = await self.identities.answer(flow=flow, state=state, code=code, iss=iss)
        if returned.person_id is not None:
            token = await self.identities.admit(returned, self.losses.give_way)
            await self._clear_for(token)
            return token
        async with self.db.read() as uow:
            found = await self.people.behind(uow, returned.claims.number)
        lost = [await self._lost(person_id, returned.claims) for person_id in found]
        if not any(lost):
            raise NotFound("enrol.nothing_to_suspend")
        return [each for each in lost if each is not None]

    async def _lost(self, person_id: str, claims: Claims) -> Lost | None:
        """Locking needs no more than the log-in; what comes back afterwards needs all that a first enrolment needs."""
        async with self.db.write() as uow:
            person = await self.directory.person(uow, person_id)
            standing = await self.people.enrolled(uow, person_id)
            if standing.state == "none" and not await self.people.settled_passkeys(uow, person_id):
                return None
            stopped = await self.losses.suspend_in(uow, person_id, by="person")
            try:
                token = await self.identities.identified(uow, person_id, claims, None, self.losses.give_way)
                await self.losses.take_back(uow, person_id)
            except Refused as error:
                logger().warning("identity.refused", id=person_id, code=error.code)
                token = None
            agency = await self.directory.agency(uow, person.agency_id)
            official = bool(await self.people.roles(uow, person_id))
            return Lost(agency=agency.name, official=official, stopped=stopped, token=token)

    async def _clear_for(self, token: str) -> None:
        """After a loss a proven identity ends what was suspended, whatever becomes of the new enrolment."""
        async with self.db.write() as uow:
            run = await running(uow, self.clock, token)
            if run.kind == "again":
                await lock_person(uow, run.person_id)
                await self.losses.take_back(uow, run.person_id)

    async def send_code(self, token: str) -> int:
        """Six digits by the second channel; returns their life in seconds. Raises ``enrol.*``, ``messenger.*``."""
        return await self.vouching.send_code(token)

    async def answer_code(self, token: str, code: str) -> str:
        """A pass. Raises ``enrol.*``."""
        made = await self.vouching.answer_code(token, code)
        await self._clear_for(made)
        return made

    # ----------------------------------------------------------------------------------------------------- 3 consent
    async def stage(self, token: str) -> Stage:
        """Where the run of a pass stands. Raises ``pass.missing``, ``pass.expired``."""
        async with self.db.read() as uow:
            return await self._stage(uow, await running(uow, self.clock, token))

    async def _stage(self, uow: UnitOfWork, run: Run) -> Stage:
        return Stage(
            state=run.state, kind=run.kind, method=run.method, usable_from=run.usable_from, delayed=run.delayed,
            official=bool(await self.people.running_roles(uow, run.person_id)),
            desk=await self.officials.refusal(uow, run) is None,
        )  # fmt: skip

    async def consent(self, token: str, sha256: bytes) -> None:
        """The person agreed to the wording with that digest. Raises ``enrol.other_wording``, ``enrol.moved``."""
        text = consent_text()
        if hashlib.sha256(text.encode()).digest() != sha256:
            raise Conflict("enrol.other_wording")
        async with self.db.write() as uow:
            run = await running(uow, self.clock, token)
            await uow.execute(insert_new(uow, consent_table), {"sha256": sha256, "text": text})
            await move(uow, run.id, "identified", "consented", consent=sha256, consented_at=self.clock.now())

    # ---------------------------------------------------------------------------------------------------- 4 register
    async def ask_registration(self, token: str) -> tuple[registration.Challenge, list[Passkey]]:
        """A question for ``navigator.credentials.create``, with the passkeys it must not be. Raises ``enrol.moved``."""
        async with self.db.write() as uow:
            run = await running(uow, self.clock, token)
            if run.state != "consented" or run.kind == "renewal":
                raise Conflict("enrol.moved")
            asked = await registration.ask(
                uow, self.clock, do="create", person_id=run.person_id, about=run.id, realm=self.realm,
                rp=self.relying_party,
            )  # fmt: skip
            known = await passkeys_of(uow, run.person_id)
            return asked, [key for key in known if key.state != "revoked"]

    async def register(
        self, token: str, tx: str, *, credential_id: bytes, client_data: bytes, attestation: bytes, label: str = ""
    ) -> None:
        """Verify the new passkey and keep it, suspended. Raises ``passkey.*``, ``activation.passkey_known``."""
        async with self.db.write() as uow:
            run = await running(uow, self.clock, token)
            challenge = await registration.spend(uow, self.clock, tx, do="create", about=run.id)
        made = registration.verify_made(
            challenge.value, self.relying_party, credential_id=credential_id, client_data=client_data,
            attestation=attestation,
        )  # fmt: skip
        async with self.db.write() as uow:
            await lock_person(uow, run.person_id)
            passkey_id = await redeem.enrol_passkey(
                uow, self.clock, person_id=run.person_id, realm=self.realm, credential_id=made.credential_id,
                public_key=made.public_key, kind="platform", flags=made.flags, sign_count=made.sign_count, label=label[:64],
            )  # fmt: skip
            await set_state(uow, passkey_id, "active", "suspended")
            await move(uow, run.id, "consented", "registered", passkey_id=passkey_id)

    # ------------------------------------------------------------------------------------------- 5 certify, 6 finish
    async def finish(self, token: str) -> Stage:
        """Key, certificate, proof, and the end of the run; may be repeated.

        Raises ``enrol.moved``, ``enrol.term_ended``, ``enrol.official_by_portal``, ``ca.*``, ``key.*``.
        """
        async with self.db.read() as uow:
            run = await running(uow, self.clock, token)
            if run.state in {"done", "waiting"}:
                return await self._stage(uow, run)
            if run.state != ("consented" if run.kind == "renewal" else "registered"):
                raise Conflict("enrol.moved")
            person = await self.directory.person(uow, run.person_id)
            agency = await self.directory.agency(uow, person.agency_id)
            await self.identities.openings.require_term(uow, person.id)
            official = bool(await self.people.roles(uow, person.id))
            wanted = await self.people.has_own_key(uow, person.id) and not await self.keys.valid(uow, person.id)
        made = None
        if wanted:  # 5 certify
            made = await self.keys.make(person, agency, official=official, event_id=run.id)
        try:
            async with self.db.write() as uow:  # 6 finish
                await lock_person(uow, person.id)
                run = await self.finishing.settle(uow, await run_by_id(uow, run.id), made, official=official)
                found = await self._stage(uow, run)
            if run.state == "ended":
                raise Refused("enrol.official_by_portal")
        except BaseException:  # also whoever was interrupted: what was settled stays, and asking again says so
            if made is not None:
                await self.keys.forget(person.id, made)
            raise
        return found

    async def ripen(self) -> int:
        """Delays that are over: what waited becomes usable. Returns how many."""
        return await self.finishing.ripen()

    # --------------------------------------------------------------------------------------------------- officials
    async def ticket_of(self, token: str) -> str:
        """A run's one ticket to the desk. Raises what ``Officials.ticket_of`` raises."""
        return await self.officials.ticket_of(token)

    async def desk_ticket(self, person_id: str) -> str:
        """Lets an official register one log-in passkey at the desk. Raises ``ticket.no_official``."""
        return await self.officials.desk_ticket(person_id)

    async def use_ticket(self, ticket: str, *, spend: bool) -> str:
        """Whose it is; ``spend`` uses it up. Raises ``ticket.unknown``."""
        async with self.db.write() as uow:
            return await tickets.use(uow, self.clock, ticket, spend=spend)

    async def end_official(self, uow: UnitOfWork, person_id: str) -> int:
        """When the last term of a person has ended: their key too. Returns how many; 0 while any role runs or is to begin."""
        return await self.officials.end(uow, person_id)

    # ------------------------------------------------------------------------------------------------------- by itself
    async def serve(self) -> None:
        """Delays end, letters leave; until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.letters.serve())
                group.create_task(self._ripening())
        finally:
            if self.identities.provider is not None:
                await self.identities.provider.close()

    async def _ripening(self) -> None:
        for look in itertools.count():
            try:
                await self.ripen()
                if look % _SWEEP_LOOKS == 0:
                    await self.officials.sweep()
                await self.facts.log.sequence()  # leaves that nothing else has taken along
            except Exception as error:  # noqa: BLE001 - whatever it was, the next look is in a moment
                logger().warning("enrol.ripening", code=code_of(error))
            await asyncio.sleep(_LOOK_SECONDS)
