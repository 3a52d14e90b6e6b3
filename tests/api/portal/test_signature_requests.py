"""A portal asks for signatures, watches, helps along and fetches; what is not its own does not exist."""

import asyncio
import datetime as dt
import hashlib
import io
import json
import re
import time

import pytest
import pytest_asyncio
from pyhanko.pdf_utils.reader import PdfFileReader

from api.clients.model import Scope
from api.clients.store import Clients
from api.inner import SignerDoor
from core.db import Database
from core.errors import Unavailable
from core.limits import LIMITS
from tests.flows import house, phones, town
from verification.engine.codes import in_pixels

pytestmark = pytest.mark.asyncio(loop_scope="module")
BACK = "https://portal.example.gov.vn/ve/"
PATH = "/api/v1/signature-requests"
ON, HAI = ("Phạm Thị Ổn", "001085000017"), ("Trần Văn Hai", "001085000025")


@pytest.fixture(scope="module")
def town_home(tmp_path_factory):
    """A training town with two citizens who have phones; returns (settings, {name: phone})."""
    folder = tmp_path_factory.mktemp("requests")
    settings = asyncio.run(town.build(folder))
    hands = {name: asyncio.run(phones.enrol_in(settings, name, number))[1] for name, number in (ON, HAI)}
    return settings, hands


async def _client(settings, *codes, scopes=tuple(Scope), name="Cổng ký"):
    client_id, key = await house.add_client(settings, *codes, scopes=scopes, name=name)
    async with Database(settings.database) as db:
        await Clients(db, None, "").set_return_urls(client_id, [BACK])
    return client_id, key


class Town:
    """Portal, signing origin and signer of one test."""

    def __init__(self, settings, hands, parts, client, door, service):
        self.settings, self.hands, self.parts = settings, hands, parts
        self.client, self.door, self.service = client, door, service

    def phone(self, link, name=ON[0]):
        return phones.PhoneClient(self.door, self.hands[name], link)

    async def file(self, data=None):
        answer = await self.client.post("/api/v1/files", content=data or phones.paper())
        return answer.json()["file"]

    async def ask(self, *, headers=None, **change):
        body = await self.wanted(**change)
        return await self.client.post(PATH, json=body, headers=headers or {})

    async def wanted(self, **change):
        deadline = self.service.clock.now() + dt.timedelta(days=3)
        body = {
            "agency": "H1", "title": "Đơn đề nghị trợ cấp", "reason": "Nộp hồ sơ", "deadline": deadline.isoformat(),
            "signers": [signer()], **change,
        }  # fmt: skip
        if "documents" not in body:
            body["documents"] = [{"title": "Đơn đề nghị", "file": await self.file()}]
        return body

    async def made(self, **change):
        answer = await self.ask(**change)
        assert answer.status_code == 201, answer.text
        return answer.json()


def signer(who=ON, **more):
    return {"person": {"name": who[0], "national_id": who[1]}, **more}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_town(town_home):
    """One house for all tests here; each has a client of its own in it."""
    settings, hands = town_home
    async with house.signer_here(settings) as service, house.web_here(settings) as (parts, client):
        async with phones.sign_door(service) as door:
            yield Town(settings, hands, parts, client, door, service)


@pytest_asyncio.fixture(loop_scope="module")
async def place(open_town):
    client_id, key = await _client(open_town.settings, "H1")
    open_town.client.headers["authorization"] = f"Bearer {key}"
    open_town.client.client_id = client_id
    return open_town


async def code_of(awaited, status=None):
    answer = await awaited
    assert answer.status_code >= 400, answer.text
    assert status in {None, answer.status_code}, answer.text
    return answer.json()["code"]


