"""Fills ``verification``'s ``CopyFacts`` from the register: how a check learns what the service knows of a copy."""

from core.certificates import Certificate
from core.clock import Clock
from core.db import Database, UnitOfWork
from core.directory.records import Directory
from core.formats import typed_code
from core.formats.key_list import KeyList
from signer.copies import store
from signer.copies.model import CertifiedCopy
from signer.copies.publication import seal_keys
from signer.copies.register import Register
from signer.copies.wording import Wording
from signer.credentials import Credentials
from signer.records import order_table
from verification.facts import CopyFacts, Recall

__all__ = ["RegisterFacts"]


class RegisterFacts:
    """Reads only; satisfies ``verification.facts.CopyRegister``."""

    def __init__(
        self, db: Database, clock: Clock, directory: Directory, register: Register, credentials: Credentials,
        log_vkey: str,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._db = db
        self._directory = directory
        self._register = register
        self._credentials = credentials
        self._log_vkey = log_vkey

    async def by_file(self, sha256: bytes, prefixes: list[bytes]) -> CopyFacts | None:
        """The copy whose released file has this digest, else the one whose revision 0 the file begins with."""
        async with self._db.read() as uow:
            found = await store.by_column(uow, "released", sha256.hex())
            for prefix in prefixes:
                if found is not None:
                    break
                found = await store.by_column(uow, "content", prefix.hex())
            return None if found is None else await self._facts(uow, found)

    async def seal_keys(self) -> KeyList:
        """Every QR key as it stands now."""
        async with self._db.read() as uow:
            return await seal_keys(uow, self._directory, self._credentials, self._clock)

    async def by_code(self, seal_id: bytes) -> CopyFacts | None:
        """The copy of a typed code or QR seal."""
        async with self._db.read() as uow:
            found = await store.by_column(uow, "seal_id", seal_id)
            return None if found is None else await self._facts(uow, found)

    async def _facts(self, uow: UnitOfWork, copy: CertifiedCopy) -> CopyFacts:
        agency = await self._directory.agency(uow, copy.agency_id)
        successor = await self._directory.agency(uow, agency.successor_id) if agency.successor_id else None
        entry = await self._register.entry(uow, copy.entry_id)
        book = await self._register.book(uow, entry.book_id)
        wording = Wording.of(agency.wording)
        number = f"{wording.number_text(entry.number)} {wording.book_text(book.volume, book.year, book.kind)}"
        return CopyFacts(
            copy_id=copy.id,
            realm=copy.realm,
            regime=copy.regime,
            agency_code=agency.code,
            agency_name=agency.name,
            agency_successor=None if successor is None else successor.name,
            number=number,
            typed_code=typed_code.write(copy.seal_id),
            seal_id=copy.seal_id,
            register_state=entry.state,
            released=copy.state == "released",
            content_sha256=bytes.fromhex(copy.content),
            content_length=copy.content_length,
            released_digests=() if copy.released is None else (bytes.fromhex(copy.released),),
            certifier_cert_sha256=await self._certificate(uow, copy.certifier_order),
            seal_cert_sha256=await self._certificate(uow, copy.seal_order) or b"",
            recalled=await self._recall(uow, copy),
            receipt=copy.receipt,
            leaf=copy.leaf,
            log_vkey=self._log_vkey,
            qr_claims={"number": entry.number, "year": entry.year, "volume": book.volume, "pages": copy.facts["pages"]},
        )

    async def _recall(self, uow: UnitOfWork, copy: CertifiedCopy) -> Recall | None:
        if copy.recalled_at is None:
            return None
        successor = None
        if copy.successor is not None:
            after = await store.get(uow, copy.successor)
            agency, entry = (
                await self._directory.agency(uow, after.agency_id),
                await self._register.entry(uow, after.entry_id),
            )
            successor = Wording.of(agency.wording).number_text(entry.number)
        return Recall(copy.recall_from or copy.recalled_at, copy.recall_reason or "", successor)

    async def _certificate(self, uow: UnitOfWork, order_id: str | None) -> bytes | None:
        if order_id is None:
            return None
        query = order_table.select().where(order_table.c.id == order_id)
        row = (await uow.execute(query)).one()
        credential = await self._credentials.get(uow, row.credential_id)
        assert credential.certificate is not None
        return Certificate.parse(credential.certificate).sha256
