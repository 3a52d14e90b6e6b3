"""A certified copy is two signing ceremonies around a register entry; steps as in ``docs/flows/copy.md``.

``attest`` makes the row, its number and its leaf in one transaction. ``advance`` then takes the copy from state to
state until it rests: released, voided, or waiting for a person. Every step may be repeated after a crash: what it
made is named by its digest, and the state moves by compare-and-swap in the transaction that records the result.

1 intake (before the row exists) · 2 attest · 3 compose · 4 certify · 5 prepare the seal · 6 seal · 7 check and release
· 8 receipt
"""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from audit.events import Leaf, LeafType, commit
from audit.outbox import EventType, Outbox
from core.db import UnitOfWork
from core.directory.model import Agency, Role
from core.directory.records import Directory
from core.errors import BadInput, Conflict, Refused
from core.formats import canonical_json
from core.ids import new_id, random_bytes
from core.jobs import Note
from core.limits import LIMITS
from core.values import Digest, Realm, Regime
from signer.activation import redeem
from signer.asking import Approver, Question, asked_again, ensure_approved, open_question
from signer.ceremony import SigningDesk, SigningOrder, profile_of, sign
from signer.copies import store
from signer.copies.intake import Intake
from signer.copies.model import CertifiedCopy, CopyRequest
from signer.copies.pages import Printer
from signer.copies.pictures import Pictures
from signer.copies.register import Register
from signer.copies.typeface import typeface
from signer.copies.wording import Wording, legal_date
from signer.credentials import Credential
from signer.formats import pades
from signer.keystores.model import KeyPurpose
from signer.records import copy_table, order_table

