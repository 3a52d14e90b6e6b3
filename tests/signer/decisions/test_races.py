"""At once: two last votes, a vote and a refusal, a vote and the end of its time, two decisions about administrators."""

import asyncio

import pytest

from core.directory.model import Role
from core.errors import ServiceError
from core.limits import LIMITS

ROUNDS = 4


async def answers(town, decision, people):
    """Prepared answers, so that only the counting races."""
    found = []
    for person in people:
        asked = await town.desk.question(decision, person)
        found.append((person, asked.tx, town.keys[person].answer(asked.challenge, town.desk.relying_party)))
    return [lambda each=each: town.desk.approve(decision, *each) for each in found]


async def together(*calls):
    return await asyncio.gather(*(call() for call in calls), return_exceptions=True)


def codes(results):
    for each in results:
        assert not isinstance(each, BaseException) or isinstance(each, ServiceError), each
    return [each.code for each in results if isinstance(each, ServiceError)]


async def opened(town, kind):
    async with town.db.read() as uow:
        return [book for book in await town.desk.room.register.books(uow, town.agency.id) if book.kind == kind]


async def leaves(town, decision):
    return sum(decision.encode() in entry for entry in await town.events())


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_two_first_votes_at_once_are_two_votes(town, round_):
    decision = await town.propose("book.open", {"kind": "A", "year": 2026})
    results = await together(*await answers(town, decision, town.admins[:2]))
    assert codes(results) == []
    assert (await town.desk.status(decision)).state == "applied"
    assert len(await opened(town, "A")) == 1
    assert await leaves(town, decision) == 1


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_two_last_votes_at_once_have_one_effect(town, round_):
    decision = await town.propose("book.open", {"kind": "A", "year": 2026})
    await town.vote(decision, town.admins[0])
    results = await together(*await answers(town, decision, town.admins[1:]))
    assert codes(results) == ["decision.not_open", "decision.not_open"]
    assert len(await opened(town, "A")) == 1
    assert await leaves(town, decision) == 1
    assert len((await town.desk.status(decision)).voted) == 2


async def test_one_answer_sent_five_times_at_once_counts_once(town):
    decision = await town.propose("book.open", {"kind": "A", "year": 2026})
    (answer,) = await answers(town, decision, town.admins[:1])
    results = await together(*[answer] * 5)
    assert codes(results) == ["decision.ballot_used"] * 4
    assert (await town.desk.status(decision)).voted == (town.admins[0],)


@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_a_last_vote_against_a_refusal_one_wins(town, round_):
    decision = await town.propose("book.open", {"kind": "A", "year": 2026})
    await town.vote(decision, town.admins[0])
    (vote,) = await answers(town, decision, town.admins[1:2])
    calls = [vote, lambda: town.desk.refuse(decision, town.admins[2], "Không")]
    results = await together(*(calls if round_ % 2 else reversed(calls)))
    assert codes(results) == ["decision.not_open"]
    state = (await town.desk.status(decision)).state
    assert (state, len(await opened(town, "A"))) in {("applied", 1), ("refused", 0)}
    assert await leaves(town, decision) == (state == "applied")


async def test_a_last_vote_against_the_end_of_its_time_one_wins(town):
    async def sweep():
        async with town.db.write() as uow:
            return await town.desk.approvals.expire(uow)

    for round_ in range(ROUNDS):
        kind = f"K{round_}"
        decision = await town.propose("book.open", {"kind": kind, "year": 2026})
        await town.vote(decision, town.admins[0])
        town.clock.move(seconds=LIMITS["decision.hours"] * 3600 - 1)
        (vote,) = await answers(town, decision, town.admins[1:2])

        async def tick():
            town.clock.move(seconds=1)
            return await sweep()

        calls = [vote, tick]
        results = await together(*(calls if round_ % 2 else reversed(calls)))
        state = (await town.desk.status(decision)).state
        assert (state, len(await opened(town, kind))) in {("applied", 1), ("expired", 0)}
        assert set(codes(results)) <= {
            "decision.expired",
            "decision.ballot_expired",
            "decision.not_open",
            "decision.moved",
        }
        assert bool(codes(results)) == (state == "expired")


async def test_two_decisions_that_remove_each_others_voters_never_leave_fewer_than_two(town):
    first, second, third, fourth = town.admins
    rights = town.rights
    one = await town.propose("role.end", {"authorisation": rights[first, Role.ADMINISTRATOR].id})
    other = await town.propose("role.end", {"authorisation": rights[second, Role.ADMINISTRATOR].id})
    await town.vote(one, second)
    await town.vote(other, first)
    calls = [*await answers(town, one, [third]), *await answers(town, other, [fourth])]
    results = await together(*calls)
    assert codes(results) == []
    # whoever came second found that a voter's role had ended: that yes no longer counted
    assert sorted([(await town.desk.status(each)).state for each in (one, other)]) == ["applied", "open"]
    async with town.db.read() as uow:
        assert len(await town.directory.holders(uow, town.agency.id, Role.ADMINISTRATOR, town.clock.now())) == 3
