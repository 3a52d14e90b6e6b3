"""The whole house as a province runs it, here: real processes, a national log-in, a portal, people with phones."""

import asyncio
import contextlib
import datetime as dt
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2
import uvicorn
from cryptography import x509

from api import bootstrap
from api.clients.model import Scope
from api.clients.store import Clients
from api.roles import ProcessRole
from api.training.identity import Simulated, TrainingIdentity
from api.training.prepare import prepare
from core.clock import SystemClock
from core.directory.model import Role
from core.values import Realm, Regime
from signer.enrolment.oidc import TRAINING_MARK
from signer.keystores.model import KeyPurpose
from tests.browser.office import sheet
from tests.flows import house, phones, town
from tests.flows.authenticator import Authenticator

AGENCY = "UBND xã Đường Lâm"
BACK = "https://portal.example.gov.vn/ve"
STAMP = {"width": 190, "height": 64}
UNDER_THE_NAME = {"kind": "anchor", "text": phones.HERE, "x": -40, "y": 6, **STAMP}


def box(x: int, y: int, **size: int) -> dict:
    """A visible signature on the first page."""
    return {"kind": "coordinates", "page": 1, "x": x, "y": y, **STAMP, **size}


# -------------------------------------------------------------------------------------------------------------- people
@dataclass(kw_only=True)
class Somebody:
    """A person of the play. ``hand``: the passkey of a phone that was enrolled before it begins."""

    name: str
    number: str
    id: str = ""
    hand: Authenticator | None = None
    certificate: x509.Certificate | None = None
    invitation: str = ""

    @property
    def as_signer(self) -> dict:
        """How a portal names them."""
        return {"id": self.id} if self.id else {"national_id": self.number, "name": self.name}


class NationalLogin(TrainingIdentity):
    """A provider that says nothing of training: what production has, with people who are made up all the same."""

    async def _metadata(self, request):
        answer = await super()._metadata(request)
        answer.body = answer.body.replace(f',"{TRAINING_MARK}":true'.encode(), b"")
        answer.headers["content-length"] = str(len(answer.body))
        return answer

    @staticmethod
    def _said(person):
        said = TrainingIdentity._said(person)
        del said[TRAINING_MARK]
        return said


