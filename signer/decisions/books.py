"""Decisions about books and about portals' access."""

from typing import Any, ClassVar

from core.approvals.model import Decision
from core.clock import VIETNAM
from core.db import UnitOfWork
from core.directory.model import Agency
from core.errors import BadInput, Conflict, NotFound
from signer.copies.register import Book
from signer.copies.wording import Wording
from signer.decisions.room import Id, Kind, Payload, Room, Text, Words, both

__all__ = ["CloseBook", "EndClient", "GrantClient", "OpenBook"]


class _Open(Payload):
    kind: Text
    year: int


class _Book(Payload):
    book: Id


class _Client(Payload):
    client: Id


class OpenBook(Kind):
    """The next volume of a year."""

    name: ClassVar[str] = "book.open"
    shape: ClassVar[type[Payload]] = _Open

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Of this year or the next. Raises ``decision.malformed``, ``register.book_open``."""
        wanted: _Open = self.read(payload)
        year = room.clock.now().astimezone(VIETNAM).year
        if not year <= wanted.year <= year + 1:
            raise BadInput("decision.malformed")
        for book in await room.register.books(uow, agency.id):
            if (book.kind, book.year) == (wanted.kind, wanted.year) and book.closed_at is None:
                raise Conflict("register.book_open", kind=book.kind, year=book.year)
        return wanted.model_dump()

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Kind and year."""
        wanted: _Open = self.read(payload)
        return [(both("decision.w_book_kind"), wanted.kind), (both("decision.w_year"), str(wanted.year))]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``register.book_open``."""
        wanted: _Open = self.read(decision.payload)
        return {"book": (await room.register.open_book(uow, agency, wanted.kind, wanted.year)).id}


class CloseBook(Kind):
    """No more lines; the clerk's seal over the closed book follows as its own approval."""

    name: ClassVar[str] = "book.close"
    shape: ClassVar[type[Payload]] = _Book

    async def _book(self, uow: UnitOfWork, room: Room, agency: Agency, which: str) -> Book:
        book = await room.register.book(uow, which)
        if book.agency_id != agency.id:
            raise NotFound("register.no_such_book", book=which)
        return book

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``register.no_such_book``, ``register.book_closed``."""
        wanted: _Book = self.read(payload)
        book = await self._book(uow, room, agency, wanted.book)
        if book.closed_at is not None:
            raise Conflict("register.book_closed", book=book.id)
        return wanted.model_dump()

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Which, and what it means."""
        wanted: _Book = self.read(payload)
        book = await self._book(uow, room, agency, wanted.book)
        said = Wording.of(agency.wording).book_text(book.volume, book.year, book.kind)
        return [(both("decision.w_book"), said), (both("decision.w_book_after"), both("decision.w_book_closed"))]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``register.still_reserved``, ``register.book_closed``."""
        wanted: _Book = self.read(decision.payload)
        book = await self._book(uow, room, agency, wanted.book)
        return {"book": (await room.register.close_book(uow, book.id)).id}


class GrantClient(Kind):
    """A portal's client may speak for the agency too. Its key is handed out by the operator, never by a decision."""

    name: ClassVar[str] = "client.grant"
    shape: ClassVar[type[Payload]] = _Client
    _wants: ClassVar[bool] = True

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``client.no_such_client``, ``decision.nothing_to_change``."""
        wanted: _Client = self.read(payload)
        await self._require_change(uow, room, agency, wanted.client)
        return wanted.model_dump()

    async def _require_change(self, uow: UnitOfWork, room: Room, agency: Agency, which: str) -> None:
        _, agencies = await room.clients.named(uow, which)
        if (agency.id in agencies) is self._wants:
            raise Conflict("decision.nothing_to_change")

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Which portal, and what it may do before and after."""
        wanted: _Client = self.read(payload)
        name, _ = await room.clients.named(uow, wanted.client)
        before, after = both("decision.w_no_access"), both("decision.w_access")
        if not self._wants:
            before, after = after, before
        return [
            (both("decision.w_client"), name), (both("decision.w_before"), before), (both("decision.w_after"), after),
        ]  # fmt: skip

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``decision.nothing_to_change``."""
        wanted: _Client = self.read(decision.payload)
        await self._require_change(uow, room, agency, wanted.client)
        change = room.clients.grant if self._wants else room.clients.withdraw
        await change(uow, wanted.client, agency.id)
        return {"client": wanted.client}


class EndClient(GrantClient):
    """A portal's client may no longer speak for the agency."""

    name: ClassVar[str] = "client.end"
    _wants: ClassVar[bool] = False
