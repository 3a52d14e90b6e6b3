"""``/api/v1/statistics``: counts for reports, as JSON and as open data without anybody in it."""

import csv
import datetime as dt
import io
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.clients.model import Caller
from api.portal.answers import download
from api.web.access import client
from api.web.parts import Parts, WebParts
from core.clock import VIETNAM
from core.errors import BadInput
from core.limits import LIMITS
from core.values import Regime
from signer.copies import statistics

__all__ = ["router"]

router = APIRouter(prefix="/statistics", tags=["statistics"])


class RowOut(BaseModel):
    """Counts of one day, agency, kind and regime."""

    day: dt.date
    agency: str
    kind: str
    regime: Regime
    made: int
    released: int
    on_time: int
    voided: int
    recalled: int


class TotalsOut(BaseModel):
    """Over all rows; ``on_time_rate``: of those released."""

    made: int
    released: int
    on_time: int
    voided: int
    recalled: int
    on_time_rate: float | None


class StatisticsOut(BaseModel):
    """Rows and their totals."""

    rows: list[RowOut]
    totals: TotalsOut


Reader = Annotated[Caller, client("statistics:read")]
Day = Annotated[dt.date, Query(ge=dt.date(2000, 1, 1), lt=dt.date(9999, 1, 1))]
Hours = Annotated[int, Query(ge=1, le=24 * 60, description="Hours within which a copy is due.")]


async def _rows(
    parts: WebParts, caller: Caller, first: dt.date | None, last: dt.date | None, hours: int
) -> list[dict[str, Any]]:
    today = parts.service.clock.now().astimezone(VIETNAM).date()
    last = last or today
    first = first or last - dt.timedelta(days=30)
    if not dt.timedelta() <= last - first <= dt.timedelta(days=LIMITS["statistics.days"]):
        raise BadInput("statistics.bad_days", most=LIMITS["statistics.days"])
    async with parts.service.db.read() as uow:
        found = await statistics.daily(uow, caller.agencies, first, last, hours)
        codes = {a.id: a.code for a in await parts.service.directory.agencies(uow)}
    return [
        {"day": row.day.isoformat(), "agency": codes[row.agency_id],
         **{k: v for k, v in asdict(row).items() if k not in {"day", "agency_id"}}}
        for row in found
    ]  # fmt: skip


@router.get("", response_model=StatisticsOut)
async def get_statistics(
    parts: Parts, caller: Reader, first: Day | None = None, last: Day | None = None, due_hours: Hours = 24
) -> JSONResponse:
    """By day, agency, kind and regime, with totals and the rate of copies ready in time."""
    rows = await _rows(parts, caller, first, last, due_hours)
    names = ("made", "released", "on_time", "voided", "recalled")
    totals = {name: sum(row[name] for row in rows) for name in names}
    rate = round(totals["on_time"] / totals["released"], 4) if totals["released"] else None
    return JSONResponse(
        {"rows": rows, "totals": {**totals, "on_time_rate": rate}}, headers={"cache-control": "no-store"}
    )


@router.get("/open-data.csv", response_class=Response, responses=download("text/csv"))
async def get_open_data(
    parts: Parts, caller: Reader, first: Day | None = None, last: Day | None = None, due_hours: Hours = 24
) -> Response:
    """The same rows as a table."""
    rows = await _rows(parts, caller, first, last, due_hours)
    text = io.StringIO()
    columns = ("day", "agency", "kind", "regime", "made", "released", "on_time", "voided", "recalled")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    # a kind of paper is free text: what a spreadsheet would run as a formula stays a text
    writer.writerows({k: f"'{v}" if str(v)[:1] in "=+-@\t" else v for k, v in row.items()} for row in rows)
    return Response(
        b"\xef\xbb\xbf" + text.getvalue().encode(),
        media_type="text/csv; charset=utf-8",
        headers={"cache-control": "no-store"},
    )
