"""Decisions about books and portals' access."""

import pytest

from api.clients.model import Scope
from api.clients.store import Clients
from core.errors import ServiceError


async def refused(code, work):
    with pytest.raises(ServiceError) as error:
        await work
    assert error.value.code == code, error.value


async def test_a_book_opens_and_closes(town):
    _, standing = await town.decide("book.open", {"kind": "SCTĐT/BS", "year": 2026})
    book = standing.outcome["book"]
    await refused("register.book_open", town.propose("book.open", {"kind": "SCTĐT/BS", "year": 2026}))
    decision = await town.propose("book.close", {"book": book})
    assert "01/2026-SCTĐT/BS" in (await town.words(decision)).values()
    for person in town.admins[:2]:
        await town.vote(decision, person)
    async with town.db.read() as uow:
        assert (await town.desk.room.register.book(uow, book)).closed_at == town.clock.now()
    await refused("register.book_closed", town.propose("book.close", {"book": book}))
    await refused("register.no_such_book", town.propose("book.close", {"book": "0" * 26}))


async def test_a_book_of_another_time_is_refused(town):
    for payload in [{"kind": "A", "year": 2025}, {"kind": "A", "year": 2028}, {"kind": "", "year": 2026}]:
        await refused("decision.malformed", town.propose("book.open", payload))


async def test_a_book_with_open_numbers_does_not_close(town):
    _, standing = await town.decide("book.open", {"kind": "SCTĐT/BS", "year": 2026})
    async with town.db.write() as uow:
        await town.desk.room.register.reserve(uow, town.agency, "SCTĐT/BS", {"requester": "A"})
    decision = await town.propose("book.close", {"book": standing.outcome["book"]})
    await town.vote(decision, town.admins[0])
    await refused("register.still_reserved", town.vote(decision, town.admins[1]))


async def test_a_portal_may_act_for_the_agency_and_no_longer(town):
    clients = Clients(town.db, town.clock, "https://t")
    made = await clients.add("Cổng DVC", ["other-agency"], [Scope.COPIES_READ])

    async def agencies():
        return (await clients.all())[0].agencies

    await refused("decision.nothing_to_change", town.propose("client.end", {"client": made.id}))
    decision = await town.propose("client.grant", {"client": made.id})
    assert "Cổng DVC" in (await town.words(decision)).values()
    assert await agencies() == {"other-agency"}
    for person in town.admins[:2]:
        await town.vote(decision, person)
    assert await agencies() == {"other-agency", town.agency.id}
    await refused("decision.nothing_to_change", town.propose("client.grant", {"client": made.id}))
    await town.decide("client.end", {"client": made.id})
    assert await agencies() == {"other-agency"}
    await refused("client.no_such_client", town.propose("client.grant", {"client": "0" * 26}))
    await clients.end(made.id)
    await refused("client.no_such_client", town.propose("client.grant", {"client": made.id}))
