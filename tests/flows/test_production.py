"""Outside training: a portal's copy waits for its people; their passkeys answer to the signer, and to nobody else."""

import asyncio
import datetime as dt
import json

import pytest

from core.formats import typed_code
from core.values import Realm
from signer.copies import store
from tests.api.portal.conftest import paper
from tests.flows import house, town
from tests.flows.authenticator import Authenticator
from tests.flows.phones import Problem, copies_phone, give_phone, sign_door


@pytest.fixture
async def production(tmp_path):
    """(portal's client, the signer's own door, service, passkeys by role)."""
    settings = await town.build(tmp_path, realm=Realm.PRODUCTION)
    _, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as service, house.web_here(settings) as (_, portal):
        portal.headers["authorization"] = f"Bearer {key}"
        hands = {}
        for person in (await portal.get("/api/v1/agencies/H1/people")).json()["items"]:
            hands[person["roles"][0]["role"]] = await give_phone(service, person["id"])
        async with sign_door(service) as door:
            yield portal, door, service, hands


async def leave_a_paper(portal):
    people = (await portal.get("/api/v1/agencies/H1/people")).json()["items"]
    answer = await portal.post(
        "/api/v1/copies?wait=20", data={"request": json.dumps(paper(people[0]["id"]))},
        files=[("file", ("s.jpg", town.scan(), "image/jpeg"))],
    )  # fmt: skip
    return answer.json()


async def before(production, copy, role):
    """The phone of who holds ``role``, entered, with what is to be approved before it."""
    _, door, service, hands = production
    phone = await copies_phone(service, hands[role], copy["id"], http=door)
    await (await phone.enter()).show()
    return phone


async def refused(work):
    with pytest.raises(Problem) as caught:
        await work
    return caught.value.code


async def state_of(portal, copy, wait=0):
    return (await portal.get(f"/api/v1/copies/{copy['id']}?wait={wait}")).json()["state"]


async def test_two_people_approve_with_their_own_passkeys_and_the_copy_is_released(production):
    portal = production[0]
    copy = await leave_a_paper(portal)
    assert copy["state"] == "awaiting_certifier", copy
    assert (copy["code"], copy["qr"]) == (None, None)
    phone = await before(production, copy, "certifier")
    assert (phone.shown["title"], len(phone.shown["documents"])) == ("Giấy khai sinh", 1)
    await phone.approve()
    assert await state_of(portal, copy, 20) == "awaiting_seal"
    await (await before(production, copy, "clerk")).approve()
    seen = (await portal.get(f"/api/v1/copies/{copy['id']}?wait=20")).json()
    assert seen["state"] == "released"
    file = (await portal.get(seen["links"]["file"])).content
    report = (
        await portal.post("/api/v1/verifications", content=file, headers={"content-type": "application/pdf"})
    ).json()
    assert (report["verdict"], report["realm"]) == ("genuine", "production")


async def test_what_is_no_answer_of_the_right_person_here_and_now_moves_nothing(production):
    portal, _, _, hands = production
    copy = await leave_a_paper(portal)
    phone = await before(production, copy, "certifier")
    wrong = {
        "activation.wrong_origin": {"origin": "http://localhost"},
        "activation.no_user_verification": {"flags": 0x01},
        "activation.wrong_type": {"kind": "webauthn.create"},
    }
    for code, how in wrong.items():
        assert await refused(phone.approve(**how)) == code
    other = {**phone.shown, "publicKey": {**phone.shown["publicKey"], "challenge": "AAAA"}}
    assert await refused(phone.approve(other)) == "activation.wrong_challenge"
    for hand in (hands["clerk"], Authenticator()):
        phone.hand = hand
        assert await refused(phone.approve()) == "activation.foreign_passkey"
    assert await state_of(portal, copy) == "awaiting_certifier"


async def test_nobody_but_the_person_sees_or_changes_what_waits(production):
    portal, door, service, hands = production
    copy = await leave_a_paper(portal)
    phone = await before(production, copy, "certifier")
    stranger = await copies_phone(service, hands["clerk"], copy["id"], http=door)
    assert await refused(stranger.enter()) == "activation.foreign_passkey"
    for path in (f"/approvals/{copy['id']}", f"/s/{copy['id']}/describe"):
        assert (await door.get(path)).status_code in {404, 422}
    await phone.approve()  # the question stood
    assert await state_of(portal, copy, 20) == "awaiting_seal"


