"""The work at the desk: a paper from the counter, ticked page by page, certified, sealed, sent back, recalled."""

import datetime as dt
import json
import re

import pytest

from api.desk.inbox import CHECKS
from core.errors import ServiceError
from core.ids import new_id
from signer.copies import store
from signer.links import find_link
from signer.requests.model import NewDocument, NewRequest, NewStep
from tests.api.desk.conftest import PAGE, Browser
from tests.flows import town
from tests.flows.authenticator import Authenticator
from tests.flows.phones import copies_phone
from tests.signer.requests.office import paper as letter

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK = re.compile(r'id="signing-link" href="(http://sign\.localhost:8001/s/([A-Za-z0-9_-]{26,}))"')


async def approve(desk, copy_id: str, hand: Authenticator) -> None:
    """On the signing origin, as the phone does."""
    phone = await copies_phone(desk.signer, hand, copy_id)
    await phone.enter()
    await phone.approve(await phone.show())
    await desk.parts.signer.rest(copy_id, 20)


async def copy_of(desk, copy_id: str):
    async with desk.signer.db.read() as uow:
        return await store.get(uow, copy_id)


async def link_of(desk, answer):
    """What the link on the page is about."""
    assert answer.status_code == 200, answer.text
    token = LINK.search(answer.text).group(2)
    async with desk.signer.db.read() as uow:
        return await find_link(uow, desk.clock, token)


async def renewed(desk, old):
    """The same paper under its new number, the last that was taken, when it rests."""
    async with desk.signer.db.read() as uow:
        copies = await store.all_copies(uow, old.agency_id)
        numbers = {c.id: (await desk.signer.register.entry(uow, c.entry_id)).number for c in copies}
    fresh = max(copies, key=lambda c: numbers[c.id])
    assert fresh.content == old.content
    await desk.parts.signer.rest(fresh.id, 20)
    return await copy_of(desk, fresh.id)


ALL = {"page": ["1", "2"]}


async def to_seal(desk, browser: Browser, hand: Authenticator) -> str:
    copy_id = await desk.copy(browser)
    await approve(desk, copy_id, hand)
    return copy_id


async def test_a_paper_from_the_counter_is_certified_and_sealed_by_two_people(desk):
    official, _ = await desk.signed_in("certifier")
    clerk, _ = await desk.signed_in("clerk")
    hands = {role: await desk.signing_key(role) for role in ("certifier", "clerk")}
    copy_id = await desk.copy(official)
    copy = await copy_of(desk, copy_id)
    assert (copy.state, copy.facts["scan"]["device"], len(copy.facts["checklist"])) == (
        "awaiting_certifier", "Máy quét quầy 2", len(CHECKS),
    )  # fmt: skip
    assert copy.facts["scan"]["officer"] == await desk.person("certifier")
    inbox = (await official.get("/desk/inbox")).text
    assert f"/desk/copies/{copy_id}" in inbox
    assert "P. T. Ổn" in inbox  # masked in a list that stands open at the counter
    assert "Phạm Thị Ổn" not in inbox
    assert "Phạm Thị Ổn" in (await official.get(f"/desk/copies/{copy_id}")).text
    link = await link_of(desk, await official.post(f"/desk/copies/{copy_id}/sign", ALL))
    assert (link.kind, link.subject, link.person_id) == ("copies", (copy_id,), await desk.person("certifier"))
    assert (await copy_of(desk, copy_id)).state == "awaiting_certifier"  # a link approves nothing
    await approve(desk, copy_id, hands["certifier"])
    assert f'value="{copy_id}"' in (await clerk.get("/desk/seals")).text
    link = await link_of(desk, await clerk.post("/desk/seals", {"copy": [copy_id]}))
    assert (link.subject, link.person_id) == ((copy_id,), await desk.person("clerk"))
    await approve(desk, copy_id, hands["clerk"])
    assert (await copy_of(desk, copy_id)).state == "released"
    page = await official.get(f"/desk/copies/{copy_id}")
    assert f"/desk/copies/{copy_id}/file" in page.text
    file = await official.get(f"/desk/copies/{copy_id}/file")
    assert file.content.startswith(b"%PDF")
    assert "attachment" in file.headers["content-disposition"]


