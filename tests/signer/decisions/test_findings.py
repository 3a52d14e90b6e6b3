"""Findings of the key reconciliation before administrators: who may say that they looked, and who gets a letter."""

import asyncio
import dataclasses

import pytest
import sqlalchemy as sa

from audit.keyuse import Finding, KeyVersion, Severity, looks
from audit.keyuse.store import Saved, save
from core.directory.model import Role
from core.errors import BadInput, Broken, Conflict, NotFound, Refused
from core.ids import new_id
from core.limits import LIMITS
from core.sealed import Box
from core.values import Realm
from signer.decisions.findings import KeyFindings
from signer.enrolment.letters import Letters
from signer.enrolment.records import notice_table

WHY = "Người vận hành thử máy chủ"


class Post:
    """Takes letters."""

    def __init__(self):
        self.letters = []

    async def send(self, to, subject, text):
        self.letters.append((to, subject, text))


class Office:
    """The town's administrators, some with an address, and what the auditor found."""

    def __init__(self, town, post):
        self.town, self.db, self.clock, self.post = town, town.db, town.clock, post
        self.people = town.desk.room.phones.people
        letters = Letters(
            db=town.db, clock=town.clock, people=self.people, messenger=post, box=Box(b"k" * 32, "letters")
        )
        self.desk = KeyFindings(
            db=town.db, clock=town.clock, realm=Realm.TRAINING, room=town.desk.room, letters=letters
        )

    async def run(self, severity=Severity.CRITICAL):
        now = self.clock.now()
        key = KeyVersion("transit", "seal-7", 1)
        finding = Finding(code="keyuse.call_without_intent", severity=severity, key=key, what="w", who="entity-7")
        made = Saved(
            id=new_id(self.clock), device="d", before=None, state="whole", began_at=now, ended_at=now, since=now, until=now,
            counts={}, carry={}, places=[], findings=[finding],
        )  # fmt: skip
        await save(self.db, self.clock, made)
        async with self.db.read() as uow:
            return (await looks.found(uow, 1))[0].id

    async def address(self, person, email):
        async with self.db.write() as uow:
            await self.people.set_contact(uow, person, email)

    async def look(self, finding, person=None, agency=None, why=WHY):
        await self.desk.look(
            agency_id=agency or self.town.agency.id, finding=finding, person_id=person or self.town.admins[0], why=why
        )


@pytest.fixture
def office(town):
    return Office(town, Post())


async def test_an_administrator_says_once_why_a_finding_is_what_it_is(office):
    finding = await office.run()
    tries = [office.look(finding, person) for person in office.town.admins]
    told = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(each, Conflict) and each.code == "keyuse.looked_at" for each in told) == 3
    async with office.db.read() as uow:
        (row,) = await looks.found(uow, 9)
    assert row.look.person_id in office.town.admins
    assert row.look.why == WHY


@pytest.mark.parametrize("why", ["", "   ", "x" * 2_000, "trái\u202ephải"])
async def test_a_reason_is_one_that_can_be_read(office, why):
    finding = await office.run()
    with pytest.raises(BadInput, match=r"keyuse\.no_reason"):
        await office.look(finding, why=why)


async def test_only_those_who_decide_about_the_realms_keys_may(office, clock):
    finding = await office.run()
    town = office.town
    clerk = await town.person("Văn thư", Role.CLERK)
    for person in (clerk, "nobody"):
        with pytest.raises(Refused, match=r"decision\.not_administrator"):
            await office.look(finding, person)
    async with town.db.write() as uow:
        other = await town.directory.add_agency(uow, realm=Realm.TRAINING, code="H2", name="Khác", parent="UBND")
    for agency in (other.id, town.agency.id):  # with two agencies and none named, nobody
        with pytest.raises(NotFound, match=r"keyuse\.no_such_finding"):
            await office.look(finding, agency=agency)
    named = dataclasses.replace(office.desk, room=dataclasses.replace(office.desk.room, keys_agency="H1"))
    with pytest.raises(Refused, match=r"decision\.not_administrator"):  # his term ends
        await town.end_now(town.admins[3])
        clock.move(seconds=1)
        await named.look(agency_id=town.agency.id, finding=finding, person_id=town.admins[3], why=WHY)
    await named.look(agency_id=town.agency.id, finding=finding, person_id=town.admins[0], why=WHY)


async def test_administrators_get_one_letter_for_all_that_is_new_and_it_tells_nothing(office):
    town = office.town
    for number, person in enumerate(town.admins[:2]):
        await office.address(person, f"quantri{number}@example.vn")
    clerk = await town.person("Văn thư", Role.CLERK)
    await office.address(clerk, "vanthu@example.vn")
    await office.run()
    await office.run()
    assert await office.desk.tell() == 2
    assert await office.desk.letters.flush() == 2
    assert sorted(to for to, _, _ in office.post.letters) == ["quantri0@example.vn", "quantri1@example.vn"]
    for _, subject, text in office.post.letters:
        for secret in ("seal-7", "transit", "entity-7", "http", "keyuse", town.agency.name):
            assert secret not in subject + text
    assert await office.desk.tell() == 0
    await office.run(Severity.WARNING)
    assert await office.desk.tell() == 0
    await office.run()
    assert await office.desk.tell() == 2


async def test_two_signers_write_one_letter(office):
    await office.address(office.town.admins[0], "quantri@example.vn")
    await office.run()
    assert sum(await asyncio.gather(*(office.desk.tell() for _ in range(4)))) == 1
    async with office.db.read() as uow:
        assert len((await uow.execute(sa.select(notice_table))).all()) == 1


async def test_an_address_that_cannot_be_read_costs_nobody_else_the_letter(office, monkeypatch):
    first, second = sorted(office.town.admins[:2])
    await office.address(second, "quantri@example.vn")
    contact = office.people.contact

    async def broken(uow, person_id):
        if person_id == first:
            raise Broken("sealed.broken")
        return await contact(uow, person_id)

    monkeypatch.setattr(office.people, "contact", broken)
    await office.run()
    assert await office.desk.tell() == 1


async def test_what_goes_wrong_is_tried_again(office, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.tell_seconds", 0.02)
    await office.address(office.town.admins[0], "quantri@example.vn")
    untold, times = looks.untold, []

    async def away(uow):
        times.append(1)
        if len(times) < 3:
            raise RuntimeError("away")
        return await untold(uow)

    monkeypatch.setattr(looks, "untold", away)
    await office.run()
    serving = asyncio.create_task(office.desk.serve())
    for _ in range(100):
        await asyncio.sleep(0.02)
        if await office.desk.letters.flush():
            break
    serving.cancel()
    assert len(office.post.letters) == 1
