"""A process that dies, a part that does not answer: the request ends in a stated state, with one signature or none."""

import asyncio
import dataclasses
import datetime as dt

import pytest

from audit.log import Log
from core.errors import Unavailable
from core.limits import LIMITS
from signer.requests import settling
from tests.flows.town import Stop, stop_at
from tests.signer.requests.office import Office


async def approved(office: Office, *who, **change):
    """Approved, and the process gone before it did anything about it."""
    made = await office.make(*(who or ("an",)), **change)
    opened = await office.open(made.steps[0])
    from signer.requests import answering

    await answering.approve(
        office.desk, made.steps[0].id, office.ids[who[0] if who else "an"], opened.tx, office.answer(opened)
    )
    return made, opened


@pytest.mark.parametrize(
    "step",
    ["signer.check", "signer.spend", "signer.sign", "signer.stamp", "signer.embed", "signer.record", "request.finish", "request.release"],
)  # fmt: skip
async def test_work_that_ends_after_any_step_is_taken_up_and_signs_once(office, second, step):
    made, opened = await approved(office)
    with pytest.raises(Stop):
        await office.desk.advance(made.steps[0].id, stop_at(step))
    await second.desk.sweep()
    await second.desk.drain()
    done = await office.view(made.id)
    assert (done.state, done.steps[0].state) == ("completed", "signed")
    await office.desk.signing.log.sequence()
    entries = await office.desk.signing.log.entries(0, await office.desk.signing.log.size())
    mine = [entry for _, entry in entries if done.steps[0].orders[0].encode() in entry]
    assert sorted(b'key_use_intended"' in e and b'signature_made"' not in e for e in mine) == [False, True]
    assert (await office.told(made.id))[-2:] == ["request.step_signed", "request.completed"]


async def test_half_a_batch_is_finished_by_whoever_comes(office, second, monkeypatch):
    monkeypatch.setitem(LIMITS, "signing.piece", 2)
    from signer.requests.model import NewDocument
    from tests.signer.requests.office import paper

    documents = tuple([NewDocument(title=f"{n}", name=await office.put(paper(f"half {n}"))) for n in range(5)])
    made, opened = await approved(office, documents=documents)
    with pytest.raises(Stop):
        await office.desk.advance(made.steps[0].id, stop_at("signer.record"))
    half = await office.view(made.id)
    assert [d.current != d.original for d in half.documents] == [True, True, False, False, False]
    assert half.steps[0].state == "approved"
    await second.desk.sweep()
    await second.desk.drain()
    done = await office.view(made.id)
    assert done.state == "completed"
    async with office.db.read() as uow:
        assert [o.state for o in await office.desk.signing.orders_of(uow, opened.tx)] == ["made"] * 5


async def test_an_approval_that_was_never_used_in_its_time_is_asked_for_again(office):
    made, opened = await approved(office)
    office.clock.move(seconds=LIMITS["activation.seconds"])
    await office.desk.sweep()
    await office.desk.drain()
    step = (await office.view(made.id)).steps[0]
    assert (step.state, step.problem, step.orders) == ("ready", "activation.expired", ())
    assert (await office.told(made.id))[-1] == "request.changed"
    assert (await office.sign(step)).state == "completed"


async def test_an_approval_in_time_is_signed_though_the_deadline_passes_meanwhile(office, second):
    made, _ = await approved(office, deadline=office.clock.now() + dt.timedelta(seconds=5))
    office.clock.move(seconds=60)
    second.clock.at = office.clock.at
    await second.desk.sweep()
    await second.desk.drain()
    assert (await office.view(made.id)).state == "completed"


async def test_a_time_stamp_that_does_not_come_leaves_the_step_approved_until_it_does(office):
    made, _ = await approved(office)

    class Mute:
        size = office.desk.signing.timestamps.size

        async def stamp(self, digest):
            raise Unavailable("tsa.unavailable")

    mute = dataclasses.replace(office.desk, signing=dataclasses.replace(office.desk.signing, timestamps=Mute()))
    with pytest.raises(Unavailable):
        await mute.advance(made.steps[0].id, lambda _: None)
    step = (await office.view(made.id)).steps[0]
    assert step.state == "approved"
    with pytest.raises(Exception, match=r"request\.signing"):
        await office.desk.cancel(made.id, "x")
    await office.desk.sweep()
    await office.desk.drain()
    assert (await office.view(made.id)).state == "completed"


async def test_work_that_fails_again_and_again_is_tried_less_and_less(office, monkeypatch):
    made, _ = await approved(office)
    tries = []

    async def fails(parts, step_id, note):
        if step_id == made.steps[0].id:
            tries.append(step_id)
        raise RuntimeError

    monkeypatch.setattr(settling, "advance", fails)
    for _ in range(3):
        await office.desk.sweep()
        await office.desk.drain()
    assert len(tries) == 1
    monkeypatch.undo()
    office.desk._resting.clear()
    await office.desk.sweep()
    await office.desk.drain()
    assert (await office.view(made.id)).state == "completed"


async def test_whoever_waits_is_told_at_the_end_and_not_before(office):
    made = await office.make("an")
    await asyncio.wait_for(office.desk.rest(made.steps[0].id, 9), 2)  # nothing happens to it by itself
    opened = await office.open(made.steps[0])
    await office.approve(opened)
    await office.desk.rest(made.steps[0].id, 30)
    assert (await office.view(made.id)).state == "completed"
    await asyncio.wait_for(office.desk.rest("unknown", 9), 2)
    assert office.desk._waiting == {}


async def test_another_process_at_work_is_waited_for(office, second):
    made, _ = await approved(office)
    waiting = asyncio.create_task(second.desk.rest(made.steps[0].id, 0.2))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await waiting
    await office.desk.sweep()
    await office.desk.drain()


async def test_the_desk_serves_until_it_is_cancelled(office, monkeypatch):
    monkeypatch.setitem(LIMITS, "request.sweep_seconds", 1)
    made, _ = await approved(office)
    serving = asyncio.create_task(office.desk.serve())
    while (await office.view(made.id)).state == "open":
        await asyncio.sleep(0.05)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await office.desk.drain()


async def test_a_log_that_is_frozen_signs_nothing(office, monkeypatch):
    made, opened = await approved(office)

    async def frozen(*_args):
        raise Unavailable("log.frozen")

    monkeypatch.setattr(Log, "append", frozen)
    with pytest.raises(Unavailable):
        await office.desk.advance(made.steps[0].id, lambda _: None)
    monkeypatch.undo()
    async with office.db.read() as uow:
        assert [o.state for o in await office.desk.signing.orders_of(uow, opened.tx)] == ["prepared"]
    await office.desk.sweep()
    await office.desk.drain()
    assert (await office.view(made.id)).state == "completed"
