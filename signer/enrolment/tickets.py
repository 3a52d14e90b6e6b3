"""Tickets to the desk: a one-time link with which an official registers the passkey that opens the desk.

That passkey belongs to the web's origin; none of the signing origin is ever made from a ticket.
"""

import datetime as dt

from core.clock import Clock
from core.db import UnitOfWork, insert_new, row_by, swap_state
from core.errors import Conflict, NotFound
from core.limits import LIMITS
from signer.enrolment.records import desk_ticket_table
from signer.enrolment.runs import new_pass, sha256_of

__all__ = ["make", "use"]


async def make(uow: UnitOfWork, clock: Clock, person_id: str, ticket: str | None = None) -> str:
    """A new one, good once within ``enrol.ticket_seconds``. ``ticket``: that very one, unless it was used or is late.

    Raises ``ticket.used``.
    """
    ticket = ticket or new_pass()
    until = clock.now() + dt.timedelta(seconds=LIMITS["enrol.ticket_seconds"])
    row = {"sha256": sha256_of(ticket), "person_id": person_id, "state": "open", "expires_at": until}
    if (await uow.execute(insert_new(uow, desk_ticket_table), row)).rowcount != 1:
        known = (await uow.execute(row_by(desk_ticket_table.c.sha256), {"value": row["sha256"]})).one()
        if known.state != "open" or clock.now() >= known.expires_at:
            raise Conflict("ticket.used")
    return ticket


async def use(uow: UnitOfWork, clock: Clock, ticket: str, *, spend: bool) -> str:
    """Whose it is; ``spend`` uses it up. Raises ``ticket.unknown``, the same for none, spent and late."""
    key = sha256_of(ticket)
    row = (await uow.execute(row_by(desk_ticket_table.c.sha256), {"value": key})).first()
    good = row is not None and row.state == "open" and clock.now() < row.expires_at
    if good and spend:
        good = await swap_state(uow, desk_ticket_table.c.sha256, key, "open", "used")
    if row is None or not good:
        raise NotFound("ticket.unknown")
    return str(row.person_id)
