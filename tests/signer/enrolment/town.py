"""A house that enrols: embedded CA, one agency, the simulated provider on a port of its own, phones in software."""

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httpx2
import uvicorn
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fido2 import cbor
from fido2.cose import ES256
from joserfc.jwk import ECKey, KeySet, RSAKey

from api.training.identity import SIMULATED, Simulated, TrainingIdentity
from audit.highwater import FileHighWater
from audit.log import Log
from core.directory.model import Role
from core.directory.records import Directory
from core.outbound import Outbound
from core.settings import Settings
from core.values import Realm, Regime
from signer.activation.passkeys import Assertion, RelyingParty
from signer.copies.register import Register
from signer.credentials import Credentials
from signer.enrolment import Enrolment
from signer.enrolment.model import consent_text
from signer.enrolment.wiring import make_phones
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, StoredKey

RP = RelyingParty("sign.localhost", "http://sign.localhost:8001")
BACK = f"{RP.origin}/e/back"
TAP, HUAN = SIMULATED[0], SIMULATED[1]


class Provider(TrainingIdentity):
    """The simulated provider; ``forge`` writes another ID token, ``document`` changes its metadata."""

    forge = None
    document: dict = {}

    def id_token(self, person, nonce, **change):
        made = super().id_token(person, nonce, **change)
        return made if self.forge is None else self.forge(self, person, nonce, made)

    async def _metadata(self, request):
        answer = await super()._metadata(request)
        return type(answer)({**json.loads(answer.body), **self.document})


@contextlib.asynccontextmanager
async def on_a_port(app):
    """An application behind a real port, in this loop."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False))
    server.capture_signals = contextlib.nullcontext
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


KEYS = KeySet([RSAKey.generate_key(2048), ECKey.generate_key("P-256")])


@contextlib.asynccontextmanager
async def provider_here(clock, **more):
    """A provider whose issuer is its own address."""

    class Later:
        app = None

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    later = Later()
    async with on_a_port(later) as port:
        made = Provider(
            issuer=f"http://localhost:{port}", clock=clock, redirect_uris=frozenset({BACK}), keys=KEYS, **more
        )
        later.app = made.app()
        yield made


class Phone:
    """An authenticator in software, for creation and use."""

    def __init__(self, kind=ES256) -> None:
        self.kind = kind
        self.key = ec.generate_private_key(ec.SECP256R1()) if kind is ES256 else rsa.generate_private_key(65537, 2048)
        self.credential_id = secrets.token_bytes(32)
        self.count = 0

    def create(
        self, challenge, *, origin=RP.origin, rp_id=RP.rp_id, flags=0x45, kind="webauthn.create", inside=None, **more
    ):
        """(credential id, client data, attestation object)."""
        client = json.dumps(
            {"type": kind, "challenge": _text(challenge), "origin": origin, "crossOrigin": False, **more}
        ).encode()
        credential_id = self.credential_id if inside is None else inside
        public = cbor.encode(dict(self.kind.from_cryptography_key(self.key.public_key())))
        data = (
            hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big") + bytes(16)
            + len(credential_id).to_bytes(2, "big") + credential_id + public
        )  # fmt: skip
        return self.credential_id, client, cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})

    def get(self, challenge, *, origin=RP.origin, flags=0x05):
        """An assertion."""
        client = json.dumps(
            {"type": "webauthn.get", "challenge": _text(challenge), "origin": origin, "crossOrigin": False}
        ).encode()
        data = hashlib.sha256(RP.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return Assertion(
            credential_id=self.credential_id, authenticator_data=data, client_data=client, signature=signature
        )


def _text(value: bytes) -> str:
    import base64

    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


@dataclass
class Letterbox:
    """Where letters arrive in these tests; the relay itself has tests of its own."""

    letters: list = field(default_factory=list)
    broken: Exception | None = None

    async def send(self, to, subject, text):
        if self.broken is not None:
            raise self.broken
        self.letters.append((to, subject, text))

    @property
    def code(self) -> str:
        return re.search(r"\b(\d{6})\b", self.letters[-1][2])[1]

    def objection(self) -> str:
        """The token of the newest notice's link."""
        return re.findall(r"/e/stop/([A-Za-z0-9_-]{32})", self.letters[-1][2])[0]


