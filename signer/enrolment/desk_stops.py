"""A lost or stopped phone closes the desk too: what opened it before the mark opens it no more.

The signer writes the mark; the web process only reads it, so a broken one cannot take it away. Log-in passkeys and sessions
made before it count for nothing, tickets that lie about are used up. A ticket given afterwards starts afresh.
"""

import datetime as dt

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, UtcDateTime, insert_new, metadata, row_by
from signer.enrolment.records import desk_ticket_table

__all__ = ["desk_stop_table", "stop_desk", "stopped_at"]

desk_stop_table = sa.Table(
    "desk_stop",
    metadata,
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("since", UtcDateTime, nullable=False),
)
"""One mark a person: the newest."""


async def stop_desk(uow: UnitOfWork, clock: Clock, person_id: str) -> None:
    """From now on nothing opens the person's desk that was made until now. May be repeated."""
    values = {"person_id": person_id, "since": clock.now()}
    if (await uow.execute(insert_new(uow, desk_stop_table), values)).rowcount != 1:
        t = desk_stop_table.c
        await uow.execute(desk_stop_table.update().where(t.person_id == person_id).values(since=values["since"]))
    k = desk_ticket_table.c
    lying = k.person_id == person_id, k.state == "open"
    await uow.execute(desk_ticket_table.update().where(*lying).values(state="used"))


async def stopped_at(uow: UnitOfWork, person_id: str) -> dt.datetime | None:
    """The mark; None where there is none. What was made at that very moment is before it."""
    row = (await uow.execute(row_by(desk_stop_table.c.person_id), {"value": person_id})).first()
    return None if row is None else row.since