async def test_every_page_and_every_point_is_ticked_before_the_link_appears(desk):
    official, _ = await desk.signed_in("certifier")
    copy_id = await desk.copy(official)
    for given, open_pages in (({}, 2), ({"page": ["2"]}, 1), ({"page": ["2", "3", "x", "-1"]}, 1)):
        answer = await official.post(f"/desk/copies/{copy_id}/sign", given)
        assert answer.status_code == 400
        assert f"Còn {open_pages}/2 trang" in answer.text
        assert not LINK.search(answer.text)
    assert 'value="2" checked' in answer.text  # what was ticked stays
    await link_of(desk, await official.post(f"/desk/copies/{copy_id}/sign", ALL))


async def test_a_paper_of_a_portal_needs_the_laws_list_too(desk):
    from api.portal.requests import lay
    from api.portal.schemas import CopyIn
    from api.portal.uploads import keep_file
    from tests.api.portal.conftest import paper

    official, _ = await desk.signed_in("certifier")
    async with desk.signer.db.read() as uow:
        agency = await desk.signer.directory.agency(uow, "H1")
    caller = portal_of(agency)
    name = await keep_file(desk.parts, caller, new_id(desk.clock), town.scan("portal"))
    copy_id = new_id(desk.clock)
    await lay(desk.parts, caller, copy_id, CopyIn(**paper(await desk.person("certifier")), files=[name]))
    await desk.parts.signer.wake()
    await desk.parts.signer.rest(copy_id, 20)
    answer = await official.post(f"/desk/copies/{copy_id}/sign", {"page": ["1"]})
    assert (answer.status_code, "Chưa đánh dấu đủ" in answer.text) == (400, True)
    given = {"page": ["1"], "check": list(CHECKS)}
    await link_of(desk, await official.post(f"/desk/copies/{copy_id}/sign", given))


def portal_of(agency):
    from api.clients.model import Caller, Scope

    return Caller(client_id="p" * 26, agencies=frozenset({agency.id}), scopes=frozenset(Scope))


async def test_pages_are_pictures_of_the_scan_drawn_for_the_persons_own_agency_only(desk):
    official, _ = await desk.signed_in("certifier")
    other, _ = await desk.signed_in("certifier", "H2")
    copy_id = await desk.copy(official)
    picture = await official.get(f"/desk/copies/{copy_id}/pages/2?w=480")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/webp")
    assert picture.headers["cache-control"] == "no-store"
    assert picture.content[8:12] == b"WEBP"
    for number in ("0", "3", "-1"):
        assert (await official.get(f"/desk/copies/{copy_id}/pages/{number}")).status_code == 404
    assert (await official.get(f"/desk/copies/{copy_id}/pages/1?w=999999")).status_code == 422
    assert (await other.get(f"/desk/copies/{copy_id}/pages/1")).status_code == 404
    assert (await Browser(desk.app).get(f"/desk/copies/{copy_id}/pages/1")).status_code == 303


async def test_another_agencys_copy_does_not_exist(desk):
    official, _ = await desk.signed_in("certifier")
    copy_id = await desk.copy(official)
    other, _ = await desk.signed_in("certifier", "H2")
    for path in (f"/desk/copies/{copy_id}", f"/desk/copies/{copy_id}/file", f"/desk/copies/{'0' * 26}"):
        assert (await other.get(path)).status_code == 404, path
    for path in ("sign", "void", "recall"):
        given = {**ALL, "reason": "thử"}
        assert (await other.post(f"/desk/copies/{copy_id}/{path}", given)).status_code == 404, path
    assert (await other.post(f"/desk/copies/{copy_id}/anew")).status_code == 404
    assert copy_id not in (await other.get("/desk/inbox")).text
    clerk, _ = await desk.signed_in("clerk", "H2")
    assert (await clerk.post("/desk/seals", {"copy": [copy_id]})).status_code == 404
    assert (await clerk.post(f"/desk/copies/{copy_id}/back", {"reason": "thử"})).status_code == 404
    assert (await copy_of(desk, copy_id)).state == "awaiting_certifier"


async def test_a_clerk_certifies_nothing_and_an_official_seals_nothing(desk):
    official, _ = await desk.signed_in("certifier")
    clerk, _ = await desk.signed_in("clerk")
    copy_id = await desk.copy(official)
    assert (await clerk.post(f"/desk/copies/{copy_id}/sign", ALL)).status_code == 403
    assert (await clerk.get("/desk/new")).status_code == 403
    assert (await official.post("/desk/seals", {"copy": [copy_id]})).status_code == 403
    answer = await clerk.post("/desk/seals", {"copy": [copy_id]})  # it waits for somebody else
    assert answer.status_code == 409
    async with desk.signer.db.read() as uow:
        assert (await store.get(uow, copy_id)).state == "awaiting_certifier"


