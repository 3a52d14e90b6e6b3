"""Lines of the register are found by words without accents, newest first, in pages, at any size."""

import pytest

from core.directory.records import Directory
from core.limits import LIMITS
from core.values import Realm
from signer.copies.register import Register
from signer.copies.search import Search
from signer.copies.words import words_of


@pytest.fixture
async def house(db, clock):
    """(agency, number → line) of two agencies with the same papers."""
    directory, register = Directory(clock), Register(clock)
    lines = {}
    for code in ("H1", "H2"):
        async with db.write() as uow:
            agency = await directory.add_agency(uow, realm=Realm.TRAINING, code=code, name="UBND", parent="tỉnh")
            await register.open_book(uow, agency, "SCT", 2026)
            for n, who in enumerate(("Nguyễn Thị Ánh", "Trần Văn Đức", "Nguyễn Văn Ánh", "Lê Đức Anh")):
                clock.move(seconds=1)
                entry = await register.reserve(
                    uow, agency, "SCT", {"kind": "Giấy khai sinh", "original_number": f"{n}/2001", "requester": who}
                )
                lines[code, entry.number] = entry
    return agency, lines


async def numbers(db, agency, words="", **how):
    async with db.read() as uow:
        found = await Search(uow).entries(agency.id, words=words, **how)
    return [entry.number for entry in found.entries]


def test_words_lose_case_accents_and_signs():
    assert words_of("Giấy KHAI-sinh", "45/2001 Đặng đặng") == ["giay", "khai", "sinh", "45", "2001", "dang"]
    assert words_of("¡!¿", "") == []


async def test_all_words_must_stand_in_the_line_newest_first(db, house):
    agency, _ = house
    assert await numbers(db, agency, "nguyen") == [3, 1]
    assert await numbers(db, agency, "ÁNH nguyễn thị") == [1]
    assert await numbers(db, agency, "anh") == [4, 3, 1]
    assert await numbers(db, agency, "anh nobody") == []
    assert await numbers(db, agency, "%") == []
    assert await numbers(db, agency) == [4, 3, 2, 1]


async def test_pages_go_on_where_the_last_one_ended(db, house):
    agency, lines = house
    first = await numbers(db, agency, "khai", limit=2)
    after = lines["H2", first[-1]].id
    assert (first, await numbers(db, agency, "khai", limit=2, after=after)) == ([4, 3], [2, 1])
    assert await numbers(db, agency, limit=2, after=after) == [2, 1]


async def test_number_year_and_state_narrow_it(db, house, clock):
    agency, lines = house
    async with db.write() as uow:
        await Register(clock).void(uow, lines["H2", 2].id, "sai")
    assert await numbers(db, agency, number=2) == [2]
    assert await numbers(db, agency, state="voided") == [2]
    assert await numbers(db, agency, "khai", state="reserved") == [4, 3, 1]
    assert await numbers(db, agency, "khai", year=2025) == []


async def test_a_search_that_stopped_before_the_end_says_so(db, house, monkeypatch):
    monkeypatch.setitem(LIMITS, "search.few", 1)
    monkeypatch.setitem(LIMITS, "search.walk", 2)
    agency, _ = house
    async with db.read() as uow:
        found = await Search(uow).entries(agency.id, words="thi khai")
        assert not found.complete or [e.number for e in found.entries] == [1]
        common = await Search(uow).entries(agency.id, words="khai 0")
    assert common.complete or common.entries == []
