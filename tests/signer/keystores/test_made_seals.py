"""QR seals: each use of a QR key made the seal of the copy that it was for, and each seal has its use."""

import datetime as dt
from dataclasses import dataclass, replace

import pytest

from api.signing import Records, make_enrolment
from audit.log import LogReader
from core.db import Database
from core.directory.model import Agency, Role
from core.formats import qr_seal
from core.ids import new_id, random_bytes
from core.settings import Settings
from core.values import Digest, Realm, Regime
from signer.copies import store
from signer.copies.claims import claims_of
from signer.copies.publication import Publisher
from signer.copies.wording import Wording
from signer.credentials import Credential
from signer.enrolment import Enrolment
from signer.keystores.counterparts import Counterparts
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, StoredKey
from signer.keystores.uses import BookedKey, BookedStore, UseBook
from signer.records import copy_table
from tests.conftest import BentClock

HOUR = dt.timedelta(hours=1)


@dataclass
class Office:
    """An agency that numbers copies and seals them."""

    db: Database
    clock: BentClock
    book: UseBook
    parts: Records
    enrolment: Enrolment
    publisher: Publisher
    agency: Agency
    clerk: str
    open_key: object

    async def key(self) -> Credential:
        async with self.db.read() as uow:
            return await self.parts.credentials.of(uow, self.agency.id, KeyPurpose.QR)

    async def number(self):
        copy_id = new_id(self.clock)
        async with self.db.write() as uow:
            kind = Wording.of({}).book_kind
            entry = await self.parts.register.reserve(uow, self.agency, kind, {"requester": "Phạm Thị Ổn"})
            row = {
                "id": copy_id, "realm": "training", "agency_id": self.agency.id, "regime": Regime.SAO_Y, "entry_id": entry.id,
                "state": "numbered", "seal_id": random_bytes(10), "status_year": entry.year, "status_index": entry.number,
                "facts": {"kind": "Giấy khai sinh", "pages": 2, "original_number": "45/2001"}, "content": "ab" * 32,
                "content_length": 9, "clerk_id": self.clerk, "salt": random_bytes(32), "created_at": self.clock.now(),
            }  # fmt: skip
            await uow.execute(copy_table.insert(), row)
        return copy_id

    async def seal(self, copy_id, *, keep=True, event=None, **change):
        """As the printer does; ``change``: claims that are other than the copy's."""
        key = await self.key()
        async with self.db.read() as uow:
            copy = await store.get(uow, copy_id)
            entry = await self.parts.register.entry(uow, copy.entry_id)
            volume = (await self.parts.register.book(uow, entry.book_id)).volume
        claims = replace(claims_of(copy, entry, volume, self.clock.now()), **change)
        kid = Digest.of(key.key.spki).value[:4]
        made = await qr_seal.seal(claims, self.open_key(key, event or copy_id), kid)
        if keep:
            async with self.db.write() as uow:
                values = {"qr": qr_seal.url("h1.example", made), "printed_at": self.clock.now()}
                await uow.execute(copy_table.update().where(copy_table.c.id == copy_id).values(**values))
        return made

    async def look(self, since=HOUR):
        await self.book._flush()
        side = Counterparts(self.db, self.clock, LogReader(db=self.db, origin=""))
        found = await side.compare(self.clock.now() - since, self.clock.now() + HOUR)
        return [(f.code, f.what.split(" ")[0] if f.key is None else f.key.name) for f in found]


@pytest.fixture
async def office(db, clock, tmp_path):
    keys, parts = MemoryKeyStore(), Records(clock)
    async with UseBook(db=db, clock=clock, folder=tmp_path / "executors") as book:
        clock.move(seconds=1)

        def open_key(credential, event_id):
            key = StoredKey(keys, credential.key, credential.purpose, event_id)
            return BookedKey(key=key, ref=credential.key, event_id=event_id, book=book)

        enrolment = make_enrolment(
            Settings(home=tmp_path), Realm.TRAINING, clock, db, parts, BookedStore(keys, book), open_key
        )
        await enrolment.service_keys()
        agency = await enrolment.agency(code="H1", name="UBND", parent="UBND")
        clerk = await enrolment.person(
            agency="H1", name="A", role=Role.CLERK, number="1", capacity="c", dated=clock.now(), valid_to=None,
            scope=frozenset(Regime),
        )  # fmt: skip
        publisher = Publisher(
            db=db, clock=clock, directory=parts.directory, credentials=parts.credentials, open_key=open_key
        )
        yield Office(db, clock, book, parts, enrolment, publisher, agency, clerk.id, open_key)


async def test_seals_and_status_lists_have_their_uses_and_uses_their_seals(office):
    for _ in range(3):
        await office.seal(await office.number())
    await office.publisher.all()
    assert await office.look() == []


async def test_attempts_that_no_copy_carries_are_its_seal_all_the_same(office):
    copy = await office.number()
    await office.seal(copy, keep=False)
    assert await office.look() == []  # not composed yet
    office.clock.move(minutes=5)
    await office.enrolment.renew_qr_key("H1")  # between two attempts
    await office.seal(copy, keep=False)
    office.clock.move(seconds=9)
    await office.seal(copy)
    assert await office.look() == []


@pytest.mark.parametrize(
    "change",
    [{"content_sha256": b"x" * 32}, {"number": 99}, {"id": b"y" * 10}, {"pages": 3}, {"initials": "A"},
     {"issued_at": dt.datetime(2026, 11, 20, tzinfo=dt.UTC)}],
)  # fmt: skip
async def test_a_seal_over_anything_else_is_told(office, change):
    copy = await office.number()
    await office.seal(copy)
    await office.seal(copy, keep=False, **change)
    assert await office.look() == [("keyuse.no_counterpart", (await office.key()).key.name)]


async def test_a_seal_for_no_copy_is_told_whatever_it_calls_itself(office):
    copy = await office.number()
    await office.seal(copy)
    for event in ("enrolment", "qr-status-H1-2019", new_id(office.clock)):
        await office.seal(copy, keep=False, event=event)
    assert len(await office.look()) == 2  # a proof belongs to a key's first minutes
    office.clock.move(minutes=11)
    await office.seal(copy, keep=False, event="enrolment")
    assert len(await office.look()) == 3


async def test_a_stored_seal_without_a_use_is_told(office):
    copy = await office.number()
    await office.seal(copy)
    await office.book._flush()
    forged = await office.seal(copy, keep=False)  # as a copy of the key would, in another process
    office.book._rows.clear()
    url = qr_seal.url("h1.example", forged)
    async with office.db.write() as uow:
        await uow.execute(copy_table.update().where(copy_table.c.id == copy).values(qr=url))
    office.clock.move(seconds=1)
    assert await office.look() == []  # the same seal, made anew in the same second
    other = await office.seal(copy, keep=False)
    office.book._rows.clear()
    async with office.db.write() as uow:
        values = {"qr": qr_seal.url("h1.example", other), "printed_at": office.clock.now()}
        await uow.execute(copy_table.update().where(copy_table.c.id == copy).values(**values))
    assert await office.look() == [("keyuse.made_without_use", "seal")]


async def test_a_use_whose_seal_stands_on_a_copy_is_known_as_made(office):
    made = await office.seal(await office.number())
    from signer.keystores.made_seals import _sealed

    side = Counterparts(office.db, office.clock, LogReader(db=office.db, origin=""))
    assert await side.stored(_sealed(qr_seal.url("h1.example", made)), office.clock.now())
    assert not await side.stored(b"x" * 32, office.clock.now())
