"""The administrator's pages, end to end: propose on the web, agree on the signing origin, and nothing before the second."""

import datetime as dt
import io
import re

import pytest
import pytest_asyncio
from PIL import Image

from api.clients.model import Scope
from api.sign.webauthn import Credential, to_text
from core.clock import SystemClock
from core.directory.model import Role
from core.limits import LIMITS
from core.values import Regime
from signer.copies.pictures import picture_table
from signer.decisions.evidence import verify_evidence
from tests.api.desk.conftest import Browser, LoginKey
from tests.flows import house
from tests.flows.authenticator import Authenticator

pytestmark = pytest.mark.asyncio(loop_scope="module")
NUMBER = "001199030333"


class Office:
    """Three administrators of one agency with signing passkeys; the first sits at the desk."""

    def __init__(self, desk, code):
        self.desk, self.code, self.signer = desk, code, desk.signer
        self.people, self.hands = [], {}

    async def open(self):
        enrolment, now = self.signer.enrolment, self.desk.clock.now()
        for name in ("Vũ Thị Một", "Bùi Văn Hai", "Đinh Thị Ba"):
            person = await enrolment.person(
                agency=self.code, name=name, role=Role.ADMINISTRATOR, number="3/QĐ", capacity="Quản trị", dated=now,
                valid_to=now + dt.timedelta(days=300), scope=frozenset(Regime),
            )  # fmt: skip
            self.people.append(person.id)
            self.hands[person.id] = Authenticator()
            await self.hands[person.id].enrol(self.signer, person.id)
        self.browser = Browser(self.desk.app)
        answer = await self.browser.register(LoginKey(), await self.desk.ticket(self.people[0]))
        assert answer.status_code == 200, answer.text
        async with self.signer.db.read() as uow:
            self.agency = await self.signer.directory.agency(uow, self.code)

    async def proposed(self, path, form, **more):
        """Id of the decision that a form makes."""
        answer = await self.browser.post(path, form, **more)
        assert answer.status_code == 303, answer.text
        assert "said=desk.proposed" in answer.headers["location"]
        return re.search(r"/decisions/([0-9a-z]{26})\?", answer.headers["location"]).group(1)

    async def agree(self, decision, *people):
        desk = self.signer.parts().decisions
        for person in people or self.people[:2]:
            asked = await desk.question(decision, person)
            rp = desk.relying_party
            options = {"challenge": to_text(asked.challenge), "rpId": rp.rp_id}
            answer = Credential.model_validate(self.hands[person].get(options, rp.origin)).assertion()
            standing = await desk.approve(decision, person, asked.tx, answer)
        return standing

    async def page(self, path):
        answer = await self.browser.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest_asyncio.fixture(loop_scope="module")
async def office(desk):
    """Of an agency of its own, so that what is decided meets nobody else's test."""
    code = "A" + SystemClock().now().strftime("%H%M%S%f")
    await desk.signer.enrolment.agency(code=code, name="UBND xã Quản Trị", parent="UBND tỉnh Ví Dụ")
    made = Office(desk, code)
    await made.open()
    return made


def grant(**change):
    today = SystemClock().now().date()
    return {
        "role": "clerk", "capacity": "Văn thư", "number": "12/QĐ-UBND", "dated": str(today), "valid_from": "",
        "valid_to": str(today + dt.timedelta(days=300)), "scope": ["certified_copy", "sao_y"], **change,
    }  # fmt: skip


async def test_a_new_clerk_is_proposed_agreed_to_by_two_and_invited(office):
    form = {"name": "Hồ Thị Mới", "national_id": NUMBER, **grant()}
    decision = await office.proposed("/desk/admin/people", form)
    shown = await office.page(f"/desk/admin/decisions/{decision}")
    assert "Hồ Thị Mới" in shown
    assert "•••• •••• 0333" in shown
    assert NUMBER not in shown
    assert "Hồ Thị Mới" not in await office.page("/desk/admin")  # lists name nobody
    assert "Hồ Thị Mới" not in await office.page("/desk/admin/people")
    assert (await office.agree(decision, office.people[0])).state == "open"
    assert "Đã đồng ý: 1/2" in await office.page(f"/desk/admin/decisions/{decision}")
    person = (await office.agree(decision, office.people[1])).outcome["person"]
    assert "Hồ Thị Mới" in await office.page("/desk/admin/people")
    page = await office.page(f"/desk/admin/people/{person}")
    assert "Chưa đăng ký điện thoại" in page
    assert "12/QĐ-UBND" in page
    proof = verify_evidence(await office.signer.parts().decisions.evidence(decision))
    assert set(proof.voters) == set(office.people[:2])