# ------------------------------------------------------------------------------------------------------------ the way
async def test_a_request_is_made_signed_on_the_phone_and_fetched(place):
    answer = await place.ask(return_url=f"{BACK}ho-so/12")
    made = answer.json()
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == made["links"]["self"] == f"{PATH}/{made['id']}"
    assert (made["state"], made["agency"], made["steps"][0]["state"]) == ("open", "H1", "ready")
    (link,) = made["signing"]
    assert link["step"] == made["steps"][0]["id"]
    assert link["url"].startswith(f"{place.settings.sign_url}/s/")
    assert await code_of(place.client.get(f"{made['links']['self']}/documents/1/file"), 409) == "request.not_completed"

    phone = await place.phone(link["url"]).enter()
    shown = await phone.show()
    opened = (await place.client.get(made["links"]["self"])).json()["steps"][0]
    assert (opened["state"], opened["code"]) == ("open", shown["code"])
    assert len(shown["code"]) == 6
    await phone.approve()
    seen = (await place.client.get(f"{made['links']['self']}?wait=20")).json()
    assert (seen["state"], seen["steps"][0]["state"], seen["steps"][0]["code"]) == ("completed", "signed", None)
    assert seen["steps"][0]["signed_at"] is not None
    assert (await phone.rested())["return_url"] == f"{BACK}ho-so/12"

    file = await place.client.get(seen["documents"][0]["links"]["file"])
    assert file.headers["content-type"] == "application/pdf"
    assert hashlib.sha256(file.content).hexdigest() == seen["documents"][0]["signed_sha256"]
    (signature,) = PdfFileReader(io.BytesIO(file.content)).embedded_signatures
    assert signature.signer_cert.subject.native["common_name"] == ON[0]
    again = {"if-none-match": file.headers["etag"]}
    assert (await place.client.get(seen["documents"][0]["links"]["file"], headers=again)).status_code == 304
    assert await code_of(place.client.get(f"{made['links']['self']}/documents/2/file")) == "request.no_such_document"
    assert ON[0] in json.dumps((await place.client.get(seen["links"]["evidence"])).json(), ensure_ascii=False)


async def test_the_qr_code_is_the_link(place):
    (link,) = (await place.made())["signing"]
    side, scale = int(re.search(r'viewBox="0 0 (\d+) \1"', link["qr"])[1]), 4
    rows = [bytearray(b"\xff" * side * scale) for _ in range(side * scale)]
    for x, y, width in (map(int, found) for found in re.findall(r"M(\d+) (\d+)h(\d+)v1H\1z", link["qr"])):
        for row in rows[y * scale : (y + 1) * scale]:
            row[x * scale : (x + width) * scale] = bytes(width * scale)
    assert in_pixels(b"".join(rows), side * scale, side * scale) == [link["url"]]


async def test_no_answer_has_the_national_number_or_a_citizens_whole_name(place):
    made = await place.made()
    listed = await place.client.get(f"{PATH}?limit=200")
    one = await place.client.get(made["links"]["self"])
    events = await place.client.get("/api/v1/events?limit=200")
    for text in (json.dumps(made, ensure_ascii=False), listed.text, one.text, events.text):
        assert ON[1] not in text
        assert ON[0] not in text
    assert one.json()["steps"][0]["name"] == "P. T. Ổ."


async def test_two_sign_in_sequence_and_each_is_told_whose_turn_it_is(place):
    made = await place.made(signers=[signer(ON, order=0), signer(HAI, order=1)])
    first, second = made["signing"]
    assert [step["state"] for step in made["steps"]] == ["ready", "waiting"]
    early = await place.phone(second["url"], HAI[0]).enter()
    with pytest.raises(phones.Problem) as caught:
        await early.show()
    assert caught.value.code == "request.not_your_turn"
    assert (await place.phone(first["url"]).sign())["state"] == "signed"
    assert (await place.phone(second["url"], HAI[0]).sign())["state"] == "signed"
    seen = (await place.client.get(f"{made['links']['self']}?wait=20")).json()
    assert seen["state"] == "completed"
    file = (await place.client.get(seen["documents"][0]["links"]["file"])).content
    names = [s.signer_cert.subject.native["common_name"] for s in PdfFileReader(io.BytesIO(file)).embedded_signatures]
    assert names == [ON[0], HAI[0]]


async def test_a_refusal_ends_the_request_with_the_signers_words(place):
    made = await place.made()
    phone = await place.phone(made["signing"][0]["url"]).enter()
    await phone.refuse("Sai số tiền")
    seen = (await place.client.get(f"{made['links']['self']}?wait=5")).json()
    assert (seen["state"], seen["steps"][0]["state"], seen["steps"][0]["reason"]) == (
        "refused",
        "refused",
        "Sai số tiền",
    )


# ---------------------------------------------------------------------------------------------------- repeated, waiting
async def test_the_same_key_asks_once_and_gives_the_same_links(place):
    body = await place.wanted()
    first, second = [await place.client.post(PATH, json=body, headers={"idempotency-key": "ho-so-1"}) for _ in range(2)]
    assert second.headers["idempotency-replayed"] == "true"
    assert first.json() == second.json()
    assert (await place.phone(second.json()["signing"][0]["url"]).describe())["agency"] == "UBND xã Đường Lâm"


