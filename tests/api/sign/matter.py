"""A signing door over a real database with real entries and approvals; only the paper on the table is a small one."""

import contextlib
import datetime as dt
import hashlib
import io
import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import httpx2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256
from PIL import Image, ImageDraw

from api.sign.app import make_sign_app
from api.sign.shown import Described, File, Paper, Seal, Shown, Signer, Standing
from api.signing import relying_party
from core.db import Database
from core.directory.model import Role
from core.directory.records import Directory
from core.errors import Conflict, NotFound, Refused
from core.settings import Settings
from core.values import Realm, Regime
from signer import links
from signer.activation import redeem
from signer.credentials import Credentials
from signer.enrolment.people import People
from tests.flows.authenticator import Authenticator, text

TITLE = "Đơn đề nghị <b>cấp lại</b> sổ đỏ"


@dataclass
class Table:
    """A matter in memory: its own state, one real activation."""

    service: object
    rp: object
    person: str
    state: str = "ready"
    why: str = ""
    papers: tuple = (Paper(id="d1", title=TITLE, kind="pdf", pages=3),)
    tx: str | None = None
    asked: int = 0
    fails: set = field(default_factory=set)
    """Pages that cannot be drawn just now."""
    refusal: Exception | None = None
    """Raised where the paper is opened."""
    provider: str | None = None
    handed_over: bool = False
    decides: bool = False

    kind = "step"

    def __call__(self, service, link):
        return self

    async def describe(self):
        deadline = dt.datetime(2026, 12, 1, 10, 0, tzinfo=dt.UTC)
        return Described(
            kind="sign.kind.citizen", portal="Cổng dịch vụ công", agency="UBND xã Đường Lâm", deadline=deadline
        )

    async def show(self, person_id):
        if self.refusal:
            raise self.refusal
        if self.provider:
            return self._shown(None, None, None)
        async with self.service.db.write() as uow:
            if self.tx is None or (await redeem.status(uow, self.service.clock, self.tx)).state != "open":
                self.asked += 1
                opened = await redeem.open_activation(
                    uow, self.service.clock, person_id=self.person, credential_id="C", spki=b"spki", title=TITLE,
                    hashes=[hashlib.sha256(b"paper").digest()], pages=3, purpose="signer", realm=Realm.TRAINING,
                    client="Cổng", description="", ttl=600,
                )  # fmt: skip
                self.tx = opened.tx
            record = await redeem.record(uow, self.tx)
        self.state = "open"
        return self._shown(self.tx, record.challenge, record.code)

    def _shown(self, tx, challenge, code):
        now = self.service.clock.now()
        return Shown(
            title=TITLE, reason="Cấp lại giấy chứng nhận bị mất", portal="Cổng dịch vụ công",
            agency="UBND xã Đường Lâm", documents=self.papers, changed=1, decides=self.decides,
            earlier=(Signer(name="Nguyễn Văn An", signed_at=now),),
            signs_as=Seal(owner="Trần Thị Bưởi", issuer="Cơ quan cấp chứng thư nhúng", valid_to=now),
            consequences=("sign.then.yours", "sign.then.kept", "sign.then.told"), code=code, tx=tx,
            challenge=challenge, expires=now + dt.timedelta(minutes=10), provider=self.provider,
            handed_over=self.handed_over,
        )  # fmt: skip

    async def pages(self, person_id, document):
        return 3

    async def page(self, person_id, document, page, width):
        if page in self.fails:
            raise NotFound("web.no_such_thing")
        if page >= 3:
            raise NotFound("request.no_such_page")
        image = Image.new("RGB", (width, round(width * 1.414)), "white")
        draw = ImageDraw.Draw(image)
        for row in range(20):
            draw.rectangle((width // 10, 60 + row * width // 16, width * 9 // 10, 64 + row * width // 16), "gray")
        target = io.BytesIO()
        image.save(target, "WEBP", quality=50)
        return target.getvalue()

    async def text(self, person_id, document, page):
        return f"Trang {page + 1}: Kính gửi Ủy ban nhân dân" if page < 2 else ""

    async def approve(self, person_id, tx, assertion):
        if tx != self.tx or self.state != "open":
            raise Conflict("activation.not_open")
        async with self.service.db.write() as uow:
            await redeem.approve(uow, self.service.clock, self.rp, tx, assertion)
        self.state = "signed"

    async def start(self, person_id):
        if not self.provider:
            raise Refused("request.no_provider")
        self.handed_over, self.state = True, "open"

    async def refuse(self, person_id, reason):
        self.state, self.why = "refused", reason

    async def status(self, person_id, seconds):
        files = (("d1", TITLE),) if self.state == "signed" else ()
        return Standing(
            state=self.state, why=self.why, return_url="https://cong.example/xong?id=1", files=files
        )  # fmt: skip

    async def file(self, person_id, document):
        if self.state != "signed":
            raise Conflict("sign.no_file")
        return File(data=b"%PDF-1.7 signed", media_type="application/pdf", name="1-d1.pdf")


class Hand(Authenticator):
    """An authenticator that can lie: each part of what it signs can be given."""

    def craft(self, options, rp, *, flags=0x05, count=0, rp_id=None, **client):
        said = {"type": "webauthn.get", "challenge": options["challenge"], "origin": rp.origin, "crossOrigin": False}
        data = hashlib.sha256((rp_id or rp.rp_id).encode()).digest() + bytes([flags]) + count.to_bytes(4)
        written = json.dumps(said | client).encode()
        signature = self.key.sign(data + hashlib.sha256(written).digest(), ec.ECDSA(hashes.SHA256()))
        return {
            "id": text(self.credential_id), "rawId": text(self.credential_id), "type": "public-key",
            "response": {"clientDataJSON": text(written), "authenticatorData": text(data), "signature": text(signature)},
        }  # fmt: skip

    async def enrol(self, service, person_id):
        async with service.db.write() as uow:
            return await redeem.enrol_passkey(
                uow, service.clock, person_id=person_id, realm=service.realm, credential_id=self.credential_id,
                public_key=cbor.encode(dict(ES256.from_cryptography_key(self.key.public_key()))), kind="platform",
            )  # fmt: skip


@dataclass
class Door:
    """What a test holds."""

    service: object
    app: object
    rp: object
    table: Table
    person: str
    stranger: str
    hand: Hand

    async def link(self, person=None, kind="step", hours=24):
        """A fresh token."""
        clock = self.service.clock
        async with self.service.db.write() as uow:
            return await links.make_link(
                uow, clock, kind=kind, subject=["s1"], person_id=person or self.person,
                expires_at=clock.now() + dt.timedelta(hours=hours),
            )  # fmt: skip

    def phone(self):
        """A client whose POSTs come from our own page."""
        transport = httpx2.ASGITransport(self.app, client=("192.0.2.7", 4000))
        return httpx2.AsyncClient(transport=transport, base_url=self.rp.origin, headers={"origin": self.rp.origin})


@contextlib.asynccontextmanager
async def opened(path, clock, realm=Realm.TRAINING, **settings):
    """A door with two people, one passkey, one matter."""
    made = Settings(home=path, **settings)
    rp = relying_party(made)
    async with Database(f"sqlite+aiosqlite:///{path / 'dauso.db'}") as db:
        await db.create_all()
        directory = Directory(clock)
        async with db.write() as uow:
            agency = await directory.add_agency(uow, realm=realm, code="H1", name="UBND xã", parent="P")
            persons = [await directory.add_person(uow, agency, name) for name in ("Bưởi", "Khế")]
            await directory.authorise(  # a clerk: the passkey is all there is to have
                uow, persons[0], Role.CLERK, capacity="", number="1/QĐ", dated=clock.now(), valid_from=clock.now(),
                valid_to=None, scope=frozenset(Regime),
            )  # fmt: skip
        people = [each.id for each in persons]
        known = People(clock=clock, directory=directory, credentials=Credentials(clock), key=b"k" * 32)
        parts = SimpleNamespace(phones=None, people=known)  # enrolment has tests of its own
        service = SimpleNamespace(
            settings=made, clock=clock, db=db, realm=realm, directory=directory, parts=lambda: parts
        )
        table = Table(service=service, rp=rp, person=people[0])
        door = Door(
            service=service, app=make_sign_app(service, {"step": table}), rp=rp, table=table, person=people[0],
            stranger=people[1], hand=Hand(),
        )  # fmt: skip
        await door.hand.enrol(service, door.person)
        yield door
