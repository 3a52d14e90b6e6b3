"""The use book against what service keys made: so the book alone is not trusted.

* Checkpoints of the log: each stored one has its use; each use signed the root that the log really has at that size.
* Certificates: each one in the register has its use; each use of a CA key signed a certificate that stands there, a revocation
  list that has a number, or the proof with which the key began.
* Time-stamps and QR seals: each use signed what its register holds, and back (``made_tokens``, ``made_seals``).
* Public lists: the newest of each name has its use. Older ones are not kept, and status answers and reports not stored.
"""

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from asn1crypto import cms
from cryptography import x509

from audit.keyuse.model import Finding
from audit.log import LogReader
from audit.records import checkpoint_table, state_table
from ca_bridge.records import certificate_table, crl_table
from core.clock import Clock
from core.db import Database
from core.errors import Broken
from core.formats import cose
from core.formats.note import checkpoint_text
from signer.copies.publication import publication_table
from signer.keystores.booked import NEAR, Book, without_result, without_use
from signer.keystores.made_seals import MadeSeals
from signer.keystores.made_tokens import MadeTokens
from signer.keystores.model import KeyPurpose
from signer.keystores.records import key_table

__all__ = ["Counterparts"]

_c, _n, _p = certificate_table.c, checkpoint_table.c, publication_table.c
_LIST_BYTES = 1 << 22