async def test_a_wait_with_an_entity_tag_ends_at_the_first_news(place):
    made = await place.made()
    seen = await place.client.get(made["links"]["self"])
    tag = {"if-none-match": seen.headers["etag"]}
    assert (await place.client.get(made["links"]["self"], headers=tag)).status_code == 304
    waiting = asyncio.create_task(place.client.get(f"{made['links']['self']}?wait=20", headers=tag))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    phone = await place.phone(made["signing"][0]["url"]).enter()
    shown = await phone.show()
    news = await asyncio.wait_for(waiting, 5)
    assert (news.status_code, news.json()["steps"][0]["code"]) == (200, shown["code"])


async def test_a_wait_ends_with_its_time_and_where_too_many_wait_at_once(place, monkeypatch):
    made = await place.made()
    began = time.monotonic()
    assert (await place.client.get(f"{made['links']['self']}?wait=1")).json()["state"] == "open"
    assert time.monotonic() - began >= 0.9
    monkeypatch.setitem(LIMITS, "web.waiting", 0)
    began = time.monotonic()
    assert (await place.client.get(f"{made['links']['self']}?wait=20")).json()["state"] == "open"
    assert time.monotonic() - began < 5


# ------------------------------------------------------------------------------------------------------- helping along
async def test_a_fresh_link_ends_the_old_one(place):
    made = await place.made()
    old, step = made["signing"][0]["url"], made["steps"][0]["id"]
    answer = await place.client.post(f"{made['links']['self']}/steps/{step}/link")
    assert answer.headers["cache-control"] == "no-store"
    assert (await place.phone(answer.json()["url"]).describe())["portal"] == "Cổng ký"
    with pytest.raises(phones.Problem) as caught:
        await place.phone(old).describe()
    assert caught.value.code == "link.unknown"


async def test_a_signer_is_replaced_and_the_other_one_signs(place):
    made = await place.made()
    step, path = made["steps"][0]["id"], made["links"]["self"]
    answer = await place.client.post(f"{path}/steps/{step}/replace", json={"person": signer(HAI)["person"]})
    assert answer.status_code == 200, answer.text
    new = answer.json()
    seen = {each["id"]: each for each in (await place.client.get(path)).json()["steps"]}
    assert (seen[step]["state"], seen[step]["replaced_by"]) == ("replaced", new["step"])
    with pytest.raises(phones.Problem):
        await place.phone(made["signing"][0]["url"]).enter()
    assert (await place.phone(new["url"], HAI[0]).sign())["state"] == "signed"
    assert (await place.client.get(f"{path}?wait=20")).json()["state"] == "completed"


async def test_more_time_is_given_and_less_is_not(place):
    made = await place.made()
    later = place.service.clock.now() + dt.timedelta(days=9)
    path = f"{made['links']['self']}/extend"
    seen = (await place.client.post(path, json={"deadline": later.isoformat()})).json()
    assert abs(dt.datetime.fromisoformat(seen["deadline"]) - later) < dt.timedelta(seconds=1)
    sooner = {"deadline": (later - dt.timedelta(days=1)).isoformat()}
    assert (await code_of(place.client.post(path, json=sooner))).startswith("request.")


async def test_a_reminder_is_taken_and_what_is_cancelled_opens_nothing_any_more(place):
    made = await place.made()
    path, step = made["links"]["self"], made["steps"][0]["id"]
    assert (await place.client.post(f"{path}/steps/{step}/remind")).status_code == 200
    seen = (await place.client.post(f"{path}/cancel", json={"reason": "Hồ sơ đã rút"})).json()
    assert (seen["state"], seen["outcome"]) == ("cancelled", "Hồ sơ đã rút")
    assert await code_of(place.client.post(f"{path}/cancel", json={"reason": "x"}), 409) == "request.not_open"
    with pytest.raises(phones.Problem):
        phone = await place.phone(made["signing"][0]["url"]).enter()
        await phone.show()


# --------------------------------------------------------------------------------------------------------------- lists
async def test_lists_have_filters_and_pages(place):
    ids = [(await place.made(title=f"Đơn {n}"))["id"] for n in range(3)]
    await place.client.post(f"{PATH}/{ids[0]}/cancel", json={"reason": "thử"})
    newest = (await place.client.get(f"{PATH}?limit=2")).json()
    assert [each["id"] for each in newest["items"]] == [ids[2], ids[1]]
    rest = (await place.client.get(f"{PATH}?limit=2&after={newest['next']}")).json()
    assert rest["items"][0]["id"] == ids[0]
    cancelled = (await place.client.get(f"{PATH}?state=cancelled&agency=H1")).json()["items"]
    assert [each["id"] for each in cancelled] == [ids[0]]
    soon = (place.service.clock.now() + dt.timedelta(days=1)).isoformat().replace("+", "%2B")
    assert (await place.client.get(f"{PATH}?until={soon}")).json()["items"] == []
    assert len((await place.client.get(f"{PATH}?since={soon}")).json()["items"]) == 0


