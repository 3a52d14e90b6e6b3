"""Refuse, cancel, extend, replace, remind; and what time ends. Each change stands in the log."""

import datetime as dt

import pytest

from core.errors import BadInput, Conflict, NotFound, Refused
from core.limits import LIMITS
from signer import links
from signer.activation import redeem
from signer.requests.records import change_table


async def activation(office, tx):
    async with office.db.read() as uow:
        return (await redeem.status(uow, office.clock, tx)).state


async def test_a_refusal_ends_the_request_with_its_reason(office):
    made = await office.make(("an", "citizen", 0), ("binh", "citizen", 0), ("chi", "citizen", 1))
    opened = await office.open(made.steps[0])
    with pytest.raises(BadInput, match=r"request\.bad_text"):
        await office.desk.refuse(made.steps[0].id, office.ids["an"], "  ")
    with pytest.raises(Refused, match=r"request\.other_person"):
        await office.desk.refuse(made.steps[0].id, office.ids["binh"], "không")
    await office.desk.refuse(made.steps[0].id, office.ids["an"], " Sai họ tên ")
    after = await office.view(made.id)
    assert (after.state, after.why, [s.state for s in after.steps]) == (
        "refused", "Sai họ tên", ["refused", "cancelled", "cancelled"]
    )  # fmt: skip
    assert after.steps[0].why == "Sai họ tên"
    assert await activation(office, opened.tx) == "refused"
    with pytest.raises(Conflict, match=r"request\.not_open"):
        await office.approve(opened)
    assert (await office.told(made.id))[-1] == "request.refused"
    assert b"Sai" not in b"".join(await office.leaves(made.id))


async def test_a_cancelled_request_opens_nothing_and_signs_nothing(office):
    made = await office.make("an", "binh")
    opened = await office.open(made.steps[0])
    await office.desk.cancel(made.id, "Hồ sơ đã rút")
    after = await office.view(made.id)
    assert (after.state, [s.state for s in after.steps], after.settled_at) == (
        "cancelled",
        ["cancelled"] * 2,
        office.clock.now(),
    )
    with pytest.raises(Conflict, match=r"request\.not_open"):
        await office.approve(opened)
    for step in made.steps:
        with pytest.raises(Conflict, match=r"request\.not_open"):
            await office.open(step)
    with pytest.raises(Conflict, match=r"request\.not_open"):
        await office.desk.cancel(made.id, "x")
    with pytest.raises(NotFound, match=r"request\.no_such_request"):
        await office.desk.cancel("nothing", "x")
    assert (await office.told(made.id))[-1] == "request.cancelled"
    assert any(b'"request_settled"' in leaf for leaf in await office.leaves(made.id))


async def test_what_is_completed_stays_completed(office):
    made = await office.make("an")
    await office.sign(made.steps[0])
    with pytest.raises(Conflict, match=r"request\.not_open"):
        await office.desk.cancel(made.id, "x")
    with pytest.raises(Conflict, match=r"request\.already_approved"):
        await office.desk.refuse(made.steps[0].id, office.ids["an"], "x")
    with pytest.raises(Conflict, match=r"request\.not_open"):
        await office.desk.replace(made.steps[0].id, office.ids["binh"])
    office.clock.move(days=9)
    await office.desk.sweep()
    assert (await office.view(made.id)).state == "completed"


async def test_a_deadline_is_moved_on_only(office):
    made = await office.make("an")
    with pytest.raises(BadInput, match=r"request\.deadline"):
        await office.desk.extend(made.id, made.deadline)
    with pytest.raises(BadInput, match=r"request\.deadline"):
        await office.desk.extend(made.id, office.clock.now() + dt.timedelta(days=LIMITS["request.days"] + 1))
    await office.desk.extend(made.id, made.deadline + dt.timedelta(days=1))
    office.clock.move(days=2)
    await office.desk.sweep()
    assert (await office.sign(made.steps[0])).state == "completed"
    assert "request.changed" in await office.told(made.id)


async def test_another_person_takes_the_place_and_the_old_link_opens_nothing(office):
    made = await office.make(("an", "citizen", 0), ("chi", "citizen", 1))
    old = await office.desk.link(made.steps[0].id)
    opened = await office.open(made.steps[0])
    with pytest.raises(BadInput, match=r"request\.same_person"):
        await office.desk.replace(made.steps[0].id, office.ids["chi"])
    office.clock.move(seconds=1)  # ids sort by time
    new = await office.desk.replace(made.steps[0].id, office.ids["binh"])
    after = await office.view(made.id)
    assert [(s.state, s.replaced_by) for s in after.steps] == [("replaced", new), ("ready", None), ("waiting", None)]
    async with office.db.read() as uow:
        with pytest.raises(NotFound, match=r"link\.unknown"):
            await links.find_link(uow, office.clock, old)
    with pytest.raises(Conflict, match=r"request\.(step_over|lease_ended)"):
        await office.approve(opened)
    with pytest.raises(Conflict, match=r"request\.step_over"):
        await office.desk.link(made.steps[0].id)
    assert (await office.sign(after.step(new))).step(new).state == "signed"
    assert (await office.sign(made.steps[1])).state == "completed"