@dataclass
class Town:
    """Everything a test needs."""

    db: object
    clock: object
    phones: object
    provider: object
    agency: object
    credentials: object
    log: object
    house: object
    box: Letterbox

    async def citizen(self, who: Simulated = TAP) -> str:
        async with self.db.write() as uow:
            return await self.phones.people.expected(uow, self.agency, national_id=who.number, name=who.name)

    async def official(self, who: Simulated = HUAN, role: Role = Role.CERTIFIER) -> str:
        async with self.db.write() as uow:
            directory = self.phones.directory
            person = await directory.add_person(uow, self.agency, who.name)
            await directory.authorise(
                uow, person, role, capacity="TUQ. CHỦ TỊCH", number="1/QĐ", dated=self.clock.now(),
                valid_from=self.clock.now(), valid_to=None, scope=frozenset(Regime),
            )  # fmt: skip
        return person.id

    async def browse(self, url: str, who: Simulated | None) -> dict:
        """A person at the provider's page; returns what comes back in the address. None: *do not log in*."""
        async with httpx2.AsyncClient() as browser:
            page = await browser.get(url)
            assert page.status_code == 200, page.text
            assert "TẬP HUẤN" in page.text
            pending = re.search(r'name="pending" value="([^"]+)"', page.text)[1]
            picked = {"refuse": "1"} if who is None else {"number": who.number, "name": who.name}
            gone = await browser.post(url.partition("?")[0], data={"pending": pending, **picked})
        assert gone.status_code == 303, gone.text
        assert gone.headers["location"].startswith(f"{BACK}?")
        return {k: v[0] for k, v in parse_qs(urlsplit(gone.headers["location"]).query).items()}

    async def log_in(self, token: str | None, who: Simulated | None, **change):
        """From the link to a pass."""
        asked = await self.phones.ask_login(token)
        back = await self.browse(asked.url, who)
        back.pop("error", None)
        given = {"code": None, "iss": None, **back, "flow": asked.flow, **change}
        return await self.phones.answer_login(**given)

    async def agree(self, held: str) -> None:
        await self.phones.consent(held, hashlib.sha256(consent_text().encode()).digest())

    async def make(self, held: str, phone: Phone, **how):
        asked, _ = await self.phones.ask_registration(held)
        credential_id, client, attestation = phone.create(asked.value, **how)
        await self.phones.register(
            held, asked.tx, credential_id=credential_id, client_data=client, attestation=attestation
        )

    async def carry_on(self, held: str, phone: Phone | None = None):
        """From a pass to the end; returns (stage, phone)."""
        phone = phone or Phone()
        await self.agree(held)
        await self.make(held, phone)
        return await self.phones.finish(held), phone

    async def carry_on_from_consent(self, held: str, phone: Phone):
        await self.make(held, phone)
        return await self.phones.finish(held)

    async def enrolled(self, person_id: str, who: Simulated = TAP):
        """A person with a usable phone."""
        held = await self.log_in(await self.phones.invite(person_id), who)
        stage, phone = await self.carry_on(held)
        assert stage.state == "done", stage
        return phone

    async def standing(self, person_id: str):
        async with self.db.read() as uow:
            return await self.phones.people.enrolled(uow, person_id)


@contextlib.asynccontextmanager
async def town_in(db, clock, folder, realm=Realm.TRAINING, provider=None, **change):
    """``change``: settings."""
    store = MemoryKeyStore()
    directory, credentials = Directory(clock), Credentials(clock)

    def open_key(credential, event):
        return StoredKey(store, credential.key, credential.purpose, event)

    house = Enrolment(
        db=db, clock=clock, store=store, open_key=open_key, realm=realm, directory=directory,
        register=Register(clock), credentials=credentials, base_url="http://localhost", organisation="Dauso",
        keep_passkey=lambda *_: None,
    )  # fmt: skip
    await house.service_keys()
    agency = await house.agency(code="H1", name="UBND xã Đường Lâm", parent="UBND tỉnh Ví Dụ")
    async with db.read() as uow:
        key = open_key(await credentials.of(uow, "log", KeyPurpose.LOG), "log")
    log = Log(db=db, origin="localhost/log", key=key, clock=clock, highwater=FileHighWater(folder / "mark.json"))
    await log.open()
    settings = Settings(
        home=folder, identity_issuer="" if provider is None else provider.issuer, sign_url=RP.origin,
        outbound_private="" if provider is None else provider.issuer.removeprefix("http://"), **change,
    )  # fmt: skip
    outbound = Outbound(private=frozenset(settings.outbound_private.split(",")))
    phones = make_phones(
        settings, realm, clock, db, directory=directory, credentials=credentials, store=store, open_key=open_key, log=log,
        relying_party=RP, key=b"k" * 32, outbound=outbound,
    )  # fmt: skip
    box = Letterbox()
    object.__setattr__(phones.vouching, "messenger", box)
    object.__setattr__(phones.letters, "messenger", box)
    yield Town(db, clock, phones, provider, agency, credentials, log, house, box)
    await outbound.close()
