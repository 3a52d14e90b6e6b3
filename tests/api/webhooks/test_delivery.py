"""Deliveries: fan-out, signatures, the schedule, dead letters, replay; over real HTTP, with a bent clock."""

import asyncio
import datetime as dt
import json
from dataclasses import replace
from email.utils import format_datetime

import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from api.roles import WEB_WRITES
from api.webhooks.delivery import Courier, try_out
from api.webhooks.model import SCHEDULE, Scheme
from api.webhooks.records import attempt_table, delivery_table
from audit.outbox import EventType
from core.clock import SystemClock
from core.db import Database
from core.errors import Conflict, NotFound, Unavailable
from core.limits import LIMITS
from tests.api.webhooks.conftest import AGENCY, RELEASED
from tests.api.webhooks.test_signing import verify_v1a

VOIDED = EventType.COPY_VOIDED


async def test_an_event_reaches_its_receiver_and_the_reference_library_accepts_it(post):
    real = replace(post.courier, clock=SystemClock())  # the library compares with the machine's clock
    endpoint, secret = await post.endpoint()
    await post.happen("copy-1", type_=VOIDED, successor="c" * 26)
    real.serve()
    at_work = asyncio.create_task(real.run())
    async with asyncio.timeout(20):
        while not (await post.log(endpoint, state="delivered")):
            await asyncio.sleep(0.05)
    at_work.cancel()
    [body], [sent] = post.receiver.bodies, post.receiver.heard
    assert Webhook(secret).verify(body, sent) == {
        "type": "copy.voided", "timestamp": "2026-11-25T03:00:00Z",
        "data": {"copy_id": "copy-1", "agency_id": AGENCY, "realm": "training", "successor": "c" * 26},
    }  # fmt: skip
    assert sent["content-type"] == "application/json"
    assert len(body) < 20_000


async def test_ed25519_deliveries_are_checked_with_the_public_key(post):
    endpoint, public = await post.endpoint(scheme=Scheme.V1A)
    await post.attempt(await post.one(endpoint))
    verify_v1a(public, post.receiver.heard[0], post.receiver.bodies[0])


async def test_during_a_rotation_both_secrets_sign(post):
    endpoint, old = await post.endpoint()
    async with post.db.write() as uow:
        new = await post.endpoints.rotate(uow, endpoint, dt.timedelta(hours=1))
    await post.attempt(await post.one(endpoint))
    [sent] = post.receiver.heard
    sent["webhook-timestamp"] = str(int(sent["webhook-timestamp"]))
    for secret in (old, new):
        expected = Webhook(secret).sign(sent["webhook-id"], post.clock.now(), post.receiver.bodies[0].decode())
        assert expected in sent["webhook-signature"].split()


# -------------------------------------------------------------------------------------------------------- fan out
async def test_an_endpoint_hears_its_types_of_its_agencies_from_its_making_on(post):
    await post.happen("before")
    endpoint, _ = await post.endpoint(types=[RELEASED])
    await post.happen("mine")
    await post.happen("other-type", type_=VOIDED)
    await post.happen("other-agency", agency="b" * 26)
    for _ in range(2):
        await post.courier.fan_out()
    assert [json.loads(d.body)["data"]["copy_id"] for d in await post.log(endpoint)] == ["mine"]
    async with post.db.read() as uow:
        assert await post.endpoints.behind(uow, 4) == []  # it need not look at the others again


async def test_every_endpoint_gets_its_own_delivery_under_one_id(post):
    first, _ = await post.endpoint()
    second, _ = await post.endpoint(types=[RELEASED, VOIDED])
    await post.happen("copy-1")
    await post.courier.fan_out()
    [a], [b] = await post.log(first), await post.log(second)
    assert a.id != b.id
    assert a.event_id == b.event_id


