"""The matters over the real desks: a step of a request, copies sealed together, a decision; through the page's door."""

import datetime as dt
import io

import pytest
from PIL import Image

from core.directory.model import Role
from core.ids import new_id
from core.values import Realm, Regime
from signer.links import make_link
from signer.requests.model import NewDocument, NewRequest, NewStep
from tests.flows import house, phones, town
from tests.flows.test_production import leave_a_paper

pytestmark = pytest.mark.slow


@pytest.fixture
async def home(tmp_path):
    """(service, portal, the signing origin)."""
    settings = await town.build(tmp_path, realm=Realm.PRODUCTION)
    _, key = await house.add_client(settings, "H1")
    async with (
        house.signer_here(settings) as service, house.web_here(settings) as (_, portal), phones.sign_door(service) as door
    ):  # fmt: skip
        portal.headers["authorization"] = f"Bearer {key}"
        yield service, portal, door


async def ask_for(service, people, positions):
    """A request of one document; its steps' links."""
    desk = service.parts().requests
    async with service.db.read() as uow:
        agency = await service.directory.agency(uow, "H1")
    name = await service.documents.put(phones.paper("Đơn xin xác nhận", pages=2))
    made = await desk.create(
        NewRequest(
            id=new_id(service.clock), client_id="client", client_name="Cổng tỉnh", agency_id=agency.id,
            title="Đơn xin xác nhận", reason="Nộp hồ sơ", return_url="https://cong.example/xong",
            deadline=service.clock.now() + dt.timedelta(days=2),
            documents=(NewDocument(title="Đơn", name=name),),
            steps=tuple(NewStep(position=p, kind="citizen", person_id=who) for p, who in zip(positions, people, strict=True)),
        )
    )  # fmt: skip
    return [await desk.link(step.id) for step in made.steps]


async def test_two_citizens_sign_in_any_order_and_one_waits_while_the_other_reads(home):
    service, _, door = home
    an, an_hand = await phones.enrol_person(service, "Phạm Thị An", "001085000017")
    binh, binh_hand = await phones.enrol_person(service, "Lê Văn Bình", "001085000025")
    (first, second) = await ask_for(service, (an, binh), (1, 1))
    one, two = phones.PhoneClient(door, an_hand, first), phones.PhoneClient(door, binh_hand, second)
    assert (await one.describe())["portal"] == "Cổng tỉnh"
    await one.enter()
    await two.enter()
    assert (await one.status())["state"] == "ready"
    shown = await one.show()
    document = shown["documents"][0]
    assert (shown["title"], shown["reason"], document["pages"]) == ("Đơn xin xác nhận", "Nộp hồ sơ", 2)
    assert shown["signs_as"]["owner"] == "Phạm Thị An"
    assert shown["earlier"] == []
    assert len(shown["code"]) == 6
    assert Image.open(io.BytesIO(await one.picture(document["id"], 1))).size[0] >= 320
    assert "Đơn xin xác nhận" in await one.text(document["id"])
    assert (await two.status())["state"] == "busy"
    with pytest.raises(phones.Problem) as refused:
        await two.show()
    assert refused.value.code == "request.leased"
    with pytest.raises(phones.Problem) as refused:  # another's document, by name
        await two.picture("0" * 26)
    assert refused.value.status == 404
    await one.approve(shown)
    standing = await one.rested()
    assert (standing["state"], standing["files"]) == ("signed", [])
    assert standing["problem"].startswith("Còn người khác phải ký")
    with pytest.raises(phones.Problem) as refused:
        await one.file(document["id"])
    assert refused.value.code == "sign.no_file"
    shown = await two.show()
    assert [each["name"] for each in shown["earlier"]] == ["Phạm Thị An"]
    assert "1 chữ ký" in shown["changed"]
    await two.approve()
    standing = await two.rested()
    assert (standing["state"], standing["return_url"]) == ("signed", "https://cong.example/xong")
    assert (await two.file(standing["files"][0]["id"])).startswith(b"%PDF")
    assert [each["id"] for each in (await one.status())["files"]] == [document["id"]]
    assert (await one.status())["problem"] is None


async def test_the_second_citizen_refuses_and_the_first_ones_signature_is_not_given_out(home):
    service, _, door = home
    an, an_hand = await phones.enrol_person(service, "Phạm Thị An", "001085000017")
    binh, binh_hand = await phones.enrol_person(service, "Lê Văn Bình", "001085000025")
    first, second = await ask_for(service, (an, binh), (1, 2))
    one, two = phones.PhoneClient(door, an_hand, first), phones.PhoneClient(door, binh_hand, second)
    await two.enter()
    assert (await two.status())["state"] == "waiting"
    assert (await one.sign())["state"] == "signed"
    assert (await two.status())["state"] == "ready"
    document = (await two.show())["documents"][0]["id"]
    await two.refuse("Sai ngày sinh")
    standing = await two.status()
    assert (standing["state"], standing["why"], standing["files"]) == ("refused", "Sai ngày sinh", [])
    standing = await one.status()
    assert (standing["state"], standing["why"], standing["files"]) == ("signed", "Sai ngày sinh", [])
    assert "không được phát hành" in standing["problem"]
    for phone in (one, two):
        with pytest.raises(phones.Problem) as refused:
            await phone.file(document)
        assert refused.value.code == "sign.no_file"


