"""One person at a time has a paper open; what was opened is exactly what may be approved."""

import asyncio
import dataclasses
import datetime as dt

import pytest

from core.errors import Broken, Conflict, Refused, ServiceError
from core.limits import LIMITS
from core.values import Digest
from signer import papers
from signer.activation import redeem
from signer.requests.records import document_table, step_table

LEASE = LIMITS["request.lease_seconds"]


async def state_of(office, tx):
    async with office.db.read() as uow:
        return (await redeem.status(uow, office.clock, tx)).state


async def orders_of(office, tx):
    async with office.db.read() as uow:
        return [o.state for o in await office.desk.signing.orders.under(uow, tx)]


async def test_opened_again_by_the_same_person_it_is_the_same_question(office, second):
    made = await office.make("an")
    first = await office.open(made.steps[0])
    again = await office.open(made.steps[0])
    elsewhere = await second.open(made.steps[0])
    assert {first.tx, again.tx, elsewhere.tx} == {first.tx}
    assert (again.challenge, again.code, again.expires) == (first.challenge, first.code, first.expires)


async def test_opened_many_times_at_once_one_question_stands(office, second):
    made = await office.make("an")
    opened = await asyncio.gather(*(each.open(made.steps[0]) for each in (office, second) * 3))
    assert len({each.tx for each in opened}) == 1
    await office.approve(opened[0])
    await office.desk.drain()
    assert (await office.view(made.id)).state == "completed"


async def test_others_are_told_until_when_and_may_open_after_the_lease(office):
    made = await office.make("an", "binh")
    one, two = made.steps
    opened = await office.open(one)
    with pytest.raises(Conflict) as caught:
        await office.open(two)
    assert caught.value.code == "request.leased"
    assert caught.value.evidence["until"].startswith("25/11/2026 10:07:00")
    office.clock.move(seconds=LEASE)
    other = await office.open(two)
    assert (await state_of(office, opened.tx), await orders_of(office, opened.tx)) == ("refused", ["dropped"])
    assert [s.state for s in (await office.view(made.id)).steps] == ["ready", "open"]
    with pytest.raises(Conflict, match=r"request\.lease_ended"):
        await office.approve(opened)
    await office.approve(other)
    await office.desk.drain()
    done = await office.sign(one)
    assert done.state == "completed"


async def test_after_its_lease_a_step_is_prepared_anew_and_the_old_question_is_dead(office):
    made = await office.make("an")
    old = await office.open(made.steps[0])
    office.clock.move(seconds=LEASE)
    with pytest.raises(Conflict, match=r"request\.lease_ended"):
        await office.approve(old)
    new = await office.open(made.steps[0])
    assert new.tx != old.tx
    assert await state_of(office, old.tx) == "refused"
    with pytest.raises(Conflict, match=r"request\.lease_ended"):
        await office.approve(old)
    await office.approve(new)
    await office.desk.drain()
    assert (await office.view(made.id)).state == "completed"


class Slow:
    """Papers that take their time."""

    inspect = staticmethod(papers.inspect)

    def __init__(self, seconds):
        self.seconds, self.times = seconds, 0

    async def prepare(self, *args, **kwargs):
        self.times += 1
        await asyncio.sleep(self.seconds)
        return await papers.prepare(*args, **kwargs)


async def test_a_reload_while_a_step_is_made_ready_waits_and_shows_the_same_question(office, second):
    slow = Slow(0.4)
    desks = [dataclasses.replace(each.desk, papers=slow) for each in (office, second)]
    made = await office.make("an")

    async def reload(number):
        await asyncio.sleep(0.1 * number)
        return await desks[number % 2].open(made.steps[0].id, office.ids["an"])

    opened = await asyncio.gather(*map(reload, range(6)))
    assert (len({each.tx for each in opened}), slow.times) == (1, 1)


