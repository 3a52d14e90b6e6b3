"""A passkey that is in use speaks for its person: it lets a further one in, and it ends what waits for a delay."""

from dataclasses import dataclass

from core.clock import Clock
from core.db import Database
from core.errors import Refused
from core.values import Realm
from signer.activation.devices import Passkey, passkeys_of
from signer.activation.passkeys import Assertion, RelyingParty
from signer.enrolment import registration
from signer.enrolment.identity import Identities
from signer.enrolment.letters import Letters
from signer.enrolment.losses import Losses
from signer.enrolment.runs import enrol_link, lock_person
from signer.links import Link

__all__ = ["KnownPasskeys"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPasskeys:
    """Questions and answers; each answer is good for what its question was about."""

    db: Database
    clock: Clock
    realm: Realm
    relying_party: RelyingParty
    identities: Identities
    losses: Losses
    letters: Letters

    async def ask(self, token: str, *, do: str = "approve") -> tuple[registration.Challenge, list[Passkey]]:
        """A question for one of the person's active passkeys. ``do``: ``approve`` lets a further one in, ``stop`` ends what waits.

        Raises ``enrol.no_passkey``.
        """
        async with self.db.write() as uow:
            link = await enrol_link(uow, self.clock, token)
            known = [key for key in await passkeys_of(uow, link.person_id) if key.state == "active"]
            if not known:
                raise Refused("enrol.no_passkey")
            asked = await registration.ask(
                uow, self.clock, do=do, person_id=link.person_id, about=link.sha256.hex(), realm=self.realm,
                rp=self.relying_party,
            )  # fmt: skip
        return asked, known

    async def admit(self, token: str, tx: str, assertion: Assertion) -> str:
        """A pass. Raises ``passkey.*``, ``activation.*``, ``enrol.term_ended``."""
        link, challenge = await self._spent(token, tx, "approve")
        async with self.db.write() as uow:
            await lock_person(uow, link.person_id)
            await registration.approved_by(uow, challenge, self.relying_party, self.realm, assertion)
            return await self.identities.by_passkey(uow, link.person_id, link.sha256)

    async def stop(self, token: str, tx: str, assertion: Assertion) -> int:
        """Ends what waits for its delay: a phone in use goes before one by a log-in. Raises ``passkey.*``, ``activation.*``."""
        link, challenge = await self._spent(token, tx, "stop")
        async with self.db.write() as uow:
            await lock_person(uow, link.person_id)
            await registration.approved_by(uow, challenge, self.relying_party, self.realm, assertion)
            stopped = await self.losses.stop_waiting(uow, link.person_id, "objected")
            if stopped:
                await self.letters.write(uow, link.person_id, "objected")
            return stopped

    async def _spent(self, token: str, tx: str, do: str) -> tuple[Link, registration.Challenge]:
        async with self.db.write() as uow:
            link = await enrol_link(uow, self.clock, token)
            return link, await registration.spend(uow, self.clock, tx, do=do, about=link.sha256.hex())