async def test_fan_out_goes_on_where_it_stopped_however_many_there_are(post, monkeypatch):
    monkeypatch.setitem(LIMITS, "webhooks.fan_out", 2)
    endpoint, _ = await post.endpoint()
    await post.happen(*(f"copy-{n}" for n in range(5)))
    await post.courier.fan_out()
    subjects = [json.loads(d.body)["data"]["copy_id"] for d in await post.log(endpoint)]
    assert sorted(subjects) == [f"copy-{n}" for n in range(5)]
    await post.courier.hand_over()
    assert await post.jobs.settle(10)
    assert len(await post.log(endpoint, state="delivered")) == 5


async def test_two_workers_make_one_delivery(post):
    endpoint, _ = await post.endpoint()
    await post.happen("copy-1", "copy-2")
    await asyncio.gather(*(post.courier.fan_out() for _ in range(4)))
    assert len(await post.log(endpoint)) == 2


async def test_a_client_that_was_ended_hears_nothing_more(post):
    endpoint, _ = await post.endpoint()
    waiting = await post.one(endpoint)
    await post.clients.end(post.client.id)
    await post.happen("copy-2")
    await post.courier.fan_out()
    assert await post.attempt(waiting) is None
    assert [(d.state, d.code) for d in await post.log(endpoint)] == [("failed", "webhook.disabled")]
    assert post.receiver.bodies == []


async def test_the_worker_writes_no_table_but_those_of_its_role(post):
    """The same rights as in its process: SQLite's connection refuses all others (on PostgreSQL the user's grants do)."""
    endpoint, _ = await post.endpoint()
    await post.happen("copy-1")
    async with Database(post.db.url, WEB_WRITES) as narrow:
        courier = replace(post.courier, db=narrow)
        courier.serve()
        await courier.fan_out()
        await courier.hand_over()
        assert await post.jobs.settle(10)
        await courier.repair()
        async with narrow.write() as uow:
            await post.endpoints.remove(uow, endpoint.id)
    assert len(post.receiver.bodies) == 1
    assert await post.log(endpoint) == []


# ------------------------------------------------------------------------------------------------------- attempts
async def test_a_success_is_logged_and_nothing_more_is_sent(post):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(204, {})]
    delivery = await post.one(endpoint)
    assert await post.attempt(delivery) is None
    assert await post.attempt(delivery) is None
    [done] = await post.log(endpoint)
    [attempt] = await post.attempts(done)
    assert (done.state, done.code, done.settled_at) == ("delivered", None, post.clock.now())
    assert (attempt.n, attempt.status, attempt.code, attempt.at) == (1, 204, None, post.clock.now())
    assert 0 <= attempt.ms < 5_000
    assert len(post.receiver.bodies) == 1


async def test_a_receiver_that_fails_is_tried_by_the_schedule_and_then_no_more(post):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(500, {})]
    delivery = await post.one(endpoint)
    waits = await post.attempt_until_over(delivery)
    assert len(post.receiver.bodies) == len(SCHEDULE) == 10
    for wait, least in zip(waits, SCHEDULE[1:], strict=True):
        assert least.total_seconds() <= wait <= 1.1 * least.total_seconds()
    [dead] = await post.log(endpoint)
    assert (dead.state, dead.code, dead.tries) == ("failed", "webhook.not_taken", 10)
    assert {h["webhook-id"] for h in post.receiver.heard} == {delivery.event_id}
    assert len({h["webhook-timestamp"] for h in post.receiver.heard}) == 10
    assert len(set(post.receiver.bodies)) == 1
    disabled = await post.again(endpoint)
    assert (disabled.disabled_code, disabled.disabled_at) == ("webhook.exhausted", post.clock.now())


async def test_waits_differ_so_that_what_failed_together_does_not_come_back_together(post):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(500, {})]
    waits = {await post.attempt(await post.one(endpoint, f"copy-{n}")) for n in range(6)}
    assert len(waits) > 1


async def test_one_event_that_a_living_receiver_cannot_take_does_not_silence_it(post):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(500, {})] * 9 + [(200, {}), (500, {})]
    poison = await post.one(endpoint)
    for _ in range(9):
        post.clock.at += dt.timedelta(seconds=await post.attempt(poison))
    assert await post.attempt(await post.one(endpoint, "copy-2")) is None
    assert await post.attempt(poison) is None
    assert [d.state for d in await post.log(endpoint)] == ["failed", "delivered"]
    assert (await post.again(endpoint)).disabled_at is None