async def test_a_tab_that_was_closed_while_it_was_made_ready_leaves_the_next_one_its_turn(office):
    slow = Slow(5)
    made = await office.make("an")
    first = asyncio.create_task(dataclasses.replace(office.desk, papers=slow).open(made.steps[0].id, office.ids["an"]))
    while not slow.times:
        await asyncio.sleep(0.01)
    again = asyncio.create_task(office.open(made.steps[0]))
    await asyncio.sleep(0.05)
    assert not again.done()
    first.cancel()
    assert (await asyncio.wait_for(again, 5)).tx


async def test_the_lease_of_a_preparation_is_short_and_kept_running_while_it_lasts(office, second, monkeypatch):
    monkeypatch.setitem(LIMITS, "request.prepare_seconds", 0.3)
    slow = Slow(1.5)
    made = await office.make("an", "binh")
    work = asyncio.create_task(dataclasses.replace(office.desk, papers=slow).open(made.steps[0].id, office.ids["an"]))
    while not slow.times:
        await asyncio.sleep(0.01)
    for _ in range(4):
        office.clock.move(seconds=0.2)
        second.clock.at = office.clock.at
        await asyncio.sleep(0.25)
        with pytest.raises(Conflict, match=r"request\.leased"):
            await second.open(made.steps[1])
    opened = await work
    left = opened.expires - office.clock.now()  # the clock moved while it was prepared
    assert dt.timedelta(seconds=LEASE - 1) <= left <= dt.timedelta(seconds=LEASE)


async def test_a_preparation_that_lost_its_lease_does_not_open_what_somebody_else_has(office, second):
    slow = Slow(0.5)
    made = await office.make("an", "binh")
    work = asyncio.create_task(dataclasses.replace(office.desk, papers=slow).open(made.steps[0].id, office.ids["an"]))
    while not slow.times:
        await asyncio.sleep(0.01)
    second.clock.move(seconds=LIMITS["request.prepare_seconds"])  # the process of the first stood still for so long
    other = await second.open(made.steps[1])
    with pytest.raises(Conflict, match=r"request\.leased"):
        await work
    await second.approve(other)
    await second.desk.drain()
    assert (await office.sign(made.steps[0])).state == "completed"


async def test_whose_lease_ran_out_while_others_were_turned_away_lets_them_go_first(office):
    made = await office.make("an", "binh")
    one, two = made.steps
    for _ in range(2):
        await office.open(one)
        with pytest.raises(Conflict, match=r"request\.leased"):
            await office.open(two)
        office.clock.move(seconds=LEASE + 1)
        with pytest.raises(Conflict) as caught:
            await office.open(one)
        assert caught.value.code == "request.others_first"
        office.clock.move(seconds=LIMITS["request.rest_seconds"])  # nobody came
    await office.open(one)
    with pytest.raises(Conflict, match=r"request\.leased"):
        await office.open(two)
    office.clock.move(seconds=LEASE + 1)
    await office.desk.sweep()
    with pytest.raises(Conflict, match=r"request\.others_first"):
        await office.open(one)
    await office.sign(two)  # had a turn: nothing is to be waited for any more
    assert (await office.sign(one)).state == "completed"


async def test_who_lets_a_lease_run_out_that_nobody_waited_for_opens_again_at_once(office):
    made = await office.make("an", "binh")
    for _ in range(3):
        await office.open(made.steps[0])
        office.clock.move(seconds=LEASE + 1)
    assert await office.open(made.steps[0])


async def test_the_stamp_and_the_signature_carry_the_certificates_name(office, monkeypatch):
    """However the portal that came first spelt it."""
    from core.directory.records import person_table

    seen = []

    class Seen(Slow):
        async def prepare(self, *args, **kwargs):
            seen.append(kwargs["signer_name"])
            return await papers.prepare(*args, **kwargs)

    made = await office.make("chi")
    async with office.db.write() as uow:
        mine = person_table.c.id == office.ids["chi"]
        await uow.execute(person_table.update().where(mine).values(name="NGUYỄN  VĂN CHI"))
    try:
        await dataclasses.replace(office.desk, papers=Seen(0)).open(made.steps[0].id, office.ids["chi"])
    finally:
        async with office.db.write() as uow:
            await uow.execute(person_table.update().where(mine).values(name="Nguyễn Văn Chi"))
    assert seen == ["Nguyễn Văn Chi"]


