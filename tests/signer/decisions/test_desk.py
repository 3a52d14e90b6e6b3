"""Two administrators decide: a proposal alone gives nothing, the second yes does it, one no ends it."""

import json

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from core.approvals.records import decision_table, vote_table
from core.directory.model import Role
from core.errors import Conflict, NotFound, Refused
from core.limits import LIMITS


async def books(town):
    async with town.db.read() as uow:
        return await town.desk.room.register.books(uow, town.agency.id)


async def test_a_proposal_and_one_yes_give_nothing_and_the_second_yes_does_it(town):
    decision = await town.propose()
    assert await books(town) == []
    standing = await town.vote(decision, town.admins[0])
    assert (standing.state, standing.voted, standing.needed) == ("open", (town.admins[0],), 2)
    assert await books(town) == []
    standing = await town.vote(decision, town.admins[1])
    (book,) = await books(town)
    assert (standing.state, standing.outcome) == ("applied", {"book": book.id})
    assert set(standing.voted) == set(town.admins[:2])
    leaves = [json.loads(entry) for entry in await town.events()]
    assert [(leaf["type"], leaf["event_id"]) for leaf in leaves] == [
        ("decision_applied", f"{decision}.decision_applied")
    ]


async def test_nobody_counts_twice(town):
    decision = await town.propose()
    asked = await town.desk.question(decision, town.admins[0])
    await town.vote(decision, town.admins[0])
    with pytest.raises(Refused, match=r"decision\.voted"):
        await town.desk.question(decision, town.admins[0])
    with pytest.raises(Conflict, match=r"decision\.ballot_used"):
        await town.desk.approve(
            decision,
            town.admins[0],
            asked.tx,
            town.keys[town.admins[0]].answer(asked.challenge, town.desk.relying_party),
        )
    assert await books(town) == []


async def test_a_voters_second_ballot_and_second_passkey_count_no_second_time(town):
    from signer.activation.passkeys import SoftwarePasskey

    decision = await town.propose()
    first = await town.desk.question(decision, town.admins[0])
    town.clock.move(seconds=LIMITS["decision.ballot_seconds"] - 30)  # too short to be handed out again
    second = await town.desk.question(decision, town.admins[0])
    assert first.tx != second.tx
    other = SoftwarePasskey.create(town.desk.realm)
    async with town.db.write() as uow:
        await town.enrol(uow, town.admins[0], other)
    rp = town.desk.relying_party
    await town.desk.approve(decision, town.admins[0], first.tx, other.answer(first.challenge, rp))
    with pytest.raises(Conflict, match=r"decision\.voted"):
        await town.desk.approve(
            decision, town.admins[0], second.tx, town.keys[town.admins[0]].answer(second.challenge, rp)
        )
    assert (await town.desk.status(decision)).state == "open"


async def test_a_question_is_the_same_while_it_stands(town):
    decision = await town.propose()
    first = await town.desk.question(decision, town.admins[0])
    assert await town.desk.question(decision, town.admins[0]) == first
    assert (await town.desk.question(decision, town.admins[1])).challenge != first.challenge


async def test_one_refusal_ends_it_for_everybody(town):
    decision = await town.propose()
    await town.vote(decision, town.admins[0])
    with pytest.raises(Exception, match=r"decision\.no_reason"):
        await town.desk.refuse(decision, town.admins[1], "   ")
    await town.desk.refuse(decision, town.admins[1], "Chưa có quyết định giao việc")
    assert (await town.desk.status(decision)).state == "refused"
    with pytest.raises(Conflict, match=r"decision\.not_open"):
        await town.vote(decision, town.admins[2])
    with pytest.raises(Conflict, match=r"decision\.not_open"):
        await town.desk.refuse(decision, town.admins[2], "nữa")
    assert await books(town) == []


async def test_it_expires_and_that_is_written_down(town):
    decision = await town.propose()
    await town.vote(decision, town.admins[0])
    town.clock.move(hours=LIMITS["decision.hours"])
    assert (await town.desk.status(decision)).state == "expired"
    with pytest.raises(Refused, match=r"decision\.expired"):
        await town.vote(decision, town.admins[1])
    async with town.db.write() as uow:
        assert await town.desk.approvals.expire(uow) == 1
    assert (await town.desk.decision(decision)).state == "expired"
    assert await books(town) == []


