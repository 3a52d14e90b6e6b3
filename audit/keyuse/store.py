"""Where a device's last run stopped in each part of its files, and a run's end in one transaction."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from audit.keyuse.model import Finding
from audit.keyuse.reading import Place
from audit.keyuse.records import finding_table, place_table, run_table
from core.clock import Clock
from core.db import Database
from core.errors import Conflict
from core.ids import new_id

__all__ = ["Last", "Saved", "last_run", "save"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Last:
    """What a run goes on from."""

    id: str | None
    until: dt.datetime | None
    carry: dict[str, Any]
    places: list[Place]
    """The newest of each part."""
    place_ids: dict[str, str]
    """By the part's first line."""

    @classmethod
    def none(cls) -> Self:
        """A beginning."""
        return cls(id=None, until=None, carry={}, places=[], place_ids={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A run to be stored."""

    id: str
    device: str
    before: str | None
    state: str
    began_at: dt.datetime
    ended_at: dt.datetime
    since: dt.datetime
    until: dt.datetime
    counts: dict[str, int]
    carry: dict[str, Any]
    places: list[tuple[Place, str | None]]
    """Each with the id of the place before."""
    findings: list[Finding]


async def last_run(db: Database, device: str) -> Last:
    """The newest run of that device, with the newest place of each part."""
    r, p = run_table.c, place_table.c
    later_run, later = run_table.alias(), place_table.alias()
    async with db.read() as uow:
        query = sa.select(run_table).where(
            r.device == device, r.state != "again", ~sa.exists().where(later_run.c.before == r.id)
        )  # the end of the chain, whatever a clock did
        run = (await uow.execute(query)).first()
        if run is None:
            return Last.none()
        newest = sa.select(place_table).where(p.device == device, ~sa.exists().where(later.c.before == p.id))
        rows = (await uow.execute(newest)).all()
    places = [
        Place(
            series=row.series, head=row.head, inode=row.inode, offset=row.offset, tail=row.tail,
            tail_size=row.tail_size, at=row.at,
        )
        for row in rows
    ]  # fmt: skip
    return Last(id=run.id, until=run.until, carry=run.carry, places=places, place_ids={r.head: r.id for r in rows})


async def save(db: Database, clock: Clock, run: Saved) -> dict[str, str]:
    """All of it or nothing; ids of the new places by their part's first line. Raises ``keyuse.run_overtaken``."""
    row = {
        "id": run.id, "device": run.device, "before": run.before, "state": run.state, "began_at": run.began_at,
        "ended_at": run.ended_at, "since": run.since, "until": run.until, "counts": run.counts, "carry": run.carry,
    }  # fmt: skip
    places = [
        {
            "id": new_id(clock), "run_id": run.id, "before": before, "device": run.device, "series": place.series,
            "head": place.head, "inode": place.inode, "offset": place.offset, "tail": place.tail,
            "tail_size": place.tail_size, "at": place.at,
        }
        for place, before in run.places
    ]  # fmt: skip
    try:
        async with db.write() as uow:
            await uow.execute(run_table.insert(), row)
            if places:
                await uow.execute(place_table.insert(), places)
            if run.findings:
                await uow.execute(finding_table.insert(), [_row(clock, run.id, each) for each in run.findings])
    except IntegrityError as error:
        raise Conflict("keyuse.run_overtaken") from error
    return {str(each["head"]): str(each["id"]) for each in places}


def _row(clock: Clock, run_id: str, finding: Finding) -> dict[str, Any]:
    place, name, version = finding.key or ("", "", 0)
    return {
        "id": new_id(clock), "run_id": run_id, "code": finding.code, "severity": finding.severity.value, "place": place,
        "name": name, "version": version, "what": finding.what, "who": finding.who, "count": finding.count,
        "first_at": finding.first_at, "last_at": finding.last_at, "requests": list(finding.requests),
    }  # fmt: skip