async def test_who_replaces_an_official_is_one(office):
    made = await office.make(("official", "official", 0), ("clerk", "seal", 1))
    with pytest.raises(Refused, match=r"request\.not_official"):
        await office.desk.replace(made.steps[0].id, office.ids["an"])
    with pytest.raises(Refused, match=r"request\.not_clerk"):
        await office.desk.replace(made.steps[1].id, office.ids["an"])
    assert await office.desk.replace(made.steps[1].id, office.ids["other_clerk"])


async def test_a_reminder_is_told_and_not_again_too_soon(office):
    made = await office.make(("an", "citizen", 0), ("binh", "citizen", 1))
    await office.desk.remind(made.steps[0].id)
    with pytest.raises(Conflict, match=r"request\.reminded"):
        await office.desk.remind(made.steps[0].id)
    with pytest.raises(Refused, match=r"request\.not_your_turn"):
        await office.desk.remind(made.steps[1].id)
    office.clock.move(seconds=LIMITS["request.remind_seconds"])
    await office.desk.remind(made.steps[0].id)
    assert await office.told(made.id) == ["request.changed"] * 2
    await office.sign(made.steps[0])
    with pytest.raises(Conflict, match=r"request\.step_over"):
        await office.desk.remind(made.steps[0].id)


async def test_a_fresh_link_ends_the_one_before_and_outlives_the_deadline(office):
    made = await office.make("an")
    old, new = await office.desk.link(made.steps[0].id), await office.desk.link(made.steps[0].id)
    async with office.db.read() as uow:
        with pytest.raises(NotFound, match=r"link\.unknown"):
            await links.find_link(uow, office.clock, old)
        link = await links.find_link(uow, office.clock, new)
    assert (link.subject, link.person_id, link.kind) == ((made.steps[0].id,), office.ids["an"], "step")
    assert link.expires_at == made.deadline + dt.timedelta(days=LIMITS["request.link_days"])


async def test_links_that_were_given_out_hold_as_long_as_the_new_deadline(office):
    made = await office.make("an", "binh")
    ended, token, signed = [await office.desk.link(step.id) for step in (made.steps[0], *made.steps)]
    await office.sign(made.steps[1])
    deadline = made.deadline + dt.timedelta(days=40)
    await office.desk.extend(made.id, deadline)
    async with office.db.read() as uow:
        for each in (token, signed):
            link = await links.find_link(uow, office.clock, each)
            assert link.expires_at == deadline + dt.timedelta(days=LIMITS["request.link_days"])
        with pytest.raises(NotFound, match=r"link\.unknown"):
            await links.find_link(uow, office.clock, ended)


async def test_after_its_deadline_a_request_expires_at_the_next_look(office):
    made = await office.make(("an", "citizen", 0), ("binh", "citizen", 1))
    await office.sign(made.steps[0])
    opened = await office.open(made.steps[1])
    office.clock.move(days=2)
    with pytest.raises(Refused, match=r"request\.expired"):
        await office.approve(opened)
    await office.desk.sweep()
    after = await office.view(made.id)
    assert (after.state, [s.state for s in after.steps]) == ("expired", ["signed", "expired"])
    assert after.documents[0].released is None
    assert (await office.told(made.id))[-1] == "request.expired"


async def test_an_opening_that_lapses_is_taken_back_at_the_next_look(office):
    made = await office.make("an")
    opened = await office.open(made.steps[0])
    await office.desk.sweep()
    assert (await office.view(made.id)).steps[0].state == "open"
    office.clock.move(seconds=LIMITS["request.lease_seconds"])
    await office.desk.sweep()
    step = (await office.view(made.id)).steps[0]
    assert (step.state, step.code, step.orders, step.activation_tx) == ("ready", None, (), None)
    assert await activation(office, opened.tx) == "refused"


async def test_each_change_has_its_leaf_and_its_words_beside_it(office):
    made = await office.make(("an", "citizen", 0), ("binh", "citizen", 1))
    await office.desk.remind(made.steps[0].id)
    await office.desk.extend(made.id, made.deadline + dt.timedelta(hours=1))
    await office.desk.replace(made.steps[1].id, office.ids["chi"])
    await office.desk.cancel(made.id, "thôi")
    leaves = await office.leaves(made.id)
    async with office.db.read() as uow:
        rows = (
            await uow.execute(
                change_table.select().where(change_table.c.request_id == made.id).order_by(change_table.c.version)
            )
        ).all()
    assert [row.said["what"] for row in rows] == ["created", "reminded", "extended", "replaced", "cancelled"]
    assert len(leaves) == len(rows) == 5
    with pytest.raises(Exception, match="append-only"):
        async with office.db.write() as uow:
            await uow.execute(change_table.update().where(change_table.c.request_id == made.id).values(said={}))
