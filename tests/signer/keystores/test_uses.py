"""The use book: what it holds is there before the key is touched, or a crash is proven."""

import asyncio
import datetime as dt
import json
import multiprocessing
import os
import time

import pytest
import sqlalchemy as sa

from core import logs
from core.clock import SystemClock
from core.db import Database
from core.errors import BadInput, Unavailable
from core.limits import LIMITS
from core.signing import is_proof
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose, StoredKey
from signer.keystores.proof import prove_public
from signer.keystores.uses import BookedKey, BookedStore, UseBook, use_life_table, use_table

P256 = SignatureAlgorithm.ECDSA_P256_SHA256


def digest(text="a"):
    return Digest.of(str(text).encode())


@pytest.fixture
async def ref():
    return await MemoryKeyStore().create("qr-1", KeyPurpose.QR, P256)


@pytest.fixture
def book(db, tmp_path):
    return UseBook(db=db, clock=SystemClock(), folder=tmp_path / "executors")


async def rows(db, table=use_table):
    async with db.read() as uow:
        return (await uow.execute(sa.select(table).order_by(table.c.id))).all()


async def test_uses_are_written_together_a_moment_later(db, book, ref, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.flush_ms", 30)
    async with book:
        for n in range(5):
            await book.note(ref, digest(n), f"e{n}")
        assert await rows(db) == []
        await asyncio.sleep(0.3)
        written = await rows(db)
        await book.note(ref, digest("later"), "e")
        await asyncio.sleep(0.3)
        assert len(await rows(db)) == 6
    assert sorted(r.event for r in written) == [f"e{n}" for n in range(5)]
    first = next(r for r in written if r.event == "e0")
    assert (bytes(first.input), first.name, first.version, first.purpose) == (digest(0).value, "qr-1", 1, "qr")


async def test_a_full_book_is_written_before_the_next_key_is_touched(db, book, ref):
    most = LIMITS["keyuse.most"]
    async with book:
        for n in range(most):
            await book.note(ref, digest(n), "e")
        assert await rows(db) == []
        await book.note(ref, digest("next"), "e")
        assert len(await rows(db)) == most
        await asyncio.gather(*(book.note(ref, digest((n, "at once")), "e") for n in range(4 * most)))
        assert len(book._rows) <= most
    assert len(await rows(db)) == 5 * most + 1


async def test_what_waits_is_written_when_the_book_is_closed(db, book, ref):
    async with book:
        await book.note(ref, digest(), "e")
    assert len(await rows(db)) == 1
    (life,) = await rows(db, use_life_table)
    assert (life.after, life.ended_at is not None) == (None, True)


async def test_a_proof_is_durable_before_the_key_is_touched(db, book):
    class Watched(MemoryKeyStore):
        seen = ()

        async def sign(self, ref, to_sign, **more):
            Watched.seen = await rows(db)
            return await super().sign(ref, to_sign, **more)

    async with book:
        store = BookedStore(Watched(), book)
        ref = await store.create("seal-1", KeyPurpose.SEAL, P256)
        await store.sign(ref, digest(), purpose=KeyPurpose.SEAL, event_id="enrolment")
        assert [(bytes(r.input), r.event) for r in Watched.seen] == [(digest().value, "enrolment")]
        results = await store.sign_batch(ref, [digest(1), digest(2)], purpose=KeyPurpose.SEAL, event_id="start")
        assert [isinstance(r, bytes) for r in results] == [True, True]
        assert await store.public_key(ref) == ref.spki
        assert (store.name, store.not_for_production, (await store.health()).state) == ("memory", True, "open")
        await store.disable(ref)
        await store.destroy(ref)
    assert len(await rows(db)) == 3


async def test_a_booked_key_signs_and_its_message_is_kept_whole(db, book):
    store = MemoryKeyStore()
    ref = await store.create("log-1", KeyPurpose.LOG, SignatureAlgorithm.ED25519)
    async with book:
        key = BookedKey(key=StoredKey(store, ref, KeyPurpose.LOG, "log"), ref=ref, event_id="log", book=book)
        assert (key.spki, key.algorithm) == (ref.spki, SignatureAlgorithm.ED25519)
        assert len(await key.sign(Message(b"a checkpoint"))) == 64
        with pytest.raises(BadInput, match=r"keyuse\.too_long"):
            await key.sign(Message(b"x" * 5_000))
    assert [bytes(r.input) for r in await rows(db)] == [b"a checkpoint"]


async def test_keys_are_not_used_when_the_book_cannot_be_written_for_long(db, book, ref, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.flush_ms", 20)
    monkeypatch.setitem(LIMITS, "keyuse.hold_seconds", 0)
    async with book:
        right = db.write

        def broken():
            raise Unavailable("database.unavailable")

        monkeypatch.setattr(db, "write", broken)
        await book.note(ref, digest(1), "e1")
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable, match=r"keyuse\.not_written"):
            await book.note(ref, digest(2), "e2")
        monkeypatch.setattr(db, "write", right)
        await asyncio.sleep(0.1)
        assert [r.event for r in await rows(db)] == ["e1"]
        await book.note(ref, digest(3), "e3")
    assert [r.event for r in await rows(db)] == ["e1", "e3"]


async def test_an_error_that_nobody_expected_is_told_by_its_kind_and_place(db, book, ref, monkeypatch, capsys):
    monkeypatch.setitem(LIMITS, "keyuse.flush_ms", 5)
    logs.configure("warning")
    right = db.write

    def broken():
        raise RuntimeError("cannot schedule new futures after shutdown")

    async with book:
        monkeypatch.setattr(db, "write", broken)
        await book.note(ref, digest(), "e")
        await asyncio.sleep(0.1)
        monkeypatch.setattr(db, "write", right)
    line = json.loads(capsys.readouterr().err.splitlines()[0])
    assert (line["event"], line["code"], line["count"]) == ("keyuse.not_written", "RuntimeError", 1)
    assert line["step"].startswith("test_uses.py:")
    assert "futures" not in str(line)
    assert len(await rows(db)) == 1


async def test_a_proof_stands_in_the_book_with_the_challenge_that_was_signed(db, book):
    store = MemoryKeyStore()
    seal = await store.create("seal-1", KeyPurpose.SEAL, P256)
    async with book:
        await prove_public(StoredKey(BookedStore(store, book), seal, KeyPurpose.SEAL, "startup"), seal.spki)
        await book.write(seal, digest(), "other")
    first, second = await rows(db)
    assert is_proof(bytes(first.input), bytes(first.said))
    assert second.said is None


async def test_a_full_book_that_cannot_be_written_stops_the_caller(db, book, ref, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.most", 2)
    async with book:
        right = db.write
        monkeypatch.setattr(db, "write", lambda: (_ for _ in ()).throw(Unavailable("database.unavailable")))
        await book.note(ref, digest(1), "e")
        await book.note(ref, digest(2), "e")
        for _ in range(2):
            with pytest.raises(Unavailable):
                await book.note(ref, digest(3), "e")
        monkeypatch.setattr(db, "write", right)


async def test_a_caller_that_is_called_off_while_the_book_is_written_does_no_harm(db, book, ref, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.most", 3)
    async with book:
        for round_ in range(20):
            callers = [asyncio.create_task(book.note(ref, digest((round_, n)), "e")) for n in range(3)]
            for _ in range(round_):
                await asyncio.sleep(0)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        await book.note(ref, digest("last"), "last")
    written = await rows(db)
    assert "last" in {r.event for r in written}
    assert len({r.id for r in written}) == len(written)
    assert len({bytes(r.input) for r in written}) == len(written)


async def test_a_book_is_closed_while_it_is_being_written(db, ref, tmp_path, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.flush_ms", 1)
    for pause in (0, 0.001, 0.002, 0.003, 0.005):
        async with UseBook(db=db, clock=SystemClock(), folder=tmp_path / "executors") as book:
            for n in range(4):
                await book.note(ref, digest((pause, n)), "e")
                await asyncio.sleep(pause)
    assert len(await rows(db)) == 20
    assert all(life.ended_at for life in await rows(db, use_life_table))


async def test_a_book_that_is_not_open_lets_no_key_be_used(book, ref):
    with pytest.raises(Unavailable, match=r"keyuse\.not_written"):
        await book.note(ref, digest(), "e")
    with pytest.raises(Unavailable, match=r"keyuse\.not_written"):
        await book.write(ref, digest(), "e")


async def test_two_processes_have_two_slots_and_neither_proves_the_others_end(db, book, tmp_path):
    async with book, UseBook(db=db, clock=SystemClock(), folder=tmp_path / "executors"):
        lives = await rows(db, use_life_table)
    assert sorted(life.slot for life in lives) == ["local.0", "local.1"]
    assert [life.after for life in lives] == [None, None]


def _dies(url, folder):
    async def work():
        db = Database(url)
        book = UseBook(db=db, clock=SystemClock(), folder=folder)
        await book.open()
        ref = await MemoryKeyStore().create("qr-1", KeyPurpose.QR, P256)
        await book.note(ref, digest(), "lost")
        os._exit(9)

    asyncio.run(work())


async def test_a_killed_process_is_proven_by_the_next_one_in_its_slot(laid_url, db, book, tmp_path):
    child = multiprocessing.get_context("spawn").Process(target=_dies, args=(laid_url, tmp_path / "executors"))
    child.start()
    until = time.monotonic() + 60
    while child.is_alive() and time.monotonic() < until:
        await asyncio.sleep(0.05)
    child.join()
    assert child.exitcode == 9
    async with book:
        dead, alive = sorted(await rows(db, use_life_table), key=lambda life: life.began_at)
        assert (dead.ended_at, alive.after) == (None, dead.id)
    async with UseBook(db=db, clock=SystemClock(), folder=tmp_path / "executors"):
        third = max(await rows(db, use_life_table), key=lambda life: life.began_at)
        assert third.after is None
    assert await rows(db) == []


async def test_the_book_is_never_changed(db, book, ref):
    async with book:
        await book.write(ref, digest(), "e")
    for statement in (
        sa.delete(use_table), sa.update(use_table).values(event="other"), sa.delete(use_life_table),
        sa.update(use_life_table).values(ended_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
    ):  # fmt: skip
        with pytest.raises(Exception, match="append-only"):
            async with db.write() as uow:
                await uow.execute(statement)


async def test_no_more_processes_than_slots(db, book, monkeypatch):
    monkeypatch.setattr("signer.keystores.uses._SLOTS", 0)
    with pytest.raises(Unavailable, match=r"keyuse\.no_slot"):
        await book.open()