async def test_the_way_to_vote_leads_to_the_signing_origin_and_gives_nothing_itself(office):
    decision = await office.proposed("/desk/admin/books", {"year": str(SystemClock().now().year + 1)})
    answer = await office.browser.post(f"/desk/admin/decisions/{decision}/link")
    assert answer.status_code == 200, answer.text
    url = re.search(r'href="(http://sign\.localhost:8001/s/[^"]+)"', answer.text).group(1)
    assert "<svg" in answer.text
    from signer.links import find_link

    async with office.signer.db.read() as uow:
        link = await find_link(uow, office.desk.clock, url.rsplit("/", 1)[1])
    assert (link.kind, link.subject, link.person_id) == ("decision", (decision,), office.people[0])
    assert (await office.signer.parts().decisions.status(decision)).voted == ()


async def test_what_was_typed_stays_where_it_is_refused(office):
    form = {"name": "Hồ Thị Mới", "national_id": NUMBER, **grant(dated="2999-01-01")}
    answer = await office.browser.post("/desk/admin/people", form)
    assert answer.status_code == 400
    assert 'value="Hồ Thị Mới"' in answer.text
    assert 'value="2999-01-01"' in answer.text
    assert 'role="alert"' in answer.text
    for name in ("dated", "valid_to"):
        answer = await office.browser.post("/desk/admin/people", {**form, **grant(), name: "31/12/2026"})
        assert answer.status_code == 400


async def test_roles_phones_and_numbers_of_a_person(office):
    person = office.people[2]
    page = await office.page(f"/desk/admin/people/{person}")
    right = re.search(rf"/people/{person}/roles/([0-9a-z]{{26}})/end", page).group(1)
    for path, form in (
        (f"/desk/admin/people/{person}/roles", grant(role="certifier")),
        (f"/desk/admin/people/{person}/number", {"national_id": NUMBER}),
        (f"/desk/admin/people/{person}/suspend", {}),
        (f"/desk/admin/people/{person}/roles/{right}/end", {"at": ""}),
    ):
        decision = await office.proposed(path, form)
        assert (await office.agree(decision)).state == "applied"
    page = await office.page(f"/desk/admin/people/{person}")
    assert "Điện thoại tạm ngưng" in page
    assert "Roles that have ended" in page


async def test_a_proposal_about_oneself_offers_no_vote(office):
    me = office.people[0]
    decision = await office.proposed(f"/desk/admin/people/{me}/suspend", {})
    shown = await office.page(f"/desk/admin/decisions/{decision}")
    assert "two other administrators decide" in shown
    assert "/link" not in shown
    answer = await office.browser.post(f"/desk/admin/decisions/{decision}/link")
    assert answer.status_code >= 400


async def test_wording_is_looked_at_before_it_is_proposed(office):
    page = await office.page("/desk/admin/templates")
    assert "data:image/webp;base64," in page
    fields = dict(re.findall(r'<input id="(\w+)" name="\1" value="([^"]*)"', page))
    form = {**fields, "layout": "page", "show_seal": "1", "number": "{number}/CT", "regime": "sao_y"}
    answer = await office.browser.post("/desk/admin/templates", {**form, "do": "look"})
    assert answer.status_code == 200
    assert 'value="{number}/CT"' in answer.text
    assert "2 lines differ" in answer.text
    answer = await office.browser.post("/desk/admin/templates", {**form, "number": "{number.x}", "do": "propose"})
    assert answer.status_code == 400
    assert "data:image" not in answer.text
    decision = await office.proposed("/desk/admin/templates", {**form, "do": "propose"})
    sample = await office.browser.get(f"/desk/admin/decisions/{decision}/sample")
    assert Image.open(io.BytesIO(sample.content)).format == "WEBP"
    await office.agree(decision)
    async with office.signer.db.read() as uow:
        wording = (await office.signer.directory.agency(uow, office.code)).wording
    assert wording == {"number": "{number}/CT", "layout": "page"}


def png(side=300):
    out = io.BytesIO()
    image = Image.new("RGBA", (side, side), (200, 20, 30, 0))
    image.paste((200, 20, 30, 255), (10, 10, side - 10, side - 10))
    image.save(out, "PNG")
    return out.getvalue()


async def test_a_seal_is_proposed_with_its_true_size_and_seen_beside_a_ruler(office):
    assert "Chưa có ảnh dấu" in await office.page("/desk/admin/seal-image")
    decision = await office.proposed(
        "/desk/admin/seal-image", {"size": "38,5"}, files={"file": ("dau.png", png(), "image/png")}
    )
    await office.agree(decision)
    assert "38,5 mm" in await office.page("/desk/admin/seal-image")
    decision = await office.proposed("/desk/admin/seal-image", {"size": "36"})  # the size alone
    await office.agree(decision)
    async with office.signer.db.read() as uow:
        row = (await uow.execute(picture_table.select().where(picture_table.c.owner == office.agency.id))).one()
    assert await office.signer.documents.get(row.document) == png()


