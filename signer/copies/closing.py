"""Closing a book (Decree 23/2015 art. 13(1)): totals, then the book as PDF under the agency's seal.

1 *close* totals and the digest of all lines, in one transaction; no line can be added or changed afterwards.
2 *prepare* the PDF with an empty field, its digest to be approved by the clerk, the order: one transaction.
3 *seal* the ceremony *sign*, then validation data (B-LT). A crash anywhere: run it again, it goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.db import UnitOfWork
from core.directory.model import Agency, Role
from core.directory.records import Directory
from core.errors import Broken, Refused
from core.jobs import Note
from core.values import Digest, Regime
from signer.activation import redeem
from signer.asking import Approver, ensure_approved, open_question
from signer.ceremony import SigningDesk, profile_of, sign
from signer.copies import export
from signer.copies.desk import SelfCheck
from signer.copies.pictures import Pictures
from signer.copies.register import Book, Register, book_table, lines_sha256
from signer.copies.wording import Wording
from signer.credentials import Credential
from signer.formats import dss, pades
from signer.keystores.model import KeyPurpose
from signer.orders import SigningOrder

__all__ = ["BookDesk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BookDesk:
    """What closing works with."""

    signing: SigningDesk
    directory: Directory
    register: Register
    pictures: Pictures
    checks: SelfCheck
    approver: Approver | None
    client: str

    async def close(self, book_id: str, clerk_id: str, note: Note) -> Book:
        """The closed book with its sealed document; repeating it is harmless.

        Raises ``register.still_reserved``, ``register.awaiting_clerk`` outside realm training, and what *sign* raises.
        """
        # 1 close
        async with self.signing.db.write() as uow:
            book = await self.register.book(uow, book_id)
            agency = await self.directory.agency(uow, book.agency_id)
            await self._require_clerk(uow, agency, clerk_id)
            if book.closed_at is None:
                book = await self.register.close_book(uow, book_id)
        note("close")
        if book.closing_document is not None:
            return book
        # 2 prepare
        if book.closing_order is None:
            book = await self._prepare(book, agency, clerk_id)
        note("prepare")
        # 3 seal
        assert book.closing_order is not None
        sealed = await self._seal(book, agency, clerk_id, book.closing_order, note)
        async with self.signing.db.write() as uow:
            await uow.execute(
                book_table.update()
                .where(book_table.c.id == book.id, book_table.c.closing_document.is_(None))
                .values(closing_document=sealed)
            )
            return await self.register.book(uow, book.id)

    async def _require_clerk(self, uow: UnitOfWork, agency: Agency, clerk_id: str) -> None:
        await self.directory.authorisation(uow, clerk_id, agency.id, Role.CLERK, Regime.CERTIFIED_COPY)

    async def _prepare(self, book: Book, agency: Agency, clerk_id: str) -> Book:
        desk = self.signing
        async with desk.db.read() as uow:
            lines = await self.register.entries(uow, book.id)
            credential = await desk.credentials.of(uow, agency.id, KeyPurpose.SEAL)
            clerk = await self.directory.person(uow, clerk_id)
        credential.require_valid(desk.clock.now())
        if lines_sha256(lines) != (book.totals or {}).get("lines_sha256"):
            raise Broken("register.lines_changed", book=book.id)
        prepared = pades.prepare(
            export.as_pdf(agency, book, lines), field=export.BOOK, profile=profile_of(credential),
            signed_at=desk.clock.now(), signer_name=agency.name, reason="Khóa sổ chứng thực",
            appearance=await self.pictures.of("seal", agency, clerk),
            timestamp_size=desk.timestamps.size,
        )  # fmt: skip
        document = await desk.documents.put(prepared.document)
        async with desk.db.write() as uow:
            opened = await self._ask(uow, book, agency, clerk_id, credential, [prepared.to_sign])
            order = await desk.orders.place(
                uow, realm=agency.realm, role="seal", credential=credential, person_id=clerk_id,
                activation_tx=opened.tx, prepared=prepared, document=document,
            )  # fmt: skip
            t = book_table.c
            done = await uow.execute(
                book_table.update().where(t.id == book.id, t.closing_order.is_(None)).values(closing_order=order)
            )
            if done.rowcount != 1:
                raise Refused("register.book_closed", book=book.id)
            return await self.register.book(uow, book.id)

    async def _ask(
        self, uow: UnitOfWork, book: Book, agency: Agency, clerk_id: str, credential: Credential,
        digests: Sequence[Digest],
    ) -> redeem.Opened:  # fmt: skip
        title = f"Sổ chứng thực {Wording.of(agency.wording).book_text(book.volume, book.year, book.kind)}"
        entries = int((book.totals or {}).get("entries", 0))
        return await open_question(
            self.signing, uow, credential=credential, digests=digests, person_id=clerk_id, role="seal", title=title,
            pages=export.page_count(entries, closed=True), client=self.client, description=agency.name,
        )  # fmt: skip

    async def _seal(self, book: Book, agency: Agency, clerk_id: str, order_id: str, note: Note) -> str:
        desk = self.signing

        async def ask(uow: UnitOfWork, credential: Credential, digests: Sequence[Digest]) -> redeem.Opened:
            return await self._ask(uow, book, agency, clerk_id, credential, digests)

        async def approve(orders: Sequence[SigningOrder]) -> Sequence[SigningOrder]:
            waiting = Refused("register.awaiting_clerk", book=book.id)
            return await ensure_approved(desk, self.approver, orders, ask, waiting)

        async def guard(uow: UnitOfWork, _orders: Sequence[SigningOrder]) -> None:
            await self._require_clerk(uow, agency, clerk_id)

        async def settle(_uow: UnitOfWork, _names: Mapping[str, str]) -> None:
            """The order alone says that the seal is made; the book gets the document with its validation data."""

        (name,) = await sign([order_id], desk, approve=approve, guard=guard, settle=settle, note=note)
        async with desk.db.read() as uow:
            order = await desk.orders.get(uow, order_id)
            credential = await desk.credentials.get(uow, order.credential_id)
        assert credential.certificate is not None
        chain, ocsps, crls = await self.checks.evidence([credential.certificate])
        final = dss.append(await desk.documents.get(name), certificates=chain, ocsps=ocsps, crls=crls)
        await self.checks.require_sound(final, agency)
        await desk.log.sequence()
        return await desk.documents.put(final)
