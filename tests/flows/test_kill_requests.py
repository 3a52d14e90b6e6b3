"""``kill -9`` between any two numbered steps of a signature request: nothing without its intent, nothing twice, an end."""

import asyncio
import base64
import datetime as dt
import io
import json
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2
import pytest
import sqlalchemy as sa
from asn1crypto import x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import async_validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from api import bootstrap
from api.roles import ProcessRole
from audit.outbox import event_table
from audit.records import entry_table
from core.formats import canonical_json
from core.ids import new_id
from core.settings import Settings
from core.values import Digest
from signer.activation.records import activation_table
from signer.records import order_table
from signer.requests import store
from tests.flows import house, phones, town
from tests.flows import kill_requests_child as child
from tests.flows.own_postgres import OwnPostgres

PATH = "/api/v1/signature-requests"
CHILD = "tests.flows.kill_requests_child"
SIGNING = ("approve", *child.CEREMONY)
OPENING = ("lease", "prepare", "open")
ALONE = [f"1:{each}" for each in (*SIGNING, *child.END)]
AFTER = ["1:signer.record", *(f"2:{each}" for each in ("approve", "signer.spend", "signer.record", *child.END))]
AWAY = {"signer.sign": 4.0}
"""Seconds that the database is away where it is for longer than the work is tried again at once."""


@dataclass(frozen=True)
class Home:
    """A town on one database, and who is born in it."""

    folder: object
    url: str
    nursery: object
    server: OwnPostgres | None = None

    def bear(self, what, *arguments):
        return self.nursery.bear(f"{CHILD}:{what}", str(self.folder), self.url, *arguments)

    def dies(self, what, *arguments):
        """Ids of what it had made before it was killed: the request and its steps."""
        born = self.bear(what, *arguments)
        assert born.wait(120) == -9, (what, arguments, born.said)
        return next(iter(made_in(born.said)), [])

    def lives(self, what, *arguments):
        born = self.bear(what, *arguments)
        assert born.wait(120) == 0, (what, arguments, born.said)


def made_in(said):
    """The rest of every line that begins with ``made``; between them stand the log's."""
    return [line.split()[1:] for line in said.splitlines() if line.startswith("made ")]


@pytest.fixture(scope="module")
def postgres_of_mine():
    with OwnPostgres() as server:
        yield server


@pytest.fixture(scope="module")
def homes(tmp_path_factory, nursery, postgres_of_mine):
    """One on SQLite, one on PostgreSQL."""
    folder = tmp_path_factory.mktemp("killed")
    server = postgres_of_mine
    made = [Home(folder / "one", "", nursery), Home(folder / "two", server.url("killed"), nursery, server)]
    for home in made:
        asyncio.run(child.build(home.folder, home.url))
    return made


def on_both(homes, work):
    """At once: one waits while the other works."""

    def here(home):
        try:
            work(home)
        except BaseException as error:
            error.add_note("on PostgreSQL" if home.url else "on SQLite")
            raise

    with ThreadPoolExecutor(len(homes)) as pool:
        for each in [pool.submit(here, home) for home in homes]:
            each.result()


@pytest.mark.parametrize(("documents", "signers", "points"), [(2, 1, ALONE), (1, 2, AFTER)], ids=["papers", "people"])
def test_a_request_whose_signer_is_killed_at_any_step_goes_on_by_itself(homes, tmp_path, documents, signers, points):
    def work(home):
        made = [home.dies("one", str(documents), str(signers), point)[0] for point in points]
        home.lives("resume", *made)
        asyncio.run(judge(home, made, tmp_path))

    on_both(homes, work)


def test_a_request_whose_every_process_is_killed_one_step_further_on_is_signed_once(homes, tmp_path):
    def work(home):
        request, *steps = home.dies("made")
        for step in steps:
            for name in (*OPENING, *SIGNING):
                home.dies("further", step, name)
        for name in child.END:
            home.dies("further", steps[-1], name)
        home.lives("resume", request)
        asyncio.run(judge(home, [request], tmp_path))

    on_both(homes, work)


def test_a_database_that_is_killed_at_any_step_and_comes_back_costs_no_process_and_no_signature(homes, tmp_path):
    home = homes[1]  # SQLite lives and dies with the process
    points = ["create", *OPENING, *SIGNING, *child.END]
    born, deaths = home.bear("stand", str(home.server.data), *points), 0
    while born.alive():
        if not home.server.alive():
            time.sleep(AWAY.get(points[deaths], 0.2))
            home.server.start()
            deaths += 1
        time.sleep(0.02)
    made = [request for request, *_ in made_in(born.said)]
    assert (deaths, len(made)) == (len(points), len(points)), born.said
    asyncio.run(judge(home, made, tmp_path))
    assert born.wait(1) == -9  # by its own hand, in the end