# ------------------------------------------------------------------------------------------------------- what is refused
async def test_another_clients_request_does_not_exist(place):
    made = await place.made()
    _, key = await _client(place.settings, "H1", name="Cổng khác")
    other = {"authorization": f"Bearer {key}"}
    path, step = made["links"]["self"], made["steps"][0]["id"]
    for method, address, body in (
        ("GET", path, None), ("GET", f"{path}/documents/1/file", None), ("GET", f"{path}/evidence", None),
        ("POST", f"{path}/cancel", {"reason": "x"}), ("POST", f"{path}/extend", {"deadline": "2099-01-01T00:00:00Z"}),
        ("POST", f"{path}/steps/{step}/link", None), ("POST", f"{path}/steps/{step}/remind", None),
        ("POST", f"{path}/steps/{step}/replace", {"person": signer(HAI)["person"]}),
    ):  # fmt: skip
        more = {} if body is None else {"json": body}
        refused = place.client.request(method, address, headers=other, **more)
        assert await code_of(refused, 404) == "request.no_such_request"
    assert (await place.client.get(PATH, headers=other)).json()["items"] == []
    assert (await place.client.get(path)).json()["state"] == "open"


async def test_a_step_of_another_request_is_none_of_this_one(place):
    one, two = await place.made(), await place.made()
    refused = place.client.post(f"{one['links']['self']}/steps/{two['steps'][0]['id']}/link")
    assert await code_of(refused, 404) == "request.no_such_step"


async def test_signers_are_sent_to_registered_addresses_alone(place):
    for url in (
        "https://evil.example/", "https://portal.example.gov.vn/", "https://portal.example.gov.vn@evil.example/ve/",
        "http://portal.example.gov.vn/ve/", f"{BACK}../x", f"{BACK}#x", "javascript:alert(document.cookie)",
    ):  # fmt: skip
        assert await code_of(place.ask(return_url=url), 403) == "request.return_url"


async def test_the_signer_judges_return_addresses_and_owners_itself(place):
    """What a web process in foreign hands would ask."""
    body = await place.wanted(return_url="https://evil.example/")
    async with place.service.db.read() as uow:
        agency = await place.service.directory.agency(uow, "H1")
    door = SignerDoor(place.settings.socket)
    words = {"client": place.client.client_id, "agency": agency.id, "request": "0" * 26}
    made = await place.made()
    step = made["steps"][0]["id"]
    other, _ = await _client(place.settings, "H1", scopes=(Scope.SIGNATURES_READ,), name="Cổng đọc")
    try:
        for change, code in (
            ({}, "request.return_url"),
            ({"agency": "0" * 26}, "directory.no_such_agency"),
            ({"client": other}, "web.no_scope"),
            ({"client": "0" * 26}, "client.no_such_client"),
        ):
            with pytest.raises(Exception, match=code):
                await door.ask("request.create", json.dumps(body).encode(), **{**words, **change})
        writer, _ = await _client(place.settings, "H1", scopes=(Scope.SIGNATURES_WRITE,), name="Cổng khác")
        theirs = json.dumps({**body, "return_url": None}).encode()
        with pytest.raises(Exception, match=r"upload\.no_such_file"):
            await door.ask("request.create", theirs, **{**words, "client": writer})
        with pytest.raises(Exception, match=r"web\.no_scope"):
            await door.ask("request.link", client=other, request=made["id"], step=step)
    finally:
        await door.close()


async def test_rights_are_asked_scope_by_scope(place):
    made = await place.made()
    _, key = await _client(place.settings, "H1", scopes=(Scope.SIGNATURES_READ,))
    refused = place.client.post(PATH, json=await place.wanted(), headers={"authorization": f"Bearer {key}"})
    assert await code_of(refused, 403) == "web.no_scope"
    _, key = await _client(place.settings, "H1", scopes=(Scope.SIGNATURES_WRITE,))
    refused = place.client.get(made["links"]["self"], headers={"authorization": f"Bearer {key}"})
    assert await code_of(refused, 403) == "web.no_scope"


