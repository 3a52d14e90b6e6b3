"""Decisions about people: roles by numbered instruments, ends of terms, the last administrators, suspended phones."""

import datetime as dt

import pytest

from core.directory.model import Role
from core.errors import ServiceError
from core.values import Realm, Regime
from signer.activation.devices import passkeys_of
from signer.activation.passkeys import SoftwarePasskey

NUMBER = "001199030333"


def grant(town, role="clerk", **change):
    day = int(town.clock.now().timestamp())
    return {
        "role": role, "capacity": "TUQ. CHỦ TỊCH", "number": "12/QĐ-UBND", "dated": day - 86_400, "valid_from": 0,
        "valid_to": day + 300 * 86_400, "scope": ["certified_copy"], **change,
    }  # fmt: skip


async def rights(town, person):
    async with town.db.read() as uow:
        return next((r for p, r in await town.directory.people(uow, town.agency.id) if p.id == person), [])


async def refused(code, work):
    with pytest.raises(ServiceError) as error:
        await work
    assert error.value.code == code, error.value


async def test_a_new_official_comes_with_roles_and_without_a_passkey(town):
    payload = {
        "name": "Lê  Thị Hữu",
        "national_id": NUMBER,
        "roles": [grant(town, "certifier"), grant(town, "administrator")],
    }
    decision = await town.propose("person.add", payload)
    words = await town.words(decision)
    assert "Lê Thị Hữu" in words.values()
    assert any("12/QĐ-UBND (" in value for value in words.values())
    await town.vote(decision, town.admins[0])
    person = (await town.vote(decision, town.admins[1])).outcome["person"]
    made = await rights(town, person)
    assert {(r.role, r.number, r.scope) for r in made} == {
        (Role.CERTIFIER, "12/QĐ-UBND", frozenset({Regime.CERTIFIED_COPY})),
        (Role.ADMINISTRATOR, "12/QĐ-UBND", frozenset({Regime.CERTIFIED_COPY})),
    }
    assert all(r.runs(town.clock.now()) for r in made)
    async with town.db.read() as uow:
        assert await passkeys_of(uow, person) == []


async def test_a_grant_that_is_none_is_refused(town):
    for change, code in (
        ({"role": "king"}, "decision.malformed"), ({"scope": []}, "decision.malformed"),
        ({"scope": ["everything"]}, "decision.malformed"), ({"number": " "}, "decision.malformed"),
        ({"number": "1/QĐ\u202e"}, "decision.malformed"), ({"capacity": "x" * 301}, "decision.malformed"),
        ({"dated": "hôm nay"}, "decision.malformed"), ({"dated": 1.5}, "decision.malformed"),
        ({"extra": 1}, "decision.malformed"), ({"dated": 0}, "decision.dates"), ({"dated": 2**60}, "decision.dates"),
        ({"valid_to": 5}, "decision.dates"), ({"valid_to": 2**60}, "decision.dates"), ({"valid_from": -1}, "decision.dates"),
    ):  # fmt: skip
        await refused(
            code, town.propose("person.add", {"name": "A", "national_id": NUMBER, "roles": [grant(town, **change)]})
        )


async def test_a_payload_without_its_parts_is_refused(town):
    for payload in [{}, {"name": "A"}, {"name": "A", "roles": []}, {"name": "", "roles": "x"}, {"x": 1}]:
        await refused("decision.malformed", town.propose("person.add", payload))
        await refused("decision.unknown_kind", town.propose("king.make", payload))


async def test_a_name_longer_than_a_certificate_holds_and_a_role_twice_are_refused(town):
    await refused(
        "decision.malformed",
        town.propose("person.add", {"name": "x" * 65, "national_id": NUMBER, "roles": [grant(town)]}),
    )
    await refused(
        "decision.malformed",
        town.propose("person.add", {"name": "x", "national_id": NUMBER, "roles": [grant(town)] * 2}),
    )


async def test_an_instrument_that_ran_out_while_it_waited_gives_nothing(town):
    day = int(town.clock.now().timestamp())
    payload = {"name": "A", "national_id": NUMBER, "roles": [grant(town, valid_to=day + 3600)]}
    decision = await town.propose("person.add", payload)
    await town.vote(decision, town.admins[0])
    town.clock.move(hours=2)
    await refused("decision.dates", town.vote(decision, town.admins[1]))