@contextlib.contextmanager
def _served(app, port: int):
    """An application on a port, in a thread of its own."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield
    server.should_exit = server.force_exit = True
    thread.join()


# --------------------------------------------------------------------------------------------------------------- house
class TownHere:
    """``with TownHere(folder) as town``. ``people``: names of citizens → whether they have a phone already."""

    def __init__(self, folder, people: dict[str, bool], realm: Realm = Realm.PRODUCTION, **settings: str) -> None:
        self.realm, self._folder, self._settings = realm, folder, settings
        self.citizens = {
            name: Somebody(name=name, number=_number(row), hand=Authenticator() if has else None)
            for row, (name, has) in enumerate(people.items(), 1)
        }
        self.officials: dict[str, Somebody] = {}

    def __enter__(self):
        with ThreadPoolExecutor(1) as thread:  # playwright keeps a loop running in this one
            thread.submit(asyncio.run, self._build()).result()
        login, sign = house.free_port(), house.free_port()
        self.sign_url = f"http://sign.localhost:{sign}"
        provider = NationalLogin(
            issuer=f"http://localhost:{login}", clock=SystemClock(), redirect_uris=frozenset({f"{self.sign_url}/e/back"}),
            people=[Simulated(each.number, each.name) for each in self.everybody],
        )  # fmt: skip
        with contextlib.ExitStack() as stack:
            stack.enter_context(_served(provider.app(), login))
            environment = {
                "DAUSO_SIGN_BIND": f"127.0.0.1:{sign}", "DAUSO_SIGN_URL": self.sign_url, "DAUSO_IDENTITY_LEVELS": "2",
                "DAUSO_IDENTITY_ISSUER": provider.issuer, "DAUSO_OUTBOUND_PRIVATE": f"localhost:{login}",
                "DAUSO_ENROL_DELAY_HOURS": "0", **self._settings,
            }  # fmt: skip
            self.url, self.process = stack.enter_context(house.processes(self.settings.home, **environment))
            self.portal = stack.enter_context(
                httpx2.Client(base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=60)
            )
            self.sign_door = stack.enter_context(
                httpx2.Client(
                    base_url=f"http://127.0.0.1:{sign}", headers={"host": f"sign.localhost:{sign}"}, timeout=60
                )
            )
            self._stack = stack.pop_all()
            self._until_open()
        return self

    def _until_open(self) -> None:
        """The web answers before the signer does."""
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if self.sign_door.get("/e/lost").status_code == 200:
                    return
            assert time.monotonic() < until, "the signer did not open"
            time.sleep(0.1)

    def __exit__(self, *_) -> None:
        self._stack.close()

    @property
    def everybody(self) -> list[Somebody]:
        return [*self.citizens.values(), *self.officials.values()]

    # ------------------------------------------------------------------------------------------------ before it opens
    async def _build(self) -> None:
        made = await town.build(self._folder, realm=self.realm)
        self.settings = made.model_copy(update={"web_url": "http://localhost"})
        async with bootstrap.open_service(self.settings, ProcessRole.SIGNER) as service:
            self._service = service
            await self._staff()
            for each in self.citizens.values():
                if each.hand is not None:
                    each.id, each.hand = await phones.enrol_person(service, each.name, each.number)
                    async with service.db.read() as uow:
                        found = await service.credentials.of(uow, each.id, KeyPurpose.DOCUMENT)
                    each.certificate = x509.load_der_x509_certificate(found.certificate)
            async with service.db.read() as uow:
                agency = await service.directory.agency(uow, "H1")
            clients = Clients(service.db, service.clock, "")
            made = await clients.add("Cổng dịch vụ công tỉnh", [agency.id], list(Scope), [BACK])
            self.key = await clients.new_secret(made.id, dt.timedelta())
            if self.realm is Realm.TRAINING:
                await prepare(service)
            del self._service

    async def _staff(self) -> None:
        """Two of each kind: the first has no phone yet and is invited, the second has one."""
        service = self._service
        now = service.clock.now()
        more = {
            "certifier2": ("Vũ Thị Hai", Role.CERTIFIER), "clerk2": ("Ngô Văn Hai", Role.CLERK),
            "administrator": ("Bùi Thị Trị", Role.ADMINISTRATOR), "administrator2": ("Hồ Văn Quản", Role.ADMINISTRATOR),
        }  # fmt: skip
        for name, role in more.values():
            await service.enrolment.person(
                agency="H1", name=name, role=role, number="2/QĐ", capacity="TUQ. CHỦ TỊCH", dated=now,
                valid_to=now + dt.timedelta(days=90), scope=frozenset(Regime),
            )  # fmt: skip
        names = {"certifier": "Lê Thị Hữu", "clerk": "Đỗ Văn Thư", **{key: name for key, (name, _) in more.items()}}
        async with service.db.read() as uow:
            agency = await service.directory.agency(uow, "H1")
            ids = {person.name: person.id for person, _ in await service.directory.people(uow, agency.id)}
        for row, (key, name) in enumerate(names.items(), 61):
            person = Somebody(name=name, number=_number(row), id=ids[name])
            async with service.db.write() as uow:
                await service.parts().people.know(uow, person.id, person.number)
            if key.endswith("2"):
                person.hand = await phones.give_phone(service, person.id)
            else:
                person.invitation = await service.parts().phones.invite(person.id)
            self.officials[key] = person

    # ---------------------------------------------------------------------------------------------------- the portal
    def send(self, data: bytes) -> str:
        """A file's name."""
        answer = self.portal.post("/api/v1/files", content=data)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()["file"]

    def ask(
        self, *signers: dict, papers: tuple[str, ...] = ("Đơn đề nghị trợ cấp xã hội",), reason: str = "Nộp hồ sơ trợ cấp",
        seconds: float = 86_400, pages: int = 1,
    ) -> "Asked":  # fmt: skip
        """A signature request; signers are made by ``signer``."""
        deadline = SystemClock().now() + dt.timedelta(seconds=seconds)
        body = {
            "agency": "H1", "title": papers[0], "reason": reason, "deadline": deadline.isoformat(), "signers": signers,
            "documents": [{"title": each, "file": self.send(phones.paper(each, pages=pages))} for each in papers],
            "return_url": f"{BACK}/ho-so/12",
        }  # fmt: skip
        answer = self.portal.post("/api/v1/signature-requests", json=body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        return Asked(self, made["id"], [each["url"] for each in made["signing"]])

    def copy(self, certifier: str, clerk: str, kind: str = "Giấy khai sinh", pages: int = 2) -> str:
        """A paper of the counter's, sent by the portal; the copy's id, as soon as it waits for its official."""
        who = self.officials
        body = {
            "agency": "H1", "kind": kind, "original_number": "45/2001", "requester": "Phạm Thị Ổn", "fee": 4000,
            "certifier": who[certifier].id, "clerk": who[clerk].id,
            "files": [self.send(sheet(n, pages)) for n in range(1, pages + 1)],
            "scan": {"officer": who[certifier].id, "device": "Máy quét quầy 2", "scanned_at": SystemClock().now().isoformat()},
        }  # fmt: skip
        answer = self.portal.post("/api/v1/copies", json=body)
        assert answer.status_code in {201, 202}, answer.text
        copy_id = answer.json()["id"]
        until = time.monotonic() + 60
        while self.portal.get(f"/api/v1/copies/{copy_id}?wait=5").json()["state"] != "awaiting_certifier":
            assert time.monotonic() < until
        return copy_id


@dataclass(frozen=True)
class Asked:
    """A request as its portal knows it."""

    town: TownHere
    id: str
    links: list[str]

    @property
    def path(self) -> str:
        return f"/api/v1/signature-requests/{self.id}"

    def seen(self, wait: int = 0) -> dict:
        """As it stands; with ``wait`` as soon as it is settled."""
        answer = self.town.portal.get(f"{self.path}?wait={wait}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def settled(self) -> dict:
        """Long polls until nothing more happens."""
        until = time.monotonic() + 60
        while (found := self.seen(20))["state"] == "open":
            assert time.monotonic() < until, found
        return found

    def file(self, n: int = 1) -> bytes:
        """What was signed."""
        answer = self.town.portal.get(f"{self.path}/documents/{n}/file")
        assert answer.status_code == 200, answer.text
        return answer.content

    def told(self) -> list[str]:
        """The events about it, in their order."""
        found = self.town.portal.get("/api/v1/events?limit=200").json()["items"]
        return [each["type"] for each in found if each["data"].get("request_id") == self.id]


def signer(who: Somebody, order: int = 0, place: dict | None = None, kind: str = "citizen") -> dict:
    """One signature that is wanted."""
    return {"person": who.as_signer, "order": order, "kind": kind, "placement": place or {"kind": "none"}}


def _number(row: int) -> str:
    return f"0010850{row:05d}"
