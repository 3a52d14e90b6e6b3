"""An agency with four administrators, each with a passkey of the signing origin; the desk that they decide at."""

import datetime as dt

import pytest

from api.clients.access import AgencyAccess
from audit.highwater import MemoryHighWater
from audit.log import Log
from core.directory.model import Role
from core.directory.records import Directory
from core.objects import Documents
from core.sandbox import Sandbox
from core.values import Realm, Regime
from signer.activation import redeem
from signer.activation.devices import passkeys_of, set_state
from signer.activation.passkeys import RelyingParty, SoftwarePasskey
from signer.copies.register import Register
from signer.credentials import Credentials
from signer.decisions.desk import Decisions
from signer.decisions.room import Room
from signer.enrolment.people import People
from tests.audit.test_log import Key

RP = RelyingParty("sign.localhost", "http://sign.localhost:8001")


class Phone:
    """All that a decision may do to a phone, and whose it will be."""

    def __init__(self, clock, directory):
        self.ended = []
        self.people = People(clock=clock, directory=directory, credentials=Credentials(clock), key=b"k" * 32)

    async def suspend(self, uow, person_id):
        for passkey in await passkeys_of(uow, person_id):
            if passkey.state == "active":
                await set_state(uow, passkey.id, "active", "suspended")

    async def end_official(self, uow, person_id):
        """Asked each time a role ends at once; whether it was the last one is the real desk's to judge."""
        self.ended.append(person_id)
        return 0


class Town:
    """Shorthands for tests."""

    def __init__(self, desk, agency):
        self.desk, self.db, self.clock, self.agency = desk, desk.db, desk.clock, agency
        self.directory = desk.room.directory
        self.keys, self.rights, self.numbers = {}, {}, iter(range(1204030001, 1204039999))

    async def person(self, name, *roles, days=300, passkey=True, number=True):
        async with self.db.write() as uow:
            person = await self.directory.add_person(uow, self.agency, name)
            for role in roles:
                now = self.clock.now()
                self.rights[person.id, role] = await self.directory.authorise(
                    uow, person, role, capacity="TUQ. CHỦ TỊCH", number="1/QĐ-UBND", dated=now, valid_from=now,
                    valid_to=now + dt.timedelta(days=days), scope=frozenset(Regime),
                )  # fmt: skip
            if number and Role.ADMINISTRATOR in roles:
                await self.desk.room.phones.people.know(uow, person.id, f"{next(self.numbers):012d}")
            if passkey:
                self.keys[person.id] = SoftwarePasskey.create(Realm.TRAINING)
                await self.enrol(uow, person.id, self.keys[person.id])
        return person.id

    async def enrol(self, uow, person_id, key):
        return await redeem.enrol_passkey(
            uow, self.clock, person_id=person_id, realm=Realm.TRAINING, credential_id=key.credential_id,
            public_key=key.public_key, kind="software",
        )  # fmt: skip

    async def propose(self, kind="book.open", payload=None, by=None):
        payload = {"kind": "SCTĐT/BS", "year": 2026} if payload is None else payload
        return await self.desk.propose(
            agency_id=self.agency.id, kind=kind, payload=payload, proposed_by=by or self.admins[0]
        )

    async def vote(self, decision, person, **craft):
        asked = await self.desk.question(decision, person)
        answer = self.keys[person].answer(asked.challenge, craft.pop("rp", RP), **craft)
        return await self.desk.approve(decision, person, asked.tx, answer)

    async def decide(self, kind, payload, *voters):
        decision = await self.propose(kind, payload)
        for person in voters or self.admins[:2]:
            standing = await self.vote(decision, person)
        return decision, standing

    async def end_now(self, person, role=Role.ADMINISTRATOR):
        async with self.db.write() as uow:
            await self.directory.end_authorisation(uow, self.rights[person, role].id, self.clock.now())

    async def words(self, decision, person=None):
        return dict((await self.desk.question(decision, person or self.admins[0])).words)

    async def events(self):
        await self.desk.log.sequence()
        return [entry for _, entry in await self.desk.log.entries(0, 1000)]


@pytest.fixture
async def town(db, clock, tmp_path):
    directory = Directory(clock)
    log = Log(db=db, origin="log.example/1", key=Key(), clock=clock, highwater=MemoryHighWater())
    await log.open()
    async with db.write() as uow:
        agency = await directory.add_agency(
            uow, realm=Realm.TRAINING, code="H1", name="UBND xã Mẫu", parent="UBND tỉnh Ví Dụ"
        )
    async with Sandbox(preload=["signer.copies.intake.work:warm", "signer.decisions.preview:warm"]) as sandbox:
        room = Room(
            clock=clock, directory=directory, register=Register(clock), documents=Documents.open("", tmp_path),
            sandbox=sandbox, clients=AgencyAccess(), phones=Phone(clock, directory), host="dauso.example", system="Dauso",
        )  # fmt: skip
        made = Town(Decisions(db=db, clock=clock, realm=Realm.TRAINING, log=log, relying_party=RP, room=room), agency)
        made.admins = [await made.person(f"Quản trị {n}", Role.ADMINISTRATOR) for n in range(4)]
        yield made