async def test_a_bare_digest_needs_its_own_scope_and_gives_a_detached_signature(place):
    digest = {"title": "Hợp đồng", "digest": hashlib.sha256(b"contract").hexdigest(), "algorithm": "sha256"}
    scopes = (Scope.SIGNATURES_READ, Scope.SIGNATURES_WRITE)
    _, key = await _client(place.settings, "H1", scopes=scopes)
    poor = {"authorization": f"Bearer {key}"}
    assert await code_of(place.ask(documents=[digest], headers=poor), 403) == "web.no_scope"
    made = await place.made(documents=[digest])
    assert made["documents"][0]["digest"] == digest["digest"]
    await place.phone(made["signing"][0]["url"]).sign()
    seen = (await place.client.get(f"{made['links']['self']}?wait=20")).json()
    file = await place.client.get(seen["documents"][0]["links"]["file"])
    assert file.headers["content-type"] == "application/pkcs7-signature"
    assert file.headers["content-disposition"].endswith('.p7s"')
    official = (await place.client.get("/api/v1/agencies/H1/people")).json()["items"][0]["id"]
    asked = place.ask(documents=[digest], signers=[{"person": {"id": official}, "kind": "official"}])
    assert await code_of(asked, 403) == "request.digest_for_official"


async def test_what_does_not_go_together_is_refused_with_its_own_code(place):
    official = (await place.client.get("/api/v1/agencies/H1/people")).json()["items"]
    clerk = next(each["id"] for each in official if each["roles"][0]["role"] == "clerk")
    past = (place.service.clock.now() - dt.timedelta(minutes=1)).isoformat()
    wrong = {
        "request.deadline": {"deadline": past},
        "directory.no_such_agency": {"agency": "H2"},
        "upload.no_such_file": {"documents": [{"title": "x", "file": "0" * 64}]},
        "directory.no_such_person": {"signers": [{"person": {"id": "0" * 26}}]},
        "request.same_person": {"signers": [signer(), signer()]},
        "request.seal_alone": {"signers": [{"person": {"id": clerk}, "kind": "seal"}]},
        "request.not_official": {"signers": [signer(kind="official")]},
        "provider.unknown": {"signers": [signer(provider="nobody")]},
    }
    for code, change in wrong.items():
        assert await code_of(place.ask(**change)) == code


async def test_shapes_are_strict(place):
    digest = {"title": "x", "digest": "00", "algorithm": "sha256"}
    for change in (
        {"documents": []}, {"signers": []}, {"more": 1}, {"title": ""}, {"deadline": "2027-01-01"},
        {"documents": [digest]}, {"signers": [{"person": {"name": "A B", "national_id": "12"}}]},
        {"signers": [signer(kind="king")]}, {"signers": [signer(placement={"kind": "anchor"})]},
        {"signers": [signer()] * (LIMITS["request.steps"] + 1)},
        {"signers": [signer(placement={"kind": "coordinates", "page": 0, "x": 0, "y": 0, "width": 99, "height": 50})]},
    ):  # fmt: skip
        assert await code_of(place.ask(**change), 422) == "web.invalid"


async def test_the_signature_goes_where_it_was_asked(place):
    for placement in (
        {"kind": "coordinates", "page": 1, "x": 300, "y": 600, "width": 170, "height": 60},
        {"kind": "anchor", "text": phones.HERE, "y": 4},
        {"kind": "none"},
    ):
        made = await place.made(signers=[signer(placement=placement)])
        await place.phone(made["signing"][0]["url"]).sign()
        seen = (await place.client.get(f"{made['links']['self']}?wait=20")).json()
        file = (await place.client.get(seen["documents"][0]["links"]["file"])).content
        (signature,) = PdfFileReader(io.BytesIO(file)).embedded_signatures
        box = [float(v) for v in signature.sig_field["/Rect"]]
        if placement["kind"] == "none":
            assert box == [0, 0, 0, 0]
        elif placement["kind"] == "coordinates":
            assert box == pytest.approx([300, 842 - 660, 470, 842 - 600], abs=1)
        else:
            assert box[0] == pytest.approx(360, abs=3)
            assert box[3] < 262


async def test_a_signer_is_named_by_the_id_that_an_answer_gave(place):
    known = (await place.made())["steps"][0]["person"]
    made = await place.made(signers=[{"person": {"id": known}}])
    assert made["steps"][0]["person"] == known


async def test_when_the_signer_is_away_the_same_key_works_later(place, monkeypatch):
    """The request's id is the key's: what the first try had made is found, not made twice."""
    body, key = await place.wanted(), {"idempotency-key": "ho-so-9"}
    door = place.parts.signer
    asked = door.ask

    async def lost(what, body=b"", **words):
        await asked(what, body, **words)
        raise Unavailable("signer.unreachable")

    monkeypatch.setattr(door, "ask", lost)
    assert await code_of(place.client.post(PATH, json=body, headers=key), 503) == "signer.unreachable"
    monkeypatch.undo()
    answer = await place.client.post(PATH, json=body, headers=key)
    assert answer.status_code == 201
    titles = [each["id"] for each in (await place.client.get(PATH)).json()["items"]]
    assert titles == [answer.json()["id"]]
