"""How far the phone of a link's person has come, told before entry: whoever cannot enter is shown the way.

It says no more than the page of an enrolment link says: no name, no number, no device.
"""

import datetime as dt
from dataclasses import dataclass

from api.bootstrap import Service
from core.db import UnitOfWork

__all__ = ["Phone", "phone_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """``active`` · ``renew`` (the certificate has ended) · ``waiting`` · ``suspended`` · ``none`` · ``unknown``.

    ``unknown``: none, and nobody has told whom to expect: nobody could show that they are the person.
    """

    state: str
    usable_from: dt.datetime | None = None

    @property
    def enters(self) -> bool:
        """Whether a passkey opens this page."""
        return self.state in {"active", "renew"}


async def phone_of(service: Service, uow: UnitOfWork, person_id: str) -> Phone:
    """A simulated passkey of realm training is no phone."""
    people, phones = service.parts().people, service.parts().phones
    standing = await people.enrolled(uow, person_id)
    state = "renew" if standing.renewable else standing.state
    if state in {"active", "renew"} and not await people.has_phone(uow, person_id):
        state = "none"
    if state in {"none", "suspended"} and not await phones.can_be_proven(uow, person_id):
        state = "unknown"
    return Phone(state=state, usable_from=standing.usable_from)
