"""A process that dies, a part that does not answer: the request ends in a stated state, with one signature or none."""

import asyncio
import dataclasses
import datetime as dt
import json

import pytest

from audit.log import Log
from core.errors import Broken, Unavailable
from core.limits import LIMITS
from signer.credentials import credential_table
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
    types = [json.loads(entry)["type"] for entry in mine if b'"event_id":"' + done.steps[0].orders[0].encode() in entry]
    spent = step in {"signer.spend", "signer.sign", "signer.stamp", "signer.embed"}
    assert types == ["key_use_intended", *["key_outcome_unknown"] * spent, "signature_made"]
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
        assert [o.state for o in await office.desk.signing.orders.under(uow, opened.tx)] == ["made"] * 5


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
        assert [o.state for o in await office.desk.signing.orders.under(uow, opened.tx)] == ["prepared"]
    await office.desk.sweep()
    await office.desk.drain()
    assert (await office.view(made.id)).state == "completed"


def _without_answers(office, count: int, code: str):
    """The office's desk whose key does its work and whose first ``count`` answers are lost, or never come."""
    real, calls = office.desk.signing.open_key, []

    def opened(credential, event_id):
        key = real(credential, event_id)

        class Lost:
            algorithm, spki = key.algorithm, key.spki

            async def sign(self, to_sign):
                value = await key.sign(to_sign)
                calls.append(event_id)
                if len(calls) <= count:
                    raise Unavailable(code)
                return value

        return Lost()

    signing = dataclasses.replace(office.desk.signing, open_key=opened)
    return dataclasses.replace(office.desk, signing=signing), calls


async def test_an_answer_that_was_lost_is_said_in_the_log_and_the_order_is_signed_again(office):
    made, opened = await approved(office)
    desk, calls = _without_answers(office, 2, "key.outcome_unknown")
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"key\.outcome_unknown"):
            await desk.advance(made.steps[0].id, lambda _: None)
    waiting = (await office.view(made.id)).steps[0]
    assert (waiting.state, waiting.problem) == ("approved", "key.outcome_unknown")
    await desk.advance(made.steps[0].id, lambda _: None)
    done = await office.view(made.id)
    assert (done.state, done.steps[0].problem, len(calls)) == ("completed", None, 3)
    order = done.steps[0].orders[0]
    said = [b"key_outcome_unknown" in e for e in await office.leaves(order)]
    assert said == [False, True, True, False]  # intent, two lost answers, the result


@pytest.mark.parametrize("code", ["key.sealed", "key.denied", "key.no_such_store"])
async def test_a_store_that_is_shut_or_lets_us_not_in_keeps_the_step_with_a_word_and_no_leaf(office, code):
    made, _ = await approved(office)
    desk, _ = _without_answers(office, 3, code)
    for _ in range(3):
        with pytest.raises(Unavailable) as away:
            await desk.advance(made.steps[0].id, lambda _: None)
        assert away.value.code == code
    step = (await office.view(made.id)).steps[0]
    assert (step.state, step.problem) == ("approved", code)
    assert (await office.told(made.id)).count("request.changed") == 1  # once, however often it is tried
    await desk.advance(made.steps[0].id, lambda _: None)
    done = await office.view(made.id)
    assert (done.state, done.steps[0].problem) == ("completed", None)
    assert not any(b"key_outcome_unknown" in e for e in await office.leaves(done.steps[0].orders[0]))


@pytest.mark.parametrize("spent", [False, True])
async def test_a_credential_that_was_bent_to_another_owner_signs_nothing(office, second, spent):
    made, _ = await approved(office)
    if spent:
        with pytest.raises(Stop):
            await office.desk.advance(made.steps[0].id, stop_at("signer.spend"))
        await second.desk.sweep()

    async def bend(old, new):
        async with office.db.write() as uow:
            await uow.execute(credential_table.update().where(credential_table.c.owner == old).values(owner=new))
        second.desk.signing.credentials._known.clear()

    await bend(made.steps[0].person_id, "0" * 26)
    try:
        with pytest.raises(Broken, match=r"key\.wrong_owner"):
            await second.desk.advance(made.steps[0].id, lambda _: None)
        assert (await office.view(made.id)).steps[0].state != "signed"
    finally:
        await bend("0" * 26, made.steps[0].person_id)