# --------------------------------------------------------------------------------------------------------- the signer
async def test_the_signer_makes_no_link_for_who_may_not_answer(desk):
    """Asked directly, as a broken web process would."""
    official, _ = await desk.signed_in("certifier")
    one, two = await desk.copy(official), await desk.copy(official)
    hand = await desk.signing_key("certifier")
    await approve(desk, two, hand)
    certifier, clerk = await desk.person("certifier"), await desk.person("clerk")
    foreign = await desk.person("certifier", "H2")
    for code, person, copies in (
        ("copy.awaits_nobody", clerk, [one]), ("copy.no_such_copy", foreign, [one]), ("desk.choose", certifier, []),
        ("desk.choose", certifier, [one, one]), ("copy.awaits_nobody", certifier, [one, two]),
        ("copy.no_such_copy", certifier, ["0" * 26]), ("desk.choose", certifier, [one] * 600),
    ):  # fmt: skip
        with pytest.raises(ServiceError) as refused:
            await desk.parts.signer.ask("link.copies", person=person, copies=copies)
        assert refused.value.code == code
    desk.clock.move(days=10)  # the official's term has ended
    with pytest.raises(ServiceError) as refused:
        await desk.parts.signer.ask("link.copies", person=certifier, copies=[one])
    assert refused.value.code == "directory.authorisation_expired"


async def test_a_link_is_over_after_a_quarter_of_an_hour(desk):
    official, _ = await desk.signed_in("certifier")
    copy_id = await desk.copy(official)
    answer = await official.post(f"/desk/copies/{copy_id}/sign", ALL)
    token = LINK.search(answer.text).group(2)
    desk.clock.move(minutes=15)
    with pytest.raises(ServiceError, match=r"link\.expired"):
        async with desk.signer.db.read() as uow:
            await find_link(uow, desk.clock, token)


# -------------------------------------------------------------------------------------------------------- not signing
async def test_an_official_voids_with_a_reason_and_never_without(desk):
    official, _ = await desk.signed_in("certifier")
    copy_id = await desk.copy(official)
    for reason in ("", "  ", "x", "a" * 501, "a\x00bc"):
        assert (await official.post(f"/desk/copies/{copy_id}/void", {"reason": reason})).status_code == 400
    answer = await official.post(f"/desk/copies/{copy_id}/void", {"reason": "Bản chính bị tẩy xóa"})
    assert answer.headers["location"] == "/desk/inbox?said=desk.voided"
    copy = await copy_of(desk, copy_id)
    assert (copy.state, copy.reason) == ("voided", "Bản chính bị tẩy xóa")
    assert "Bản chính bị tẩy xóa" in (await official.get(f"/desk/copies/{copy_id}")).text
    assert (await official.post(f"/desk/copies/{copy_id}/sign", ALL)).status_code == 409


async def test_a_clerk_sends_back_with_a_reason_and_the_official_gets_it_anew(desk):
    official, _ = await desk.signed_in("certifier")
    clerk, _ = await desk.signed_in("clerk")
    copy_id = await to_seal(desk, official, await desk.signing_key("certifier"))
    assert (await clerk.post(f"/desk/copies/{copy_id}/back", {"reason": ""})).status_code == 400
    answer = await clerk.post(f"/desk/copies/{copy_id}/back", {"reason": "Thiếu trang 2"})
    assert answer.headers["location"] == "/desk/seals?said=desk.sent_back"
    old = await copy_of(desk, copy_id)
    assert (old.state, old.reason) == ("voided", "Thiếu trang 2")
    fresh = await renewed(desk, old)
    assert (fresh.state, fresh.content) == ("awaiting_certifier", old.content)
    assert fresh.id in (await official.get("/desk/inbox")).text
    assert copy_id not in (await clerk.get("/desk/seals")).text


