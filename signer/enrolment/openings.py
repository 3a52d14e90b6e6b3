"""How a run begins, whoever showed identity and however: what it is about, the fact, and the pass."""

import base64
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from audit.events import LeafType
from core.clock import Clock
from core.db import UnitOfWork
from core.errors import Refused
from core.values import Realm
from signer.enrolment.facts import Facts
from signer.enrolment.people import People
from signer.enrolment.runs import open_run

__all__ = ["Openings", "kind_for"]


def kind_for(standing: str, passkeys: Collection[str]) -> str:
    """What a run is about, by the states of passkeys that were usable once: whoever had one never counts as new."""
    if standing == "active" or "active" in passkeys:
        return "second"
    return "again" if passkeys else "first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Openings:
    """Works inside the caller's transaction, under the lock on the person."""

    clock: Clock
    realm: Realm
    people: People
    facts: Facts

    async def require_term(self, uow: UnitOfWork, person_id: str) -> None:
        """Who acts for an agency needs a role that runs now. Raises ``enrol.term_ended``."""
        if await self.people.roles(uow, person_id) and not await self.people.running_roles(uow, person_id):
            raise Refused("enrol.term_ended")

    async def open(
        self, uow: UnitOfWork, person_id: str, *, method: str, kind: str = "", issuer: str | None = None, **more: Any
    ) -> str:
        """The pass of a run that is ``identified``. ``more``: columns of the run. Raises ``enrol.term_ended``."""
        await self.require_term(uow, person_id)
        if not kind and not await self.people.has_phone(uow, person_id):
            kind = "first"
        if not kind:
            standing = await self.people.enrolled(uow, person_id)
            kind = kind_for(standing.state, {key.state for key in await self.people.settled_passkeys(uow, person_id)})
        subject = more.get("subject")
        await self.facts.note(
            uow, LeafType.IDENTITY_VERIFIED, person_id, method=method, kind=kind, level=more.get("level"), issuer=issuer,
            subject=None if subject is None else base64.b64encode(subject).decode(),
        )  # fmt: skip
        return await open_run(uow, self.clock, person_id=person_id, realm=self.realm, kind=kind, method=method, **more)
