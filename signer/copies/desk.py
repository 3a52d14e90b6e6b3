"""A certified copy is two signing ceremonies around a register entry; steps as in ``docs/flows/copy.md``.

``attest`` makes the row, its number and its leaf in one transaction. ``advance`` then takes the copy from state to
state until it rests: released, voided, or waiting for a person. Every step may be repeated after a crash: what it
made is named by its digest, and the state moves by compare-and-swap in the transaction that records the result.

1 intake (before the row exists) · 2 attest · 3 compose · 4 certify · 5 prepare the seal · 6 seal · 7 check and release
· 8 receipt
"""

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from audit.events import LeafType
from audit.outbox import EventType
from core.db import UnitOfWork
from core.directory.model import Agency, Role
from core.directory.records import Directory
from core.errors import BadInput, Conflict, Refused
from core.jobs import Note
from core.limits import LIMITS
from core.values import Regime
from signer.activation import redeem
from signer.asking import Approver
from signer.ceremony import SigningDesk, profile_of, sign
from signer.copies import store
from signer.copies.intake import Intake
from signer.copies.model import CertifiedCopy, CopyRequest
from signer.copies.numbering import Numbering
from signer.copies.pages import Printer
from signer.copies.pictures import Pictures
from signer.copies.questions import CopyQuestions
from signer.copies.register import Register
from signer.copies.wording import Wording, legal_date
from signer.formats import dss, pades
from signer.formats.typeface import typeface
from signer.keystores.model import KeyPurpose
from signer.orders import SigningOrder

__all__ = ["CopyDesk", "SelfCheck"]

Settle = Callable[[UnitOfWork], Awaitable[None]]