async def test_a_further_role_for_who_is_here_and_never_for_a_citizen(town):
    clerk, citizen = await town.person("Văn thư", Role.CLERK), await town.person("Người dân")
    await town.decide("person.identify", {"person": clerk, "national_id": NUMBER})
    _, standing = await town.decide("role.give", {"person": clerk, "roles": [grant(town, "administrator")]})
    assert standing.outcome == {"person": clerk}
    assert {r.role for r in await rights(town, clerk)} == {Role.CLERK, Role.ADMINISTRATOR}
    await refused(
        "decision.not_official", town.propose("role.give", {"person": citizen, "roles": [grant(town, "clerk")]})
    )
    await refused("decision.not_official", town.propose("phone.suspend", {"person": citizen}))


async def test_who_it_is_about_neither_votes_nor_refuses(town):
    me = town.admins[0]
    for kind, payload in (
        ("role.end", {"authorisation": town.rights[me, Role.ADMINISTRATOR].id}),
        ("role.give", {"person": me, "roles": [grant(town, "certifier")]}),
        ("phone.suspend", {"person": me}),
    ):
        decision = await town.propose(kind, payload, by=me)
        await refused("decision.own_matter", town.desk.question(decision, me))
        await refused("decision.own_matter", town.desk.refuse(decision, me, "Không"))
        await town.vote(decision, town.admins[1])
        assert (await town.desk.status(decision)).state == "open"


async def test_a_role_ends_at_once_or_on_a_day_and_is_never_made_longer(town):
    clerk = await town.person("Văn thư", Role.CLERK)
    right = town.rights[clerk, Role.CLERK]
    day = int((town.clock.now() + dt.timedelta(days=30)).timestamp())
    await town.decide("role.end", {"authorisation": right.id, "at": day})
    assert [r.valid_to.timestamp() for r in await rights(town, clerk)] == [day]
    await refused("directory.already_ended", town.propose("role.end", {"authorisation": right.id, "at": day + 1}))
    await refused("decision.dates", town.propose("role.end", {"authorisation": right.id, "at": 1000}))
    await town.decide("role.end", {"authorisation": right.id})
    assert [r.valid_to for r in await rights(town, clerk)] == [town.clock.now()]


async def test_a_term_that_changed_since_is_not_ended_by_an_old_proposal(town):
    clerk = await town.person("Văn thư", Role.CLERK)
    right = town.rights[clerk, Role.CLERK]
    old = await town.propose("role.end", {"authorisation": right.id})
    await town.vote(old, town.admins[0])
    day = int((town.clock.now() + dt.timedelta(days=30)).timestamp())
    await town.decide("role.end", {"authorisation": right.id, "at": day})
    await refused("decision.overtaken", town.vote(old, town.admins[1]))


async def test_another_agencys_authorisation_is_not_there(town):
    async with town.db.write() as uow:
        other = await town.directory.add_agency(uow, realm=town.desk.realm, code="H2", name="Xã khác", parent="P")
    own, town.agency = town.agency, other
    foreign = await town.person("Quản trị xã khác", Role.ADMINISTRATOR)
    town.agency = own
    right = town.rights[foreign, Role.ADMINISTRATOR].id
    await refused("directory.no_such_authorisation", town.propose("role.end", {"authorisation": right}))
    await refused("decision.not_official", town.propose("phone.suspend", {"person": foreign}))


async def test_two_administrators_always_remain(town):
    a, b, c, d = town.admins
    await town.decide("role.end", {"authorisation": town.rights[d, Role.ADMINISTRATOR].id}, a, b)
    town.clock.move(seconds=1)
    # a's and b's terms end in 300 days, c's in 400: limiting c to day 350 would leave nobody then
    async with town.db.write() as uow:
        person = await town.directory.person(uow, c)
        now = town.clock.now()
        long = await town.directory.authorise(
            uow, person, Role.ADMINISTRATOR, capacity="x", number="2/QĐ", dated=now, valid_from=now,
            valid_to=now + dt.timedelta(days=400), scope=frozenset(Regime),
        )  # fmt: skip
    day = int((town.clock.now() + dt.timedelta(days=350)).timestamp())
    decision = await town.propose("role.end", {"authorisation": long.id, "at": day})
    await town.vote(decision, a)
    await refused("decision.last_administrator", town.vote(decision, b))
    # with successors whose terms run then and who have phones, it goes through; on paper alone they count for nothing
    successors = {"roles": [grant(town, "administrator", valid_to=0)]}
    for name, number in (("Người kế tiếp một", NUMBER), ("Người kế tiếp hai", "001204030444")):
        _, made = await town.decide("person.add", {"name": name, "national_id": number, **successors}, a, b)
        await refused("decision.last_administrator", town.vote(decision, b))
        async with town.db.write() as uow:
            await town.enrol(uow, made.outcome["person"], SoftwarePasskey.create(Realm.TRAINING))
    assert (await town.vote(decision, b)).state == "applied"


