"""Getting orders' activation approved: the one place that asks a person, and asks again when the time ran out.

An order hangs on one activation at a time. A question put anew refuses the one before in the same transaction, so an
answer that is on its way to the old one comes too late, or the new one was never put.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

import sqlalchemy as sa

from core.db import UnitOfWork
from core.errors import Conflict, Refused
from core.limits import LIMITS
from core.values import Digest
from signer.activation import redeem
from signer.ceremony import SigningDesk
from signer.credentials import Credential
from signer.orders import SigningOrder
from signer.records import order_table

__all__ = ["Approver", "Question", "asked_again", "ensure_approved", "open_question"]


class Approver(Protocol):
    """In realm training, and nowhere else: answers for simulated people who have no phone of their own."""

    async def stands_in_for(self, uow: UnitOfWork, person_id: str) -> bool:
        """Whether it would answer; false as soon as a person practises with a phone."""

    async def answer(self, person_id: str, tx: str, challenge: bytes) -> None:
        """The software passkey of that person approves."""


Question = Callable[[UnitOfWork, Credential, Sequence[Digest]], Awaitable[redeem.Opened]]
"""Opens the approval of exactly these digests."""


async def open_question(
    desk: SigningDesk, uow: UnitOfWork, *, credential: Credential, digests: Sequence[Digest], person_id: str,
    role: str, title: str, pages: int, client: str, description: str,
) -> redeem.Opened:  # fmt: skip
    """Who asks, for what, how many pages: fixed together with the digests."""
    return await redeem.open_activation(
        uow, desk.clock, person_id=person_id, credential_id=credential.id, spki=credential.key.spki,
        hashes=[d.value for d in digests], title=title, pages=pages, purpose=role, realm=credential.realm, client=client,
        description=description, ttl=LIMITS["activation.seconds"],
    )  # fmt: skip


async def ensure_approved(
    desk: SigningDesk, approver: Approver | None, orders: Sequence[SigningOrder], ask: Question, waiting: Refused
) -> Sequence[SigningOrder]:
    """The orders with an approved activation. Raises ``waiting`` where no person can be asked from here."""
    async with desk.db.read() as uow:
        status = await redeem.status(uow, desk.clock, orders[0].activation_tx)
        here = approver is not None and await approver.stands_in_for(uow, orders[0].person_id)
    if status.state == "approved":
        return orders
    if status.state == "spent":  # by who goes on with another order of the same approval: look at this one again
        raise Conflict("activation.spent")
    if approver is None or not here:
        raise waiting
    opened = redeem.Opened(orders[0].activation_tx, status.challenge)
    if status.state != "open":
        orders, opened = await asked_again(desk, orders, ask)
    await approver.answer(orders[0].person_id, opened.tx, opened.challenge)
    return orders


async def asked_again(
    desk: SigningDesk, orders: Sequence[SigningOrder], ask: Question
) -> tuple[Sequence[SigningOrder], redeem.Opened]:
    """A new question over the same digests, in this order. Raises ``activation.asked_again`` if somebody was first."""
    async with desk.db.write() as uow:
        for tx in sorted({order.activation_tx for order in orders}):
            status = await redeem.status(uow, desk.clock, tx)
            if status.state == "open":
                try:
                    await redeem.refuse(uow, tx)
                except Conflict as error:  # answered, or refused by another process, since it was read
                    raise Conflict("activation.asked_again") from error
            elif status.state in {"approved", "spent"}:
                raise Conflict("activation.asked_again")
        credential = await desk.credentials.get(uow, orders[0].credential_id)
        opened = await ask(uow, credential, [order.digest() for order in orders])
        t = order_table.c
        move = (
            order_table.update()
            .where(t.id == sa.bindparam("order"), t.activation_tx == sa.bindparam("old"), t.state == "prepared")
            .values(activation_tx=opened.tx, position=sa.bindparam("place"))
        )
        for place, order in enumerate(orders):
            done = await uow.execute(move, {"order": order.id, "old": order.activation_tx, "place": place})
            if done.rowcount != 1:  # somebody has asked again meanwhile: theirs is the question
                raise Conflict("activation.asked_again")
    return [replace(o, activation_tx=opened.tx, position=n) for n, o in enumerate(orders)], opened