async def test_a_copy_whose_printed_date_has_passed_is_numbered_anew_before_it_is_signed(desk):
    official, _ = await desk.signed_in("certifier")
    copy_id = await desk.copy(official)
    assert (await official.post(f"/desk/copies/{copy_id}/anew")).status_code == 409  # today's date is good
    desk.clock.move(days=1)
    official, _ = await desk.signed_in("certifier")
    assert "phải lấy số mới trước khi ký" in (await official.get("/desk/inbox")).text
    page = (await official.get(f"/desk/copies/{copy_id}")).text
    assert f"/desk/copies/{copy_id}/anew" in page
    assert f"/desk/copies/{copy_id}/sign" not in page
    assert (await official.post(f"/desk/copies/{copy_id}/sign", ALL)).status_code == 409
    answer = await official.post(f"/desk/copies/{copy_id}/anew")
    assert answer.headers["location"] == "/desk?said=desk.numbered_anew"
    assert (await copy_of(desk, copy_id)).state == "voided"
    fresh = await renewed(desk, await copy_of(desk, copy_id))
    await link_of(desk, await official.post(f"/desk/copies/{fresh.id}/sign", ALL))


async def test_a_copy_certified_yesterday_raises_an_alarm_and_can_be_sealed(desk):
    official, _ = await desk.signed_in("certifier")
    copy_id = await to_seal(desk, official, await desk.signing_key("certifier"))
    desk.clock.move(days=1)
    clerk, _ = await desk.signed_in("clerk")
    page = (await clerk.get("/desk/seals")).text
    assert "được chứng thực ngày" in page
    await link_of(desk, await clerk.post("/desk/seals", {"copy": [copy_id]}))


async def test_a_released_copy_is_found_by_its_number_and_recalled(desk):
    official, _ = await desk.signed_in("certifier")
    clerk, _ = await desk.signed_in("clerk")
    copy_id = await to_seal(desk, official, await desk.signing_key("certifier"))
    await approve(desk, copy_id, await desk.signing_key("clerk"))
    async with desk.signer.db.read() as uow:
        entry = await desk.signer.register.entry(uow, (await copy_of(desk, copy_id)).entry_id)
    answer = await official.post("/desk/find", {"number": str(entry.number), "year": str(entry.year)})
    assert answer.headers["location"] == f"/desk/copies/{copy_id}"
    other, _ = await desk.signed_in("certifier", "H2")
    for given in ({"number": str(entry.number), "year": str(entry.year)}, {"number": "x", "year": "1' or 1=1"}, {}):
        assert (await other.post("/desk/find", given)).status_code == 400
    given = {"reason": "Cấp nhầm người"}
    assert (await clerk.post(f"/desk/copies/{copy_id}/recall", given)).status_code == 404
    answer = await official.post(f"/desk/copies/{copy_id}/recall", given)
    assert answer.headers["location"] == f"/desk/copies/{copy_id}?said=desk.recalled"
    copy = await copy_of(desk, copy_id)
    assert (copy.recall_reason, copy.recalled_by) == ("Cấp nhầm người", await desk.person("certifier"))
    assert (await official.post(f"/desk/copies/{copy_id}/recall", given)).status_code == 404


# --------------------------------------------------------------------------------------------------------- the form
async def test_a_wrong_form_keeps_what_was_typed_and_the_files(desk):
    official, _ = await desk.signed_in("certifier")
    answer = await desk.paper(official, kind="", copies="nhiều")
    assert answer.status_code == 400
    assert 'value="Phạm Thị Ổn"' in answer.text
    assert answer.text.count('name="kept"') == 2
    assert re.search(r'id="kind"[^>]*aria-invalid="true"', answer.text)
    assert re.search(r'id="copies"[^>]*aria-invalid="true"', answer.text)
    kept = re.findall(r'name="kept" value="([0-9a-f]{64})"', answer.text)
    again = await desk.paper(official, kept=kept, files=[])
    assert again.status_code == 303, again.text


async def test_a_point_left_open_no_file_or_anothers_file_makes_no_request(desk):
    official, _ = await desk.signed_in("certifier")
    answer = await desk.paper(official, check=list(CHECKS[:-1]))
    assert (answer.status_code, "Chưa đánh dấu đủ" in answer.text) == (400, True)
    assert (await desk.paper(official, files=[])).status_code == 400
    other, _ = await desk.signed_in("certifier", "H2")
    kept = re.findall(r'name="kept" value="([0-9a-f]{64})"', answer.text)
    stolen = await desk.paper(other, kept=kept, files=[])
    assert (stolen.status_code, "copy" in stolen.headers.get("location", "")) == (400, False)