async def test_nobody_becomes_an_administrator_while_one_is_not_known_by_number(town):
    """One human could otherwise stand in the book twice, and agree with herself."""
    grants = [grant(town, "administrator")]
    await town.person("Quản trị không rõ", Role.ADMINISTRATOR, number=False)
    new = {"name": "Lê Thị Hữu", "national_id": NUMBER, "roles": grants}
    await refused("decision.unknown_administrator", town.propose("person.add", new))
    await town.propose("person.add", {**new, "roles": [grant(town, "clerk")]})  # any other role may be given
    clerk = await town.person("Văn thư", Role.CLERK)
    await refused("decision.unknown_administrator", town.propose("role.give", {"person": clerk, "roles": grants}))


async def test_an_administrator_who_came_without_number_meanwhile_stops_the_last_yes(town):
    new = {"name": "Lê Thị Hữu", "national_id": NUMBER, "roles": [grant(town, "administrator")]}
    decision = await town.propose("person.add", new)
    await town.vote(decision, town.admins[0])
    await town.person("Quản trị không rõ", Role.ADMINISTRATOR, number=False)
    await refused("decision.unknown_administrator", town.vote(decision, town.admins[1]))
    assert (await town.desk.status(decision)).state == "open"


async def test_who_is_given_the_role_must_be_known_too_and_the_same_human_is_no_second_administrator(town):
    clerk = await town.person("Văn thư", Role.CLERK)
    grants = [grant(town, "administrator")]
    await refused("decision.unknown_administrator", town.propose("role.give", {"person": clerk, "roles": grants}))
    async with town.db.write() as uow:
        await town.desk.room.phones.people.know(uow, clerk, NUMBER)
    decision = await town.propose("person.add", {"name": "Văn thư", "national_id": NUMBER, "roles": grants})
    await town.vote(decision, town.admins[0])
    await refused("people.other_number", town.vote(decision, town.admins[1]))


async def test_a_new_term_of_one_who_is_an_administrator_needs_nothing_more(town):
    me = await town.person("Quản trị không rõ", Role.ADMINISTRATOR, number=False)
    _, standing = await town.decide("role.give", {"person": me, "roles": [grant(town, "administrator")]})
    assert standing.state == "applied"


async def test_when_a_role_ends_at_once_the_key_for_the_agency_is_looked_at(town):
    clerk = await town.person("Văn thư", Role.CLERK)
    right = town.rights[clerk, Role.CLERK]
    await town.decide("role.end", {"authorisation": right.id})
    assert town.desk.room.phones.ended == [clerk]


async def test_a_phone_is_suspended_and_its_votes_stop_counting(town):
    lost = town.admins[3]
    decision = await town.propose()
    await town.vote(decision, lost)
    await town.decide("phone.suspend", {"person": lost})
    async with town.db.read() as uow:
        assert [p.state for p in await passkeys_of(uow, lost)] == ["suspended"]
    assert (await town.desk.status(decision)).voted == ()


async def test_of_a_national_number_the_record_holds_a_keyed_hash_and_four_digits_to_compare(town):
    payload = {"name": "Lê Thị Hữu", "national_id": NUMBER, "roles": [grant(town)]}
    decision = await town.propose("person.add", payload)
    assert "•••• •••• 0333" in (await town.words(decision)).values()
    record = (await town.desk.decision(decision)).record
    assert NUMBER.encode() not in record
    assert NUMBER[:8].encode() not in record
    for person in town.admins[:2]:
        standing = await town.vote(decision, person)
    async with town.db.read() as uow:
        people = town.desk.room.phones.people
        assert await people.is_number_of(uow, standing.outcome["person"], NUMBER) is True
        assert await people.is_number_of(uow, standing.outcome["person"], "001199030334") is False


async def test_an_official_without_a_number_gets_one_and_never_another(town):
    clerk = await town.person("Văn thư", Role.CLERK)
    await town.decide("person.identify", {"person": clerk, "national_id": NUMBER})
    async with town.db.read() as uow:
        assert await town.desk.room.phones.people.is_number_of(uow, clerk, NUMBER) is True
    other = await town.propose("person.identify", {"person": clerk, "national_id": "001204030444"})
    await town.vote(other, town.admins[0])
    await refused("people.other_number", town.vote(other, town.admins[1]))


async def test_what_is_no_national_number_is_refused(town):
    for number in ["", "00119903033", "0011990303334", "00119903033x", 1199030333]:
        payload = {"name": "A", "national_id": number, "roles": [grant(town)]}
        await refused("decision.malformed", town.propose("person.add", payload))
