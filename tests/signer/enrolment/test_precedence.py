"""Which proof goes before which: a portal's word never takes over from a log-in, and what waits is seen and can be stopped."""

from signer.enrolment.records import contact_table, run_table
from tests.signer.enrolment.test_phones import by_code, code_of, states, vouched
from tests.signer.enrolment.town import TAP


async def test_a_portals_word_does_not_take_over_who_logged_in(town):
    person = await town.citizen()
    phone = await town.enrolled(person)
    assert await code_of(vouched(town, person, email="attacker@evil.example")) == "enrol.proven_by_login"
    assert await states(town, person) == ["active"]
    asked, _ = await town.phones.known.ask(token := await town.phones.invite(person))
    assert isinstance(await town.phones.known.admit(token, asked.tx, phone.get(asked.value)), str)


async def test_a_log_in_between_a_portals_word_and_its_code_ends_the_word(town):
    person = await town.citizen()
    token = await vouched(town, person)
    await town.phones.send_code(token)
    code = town.box.code
    await town.log_in(token, TAP)
    assert await code_of(town.phones.answer_code(token, code)) == "enrol.proven_by_login"


async def test_a_phone_whose_owner_could_not_be_told_is_not_replaced_on_a_portals_word(town):
    person = await town.citizen()
    await town.carry_on(await by_code(town, await vouched(town, person)))
    town.clock.move(hours=25)
    await town.phones.ripen()
    second = await vouched(town, person, email="other@example.vn")  # the known address is told
    async with town.db.write() as uow:
        await uow.execute(contact_table.delete())
    assert await code_of(by_code(town, second)) == "enrol.no_address"
    assert await code_of(vouched(town, person)) == "enrol.no_address"


async def test_a_second_phone_that_waits_is_seen_at_the_link_and_the_first_one_stops_it(town):
    person = await town.citizen()
    phone = await town.enrolled(person)
    token = await town.phones.invite(person)
    stage, other = await town.carry_on(await town.log_in(token, TAP))
    assert stage.state == "waiting"
    arrival = await town.phones.arrival(token)
    assert arrival.standing.state == "active"
    assert (arrival.waiting.method, arrival.waiting.usable_from) == ("oidc", stage.usable_from)
    known = town.phones.known
    asked, _ = await known.ask(token)
    assert (
        await code_of(known.stop(token, asked.tx, phone.get(asked.value))) == "passkey.no_challenge"
    )  # another question
    asked, offered = await known.ask(token, do="stop")
    assert [key.credential_id for key in offered] == [phone.credential_id]
    assert await code_of(known.stop(token, asked.tx, other.get(asked.value))) == "activation.foreign_passkey"
    asked, _ = await known.ask(token, do="stop")
    assert await code_of(known.admit(token, asked.tx, phone.get(asked.value))) == "passkey.no_challenge"
    assert await known.stop(token, asked.tx, phone.get(asked.value)) == 1
    assert (await town.phones.arrival(token)).waiting is None
    assert await states(town, person) == ["active", "revoked"]
    town.clock.move(hours=30)
    assert await town.phones.ripen() == 0


async def test_what_waits_on_a_log_in_ends_by_locking(town):
    person = await town.citizen()
    await town.enrolled(person)
    (lost,) = await town.log_in(None, TAP)
    await town.carry_on(lost.token)
    assert await code_of(town.log_in(await town.phones.invite(person), TAP)) == "enrol.waiting"
    (again,) = await town.log_in(None, TAP)
    assert (await town.phones.stage(again.token)).kind == "again"
    assert await states(town, person) == ["revoked", "revoked"]


async def test_a_run_that_cannot_ripen_does_not_keep_others_waiting(village):
    people = [await village.citizen(type(TAP)(f"99900000010{i}", f"Người {i}")) for i in range(2)]
    for person in people:
        await village.carry_on(await by_code(village, await vouched(village, person)))
    village.clock.move(hours=25)
    async with village.db.write() as uow:
        t = run_table.c
        await uow.execute(run_table.update().where(t.person_id == people[0], t.state == "waiting").values(email=b"?"))
    assert await village.phones.ripen() == 1
    assert (await village.standing(people[1])).state == "active"
    assert (await village.standing(people[0])).state == "waiting"
