"""The use book is compared with what service keys made, so that the book alone is not trusted."""

import datetime as dt
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from api.signing import Records, make_enrolment
from audit.events import Leaf, LeafType
from audit.highwater import MemoryHighWater
from audit.log import Log, LogReader
from audit.records import checkpoint_table
from ca_bridge.records import certificate_table, crl_table
from core.db import Database
from core.formats import status_list
from core.formats.note import checkpoint_text
from core.ids import new_id
from core.settings import Settings
from core.values import Digest, Message, Realm, SignatureAlgorithm
from signer.copies.publication import Publisher, publication_table
from signer.credentials import Credentials
from signer.enrolment import Enrolment
from signer.keystores.counterparts import Counterparts
from signer.keystores.memory import MemoryKeyStore, raw_sign
from signer.keystores.model import KeyPurpose, StoredKey
from signer.keystores.uses import BookedKey, BookedStore, UseBook


@pytest.fixture
async def booked_log(db, clock, tmp_path):
    """(log, its booked key, book)."""
    store = MemoryKeyStore()
    ref = await store.create("log-1", KeyPurpose.LOG, SignatureAlgorithm.ED25519)
    async with UseBook(db=db, clock=clock, folder=tmp_path / "executors") as book:
        key = BookedKey(key=StoredKey(store, ref, KeyPurpose.LOG, "log"), ref=ref, event_id="log", book=book)
        yield Log(db=db, origin="o", key=key, clock=clock, highwater=MemoryHighWater()), key, book


async def grow(log, db, clock, count=1):
    for _ in range(count):
        leaf = Leaf(
            type=LeafType.COPY_RELEASED, time=clock.now(), tenant_id="t", event_id=new_id(clock), doc_commit=b"c",
            digest_alg="sha256",
        )  # fmt: skip
        async with db.write() as uow:
            await log.append(uow, leaf)
        await log.sequence()


async def compared(db, clock, book=None):
    if book is not None:
        await book._flush()
    found = await Counterparts(db, clock, LogReader(db=db, origin="")).compare(
        clock.now() - dt.timedelta(hours=1), clock.now() + dt.timedelta(hours=1)
    )
    return [(f.code, f.what.split(" ")[0]) for f in found]


async def test_each_checkpoint_has_its_use_and_each_use_its_root(db, clock, booked_log):
    log, _, book = booked_log
    clock.move(seconds=1)  # the book's life began before
    await log.open()
    await grow(log, db, clock, 5)
    assert await compared(db, clock, book) == []


async def test_a_checkpoint_that_was_never_stored_is_explained_by_its_root_alone(db, clock, booked_log):
    log, key, book = booked_log
    await log.open()
    await grow(log, db, clock, 3)
    await key.sign(Message(checkpoint_text("o", 2, await log.root_at(2)).encode()))
    assert await compared(db, clock, book) == []
    for text in (
        checkpoint_text("o", 2, b"\1" * 32), checkpoint_text("other", 2, await log.root_at(2)),
        checkpoint_text("o", 99, b"\1" * 32), "no checkpoint",
    ):  # fmt: skip
        await key.sign(Message(text.encode()))
    assert [code for code, _ in await compared(db, clock, book)] == ["keyuse.no_counterpart"] * 4


async def test_a_checkpoint_without_use_is_told(db, clock, booked_log):
    log, _, book = booked_log
    clock.move(seconds=1)
    await log.open()
    await grow(log, db, clock)
    async with db.write() as uow:
        row = {"log_id": 2, "size": 7, "root": b"r", "note": "o\n7\nAA==\n\n— o x\n", "created_at": clock.now()}
        await uow.execute(checkpoint_table.insert(), row)
    assert await compared(db, clock, book) == [("keyuse.made_without_use", "checkpoint")]


async def test_what_was_made_before_there_was_a_book_is_not_asked_for(db, clock, tmp_path):
    async with db.write() as uow:
        row = {"log_id": 1, "size": 7, "root": b"r", "note": "o\n7\nAA==\n\n— o x\n", "created_at": clock.now()}
        await uow.execute(checkpoint_table.insert(), row)
    assert await compared(db, clock) == []
    clock.move(minutes=1)
    async with UseBook(db=db, clock=clock, folder=tmp_path / "executors"):
        assert await compared(db, clock) == []


# certificates and lists: a house whose every key is booked


@dataclass
class House:
    db: Database
    clock: object
    book: UseBook
    enrolment: Enrolment
    publisher: Publisher
    credentials: Credentials

    async def note(self, *values, event="e"):
        """Uses of the issuing CA's key that nobody else made."""
        async with self.db.read() as uow:
            issuing = await self.credentials.of(uow, "issuing", KeyPurpose.CA)
        for value in values:
            await self.book.write(issuing.key, Digest.of(value), event)

    async def look(self):
        return await compared(self.db, self.clock, self.book)


