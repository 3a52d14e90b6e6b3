"""Getting an order's activation approved: the one place that asks a person, and asks again when the time ran out."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from core.db import UnitOfWork
from core.errors import Conflict, Refused
from core.limits import LIMITS
from signer.activation import redeem
from signer.ceremony import SigningDesk, SigningOrder
from signer.credentials import Credential
from signer.formats import pades
from signer.records import order_table

__all__ = ["Approver", "Question", "asked_again", "ensure_approved", "open_question"]

Approver = Callable[[str, str, bytes], Awaitable[None]]
"""``(person_id, tx, challenge)``: get the person's passkey to answer. Exists in realm training only."""
Question = Callable[[UnitOfWork, Credential, pades.PreparedSignature], Awaitable[redeem.Opened]]
"""Opens the approval of exactly this digest."""


async def open_question(
    desk: SigningDesk, uow: UnitOfWork, *, credential: Credential, prepared: pades.PreparedSignature, person_id: str,
    role: str, title: str, pages: int, client: str, description: str,
) -> redeem.Opened:  # fmt: skip
    """Who asks, for what, how many pages: fixed together with the digest."""
    return await redeem.open_activation(
        uow, desk.clock, person_id=person_id, credential_id=credential.id, spki=credential.key.spki,
        hashes=[prepared.to_sign.value], title=title, pages=pages, purpose=role, realm=credential.realm, client=client,
        description=description, ttl=LIMITS["activation.seconds"],
    )  # fmt: skip


async def ensure_approved(
    desk: SigningDesk, approver: Approver | None, order: SigningOrder, ask: Question, waiting: Refused
) -> SigningOrder:
    """The order with an approved activation. Raises ``waiting`` where no person can be asked from here."""
    async with desk.db.read() as uow:
        status = await redeem.status(uow, desk.clock, order.activation_tx)
    if status.state == "approved":
        return order
    if approver is None:
        raise waiting
    order, opened = await asked_again(desk, order, status, ask)
    await approver(order.person_id, opened.tx, opened.challenge)
    return order


async def asked_again(
    desk: SigningDesk, order: SigningOrder, status: redeem.Status, ask: Question
) -> tuple[SigningOrder, redeem.Opened]:
    """The open question of an order; a new one over the same digest where the time of the last ran out."""
    if status.state == "open":
        return order, redeem.Opened(order.activation_tx, status.challenge)
    prepared = pades.PreparedSignature.from_json(order.prepared, b"")
    async with desk.db.write() as uow:
        credential = await desk.credentials.get(uow, order.credential_id)
        opened = await ask(uow, credential, prepared)
        t = order_table.c
        mine = t.id == order.id, t.activation_tx == order.activation_tx, t.state == "prepared"
        done = await uow.execute(order_table.update().where(*mine).values(activation_tx=opened.tx))
        if done.rowcount != 1:  # somebody has asked again meanwhile: theirs is the question
            raise Conflict("activation.asked_again")
    return replace(order, activation_tx=opened.tx), opened
