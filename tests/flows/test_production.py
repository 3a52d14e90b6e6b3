"""Outside training: a portal's copy waits for its people; their passkeys answer to the signer, and to nobody else."""

import asyncio
import json

import httpx2
import pytest

from api.sign.app import make_sign_app
from api.signing import relying_party
from core.formats import typed_code
from core.values import Realm
from signer.copies import store
from tests.api.portal.conftest import paper
from tests.flows import house, town
from tests.flows.authenticator import Authenticator


@pytest.fixture
async def production(tmp_path):
    """(portal's client, the signer's own door, service, passkeys by role)."""
    settings = await town.build(tmp_path, realm=Realm.PRODUCTION)
    _, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as service, house.web_here(settings) as (_, portal):
        portal.headers["authorization"] = f"Bearer {key}"
        hands = {}
        for person in (await portal.get("/api/v1/agencies/H1/people")).json()["items"]:
            hands[person["roles"][0]["role"]] = Authenticator()
            await hands[person["roles"][0]["role"]].enrol(service, person["id"])
        door = httpx2.ASGITransport(make_sign_app(service))
        async with httpx2.AsyncClient(transport=door, base_url=relying_party(settings).origin) as phone:
            yield portal, phone, service, hands


async def leave_a_paper(portal):
    people = (await portal.get("/api/v1/agencies/H1/people")).json()["items"]
    answer = await portal.post(
        "/api/v1/copies?wait=20", data={"request": json.dumps(paper(people[0]["id"]))},
        files=[("file", ("s.jpg", town.scan(), "image/jpeg"))],
    )  # fmt: skip
    return answer.json()


async def answer(phone, copy_id, hand, **how):
    asked = (await phone.get(f"/approvals/{copy_id}")).json()
    origin = how.pop("origin", str(phone.base_url).rstrip("/"))
    credential = hand.get({**asked["publicKey"], **how.pop("options", {})}, origin, **how)
    return await phone.post(f"/approvals/{copy_id}", json={"tx": asked["tx"], "credential": credential})


async def test_two_people_approve_with_their_own_passkeys_and_the_copy_is_released(production):
    portal, phone, _, hands = production
    copy = await leave_a_paper(portal)
    assert copy["state"] == "awaiting_certifier", copy
    assert (copy["code"], copy["qr"]) == (None, None)
    asked = (await phone.get(f"/approvals/{copy['id']}")).json()
    assert (asked["role"], asked["title"], asked["pages"]) == ("certifier", "Giấy khai sinh", 1)
    assert (await answer(phone, copy["id"], hands["certifier"])).status_code == 202
    seen = (await portal.get(f"/api/v1/copies/{copy['id']}?wait=20")).json()
    assert seen["state"] == "awaiting_seal"
    assert (await phone.get(f"/approvals/{copy['id']}")).json()["role"] == "seal"
    assert (await answer(phone, copy["id"], hands["clerk"])).status_code == 202
    seen = (await portal.get(f"/api/v1/copies/{copy['id']}?wait=20")).json()
    assert seen["state"] == "released"
    file = (await portal.get(seen["links"]["file"])).content
    report = (
        await portal.post("/api/v1/verifications", content=file, headers={"content-type": "application/pdf"})
    ).json()
    assert (report["verdict"], report["realm"]) == ("genuine", "production")


async def test_what_is_no_answer_of_the_right_person_here_and_now_moves_nothing(production):
    portal, phone, _, hands = production
    copy = await leave_a_paper(portal)
    wrong = {
        "activation.foreign_passkey": {"hand": hands["clerk"]},
        "activation.wrong_origin": {"origin": "http://localhost"},
        "activation.no_user_verification": {"flags": 0x01},
        "activation.wrong_type": {"kind": "webauthn.create"},
        "activation.wrong_challenge": {"options": {"challenge": "AAAA"}},
    }
    for code, how in wrong.items():
        refused = await answer(phone, copy["id"], how.pop("hand", hands["certifier"]), **how)
        assert (refused.status_code, refused.json()["code"]) == (403, code)
    stranger = await answer(phone, copy["id"], Authenticator())
    assert stranger.json()["code"] == "activation.foreign_passkey"
    assert (await portal.get(f"/api/v1/copies/{copy['id']}")).json()["state"] == "awaiting_certifier"