async def test_an_official_certifies_and_a_clerk_seals_several_copies_with_one_approval_each(home):
    service, portal, door = home
    people = {p["roles"][0]["role"]: p["id"] for p in (await portal.get("/api/v1/agencies/H1/people")).json()["items"]}
    hands = {role: await phones.give_phone(service, person) for role, person in people.items()}
    ids = [(await leave_a_paper(portal))["id"] for _ in range(2)]

    async def page_of(role):
        async with service.db.write() as uow:
            token = await make_link(
                uow, service.clock, kind="copies", subject=ids, person_id=people[role],
                expires_at=service.clock.now() + dt.timedelta(hours=1),
            )  # fmt: skip
        return await phones.PhoneClient(door, hands[role], token).enter()

    official, clerk = await page_of("certifier"), await page_of("clerk")
    assert (await official.describe())["kind"] == "sign.kind.certifier"
    assert (await clerk.status())["state"] == "waiting"
    shown = await official.show()
    assert [each["id"] for each in shown["documents"]] == ids
    assert shown["documents"][0]["pages"] is None
    asked = await official._ask("GET", f"/documents/{ids[0]}")
    assert asked.json()["pages"] >= 1
    assert (await official.picture(ids[1]))[8:12] == b"WEBP"
    with pytest.raises(phones.Problem) as refused:
        await clerk.show()
    assert refused.value.code == "copy.other_person"
    await official.approve()
    assert (await official.rested())["state"] == "signed"
    shown = await clerk.show()
    assert [each["name"] for each in shown["earlier"]] == ["Lê Thị Hữu"]
    await clerk.approve()
    standing = await clerk.rested()
    assert standing["state"] == "signed"
    assert [each["id"] for each in standing["files"]] == ids
    assert (await clerk.file(ids[0])).startswith(b"%PDF")


async def test_a_clerk_who_refuses_sends_the_paper_back_to_the_official(home):
    service, portal, door = home
    people = {p["roles"][0]["role"]: p["id"] for p in (await portal.get("/api/v1/agencies/H1/people")).json()["items"]}
    hands = {role: await phones.give_phone(service, person) for role, person in people.items()}
    copy_id = (await leave_a_paper(portal))["id"]

    async def page_of(role):
        async with service.db.write() as uow:
            token = await make_link(
                uow, service.clock, kind="copies", subject=[copy_id], person_id=people[role],
                expires_at=service.clock.now() + dt.timedelta(hours=1),
            )  # fmt: skip
        return await phones.PhoneClient(door, hands[role], token).enter()

    official, clerk = await page_of("certifier"), await page_of("clerk")
    await official.show()
    await official.approve()
    await official.rested()
    await clerk.show()
    await clerk.refuse("Dấu giáp lai mờ")
    standing = await clerk.status()
    assert (standing["state"], standing["why"]) == ("cancelled", "Dấu giáp lai mờ")


async def test_two_administrators_read_and_agree_and_the_decision_is_in_force(home):
    service, _, door = home
    now = service.clock.now()
    people = [
        await service.enrolment.person(
            agency="H1", name=name, role=Role.ADMINISTRATOR, number="2/QĐ", capacity="", dated=now,
            valid_to=now + dt.timedelta(days=9), scope=frozenset(Regime),
        )
        for name in ("Vũ Thị Một", "Vũ Văn Hai")
    ]  # fmt: skip
    desk, year = service.parts().decisions, now.year
    decision = await desk.propose(
        agency_id=people[0].agency_id,
        kind="book.open",
        payload={"kind": "SCT2", "year": year},
        proposed_by=people[0].id,
    )
    pages = []
    for person in people:
        hand = await phones.give_phone(service, person.id)
        async with service.db.write() as uow:
            token = await make_link(
                uow, service.clock, kind="decision", subject=[decision], person_id=person.id,
                expires_at=now + dt.timedelta(hours=1),
            )  # fmt: skip
        pages.append(phones.PhoneClient(door, hand, token))
    described = await pages[0].describe()
    assert (described["kind"], described["agency"]) == ("sign.kind.decision", "UBND xã Đường Lâm")
    for page, state in zip(pages, ("counted", "applied"), strict=True):
        await page.enter()
        assert (await page.status())["state"] == "open"
        shown = await page.show()
        assert shown["decides"]
        assert "SCT2" in [value for _, value in shown["documents"][0]["text"]]
        await page.approve()
        standing = await page.status()
        assert (standing["state"], standing["good"]) == (state, True)
    assert standing["return_url"].endswith("/desk/admin")
