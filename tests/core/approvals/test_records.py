"""Proposals, ballots and votes on both databases, without any passkey: each step once, by compare-and-swap."""

import asyncio

import pytest

from core.approvals.records import Approvals, decision_table
from core.directory.records import Directory
from core.errors import BadInput, Broken, Conflict, NotFound, ServiceError
from core.values import Realm


@pytest.fixture
async def made(db, clock):
    """(approvals, decision, two people)."""
    directory, approvals = Directory(clock), Approvals(clock)
    async with db.write() as uow:
        agency = await directory.add_agency(uow, realm=Realm.TRAINING, code="A", name="A", parent="P")
        people = [(await directory.add_person(uow, agency, name)).id for name in ("N", "M")]
        decision = await approvals.propose(
            uow, realm=Realm.TRAINING, agency_id=agency.id, kind="k", payload={"x": 1}, proposed_by=people[0]
        )
    return approvals, decision, people


async def test_it_is_found_again_as_it_was_written(db, made):
    approvals, decision, people = made
    async with db.read() as uow:
        assert await approvals.get(uow, decision.id) == decision
        assert await approvals.of(uow, decision.agency_id, 10) == [decision]
        with pytest.raises(NotFound, match=r"decision\.unknown"):
            await approvals.get(uow, "0" * 26)
    assert (decision.payload, decision.content.proposed_by) == ({"x": 1}, people[0])


async def test_a_payload_without_a_byte_form_is_refused(db, made):
    approvals, decision, people = made
    with pytest.raises(BadInput, match=r"decision\.malformed"):
        async with db.write() as uow:
            await approvals.propose(
                uow, realm=Realm.TRAINING, agency_id=decision.agency_id, kind="k", payload={"x": 0.5},
                proposed_by=people[0],
            )  # fmt: skip


async def test_a_record_copied_into_another_row_is_found_out(db, made):
    approvals, decision, _ = made
    async with db.write() as uow:
        row = {c.name: getattr(decision, c.name) for c in decision_table.columns}
        await uow.execute(decision_table.insert(), {**row, "id": "z" * 26})
        await uow.execute(decision_table.insert(), {**row, "id": "y" * 26, "record": b"{}"})
        for which in ("z" * 26, "y" * 26):
            with pytest.raises(Broken, match=r"decision\.record_changed"):
                await approvals.get(uow, which)


async def test_votes_seen_from_the_same_moment_count_once(db, made):
    """Without anybody's lock: the count itself is swapped."""
    approvals, decision, people = made

    async def vote(person):
        async with db.write() as uow:
            ballot = await approvals.ask(uow, decision, person)
            await approvals.cast(uow, decision, ballot, {})

    results = await asyncio.gather(*map(vote, people), return_exceptions=True)
    codes = [each.code for each in results if isinstance(each, ServiceError)]
    assert codes == ["decision.moved"]  # the second read the count before the first one's vote
    async with db.read() as uow:
        assert len(await approvals.votes(uow, decision.id)) == 1
        assert (await approvals.get(uow, decision.id)).votes == 1


async def test_one_ending_of_three_at_once(db, clock, made):
    approvals, decision, people = made
    clock.at = decision.expires_at

    async def apply():
        async with db.write() as uow:
            await approvals.apply(uow, decision, {})
        return 1

    async def expire():
        async with db.write() as uow:
            return await approvals.expire(uow)

    results = await asyncio.gather(apply(), expire(), apply(), return_exceptions=True)
    assert sum(each for each in results if isinstance(each, int)) == 1
    assert {each.code for each in results if isinstance(each, ServiceError)} <= {"decision.moved"}
    async with db.read() as uow:
        assert (await approvals.get(uow, decision.id)).state in {"applied", "expired"}


async def test_a_reason_is_said_and_short(db, made):
    approvals, decision, people = made
    async with db.write() as uow:
        for reason in ("", " \n ", "x" * 501):
            with pytest.raises(BadInput, match=r"decision\.no_reason"):
                await approvals.refuse(uow, decision, people[1], reason)
        await approvals.refuse(uow, decision, people[1], " không \n đúng ")
        found = await approvals.get(uow, decision.id)
        assert (found.state, found.refused_by, found.reason) == ("refused", people[1], "không đúng")
        with pytest.raises(Conflict, match=r"decision\.not_open"):
            await approvals.refuse(uow, found, people[0], "nữa")
