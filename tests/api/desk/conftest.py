"""A town outside training with its signer at work, and people with browsers and log-in passkeys in front of the desk."""

import asyncio
import dataclasses
import datetime as dt
import json

import httpx2
import pytest
import pytest_asyncio
from fido2.cose import ES256
from fido2.utils import sha256
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

from api.bootstrap import open_service
from api.desk.records import challenge_table, passkey_table, session_table
from api.roles import ProcessRole
from api.web.pace import Pace
from core.clock import SystemClock
from core.directory.model import Role
from core.values import Realm, Regime
from signer.enrolment import tickets
from signer.enrolment.desk_stops import desk_stop_table
from tests.conftest import BentClock
from tests.flows import house, town
from tests.flows.authenticator import Authenticator, text

ORIGIN = "http://localhost"
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
JSON = {"accept": "application/json"}
PAGE = {"accept": "text/html"}


class LoginKey(Authenticator):
    """A log-in passkey in software."""

    def create(self, options: dict, origin: str, *, flags: int = 0x45, kind: str = "webauthn.create") -> dict:
        """``navigator.credentials.create``: RegistrationResponseJSON."""
        key = ES256.from_cryptography_key(self.key.public_key())
        credential = AttestedCredentialData.create(Aaguid.NONE, self.credential_id, key)
        data = AuthenticatorData.create(sha256(options["rp"]["id"].encode()), flags, 0, credential)
        client = CollectedClientData.create(kind, options["challenge"], origin)
        attested = bytes(AttestationObject.create("none", data, {}))
        response = {"clientDataJSON": text(bytes(client)), "attestationObject": text(attested)}
        return {"rawId": text(self.credential_id), "response": response}


class Browser:
    """One browser of a person: its own cookies, its own name."""

    def __init__(self, app, agent: str = CHROME) -> None:
        transport = httpx2.ASGITransport(app, client=("192.0.2.7", 4000))
        self.http = httpx2.AsyncClient(transport=transport, base_url=ORIGIN, timeout=60, headers={"user-agent": agent})

    async def get(self, path: str, **headers):
        return await self.http.get(path, headers={**PAGE, **headers})

    async def post(self, path: str, data=None, *, origin: str | None = ORIGIN, files=None, **headers):
        """As a form of a page of ours does."""
        named = {} if origin is None else {"origin": origin}
        return await self.http.post(path, data=data, files=files, headers={**PAGE, **named, **headers})

    async def ask(self, path: str, given=None, *, origin: str | None = ORIGIN):
        """As the page's script does."""
        named = {} if origin is None else {"origin": origin}
        return await self.http.post(path, json=given, headers={**JSON, **named})

    async def log_in(self, key: LoginKey, path: str = "/desk/login", **how):
        asked = (await self.ask(f"{path}/options")).json()
        credential = key.get(asked["publicKey"], how.pop("signed_for", ORIGIN), **how)
        return await self.ask(path, {"tx": asked["tx"], "credential": credential})

    async def register(self, key: LoginKey, ticket: str | None = None, **how):
        given = {} if ticket is None else {"ticket": ticket}
        asked = await self.ask("/desk/register/options", given)
        if asked.status_code != 200:
            return asked
        made = key.create(asked.json()["publicKey"], how.pop("signed_for", ORIGIN), **how)
        return await self.ask("/desk/register", {"tx": asked.json()["tx"], "credential": made, **given})


async def _town(folder):
    settings = await town.build(folder, realm=Realm.PRODUCTION)
    settings = settings.model_copy(update={"web_url": ORIGIN})
    async with open_service(settings, ProcessRole.SIGNER) as service:
        await service.enrolment.agency(code="H2", name="UBND xã Láng Giềng", parent="UBND tỉnh Ví Dụ")
        now = service.clock.now()
        for name, role in (("Trần Văn Khác", Role.CERTIFIER), ("Ngô Thị Kế", Role.CLERK)):
            await service.enrolment.person(
                agency="H2", name=name, role=role, number="2/QĐ", capacity="CHỦ TỊCH", dated=now,
                valid_to=now + dt.timedelta(days=9), scope=frozenset(Regime),
            )  # fmt: skip
    return settings


@pytest.fixture(scope="session")
def desk_home(tmp_path_factory):
    """Made once; tests add to it."""
    return asyncio.run(_town(tmp_path_factory.mktemp("desk")))


