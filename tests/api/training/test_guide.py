"""The guided practice over HTTP: everybody's own person, the same doors as for all, nothing without the person's passkey."""

import re

import pytest
import pytest_asyncio

from api.training import guide
from api.training.practice import PORTAL, Practice
from api.training.prepare import prepare
from core.errors import Refused
from core.limits import LIMITS
from core.messages import sentence
from tests.flows import house, town
from tests.flows.authenticator import Authenticator
from tests.flows.phones import PhoneClient, Problem, enrol_person, give_phone, sign_door

pytestmark = pytest.mark.asyncio(loop_scope="module")
AGENCY = "H1"
STEPS = guide.STEPS


class Room:
    """A training house with its guide, and visitors who have a browser each."""

    def __init__(self, service, parts, web, phone) -> None:
        self.service, self.parts, self.web, self.phone = service, parts, web, phone

    def visitor(self) -> "Visitor":
        return Visitor(self)


class Visitor:
    """One browser: its cookie, and what stands on the pages."""

    def __init__(self, room: Room) -> None:
        self._room, self.cookies = room, {}

    async def ask(self, method: str, path: str, **headers: str):
        web = self._room.web
        web.cookies.clear()
        headers = {"accept": "text/html", **headers}
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = await web.request(method, path, headers={**headers, **({"cookie": cookie} if cookie else {})})
        self.cookies.update(dict(answer.cookies))
        return answer

    async def get(self, path: str):
        return await self.ask("GET", path)

    async def post(self, path: str):
        return await self.ask("POST", path, origin=self._room.parts.base_url)

    async def step(self, name: str) -> str:
        answer = await self.get(f"/training/step/{name}")
        assert answer.status_code == 200, answer.text
        return answer.text

    def practice(self) -> Practice:
        """As the server reads it."""
        keeper = guide.Keeper(self._room.service.settings)
        return Practice.of(keeper._box.open(bytes.fromhex(self.cookies["dauso-training"])))

    async def begin(self) -> Practice:
        answer = await self.post("/training/start")
        assert (answer.status_code, answer.headers["location"]) == (303, "/training/step/person"), answer.text
        return self.practice()

    async def enrol(self) -> Authenticator:
        """As the signing origin's pages do; tests/browser walks them."""
        mine = self.practice()
        person, hand = await enrol_person(self._room.service, mine.name, mine.number, AGENCY)
        assert person == mine.person
        return hand

    def page(self, hand: Authenticator, link: str) -> PhoneClient:
        return PhoneClient(self._room.phone, hand, link)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(tmp_path_factory):
    settings = await town.build(tmp_path_factory.mktemp("training") / "home")
    async with house.signer_here(settings) as service:
        await prepare(service)
        async with house.web_here(settings) as (parts, web), sign_door(service) as phone:
            yield Room(service, parts, web, phone)


def says(html: str, code: str, **values: str) -> bool:
    return sentence(code, **values) in html


