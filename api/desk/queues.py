"""What waits for whom: read from the register as it is, oldest first. Nothing here changes anything."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from api.desk.deadlines import due_on
from api.desk.sessions import DeskPerson
from core.clock import VIETNAM
from core.db import UnitOfWork
from core.errors import NotFound, Refused
from core.limits import LIMITS
from signer.copies import store
from signer.copies.inbox import Inbox, PortalRequest, request_table
from signer.copies.model import CertifiedCopy
from signer.copies.register import book_table, entry_table
from signer.copies.wording import Wording, legal_date
from signer.records import copy_table
from signer.requests.records import request_table as signature_table
from signer.requests.records import step_table

__all__ = ["Line", "Received", "Step", "copy_of", "line_of", "masked", "queue", "received", "request_of", "steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One copy in a queue."""

    id: str
    state: str
    kind: str
    number: str
    """As printed, with its book."""
    requester: str
    """Masked: a queue stands open on a screen at the counter."""
    pages: int
    copies: int
    asked: dt.datetime
    due: dt.date
    overdue: bool
    printed: dt.date | None
    date_passed: bool
    """The date on the page is not today's."""
    anew: bool
    """So it cannot be signed any more and takes a new number first; a copy that its official has signed can be sealed."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A paper from the counter that is no copy yet: being taken in, or refused with the reason."""

    id: str
    kind: str
    asked: dt.datetime
    refused: bool
    code: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A signature that a portal asks this person for."""

    id: str
    title: str
    portal: str
    kind: str
    state: str
    deadline: dt.datetime


def masked(name: str) -> str:
    """``Phạm Thị Ổn`` → ``P. T. Ổn``: enough for who has the paper in hand."""
    *first, last = name.split() or [""]
    return " ".join([f"{each[0]}." for each in first] + [last])


def _today(now: dt.datetime) -> dt.date:
    return now.astimezone(VIETNAM).date()


def _line(row: sa.Row[Any], wording: Wording, now: dt.datetime) -> Line:
    printed = None if row.printed_at is None else legal_date(row.printed_at)
    passed = printed is not None and printed != _today(now)
    due = due_on(row.created_at)
    facts, columns = row.facts, row.columns
    return Line(
        id=row.id, state=row.state, kind=str(facts["kind"]), requester=masked(str(columns.get("requester", ""))),
        number=f"{wording.number_text(row.number)} - {wording.book_text(row.volume, row.year, row.book_kind)}",
        pages=int(facts["pages"]), copies=int(facts["copies"]), asked=row.created_at, due=due, overdue=_today(now) > due,
        printed=printed, date_passed=passed,
        anew=passed and (row.state == "awaiting_certifier" or row.certifier_order is None),
        warnings=tuple(facts["warnings"]),
    )  # fmt: skip


def _lines() -> sa.Select[Any]:
    c, e, b = copy_table.c, entry_table.c, book_table.c
    joined = copy_table.join(entry_table, c.entry_id == e.id).join(book_table, e.book_id == b.id)
    return sa.select(
        c.id, c.state, c.facts, c.created_at, c.printed_at, c.certifier_order, e.number, e.columns, b.volume, b.year,
        b.kind.label("book_kind"),
    ).select_from(joined)  # fmt: skip


async def queue(uow: UnitOfWork, who: DeskPerson, state: str, now: dt.datetime) -> list[Line]:
    """Copies of the person's agency that wait for this very person, oldest first; one more than a page holds."""
    c = copy_table.c
    mine = c.certifier_id if state == "awaiting_certifier" else c.clerk_id
    query = _lines().where(c.agency_id == who.agency.id, c.state == state, mine == who.person_id)
    wording = Wording.of(who.agency.wording)
    return [
        _line(row, wording, now)
        for row in await uow.execute(query.order_by(c.created_at, entry_table.c.number).limit(LIMITS["web.page"] + 1))
    ]


async def line_of(uow: UnitOfWork, who: DeskPerson, copy_id: str, now: dt.datetime) -> Line:
    """One copy of the person's agency, as a queue shows it. Raises ``web.no_such_thing``."""
    row = (await uow.execute(_lines().where(copy_table.c.id == copy_id))).first()
    if row is None:
        raise NotFound("web.no_such_thing")
    return _line(row, Wording.of(who.agency.wording), now)


async def copy_of(uow: UnitOfWork, who: DeskPerson, copy_id: str) -> CertifiedCopy:
    """One copy of the person's agency, for who certifies or seals it; another's does not exist.

    Raises ``web.no_such_thing``, ``desk.no_role`` where the role in which the copy was this person's has ended.
    """
    copy = await store.find(uow, copy_id)
    if copy is None or copy.agency_id != who.agency.id:
        raise NotFound("web.no_such_thing")
    mine = {
        role for role, person in (("certifier", copy.certifier_id), ("clerk", copy.clerk_id)) if person == who.person_id
    }
    if not mine:
        raise NotFound("web.no_such_thing")
    if not any(map(who.has, mine)):
        raise Refused("desk.no_role")
    return copy


async def request_of(uow: UnitOfWork, who: DeskPerson, request_id: str, inbox: Inbox) -> PortalRequest | None:
    """A paper laid in the inbox for this person that is no copy yet. Raises ``desk.no_role``."""
    found = await inbox.find(uow, request_id)
    if found is None or found.agency_id != who.agency.id or found.request["certifier_id"] != who.person_id:
        return None
    if not who.has("certifier"):
        raise Refused("desk.no_role")
    return found


async def received(uow: UnitOfWork, who: DeskPerson, since: dt.datetime) -> list[Received]:
    """This desk's own papers that are on their way, and those refused after ``since``; the newest first."""
    r = request_table.c
    waiting = r.state.in_(["received", "taken"])
    query = sa.select(request_table).where(
        r.agency_id == who.agency.id, r.client_id == who.agency.id,
        sa.or_(waiting, sa.and_(r.state == "refused", r.settled_at > since)),
    )  # fmt: skip
    return [
        Received(
            id=row.id, kind=str(row.request["kind"]), asked=row.created_at, refused=row.state == "refused",
            code=row.code or "jobs.failed", evidence=row.evidence or {},
        )
        for row in await uow.execute(query.order_by(r.id.desc()).limit(LIMITS["web.page"]))
        if row.request["certifier_id"] == who.person_id
    ]  # fmt: skip


async def steps(uow: UnitOfWork, who: DeskPerson, now: dt.datetime) -> list[Step]:
    """Signature requests that wait for this person now, the nearest deadline first."""
    r, s = signature_table.c, step_table.c
    joined = step_table.join(signature_table, s.request_id == r.id)
    query = sa.select(s.id, r.title, r.client_name.label("portal"), s.kind, s.state, r.deadline).select_from(joined)
    query = query.where(
        s.person_id == who.person_id, s.state.in_(["ready", "open"]), r.state == "open", r.deadline > now
    )
    rows = await uow.execute(query.order_by(r.deadline, s.id).limit(LIMITS["web.page"]))
    return [Step(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public spelling
