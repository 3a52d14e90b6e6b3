"""The pages of enrolment over HTTP: thin routes, one origin, nothing personal before identity; and the inner questions."""

import contextlib
import json
import re
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from api.clients.model import Scope
from api.questions.enrol import handlers
from api.sign.app import make_sign_app
from api.sign.webauthn import to_bytes, to_text
from api.training.identity import SIMULATED
from core.errors import NotFound, ServiceError
from core.values import Realm
from tests.flows import house, town
from tests.signer.enrolment.town import Phone, on_a_port

TAP, HUAN = SIMULATED[0], SIMULATED[1]


class Page:
    """What the page's script does, by hand."""

    def __init__(self, settings, service, client) -> None:
        self.settings, self.service, self.client = settings, service, client
        self.origin = settings.sign_url
        self.phones = service.parts().phones

    async def post(self, path, body=None, held=None, **headers):
        headers = {"origin": self.origin, **({"dauso-pass": held} if held else {}), **headers}
        return await self.client.post(path, json={} if body is None else body, headers=headers)

    async def done(self, path, body=None, held=None):
        answer = await self.post(path, body, held)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    async def log_in(self, start, who=TAP):
        """From a page's button to its answer."""
        asked = await self.done(f"{start}/login")
        assert asked["url"].startswith(f"{self.origin}/training/identity/authorize?")
        page = await self.client.get(asked["url"].removeprefix(self.origin))
        pending = re.search(r'name="pending" value="([^"]+)"', page.text)[1]
        gone = await self.client.post(
            "/training/identity/authorize", data={"pending": pending, "number": who.number, "name": who.name}
        )
        back = {k: v[0] for k, v in parse_qs(urlsplit(gone.headers["location"]).query).items()}
        return await self.done("/e/back", {**back, "flow": asked["flow"]})

    async def carry_on(self, held, phone=None):
        page = await self.client.get("/e/lost")
        sha256 = re.search(r'data-sha256="([0-9a-f]{64})"', page.text)[1]
        assert (await self.done("/e/run/consent", {"sha256": sha256}, held))["state"] == "consented"
        asked = await self.done("/e/run/registration", held=held)
        options = asked["publicKey"]
        assert (options["rp"]["id"], options["authenticatorSelection"]["userVerification"]) == (
            "sign.localhost",
            "required",
        )
        phone = phone or Phone()
        credential_id, client, attestation = phone.create(to_bytes(options["challenge"]), origin=self.origin)
        given = {
            "id": to_text(credential_id), "rawId": to_text(credential_id), "type": "public-key",
            "response": {"clientDataJSON": to_text(client), "attestationObject": to_text(attestation), "transports": ["internal"]},
        }  # fmt: skip
        return await self.done("/e/run/registered", {"tx": asked["tx"], "credential": given}, held), phone

    async def citizen(self, who=TAP):
        async with self.service.db.write() as uow:
            agency = await self.service.directory.agency(uow, "H1")
            return await self.phones.people.expected(uow, agency, national_id=who.number, name=who.name)


@contextlib.asynccontextmanager
async def opened(folder, realm=Realm.TRAINING, **change):
    """A home with its signing origin on a real port: in training the signer asks its own door who somebody is."""
    made = await town.build(folder / "home", realm=realm)

    class Later:
        app = None

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    later = Later()
    async with on_a_port(later) as port:
        settings = made.model_copy(update={"sign_url": f"http://sign.localhost:{port}", **change})
        async with house.signer_here(settings) as service:
            later.app = make_sign_app(service)
            host = {"host": f"sign.localhost:{port}"}
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=host, timeout=30) as client:
                yield Page(settings, service, client)


@pytest.fixture
async def page(tmp_path):
    async with opened(tmp_path, enrol_portal_levels="2", web_url="https://desk.example") as made:
        yield made