__all__ = ["CopyDesk", "SelfCheck", "attested"]

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
        async with self.signing.db.write() as uow:
            agency = await self.directory.agency(uow, request.agency_id)
            agency.require_active(clock.now())
            await self._require_people(uow, agency, request.regime, request.certifier_id, request.clerk_id)
            await self._require_printable(uow, agency, request)
            kind = Wording.of(agency.wording).book_kind
            if settle is not None:
                await settle(uow)
            return await self._number(
                uow, agency, kind, {**request.columns(), "pages": intake.pages}, regime=request.regime, facts=facts,
                content=content, content_length=len(intake.document), certifier_id=request.certifier_id,
                clerk_id=request.clerk_id, copy_id=copy_id,
            )  # fmt: skip

    async def _number(
        self, uow: UnitOfWork, agency: Agency, kind: str, columns: dict[str, Any], *, content: str,
        copy_id: str | None = None, **paper: Any,
    ) -> str:  # fmt: skip
        """The number, the copy's row and its leaf, in the caller's transaction; returns the copy's id."""
        clock = self.signing.clock
        entry = await self.register.reserve(uow, agency, kind, columns)
        copy_id, salt = copy_id or new_id(clock), random_bytes(32)
        await uow.execute(
            copy_table.insert(),
            dict(
                id=copy_id, realm=agency.realm, agency_id=agency.id, entry_id=entry.id, state="numbered",
                seal_id=random_bytes(10), status_year=entry.year,
                status_index=await self.register.next_in(uow, agency.id, "status", entry.year) - 1,
                content=content, salt=salt, created_at=clock.now(), **paper,
            ),
        )  # fmt: skip
        compared = attested(content, paper["facts"], entry.columns)
        await self._log(uow, copy_id, agency.realm, LeafType.NUMBER_RESERVED, salt, compared)
        return copy_id

    async def _require_people(
        self, uow: UnitOfWork, agency: Agency, regime: Regime, certifier_id: str | None, clerk_id: str
    ) -> None:
        """Roles and terms, asked when the copy is made and again at each key use. Clerk ≠ certifier is our control."""
        if regime is Regime.CERTIFIED_COPY:
            if certifier_id is None:
                raise Refused("copy.no_certifier")
            if certifier_id == clerk_id:
                raise Refused("copy.same_person")
            await self.directory.authorisation(uow, certifier_id, agency.id, Role.CERTIFIER, regime)
        await self.directory.authorisation(uow, clerk_id, agency.id, Role.CLERK, regime)

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
            opened = await self._ask(uow, copy, agency, role, person_id, credential, prepared)
            order = await desk.place(
                uow, realm=copy.realm, role=role, credential=credential, person_id=person_id,
                activation_tx=opened.tx, prepared=prepared, document=name,
            )  # fmt: skip
            moved = await store.move(uow, copy, state, **{f"{role}_order": order}, **values)
            if role == "certifier":
                await self._tell(uow, EventType.COPY_AWAITING_CERTIFIER, copy)
            elif self.approver is None:  # only then somebody has to come
                await self._tell(uow, EventType.COPY_AWAITING_SEAL, copy)
            return moved

    async def _ask(
        self, uow: UnitOfWork, copy: CertifiedCopy, agency: Agency, role: str, person_id: str, credential: Credential,
        prepared: pades.PreparedSignature,
    ) -> redeem.Opened:  # fmt: skip
        return await open_question(
            self.signing, uow, credential=credential, prepared=prepared, person_id=person_id, role=role,
            title=str(copy.facts["kind"]), pages=int(copy.facts["pages"]), client=self.client, description=agency.name,
        )  # fmt: skip

    # 4, 6 ------------------------------------------------------------------------------- certify, then seal
    async def _sign_in_time(self, copy: CertifiedCopy, agency: Agency, role: str, note: Note) -> CertifiedCopy:
        """Sign, unless the date that stands on the page has passed: then the paper gets a new number and starts again."""
        order_id = copy.certifier_order if role == "certifier" else copy.seal_order
        assert order_id is not None
        first = role == "certifier" or copy.certifier_order is None
        if first and self._printed_date_has_passed(copy):
            async with self.signing.db.read() as uow:
                order = await self.signing.order(uow, order_id)
            if order.state == "prepared":  # a signature already intended goes on
                return await self._renew(copy)
        return await self._sign(copy, agency, order_id, "certified" if role == "certifier" else "sealed", note)

    async def _sign(self, copy: CertifiedCopy, agency: Agency, order_id: str, new: str, note: Note) -> CertifiedCopy:
        async def approve(order: SigningOrder) -> SigningOrder:
            approved = await self._approved(copy, agency, order)
            note(f"{order.role}.approve")
            return approved

        async def guard(uow: UnitOfWork) -> None:
            await self._require_people(uow, agency, copy.regime, copy.certifier_id, copy.clerk_id)

        async def settle(uow: UnitOfWork, _name: str) -> None:
            await store.move(uow, copy, new)

        await sign(order_id, self.signing, approve=approve, guard=guard, settle=settle, note=note)
        return replace(copy, state=new)  # the order is made and the state moved in one transaction, now or before

    def _question(self, copy: CertifiedCopy, agency: Agency, order: SigningOrder) -> Question:
        async def ask(uow: UnitOfWork, credential: Credential, prepared: pades.PreparedSignature) -> redeem.Opened:
            return await self._ask(uow, copy, agency, order.role, order.person_id, credential, prepared)

        return ask

    async def question(self, copy_id: str) -> tuple[SigningOrder, redeem.Opened]:
        """What waits for a person, and the open question over it. Raises ``copy.awaits_nobody``.

        The date on the page may pass while it waits: then the answer comes too late and the paper starts again.
        """
        for attempt in range(5):
            try:
                return await self._open_question(copy_id)
            except Conflict as error:
                if error.code != "activation.asked_again" or attempt == 4:
                    raise
        raise AssertionError

    async def _open_question(self, copy_id: str) -> tuple[SigningOrder, redeem.Opened]:
        desk = self.signing
        async with desk.db.read() as uow:
            copy = await store.get(uow, copy_id)
            order_id = {"awaiting_certifier": copy.certifier_order, "awaiting_seal": copy.seal_order}.get(copy.state)
            if order_id is None:
                raise Conflict("copy.awaits_nobody", copy=copy_id, state=copy.state)
            agency = await self.directory.agency(uow, copy.agency_id)
            order = await desk.order(uow, order_id)
            status = await redeem.status(uow, desk.clock, order.activation_tx)
        if order.state != "prepared" or status.state == "approved":  # somebody has answered; the work goes on
            raise Conflict("copy.awaits_nobody", copy=copy_id, state=copy.state)
        return await asked_again(desk, order, status, self._question(copy, agency, order))

    async def _approved(self, copy: CertifiedCopy, agency: Agency, order: SigningOrder) -> SigningOrder:
        ask = self._question(copy, agency, order)
        code = "copy.awaiting_certifier" if order.role == "certifier" else "copy.awaiting_clerk"
        return await ensure_approved(self.signing, self.approver, order, ask, Refused(code, copy=copy.id))

    # 5 ------------------------------------------------------------------------------------- prepare the seal
    async def _prepare_seal(self, copy: CertifiedCopy, agency: Agency, note: Note) -> CertifiedCopy:
        """Only over a certifier's signature that is in the bytes: proven from them, not from a database flag."""
        desk = self.signing
        assert copy.certifier_order is not None
        async with desk.db.read() as uow:
            order = await desk.order(uow, copy.certifier_order)
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
            orders = [await desk.order(uow, o) for o in (copy.certifier_order, copy.seal_order) if o is not None]
            credentials = [await desk.credentials.get(uow, o.credential_id) for o in orders]
        sealed = await desk.documents.get(orders[-1].signed_document or "")
        certificates = [c.certificate for c in credentials if c.certificate is not None]
        chain, ocsps, crls = await self.checks.evidence(certificates)
        released = pades.append_dss(sealed, certificates=chain, ocsps=ocsps, crls=crls)
        note("evidence")
        await self.checks.require_sound(released, agency)
        note("self_check")
        name = await desk.documents.put(released)
        async with desk.db.write() as uow:
            leaf = await self._log(uow, copy.id, copy.realm, LeafType.COPY_RELEASED, copy.salt, bytes.fromhex(name))
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
            await self._tell(uow, EventType.COPY_RELEASED, copy)
        self.told(moved)
        note("receipt")
        return moved

    # ---------------------------------------------------------------------------------------------------- void
    async def void(self, copy_id: str, reason: str) -> None:
        """Give up a copy that is not released; its number keeps its row. Raises ``copy.already_released``."""
        async with self.signing.db.write() as uow:
            await self._tell(uow, EventType.COPY_VOIDED, await self._void(uow, copy_id, reason))

    async def _void(self, uow: UnitOfWork, copy_id: str, reason: str) -> CertifiedCopy:
        copy = await store.get(uow, copy_id)
        if copy.state == "released":
            raise Refused("copy.already_released", copy=copy_id)
        if copy.state == "voided":
            raise Refused("copy.already_voided", copy=copy_id)
        await self.register.void(uow, copy.entry_id, reason)
        orders = [order for order in (copy.certifier_order, copy.seal_order) if order is not None]
        await uow.execute(
            order_table.update()
            .where(order_table.c.id.in_(orders), order_table.c.state != "made")
            .values(state="dropped")
        )
        voided = await store.move(uow, copy, "voided", reason=reason, settled_at=self.signing.clock.now())
        await self._log(uow, copy_id, copy.realm, LeafType.NUMBER_VOIDED, copy.salt, copy.seal_id)
        return voided

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
        if not reason.strip() or len(reason) > LIMITS["recall.reason_letters"]:
            raise Refused("copy.no_recall_reason", most=LIMITS["recall.reason_letters"])
        now = self.signing.clock.now()
        async with self.signing.db.write() as uow:
            copy = await store.get(uow, copy_id)
            if copy.state != "released" or copy.settled_at is None:
                raise Refused("copy.not_released", copy=copy_id)
            if since is not None and not copy.settled_at <= since <= now:
                raise Refused("copy.bad_recall_time")
            if successor is not None:
                after = await store.get(uow, successor)
                fit = after.id != copy.id and after.agency_id == copy.agency_id and after.state == "released"
                if not fit or after.recalled_at is not None:
                    raise Refused("copy.bad_successor", copy=successor)
            if guard is not None:
                await guard(uow, copy)
            recalled = await store.recall(
                uow,
                copy,
                now,
                recall_reason=reason.strip(),
                successor=successor,
                recalled_by=by,
                recall_from=since or now,
            )
            await self._log(uow, copy.id, copy.realm, LeafType.COPY_RECALLED, copy.salt, copy.seal_id)
            await self._tell(uow, EventType.COPY_RECALLED, copy, successor=successor)
        self.told(recalled)
        await self.signing.log.sequence()
        return recalled

    def _printed_date_has_passed(self, copy: CertifiedCopy) -> bool:
        """The date on the page must be the date of approval."""
        return copy.printed_at is not None and legal_date(copy.printed_at) != legal_date(self.signing.clock.now())

    async def _renew(self, copy: CertifiedCopy) -> CertifiedCopy:
        """Void the number whose printed date has passed and number the same paper again: both or neither."""
        async with self.signing.db.write() as uow:
            await self._void(uow, copy.id, "Ngày in trên bản sao đã qua trước khi ký.")
            old = await self.register.entry(uow, copy.entry_id)
            agency = await self.directory.agency(uow, copy.agency_id)
            renewed = await self._number(
                uow, agency, old.kind, old.columns, regime=copy.regime, facts=copy.facts, content=copy.content,
                content_length=copy.content_length, certifier_id=copy.certifier_id, clerk_id=copy.clerk_id,
            )  # fmt: skip
            await self._tell(uow, EventType.COPY_VOIDED, copy, successor=renewed)
            return await store.get(uow, renewed)

    async def _tell(self, uow: UnitOfWork, type_: EventType, copy: CertifiedCopy, successor: str | None = None) -> None:
        """Portals hear of it if the transaction commits; last in it (``audit/outbox.py``)."""
        outbox = Outbox(self.signing.clock)
        await outbox.append(
            uow, type_, realm=copy.realm, agency_id=copy.agency_id, subject=copy.id, successor=successor
        )

    async def _log(
        self, uow: UnitOfWork, copy_id: str, realm: Realm, kind: LeafType, salt: bytes, value: bytes
    ) -> Leaf:
        leaf = Leaf(
            type=kind, time=self.signing.clock.now(), tenant_id=realm.value, event_id=f"{copy_id}.{kind.value}",
            doc_commit=commit(salt, Digest.of(value).value), digest_alg="sha256",
        )  # fmt: skip
        await self.signing.log.append(uow, leaf)
        return leaf


def attested(content: str, facts: dict[str, Any], columns: dict[str, Any]) -> bytes:
    """What was compared, as the ``number_reserved`` leaf commits to it: the log's signature covers it for good."""
    return canonical_json.encode({"content": content, "facts": facts, "columns": columns})


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
