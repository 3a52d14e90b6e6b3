"""The register of certifications (sổ chứng thực): books, gap-free numbers, entries that are never deleted.

Rules (Decree 23/2015 art. 13; ``docs/flows/register.md``):

* the counter runs per agency, kind and year, crosses the books of a year and begins again at 1 on 1 January;
* a number is reserved in the transaction that also writes the copy and the log leaf, so a crash leaves no gap;
* ``reserved → issued | voided``; nothing else, by compare-and-swap; a voided number keeps its row and its reason;
* a closed book takes no new entry, and closes only when nothing in it is still reserved.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from core.clock import VIETNAM, Clock
from core.db import UnitOfWork, UtcDateTime, append_only, insert_new, metadata, row_by, swap_state
from core.directory.model import Agency
from core.errors import Conflict, NotFound, Refused
from core.formats import canonical_json
from core.ids import new_id
from core.values import Digest
from signer.copies.words import index_words

__all__ = ["Book", "Entry", "Register", "lines_sha256"]

book_table = sa.Table(
    "register_book",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("agency_id", sa.String(26), sa.ForeignKey("agency.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("volume", sa.Integer, nullable=False),
    sa.Column("medium", sa.Text, nullable=False),
    sa.Column("opened_at", UtcDateTime, nullable=False),
    sa.Column("closed_at", UtcDateTime),
    sa.Column("totals", sa.JSON),
    sa.Column("closing_order", sa.String(26), sa.ForeignKey("signing_order.id")),
    sa.Column("closing_document", sa.String(64)),
    sa.UniqueConstraint("agency_id", "kind", "year", "volume"),
)
counter_table = sa.Table(
    "register_counter",
    metadata,
    sa.Column("agency_id", sa.String(26), sa.ForeignKey("agency.id"), primary_key=True),
    sa.Column("series", sa.Text, primary_key=True),
    sa.Column("year", sa.Integer, primary_key=True),
    sa.Column("last", sa.Integer, nullable=False),
)
entry_table = sa.Table(
    "register_entry",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("book_id", sa.String(26), sa.ForeignKey("register_book.id"), nullable=False),
    sa.Column("agency_id", sa.String(26), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("reserved_at", UtcDateTime, nullable=False),
    sa.Column("columns", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.Column("reason", sa.Text),
    sa.UniqueConstraint("agency_id", "kind", "year", "number"),
    sa.Index("ix_register_entry_agency_id_number", "agency_id", "number"),
    sa.Index("ix_register_entry_agency_id_id", "agency_id", "id"),
    sa.Index("ix_register_entry_agency_id_year_id", "agency_id", "year", "id"),
    sa.Index("ix_register_entry_agency_id_state_id", "agency_id", "state", "id"),
    sa.Index("ix_register_entry_book_id_number", "book_id", "number"),
    sa.CheckConstraint("state in ('reserved', 'issued', 'voided')", name="state"),
)
append_only(entry_table, may_change=("state", "settled_at", "reason"), final=("issued", "voided"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """One volume of a year."""

    id: str
    agency_id: str
    kind: str
    """Sign of the kind of work, e.g. ``SCTĐT/BS``."""
    year: int
    volume: int
    medium: str
    opened_at: dt.datetime
    closed_at: dt.datetime | None
    totals: dict[str, Any] | None
    closing_order: str | None = None
    """The seal's order over the closed book."""
    closing_document: str | None = None
    """Name of the sealed book."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the book."""

    id: str
    book_id: str
    agency_id: str
    kind: str
    year: int
    number: int
    reserved_at: dt.datetime
    columns: dict[str, Any]
    """Legal columns: requester, paper, original number, pages, copies, fee, certifier, capacity, checklist, notes."""
    state: str
    settled_at: dt.datetime | None
    reason: str | None