async def test_a_question_that_a_lost_phone_has_ended_is_put_anew(office):
    made = await office.make("an")
    first = await office.open(made.steps[0])
    async with office.db.write() as uow:
        await redeem.refuse(uow, first.tx)  # as a loss does
    second = await office.open(made.steps[0])
    assert second.tx != first.tx
    assert await orders_of(office, first.tx) == ["dropped"]
    with pytest.raises(Conflict, match=r"request\.lease_ended"):
        await office.approve(first)
    await office.approve(second)
    await office.desk.drain()
    assert (await office.view(made.id)).state == "completed"


async def test_a_new_certificate_meanwhile_is_the_one_that_signs(office):
    made = await office.make("an")
    first = await office.open(made.steps[0])
    credentials = office.records.credentials
    async with office.db.write() as uow:
        old = await credentials.get(uow, first.record.credential)
        await credentials.retire(uow, old.id)
        new = await credentials.add(
            uow, realm=old.realm, purpose=old.purpose, owner=old.owner, key=old.key, certificate=old.certificate,
            chain=old.chain,
        )  # fmt: skip
    second = await office.open(made.steps[0])
    assert second.record.credential == new.id
    assert (await office.open(made.steps[0])).tx == second.tx
    assert await state_of(office, first.tx) == "refused"


async def test_only_the_persons_own_turn_can_be_opened(office):
    made = await office.make(("an", "citizen", 0), ("binh", "citizen", 1))
    with pytest.raises(Refused, match=r"request\.other_person"):
        await office.desk.open(made.steps[0].id, office.ids["binh"])
    with pytest.raises(Refused, match=r"request\.not_your_turn"):
        await office.open(made.steps[1])
    await office.sign(made.steps[0])
    with pytest.raises(Conflict, match=r"request\.already_approved"):
        await office.open(made.steps[0])
    with pytest.raises(ServiceError, match=r"request\.no_such_step"):
        await office.desk.open("nothing", office.ids["an"])


async def test_who_has_no_key_is_told_so_and_the_step_stays_ready(office):
    made = await office.make("nobody")
    with pytest.raises(Refused, match=r"request\.not_enrolled"):
        await office.open(made.steps[0])
    assert (await office.view(made.id)).steps == made.steps


async def test_after_the_deadline_nothing_opens(office):
    made = await office.make("an")
    office.clock.move(days=2)
    with pytest.raises(Refused, match=r"request\.expired"):
        await office.open(made.steps[0])


async def test_a_certificate_that_has_run_out_opens_nothing(office):
    made = await office.make("an", deadline=office.clock.now() + dt.timedelta(days=90))
    office.clock.move(days=89)
    assert await office.open(made.steps[0])
    async with office.db.write() as uow:
        await uow.execute(
            step_table.update().where(step_table.c.id == made.steps[0].id).values(leased_until=None, state="ready")
        )
        from signer.requests.records import request_table

        await uow.execute(
            request_table.update()
            .where(request_table.c.id == made.id)
            .values(deadline=office.clock.now() + dt.timedelta(days=9999))
        )
    office.clock.move(days=800)
    with pytest.raises(Refused, match=r"credential\.expired"):
        await office.open(made.steps[0])


async def test_a_preparation_that_fails_gives_its_lease_back(office):
    made = await office.make("an", "binh")

    class Papers:
        inspect = staticmethod(papers.inspect)

        async def prepare(self, *_args, **_kwargs):
            raise Refused("sandbox.limit")

    with pytest.raises(Refused, match=r"sandbox\.limit"):
        await dataclasses.replace(office.desk, papers=Papers()).open(made.steps[0].id, office.ids["an"])
    assert await office.open(made.steps[1])


class Lying:
    """A sandbox that a hostile paper has taken over."""

    inspect = staticmethod(papers.inspect)

    def __init__(self, change):
        self._change = change

    async def prepare(self, *args, **kwargs):
        prepared, facts = await papers.prepare(*args, **kwargs)
        return self._change(prepared), facts