async def test_who_takes_up_what_a_dead_process_spent_says_first_that_the_key_may_have_been_used(office, second):
    made, _ = await approved(office)
    with pytest.raises(Stop):
        await office.desk.advance(made.steps[0].id, stop_at("signer.sign"))
    await second.desk.sweep()
    await second.desk.drain()
    order = (await office.view(made.id)).steps[0].orders[0]
    kinds = [b"key_outcome_unknown" in e for e in await office.leaves(order)]
    assert kinds == [False, True, False]


async def _used_twice(office, made, desk, ending):
    """The work ends after the key was touched, then goes on; what the log says of the order."""
    with pytest.raises(ending):
        await desk.advance(made.steps[0].id, lambda _: None)
    office.desk._resting.clear()
    await office.desk.advance(made.steps[0].id, lambda _: None)
    done = await office.view(made.id)
    assert done.state == "completed"
    return [
        json.loads(entry)["type"]
        for entry in await office.leaves(done.steps[0].orders[0])
        if b"key_" in entry or b"signature" in entry
    ]


async def test_a_time_stamp_that_fails_after_the_key_signed_is_two_uses_and_the_log_says_so(office):
    made, _ = await approved(office)
    real = office.desk.signing.timestamps

    class Once:
        size = real.size

        async def stamp(self, digest):
            raise Unavailable("tsa.unavailable")

    desk = dataclasses.replace(office.desk, signing=dataclasses.replace(office.desk.signing, timestamps=Once()))
    said = await _used_twice(office, made, desk, Unavailable)
    assert said == ["key_use_intended", "key_outcome_unknown", "signature_made"]


async def test_work_that_is_stopped_while_the_key_signs_is_two_uses_and_the_log_says_so(office):
    made, _ = await approved(office)
    real = office.desk.signing.open_key

    def opened(credential, event_id):
        key = real(credential, event_id)

        class Stopped:
            algorithm, spki = key.algorithm, key.spki

            async def sign(self, to_sign):
                await key.sign(to_sign)
                asyncio.current_task().cancel()
                await asyncio.sleep(0)

        return Stopped()

    desk = dataclasses.replace(office.desk, signing=dataclasses.replace(office.desk.signing, open_key=opened))
    said = await _used_twice(office, made, desk, asyncio.CancelledError)
    assert said == ["key_use_intended", "key_outcome_unknown", "signature_made"]


async def test_a_leaf_that_could_not_be_written_is_written_by_the_next_turn(office, monkeypatch):
    made, _ = await approved(office)
    desk, _ = _without_answers(office, 1, "key.outcome_unknown")
    import signer.ceremony as ceremony

    async def fails(_desk, orders, _credential):
        if orders:
            raise Unavailable("database.busy")

    with monkeypatch.context() as patched:
        patched.setattr(ceremony, "_say_unknown", fails)
        with pytest.raises(Unavailable, match=r"database\.busy"):
            await desk.advance(made.steps[0].id, lambda _: None)
    await desk.advance(made.steps[0].id, lambda _: None)
    done = await office.view(made.id)
    assert [b"key_outcome_unknown" in e for e in await office.leaves(done.steps[0].orders[0])] == [False, True, False]


async def test_the_first_signer_who_waits_hears_of_the_end_that_the_last_one_brought(office):
    made = await office.make("an", "binh")
    first, last = made.steps
    await office.sign(first)
    opened = await office.open(last)
    waiting = asyncio.create_task(office.desk.rest(first.id, 20))
    await asyncio.sleep(0)
    before = asyncio.get_running_loop().time()
    await office.approve(opened)
    await waiting
    await office.desk.rest(last.id, 20)
    assert asyncio.get_running_loop().time() - before < 10


async def test_leaves_that_wait_for_the_logs_key_are_published_by_a_later_sweep(office):
    log = office.desk.signing.log
    real, log._key = log._key, None

    class Away:
        algorithm, spki = real.algorithm, real.spki

        async def sign(self, to_sign):
            raise Unavailable("key.sealed")

    log._key = Away()
    done = await office.sign((await office.make("an")).steps[0])
    assert (done.state, log.owes) == ("completed", True)
    log._key = real
    await office.desk.sweep()
    await office.desk.drain()
    assert not log.owes
    assert (await log.latest_checkpoint()) is not None
