"""Exactly one wins, on both databases, whoever meets whom."""

import asyncio
import datetime as dt

import pytest

from core.errors import ServiceError
from signer.activation import redeem
from tests.signer.requests.office import Office

ROUNDS = 4


async def outcome(work):
    """None where it went through, else the code of the refusal; anything else is an error of ours."""
    try:
        await work
    except ServiceError as error:
        return error.code
    return None


async def spent(office: Office, tx: str) -> str:
    async with office.db.read() as uow:
        return (await redeem.status(uow, office.clock, tx)).state


async def made_orders(office: Office, tx: str) -> list[str]:
    async with office.db.read() as uow:
        return [o.state for o in await office.desk.signing.orders.under(uow, tx)]


async def test_of_two_approvals_at_once_one_wins(office, second):
    for _ in range(ROUNDS):
        made = await office.make("an")
        opened = await office.open(made.steps[0])
        said = await asyncio.gather(*(outcome(each.approve(opened)) for each in (office, second, office, second)))
        assert sorted(said, key=str) == [None] + ["request.already_approved"] * 3
        await asyncio.gather(office.desk.drain(), second.desk.drain())
        assert (await office.view(made.id)).state == "completed"
        assert await made_orders(office, opened.tx) == ["made"]
        assert (await office.told(made.id)).count("request.step_signed") == 1


async def test_of_an_approval_and_a_cancellation_one_wins(office, second):
    seen = set()
    for number in range(ROUNDS * 2):
        made = await office.make("an")
        opened = await office.open(made.steps[0])
        works = [outcome(office.approve(opened)), outcome(second.desk.cancel(made.id, "thôi"))]
        if number % 2:
            works.reverse()
        said = await asyncio.gather(*works)
        approved, cancelled = said if number % 2 == 0 else said[::-1]
        await office.desk.drain()
        after = await office.view(made.id)
        if approved is None:
            assert cancelled in {"request.signing", "request.not_open"}
            assert (after.state, await made_orders(office, opened.tx)) == ("completed", ["made"])
        else:
            assert approved == "request.not_open"
            assert cancelled is None
            assert (after.state, await made_orders(office, opened.tx)) == ("cancelled", ["dropped"])
            assert await spent(office, opened.tx) == "refused"
        seen.add(after.state)
    assert seen  # both usually; which one is the database's turn


async def test_of_an_approval_and_the_deadline_one_wins(office, second):
    for number in range(ROUNDS):
        made = await office.make("an", deadline=office.clock.now() + dt.timedelta(seconds=60))
        opened = await office.open(made.steps[0])
        second.clock.at = made.deadline  # its clock is first
        works = [outcome(office.approve(opened)), outcome(second.desk.sweep())]
        if number % 2:
            works.reverse()
        said = await asyncio.gather(*works)
        approved = said[number % 2]
        await asyncio.gather(office.desk.drain(), second.desk.drain())
        after = await office.view(made.id)
        if approved is None:
            assert (after.state, await made_orders(office, opened.tx)) == ("completed", ["made"])
        else:
            assert approved == "request.not_open"
            assert (after.state, await made_orders(office, opened.tx)) == ("expired", ["dropped"])
        assert len([t for t in await office.told(made.id) if t in {"request.completed", "request.expired"}]) == 1
        second.clock.at = office.clock.at


async def test_of_an_approval_and_a_refusal_one_wins(office, second):
    for number in range(ROUNDS):
        made = await office.make("an")
        opened = await office.open(made.steps[0])
        works = [
            outcome(office.approve(opened)),
            outcome(second.desk.refuse(made.steps[0].id, office.ids["an"], "không")),
        ]
        said = await asyncio.gather(*(works[::-1] if number % 2 else works))
        assert said.count(None) == 1, said
        await office.desk.drain()
        after = await office.view(made.id)
        assert after.state == ("completed" if said[number % 2] is None else "refused")


async def test_of_an_approval_and_a_replacement_one_wins(office, second):
    for number in range(ROUNDS):
        made = await office.make("an")
        opened = await office.open(made.steps[0])
        works = [outcome(office.approve(opened)), outcome(second.desk.replace(made.steps[0].id, office.ids["binh"]))]
        said = await asyncio.gather(*(works[::-1] if number % 2 else works))
        assert said.count(None) == 1, said
        await office.desk.drain()
        after = await office.view(made.id)
        assert (after.state, len(after.steps)) == (("completed", 1) if said[number % 2] is None else ("open", 2))


async def test_of_two_people_opening_one_paper_one_has_it(office, second):
    for _ in range(ROUNDS):
        made = await office.make("an", "binh")
        said = await asyncio.gather(outcome(office.open(made.steps[0])), outcome(second.open(made.steps[1])))
        assert sorted(said, key=str) == [None, "request.leased"]
        assert sorted(s.state for s in (await office.view(made.id)).steps) == ["open", "ready"]


async def test_processes_that_all_work_on_one_approval_sign_and_release_once(office, second):
    for _ in range(ROUNDS):
        made = await office.make("an")
        opened = await office.open(made.steps[0])
        await office.approve(opened)
        for each in (second, office, second):
            each.desk.go_on(made.steps[0].id)
        await asyncio.gather(office.desk.drain(), second.desk.drain())
        assert (await office.view(made.id)).state == "completed"
        assert await made_orders(office, opened.tx) == ["made"]
        told = await office.told(made.id)
        assert told == ["request.step_opened", "request.step_signed", "request.completed"]


@pytest.mark.parametrize("name", ["an", "binh"])
async def test_an_answer_for_one_request_approves_no_other(office, name):
    mine, other = await office.make("an"), await office.make(name)
    opened, elsewhere = await office.open(mine.steps[0]), await office.open(other.steps[0])
    said = await outcome(office.desk.approve(mine.steps[0].id, office.ids["an"], opened.tx, office.answer(elsewhere)))
    assert said == ("activation.wrong_challenge" if name == "an" else "activation.foreign_passkey")
    said = await outcome(
        office.desk.approve(mine.steps[0].id, office.ids["an"], elsewhere.tx, office.answer(elsewhere))
    )
    assert said == "request.lease_ended"
    assert (await office.view(mine.id)).steps[0].state == "open"