class Register:
    """Works inside the caller's transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def open_book(self, uow: UnitOfWork, agency: Agency, kind: str, year: int, medium: str = "Điện tử") -> Book:
        """The next volume of the year; the one before must be closed. Raises ``register.book_open``."""
        t = book_table.c
        known = (
            await uow.execute(
                sa.select(book_table).where(t.agency_id == agency.id, t.kind == kind, t.year == year).order_by(t.volume)
            )
        ).all()
        if known and known[-1].closed_at is None:
            raise Conflict("register.book_open", kind=kind, year=year)
        book = Book(
            id=new_id(self._clock), agency_id=agency.id, kind=kind, year=year, volume=len(known) + 1, medium=medium,
            opened_at=self._clock.now(), closed_at=None, totals=None,
        )  # fmt: skip
        await uow.execute(book_table.insert(), {c.name: getattr(book, c.name) for c in book_table.columns})
        return book

    async def books(self, uow: UnitOfWork, agency_id: str | None = None) -> list[Book]:
        """All books, by year and volume."""
        query = sa.select(book_table).order_by(book_table.c.year, book_table.c.kind, book_table.c.volume)
        if agency_id:
            query = query.where(book_table.c.agency_id == agency_id)
        return [Book(**row._mapping) for row in await uow.execute(query)]  # noqa: SLF001

    async def book(self, uow: UnitOfWork, book_id: str) -> Book:
        """By id. Raises ``register.no_such_book``."""
        row = (await uow.execute(row_by(book_table.c.id), {"value": book_id})).first()
        if row is None:
            raise NotFound("register.no_such_book", book=book_id)
        return Book(**row._mapping)  # noqa: SLF001

    async def current_book(self, uow: UnitOfWork, agency: Agency, kind: str) -> Book:
        """The open book of this year in Vietnam. Raises ``register.no_open_book``."""
        year = self._clock.now().astimezone(VIETNAM).year
        t = book_table.c
        row = (
            await uow.execute(
                sa.select(book_table)
                .where(t.agency_id == agency.id, t.kind == kind, t.year == year, t.closed_at.is_(None))
                .with_for_update(read=True)  # a book that is being closed takes no line meanwhile
            )
        ).first()
        if row is None:
            raise Refused("register.no_open_book", kind=kind, year=year)
        return Book(**row._mapping)  # noqa: SLF001

    async def next_in(self, uow: UnitOfWork, agency_id: str, series: str, year: int) -> int:
        """The next number of a gap-free series. Concurrent callers queue on the row; a rollback gives the number back."""
        t = counter_table.c
        step = (
            counter_table.update()
            .where(t.agency_id == agency_id, t.series == series, t.year == year)
            .values(last=t.last + 1)
            .returning(t.last)
        )
        number = (await uow.execute(step)).scalar_one_or_none()
        if number is None:
            first = {"agency_id": agency_id, "series": series, "year": year, "last": 0}
            # Two first-comers: the loser of the insert waits for the winner's commit, then takes the next number.
            await uow.execute(insert_new(uow, counter_table), first)
            number = (await uow.execute(step)).scalar_one()
        return int(number)

    async def reserve(self, uow: UnitOfWork, agency: Agency, kind: str, columns: dict[str, Any]) -> Entry:
        """Take the next number of the current book for one kind of paper, any count of copies."""
        book = await self.current_book(uow, agency, kind)
        entry = Entry(
            id=new_id(self._clock), book_id=book.id, agency_id=agency.id, kind=kind, year=book.year,
            number=await self.next_in(uow, agency.id, kind, book.year), reserved_at=self._clock.now(), columns=columns,
            state="reserved", settled_at=None, reason=None,
        )  # fmt: skip
        await uow.execute(entry_table.insert(), {c.name: getattr(entry, c.name) for c in entry_table.columns})
        await index_words(uow, agency.id, entry.id, columns)
        return entry

    async def entry(self, uow: UnitOfWork, entry_id: str) -> Entry:
        """By id."""
        row = (await uow.execute(row_by(entry_table.c.id), {"value": entry_id})).first()
        if row is None:
            raise NotFound("register.no_such_entry", entry=entry_id)
        return Entry(**row._mapping)  # noqa: SLF001

    async def entries(self, uow: UnitOfWork, book_id: str) -> list[Entry]:
        """All lines of a book in order."""
        query = sa.select(entry_table).where(entry_table.c.book_id == book_id).order_by(entry_table.c.number)
        return [Entry(**row._mapping) for row in await uow.execute(query)]  # noqa: SLF001

    async def issue(self, uow: UnitOfWork, entry_id: str) -> None:
        """``reserved → issued``. Raises ``register.settled``."""
        await self._settle(uow, entry_id, "issued", None)

    async def void(self, uow: UnitOfWork, entry_id: str, reason: str) -> None:
        """``reserved → voided``; the number is never used again. Raises ``register.settled``, ``register.no_reason``."""
        if not reason.strip():
            raise Refused("register.no_reason")
        await self._settle(uow, entry_id, "voided", reason.strip())

    async def _settle(self, uow: UnitOfWork, entry_id: str, state: str, reason: str | None) -> None:
        settled = {"settled_at": self._clock.now(), "reason": reason}
        if not await swap_state(uow, entry_table.c.id, entry_id, "reserved", state, **settled):
            raise Conflict("register.settled", entry=entry_id)

    async def close_book(self, uow: UnitOfWork, book_id: str) -> Book:
        """Close with totals (art. 13(1)) and the digest of all lines, which the seal then covers. Raises ``register.still_reserved``, ``register.book_closed``."""
        await uow.execute(sa.select(book_table.c.id).where(book_table.c.id == book_id).with_for_update())
        book = await self.book(uow, book_id)
        lines = await self.entries(uow, book_id)
        waiting = [line.number for line in lines if line.state == "reserved"]
        if waiting:
            raise Refused("register.still_reserved", numbers=", ".join(map(str, waiting[:10])))
        totals = {
            "entries": len(lines),
            "issued": sum(line.state == "issued" for line in lines),
            "voided": sum(line.state == "voided" for line in lines),
            "copies": sum(int(line.columns.get("copies", 1)) for line in lines if line.state == "issued"),
            "fee": sum(int(line.columns.get("fee", 0)) for line in lines if line.state == "issued"),
            "first": lines[0].number if lines else None,
            "last": lines[-1].number if lines else None,
            "lines_sha256": lines_sha256(lines),
        }
        done = await uow.execute(
            book_table.update()
            .where(book_table.c.id == book.id, book_table.c.closed_at.is_(None))
            .values(closed_at=self._clock.now(), totals=totals)
        )
        if done.rowcount != 1:
            raise Conflict("register.book_closed", book=book_id)
        return await self.book(uow, book_id)


def lines_sha256(lines: list[Entry]) -> str:
    """What a closed book's seal says of its lines."""
    return Digest.of(canonical_json.encode([_line(line) for line in lines])).hex


def _line(entry: Entry) -> dict[str, Any]:
    """A line as its digest takes it: canonical JSON, times in microseconds."""
    return {
        "number": entry.number, "state": entry.state, "reason": entry.reason, "columns": entry.columns,
        "reserved_at": round(entry.reserved_at.timestamp() * 1_000_000),
        "settled_at": None if entry.settled_at is None else round(entry.settled_at.timestamp() * 1_000_000),
    }  # fmt: skip