class Desk:
    """The open house, with a gate of its own for each test: nobody is slowed down by another test's log-ins."""

    def __init__(self, parts, signer, clock) -> None:
        from api.web.app import make_app

        self.parts = dataclasses.replace(parts, pace=Pace(clock))
        self.signer, self.clock, self.app = signer, clock, make_app(self.parts)

    async def newcomer(self, *roles: str, code: str = "H1") -> str:
        """Somebody whom no other test knows, for what would disturb them."""
        now, person = self.clock.now(), None
        async with self.signer.db.write() as uow:
            directory = self.signer.directory
            agency = await directory.agency(uow, code)
            person = await directory.add_person(uow, agency, "Đào Thị Khách")
            for role in roles:
                await directory.authorise(
                    uow, person, Role(role), capacity="TUQ. CHỦ TỊCH", number="9/QĐ", dated=now, valid_from=now,
                    valid_to=now + dt.timedelta(days=9), scope=frozenset(Regime),
                )  # fmt: skip
        return person.id

    async def end_roles(self, person_id: str, *roles: str) -> None:
        """Their terms end now."""
        async with self.signer.db.write() as uow:
            for person, rights in await self.signer.directory.people(uow):
                for right in rights:
                    if person.id == person_id and (right.role in roles or not roles):
                        await self.signer.directory.end_authorisation(uow, right.id, self.clock.now())

    async def enter(self, person_id: str, agent: str = CHROME) -> tuple[Browser, LoginKey]:
        """A browser of that person, signed in by a ticket."""
        browser, key = Browser(self.app, agent), LoginKey()
        answer = await browser.register(key, await self.ticket(person_id))
        assert answer.status_code == 200, answer.text
        return browser, key

    async def person(self, role: str, code: str = "H1") -> str:
        async with self.signer.db.read() as uow:
            agency = await self.signer.directory.agency(uow, code)
            for person, rights in await self.signer.directory.people(uow, agency.id):
                if any(right.role == role for right in rights):
                    return person.id
        raise AssertionError

    async def ticket(self, person_id: str) -> str:
        async with self.signer.db.write() as uow:
            return await tickets.make(uow, self.clock, person_id)

    async def signed_in(self, role: str, code: str = "H1", agent: str = CHROME) -> tuple[Browser, LoginKey]:
        """A browser of the person with this role, signed in by a ticket."""
        return await self.enter(await self.person(role, code), agent)

    async def signing_key(self, role: str, code: str = "H1") -> Authenticator:
        hand = Authenticator()
        await hand.enrol(self.signer, await self.person(role, code))
        return hand

    async def paper(self, browser: Browser, **change):
        """From the counter; returns the answer of the form."""
        from api.desk.inbox import CHECKS

        page = (await browser.get("/desk/new")).text
        given = {
            "id": page.split('name="id" value="')[1][:26], "kind": "Giấy khai sinh", "original_number": "45/2001",
            "requester": "Phạm Thị Ổn", "pages": "2", "copies": "1", "fee": "4000", "notes": "", "device": "Máy quét quầy 2",
            "check": list(CHECKS), **change,
        }  # fmt: skip
        files = given.pop("files", [("file", (f"{n}.jpg", town.scan(str(n)), "image/jpeg")) for n in (1, 2)])
        return await browser.post("/desk/new", given, files=files)

    async def copy(self, browser: Browser, **change) -> str:
        """Id of a copy that waits for its official."""
        answer = await self.paper(browser, **change)
        assert answer.status_code == 303, answer.text
        copy_id = answer.headers["location"].rsplit("/", 1)[1]
        await self.parts.signer.rest(copy_id, 20)
        return copy_id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_house(desk_home):
    """Opened once for the tests of a file, which run in one loop: ``pytestmark = pytest.mark.asyncio(loop_scope="module")``."""
    clock = BentClock(SystemClock().now())
    async with house.signer_here(desk_home, clock) as signer, house.web_here(desk_home, clock) as (parts, _):
        yield parts, signer, clock


@pytest_asyncio.fixture(loop_scope="module")
async def desk(open_house):
    """The open house as each test finds it: nobody signed in, the clock right; tests move it."""
    parts, signer, clock = open_house
    clock.at = SystemClock().now()
    async with signer.db.write() as uow:
        for table in (challenge_table, session_table, passkey_table, desk_stop_table):  # so many passkeys and no more
            await uow.execute(table.delete())
    yield Desk(parts, signer, clock)
    clock.at = SystemClock().now()


def said(answer) -> str:
    """The code of a refusal."""
    return json.loads(answer.text)["code"]
