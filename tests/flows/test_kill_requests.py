"""``kill -9`` between any two numbered steps of a signature request: nothing without its intent, nothing twice, an end."""

import asyncio
import base64
import io
import subprocess
import time
from collections import Counter
from dataclasses import dataclass

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
from core.values import Digest
from signer.activation.records import activation_table
from signer.records import order_table
from signer.requests import store
from tests.flows import kill_requests_child as child
from tests.flows import town
from tests.flows.own_postgres import OwnPostgres

CHILD = "tests.flows.kill_requests_child"
SIGNING = ("approve", *child.CEREMONY)
OPENING = ("lease", "prepare", "open")


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
        """All that it said before it was killed."""
        born = self.bear(what, *arguments)
        assert born.wait(120) == -9, (what, arguments, born.said)
        return born.said

    def lives(self, what, *arguments):
        born = self.bear(what, *arguments)
        assert born.wait(120) == 0, (what, arguments, born.said)
        return born.said


@pytest.fixture(scope="module")
def postgres_of_mine():
    with OwnPostgres() as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def home(request, tmp_path_factory, nursery):
    server = request.getfixturevalue("postgres_of_mine") if request.param == "postgresql" else None
    made = Home(tmp_path_factory.mktemp("killed") / "home", server.url("killed") if server else "", nursery, server)
    asyncio.run(child.build(made.folder, made.url))
    return made


@pytest.mark.parametrize(
    ("documents", "signers", "points"),
    [
        (2, 1, [f"1:{each}" for each in (*SIGNING, *child.END)]),
        (1, 2, ["1:signer.record", *(f"2:{each}" for each in (*SIGNING, *child.END))]),
    ],
    ids=["two documents", "two signers"],
)
def test_a_request_whose_signer_is_killed_at_any_step_goes_on_by_itself(home, tmp_path, documents, signers, points):
    made = [home.dies("one", str(documents), str(signers), point).split()[0] for point in points]
    home.lives("resume", *made)
    asyncio.run(judge(home, made, tmp_path))


def test_a_request_whose_every_process_is_killed_one_step_further_on_is_signed_once(home, tmp_path):
    request, *steps = home.dies("begin").split()
    for step in steps:
        for name in (*OPENING, *SIGNING):
            home.dies("further", step, name)
    for name in child.END:
        home.dies("further", steps[-1], name)
    home.lives("resume", request)
    asyncio.run(judge(home, [request], tmp_path))


def test_a_database_that_is_killed_at_any_step_and_comes_back_costs_no_process_and_no_signature(home, tmp_path):
    if home.server is None:
        pytest.skip("SQLite lives in the process, which the others kill")
    born = home.bear("stand", str(home.server.data), "create", *OPENING, *SIGNING, *child.END)
    deaths = 0
    while born.alive():
        if not home.server.alive():
            deaths += 1
            time.sleep(0.2)
            home.server.start()
        time.sleep(0.02)
    assert born.wait(1) == 0, born.said
    print(born.said, deaths)
    made = [line.split()[1] for line in born.said.splitlines() if line.startswith("completed")]
    assert deaths == len(made) == 13
    asyncio.run(judge(home, made, tmp_path))


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
    by_digest = {
        Digest.of(each.signer_info["signed_attrs"].untag().dump()).value.hex(): each for each in signatures
    }
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