async def test_from_the_link_to_a_phone_that_signs_and_a_second_one(page):
    person = await page.citizen()
    token = await page.phones.invite(person)
    shown = await page.client.get(f"/e/{token}")
    assert shown.status_code == 200
    assert "UBND xã Đường Lâm" in shown.text
    assert "TẬP HUẤN" in shown.text
    for secret in (TAP.name, TAP.number, person, token):
        assert secret not in shown.text.replace(f"/e/{token}", "")
    held = (await page.log_in(f"/e/{token}"))["pass"]
    stage, phone = await page.carry_on(held)
    assert (stage["state"], stage["kind"], stage["official"]) == ("done", "first", False)
    assert (await page.done("/e/run/finish", held=held))["state"] == "done"
    assert (await page.client.get("/e/run/stage", headers={"dauso-pass": held})).json()["state"] == "done"
    refused = await page.post("/e/run/ticket", held=held)
    assert refused.json()["code"] == "ticket.no_official"

    asked = await page.done(f"/e/{token}/passkey")
    assertion = phone.get(to_bytes(asked["publicKey"]["challenge"]), origin=page.origin)
    given = {"rawId": to_text(assertion.credential_id), "response": {
        "clientDataJSON": to_text(assertion.client_data), "authenticatorData": to_text(assertion.authenticator_data),
        "signature": to_text(assertion.signature)}}  # fmt: skip
    second = (await page.done(f"/e/{token}/passkey/answer", {"tx": asked["tx"], "credential": given}))["pass"]
    stage, _ = await page.carry_on(second)
    assert (stage["state"], stage["kind"]) == ("done", "second")

    locked = (await page.log_in("/e/lost"))["lost"]
    assert [(each["agency"], each["stopped"]) for each in locked] == [("UBND xã Đường Lâm", 2)]
    stage, _ = await page.carry_on(locked[0]["pass"])
    assert (stage["state"], stage["kind"]) == ("waiting", "again")
    assert stage["usable_from"]


async def test_what_waits_is_said_on_the_page_and_to_the_desk_and_the_phone_in_use_stops_it(page):
    person = await page.citizen()
    token = await page.phones.invite(person)
    _, phone = await page.carry_on((await page.log_in(f"/e/{token}"))["pass"])
    ask = handlers(page.service)["enrol.waiting"]
    nothing = {"usable_from": None, "kind": None, "method": None}
    assert json.loads(await ask({"person": person}, b"")) == nothing
    assert 'id="pending"' not in (await page.client.get(f"/e/{token}")).text
    stage, _ = await page.carry_on((await page.log_in(f"/e/{token}"))["pass"])
    assert (stage["state"], stage["kind"], stage["desk"]) == ("waiting", "second", False)
    said = json.loads(await ask({"person": person}, b""))
    assert (said["kind"], said["method"]) == ("second", "oidc")
    shown = (await page.client.get(f"/e/{token}")).text
    assert 'id="pending"' in shown
    assert stage["usable_from"] in shown
    asked = await page.done(f"/e/{token}/halt")
    assertion = phone.get(to_bytes(asked["publicKey"]["challenge"]), origin=page.origin)
    given = {"rawId": to_text(assertion.credential_id), "response": {
        "clientDataJSON": to_text(assertion.client_data), "authenticatorData": to_text(assertion.authenticator_data),
        "signature": to_text(assertion.signature)}}  # fmt: skip
    answer = {"tx": asked["tx"], "credential": given}
    assert (await page.post(f"/e/{token}/passkey/answer", answer)).json()["code"] == "passkey.no_challenge"
    assert await page.done(f"/e/{token}/halt/answer", answer) == {"stopped": 1}
    assert json.loads(await ask({"person": person}, b"")) == nothing
    with pytest.raises(NotFound, match=r"directory\.no_such_person"):
        await ask({"person": "0" * 26}, b"")


async def test_a_waiting_phone_leaves_its_victim_the_way_to_stop_it(page):
    person = await page.citizen(HUAN)
    token = await page.phones.vouched(person, level="2", email="attacker@evil.example", subject="x")
    await page.done(f"/e/{token}/code")
    held = await page.done(
        f"/e/{token}/code/answer", {"code": re.search(r"\b\d{6}\b", _newest_letter(page.settings))[0]}
    )
    stage, _ = await page.carry_on(held["pass"])
    assert stage["state"] == "waiting"
    token = await page.phones.invite(person)
    shown = (await page.client.get(f"/e/{token}")).text
    assert "Không phải bạn đăng ký? Đăng nhập để dừng lại" in shown
    assert 'id="halt" data-of="link"' in shown
    assert "Không cần làm gì thêm" not in shown
    stage, _ = await page.carry_on((await page.log_in(f"/e/{token}", HUAN))["pass"])
    assert (stage["state"], stage["kind"]) == ("done", "first")  # whose word waited has nothing left
    async with page.service.db.read() as uow:
        assert await page.phones.people.waiting(uow, person) is None
    body = json.dumps({"person": person, "email": "attacker@evil.example", "subject": "x"}).encode()
    client, _ = await house.add_client(page.settings, "H1")
    async with page.service.db.read() as uow:
        agency = await page.service.directory.agency(uow, "H1")
    with pytest.raises(ServiceError, match=r"enrol\.proven_by_login"):
        await handlers(page.service)["enrol.portal"]({"client": client, "agency": agency.id, "level": "2"}, body)