# ------------------------------------------------------------------------------------------------------- the whole way
async def test_a_visitor_gets_a_person_enrols_signs_says_no_and_loses_the_phone(room):
    someone = room.visitor()
    assert says((await someone.get("/training")).text, "training.start")
    mine = await someone.begin()
    assert re.fullmatch(r"999[0-9]{9}", mine.number)
    assert mine.name == f"Người tập {int(mine.number[-3:])}"
    assert mine.name in await someone.step("person")
    assert says(await someone.step("sign"), "training.enrol_first")
    page = await someone.step("enrol")
    assert says(page, "training.enrol_none")
    assert mine.enrol in page
    assert mine.enrol.endswith(f"#s={mine.sign.link.rpartition('/')[2]}")

    hand = await someone.enrol()
    assert says(await someone.step("enrol"), "training.enrol_active")
    assert (await someone.get("/training/file")).status_code == 409
    phone = someone.page(hand, mine.sign.link)
    await phone.enter()
    shown = await phone.show()
    assert (shown["portal"], shown["title"]) == (PORTAL, sentence("training.paper_residence"))
    page = await someone.step("sign")
    assert f"{shown['code'][:3]} {shown['code'][3:]}" in page
    await phone.approve()
    assert (await phone.rested())["state"] == "signed"
    assert says(await someone.step("sign"), "training.paper_completed")

    file = await someone.get("/training/file")
    assert file.content.startswith(b"%PDF")
    checked = await room.web.post("/v/file", files={"file": ("t.pdf", file.content)}, headers={"accept": "text/html"})
    verdict = re.search(r"(?s)<h2>(.*?)</h2>", checked.text[checked.text.index('<article class="result"') :]).group(1)
    assert "TẬP HUẤN" in verdict
    assert 'data-state="valid"' in checked.text

    assert says(await someone.step("refuse"), "training.refuse_get")
    await someone.post("/training/refuse")
    strange = someone.practice().refuse
    await someone.post("/training/refuse")
    assert someone.practice().refuse == strange
    phone = someone.page(hand, strange.link)
    await phone.enter()
    assert "TẬP HUẤN" in await phone.text((await phone.show())["documents"][0]["id"])
    await phone.refuse("Tôi không làm đơn này")
    assert says(await someone.step("refuse"), "training.paper_refused")

    assert says(await someone.step("lost"), "training.lost_active")
    await room.service.parts().phones.losses.suspend(mine.person, by="person")
    assert says(await someone.step("lost"), "training.lost_locked")
    assert sentence("training.todo_mark") not in await someone.step("end")
    assert 'href="/training/step/end"' in (await someone.get("/training")).text


async def test_who_signs_the_strange_paper_is_told_and_who_refuses_the_first_may_begin_again(room):
    someone = room.visitor()
    await someone.begin()
    hand = await someone.enrol()
    await someone.post("/training/refuse")
    assert (await someone.page(hand, someone.practice().refuse.link).sign())["state"] == "signed"
    assert says(await someone.step("refuse"), "training.refuse_signed")
    phone = someone.page(hand, someone.practice().sign.link)
    await phone.enter()
    await phone.show()
    await phone.refuse("không")
    page = await someone.step("sign")
    assert says(page, "training.paper_refused")
    assert says(page, "training.start_again")


async def test_the_mark_changes_with_news_and_only_then(room):
    someone = room.visitor()
    assert (await someone.get("/training/state")).json() == {"mark": ""}
    await someone.begin()
    before = (await someone.get("/training/state")).json()["mark"]
    assert (await someone.get("/training/state")).json()["mark"] == before
    assert f'data-mark="{before}"' in await someone.step("enrol")
    await someone.enrol()
    assert (await someone.get("/training/state")).json()["mark"] != before


# -------------------------------------------------------------------------------------------------------- no way round
async def test_the_guide_moves_nothing_without_the_persons_passkey(room):
    someone = room.visitor()
    mine = await someone.begin()
    stranger = someone.page(Authenticator(), mine.sign.link)
    with pytest.raises(Problem) as refused:
        await stranger.enter()
    assert refused.value.code == "activation.foreign_passkey"
    other = await give_phone(room.service, (await room.visitor().begin()).person)  # a passkey, but somebody else's
    with pytest.raises(Problem) as refused:
        await someone.page(other, mine.sign.link).enter()
    assert refused.value.code == "activation.foreign_passkey"
    for name in STEPS:
        await someone.step(name)
    assert says(await someone.step("sign"), "training.enrol_first")


async def test_the_guides_client_has_no_key_and_few_rights(room):
    (client,) = [each for each in await room.parts.clients.all() if each.name == PORTAL]
    assert {scope.value for scope in client.scopes} == {"signatures:read", "signatures:write"}
    with pytest.raises(Refused):
        await room.parts.clients.authenticate(f"Bearer dauso_{client.id}_x")
    again = await prepare(room.service)
    assert again == []  # the sample officials are the sample agency's
    assert [each.id for each in await room.parts.clients.all() if each.name == PORTAL] == [client.id]