@pytest.fixture
async def house(db, clock, tmp_path):
    store, parts = MemoryKeyStore(), Records(clock)
    async with UseBook(db=db, clock=clock, folder=tmp_path / "executors") as book:
        clock.move(seconds=1)

        def open_key(credential, event_id):
            key = StoredKey(store, credential.key, credential.purpose, event_id)
            return BookedKey(key=key, ref=credential.key, event_id=event_id, book=book)

        enrolment = make_enrolment(
            Settings(home=tmp_path), Realm.TRAINING, clock, db, parts, BookedStore(store, book), open_key
        )
        await enrolment.service_keys()
        await enrolment.agency(code="H1", name="UBND", parent="UBND")
        publisher = Publisher(
            db=db, clock=clock, directory=parts.directory, credentials=parts.credentials, open_key=open_key
        )
        await publisher.keys()
        yield House(db, clock, book, enrolment, publisher, parts.credentials)


async def test_all_that_enrolment_and_publication_make_has_its_use(house):
    assert await house.look() == []


async def test_a_certificate_without_use_is_told(house):
    async with house.db.write() as uow:
        der = (await uow.execute(sa.select(certificate_table.c.der).limit(1))).scalar_one()
        foreign = bytes(der).replace(b"UBND", b"UBNX").replace(b"training.local", b"training.lokal")
        changed = bytearray(foreign)
        changed[60] ^= 1  # inside of what is signed: another serial
        row = {"serial": "a" * 40, "realm": "training", "issuer": "i", "profile": "seal", "status": "good",
               "der": bytes(changed), "ordered_at": house.clock.now()}  # fmt: skip
        await uow.execute(certificate_table.insert(), row)
    assert await house.look() == [("keyuse.made_without_use", "certificate")]


async def test_a_certificate_that_the_register_does_not_know_is_told(house):
    await house.note(b"a certificate for somebody else", event="order-1")
    ((code, _),) = await house.look()
    assert code == "keyuse.no_counterpart"


async def test_a_proof_is_no_excuse_later(house):
    await house.note(b"a proof", event="enrolment")
    assert await house.look() == []
    house.clock.move(minutes=11)
    await house.note(b"no proof any more", event="enrolment")
    assert [code for code, _ in await house.look()] == ["keyuse.no_counterpart"]


async def test_an_order_whose_certificate_a_crash_took_explains_one_use(house):
    async with house.db.write() as uow:
        row = {"serial": "f" * 40, "realm": "training", "issuer": "i", "profile": "seal", "status": "ordered",
               "ordered_at": house.clock.now()}  # fmt: skip
        await uow.execute(certificate_table.insert(), row)
    await house.note(b"1", b"2", event="x")
    assert [code for code, _ in await house.look()] == ["keyuse.no_counterpart"]


async def test_revocation_lists_are_no_more_than_their_numbers(house):
    async with house.db.write() as uow:
        await uow.execute(crl_table.insert(), {"issuer": "issuing", "last": 2})
    await house.note(b"crl 1", b"crl 2", event="crl")
    assert await house.look() == []
    await house.note(b"crl 3", event="crl")
    assert [code for code, _ in await house.look()] == ["keyuse.no_counterpart"]


async def test_revocation_lists_are_counted_over_runs(house):
    async with house.db.write() as uow:
        await uow.execute(crl_table.insert(), {"issuer": "issuing", "last": 2})
    await house.note(b"crl 1", b"crl 2", event="crl")
    await house.book._flush()
    side = Counterparts(house.db, house.clock, LogReader(db=house.db, origin=""))
    start, middle = house.clock.now() - dt.timedelta(hours=1), house.clock.now()
    assert [f for f in await side.compare(start, middle) if f.key] == []
    house.clock.move(minutes=1)
    await house.note(b"crl 3", event="crl")
    later = Counterparts(house.db, house.clock, LogReader(db=house.db, origin=""))
    later.load(side.dump())
    (found,) = await later.compare(middle, house.clock.now())
    assert found.code == "keyuse.no_counterpart"


class OtherKey:
    """A key that is not ours."""

    algorithm = SignatureAlgorithm.ECDSA_P256_SHA256

    async def sign(self, to_sign):
        return raw_sign(ec.generate_private_key(ec.SECP256R1()), self.algorithm, to_sign)


async def test_a_list_without_use_is_told(house):
    now = house.clock.now().replace(microsecond=0)
    forged = await status_list.write(status_list.StatusList("H9", 2026, 1, now, now, b""), OtherKey(), b"kid1")
    row = {"name": "forged", "sequence": 1, "body": forged, "signature": b"", "issued_at": now, "next_update": now}
    async with house.db.write() as uow:
        await uow.execute(publication_table.insert(), row)
    assert await house.look() == [("keyuse.made_without_use", "list")]


async def test_a_use_whose_result_is_stored_is_known(house, booked_log):
    log, _, _ = booked_log
    await log.open()
    await grow(log, house.db, house.clock)
    text = (await log.latest_checkpoint()).rpartition("\n\n")[0] + "\n"
    async with house.db.read() as uow:
        der = (await uow.execute(sa.select(certificate_table.c.der).limit(1))).scalar_one()
        listed = (await uow.execute(sa.select(publication_table))).first()
    tbs = x509.load_der_x509_certificate(bytes(der)).tbs_certificate_bytes
    side = Counterparts(house.db, house.clock, LogReader(db=house.db, origin=""))
    now = house.clock.now()
    assert listed is not None
    ((_, of_list),) = await side._lists_of(now - dt.timedelta(hours=1), now)
    for value in (text.encode(), Digest.of(tbs).value, of_list):
        assert await side.stored(value, now)
    for value in (b"o\n9\nAA==\n", b"x" * 32):
        assert not await side.stored(value, now)
