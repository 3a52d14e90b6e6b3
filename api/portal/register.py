"""``/api/v1/register`` and ``/api/v1/agencies``: the legal book, people and roles, read only."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from api.clients.model import Caller
from api.portal.answers import download, page
from api.portal.requests import agency_of
from api.portal.schemas import (
    AgencyCode,
    AgencyOut,
    BookOut,
    Cursor,
    EntryOut,
    EntryState,
    Found,
    Id,
    Page,
    PersonOut,
    Words,
)
from api.web.access import client
from api.web.parts import Parts, WebParts
from core.db import UnitOfWork
from core.directory.model import Agency
from core.errors import NotFound
from core.limits import LIMITS
from signer.copies import store
from signer.copies.export import as_csv
from signer.copies.register import Book, Entry
from signer.copies.search import Search
from signer.copies.wording import Wording

__all__ = ["router"]

router = APIRouter(tags=["register"])
Reader = Annotated[Caller, client("register:read")]
People = Annotated[Caller, client("directory:read")]
Limit = Annotated[int, Query(ge=1, le=LIMITS["web.page"])]


@router.get("/agencies", response_model=Page[AgencyOut])
async def list_agencies(parts: Parts, caller: People) -> Response:
    """The caller's agencies; an ended one names its successor."""
    async with parts.service.db.read() as uow:
        everything = {a.id: a for a in await parts.service.directory.agencies(uow)}
    items = [_agency(a, everything) for a in everything.values() if a.id in caller.agencies]
    return page(items, len(items), None)


def _agency(agency: Agency, everything: dict[str, Agency]) -> dict[str, Any]:
    after = everything.get(agency.successor_id or "")
    return {"id": agency.id, "code": agency.code, "name": agency.name, "parent": agency.parent, "realm": agency.realm.value,
            "valid_from": agency.valid_from.isoformat(), "successor": None if after is None else after.code,
            "valid_to": None if agency.valid_to is None else agency.valid_to.isoformat()}  # fmt: skip


@router.get("/agencies/{code}/people", response_model=Page[PersonOut])
async def list_people(code: AgencyCode, parts: Parts, caller: People) -> Response:
    """People with the instruments that give them their roles."""
    async with parts.service.db.read() as uow:
        agency = await agency_of(parts, uow, caller, code)
        known = await parts.service.directory.people(uow, agency.id)
    items = [
        {"id": person.id, "name": person.name, "roles": [
            {"role": r.role.value, "capacity": r.capacity, "number": r.number, "valid_from": r.valid_from.isoformat(),
             "valid_to": None if r.valid_to is None else r.valid_to.isoformat(), "regimes": sorted(r.scope)}
            for r in rights]}
        for person, rights in known
    ]  # fmt: skip
    return page(items, len(items), None)


@router.get("/agencies/{code}/books", response_model=Page[BookOut])
async def list_books(code: AgencyCode, parts: Parts, caller: Reader) -> Response:
    """The books of an agency, open and closed."""
    async with parts.service.db.read() as uow:
        agency = await agency_of(parts, uow, caller, code)
        books = await parts.service.register.books(uow, agency.id)
    items = [_book(agency, each) for each in books]
    return page(items, len(items), None)


def _book(agency: Agency, book: Book) -> dict[str, Any]:
    return {"id": book.id, "name": Wording.of(agency.wording).book_text(book.volume, book.year, book.kind),
            "kind": book.kind, "year": book.year, "volume": book.volume, "opened_at": book.opened_at.isoformat(),
            "closed_at": None if book.closed_at is None else book.closed_at.isoformat(), "totals": book.totals}  # fmt: skip


@router.get("/books/{book_id}/export", response_class=Response, responses=download("text/csv"))
async def export_book(book_id: Id, parts: Parts, caller: Reader) -> Response:
    """The legal book as a table (UTF-8 with a mark that spreadsheets understand)."""
    async with parts.service.db.read() as uow:
        book = await parts.service.register.book(uow, book_id)
        if book.agency_id not in caller.agencies:
            raise NotFound("register.no_such_book", book=book_id)
        agency = await parts.service.directory.agency(uow, book.agency_id)
        lines = await parts.service.register.entries(uow, book.id)
    return Response(
        as_csv(agency, book, lines), media_type="text/csv; charset=utf-8", headers={"cache-control": "no-store"}
    )


@router.get("/register", response_model=Found[EntryOut])
async def search_register(
    parts: Parts, caller: Reader, agency: AgencyCode, q: Words = "",
    year: Annotated[int | None, Query(ge=1900, le=9999)] = None,
    number: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None, state: EntryState | None = None,
    after: Cursor | None = None, limit: Limit = 50,
) -> JSONResponse:  # fmt: skip
    """Lines by number, or by words of the paper, its number and the requester; accents do not matter. Newest first."""
    async with parts.service.db.read() as uow:
        house = await agency_of(parts, uow, caller, agency)
        found = await Search(uow).entries(
            house.id, words=q, year=year, number=number, state=state, after=after, limit=limit + 1
        )
        items = [await _entry(parts, uow, house, each) for each in found.entries]
    return page(items, limit, items[limit - 1].id if len(items) > limit else None, complete=found.complete)


@router.get("/register/{entry_id}")
async def get_register_entry(entry_id: Id, parts: Parts, caller: Reader) -> EntryOut:
    """One line."""
    async with parts.service.db.read() as uow:
        entry = await parts.service.register.entry(uow, entry_id)
        if entry.agency_id not in caller.agencies:
            raise NotFound("register.no_such_entry", entry=entry_id)
        return await _entry(parts, uow, await parts.service.directory.agency(uow, entry.agency_id), entry)


async def _entry(parts: WebParts, uow: UnitOfWork, agency: Agency, entry: Entry) -> EntryOut:
    book = await parts.service.register.book(uow, entry.book_id)
    copy = await store.by_column(uow, "entry_id", entry.id)
    return EntryOut(
        id=entry.id, number=entry.number, year=entry.year,
        book=Wording.of(agency.wording).book_text(book.volume, book.year, book.kind), kind=entry.kind, state=entry.state,
        reserved_at=entry.reserved_at, settled_at=entry.settled_at, reason=entry.reason, columns=entry.columns,
        copy_id=None if copy is None else copy.id,
    )  # fmt: skip
