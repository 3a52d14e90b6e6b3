"""Ceremony 1: *sign*. The only way to a signature of a person or a seal; steps as in ``docs/flows/1-sign.md``.

What each step leaves behind, and so what a crash after it means:

1. *check* nothing: the order stays ``prepared``.
2. *spend* the activation is spent, the order is ``intended`` and its intent leaf is durable, all in one transaction.
   After a crash from here on the same order goes on without a new approval: it may only sign the digest it was
   prepared with, which is the digest that was approved.
3. *sign* a signature exists in memory only; it was verified with the certificate before this step ends.
4. *stamp* a time-stamp exists in memory only.
5. *embed* the signed bytes are in the document store, named by their digest.
6. *record* the order is ``made``, its result leaf is durable, and the caller's own state moved, in one transaction.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from audit.events import Leaf, LeafType, commit
from audit.log import Log
from core.certificates import Certificate
from core.clock import Clock
from core.db import Database, UnitOfWork, row_by, swap_state
from core.errors import Broken, Conflict, NotFound, Refused
from core.formats.cms import CmsProfile, signature_timestamp_attribute
from core.ids import new_id, random_bytes
from core.jobs import Note
from core.objects import Documents
from core.signing import Timestamper
from core.values import Digest, Realm
from signer.activation import redeem
from signer.activation.passkeys import RelyingParty
from signer.credentials import Credential, Credentials, OpenKey
from signer.formats import pades
from signer.records import order_table

__all__ = ["SigningDesk", "SigningOrder", "sign"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningOrder:
    """What is to be signed, by whom, approved by which activation."""

    id: str
    realm: Realm
    role: str
    """``certifier`` or ``seal``."""
    credential_id: str
    person_id: str
    activation_tx: str
    document: str
    """Name of the stored prepared bytes."""
    prepared: dict[str, Any]
    salt: bytes
    state: str
    signed_document: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningDesk:
    """What the ceremony works with."""

    db: Database
    clock: Clock
    credentials: Credentials
    documents: Documents
    log: Log
    open_key: OpenKey
    timestamps: Timestamper
    relying_party: RelyingParty
    """The signing origin: the only one whose approvals count."""

    async def place(
        self, uow: UnitOfWork, *, realm: Realm, role: str, credential: Credential, person_id: str, activation_tx: str,
        prepared: pades.PreparedSignature, document: str,
    ) -> str:  # fmt: skip
        """Record an order for stored prepared bytes; returns its id."""
        order_id = new_id(self.clock)
        await uow.execute(
            order_table.insert(),
            {
                "id": order_id, "realm": realm, "role": role, "credential_id": credential.id, "person_id": person_id,
                "activation_tx": activation_tx, "document": document, "prepared": prepared.to_json(), "salt": random_bytes(32),
                "state": "prepared", "prepared_at": self.clock.now(),
            },
        )  # fmt: skip
        return order_id

    async def order(self, uow: UnitOfWork, order_id: str) -> SigningOrder:
        """By id. Raises ``signing.no_such_order``."""
        row = (await uow.execute(row_by(order_table.c.id), {"value": order_id})).first()
        if row is None:
            raise NotFound("signing.no_such_order", order=order_id)
        names = SigningOrder.__dataclass_fields__
        values = {k: v for k, v in row._mapping.items() if k in names}  # noqa: SLF001
        return SigningOrder(**{**values, "realm": Realm(row.realm)})


async def sign(
    order_id: str,
    desk: SigningDesk,
    *,
    approve: Callable[[SigningOrder], Awaitable[SigningOrder]],
    guard: Callable[[UnitOfWork], Awaitable[None]],
    settle: Callable[[UnitOfWork, str], Awaitable[None]],
    note: Note,
) -> str:
    """Sign one prepared document; returns the name of the signed bytes.

    ``approve`` sees to it that a prepared order's activation is approved; ``guard`` re-checks roles and terms inside
    step 2's transaction; ``settle`` moves the caller's state inside step 6's.
    Raises ``activation.*``, ``key.*``, ``tsa.*``, ``credential.*``, ``signing.*``; nothing of what was done is lost.
    """
    # 1 check: the order, its bytes, the certificate's dates
    async with desk.db.read() as uow:
        order = await desk.order(uow, order_id)
        credential = await desk.credentials.get(uow, order.credential_id)
    if order.state == "made":
        assert order.signed_document is not None
        return order.signed_document
    if order.state == "dropped":
        raise Refused("signing.dropped", order=order_id)
    certificate = credential.require_valid(desk.clock.now())
    prepared = pades.PreparedSignature.from_json(order.prepared, await desk.documents.get(order.document))
    _require_unchanged(prepared)
    profile = profile_of(credential)
    if order.state == "prepared":
        order = await approve(order)
    note(f"{order.role}.check")

    # 2 spend: the approval, our intent and the state, in one transaction (compare-and-swap on both)
    if order.state == "prepared":
        async with desk.db.write() as uow:
            await guard(uow)
            await redeem.spend(
                uow, desk.clock, desk.relying_party, order.activation_tx, credential_id=credential.id, spki=certificate.spki,
                person_id=order.person_id, digests=[prepared.to_sign.value], realm=order.realm, purpose=order.role,
            )  # fmt: skip
            await desk.log.append(uow, _leaf(desk, order, credential, LeafType.KEY_USE_INTENDED, prepared.to_sign))
            await _move(uow, order_id, "prepared", "intended", intended_at=desk.clock.now())
    note(f"{order.role}.spend")

    # 3 sign: the key is touched once, for exactly the approved digest; the store verified before it answered
    key = desk.open_key(credential, order.id)
    if key.spki != certificate.spki:
        raise Broken("signing.key_is_not_the_certificates", order=order_id)
    signature = await key.sign(prepared.to_sign)
    note(f"{order.role}.sign")

    # 4 stamp: over the signature value (PAdES-B-T)
    token = await desk.timestamps.stamp(Digest.of(signature))
    cms = profile.signed_data(
        prepared.signed_attributes, signature, unsigned_attributes=(signature_timestamp_attribute(token),)
    )
    note(f"{order.role}.stamp")

    # 5 embed: check our own output against the certificate, then store it
    signed = pades.embed(prepared, cms)
    pades.check(signed, prepared, certificate.der)
    name = await desk.documents.put(signed)
    note(f"{order.role}.embed")

    # 6 record: result leaf, our state and the caller's, in one transaction
    async with desk.db.write() as uow:
        await desk.log.append(
            uow, _leaf(desk, order, credential, LeafType.SIGNATURE_MADE, prepared.to_sign, signature=signature)
        )
        await _move(uow, order_id, "intended", "made", signed_document=name, made_at=desk.clock.now())
        await settle(uow, name)
    note(f"{order.role}.record")
    return name


def profile_of(credential: Credential) -> CmsProfile:
    """The prepared CMS parts of a credential; the root stays out of the signature."""
    assert credential.certificate is not None
    return CmsProfile(credential.certificate, credential.chain[:-1], credential.key.algorithm)


def _require_unchanged(prepared: pades.PreparedSignature) -> None:
    """The stored bytes must still give the digest that was approved; they came from a store, not from us."""
    digest = prepared.to_sign
    if Digest.of(prepared.signed_attributes, digest.algorithm) != digest:
        raise Broken("signing.prepared_bytes_changed")
    pades.require_unchanged(prepared)


async def _move(uow: UnitOfWork, order_id: str, old: str, new: str, **values: Any) -> None:
    if not await swap_state(uow, order_table.c.id, order_id, old, new, **values):
        raise Conflict("signing.not_in_state", order=order_id, state=old)


def _leaf(
    desk: SigningDesk, order: SigningOrder, credential: Credential, kind: LeafType, digest: Digest,
    signature: bytes | None = None,
) -> Leaf:  # fmt: skip
    assert credential.certificate is not None
    certificate = Certificate.parse(credential.certificate)
    personal = order.role == "certifier"
    return Leaf(
        type=kind,
        time=desk.clock.now(),
        tenant_id=order.realm.value,
        event_id=f"{order.id}.{kind.value}",
        prev_event_id=None if signature is None else f"{order.id}.{LeafType.KEY_USE_INTENDED.value}",
        doc_commit=commit(order.salt, digest.value),
        digest_alg=digest.algorithm.value,
        sig_hash=None if signature is None else Digest.of(signature).value,
        sig_alg=credential.key.algorithm.value,
        cert_commit=commit(order.salt, certificate.sha256) if personal else certificate.sha256,
        key_ref_hash=Digest.of(json.dumps(credential.key.to_json(), sort_keys=True).encode()).value,
    )