@pytest.mark.parametrize(
    ("status", "code"), [(301, "webhook.redirected"), (304, "webhook.redirected"), (400, "webhook.not_taken"),
                         (404, "webhook.not_taken"), (500, "webhook.not_taken"), (503, "webhook.throttled")],
)  # fmt: skip
async def test_every_other_status_is_a_failure_with_its_code(post, status, code):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(status, {"location": post.receiver.url})]
    assert await post.attempt(await post.one(endpoint)) is not None
    [pending] = await post.log(endpoint)
    assert (pending.state, pending.code) == ("pending", code)
    assert len(post.receiver.bodies) == 1  # a redirect is not followed
    assert [(a.status, a.code) for a in await post.attempts(pending)] == [(status, code)]


async def test_gone_disables_the_endpoint_at_once(post):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(410, {})]
    waiting = await post.one(endpoint)
    assert await post.attempt(await post.one(endpoint, "copy-2")) is None
    assert (await post.again(endpoint)).disabled_code == "webhook.gone"
    assert await post.attempt(waiting) is None
    assert [d.state for d in await post.log(endpoint)] == ["failed", "failed"]
    assert len(post.receiver.bodies) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_who_asks_for_rest_gets_it_for_the_whole_endpoint(post, status, form):
    endpoint, _ = await post.endpoint()
    late = post.clock.now() + dt.timedelta(seconds=600)
    asked = "600" if form == "seconds" else format_datetime(late, usegmt=True)
    post.receiver.answers = [(status, {"retry-after": asked}), (200, {})]
    first, second = await post.one(endpoint), await post.one(endpoint, "copy-2")
    assert 600 <= await post.attempt(first) <= 661
    assert 600 <= await post.attempt(second) <= 661
    assert len(post.receiver.bodies) == 1
    post.clock.move(seconds=661)
    assert await post.attempt(second) is None
    assert await post.attempt(first) is None
    assert (await post.again(endpoint)).failures == 0


@pytest.mark.parametrize(
    "asked", ["", "soon", "-5", "9" * 30, "Mon, 99 Foo 2026", "Sun, 06 Nov 1994 08:49:37 GMT", "٣"]
)
async def test_a_strange_wish_for_rest_breaks_nothing(post, asked):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(429, {"retry-after": asked.encode().decode("latin-1")})]
    assert 5 <= await post.attempt(await post.one(endpoint)) <= 86_400


async def test_a_receiver_that_does_not_answer_is_knocked_at_once_for_all_that_waits(post):
    endpoint, _ = await post.endpoint()
    courier = replace(post.courier, private=frozenset({"127.0.0.1:1"}))
    post.courier.outbound._private = courier.private
    async with post.db.write() as uow:
        await post.endpoints.change(uow, endpoint.id, url="http://127.0.0.1:1/")
    post.courier = courier
    first, second = await post.one(endpoint), await post.one(endpoint, "copy-2")
    assert 5 <= await post.attempt(first) <= 5.5
    assert 5 <= await post.attempt(second) <= 5.5
    assert [len(await post.attempts(d)) for d in (first, second)] == [1, 0]
    [attempt] = await post.attempts(first)
    assert (attempt.status, attempt.code) == (None, "outbound.unreachable")


@pytest.mark.parametrize(
    ("url", "code"), [("https://127.0.0.1:9/", "outbound.private_address"), ("https://localhost/", "outbound.private_address"),
                      ("http://8.8.8.8/", "webhook.not_https")],
)  # fmt: skip
async def test_nothing_is_sent_behind_our_walls_or_in_the_clear(post, url, code):
    endpoint, _ = await post.endpoint(url=url)
    assert await post.attempt(await post.one(endpoint)) is not None
    [pending] = await post.log(endpoint)
    assert pending.code == code