async def test_a_link_to_a_log_in_is_given_though_another_portal_wrote_the_name_wrong(page):
    client, _ = await house.add_client(page.settings, "H1")
    async with page.service.db.read() as uow:
        agency = await page.service.directory.agency(uow, "H1")
    ask, words = handlers(page.service)["enrol.link"], {"client": client, "agency": agency.id}

    async def link(name):
        return json.loads(await ask(words, json.dumps({"national_id": TAP.number, "name": name}).encode()))

    wrong, right = await link("Nguyên Thi Tâp"), await link(TAP.name)
    assert wrong["person"] == right["person"]
    held = (await page.log_in(right["link"].removeprefix(page.origin)))["pass"]
    await page.carry_on(held)
    async with page.service.db.read() as uow:
        assert (await page.service.directory.person(uow, right["person"])).name == TAP.name
    with pytest.raises(ServiceError, match=r"people\.no_match"):
        await link("Nguyên Thi Tâp")


async def test_an_official_gets_a_ticket_to_the_desk_behind_the_hash(page):
    async with page.service.db.read() as uow:
        people = await page.service.directory.people(uow)
    who = next(person for person, rights in people if rights[0].role == "clerk")
    token = await page.phones.invite(who.id, national_id="999000000077")
    held = (await page.log_in(f"/e/{token}", type(TAP)("999000000077", who.name)))["pass"]
    stage, _ = await page.carry_on(held)
    assert (stage["state"], stage["kind"], stage["official"]) == ("done", "first", True)
    assert stage["desk"]
    url = (await page.done("/e/run/ticket", held=held))["url"]
    assert (await page.done("/e/run/ticket", held=held))["url"] == url  # an answer that got lost
    assert url.startswith("https://desk.example/desk/register#")
    ticket = url.partition("#")[2]
    asked = handlers(page.service)["enrol.ticket"]
    assert json.loads(await asked({"ticket": ticket, "spend": False}, b"")) == {"person": who.id}
    assert json.loads(await asked({"ticket": ticket, "spend": True}, b"")) == {"person": who.id}
    with pytest.raises(NotFound, match=r"ticket\.unknown"):
        await asked({"ticket": ticket, "spend": True}, b"")
    assert (await page.post("/e/run/ticket", held=held)).json()["code"] == "ticket.used"


async def test_no_other_sites_page_may_post(page):
    token = await page.phones.invite(await page.citizen())
    mine = [
        f"/e/{token}/{name}"
        for name in ("login", "code", "code/answer", "passkey", "passkey/answer", "halt", "halt/answer")
    ]
    run = [f"/e/run/{name}" for name in ("consent", "registration", "registered", "finish", "ticket")]
    for path in (*mine, *run, "/e/lost/login", "/e/back", f"/e/stop/{token}"):
        for origin in ("https://evil.example", "null", f"{page.origin}.evil.example", page.origin.replace("sign.", "")):
            assert (await page.post(path, origin=origin, held="A" * 32)).json()["code"] == "web.foreign_page", path
        bare = await page.client.post(path, json={}, headers={"dauso-pass": "A" * 32})
        assert bare.json()["code"] == "web.foreign_page"


async def test_pages_set_no_cookie_and_cannot_be_framed_or_kept(page):
    token = await page.phones.invite(await page.citizen())
    for path in (f"/e/{token}", "/e/lost", "/e/back"):
        answer = await page.client.get(path)
        assert "set-cookie" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "<script>" not in answer.text
        assert "style=" not in answer.text


async def test_links_that_never_were_and_ended_ones_look_the_same(page):
    person = await page.citizen()
    ended = await page.phones.invite(person)
    await page.phones.invite(person)
    answers = [await page.client.get(f"/e/{token}") for token in ("A" * 32, ended)]
    assert [a.status_code for a in answers] == [404, 404]
    assert answers[0].text.replace("A" * 32, ended) == answers[1].text
    assert (await page.post(f"/e/{'A' * 32}/login")).json()["code"] == "link.unknown"
    assert (await page.client.get("/e/kurz")).status_code in {404, 422}