async def test_who_is_no_administrator_of_the_agency_neither_proposes_nor_votes(town):
    clerk = await town.person("Văn thư", Role.CLERK)
    stranger = await town.person("Người dân")
    for person in (clerk, stranger, "0" * 26):
        with pytest.raises(Refused, match=r"decision\.not_administrator"):
            await town.propose(by=person)
    decision = await town.propose()
    for person in (clerk, stranger):
        with pytest.raises(Refused, match=r"decision\.not_administrator"):
            await town.desk.question(decision, person)
        with pytest.raises(Refused, match=r"decision\.not_administrator"):
            await town.desk.refuse(decision, person, "Không")


async def test_another_agencys_administrators_have_no_voice(town):
    from core.directory.records import Directory

    directory = Directory(town.clock)
    async with town.db.write() as uow:
        other = await directory.add_agency(uow, realm=town.desk.realm, code="H2", name="Xã khác", parent="UBND tỉnh")
    own, town.agency = town.agency, other
    foreign = await town.person("Quản trị xã khác", Role.ADMINISTRATOR)
    town.agency = own
    decision = await town.propose()
    with pytest.raises(Refused, match=r"decision\.not_administrator"):
        await town.desk.question(decision, foreign)


async def test_a_voter_whose_role_ended_between_does_not_count(town):
    decision = await town.propose()
    await town.vote(decision, town.admins[0])
    await town.end_now(town.admins[0])
    town.clock.move(seconds=1)
    assert (await town.desk.status(decision)).voted == ()
    standing = await town.vote(decision, town.admins[1])
    assert (standing.state, standing.voted) == ("open", (town.admins[1],))
    assert (await town.vote(decision, town.admins[2])).state == "applied"


async def test_a_voter_whose_passkey_was_suspended_between_does_not_count(town):
    decision = await town.propose()
    await town.vote(decision, town.admins[0])
    async with town.db.write() as uow:
        await town.desk.room.phones.suspend(uow, town.admins[0])
    assert (await town.vote(decision, town.admins[1])).state == "open"
    assert (await town.vote(decision, town.admins[2])).state == "applied"


async def test_what_cannot_be_done_at_the_last_yes_leaves_everything_as_it_was(town):
    first, second = await town.propose(), await town.propose()
    for person in town.admins[:2]:
        await town.vote(first, person)
    await town.vote(second, town.admins[0])
    with pytest.raises(Conflict, match=r"register\.book_open"):  # that book is open by now
        await town.vote(second, town.admins[1])
    standing = await town.desk.status(second)
    assert (standing.state, standing.voted) == ("open", (town.admins[0],))
    assert len(await books(town)) == 1


async def test_open_proposals_are_limited_and_expired_ones_make_room(town, monkeypatch):
    monkeypatch.setitem(LIMITS, "decision.open", 2)
    await town.propose()
    await town.propose()
    with pytest.raises(Refused, match=r"decision\.too_many"):
        await town.propose()
    town.clock.move(hours=LIMITS["decision.hours"])
    await town.propose()


async def test_what_is_settled_or_voted_changes_no_more(town):
    decision, _ = await town.decide("book.open", {"kind": "A", "year": 2026})
    d, v = decision_table, vote_table
    for statement in (
        d.update().values(state="open"), d.delete(), v.delete(), v.update().values(person_id=town.admins[3]),
        d.update().values(record=b"{}"),
    ):  # fmt: skip
        with pytest.raises(DBAPIError, match="append-only"):
            async with town.db.write() as uow:
                await uow.execute(statement)
    async with town.db.read() as uow:
        assert (await uow.execute(sa.select(d.c.state).where(d.c.id == decision))).scalar_one() == "applied"


async def test_a_decision_nobody_made_is_unknown(town):
    for asked in (
        town.desk.status("0" * 26),
        town.desk.question("0" * 26, town.admins[0]),
        town.desk.evidence("0" * 26),
    ):
        with pytest.raises(NotFound, match=r"decision\.unknown"):
            await asked


async def test_the_sweep_runs_until_it_is_cancelled(town):
    import asyncio

    decision = await town.propose()
    town.clock.move(hours=LIMITS["decision.hours"])
    task = asyncio.create_task(town.desk.serve())
    for _ in range(200):
        if (await town.desk.decision(decision)).state == "expired":
            break
        await asyncio.sleep(0.01)
    task.cancel()
    assert (await town.desk.decision(decision)).state == "expired"
