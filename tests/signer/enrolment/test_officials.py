"""Officials: tickets only while a role runs and from a page of that moment; the key ends with the last term."""

import asyncio
import datetime as dt

import pytest
import sqlalchemy as sa

from ca_bridge.records import certificate_table
from core.certificates import Certificate
from core.directory.model import Role
from core.directory.records import authorisation_table
from core.values import Regime
from signer.enrolment.records import desk_ticket_table, fact_table
from tests.signer.enrolment.test_phones import by_code, code_of, credential, states, status, vouched
from tests.signer.enrolment.town import HUAN, Phone


async def invited(town, person):
    return await town.phones.invite(person, national_id=HUAN.number)


async def finished(town, role=Role.CERTIFIER):
    """(person, pass) of an official who has just enrolled."""
    person = await town.official(role=role)
    held = await town.log_in(await invited(town, person), HUAN)
    await town.carry_on(held)
    return person, held


async def end_terms(town, person, at=None):
    async with town.db.write() as uow:
        t = authorisation_table.c
        for right in (await uow.execute(sa.select(t.id).where(t.person_id == person))).scalars().all():
            await town.phones.directory.end_authorisation(uow, right, at or town.clock.now())


async def give_role(town, person, role=Role.CERTIFIER, start=None):
    async with town.db.write() as uow:
        await town.phones.directory.authorise(
            uow, await town.phones.directory.person(uow, person), role, capacity="", number="2/QĐ", dated=town.clock.now(),
            valid_from=start or town.clock.now(), valid_to=None, scope=frozenset(Regime),
        )  # fmt: skip


async def end(town, person) -> int:
    async with town.db.write() as uow:
        return await town.phones.end_official(uow, person)


# ------------------------------------------------------------------------------------------------------------ tickets
async def test_a_run_has_one_ticket_the_same_however_often_it_is_asked_for(town):
    person, held = await finished(town)
    assert (await town.phones.stage(held)).desk
    found = set(await asyncio.gather(*(town.phones.ticket_of(held) for _ in range(3))))
    assert len(found) == 1
    async with town.db.read() as uow:
        assert (await uow.execute(sa.select(sa.func.count()).select_from(desk_ticket_table))).scalar_one() == 1
    assert await town.phones.use_ticket(found.pop(), spend=True) == person
    assert await code_of(town.phones.ticket_of(held)) == "ticket.used"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("time", "pass.expired"), ("lost", "enrol.moved"), ("revoked", "enrol.moved"), ("term", "ticket.no_official"),
        ("later", "pass.expired"),
    ],
)  # fmt: skip
async def test_a_finished_runs_pass_gives_no_ticket_once_its_time_phone_or_role_is_over(town, change, code):
    person, held = await finished(town)
    if change == "time":
        town.clock.move(minutes=30)
    elif change == "lost":
        await town.phones.losses.suspend(person, by="person")
    elif change == "revoked":
        async with town.db.write() as uow:
            await town.phones.losses.suspend_in(uow, person, by="person")
            await town.phones.losses.take_back(uow, person)
    elif change == "term":
        await end_terms(town, person)
    else:
        town.clock.move(days=400)
    assert await code_of(town.phones.ticket_of(held)) == code
    assert not (await town.phones.stage(held)).desk


async def test_a_new_computer_needs_no_loss_the_phone_itself_gives_the_ticket(town):
    person, phone = await town.official(role=Role.CLERK), Phone()
    held = await town.log_in(await invited(town, person), HUAN)
    assert not (await town.phones.stage(held)).desk
    assert await code_of(town.phones.ticket_of(held)) == "enrol.moved"
    await town.carry_on(held, phone)
    town.clock.move(days=3)
    asked, _ = await town.phones.known.ask(token := await town.phones.invite(person))
    shown = await town.phones.known.admit(token, asked.tx, phone.get(asked.value))
    assert (await town.phones.stage(shown)).desk
    ticket = await town.phones.ticket_of(shown)
    assert await town.phones.use_ticket(ticket, spend=True) == person
    assert await states(town, person) == ["active"]  # nothing was locked or added
    await town.phones.losses.suspend(person, by="person")
    assert await code_of(town.phones.ticket_of(shown)) == "enrol.moved"


async def test_a_former_official_gets_no_ticket_from_anybody(town):
    person, _ = await finished(town)
    await end_terms(town, person)
    assert await code_of(town.phones.desk_ticket(person)) == "ticket.no_official"