@pytest.mark.parametrize(
    ("size", "file"),
    [("36,55", png()), ("x", png()), ("99", png()), ("36", b"no picture"), ("1e99999", png()), ("36", png(100))],
    ids=["hundredths", "letters", "large", "text", "exponent", "coarse"],
)
async def test_what_is_no_seal_is_said_on_the_page(office, size, file):
    answer = await office.browser.post(
        "/desk/admin/seal-image", {"size": size}, files={"file": ("a.png", file, "image/png")}
    )
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text


async def test_a_seal_larger_than_allowed_is_not_kept(office):
    large = b"x" * (LIMITS["decision.picture_bytes"] + 1)
    answer = await office.browser.post(
        "/desk/admin/seal-image", {"size": "36"}, files={"file": ("a.png", large, "image/png")}
    )
    assert answer.status_code == 400


async def test_books_open_and_close_by_two(office):
    page = await office.page("/desk/admin/books")
    book = re.search(r"/books/([0-9a-z]{26})/close", page).group(1)
    answer = await office.browser.post("/desk/admin/books", {"year": str(SystemClock().now().year)})
    assert answer.status_code == 400  # that volume is still open
    await office.agree(await office.proposed(f"/desk/admin/books/{book}/close", {}))
    assert "waits for the clerk" in await office.page("/desk/admin/books")
    for year in ("", "20xx", "1999", "٢٠٢٦"):
        assert (await office.browser.post("/desk/admin/books", {"year": year})).status_code == 400


async def test_trust_shows_until_when_each_key_holds(office):
    page = await office.page("/desk/admin/trust")
    for words in ("Root certificate", "Time stamps", "The agency", "QR-seal key", "Holds"):
        assert words in page
    office.desk.clock.move(days=LIMITS["qr.key_days"] - 10)
    # the session is over by then: the rows are asked for directly
    from api.desk.admin_state import _own_rows

    class Who:
        agency = office.agency

    async with office.signer.db.read() as uow:
        rows = await _own_rows(uow, office.desk.parts, Who, office.desk.clock.now())
    assert {row.what: row.state for row in rows}["desk.trust_qr"] == "soon"


async def test_a_portal_gets_access_and_loses_it_by_two(office):
    client, secret = await house.add_client(office.signer.settings, "H1", scopes=(Scope.COPIES_READ,), name="Cổng Tám")
    assert "Cổng Tám" not in await office.page("/desk/admin/clients")
    await office.agree(await office.proposed("/desk/admin/clients", {"client": client.upper()}))
    page = await office.page("/desk/admin/clients")
    assert "Cổng Tám" in page
    assert "copies:read" in page
    assert "Never used" in page
    assert secret not in page
    await office.agree(await office.proposed(f"/desk/admin/clients/{client}/end", {}))
    assert "Cổng Tám" not in await office.page("/desk/admin/clients")
    assert (await office.browser.post("/desk/admin/clients", {"client": "nobody"})).status_code == 400


async def test_another_agencys_things_do_not_exist_here(office, desk):
    other = Office(desk, "H2")
    await other.open()
    decision = await other.proposed(f"/desk/admin/people/{other.people[1]}/suspend", {})
    person = other.people[1]
    assert (await office.browser.get(f"/desk/admin/decisions/{decision}")).status_code == 404
    assert (await office.browser.get(f"/desk/admin/decisions/{decision}/sample")).status_code == 404
    assert (await office.browser.post(f"/desk/admin/decisions/{decision}/link")).status_code == 404
    assert (await office.browser.get(f"/desk/admin/people/{person}")).status_code == 404
    for path in (f"people/{person}/suspend", f"people/{person}/invite", f"people/{person}/roles/{decision}/end"):
        assert (await office.browser.post(f"/desk/admin/{path}", {"at": ""})).status_code == 404
    assert person not in await office.page("/desk/admin/people")


async def test_only_administrators_come_in_and_only_from_a_page_of_ours(office, desk):
    clerk, _ = await desk.signed_in("clerk")
    for path in ("", "/people", "/books", "/templates", "/seal-image", "/trust", "/clients"):
        assert (await clerk.get(f"/desk/admin{path}")).status_code == 403
        assert (await Browser(desk.app).get(f"/desk/admin{path}")).status_code == 303
    for path in ("/people", "/books", "/templates", "/seal-image", "/clients"):
        answer = await office.browser.post(f"/desk/admin{path}", {}, origin="http://evil.example")
        assert answer.status_code == 403
