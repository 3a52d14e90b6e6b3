"""The use book: what our side says of key uses that no signing order explains.

A signing order has its own durable intent in the log. All other uses are written here, so that each call in a key store's
audit file finds its cause (``docs/flows/audit-keys.md``):

* *Service keys* (log, QR, lists, time-stamps, OCSP, CA, reports) must not wait for a commit. A use is noted in memory before
  the key is touched, and rows are written together at the latest ``keyuse.flush_ms`` after the first of them; when
  ``keyuse.most`` wait, the next use waits until they are written. Where they cannot be written for ``keyuse.hold_seconds``, keys are not used any more.
* A register of what such a key made may have a row written with the use, in the same transaction (``UseBook.beside``): both
  stand or neither, and no signature waits for a commit of its own.
* *Keys of persons and seals* outside of an order (proofs at enrolment and at start-up) are written at once: the row is durable
  before the key is touched, so no crash ever explains a missing one.

A crash loses at most ``keyuse.most`` uses of service keys, all of one short moment. That it was a crash must be proven:
each process holds the lock of a slot and a row in ``key_use_life``. Whoever takes a slot whose last life did not end knows
that its process died, and its own row says so (``after``). Without such a row a call that nobody wrote down is a finding.

Example::

    book = UseBook(db=db, clock=clock, folder=home / "executors", executor="local")
    await book.open()
    key = BookedKey(key=StoredKey(…), ref=credential.key, event_id=event_id, book=book)   # a service key
    enrolment = make_enrolment(…, store=BookedStore(store, book), …)                       # proofs
    await book.close()
"""

import asyncio
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from core.clock import Clock
from core.db import Database, UtcDateTime, append_only, insert_new, metadata
from core.errors import BadInput, ServiceError, Unavailable
from core.ids import new_id
from core.limits import LIMITS
from core.logs import code_of, logger, place_of
from core.signing import SigningKey
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.model import Health, KeyPurpose, KeyRef, KeyStore

__all__ = ["BookedKey", "BookedStore", "UseBook", "use_life_table", "use_table"]