# ----------------------------------------------------------------------------------------------------------- the web
class Web:
    """The public door as a process that can be killed and opened again at the same address."""

    def __init__(self, settings, nursery, key) -> None:
        self.settings, self._nursery = settings, nursery
        self.http = httpx2.AsyncClient(
            base_url=settings.web_url, headers={"authorization": f"Bearer {key}"}, timeout=30
        )  # fmt: skip

    async def open(self, death="") -> None:
        port = self.settings.web_bind.rpartition(":")[2]
        self.process = self._nursery.bear(f"{CHILD}:web", str(self.settings.home), port, death)
        async with asyncio.timeout(60):
            while not await self._ready():
                assert self.process.alive(), self.process.said
                await asyncio.sleep(0.05)

    async def _ready(self) -> bool:
        try:
            return (await self.http.get("/readyz")).status_code == 200
        except httpx2.HTTPError:
            return False

    async def died(self) -> bool:
        return await asyncio.to_thread(self.process.wait, 30) == -9

    async def ask(self, body, key):
        return await self.http.post(PATH, json=body, headers={"idempotency-key": key})

    async def again(self, body, key):
        """As a portal does whose line broke: the same, until it is answered."""
        async with asyncio.timeout(30):
            while (answer := await self.ask(body, key)).status_code == 409:
                await asyncio.sleep(0.1)
        return answer


@pytest.fixture(scope="module")
def town_home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "home"
    asyncio.run(child.build(folder, ""))
    return folder


@pytest.fixture
async def web(town_home, nursery):
    """(door, signer's service) for a portal of its own; the door is not open yet."""
    port = house.free_port()
    settings = Settings(home=town_home, web_url=f"http://localhost:{port}", web_bind=f"127.0.0.1:{port}")
    _, key = await house.add_client(settings, "H1")
    async with house.signer_here(settings) as service:
        opened = Web(settings, nursery, key)
        yield opened, service
        await opened.http.aclose()
        if opened.process.alive():
            opened.process.kill()


async def _wanted(web, service):
    file = (await web.http.post("/api/v1/files", content=phones.paper(new_id(service.clock)))).json()["file"]
    name, number = child.PEOPLE[0]
    return {
        "agency": "H1", "title": "Đơn đề nghị", "deadline": (service.clock.now() + dt.timedelta(days=1)).isoformat(),
        "documents": [{"title": "Đơn", "file": file}], "signers": [{"person": {"name": name, "national_id": number}}],
    }  # fmt: skip


async def test_a_web_killed_before_its_answer_has_made_the_request_once(web):
    web, service = web
    known = set()
    for point in ("begun", "request.create", "kept"):
        await web.open(point)
        wanted, key = await _wanted(web, service), new_id(service.clock)
        with pytest.raises(httpx2.HTTPError):
            pytest.fail((await web.ask(wanted, key)).text)
        assert await web.died()
        await web.open()
        answers = await asyncio.gather(*(web.again(wanted, key) for _ in range(3)))
        assert {answer.status_code for answer in answers} == {201}, answers[0].text
        (made,) = {answer.json()["id"] for answer in answers}
        known.add(made)
        listed = (await web.http.get(PATH)).json()["items"]
        assert {each["id"] for each in listed} == known
        assert len(listed) == len(known)
        (link,) = {answer.json()["signing"][0]["url"] for answer in answers}
        async with phones.sign_door(service) as door:
            phone = phones.PhoneClient(door, _hand(web.settings.home), link)
            assert (await phone.sign())["state"] == "signed"
        web.process.kill()


async def test_a_web_killed_while_a_portal_waits_costs_the_portal_one_more_question(web):
    web, service = web
    await web.open()
    made = (await web.ask(await _wanted(web, service), "k")).json()
    waiting = asyncio.create_task(web.http.get(f"{PATH}/{made['id']}?wait=20"))
    await asyncio.sleep(0.5)
    web.process.kill()
    with pytest.raises(httpx2.HTTPError):
        await waiting
    async with phones.sign_door(service) as door:  # the person does not notice
        phone = phones.PhoneClient(door, _hand(web.settings.home), made["signing"][0]["url"])
        assert (await phone.sign())["state"] == "signed"
    await web.open()
    seen = (await web.http.get(f"{PATH}/{made['id']}?wait=20")).json()
    assert (seen["state"], seen["steps"][0]["state"]) == ("completed", "signed")
    file = await web.http.get(f"{PATH}/{made['id']}/documents/1/file")
    assert file.content.startswith(b"%PDF")


