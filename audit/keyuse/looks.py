"""What the comparison has found so far, for those who answer for keys; and that one of them has looked at it."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from audit.keyuse.model import Finding, KeyVersion, Severity
from audit.keyuse.records import finding_table, look_table, run_table, told_table
from core.clock import Clock
from core.db import UnitOfWork, insert_new
from core.errors import Conflict, NotFound
from core.limits import LIMITS

__all__ = ["Found", "Look", "Standing", "found", "look", "standing", "tell", "untold"]

_f, _r, _l = finding_table.c, run_table.c, look_table.c
_CRITICAL = (
    sa.select(_l.finding_id.is_not(None).label("seen"), sa.func.count().label("count"), sa.func.max(_r.ended_at).label("newest"))
    .select_from(finding_table.join(run_table).outerjoin(look_table))
    .where(_f.severity == Severity.CRITICAL.value)
    .group_by("seen")
)  # fmt: skip
_BEGAN = sa.select(sa.func.min(_r.began_at)).where(_r.state != "again")
_COMPLETED = sa.select(sa.func.max(_r.until)).where(_r.state == "whole")
_WAITS = sa.case((sa.and_(_f.severity == Severity.CRITICAL.value, _l.finding_id.is_(None)), 0), else_=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Of the comparison as a whole, once it has run."""

    waiting: int
    """Critical findings that nobody has looked at."""
    newest: dt.datetime | None
    """When the newest of those was found."""
    seen: int
    """Critical findings that somebody has looked at."""
    until: dt.datetime
    """Everything up to here was compared; where no run ever came to its end, when the first began."""
    overdue: bool
    """That is longer ago than ``keyuse.overdue_hours``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Somebody has looked at a finding."""

    person_id: str
    why: str
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A finding as it is stored."""

    id: str
    run_id: str
    run_at: dt.datetime
    """When its run ended."""
    finding: Finding
    look: Look | None


async def standing(uow: UnitOfWork, now: dt.datetime) -> Standing | None:
    """None where it never ran here."""
    began = (await uow.execute(_BEGAN)).scalar_one()
    if began is None:
        return None
    until = (await uow.execute(_COMPLETED)).scalar_one() or began
    rows = {bool(row.seen): row for row in await uow.execute(_CRITICAL)}
    waiting, seen = rows.get(False), rows.get(True)
    return Standing(
        waiting=waiting.count if waiting else 0, newest=waiting.newest if waiting else None,
        seen=seen.count if seen else 0, until=until,
        overdue=now - until > dt.timedelta(hours=LIMITS["keyuse.overdue_hours"]),
    )  # fmt: skip


async def found(uow: UnitOfWork, limit: int) -> list[Found]:
    """All but notes: critical ones that wait first, then the newest."""
    query = (
        sa.select(finding_table, _r.ended_at, _l.person_id, _l.why, _l.at.label("looked_at"))
        .select_from(finding_table.join(run_table).outerjoin(look_table))
        .where(_f.severity != Severity.NOTE.value)
        .order_by(_WAITS, _r.ended_at.desc(), _f.id)
        .limit(limit)
    )
    return [_found(row) for row in await uow.execute(query)]


def _found(row: Any) -> Found:
    key = KeyVersion(row.place, row.name, row.version) if row.place or row.name else None
    return Found(
        id=row.id, run_id=row.run_id, run_at=row.ended_at,
        finding=Finding(
            code=row.code, severity=Severity(row.severity), key=key, what=row.what, who=row.who, count=row.count,
            first_at=row.first_at, last_at=row.last_at, requests=tuple(row.requests),
        ),
        look=None if row.looked_at is None else Look(person_id=row.person_id, why=row.why, at=row.looked_at),
    )  # fmt: skip


async def look(uow: UnitOfWork, clock: Clock, finding_id: str, person_id: str, why: str) -> None:
    """Once, whoever is first. Raises ``keyuse.no_such_finding``, ``keyuse.looked_at``."""
    known = sa.select(_f.id).where(_f.id == finding_id, _f.severity != Severity.NOTE.value)
    if (await uow.execute(known)).first() is None:
        raise NotFound("keyuse.no_such_finding")
    row = {"finding_id": finding_id, "person_id": person_id, "why": why, "at": clock.now()}
    if (await uow.execute(insert_new(uow, look_table), row)).rowcount != 1:
        raise Conflict("keyuse.looked_at")


async def untold(uow: UnitOfWork) -> list[str]:
    """Runs with critical findings about which nobody was written to."""
    known = sa.exists().where(told_table.c.run_id == _f.run_id)
    query = sa.select(_f.run_id).where(_f.severity == Severity.CRITICAL.value, ~known).distinct().order_by(_f.run_id)
    return list((await uow.execute(query)).scalars())


async def tell(uow: UnitOfWork, clock: Clock, run_id: str) -> bool:
    """With the letters about it; false where another process was first."""
    row = {"run_id": run_id, "at": clock.now()}
    return bool((await uow.execute(insert_new(uow, told_table), row)).rowcount == 1)
