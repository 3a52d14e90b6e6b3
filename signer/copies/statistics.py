"""Counts for an agency's work: by day, kind and regime; how many were ready in time. No personal data."""

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from core.clock import VIETNAM
from core.db import UnitOfWork
from signer.records import copy_table

__all__ = ["DayCount", "daily"]


@dataclass(frozen=True, slots=True)
class DayCount:
    """One day of one agency, kind and regime; ``on_time``: released within the promised hours."""

    day: dt.date
    agency_id: str
    kind: str
    regime: str
    made: int
    released: int
    on_time: int
    voided: int
    recalled: int


async def daily(
    uow: UnitOfWork, agencies: frozenset[str], first: dt.date, last: dt.date, promised_hours: int
) -> list[DayCount]:
    """Days as they are in Viet Nam, both ends included; by the day a copy was asked for."""
    t = copy_table.c
    offset = 7 * 3600 * 1_000_000  # Viet Nam keeps UTC+7 all year
    raw = sa.type_coerce(t.created_at, sa.BigInteger)
    # times are whole microseconds in both databases; the remainder makes the division exact in both
    shifted = raw + offset
    day = (shifted - shifted % 86_400_000_000) / 86_400_000_000
    start = dt.datetime.combine(first, dt.time(), VIETNAM)
    end = dt.datetime.combine(last + dt.timedelta(days=1), dt.time(), VIETNAM)
    kind = t.facts["kind"].as_string()
    released = t.state == "released"
    in_time = sa.and_(
        released,
        sa.type_coerce(t.settled_at, sa.BigInteger) - raw <= promised_hours * 3600 * 1_000_000,
    )

    def count(when: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((when, 1), else_=0)), 0)

    query = (
        sa.select(
            day.label("day"), t.agency_id, kind.label("kind"), t.regime, sa.func.count().label("made"),
            count(released).label("released"), count(in_time).label("on_time"),
            count(t.state == "voided").label("voided"), count(t.recalled_at.is_not(None)).label("recalled"),
        )
        .where(t.agency_id.in_(agencies), t.created_at >= start, t.created_at < end)
        .group_by(sa.text("day"), t.agency_id, sa.text("kind"), t.regime)
        .order_by(sa.text("day"), t.agency_id, sa.text("kind"))
    )  # fmt: skip
    epoch = dt.date(1970, 1, 1)
    return [
        DayCount(
            epoch + dt.timedelta(days=int(row.day)), row.agency_id, row.kind, row.regime, int(row.made), int(row.released),
            int(row.on_time), int(row.voided), int(row.recalled),
        )
        for row in await uow.execute(query)
    ]  # fmt: skip