class Counterparts:
    """Compares inside a span of time."""

    def __init__(self, db: Database, clock: Clock, log: LogReader) -> None:
        self._db, self._log, self._book = db, log, Book(db)
        self._tokens, self._seals = MadeTokens(db, self._book), MadeSeals(db, clock, self._book)
        self._lists: dict[str, int] = {}
        """Revocation lists signed so far, by key."""

    def dump(self) -> dict[str, str]:
        """For the next run."""
        return {f"crl:{key}": str(count) for key, count in self._lists.items()}

    def load(self, memory: dict[str, str]) -> None:
        """As ``dump`` gave it."""
        self._lists = {k.removeprefix("crl:"): int(v) for k, v in memory.items() if k.startswith("crl:")}

    async def compare(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        """Raises ``ValueError`` where something of ours cannot be read."""
        began = await self._book.began()
        if began is None:  # a home whose signer never kept a book
            return []
        made_after = max(after, began)
        return [
            *await self._checkpoints(made_after, until),
            *await self._log_uses(after, until),
            *await self._certificates(made_after, until),
            *await self._ca_uses(after, until),
            *await self._published(made_after, until),
            *await self._tokens.compare(after, made_after, until),
            *await self._seals.compare(after, made_after, until),
        ]

    async def stored(self, value: bytes, at: dt.datetime) -> bool:
        """Whether something with this input is stored: a checkpoint's text, a certificate, a list, a QR seal."""
        if value.count(b"\n") == 3:
            async with self._db.read() as uow:
                found = sa.select(_n.size).where(_n.note.startswith(value.decode("utf-8", "replace"), autoescape=True))
                return (await uow.execute(found.limit(1))).first() is not None
        if any(value in _digests(der) for _, der in await self._issued(at - NEAR, at + NEAR)):
            return True
        if any(value == digest for _, digest in await self._lists_of(at - NEAR, at + NEAR)):
            return True
        return await self._seals.stored(value, at)

    # the log

    async def _checkpoints(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        query = sa.select(_n.size, _n.note, _n.created_at).where(_n.created_at > after, _n.created_at <= until)
        async with self._db.read() as uow:
            rows = (await uow.execute(query)).all()
        texts = {row.note[: row.note.rfind("\n\n") + 1].encode(): row for row in rows}
        missing = texts.keys() - await self._book.holds(list(texts), after, until)
        return [without_use(f"checkpoint {texts[text].size}", texts[text].created_at) for text in missing]

    async def _log_uses(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        async with self._db.read() as uow:
            origin = (await uow.execute(sa.select(state_table.c.origin))).scalar_one_or_none() or ""
        return [
            without_result(use)
            async for uses in self._book.pages(KeyPurpose.LOG, after, until)
            for use in uses
            if not await self._is_root(bytes(use.input), origin)
        ]

    async def _is_root(self, text: bytes, origin: str) -> bool:
        lines = text.split(b"\n")
        if len(lines) != 4 or not lines[1].isdigit():
            return False
        size = int(lines[1])
        try:
            root = await self._log.root_at(size)
        except Broken:  # the log never was so long
            return False
        return text == checkpoint_text(origin, size, root).encode()

    # certificates

    async def _issued(self, after: dt.datetime, until: dt.datetime) -> list[tuple[str, bytes]]:
        query = sa.select(_c.serial, _c.der).where(_c.ordered_at >= after, _c.ordered_at <= until, _c.der.is_not(None))
        async with self._db.read() as uow:
            return [(row.serial, bytes(row.der)) for row in await uow.execute(query)]

    async def _certificates(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        found = []
        for serial, der in await self._issued(after, until):
            if not await self._book.holds(_digests(der), after, until):
                found.append(without_use(f"certificate {serial}", until))
        return found

    async def _ca_uses(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        uses = [use async for page in self._book.pages(KeyPurpose.CA, after, until) for use in page]
        if not uses:
            return []
        issued = {d for _, der in await self._issued(after - NEAR, until + NEAR) for d in _digests(der)}
        others = await self._book.unproven(
            [use for use in uses if use.event != "crl" and bytes(use.input) not in issued]
        )  # fmt: skip
        async with self._db.read() as uow:
            query = sa.select(_c.ordered_at).where(_c.status == "ordered", _c.ordered_at >= after - NEAR)
            ordered = (await uow.execute(query)).scalars().all()
        unfinished = list(ordered)
        found = []
        for use in others:
            at = next((each for each in unfinished if dt.timedelta() <= use.at - each <= NEAR), None)
            if at is not None:
                unfinished.remove(at)  # a crash between the signature and its record: the order is there
            else:
                found.append(without_result(use))
        return [*found, *await self._revocation_lists([use for use in uses if use.event == "crl"])]

    async def _revocation_lists(self, uses: Sequence[Any]) -> list[Finding]:
        """No more of them than numbers were given."""
        if not uses:
            return []
        for use in uses:
            self._lists[use.name] = self._lists.get(use.name, 0) + 1
        k = key_table.c
        async with self._db.read() as uow:
            keys = (await uow.execute(sa.select(k.name, k.owner).where(k.purpose == KeyPurpose.CA.value))).all()
            numbers = {r.issuer: r.last for r in await uow.execute(sa.select(crl_table.c.issuer, crl_table.c.last))}
        found, owners = [], {row.name: row.owner for row in keys}
        for name in {use.name for use in uses}:
            owner = owners.get(name, "")
            # one authority, one count: a key that moved has two names
            signed = sum(count for other, count in self._lists.items() if owners.get(other, "") == owner)
            if signed > numbers.get(owner, 0):
                found.append(without_result(next(use for use in reversed(uses) if use.name == name)))
        return found

    # lists

    async def _lists_of(self, after: dt.datetime, until: dt.datetime) -> list[tuple[str, bytes]]:
        query = sa.select(_p.name, _p.body, _p.signature).where(_p.issued_at >= after, _p.issued_at <= until)
        async with self._db.read() as uow:
            rows = (await uow.execute(query)).all()
        return [(row.name, _signed_digest(bytes(row.body), bytes(row.signature))) for row in rows]

    async def _published(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        lists = await self._lists_of(after, until)
        booked = await self._book.holds([digest for _, digest in lists], after, until)
        return [without_use(f"list {name}", until) for name, digest in lists if digest not in booked]


def _digests(der: bytes) -> list[bytes]:
    """What a CA's key was given for this certificate."""
    tbs = x509.load_der_x509_certificate(der).tbs_certificate_bytes
    return [hashlib.sha256(tbs).digest(), hashlib.sha384(tbs).digest()]


def _signed_digest(body: bytes, signature: bytes) -> bytes:
    """What the key of a list was given: of a COSE_Sign1, or of a detached CMS's signed attributes."""
    if not signature:
        return hashlib.sha256(cose.parse(body, _LIST_BYTES).signed).digest()
    signer = cms.ContentInfo.load(signature)["content"]["signer_infos"][0]
    attributes = signer["signed_attrs"].untag().dump()
    return hashlib.new(signer["digest_algorithm"]["algorithm"].native, attributes).digest()