async def test_an_answer_is_good_once_and_for_its_own_copy(production):
    portal = production[0]
    one, two = await leave_a_paper(portal), await leave_a_paper(portal)
    first, second = await before(production, one, "certifier"), await before(production, two, "certifier")
    assert await refused(second.approve(first.shown)) == "activation.not_open"
    await first.approve()
    assert await refused(first.approve()) in {"activation.not_open", "copy.awaits_nobody"}
    assert await state_of(portal, two) == "awaiting_certifier"


async def test_a_question_whose_time_ran_out_is_asked_again(production, monkeypatch):
    portal, _, service, _ = production
    copy = await leave_a_paper(portal)
    phone = await before(production, copy, "certifier")
    first = phone.shown
    later = service.clock.now().timestamp() + 700
    monkeypatch.setattr(type(service.clock), "now", lambda _: town.at(later))
    assert (await phone.show())["tx"] != first["tx"]
    assert await refused(phone.approve(first)) == "activation.not_open"


async def test_the_signers_door_answers_only_under_its_own_name_and_to_its_own_pages(production):
    portal, door, _, _ = production
    copy = await leave_a_paper(portal)
    phone = await before(production, copy, "certifier")
    assert (await door.get(f"/s/{phone.token}/describe", headers={"host": "localhost"})).status_code == 421
    body = {"tx": phone.shown["tx"], "credential": phone.hand.get(phone.shown["publicKey"], phone.origin)}
    for origin in ({}, {"origin": "http://evil.localhost"}):
        crossed = await door.post(f"/s/{phone.token}/approve", json=body, headers={**phone.headers, **origin})
        assert crossed.json()["code"] == "web.foreign_page"
    assert await state_of(portal, copy) == "awaiting_certifier"


async def test_one_of_two_given_up_leaves_the_other_to_be_approved(production):
    portal, door, service, hands = production
    one, two = await leave_a_paper(portal), await leave_a_paper(portal)
    phone = await copies_phone(service, hands["certifier"], one["id"], two["id"], http=door)
    await (await phone.enter()).show()
    await service.copies.void(one["id"], "người dân rút hồ sơ")
    assert await refused(phone.approve()) == "activation.not_open"
    assert [each["id"] for each in (await phone.show())["documents"]] == [two["id"]]
    await phone.approve()
    assert await state_of(portal, two, 20) == "awaiting_seal"


async def test_a_drafts_code_never_reads_as_valid(production):
    portal, _, service, _ = production
    copy = await leave_a_paper(portal)
    async with service.db.read() as uow:
        draft = await store.get(uow, copy["id"])
    code = typed_code.write(draft.seal_id)
    guessed = "0000-0000-0000-0000"
    answers = [(await portal.post("/v/status", json={"code": each})).json() for each in (code, guessed, "no code")]
    assert {each.pop("state") for each in answers} == {"invalid"}
    for each in answers:
        each.pop("checked_at")
        assert each == answers[0]


async def test_many_who_ask_at_once_get_the_same_question(production, monkeypatch):
    portal, door, service, hands = production
    copy = await leave_a_paper(portal)
    later = service.clock.now().timestamp() + 700
    monkeypatch.setattr(type(service.clock), "now", lambda _: town.at(later))
    asked = await asyncio.gather(*(service.copies.question(copy["id"]) for _ in range(8)))
    assert len({opened.tx for _, opened in asked}) == 1


async def test_an_answer_given_just_before_a_crash_is_not_lost(production, monkeypatch):
    portal, _, service, _ = production
    copy = await leave_a_paper(portal)
    phone = await before(production, copy, "certifier")
    monkeypatch.setattr(type(service.reception), "go_on", lambda self, *ids: None)  # the process dies here
    await phone.approve()
    monkeypatch.undo()
    async with service.db.read() as uow:
        assert await store.interrupted(uow, service.clock.now()) == [copy["id"]]
        # nobody spends an approval that ran out: its person is asked again, and it takes nobody's turn
        assert await store.interrupted(uow, service.clock.now() + dt.timedelta(seconds=700)) == []
    service.reception._resting.clear()
    await service.reception._take_up()
    assert await state_of(portal, copy, 20) == "awaiting_seal"
