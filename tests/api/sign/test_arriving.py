"""Before entry: who has no phone yet, a locked or an ending one, or lost it, is shown the way, and comes back."""

import datetime as dt
import re

import pytest
import pytest_asyncio

from api.training.identity import SIMULATED
from core.directory.model import Role
from core.limits import LIMITS
from signer.links import make_link
from tests.api.sign.test_enrol import Page, opened
from tests.flows import phones

NEVER = "Bạn chưa đăng ký điện thoại để ký"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(tmp_path_factory):
    """A training house on a port; nobody has a phone. Each test takes its own people."""
    async with opened(tmp_path_factory.mktemp("arriving"), enrol_portal_levels="2") as made:
        yield made


async def link(page: Page, person: str, kind: str = "step", subject: str = "") -> str:
    """To a paper that waits for the person."""
    async with page.service.db.write() as uow:
        until = page.service.clock.now() + dt.timedelta(hours=1)
        return await make_link(
            uow, page.service.clock, kind=kind, subject=[subject], person_id=person, expires_at=until
        )


async def step(page: Page, person: str, kind: str = "citizen") -> str:
    """A request whose first signer is the person; its link."""
    from core.ids import new_id
    from signer.requests.model import NewDocument, NewRequest, NewStep

    service = page.service
    async with service.db.read() as uow:
        agency = await service.directory.agency(uow, "H1")
    name = await service.documents.put(phones.paper())
    desk = service.parts().requests
    made = await desk.create(
        NewRequest(
            id=new_id(service.clock), client_id="client", client_name="Cổng tỉnh", agency_id=agency.id, title="Đơn",
            reason="", return_url=None, deadline=service.clock.now() + dt.timedelta(days=2),
            documents=(NewDocument(title="Đơn", name=name),),
            steps=(NewStep(position=0, kind=kind, person_id=person),),
        )
    )  # fmt: skip
    return await desk.link(made.steps[0].id)


async def official(page: Page, role: Role = Role.CERTIFIER) -> str:
    async with page.service.db.read() as uow:
        people = await page.service.directory.people(uow)
    return next(person.id for person, rights in people if rights[0].role is role)


async def shown(page: Page, token: str) -> str:
    answer = await page.client.get(f"/s/{token}")
    assert answer.status_code == 200, answer.text
    return answer.text


async def refused(page: Page, token: str, **headers):
    answer = await page.post(f"/s/{token}/enrol", **headers)
    return answer.status_code, answer.json()["code"]


async def test_a_citizen_without_a_phone_enrols_from_the_page_and_comes_back_to_it(page):
    person = await page.citizen()
    token = await step(page, person)
    before = await shown(page, token)
    assert NEVER in before
    assert 'id="enter"' not in before
    assert SIMULATED[0].name not in before
    given = await page.done(f"/s/{token}/enrol")
    place, _, behind = given["location"].partition("#")
    assert re.fullmatch(r"/e/[A-Za-z0-9_-]{32}", place)
    assert behind == f"s={token}"
    assert 'data-standing="none"' in (await page.client.get(place)).text
    held = (await page.log_in(place))["pass"]
    stage, _ = await page.carry_on(held)
    assert stage["state"] == "done"
    after = await shown(page, token)
    assert NEVER not in after
    assert 'id="enter"' in after
    assert "Mất điện thoại / đổi điện thoại?" in after
    second = (await page.done(f"/s/{token}/enrol"))["location"].partition("#")[0]
    assert 'data-standing="active"' in (await page.client.get(second)).text
    assert (await page.client.get(place)).status_code == 404  # the older way is closed


async def test_an_official_whose_number_nobody_told_is_sent_to_the_agency(page):
    person = await official(page)
    async with page.service.db.read() as uow:  # what realm training simulates is no phone
        assert (await page.phones.people.enrolled(uow, person)).state == "active"
    token = await step(page, person, "official")
    before = await shown(page, token)
    assert "Cơ quan chưa ghi số định danh" in before
    assert "to-enrol" not in before
    assert 'id="enter"' not in before
    assert await refused(page, token) == (403, "identity.nobody_expected")
    async with page.service.db.write() as uow:
        await page.phones.people.know(uow, person, "999000000077")
    assert "to-enrol" in await shown(page, token)
    assert (await page.done(f"/s/{token}/enrol"))["location"].startswith("/e/")


async def test_a_portals_word_goes_along_to_the_link_that_the_page_makes(page):
    async with page.service.db.write() as uow:
        agency = await page.service.directory.agency(uow, "H1")
        person = await page.phones.people.expected(uow, agency, national_id=None, name="Lò Thị Mẫu")
    token = await step(page, person)
    assert await refused(page, token) == (403, "identity.nobody_expected")
    older = await page.phones.vouched(person, level="2", email="mau@tap-huan.example", subject="p")
    assert "to-enrol" in await shown(page, token)
    place = (await page.done(f"/s/{token}/enrol"))["location"].partition("#")[0]
    assert 'id="send"' in (await page.client.get(place)).text
    assert (await page.client.get(f"/e/{older}")).status_code == 404
    assert (await page.done(f"{place}/code"))["seconds"] > 0


async def test_a_phone_that_waits_or_is_locked_is_said(page):
    who = SIMULATED[1]
    person = await page.citizen(who)
    token = await step(page, person)
    place = (await page.done(f"/s/{token}/enrol"))["location"].partition("#")[0]
    await page.carry_on((await page.log_in(place, who))["pass"])
    async with page.service.db.write() as uow:
        await page.phones.suspend(uow, person)
    locked = await shown(page, token)
    assert "Điện thoại của bạn đang bị khóa" in locked
    assert "Đăng ký lại điện thoại" in locked
    assert 'id="enter"' not in locked
    place = (await page.done(f"/s/{token}/enrol"))["location"].partition("#")[0]
    stage, _ = await page.carry_on((await page.log_in(place, who))["pass"])
    assert stage["state"] == "waiting"
    waits = await shown(page, token)
    assert re.search(r"dùng được từ \d\d:\d\d, \d\d/\d\d/\d{4}", waits)
    assert 'id="enter"' not in waits


@pytest.mark.parametrize("kind", ["copies", "decision"])
async def test_links_to_copies_and_decisions_lead_there_too(page, kind):
    person = await official(page, Role.CLERK)
    async with page.service.db.write() as uow:
        await page.phones.people.know(uow, person, "999000000078")
    token = await link(page, person, kind, "0" * 26)
    assert (await page.done(f"/s/{token}/enrol"))["location"].endswith(f"#s={token}")


async def test_nobody_else_gets_a_way_in(page):
    person = await page.citizen(SIMULATED[2])
    token = await step(page, person)
    for origin in ("http://evil.example", "null", page.settings.url):
        assert await refused(page, token, origin=origin) == (403, "web.foreign_page")
    assert (await page.client.post(f"/s/{token}/enrol", json={})).json()["code"] == "web.foreign_page"
    for unknown in ("A" * 32, await link(page, person, "enrol", person)):
        assert await refused(page, unknown) == (404, "link.unknown")


async def test_pressing_it_again_and_again_is_paced(page, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.enter_minute", 1)
    token = await step(page, await page.citizen(SIMULATED[2]))
    await page.post(f"/s/{token}/enrol")
    assert await refused(page, token) == (429, "web.too_many")


async def test_a_person_with_a_phone_enters_at_once(page):
    person, _ = await phones.enrol_person(page.service)
    text = await shown(page, await step(page, person))
    assert 'id="enter"' in text
    assert NEVER not in text
