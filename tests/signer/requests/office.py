"""An office in realm training with its people and a desk of signature requests over real keys; on each database."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import io

import pikepdf

import signer.links
import signer.papers
from api.evidence import EmbeddedEvidence
from api.keystores import KeyRing, open_ring
from api.signing import Records, make_enrolment, relying_party
from audit.highwater import FileHighWater
from audit.log import Log
from audit.outbox import Outbox
from ca_bridge.authorities.embedded import Subject
from ca_bridge.timestamp.authority import EmbeddedTimestampAuthority
from core.db import Database
from core.directory.model import Role
from core.ids import new_id
from core.objects import Documents
from core.settings import Settings
from core.values import Realm, Regime
from signer.activation.passkeys import SoftwarePasskey
from signer.ceremony import SigningDesk
from signer.copies.pictures import Pictures
from signer.keystores.model import KeyPurpose
from signer.keystores.software import make_key_file
from signer.orders import Orders
from signer.requests.desk import RequestDesk
from signer.requests.model import NewDocument, NewRequest, NewStep
from tests.conftest import BentClock
from tests.fakes import MemoryJobs
from verification.policy import TrustAnchor

NOON = dt.datetime(2026, 11, 25, 3, 0, tzinfo=dt.UTC)


class Here:
    """The sandbox's functions in this process: what they do is real, the walls have tests of their own."""

    async def run(self, function, payload, arguments, **_limits):
        return await asyncio.to_thread(function, payload, arguments)


def paper(text: str = "DON DE NGHI", pages: int = 1) -> bytes:
    target = io.BytesIO()
    with pikepdf.new() as pdf:
        for number in range(pages):
            page = pdf.add_blank_page(page_size=(595, 842))
            page.Contents = pdf.make_stream(f"% {text} {number}".encode())
        pdf.save(target)
    return target.getvalue()


async def build(settings: Settings) -> dict[str, str]:
    """Keys, agency and people; returns ids by name."""
    settings.home.mkdir(exist_ok=True)
    make_key_file(settings.home / "key-file")
    clock = BentClock(NOON)
    async with Database(settings.database) as db:
        await db.create_all()
    async with Database(settings.database) as db, open_ring(settings, clock, db) as keys:
        records = Records(clock)
        enrolment = make_enrolment(settings, Realm.TRAINING, clock, db, records, keys.booked, keys.open)
        await enrolment.service_keys()
        agency = await enrolment.agency(code="H1", name="UBND xã Đường Lâm", parent="UBND tỉnh Ví Dụ")
        ids = {"agency": agency.id}
        for name, role in (("official", Role.CERTIFIER), ("clerk", Role.CLERK), ("other_clerk", Role.CLERK)):
            person = await enrolment.person(
                agency=agency.code, name="Lê Thị Hữu", role=role, number="1/QĐ", capacity="TUQ. CHỦ TỊCH", dated=NOON,
                valid_to=NOON + dt.timedelta(days=60), scope=frozenset(Regime),
            )  # fmt: skip
            ids[name] = person.id
        for name in ("an", "binh", "chi", "nobody"):
            async with db.write() as uow:
                person = await records.directory.add_person(uow, agency, f"Nguyễn Văn {name.title()}")
                issuing = await records.credentials.of(uow, "issuing", KeyPurpose.CA)
            if name != "nobody":
                subject = Subject(common_name=person.name, organisation=None)
                await enrolment._certified(person.id, KeyPurpose.DOCUMENT, "citizen", subject, issuing)
                await enrolment._software_passkey(person)
            ids[name] = person.id
    return ids


