"""Links on both databases: for one person, until an end, and nothing in the database opens them."""

import datetime as dt

import pytest
import sqlalchemy as sa

from core.directory.records import Directory
from core.errors import BadInput, NotFound
from core.limits import LIMITS
from core.values import Realm
from signer import links

HOUR = dt.timedelta(hours=1)


@pytest.fixture
async def person(db, clock):
    directory = Directory(clock)
    async with db.write() as uow:
        agency = await directory.add_agency(uow, realm=Realm.TRAINING, code="A", name="A", parent="P")
        return (await directory.add_person(uow, agency, "N")).id


async def make(db, clock, person, **change):
    wanted = {"kind": "step", "subject": ["s1"], "person_id": person, "expires_at": clock.now() + HOUR, **change}
    async with db.write() as uow:
        return await links.make_link(uow, clock, **wanted)


async def find(db, clock, token):
    async with db.read() as uow:
        return await links.find_link(uow, clock, token)


async def test_a_link_finds_its_matter_and_its_person(db, clock, person):
    subject = [f"c{n}" for n in range(12)]
    token = await make(db, clock, person, kind="copies", subject=subject)
    found = await find(db, clock, token)
    assert (found.kind, found.subject, found.person_id) == ("copies", tuple(subject), person)
    assert found.expires_at == clock.now() + HOUR


async def test_a_token_is_long_fit_for_a_url_and_not_in_the_database(db, clock, person):
    tokens = {await make(db, clock, person) for _ in range(20)}
    assert len(tokens) == 20
    async with db.read() as uow:
        rows = str((await uow.execute(sa.select(links.link_table))).all())
    for token in tokens:
        assert len(token) >= 26
        assert token.replace("-", "").replace("_", "").isalnum()
        assert token not in rows


async def test_a_link_ends_at_its_time(db, clock, person):
    token = await make(db, clock, person)
    clock.move(seconds=3599)
    await find(db, clock, token)
    clock.move(seconds=1)
    with pytest.raises(NotFound) as refused:
        await find(db, clock, token)
    assert refused.value.code == "link.expired"


async def test_ended_links_are_as_unknown_as_those_that_never_were(db, clock, person):
    one, other = await make(db, clock, person), await make(db, clock, person, subject=["s2"])
    together = await make(db, clock, person, kind="copies", subject=["s1", "s2"])
    async with db.write() as uow:
        await links.end_links(uow, clock, "step", "s1")
    for token in (one, "A" * 32, ""):
        with pytest.raises(NotFound) as refused:
            await find(db, clock, token)
        assert refused.value.code == "link.unknown"
    await find(db, clock, other)
    await find(db, clock, together)  # of another kind
    async with db.write() as uow:
        await links.end_links(uow, clock, "copies", "s2")
    with pytest.raises(NotFound):
        await find(db, clock, together)


@pytest.mark.parametrize(
    "change", [{"kind": "other"}, {"subject": []}, {"subject": ["x"] * 10_000}, {"expires_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}]
)  # fmt: skip
async def test_a_link_that_could_open_nothing_is_not_made(db, clock, person, change):
    assert LIMITS["activation.documents"] < 10_000
    with pytest.raises(BadInput) as refused:
        await make(db, clock, person, **change)
    assert refused.value.code == "link.malformed"