async def test_a_disabled_endpoint_that_comes_back_hears_what_happened_meanwhile(post):
    endpoint, _ = await post.endpoint()
    async with post.db.write() as uow:
        await post.endpoints.disable(uow, endpoint.id, "webhook.by_owner")
    await post.happen("copy-1")
    await post.courier.fan_out()
    assert await post.log(endpoint) == []
    async with post.db.write() as uow:
        await post.endpoints.enable(uow, endpoint.id)
    await post.courier.fan_out()
    assert len(await post.log(endpoint)) == 1


async def test_the_first_reason_for_silence_stays(post):
    endpoint, _ = await post.endpoint()
    async with post.db.write() as uow:
        await post.endpoints.disable(uow, endpoint.id, "webhook.gone")
        await post.endpoints.disable(uow, endpoint.id, "webhook.exhausted")
    assert (await post.again(endpoint)).disabled_code == "webhook.gone"


async def test_trying_an_endpoint_out_is_one_knock_without_consequences(post):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(500, {})]
    async with post.db.write() as uow:
        await try_out(uow, post.clock, endpoint)
    [trial] = await post.log(endpoint)
    assert await post.attempt(trial) is None
    [failed] = await post.log(endpoint)
    assert (failed.type, failed.state) == ("webhook.test", "failed")
    assert json.loads(post.receiver.bodies[0])["data"] == {"endpoint_id": endpoint.id}
    assert (await post.again(endpoint)).disabled_at is None


# --------------------------------------------------------------------------------------------------------- replay
async def test_a_replay_sends_the_same_bytes_and_id_and_begins_the_schedule_anew(post):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(500, {})]
    delivery = await post.one(endpoint)
    await post.attempt_until_over(delivery)
    async with post.db.write() as uow:
        await post.endpoints.enable(uow, endpoint.id)
        await post.deliveries.replay(uow, await post.deliveries.get(uow, endpoint.id, delivery.id))
    assert 5 <= await post.attempt(delivery) <= 5.5
    post.clock.move(seconds=6)
    post.receiver.answers = [(200, {})]
    assert await post.attempt(delivery) is None
    [done] = await post.log(endpoint)
    assert (done.state, done.run, done.tries, done.attempts) == ("delivered", 2, 2, 12)
    assert [a.n for a in await post.attempts(done)] == list(range(1, 13))
    assert len(set(post.receiver.bodies)) == 1
    assert len({h["webhook-id"] for h in post.receiver.heard}) == 1


async def test_what_is_under_way_is_not_replayed(post):
    endpoint, _ = await post.endpoint()
    delivery = await post.one(endpoint)
    async with post.db.write() as uow:
        with pytest.raises(Conflict) as caught:
            await post.deliveries.replay(uow, delivery)
    assert caught.value.code == "webhook.under_way"


async def test_dead_letters_since_a_time_are_replayed_together(post):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(410, {}), (410, {}), (200, {}), (410, {})]
    for n in range(4):
        delivery = await post.one(endpoint, f"copy-{n}")
        await post.attempt(delivery)
        async with post.db.write() as uow:
            await post.endpoints.enable(uow, endpoint.id)
        post.clock.move(hours=1)
    since = post.clock.now() - dt.timedelta(hours=3, minutes=1)
    async with post.db.write() as uow:
        assert await post.deliveries.replay_failed(uow, endpoint.id, since) == 2
    assert [d.state for d in await post.log(endpoint)] == ["failed", "new", "delivered", "new"]


async def test_a_delivery_of_another_endpoint_is_not_found(post):
    first, _ = await post.endpoint()
    delivery = await post.one(first)
    async with post.db.read() as uow:
        for endpoint_id, delivery_id in (("e" * 26, delivery.id), (first.id, "d" * 26)):
            with pytest.raises(NotFound):
                await post.deliveries.get(uow, endpoint_id, delivery_id)


# ------------------------------------------------------------------------------------------------- jobs and crashes
async def test_a_crash_between_the_job_and_its_note_starts_no_second_one(post):
    endpoint, _ = await post.endpoint()
    delivery = await post.one(endpoint)
    await post.jobs.start()
    await post.jobs.submit("webhook", delivery.id, "1")  # and then the process died
    await post.courier.hand_over()
    assert await post.jobs.settle(10)
    assert [d.state for d in await post.log(endpoint)] == ["delivered"]
    assert len(post.receiver.bodies) == 1


