"""One approval over many copies: the clerk seals a morning's work with one use of the passkey."""

import asyncio

import pytest

from api.signing import relying_party
from core.errors import Conflict, ServiceError
from core.values import Realm
from signer.activation import redeem
from signer.activation.passkeys import Assertion
from signer.copies import store
from tests.flows import house, town
from tests.flows.authenticator import Authenticator, text, unpadded
from tests.flows.test_production import leave_a_paper

COUNT = 3


@pytest.fixture
async def desk(tmp_path):
    """(service, ids of copies that wait for their official, passkeys by role)."""
    settings = await town.build(tmp_path, realm=Realm.PRODUCTION)
    _, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as service, house.web_here(settings) as (_, portal):
        portal.headers["authorization"] = f"Bearer {key}"
        hands = {}
        for person in (await portal.get("/api/v1/agencies/H1/people")).json()["items"]:
            hands[person["roles"][0]["role"]] = Authenticator()
            await hands[person["roles"][0]["role"]].enrol(service, person["id"])
        ids = [(await leave_a_paper(portal))["id"] for _ in range(COUNT)]
        yield service, ids, hands


async def approve(service, hand, opened):
    rp = relying_party(service.settings)
    given = hand.get({"challenge": text(opened.challenge), "rpId": rp.rp_id}, rp.origin)["response"]
    answer = Assertion(
        credential_id=hand.credential_id, client_data=unpadded(given["clientDataJSON"]),
        authenticator_data=unpadded(given["authenticatorData"]), signature=unpadded(given["signature"]),
    )  # fmt: skip
    async with service.db.write() as uow:
        await redeem.approve(uow, service.clock, rp, opened.tx, answer)


async def states(service, ids):
    async with service.db.read() as uow:
        return [(await store.get(uow, each)).state for each in ids]


async def certify(service, ids, hand):
    waiting = await service.copies.questions.together(ids)
    await approve(service, hand, waiting.opened)
    service.reception.go_on(*ids)
    for each in ids:
        await service.reception.rest(each, 60)
    return waiting


async def test_one_approval_certifies_and_one_seals_all_of_them(desk):
    service, ids, hands = desk
    await certify(service, ids, hands["certifier"])
    assert await states(service, ids) == ["awaiting_seal"] * COUNT
    waiting = await certify(service, ids, hands["clerk"])
    assert await states(service, ids) == ["released"] * COUNT
    async with service.db.read() as uow:
        record = await redeem.record(uow, waiting.opened.tx)
        orders = await service.copies.signing.orders.under(uow, waiting.opened.tx)
        assert (await redeem.status(uow, service.clock, waiting.opened.tx)).state == "spent"
    assert [o.digest().value for o in orders] == list(record.hashes)
    assert record.title == f"{COUNT} bản sao"


async def test_an_open_question_over_the_same_copies_stays_the_question(desk):
    service, ids, _ = desk
    first = await service.copies.questions.together(ids)
    assert (await service.copies.questions.together(ids)).opened == first.opened


async def test_a_question_put_anew_over_some_ends_the_one_before(desk):
    service, ids, hands = desk
    whole = await service.copies.questions.together(ids)
    part = await service.copies.questions.together(ids[:1])
    assert part.opened != whole.opened
    with pytest.raises(Conflict, match=r"activation\.not_open"):
        await approve(service, hands["certifier"], whole.opened)
    await approve(service, hands["certifier"], part.opened)
    service.reception.go_on(ids[0])
    await service.reception.rest(ids[0], 60)
    assert await states(service, ids) == ["awaiting_seal", "awaiting_certifier", "awaiting_certifier"]


async def test_a_copy_voided_after_the_approval_is_not_signed_and_the_others_are(desk):
    service, ids, hands = desk
    waiting = await service.copies.questions.together(ids)
    await service.copies.void(ids[1], "nhầm")
    await approve(service, hands["certifier"], waiting.opened)
    service.reception.go_on(ids[0], ids[2])
    for each in (ids[0], ids[2]):
        await service.reception.rest(each, 60)
    assert await states(service, ids) == ["awaiting_seal", "voided", "awaiting_seal"]


async def test_two_processes_that_go_on_at_once_spend_the_approval_once(desk):
    service, ids, hands = desk
    waiting = await service.copies.questions.together(ids)
    await approve(service, hands["certifier"], waiting.opened)
    await asyncio.gather(*(service.jobs.run("copy", each) for each in ids), return_exceptions=True)
    await service.reception._take_up()  # who was outrun too often is taken up by the next sweep
    for each in ids:
        await service.reception.rest(each, 60)
    assert await states(service, ids) == ["awaiting_seal"] * COUNT


