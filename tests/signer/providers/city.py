"""A simulated service over real HTTP, a database with one person in it, and a desk between them."""

import asyncio
import contextlib
import datetime as dt
import io
import socket
from dataclasses import dataclass, field

import pikepdf
import uvicorn
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import SigFieldSpec, append_signature_field

from api.simulate.app import make_simulator_app
from api.simulate.people import People
from api.simulate.service import Simulator, faults_of
from core.clock import SystemClock
from core.db import Database
from core.directory.records import Directory
from core.ids import new_id
from core.outbound import Outbound
from core.sealed import Box
from core.settings import Settings
from core.values import Digest, Realm
from signer.credentials import Credential, Credentials
from signer.providers.opening import open_providers
from signer.providers.transactions import Pauses

USER, NAME = "000000000001", "Người Thử Một"
PASSWORD = "mat-khau-cua-cong-thu"
DIGEST = Digest.of(b"the signed attributes")
FAST = Pauses(first=0.03, longest=0.05, hint=0.02, lost=0.3)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def served(app):
    """The port on which ``app`` answers."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield port
    finally:
        server.should_exit = True
        await running


class MovedClock(SystemClock):
    """The machine's time, pushed forward by tests."""

    def __init__(self) -> None:
        self.ahead = dt.timedelta()

    def now(self) -> dt.datetime:
        return super().now() + self.ahead


@dataclass
class City:
    """Simulator, desk and person."""

    port: int
    simulator: Simulator
    clock: MovedClock
    db: Database
    settings: Settings
    person_id: str
    directory: Directory
    credentials: Credentials
    settled: list[str] = field(default_factory=list)
    outbounds: list[Outbound] = field(default_factory=list)

    def desk(self, outbound: Outbound | None = None, pauses: Pauses = FAST):
        """As a signer process holds it; another call is another process."""
        outbound = outbound or Outbound(private=frozenset({f"127.0.0.1:{self.port}"}))
        self.outbounds.append(outbound)
        return open_providers(
            self.settings, realm=Realm.TRAINING, db=self.db, clock=self.clock, credentials=self.credentials,
            directory=self.directory, open_key=None, box=Box(b"k" * 32, "providers"), pauses=pauses,
            outbound=outbound, settled=self.settled.append,
        )  # fmt: skip

    def set(self, faults: str) -> None:
        self.simulator.faults = faults_of(faults)

    def order(self) -> str:
        return new_id(self.clock)


@contextlib.asynccontextmanager
async def city(db: Database, tmp_path, people: People):
    """Approval by itself after 50 ms unless a test says otherwise."""
    clock, directory = MovedClock(), Directory(SystemClock())
    async with db.write() as uow:
        agency = await directory.add_agency(uow, realm=Realm.TRAINING, code="H1", name="UBND xã Thử", parent="T")
        person = await directory.add_person(uow, agency, NAME)
    outbound = Outbound()
    simulator = Simulator(
        people=people, clock=clock, outbound=outbound, sp_password=PASSWORD, auto=0.05, slow=0.2, seconds=60
    )
    (tmp_path / "anchors.pem").write_text(people.anchor)
    async with served(make_simulator_app(simulator)) as port:
        settings = Settings(
            home=tmp_path, provider_url=f"http://127.0.0.1:{port}", provider_sp_id="dauso-simulated",
            provider_sp_password=PASSWORD, provider_anchors=tmp_path / "anchors.pem",
            outbound_private=f"127.0.0.1:{port}",
        )  # fmt: skip
        found = City(port, simulator, clock, db, settings, person.id, directory, Credentials(clock))
        yield found
        await simulator.close()
        for each in (outbound, *found.outbounds):
            await each.close()


async def words(_: str) -> str:
    return "Đơn đề nghị · mã 123456"


async def signed(town: City, order: str | None = None, desk=None) -> tuple[bytes, Credential]:
    """Linked and signed in one go."""
    desk = desk or town.desk()
    credential = await desk.link(town.person_id, "sp769", USER)
    async with asyncio.timeout(20):
        return await desk.wait(order or town.order(), credential, DIGEST, words), credential


def blank_form() -> bytes:
    """One empty page with one signature field ``A``."""
    out = io.BytesIO()
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        pdf.save(out, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    writer = IncrementalPdfFileWriter(out)
    append_signature_field(writer, SigFieldSpec("A", box=(50, 50, 250, 150)))
    writer.write_in_place()
    return out.getvalue()