async def test_a_job_that_is_at_the_door_while_it_is_noted_keeps_its_outcome(post):
    """``hand_over`` marks the row while the attempt waits for its answer."""
    endpoint, _ = await post.endpoint()
    delivery = await post.one(endpoint)
    handed = asyncio.Event()

    async def slow(*args, **more):
        await handed.wait()
        return await Courier._knock(post.courier, *args, **more)

    courier = type("Slow", (Courier,), {"_knock": lambda self, *args: slow(*args)})(
        **{name: getattr(post.courier, name) for name in Courier.__dataclass_fields__}
    )
    knocking = asyncio.create_task(courier.attempt(delivery.id, lambda _: None))
    await asyncio.sleep(0.1)
    await post.courier.hand_over()
    handed.set()
    await knocking
    assert [d.state for d in await post.log(endpoint)] == ["delivered"]


async def test_two_jobs_for_one_delivery_leave_one_line_in_the_log(post):
    endpoint, _ = await post.endpoint()
    post.receiver.answers = [(500, {})]
    delivery = await post.one(endpoint)
    waits = await asyncio.gather(*(post.attempt(delivery) for _ in range(3)))
    assert len([w for w in waits if w is not None]) >= 1
    [pending] = await post.log(endpoint)
    assert (pending.tries, len(await post.attempts(pending))) == (1, 1)


async def test_a_delivery_whose_job_was_lost_is_handed_over_again(post):
    endpoint, _ = await post.endpoint()
    delivery = await post.one(endpoint)
    post.receiver.answers = [(500, {}), (200, {})]
    await post.attempt(delivery)
    await post.courier.repair()
    assert (await post.log(endpoint))[0].state == "pending"  # not late yet
    post.clock.move(minutes=10)
    await post.courier.repair()
    assert [(d.state, d.run) for d in await post.log(endpoint)] == [("new", 2)]
    await post.courier.hand_over()
    assert await post.jobs.settle(10)
    assert [d.state for d in await post.log(endpoint)] == ["delivered"]


async def test_a_late_delivery_whose_job_is_known_is_left_to_it(post):
    endpoint, _ = await post.endpoint()
    delivery = await post.one(endpoint)
    post.receiver.answers = [(500, {})]
    await post.courier.hand_over()
    async with asyncio.timeout(10):
        while not await post.attempts(delivery):
            await asyncio.sleep(0.02)
    post.clock.move(minutes=10)
    await post.courier.repair()
    assert [(d.state, d.run) for d in await post.log(endpoint)] == [("pending", 1)]


async def test_old_logs_are_forgotten_and_open_deliveries_are_not(post):
    endpoint, _ = await post.endpoint()
    await post.attempt(await post.one(endpoint))
    waiting = await post.one(endpoint, "copy-2")
    post.clock.move(days=31)
    await post.courier.repair()
    assert [d.id for d in await post.log(endpoint)] == [waiting.id]
    async with post.db.read() as uow:
        assert (await uow.execute(sa.select(sa.func.count()).select_from(attempt_table))).scalar_one() == 0
        assert (await uow.execute(sa.select(sa.func.count()).select_from(delivery_table))).scalar_one() == 1


@pytest.mark.parametrize("error", [Unavailable("database.unavailable"), ValueError("a surprise")])
async def test_a_worker_goes_on_after_what_stopped_it_once(post, monkeypatch, error):
    endpoint, _ = await post.endpoint()
    await post.happen("copy-1")
    whole, calls = Courier.fan_out, []

    async def away(self):
        calls.append(1)
        if len(calls) == 1:
            raise error
        await whole(self)

    monkeypatch.setattr(Courier, "fan_out", away)
    at_work = asyncio.create_task(post.courier.run())
    async with asyncio.timeout(20):
        while not await post.log(endpoint, state="delivered"):
            await asyncio.sleep(0.05)
            post.courier.bell.set()
    at_work.cancel()