@dataclasses.dataclass
class Office:
    """One signer process of it."""

    settings: Settings
    ids: dict[str, str]
    clock: BentClock
    db: Database
    records: Records
    desk: RequestDesk
    evidence: EmbeddedEvidence
    keys: KeyRing
    held: contextlib.AsyncExitStack

    async def close(self) -> None:
        """Its work done, its keys and its database let go."""
        await self.desk.drain()
        await self.held.aclose()

    def wanted(self, *who, documents=None, deadline=None, **change):
        """``who``: (name, kind, position[, more]) or a name for a citizen at position 0."""
        steps = []
        for each in who or ("an",):
            name, kind, position, more = (*each, {})[:4] if isinstance(each, tuple) else (each, "citizen", 0, {})
            steps.append(NewStep(position=position, kind=kind, person_id=self.ids[name], **more))
        values = {
            "id": new_id(self.clock), "client_id": new_id(self.clock), "client_name": "Cổng Ví Dụ",
            "agency_id": self.ids["agency"], "title": "Đơn đề nghị", "reason": "Đề nghị trợ cấp",
            "deadline": deadline or self.clock.now() + dt.timedelta(days=2), "steps": tuple(steps),
            "documents": documents if documents is not None else (NewDocument(title="Đơn", name=self.paper_name),),
        }  # fmt: skip
        return NewRequest(**(values | change))

    async def put(self, data: bytes) -> str:
        return await self.desk.signing.documents.put(data)

    async def make(self, *who, **change):
        allowed = change.pop("digests_allowed", False)
        return await self.desk.create(self.wanted(*who, **change), digests_allowed=allowed)

    async def view(self, request_id: str):
        async with self.db.read() as uow:
            return await self.desk.view(uow, request_id)

    def passkey(self, person_id: str) -> SoftwarePasskey:
        return SoftwarePasskey.load(Realm.TRAINING, (self.settings.home / "training-passkeys" / person_id).read_bytes())

    def answer(self, opened, person_id: str | None = None, **change):
        passkey = self.passkey(person_id or opened.step.person_id)
        return passkey.answer(opened.challenge, change.pop("rp", self.desk.signing.relying_party), **change)

    async def open(self, step):
        return await self.desk.open(step.id, step.person_id)

    async def approve(self, opened, **change):
        await self.desk.approve(opened.step.id, opened.step.person_id, opened.tx, self.answer(opened, **change))

    async def sign(self, step):
        """Open, approve, and wait until it rests; the request as it then stands."""
        await self.approve(await self.open(step))
        await self.desk.rest(step.id, 30)
        await self.desk.drain()
        return await self.view(step.request_id)

    async def told(self, request_id: str):
        async with self.db.read() as uow:
            events = await Outbox(self.clock).page(uow, [self.ids["agency"]], [], 0, 100_000)
        return [e.type.value for e in events if e.subject == request_id]

    async def leaves(self, request_id: str):
        await self.desk.signing.log.sequence()
        entries = await self.desk.signing.log.entries(0, await self.desk.signing.log.size())
        return [entry for _, entry in entries if request_id.encode() in entry]


async def open_office(settings: Settings, ids: dict[str, str], jobs=None, sandbox=None) -> Office:
    """The caller closes it."""
    clock = BentClock(NOON)
    held = contextlib.AsyncExitStack()
    db = await held.enter_async_context(Database(settings.database))
    records, keys = Records(clock), await held.enter_async_context(open_ring(settings, clock, db))
    open_key = keys.open
    async with db.read() as uow:
        by = {n: await records.credentials.of(uow, n, p) for n, p in (
            ("root", KeyPurpose.CA), ("issuing", KeyPurpose.CA), ("ocsp", KeyPurpose.OCSP), ("tsa", KeyPurpose.TSA),
            ("log", KeyPurpose.LOG))}  # fmt: skip
    sandbox = sandbox or Here()
    evidence = EmbeddedEvidence(
        db=db, clock=clock, open_key=open_key, sandbox=sandbox, root=by["root"], issuing=by["issuing"], ocsp=by["ocsp"],
        tsa=by["tsa"], stampers=(),
    )  # fmt: skip
    log = Log(
        db=db, origin="log.example/h1", key=open_key(by["log"], "log"), clock=clock,
        highwater=FileHighWater(settings.home / "highwater" / "mark.json"),
    )  # fmt: skip
    await log.open()
    documents = Documents.open("", settings.home)
    signing = SigningDesk(
        db=db, clock=clock, credentials=records.credentials, documents=documents, log=log, open_key=open_key,
        timestamps=EmbeddedTimestampAuthority(
            key=open_key(by["tsa"], "tsa"), certificate=by["tsa"].certificate, chain=by["tsa"].chain[:-1], clock=clock
        ),
        relying_party=relying_party(settings), orders=Orders(clock), rules=keys.rules,
    )  # fmt: skip
    jobs = jobs or MemoryJobs({}, clock)
    anchor = TrustAnchor(certificate=by["root"].certificate, realm=Realm.TRAINING)
    desk = RequestDesk(
        signing=signing, directory=records.directory, sandbox=sandbox, papers=signer.papers, links=signer.links,
        validation=evidence, anchors=(anchor,),
        pictures=Pictures(db, clock, documents, sandbox), jobs=jobs,
    )  # fmt: skip
    jobs.serve("step", desk.advance)
    office = Office(
        settings=settings, ids=ids, clock=clock, db=db, records=records, desk=desk, evidence=evidence, keys=keys, held=held
    )  # fmt: skip
    office.paper_name = await documents.put(paper())
    return office
