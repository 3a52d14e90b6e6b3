"""The register of time-stamp tokens: written with the use of the key, and compared with the book both ways."""

import datetime as dt
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from api.signing import Records, make_enrolment
from audit.log import LogReader
from ca_bridge.records import token_table
from ca_bridge.timestamp.authority import EmbeddedTimestampAuthority
from core.db import Database
from core.errors import Refused, Unavailable
from core.limits import LIMITS
from core.settings import Settings
from core.values import Digest, Realm
from signer.credentials import Credential
from signer.keystores.counterparts import Counterparts
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, StoredKey
from signer.keystores.uses import BookedKey, BookedStore, UseBook, use_table
from tests.conftest import BentClock

HOUR = dt.timedelta(hours=1)


@dataclass
class Stamping:
    """A house with an authority whose tokens are registered."""

    db: Database
    clock: BentClock
    book: UseBook
    key: BookedKey
    credential: Credential

    def authority(self, clock=None, key=None, **change):
        """``change``: what the register is told instead."""

        def register(token):
            return self.book.beside(token.signed, token_table, token.row() | change)

        assert self.credential.certificate is not None
        return EmbeddedTimestampAuthority(
            key=key or self.key, certificate=self.credential.certificate, chain=(), clock=clock or self.clock,
            register=register,
        )  # fmt: skip

    async def rows(self, table):
        async with self.db.read() as uow:
            return (await uow.execute(sa.select(table))).all()

    async def look(self):
        await self.book._flush()
        side = Counterparts(self.db, self.clock, LogReader(db=self.db, origin=""))
        found = await side.compare(self.clock.now() - HOUR, self.clock.now() + HOUR)
        return [(f.code, f.what.split(" ")[0] if f.key is None else f.key.name) for f in found]


@pytest.fixture
async def stamping(db, clock, tmp_path):
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
        async with db.read() as uow:
            tsa = await parts.credentials.of(uow, "tsa", KeyPurpose.TSA)
        yield Stamping(db, clock, book, open_key(tsa, "tsa"), tsa)


async def test_each_token_stands_in_the_register_with_its_use(stamping):
    tsa = stamping.authority()
    for n in range(3):
        await tsa.stamp(Digest.of(bytes([n])))
        stamping.clock.move(seconds=1)
    assert await stamping.look() == []
    tokens = await stamping.rows(token_table)
    assert len(tokens) == len({t.serial for t in tokens}) == 3
    assert {bytes(t.signed) for t in tokens} == {
        bytes(u.input) for u in await stamping.rows(use_table) if u.event == "tsa"
    }


async def test_a_token_costs_no_transaction_of_its_own(stamping, monkeypatch):
    written, write = [], stamping.db.write

    def counted():
        written.append(1)
        return write()

    await stamping.book._flush()
    monkeypatch.setattr(stamping.db, "write", counted)
    tsa = stamping.authority()
    for n in range(20):
        await tsa.stamp(Digest.of(bytes([n])))
    await stamping.book._flush()
    assert len(written) == 1
    assert len(await stamping.rows(token_table)) == 20


async def test_a_use_without_a_token_is_told(stamping):
    await stamping.authority().stamp(Digest.of(b"a"))
    await stamping.key.sign(Digest.of(b"something else"))
    assert await stamping.look() == [("keyuse.no_counterpart", stamping.key.ref.name)]


async def test_a_token_without_a_use_is_told(stamping):
    await stamping.authority().stamp(Digest.of(b"a"))
    row = {"signed": b"s" * 32, "serial": "1" * 30, "at": stamping.clock.now(), "info": b"i"}
    async with stamping.db.write() as uow:
        await uow.execute(token_table.insert(), row)
    assert await stamping.look() == [("keyuse.made_without_use", "token")]


@pytest.mark.parametrize("seconds", [-600, 600])
async def test_a_token_with_another_time_than_its_uses_is_told(stamping, seconds):
    await stamping.authority().stamp(Digest.of(b"a"))
    other = BentClock(stamping.clock.now() + dt.timedelta(seconds=seconds))
    await stamping.authority(other).stamp(Digest.of(b"b"))
    assert [code for code, _ in await stamping.look()] == ["keyuse.no_counterpart"]


async def test_a_register_that_says_another_time_serial_or_thing_than_was_signed_is_told(stamping):
    await stamping.authority().stamp(Digest.of(b"a"))
    await stamping.book._flush()
    (first,) = await stamping.rows(token_table)
    late = stamping.clock.now() + dt.timedelta(seconds=7)
    for change in ({"info": bytes(first.info)}, {"serial": "0" * 30}, {"at": late}):
        await stamping.authority(**change).stamp(Digest.of(b"b"))
    assert [code for code, _ in await stamping.look()] == ["keyuse.no_counterpart"] * 3


async def test_a_key_that_was_not_touched_leaves_neither(stamping):
    class Stopped:
        algorithm, spki = stamping.key.algorithm, stamping.key.spki

        async def sign(self, to_sign):
            raise Refused("key.stopped", key="k")

    with pytest.raises(Refused, match=r"key\.stopped"):
        await stamping.authority(key=Stopped()).stamp(Digest.of(b"a"))
    assert await stamping.look() == []
    assert await stamping.rows(token_table) == []
    assert stamping.book._beside == {}


async def test_a_register_that_cannot_be_written_ends_time_stamps(stamping, monkeypatch):
    await stamping.book._flush()
    monkeypatch.setitem(LIMITS, "keyuse.hold_seconds", 0)
    tsa = stamping.authority()
    await tsa.stamp(Digest.of(b"a"))
    with pytest.raises(Unavailable, match=r"keyuse\.not_written"):
        await tsa.stamp(Digest.of(b"b"))


async def test_time_stamps_from_before_the_register_are_not_asked_for(stamping):
    await stamping.key.sign(Digest.of(b"old"))
    assert await stamping.look() == []
    stamping.clock.move(seconds=5)
    await stamping.authority().stamp(Digest.of(b"a"))
    assert await stamping.look() == []


async def test_many_are_read_in_pieces(stamping, monkeypatch):
    from signer.keystores import booked, made_tokens

    monkeypatch.setattr(booked, "_PAGE", booked._PAGE.limit(2))
    monkeypatch.setattr(booked, "_PIECE", 2)
    monkeypatch.setattr(made_tokens, "_PAGE", made_tokens._PAGE.limit(2))
    monkeypatch.setattr(made_tokens, "_PIECE", 2)
    tsa = stamping.authority()
    for n in range(7):  # most of them in one moment
        await tsa.stamp(Digest.of(bytes([n])))
        stamping.clock.move(milliseconds=n // 5)
    assert await stamping.look() == []
    await stamping.key.sign(Digest.of(b"something else"))
    assert len(await stamping.look()) == 1