class SelfCheck(Protocol):
    """The full report on our own output before it is released, and the evidence that goes with it."""

    async def evidence(self, certificates: list[bytes]) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """(certificates, OCSP responses, CRLs) for B-LT, all DER."""

    async def require_sound(self, document: bytes, agency: Agency) -> None:
        """Raise ``copy.self_check`` unless every signature is TOTAL-PASSED and nothing else is in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyDesk:
    """Everything a copy needs on its way."""

    signing: SigningDesk
    directory: Directory
    register: Register
    printer: Printer
    pictures: Pictures
    checks: SelfCheck
    approver: Approver | None
    client: str
    """Named in the activation record: which door asked."""
    told: Callable[[CertifiedCopy], None] = lambda _: None
    """Hears of each copy whose public status has changed."""

    @property
    def questions(self) -> CopyQuestions:
        """What waits for people."""
        return CopyQuestions(signing=self.signing, directory=self.directory, approver=self.approver, client=self.client)

    @property
    def numbering(self) -> Numbering:
        """Lines in the books."""
        return Numbering(signing=self.signing, directory=self.directory, register=self.register)

    # 2 ------------------------------------------------------------------------------------------------ attest
    async def attest(
        self, intake: Intake, request: CopyRequest, *, copy_id: str | None = None, settle: Settle | None = None
    ) -> str:
        """Reserve the number and make the copy; returns its id. Raises ``copy.*``, ``directory.*``, ``register.*``.

        ``copy_id``: given where a request waits under that id; ``settle`` runs in the transaction that numbers it.
        """
        clock = self.signing.clock
        _require_regime(request, intake)
        content = await self.signing.documents.put(intake.document)
        facts = _facts(intake, request)
        typeface()  # once a process it takes a moment: not while everybody else waits to write
        async with self.signing.db.write() as uow:
            agency = await self.directory.agency(uow, request.agency_id)
            agency.require_active(clock.now())
            await self.questions.require_people(uow, agency, request.regime, request.certifier_id, request.clerk_id)
            await self._require_printable(uow, agency, request)
            kind = Wording.of(agency.wording).book_kind
            if settle is not None:
                await settle(uow)
            return await self.numbering.take(
                uow, agency, kind, {**request.columns(), "pages": intake.pages}, regime=request.regime, facts=facts,
                content=content, content_length=len(intake.document), certifier_id=request.certifier_id,
                clerk_id=request.clerk_id, copy_id=copy_id,
            )  # fmt: skip

    async def _require_printable(self, uow: UnitOfWork, agency: Agency, request: CopyRequest) -> None:
        """Every name that will stand on the page, before a number is taken. Raises ``compose.glyph_missing``."""
        names = [agency.name, agency.parent]
        if request.regime is Regime.CERTIFIED_COPY and request.certifier_id is not None:
            person = await self.directory.person(uow, request.certifier_id)
            right = await self.directory.authorisation(uow, person.id, agency.id, Role.CERTIFIER, request.regime)
            names += [person.name, right.capacity]
        for name in names:
            typeface().require(name)

    # ------------------------------------------------------------------------------------------------- advance
    async def advance(self, copy_id: str, note: Note) -> CertifiedCopy:
        """Take the copy as far as it goes without a person we cannot ask. Raises ``copy.awaiting_certifier``."""
        async with self.signing.db.read() as uow:
            copy = await store.get(uow, copy_id)
            agency = await self.directory.agency(uow, copy.agency_id)
        while True:
            match copy.state:
                case "numbered":
                    copy = await self._compose(copy, agency, note)
                case "awaiting_certifier":
                    copy = await self._sign_in_time(copy, agency, "certifier", note)
                case "certified":
                    copy = await self._prepare_seal(copy, agency, note)
                case "awaiting_seal":
                    copy = await self._sign_in_time(copy, agency, "seal", note)
                case "sealed":
                    copy = await self._release(copy, agency, note)
                case "released" if copy.receipt is None:
                    copy = await self._receipt(copy, note)
                case _:
                    return copy

    # 3 ----------------------------------------------------------------------------------------------- compose
    async def _compose(self, copy: CertifiedCopy, agency: Agency, note: Note) -> CertifiedCopy:
        printed = await self.printer.compose(copy, agency, self.signing.clock.now())
        composed = await self.signing.documents.put(printed.document)
        note("compose")
        role = "certifier" if copy.regime is Regime.CERTIFIED_COPY else "seal"
        state = "awaiting_certifier" if role == "certifier" else "awaiting_seal"
        moved = await self._prepare(
            copy, agency, role, printed.document, state,
            composed=composed, printed_at=printed.printed_at, qr=printed.url,
            access_sha256=printed.access_sha256,
        )  # fmt: skip
        note("prepare")
        return moved

    async def _prepare(
        self, copy: CertifiedCopy, agency: Agency, role: str, document: bytes, state: str, **values: Any
    ) -> CertifiedCopy:
        """Fix the bytes to be signed, open the activation over their digest, place the order, move the state."""
        desk = self.signing
        person_id = copy.certifier_id if role == "certifier" else copy.clerk_id
        assert person_id is not None
        purpose = KeyPurpose.DOCUMENT if role == "certifier" else KeyPurpose.SEAL
        async with desk.db.read() as uow:
            credential = await desk.credentials.of(uow, person_id if role == "certifier" else agency.id, purpose)
            person = await self.directory.person(uow, person_id)
        credential.require_valid(desk.clock.now())
        prepared = self.printer.prepare(
            document,
            role=role,
            profile=profile_of(credential),
            agency=agency,
            person=person,
            at=desk.clock.now(),
            timestamp_size=desk.timestamps.size,
            picture=await self.pictures.of(role, agency, person),
        )
        name = await desk.documents.put(prepared.document)
        async with desk.db.write() as uow:
            opened = await self.questions.ask(uow, [copy], role, credential, [prepared.to_sign])
            order = await desk.orders.place(
                uow, realm=copy.realm, role=role, credential=credential, person_id=person_id,
                activation_tx=opened.tx, prepared=prepared, document=name,
            )  # fmt: skip
            moved = await store.move(uow, copy, state, **{f"{role}_order": order}, **values)
            if role == "certifier":
                await self.numbering.tell(uow, EventType.COPY_AWAITING_CERTIFIER, copy)
            elif self.approver is None or not await self.approver.stands_in_for(uow, person_id):  # somebody has to come
                await self.numbering.tell(uow, EventType.COPY_AWAITING_SEAL, copy)
            return moved

    # 4, 6 ------------------------------------------------------------------------------- certify, then seal
    async def _sign_in_time(self, copy: CertifiedCopy, agency: Agency, role: str, note: Note) -> CertifiedCopy:
        """Sign, unless the date that stands on the page has passed: then the paper gets a new number and starts again."""
        copy = await self._with_living_key(copy, agency, role)
        order_id = copy.certifier_order if role == "certifier" else copy.seal_order
        assert order_id is not None
        first = role == "certifier" or copy.certifier_order is None
        if first and self._printed_date_has_passed(copy):
            async with self.signing.db.read() as uow:
                order = await self.signing.orders.get(uow, order_id)
            if order.state == "prepared":  # a signature already intended goes on
                return await self._renew(copy)
        return await self._sign(copy, order_id, "certified" if role == "certifier" else "sealed", note)

    async def _sign(self, copy: CertifiedCopy, order_id: str, new: str, note: Note) -> CertifiedCopy:
        async def approve(orders: Sequence[SigningOrder]) -> Sequence[SigningOrder]:
            approved = await self.questions.approved(copy, orders)
            note(f"{orders[0].role}.approve")
            return approved

        async def settle(uow: UnitOfWork, _names: Mapping[str, str]) -> None:
            await store.move(uow, copy, new)

        await sign([order_id], self.signing, approve=approve, guard=self.questions.guard, settle=settle, note=note)
        return replace(copy, state=new)  # the order is made and the state moved in one transaction, now or before

    async def refresh(self, copy_ids: Sequence[str]) -> None:
        """Before a person is asked: copies whose key was taken back since they were prepared are prepared with the new one."""
        for copy_id in copy_ids:
            async with self.signing.db.read() as uow:
                copy = await store.get(uow, copy_id)
                agency = await self.directory.agency(uow, copy.agency_id)
            if copy.state in {"awaiting_certifier", "awaiting_seal"}:
                await self._with_living_key(copy, agency, "certifier" if copy.state == "awaiting_certifier" else "seal")

    async def _with_living_key(self, copy: CertifiedCopy, agency: Agency, role: str) -> CertifiedCopy:
        """A lost phone brings a new key: nothing is signed any more with the one that was taken back."""
        desk = self.signing
        order_id = copy.certifier_order if role == "certifier" else copy.seal_order
        assert order_id is not None
        async with desk.db.read() as uow:
            order = await desk.orders.get(uow, order_id)
            if order.state != "prepared" or not await desk.credentials.retired(uow, [order.credential_id]):
                return copy
            before = None if copy.certifier_order is None else await desk.orders.get(uow, copy.certifier_order)
        under = copy.composed if role == "certifier" or before is None else before.signed_document
        document = await desk.documents.get(str(under))
        again = await self._prepare(copy, agency, role, document, copy.state)
        async with desk.db.write() as uow:
            await desk.orders.drop(uow, [order.id])
        return again

    async def question(self, copy_id: str) -> tuple[SigningOrder, redeem.Opened]:
        """What waits for a person at one copy, and the open question over it. Raises ``copy.awaits_nobody``."""
        waiting = await self.questions.together([copy_id])
        return waiting.orders[0], waiting.opened

    # 5 ------------------------------------------------------------------------------------- prepare the seal
    async def _prepare_seal(self, copy: CertifiedCopy, agency: Agency, note: Note) -> CertifiedCopy:
        """Only over a certifier's signature that is in the bytes: proven from them, not from a database flag."""
        desk = self.signing
        assert copy.certifier_order is not None
        async with desk.db.read() as uow:
            order = await desk.orders.get(uow, copy.certifier_order)
            credential = await desk.credentials.get(uow, order.credential_id)
        assert order.signed_document is not None and credential.certificate is not None  # noqa: PT018
        document = await desk.documents.get(order.signed_document)
        pades.check(document, pades.PreparedSignature.from_json(order.prepared, b""), credential.certificate)
        moved = await self._prepare(copy, agency, "seal", document, "awaiting_seal")
        note("prepare_seal")
        return moved

    # 7 ------------------------------------------------------------------------------------- check and release
    async def _release(self, copy: CertifiedCopy, agency: Agency, note: Note) -> CertifiedCopy:
        desk = self.signing
        async with desk.db.read() as uow:
            orders = [await desk.orders.get(uow, o) for o in (copy.certifier_order, copy.seal_order) if o is not None]
            credentials = [await desk.credentials.get(uow, o.credential_id) for o in orders]
        sealed = await desk.documents.get(orders[-1].signed_document or "")
        certificates = [c.certificate for c in credentials if c.certificate is not None]
        chain, ocsps, crls = await self.checks.evidence(certificates)
        released = dss.append(sealed, certificates=chain, ocsps=ocsps, crls=crls)
        note("evidence")
        await self.checks.require_sound(released, agency)
        note("self_check")
        name = await desk.documents.put(released)
        async with desk.db.write() as uow:
            leaf = await self.numbering.log(
                uow, copy.id, copy.realm, LeafType.COPY_RELEASED, copy.salt, bytes.fromhex(name)
            )
            await self.register.issue(uow, copy.entry_id)
            moved = await store.move(
                uow, copy, "released", released=name, leaf=leaf.encode(), settled_at=desk.clock.now()
            )
        note("release")
        return moved

    # 8 ------------------------------------------------------------------------------------------------ receipt
    async def _receipt(self, copy: CertifiedCopy, note: Note) -> CertifiedCopy:
        """Publish the log past our leaf; its inclusion proof is the copy's receipt."""
        desk = self.signing
        await desk.log.sequence()
        receipt = await desk.log.receipt(f"{copy.id}.{LeafType.COPY_RELEASED.value}")
        async with desk.db.write() as uow:
            moved = await store.move(uow, copy, "released", receipt=receipt)
            await self.numbering.tell(uow, EventType.COPY_RELEASED, copy)
        self.told(moved)
        note("receipt")
        return moved

    # ---------------------------------------------------------------------------------------------------- void
    async def void(self, copy_id: str, reason: str) -> None:
        """Give up a copy that is not released; its number keeps its row. Raises ``copy.already_released``."""
        async with self.signing.db.write() as uow:
            await self.numbering.tell(uow, EventType.COPY_VOIDED, await self.numbering.void(uow, copy_id, reason))

    async def send_back(self, copy_id: str, reason: str, *, by: str) -> str:
        """The clerk will not seal it: its number is given up with the reason, and the paper waits for its official again.

        Returns the id of the new copy. Raises ``copy.awaits_nobody``, ``copy.other_person``, ``register.no_reason``.
        """
        async with self.signing.db.write() as uow:
            copy = await store.get(uow, copy_id)
            if copy.state != "awaiting_seal" or copy.certifier_order is None:
                raise Conflict("copy.awaits_nobody", copy=copy_id, state=copy.state)
            if copy.clerk_id != by:
                raise Refused("copy.other_person", copy=copy_id)
            return (await self.numbering.renew(uow, copy, reason)).id

    # -------------------------------------------------------------------------------------------------- recall
    async def recall(
        self, copy_id: str, reason: str, successor: str | None = None, *, by: str | None = None,
        since: dt.datetime | None = None, guard: Callable[[UnitOfWork, CertifiedCopy], Awaitable[None]] | None = None,
    ) -> CertifiedCopy:  # fmt: skip
        """Take a released copy back; nothing is erased. ``guard`` may refuse inside the transaction.

        ``successor``: id of the copy in its place; ``by``: the person who decided; ``since``: from when, now if not
        said, never before the release. Raises ``copy.not_released``, ``copy.already_recalled``,
        ``copy.no_recall_reason``, ``copy.bad_successor``, ``copy.bad_recall_time``.
        """
        async with self.signing.db.write() as uow:
            recalled = await self.numbering.recall(uow, copy_id, reason, successor, by=by, since=since, guard=guard)
        self.told(recalled)
        await self.signing.log.sequence()
        return recalled

    def _printed_date_has_passed(self, copy: CertifiedCopy) -> bool:
        """The date on the page must be the date of approval."""
        return copy.printed_at is not None and legal_date(copy.printed_at) != legal_date(self.signing.clock.now())

    async def _renew(self, copy: CertifiedCopy) -> CertifiedCopy:
        async with self.signing.db.write() as uow:
            return await self.numbering.renew(uow, copy, "Ngày in trên bản sao đã qua trước khi ký.")


def _require_regime(request: CopyRequest, intake: Intake) -> None:
    if not request.kind.strip():
        raise BadInput("copy.no_kind")
    if not 1 <= request.copies <= LIMITS["copies.per_number"]:
        raise BadInput("copy.bad_count", most=LIMITS["copies.per_number"])
    if request.pages is not None and request.pages != intake.pages:
        raise BadInput("copy.pages_differ", said=request.pages, found=intake.pages)
    if request.regime is Regime.CERTIFIED_COPY and request.scan is None:
        raise Refused("copy.no_scan_record")


def _facts(intake: Intake, request: CopyRequest) -> dict[str, Any]:
    return {
        "kind": request.kind.strip(), "original_number": request.original_number, "copies": request.copies,
        "pages": intake.pages, "checklist": list(request.checklist), "scan": request.scan_json(),
        "dpi": intake.dpi, "source": intake.kind, "pdfa": intake.pdfa,
        "removed": list(intake.removed), "warnings": list(intake.warnings),
    }  # fmt: skip