# ------------------------------------------------------------------------------------------------------ end of a term
async def test_a_former_official_gets_no_certificate_of_the_agency(town):
    person = await town.official()
    token = await invited(town, person)
    held = await town.log_in(token, HUAN)
    await town.agree(held)
    await town.make(held, Phone())
    await end_terms(town, person)
    assert await code_of(town.phones.finish(held)) == "enrol.term_ended"
    assert (await town.phones.arrival(token)).ended
    assert await code_of(town.log_in(token, HUAN)) == "enrol.term_ended"
    assert await code_of(credential(town, person)) == "credential.missing"
    await give_role(town, person, start=town.clock.now() + dt.timedelta(days=1))
    assert await code_of(town.log_in(token, HUAN)) == "enrol.term_ended"  # not yet
    town.clock.move(days=1)
    assert isinstance(await town.log_in(token, HUAN), str)


async def test_a_former_official_still_locks_a_lost_phone_and_enrols_none(town):
    person, _ = await finished(town)
    await end_terms(town, person)
    (lost,) = await town.log_in(None, HUAN)
    assert (lost.stopped, lost.official, lost.token) == (1, True, None)
    assert await states(town, person) == ["suspended"]


async def test_the_key_ends_with_the_last_term(town):
    person, _ = await finished(town)
    certificate = Certificate.parse((await credential(town, person)).certificate)
    await give_role(town, person, Role.CLERK)
    assert await end(town, person) == 0
    assert await status(town, certificate) == "good"
    await end_terms(town, person)
    assert await end(town, person) == 1
    assert await end(town, person) == 0
    assert await code_of(credential(town, person)) == "credential.missing"
    async with town.db.read() as uow:
        t = certificate_table.c
        found = (await uow.execute(sa.select(t.status, t.reason).where(t.serial == f"{certificate.serial:040x}"))).one()
        facts = (await uow.execute(sa.select(fact_table.c.details))).scalars().all()
    assert tuple(found) == ("revoked", 5)  # cessationOfOperation (RFC 5280 §5.3.1)
    assert [each["reason"] for each in facts if each.get("state") == "retired"] == ["5"]


async def test_whoever_comes_back_renews_with_the_phone_that_is_there(town):
    person, phone = await town.official(), Phone()
    await town.carry_on(await town.log_in(await invited(town, person), HUAN), phone)
    await end_terms(town, person)
    await end(town, person)
    await give_role(town, person)
    assert (await town.standing(person)).renewable
    asked, _ = await town.phones.known.ask(token := await town.phones.invite(person))
    held = await town.phones.known.admit(token, asked.tx, phone.get(asked.value))
    await town.agree(held)
    assert (await town.phones.finish(held)).kind == "renewal"
    assert (await town.standing(person)).state == "active"


async def test_a_term_that_ends_by_its_date_is_found_and_a_citizen_never(town):
    person, _ = await finished(town)
    citizen = await town.citizen()
    await town.enrolled(citizen)
    await end_terms(town, person, town.clock.now() + dt.timedelta(days=10))
    assert await town.phones.officials.sweep() == 0
    town.clock.move(days=10)
    assert await town.phones.officials.sweep() == 1
    assert await town.phones.officials.sweep() == 0
    assert await end(town, citizen) == 0
    assert (await town.standing(citizen)).state == "active"


# ------------------------------------------------------------------------------- a citizen who becomes an official
async def test_a_portals_run_never_ends_as_an_officials_phone(town):
    person = await town.citizen(HUAN)
    held = await by_code(town, await vouched(town, person))
    await town.agree(held)
    await town.make(held, Phone())
    await give_role(town, person)
    assert await code_of(town.phones.finish(held)) == "enrol.official_by_portal"
    assert (await town.phones.stage(held)).state == "ended"
    assert await states(town, person) == ["revoked"]
    async with town.db.read() as uow:
        t = certificate_table.c
        query = sa.select(t.status).where(t.profile.in_(("citizen", "official")))
        assert set((await uow.execute(query)).scalars()) <= {"revoked"}


async def test_a_portals_run_that_waits_does_not_ripen_for_who_became_an_official(town):
    person = await town.citizen(HUAN)
    stage, _ = await town.carry_on(await by_code(town, await vouched(town, person)))
    assert stage.state == "waiting"
    certificate = Certificate.parse((await credential(town, person)).certificate)
    await give_role(town, person)
    town.clock.move(hours=25)
    assert await town.phones.ripen() == 0
    assert await states(town, person) == ["revoked"]
    assert await status(town, certificate) == "revoked"
    assert (await town.standing(person)).state == "none"