def _other_attributes(prepared):
    attributes = prepared.signed_attributes[:-1] + bytes([prepared.signed_attributes[-1] ^ 1])
    return dataclasses.replace(prepared, signed_attributes=attributes, to_sign=Digest.of(attributes))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: dataclasses.replace(p, document=p.document.replace(b"%PDF-", b"%PDf-", 1)),
        lambda p: dataclasses.replace(p, document=p.document + b" "),
        lambda p: dataclasses.replace(p, byte_range=(0, p.byte_range[1], p.byte_range[2] + 2, p.byte_range[3] - 2)),
        lambda p: dataclasses.replace(p, byte_range=(0, 9, *p.byte_range[2:])),
        lambda p: dataclasses.replace(p, to_sign=Digest.of(b"something else")),
        lambda p: dataclasses.replace(p, message_digest=bytes(32)),
        lambda p: dataclasses.replace(p, field="Theirs"),
        _other_attributes,
    ],
)
async def test_a_sandbox_that_gives_back_something_else_makes_nobody_sign_it(office, change):
    made = await office.make("an")
    with pytest.raises(Broken, match=r"request\.not_as_prepared"):
        await dataclasses.replace(office.desk, papers=Lying(change)).open(made.steps[0].id, office.ids["an"])
    assert (await office.view(made.id)).steps[0].state == "ready"


async def test_the_digest_that_is_signed_is_the_one_that_was_approved_though_the_paper_was_swapped(office):
    """Between reading and signing somebody with the store's rights puts other bytes in the place of the prepared ones."""
    made = await office.make("an")
    opened = await office.open(made.steps[0])
    async with office.db.read() as uow:
        (order,) = await office.desk.signing.orders.under(uow, opened.tx)
    documents = office.desk.signing.documents
    documents._recent[order.document] = (await documents.get(order.document)).replace(b"%PDF-1", b"%PDF-2", 1)
    await office.approve(opened)
    await office.desk.drain()
    failed = await office.view(made.id)
    assert (failed.state, failed.problem) == ("failed", "signing.prepared_bytes_changed")
    assert failed.documents[0].released is None


async def test_the_digest_that_is_signed_is_the_one_that_was_approved_though_the_order_was_swapped(office):
    """Somebody with the database's rights prepares another paper, and writes it into the order."""
    made, other = await office.make("an"), await office.make("binh")
    opened, evil = await office.open(made.steps[0]), await office.open(other.steps[0])
    from signer.records import order_table

    async with office.db.write() as uow:
        (mine,) = await office.desk.signing.orders.under(uow, opened.tx)
        (theirs,) = await office.desk.signing.orders.under(uow, evil.tx)
        await uow.execute(
            order_table.update().where(order_table.c.id == mine.id)
            .values(prepared=theirs.prepared, document=theirs.document)
        )  # fmt: skip
    await office.approve(opened)
    await office.desk.drain()
    after = await office.view(made.id)
    assert (after.state, after.steps[0].state, after.steps[0].problem) == ("open", "ready", "activation.mismatch")


async def test_a_revision_that_moved_while_it_was_prepared_is_prepared_again(office):
    made = await office.make("an")
    newer = await office.put(await office.desk.signing.documents.get(office.paper_name) + b"% newer\n")
    moved = []

    class Slow:
        inspect = staticmethod(papers.inspect)

        async def prepare(self, *args, **kwargs):
            if not moved:
                moved.append(1)
                async with office.db.write() as uow:
                    t = document_table.c
                    await uow.execute(document_table.update().where(t.request_id == made.id).values(current=newer))
                return await papers.prepare(*args, **kwargs)
            moved.append(args[1])
            raise Refused("sandbox.limit")

    with pytest.raises(Refused, match=r"sandbox\.limit"):
        await dataclasses.replace(office.desk, papers=Slow()).open(made.steps[0].id, office.ids["an"])
    assert moved[1].endswith(b"% newer\n")