async def test_two_visitors_share_nothing(room):
    one, two = room.visitor(), room.visitor()
    first, second = await one.begin(), await two.begin()
    assert len({first.number, second.number}) == len({first.person, second.person}) == 2
    assert first.sign.request != second.sign.request
    hand = await one.enrol()
    await one.page(hand, first.sign.link).sign()
    assert (await one.get("/training/file")).status_code == 200
    assert (await two.get("/training/file")).status_code == 409
    assert first.number not in await two.step("person")
    again = await one.begin()
    assert again.person != first.person
    assert (await one.get("/training/file")).status_code == 409


@pytest.mark.parametrize("broken", ["", "00", "zz", "ff" * 60])
async def test_a_cookie_that_is_none_of_ours_is_no_practice(room, broken):
    someone = room.visitor()
    await someone.begin()
    good = someone.cookies["dauso-training"]
    bent = good[:-2] + f"{int(good[-2:], 16) ^ 1:02x}"
    for value in (broken, bent):
        someone.cookies = {"dauso-training": value}
        assert (await someone.get("/training/step/sign")).headers["location"] == "/training"
        for answer in (await someone.get("/training/file"), await someone.post("/training/refuse")):
            assert answer.status_code == 409
            assert says(answer.text, "training.no_practice")


async def test_only_a_page_of_ours_begins_or_ends_a_practice(room):
    someone = room.visitor()
    for path in ("/training/start", "/training/refuse", "/training/leave"):
        for headers in ({}, {"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
            assert (await someone.ask("POST", path, **headers)).status_code == 403
    assert someone.cookies == {}
    answer = await someone.post("/training/start")
    kept = answer.headers["set-cookie"].lower()
    assert all(word in kept for word in ("httponly", "samesite=lax", "path=/training"))
    gone = await someone.post("/training/leave")
    assert "max-age=0" in gone.headers["set-cookie"].lower()


async def test_one_address_and_all_of_them_begin_only_so_often(room, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.training_minute", 1)
    someone = room.visitor()
    await someone.begin()
    refused = await someone.post("/training/start")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert (await someone.get("/training/step/person")).status_code == 200  # who has begun goes on
    monkeypatch.setitem(LIMITS, "rate.training_minute", 1_000)
    monkeypatch.setitem(LIMITS, "rate.training_total_minute", 1)
    codes = [(await someone.post("/training/start")).status_code for _ in range(2)]
    assert codes == [303, 429]


async def test_a_number_is_never_given_twice(room, monkeypatch):
    first = await room.visitor().begin()
    given = iter([int(first.number[3:]), 123_456_789])
    monkeypatch.setattr("api.training.practice.random_bytes", lambda count: next(given).to_bytes(count))
    second = await room.visitor().begin()
    assert (second.number, second.person != first.person) == ("999123456789", True)


# --------------------------------------------------------------------------------------------------------------- pages
async def test_every_page_is_in_two_languages_names_training_and_obeys_the_policy(room):
    someone = room.visitor()
    pages = [(await someone.get("/training")).text]
    await someone.begin()
    await someone.enrol()
    await someone.post("/training/refuse")
    pages += [await someone.step(name) for name in STEPS]
    missing = await someone.get("/training/step/nothing")
    assert missing.status_code == 404
    for page in [*pages, missing.text]:
        assert "TẬP HUẤN / TRAINING" in page
        assert '<html lang="vi">' in page
        assert 'lang="en"' in page
        assert "<script>" not in page
        assert 'style="' not in page
        assert "{{" not in page
    for name, page in zip(STEPS, pages[1:], strict=True):
        assert says(page, f"training.{name}_helper")
        assert '<svg class="drawing"' in page


async def test_static_files_are_kept_under_the_address_of_their_bytes(room):
    page = (await room.web.get("/training")).text
    for path in re.findall(r'"(/training/static/[^"]+)"', page):
        answer = await room.web.get(path)
        assert "immutable" in answer.headers["cache-control"]
    assert (await room.web.get("/training/static/x/none.css")).status_code == 404
    assert (await room.web.get("/training/static/old/guide.css")).headers["cache-control"] == "no-cache"