async def test_an_answer_is_good_once_and_for_its_own_copy(production):
    portal, phone, _, hands = production
    one, two = await leave_a_paper(portal), await leave_a_paper(portal)
    asked = (await phone.get(f"/approvals/{one['id']}")).json()
    credential = hands["certifier"].get(asked["publicKey"], str(phone.base_url).rstrip("/"))
    elsewhere = await phone.post(f"/approvals/{two['id']}", json={"tx": asked["tx"], "credential": credential})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "activation.not_open")
    body = {"tx": asked["tx"], "credential": credential}
    assert (await phone.post(f"/approvals/{one['id']}", json=body)).status_code == 202
    again = await phone.post(f"/approvals/{one['id']}", json=body)
    assert again.status_code in {403, 409}
    assert (await portal.get(f"/api/v1/copies/{two['id']}")).json()["state"] == "awaiting_certifier"


async def test_a_question_whose_time_ran_out_is_asked_again(production, monkeypatch):
    portal, phone, service, hands = production
    copy = await leave_a_paper(portal)
    first = (await phone.get(f"/approvals/{copy['id']}")).json()
    later = service.clock.now().timestamp() + 700
    monkeypatch.setattr(type(service.clock), "now", lambda _: town.at(later))
    second = (await phone.get(f"/approvals/{copy['id']}")).json()
    assert second["tx"] != first["tx"]
    late = hands["certifier"].get(first["publicKey"], str(phone.base_url).rstrip("/"))
    refused = await phone.post(f"/approvals/{copy['id']}", json={"tx": first["tx"], "credential": late})
    assert refused.json()["code"] == "activation.not_open"


async def test_the_signers_door_answers_only_under_its_own_name_and_to_its_own_pages(production):
    portal, phone, _, hands = production
    copy = await leave_a_paper(portal)
    assert (await phone.get(f"/approvals/{copy['id']}", headers={"host": "localhost"})).status_code == 421
    asked = (await phone.get(f"/approvals/{copy['id']}")).json()
    credential = hands["certifier"].get(asked["publicKey"], str(phone.base_url).rstrip("/"))
    body = {"tx": asked["tx"], "credential": credential}
    crossed = await phone.post(f"/approvals/{copy['id']}", json=body, headers={"origin": "http://evil.localhost"})
    assert crossed.json()["code"] == "activation.wrong_origin"
    assert (await phone.get("/approvals/nothing")).json()["code"] == "copy.no_such_copy"
    for broken in ({}, {"tx": asked["tx"]}, {**body, "more": 1}, {**body, "tx": "x"}):
        assert (await phone.post(f"/approvals/{copy['id']}", json=broken)).status_code == 422
    bad = {**credential, "rawId": "%%%"}
    assert (
        await phone.post(f"/approvals/{copy['id']}", json={"tx": asked["tx"], "credential": bad})
    ).status_code == 400


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
    portal, phone, service, hands = production
    copy = await leave_a_paper(portal)
    later = service.clock.now().timestamp() + 700
    monkeypatch.setattr(type(service.clock), "now", lambda _: town.at(later))
    asked = [a.json() for a in await asyncio.gather(*(phone.get(f"/approvals/{copy['id']}") for _ in range(8)))]
    assert len({a["tx"] for a in asked}) == 1
    assert hands


async def test_an_answer_given_just_before_a_crash_is_not_lost(production, monkeypatch):
    portal, phone, service, hands = production
    copy = await leave_a_paper(portal)
    monkeypatch.setattr(type(service.reception), "go_on", lambda self, copy_id: None)  # the process dies here
    assert (await answer(phone, copy["id"], hands["certifier"])).status_code == 202
    monkeypatch.undo()
    async with service.db.read() as uow:
        assert await store.interrupted(uow) == [copy["id"]]
    await service.reception._take_up()
    assert (await portal.get(f"/api/v1/copies/{copy['id']}?wait=20")).json()["state"] == "awaiting_seal"