async def test_a_scan_that_cannot_be_used_says_why_and_takes_no_number(desk):
    official, _ = await desk.signed_in("certifier")
    answer = await desk.paper(official, files=[("file", ("x.pdf", b"%PDF-1.7 broken", "application/pdf"))])
    copy_id = answer.headers["location"].rsplit("/", 1)[1]
    await desk.parts.signer.rest(copy_id, 20)
    page = await official.get(f"/desk/copies/{copy_id}")
    assert "Chưa có số nào được cấp" in page.text
    assert f"/desk/copies/{copy_id}" in (await official.get("/desk/inbox")).text
    assert (await desk.paper(official, pages="9")).status_code == 303  # counted otherwise than scanned
    other, _ = await desk.signed_in("certifier", "H2")
    assert (await other.get(f"/desk/copies/{copy_id}")).status_code == 404


async def test_pressing_twice_takes_one_number(desk):
    official, _ = await desk.signed_in("certifier")
    request_id = new_id(desk.clock)
    one = await desk.paper(official, id=request_id)
    two = await desk.paper(official, id=request_id)
    assert one.headers["location"] == two.headers["location"] == f"/desk/copies/{request_id}"
    await desk.parts.signer.rest(request_id, 20)
    assert (await official.get("/desk/inbox")).text.count(f'href="/desk/copies/{request_id}"') == 1


async def test_too_many_or_none_chosen_is_said_before_anything_is_asked(desk):
    clerk, _ = await desk.signed_in("clerk")
    for chosen in ([], [new_id(desk.clock) for _ in range(501)]):
        answer = await clerk.post("/desk/seals", {"copy": chosen})
        assert (answer.status_code, "Hãy chọn từ 1 đến 500" in answer.text) == (400, True)


async def test_statistics_and_steps_show_the_own_agency(desk):
    official, _ = await desk.signed_in("certifier")
    await desk.copy(official, kind="Bằng tốt nghiệp")
    page = (await official.get("/desk/statistics")).text
    assert "Bằng tốt nghiệp" in page
    other, _ = await desk.signed_in("certifier", "H2")
    assert "Bằng tốt nghiệp" not in (await other.get("/desk/statistics")).text
    assert (await other.get("/desk/steps")).status_code == 200
    assert (await other.post(f"/desk/steps/{new_id(desk.clock)}/link")).status_code == 404


async def test_a_signature_that_a_portal_asks_for_shows_with_a_link_to_its_own_person_only(desk):
    official, _ = await desk.signed_in("certifier")
    other, _ = await desk.signed_in("certifier", "H2")
    person = await desk.person("certifier")
    async with desk.signer.db.read() as uow:
        agency = await desk.signer.directory.agency(uow, "H1")
    paper = await desk.signer.documents.put(letter())
    made = await desk.signer.parts().requests.create(
        NewRequest(
            id=new_id(desk.clock), client_id="p" * 26, client_name="Cổng Ví Dụ", agency_id=agency.id, title="Công văn số 12",
            deadline=desk.clock.now() + dt.timedelta(days=2), documents=(NewDocument(title="Công văn", name=paper),),
            steps=(NewStep(position=0, kind="official", person_id=person),),
        )
    )  # fmt: skip
    step = made.steps[0].id
    for path in ("/desk/inbox", "/desk/steps"):
        assert "Công văn số 12" in (await official.get(path)).text
    assert "Công văn số 12" not in (await other.get("/desk/steps")).text
    assert (await other.post(f"/desk/steps/{step}/link")).status_code == 404
    link = await link_of(desk, await official.post(f"/desk/steps/{step}/link"))
    assert (link.kind, link.subject, link.person_id) == ("step", (step,), person)


async def test_nothing_personal_stands_in_an_address_or_a_log(desk, capsys):
    official, _ = await desk.signed_in("certifier")
    copy_id = await desk.copy(official)
    page = (await official.get(f"/desk/copies/{copy_id}")).text
    for address in re.findall(r'(?:href|src|action)="([^"]*)"', page):
        assert re.fullmatch(r"(/desk|/v/static)[/a-z0-9_.?=-]*|#[a-z-]+", address), address
    written = capsys.readouterr()
    for word in ("Phạm", "Lê Thị Hữu", "45/2001"):
        assert word not in written.out + written.err


async def test_a_refusal_is_a_page_with_a_way_back_for_people_and_a_problem_for_scripts(desk):
    official, _ = await desk.signed_in("certifier")
    page = await official.get(f"/desk/copies/{'0' * 26}", **PAGE)
    assert (page.status_code, 'href="/desk"' in page.text, 'role="alert"' in page.text) == (404, True, True)
    answer = await official.http.get(f"/desk/copies/{'0' * 26}", headers={"accept": "application/json"})
    assert json.loads(answer.text)["code"] == "web.no_such_thing"