async def test_a_mail_scanner_that_opens_the_link_of_a_notice_stops_nothing(page):
    async with page.service.db.write() as uow:
        agency = await page.service.directory.agency(uow, "H1")
    body = json.dumps(
        {"national_id": TAP.number, "name": TAP.name, "email": "tap@example.vn", "subject": "tk-1"}
    ).encode()
    client, _ = await house.add_client(page.settings, "H1")
    words = {"client": client, "agency": agency.id, "level": "2"}
    said = json.loads(await handlers(page.service)["enrol.portal"](words, body))
    token = said["link"].removeprefix(f"{page.origin}/e/")
    assert (await page.done(f"/e/{token}/code"))["seconds"] == 600
    letter = _newest_letter(page.settings)
    wrong = await page.post(f"/e/{token}/code/answer", {"code": "000000" if "000000" not in letter else "111111"})
    assert wrong.json()["code"] == "enrol.wrong_code"
    held = (await page.done(f"/e/{token}/code/answer", {"code": re.search(r"\b\d{6}\b", letter)[0]}))["pass"]
    stage, _ = await page.carry_on(held)
    assert (stage["state"], stage["method"]) == ("waiting", "portal")
    await page.phones.letters.flush()
    objection = re.search(r"/e/stop/([A-Za-z0-9_-]{32})", _newest_letter(page.settings))[1]
    for _ in range(2):
        assert (await page.client.get(f"/e/stop/{objection}")).status_code == 200
    standing = handlers(page.service)["enrol.standing"]
    asked = {"client": client, "person": said["person"]}
    assert json.loads(await standing(asked, b""))["state"] == "waiting"
    assert (await page.done(f"/e/stop/{objection}"))["state"] == "stopped"
    assert json.loads(await standing(asked, b""))["state"] == "none"
    assert (await page.client.get(f"/e/stop/{'A' * 32}")).status_code == 404


def _newest_letter(settings) -> str:
    import email
    import email.policy

    newest = max((settings.home / "mail").glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
    return email.message_from_bytes(newest.read_bytes(), policy=email.policy.default).get_content()


async def test_what_the_inner_questions_refuse(page):
    ask = handlers(page.service)
    client, _ = await house.add_client(page.settings, "H1")
    narrow, _ = await house.add_client(page.settings, "H1", scopes=(Scope.COPIES_READ,))
    async with page.service.db.read() as uow:
        agency = await page.service.directory.agency(uow, "H1")
        official = (await page.service.directory.people(uow))[0][0].id
    citizen = await page.citizen()
    person = json.dumps({"person": citizen, "email": "a@b.vn", "subject": "s"}).encode()
    portal = {"client": client, "agency": agency.id, "level": "2"}
    refused = [
        ("enrol.portal", {**portal, "level": "1"}, person, "enrol.level"),
        ("enrol.portal", {**portal, "client": narrow}, person, "web.no_scope"),
        ("enrol.portal", {**portal, "client": "0" * 26}, person, "client.no_such_client"),
        ("enrol.portal", {**portal, "agency": "H9"}, person, "directory.no_such_agency"),
        ("enrol.portal", portal, person.replace(citizen.encode(), official.encode()), "directory.no_such_person"),
        ("enrol.portal", portal, b'{"person": 5}', "web.unreadable"),
        ("enrol.portal", portal, b"[]", "web.unreadable"),
        ("enrol.portal", portal, b"{", "web.unreadable"),
        ("enrol.portal", portal, json.dumps({"name": "A", "national_id": "1", "email": "a@b.vn"}).encode(), "people.bad_number"),
        ("enrol.invite", {"client": client, "person": official}, b"", "directory.no_such_person"),
        ("enrol.invite", {"person": "0" * 26}, b"", "directory.no_such_person"),
        ("enrol.standing", {"client": client, "person": official}, b"", "directory.no_such_person"),
    ]  # fmt: skip
    for what, words, body, code in refused:
        with pytest.raises(ServiceError) as caught:
            await ask[what](words, body)
        assert caught.value.code == code, (what, words)
    said = json.loads(await ask["enrol.invite"]({"client": client, "person": citizen}, b""))
    assert (await page.client.get(said["link"].removeprefix(page.origin))).status_code == 200


async def test_simulated_people_are_not_served_in_production(tmp_path):
    async with opened(tmp_path, Realm.PRODUCTION) as page:
        for path in ("/training/identity/jwks", "/training/identity/.well-known/openid-configuration"):
            assert (await page.client.get(path)).status_code == 404
        token = await page.phones.invite(await page.citizen())
        shown = await page.client.get(f"/e/{token}")
        assert "TẬP HUẤN" not in shown.text
        assert (await page.post(f"/e/{token}/login")).json()["code"] == "identity.none"