def _hand(home):
    """The phone of the first of the people."""
    return child.hand_of(home, next(iter(json.loads((home / "phones.json").read_text()))))


# --------------------------------------------------------------------------------------------------------- the judge
@dataclass(frozen=True)
class Found:
    """What stands in the tables when all is over."""

    views: list
    orders: dict
    activations: dict
    leaves: list
    events: list
    files: dict
    root: x509.Certificate


async def _read(home, request_ids) -> Found:
    async with bootstrap.open_service(town.settings(home.folder, home.url), ProcessRole.WEB) as service:
        async with service.db.read() as uow:
            views = [await store.get(uow, each) for each in request_ids]
            orders = (await uow.execute(sa.select(order_table))).all()
            activations = (await uow.execute(sa.select(activation_table))).all()
            entries = (await uow.execute(sa.select(entry_table.c.entry).order_by(entry_table.c.seq))).scalars().all()
            events = (await uow.execute(sa.select(event_table).order_by(event_table.c.seq))).all()
        files = {d.id: await service.documents.get(d.released) for view in views for d in view.documents}
        return Found(
            views=views, orders={o.id: o for o in orders}, activations={a.tx: a for a in activations},
            leaves=[canonical_json.decode(each) for each in entries], events=list(events), files=files,
            root=x509.Certificate.load(service.root),
        )  # fmt: skip


async def judge(home, request_ids, folder) -> None:
    """Ended as said; every signature after its intent; nothing twice; and others' validators find the files right."""
    found = await _read(home, request_ids)
    place = {leaf["event_id"]: n for n, leaf in enumerate(found.leaves)}
    assert len(place) == len(found.leaves)  # no leaf twice
    for order in found.orders.values():  # of all requests, also what was prepared and never signed
        intended, made = (place.get(f"{order.id}.{kind}") for kind in ("key_use_intended", "signature_made"))
        assert (made is not None) == (order.state == "made")
        assert made is None or intended < made
        assert (intended is not None) == (order.state in {"intended", "made"})
    for view in found.views:
        assert (view.state, view.problem) == ("completed", None)
        assert {step.state for step in view.steps} == {"signed"}
        told = Counter(each.type for each in found.events if each.subject == view.id)
        count = len(view.steps)
        assert told == {"request.step_opened": count, "request.step_signed": count, "request.completed": 1}
        about = Counter(leaf["type"] for leaf in found.leaves if leaf["event_id"].startswith(view.id))
        assert about == {"request_created": 1, "request_settled": 1}
        for step in view.steps:
            assert found.activations[step.activation_tx].state == "spent"
            under = [o.id for o in found.orders.values() if o.activation_tx == step.activation_tx]
            assert sorted(under) == sorted(step.orders)
            assert len(under) == len(view.documents)
        for number, document in enumerate(view.documents):
            orders = [found.orders[step.orders[number]] for step in view.steps]
            await _judge_file(found, orders, found.files[document.id], folder / f"{document.id}.pdf")


async def _judge_file(found, orders, data, file) -> None:
    """Exactly one signature for each order, the one that the log tells of."""
    signatures = PdfFileReader(io.BytesIO(data)).embedded_signatures
    by_digest = {Digest.of(each.signer_info["signed_attrs"].untag().dump()).value.hex(): each for each in signatures}
    assert len(signatures) == len(by_digest) == len(orders)
    assert set(by_digest) == {order.prepared["to_sign"] for order in orders}
    leaves = {leaf["event_id"]: leaf for leaf in found.leaves}
    for order in orders:
        signature = by_digest[order.prepared["to_sign"]]
        value = Digest.of(signature.signer_info["signature"].native).value
        assert base64.b64decode(leaves[f"{order.id}.signature_made"]["sig_hash"]) == value
        status = await async_validate_pdf_signature(signature, ValidationContext(trust_roots=[found.root]))
        assert status.bottom_line, status.pretty_print_details()
    file.write_bytes(data)
    told = subprocess.run(["pdfsig", "-nocert", file], capture_output=True, text=True, check=False).stdout
    assert told.count("Signature is Valid") == len(orders)
