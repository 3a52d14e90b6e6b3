"""What waits for a person at a copy: one question over one copy, or one over many that the same person may answer.

A clerk seals a morning's copies with one use of the passkey: the activation then covers their digests in the order that
was shown. Whoever answers, roles and terms of every copy are asked again when the approval is spent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.db import UnitOfWork
from core.directory.model import Agency, Role
from core.directory.records import Directory
from core.errors import BadInput, Conflict, Refused
from core.limits import LIMITS
from core.values import Digest, Regime
from signer.activation import redeem
from signer.asking import Approver, asked_again, ensure_approved, open_question
from signer.ceremony import SigningDesk
from signer.copies import store
from signer.copies.model import CertifiedCopy
from signer.credentials import Credential
from signer.orders import SigningOrder

__all__ = ["CopyQuestions", "Waiting"]

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An open question: the copies it is about with their orders, as shown and approved, and the activation."""

    copies: tuple[CertifiedCopy, ...]
    orders: tuple[SigningOrder, ...]
    opened: redeem.Opened


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyQuestions:
    """Asks for signatures and seals on copies."""

    signing: SigningDesk
    directory: Directory
    approver: Approver | None
    client: str

    async def require_people(
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

    async def guard(self, uow: UnitOfWork, orders: Sequence[SigningOrder]) -> None:
        """For the ceremony's second step: whoever signs here, for every copy that is spent for.

        An official whose term ended after the signature does not take it back: the seal asks for the clerk's role.
        """
        role = orders[0].role
        for copy in await store.by_orders(uow, [order.id for order in orders]):
            agency = await self.directory.agency(uow, copy.agency_id)
            if role == "certifier":
                await self.require_people(uow, agency, copy.regime, copy.certifier_id, copy.clerk_id)
            else:
                if copy.certifier_id == copy.clerk_id:
                    raise Refused("copy.same_person")
                await self.directory.authorisation(uow, copy.clerk_id, agency.id, Role.CLERK, copy.regime)

    async def ask(
        self, uow: UnitOfWork, copies: Sequence[CertifiedCopy], role: str, credential: Credential,
        digests: Sequence[Digest],
    ) -> redeem.Opened:  # fmt: skip
        """Open the activation over ``digests``, one of each copy, in this order."""
        first = copies[0]
        agency = await self.directory.agency(uow, first.agency_id)
        person_id = first.certifier_id if role == "certifier" else first.clerk_id
        assert person_id is not None
        title = str(first.facts["kind"]) if len(copies) == 1 else f"{len(copies)} bản sao"
        return await open_question(
            self.signing, uow, credential=credential, digests=digests, person_id=person_id, role=role, title=title,
            pages=sum(int(copy.facts["pages"]) for copy in copies), client=self.client, description=agency.name,
        )  # fmt: skip

    async def approved(self, copy: CertifiedCopy, orders: Sequence[SigningOrder]) -> Sequence[SigningOrder]:
        """Raises ``copy.awaiting_certifier`` or ``copy.awaiting_clerk`` where nobody can be asked from here."""
        role = orders[0].role

        async def ask(uow: UnitOfWork, credential: Credential, digests: Sequence[Digest]) -> redeem.Opened:
            return await self.ask(uow, [copy], role, credential, digests)

        code = "copy.awaiting_certifier" if role == "certifier" else "copy.awaiting_clerk"
        return await ensure_approved(self.signing, self.approver, orders, ask, Refused(code, copy=copy.id))

    async def together(self, copy_ids: Sequence[str], person_id: str | None = None) -> Waiting:
        """What waits at these copies as one question, in this order; an open question over exactly them stays as it is.

        ``person_id``: who is to answer; another's copies are refused. The date on a page may pass while it waits: then the
        answer comes too late and that paper starts again. Raises ``copy.awaits_nobody``, ``copy.not_together``,
        ``copy.other_person``, ``copy.bad_selection``.
        """
        if not 1 <= len(set(copy_ids)) == len(copy_ids) <= LIMITS["activation.documents"]:
            raise BadInput("copy.bad_selection", most=LIMITS["activation.documents"])
        for attempt in range(_TRIES):
            try:
                return await self._open(copy_ids, person_id)
            except Conflict as error:
                if error.code != "activation.asked_again" or attempt == _TRIES - 1:
                    raise
        raise AssertionError

    async def _open(self, copy_ids: Sequence[str], person_id: str | None) -> Waiting:
        desk = self.signing
        async with desk.db.read() as uow:
            copies = [await store.get(uow, each) for each in copy_ids]
            orders = [await desk.orders.get(uow, _order_of(copy)) for copy in copies]
            _require_one_answer(copies, orders, person_id)
            hanging = {order.activation_tx for order in orders}
            states = {tx: await redeem.status(uow, desk.clock, tx) for tx in hanging}
            for copy, order in zip(copies, orders, strict=True):
                if order.state != "prepared" or states[order.activation_tx].state in {"approved", "spent"}:
                    raise Conflict("copy.awaits_nobody", copy=copy.id, state=copy.state)  # answered; the work goes on
            if len(hanging) == 1:
                tx = hanging.pop()
                whole = [order.id for order in await desk.orders.under(uow, tx)]
                if states[tx].state == "open" and whole == [order.id for order in orders]:
                    return Waiting(
                        copies=tuple(copies), orders=tuple(orders), opened=redeem.Opened(tx, states[tx].challenge)
                    )
        role = orders[0].role

        async def ask(uow: UnitOfWork, credential: Credential, digests: Sequence[Digest]) -> redeem.Opened:
            return await self.ask(uow, copies, role, credential, digests)

        again, opened = await asked_again(desk, orders, ask)
        return Waiting(copies=tuple(copies), orders=tuple(again), opened=opened)


def _order_of(copy: CertifiedCopy) -> str:
    order_id = {"awaiting_certifier": copy.certifier_order, "awaiting_seal": copy.seal_order}.get(copy.state)
    if order_id is None:
        raise Conflict("copy.awaits_nobody", copy=copy.id, state=copy.state)
    return order_id


def _require_one_answer(copies: Sequence[CertifiedCopy], orders: Sequence[SigningOrder], person_id: str | None) -> None:
    first = orders[0]
    for copy, order in zip(copies, orders, strict=True):
        if (order.role, order.credential_id, order.person_id) != (first.role, first.credential_id, first.person_id):
            raise Refused("copy.not_together", copy=copy.id)
    if person_id is not None and first.person_id != person_id:
        raise Refused("copy.other_person", copy=copies[0].id)