@pytest.mark.parametrize(
    ("code", "chosen"),
    [
        ("copy.bad_selection", lambda ids: []),
        ("copy.bad_selection", lambda ids: [ids[0], ids[0]]),
        ("copy.no_such_copy", lambda ids: [ids[0], "0" * 26]),
    ],
)
async def test_a_selection_that_is_none_is_refused(desk, code, chosen):
    service, ids, _ = desk
    with pytest.raises(ServiceError) as caught:
        await service.copies.questions.together(chosen(ids))
    assert caught.value.code == code


async def test_another_persons_copies_and_copies_in_different_states_are_refused(desk):
    service, ids, hands = desk
    async with service.db.read() as uow:
        clerk = (await store.get(uow, ids[0])).clerk_id
    with pytest.raises(ServiceError, match=r"^copy\.other_person"):
        await service.copies.questions.together(ids, clerk)
    await certify(service, ids[:1], hands["certifier"])
    with pytest.raises(ServiceError, match=r"^copy\.not_together"):
        await service.copies.questions.together(ids)


async def test_a_clerk_sends_a_copy_back_and_its_official_gets_it_under_a_new_number(desk):
    service, ids, hands = desk
    await certify(service, ids[:1], hands["certifier"])
    async with service.db.read() as uow:
        clerk = (await store.get(uow, ids[0])).clerk_id
    with pytest.raises(ServiceError, match=r"^copy\.other_person"):
        await service.copies.send_back(ids[0], "Thiếu trang", by="0" * 26)
    again = await service.copies.send_back(ids[0], "Thiếu trang", by=clerk)
    service.reception.go_on(again)
    await service.reception.rest(again, 60)
    async with service.db.read() as uow:
        old, new = await store.get(uow, ids[0]), await store.get(uow, again)
    assert (old.state, old.reason, new.state) == ("voided", "Thiếu trang", "awaiting_certifier")
    with pytest.raises(ServiceError, match=r"^copy\.awaits_nobody"):
        await service.copies.send_back(ids[0], "lần nữa", by=clerk)


async def test_in_training_who_practises_with_a_phone_answers_alone(tmp_path):
    settings = await town.build(tmp_path)
    _, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as service, house.web_here(settings) as (_, portal):
        portal.headers["authorization"] = f"Bearer {key}"
        people = (await portal.get("/api/v1/agencies/H1/people")).json()["items"]
        clerk = next(each["id"] for each in people if each["roles"][0]["role"] == "clerk")
        await Authenticator().enrol(service, clerk)
        copy = await leave_a_paper(portal)
        assert copy["state"] == "awaiting_seal"  # the official has no phone, and is stood in for


async def test_a_key_taken_back_while_a_copy_waits_signs_nothing_and_the_new_one_does(desk):
    service, ids, hands = desk
    async with service.db.read() as uow:
        copy = await store.get(uow, ids[0])
        old = await service.copies.signing.orders.get(uow, copy.certifier_order)
        person = await service.directory.person(uow, copy.certifier_id)
        agency = await service.directory.agency(uow, copy.agency_id)
    waiting = await service.copies.questions.together(ids[:1])
    async with service.db.write() as uow:
        await service.credentials.retire(uow, old.credential_id)
    await approve(service, hands["certifier"], waiting.opened)
    phones = service.parts().phones
    made = await phones.keys.make(person, agency, official=True, event_id="enrolment")
    async with service.db.write() as uow:
        await phones.keys.keep(uow, person.id, made)
    service.reception.go_on(ids[0])
    await service.reception.rest(ids[0], 60)
    assert await states(service, ids[:1]) == ["awaiting_certifier"]  # the answer was for the key of before
    await service.copies.refresh(ids[:1])
    await certify(service, ids[:1], hands["certifier"])
    assert await states(service, ids[:1]) == ["awaiting_seal"]
    async with service.db.read() as uow:
        copy = await store.get(uow, ids[0])
        order = await service.copies.signing.orders.get(uow, copy.certifier_order)
        dropped = await service.copies.signing.orders.get(uow, old.id)
    assert (order.credential_id != old.credential_id, order.state, dropped.state) == (True, "made", "dropped")