use_table = sa.Table(
    "key_use",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("life", sa.String(26), nullable=False),
    sa.Column("store", sa.String(16), nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("input", sa.LargeBinary, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("said", sa.LargeBinary),
    sa.Index("ix_key_use_at", "at", "id"),
)
append_only(use_table)
"""``input``: exactly what the key was given, the digest or (Ed25519) the message: a store's audit file shows a keyed hash of it.
``said``: the challenge that ``input`` is the digest of: a person's or seal key outside of an order signs nothing else."""

use_life_table = sa.Table(
    "key_use_life",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("slot", sa.Text, nullable=False),
    sa.Column("began_at", UtcDateTime, nullable=False),
    sa.Column("after", sa.String(26)),
    sa.Column("ended_at", UtcDateTime),
)
append_only(use_life_table, may_change=("ended_at",), from_null=True)
"""One process with a use book. ``after``: the life of the same slot that never ended: its process is dead."""

_l, _later = use_life_table.c, use_life_table.alias("later")
_DEAD = (
    sa.select(_l.id)
    .where(_l.slot == sa.bindparam("slot"), _l.ended_at.is_(None), ~sa.exists().where(_later.c.after == _l.id))
    .order_by(_l.id.desc())
    .limit(1)
)
_END = use_life_table.update().where(_l.id == sa.bindparam("life")).values(ended_at=sa.bindparam("at"))
_INSERT = use_table.insert()
_SLOTS = 64


_Noted = tuple[dict[str, Any], tuple[sa.Table, dict[str, Any]] | None]
"""A use, and the row of another register that goes with it."""


def _input(to_sign: Digest | Message) -> bytes:
    """Raises ``keyuse.too_long``: what could not be matched later is not signed."""
    if len(to_sign.value) > LIMITS["keyuse.input_bytes"]:
        raise BadInput("keyuse.too_long", most=LIMITS["keyuse.input_bytes"])
    return to_sign.value


class UseBook:
    """One a process. Uses are noted in the order in which keys are touched."""

    def __init__(self, *, db: Database, clock: Clock, folder: Path, executor: str = "local") -> None:
        """``folder``: of the slots' lock files, shared by the processes of this machine; ``executor``: this machine's name."""
        self._db, self._clock, self._folder, self._executor = db, clock, folder, executor
        self._life = ""
        self._held: int | None = None
        self._rows: list[_Noted] = []
        self._beside: dict[bytes, tuple[sa.Table, dict[str, Any]]] = {}
        self._since = 0.0
        self._writing = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Takes a slot and begins a life. Raises ``keyuse.no_slot``."""
        self._held, slot = self._take_slot()
        life = new_id(self._clock)
        async with self._db.write() as uow:
            dead = (await uow.execute(_DEAD, {"slot": slot})).scalar_one_or_none()
            row = {"id": life, "slot": slot, "began_at": self._clock.now(), "after": dead, "ended_at": None}
            await uow.execute(use_life_table.insert(), row)
        self._life = life

    def _take_slot(self) -> tuple[int, str]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(_SLOTS):
            held = os.open(self._folder / f"uses-{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(held)
            else:
                return held, f"{self._executor}.{number}"
        raise Unavailable("keyuse.no_slot")

    async def close(self) -> None:
        """What waits is written, and the life ends; without the one there is no other."""
        async with self._writing:  # nobody is writing now: what is called off is no more than a rest
            if self._later is not None:
                self._later.cancel()
        try:
            if self._life:
                await self._flush()
                async with self._db.write() as uow:
                    await uow.execute(_END, {"life": self._life, "at": self._clock.now()})
        finally:
            self._life = ""
            if self._held is not None:
                os.close(self._held)
                self._held = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def note(self, ref: KeyRef, to_sign: Digest | Message, event_id: str) -> None:
        """A service key is about to be touched. Raises ``keyuse.not_written``, ``keyuse.too_long``: then it must not be."""
        row = self._row(ref, to_sign, event_id)
        self._require_written()
        while len(self._rows) >= LIMITS["keyuse.most"]:  # no more than that may be lost
            await self._flush()
        if not self._rows:
            self._since = asyncio.get_running_loop().time()
        self._rows.append((row, self._beside.get(to_sign.value)))
        if self._later is None or self._later.done():
            self._later = asyncio.create_task(self._in_a_moment())

    @contextmanager
    def beside(self, to_sign: Digest | Message, table: sa.Table, row: dict[str, Any]) -> Iterator[None]:
        """``row`` of another register goes with the use that is noted for ``to_sign`` in this block; without one nowhere."""
        self._beside[to_sign.value] = table, row
        try:
            yield
        finally:
            del self._beside[to_sign.value]

    async def write(self, ref: KeyRef, to_sign: Digest | Message, event_id: str) -> None:
        """The same, durable when this returns."""
        row = self._row(ref, to_sign, event_id)
        async with self._db.write() as uow:
            await uow.execute(_INSERT, row)

    def _row(self, ref: KeyRef, to_sign: Digest | Message, event_id: str) -> dict[str, Any]:
        if not self._life:
            raise Unavailable("keyuse.not_written")
        return {
            "id": new_id(self._clock), "life": self._life, "store": ref.store, "place": ref.place, "name": ref.name,
            "version": ref.version, "purpose": ref.purpose.value, "input": _input(to_sign), "event": event_id,
            "at": self._clock.now(), "said": to_sign.said if isinstance(to_sign, Digest) else None,
        }  # fmt: skip

    def _require_written(self) -> None:
        if self._rows and asyncio.get_running_loop().time() - self._since > LIMITS["keyuse.hold_seconds"]:
            raise Unavailable("keyuse.not_written")

    async def _in_a_moment(self) -> None:
        while self._rows:
            await asyncio.sleep(LIMITS["keyuse.flush_ms"] / 1000)
            try:
                await self._flush()
            except Exception as error:  # noqa: BLE001 - kept, and tried again: ``note`` refuses meanwhile
                logger().warning("keyuse.not_written", code=code_of(error), step=place_of(error), count=len(self._rows))

    async def _flush(self) -> None:
        """To its end, even if the caller is called off meanwhile: half of it would be written twice."""
        await asyncio.shield(asyncio.ensure_future(self._write_all()))

    async def _write_all(self) -> None:
        async with self._writing:
            noted = list(self._rows)
            if not noted:
                return
            rows: dict[sa.Table, list[dict[str, Any]]] = {use_table: [use for use, _ in noted]}
            for table, row in (beside for _, beside in noted if beside is not None):
                rows.setdefault(table, []).append(row)
            async with self._db.write() as uow:
                for table, values in rows.items():  # a commit whose answer was lost is made again
                    await uow.execute(insert_new(uow, table), values)
            del self._rows[: len(noted)]
            self._since = asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedKey:
    """A service key's ``core.signing.SigningKey``: each use is noted first. Keys of persons and seals have orders instead."""

    key: SigningKey
    ref: KeyRef
    event_id: str
    book: UseBook

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """Pinned at creation."""
        return self.key.algorithm

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.key.spki

    async def sign(self, to_sign: Digest | Message) -> bytes:
        """Raises ``keyuse.not_written``, ``keyuse.too_long`` and what the key raises."""
        await self.book.note(self.ref, to_sign, self.event_id)
        return await self.key.sign(to_sign)


@dataclass(frozen=True, slots=True)
class BookedStore:
    """A ``KeyStore`` whose every use is durable in the book before the key is touched: for proofs, not for orders."""

    inner: KeyStore
    book: UseBook

    @property
    def name(self) -> str:
        """As references name it."""
        return self.inner.name

    @property
    def not_for_production(self) -> bool:
        """Said wherever it shows."""
        return self.inner.not_for_production

    async def create(self, name: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm) -> KeyRef:
        """A new key."""
        return await self.inner.create(name, purpose, algorithm)

    async def public_key(self, ref: KeyRef) -> bytes:
        """As the store has it now."""
        return await self.inner.public_key(ref)

    async def sign(self, ref: KeyRef, to_sign: Digest | Message, *, purpose: KeyPurpose, event_id: str) -> bytes:
        """Written down, then signed."""
        await self.book.write(ref, to_sign, event_id)
        return await self.inner.sign(ref, to_sign, purpose=purpose, event_id=event_id)

    async def sign_batch(
        self, ref: KeyRef, items: Sequence[Digest], *, purpose: KeyPurpose, event_id: str
    ) -> list[bytes | ServiceError]:
        """Written down, then signed."""
        for item in items:
            await self.book.write(ref, item, event_id)
        return await self.inner.sign_batch(ref, items, purpose=purpose, event_id=event_id)

    async def health(self) -> Health:
        """Asked now."""
        return await self.inner.health()

    async def disable(self, ref: KeyRef) -> None:
        """No use from now on."""
        await self.inner.disable(ref)

    async def destroy(self, ref: KeyRef) -> None:
        """Gone for good."""
        await self.inner.destroy(ref)
