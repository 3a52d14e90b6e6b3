"""Ceremony 1: *sign*. The only way to a signature of a person or a seal; steps as in ``docs/flows/1-sign.md``.

One approval covers an ordered list of digests; each digest has an *order*, and all orders of one approval are spent
together. What each step leaves behind, and so what a crash after it means:

1. *check* nothing: the orders stay ``prepared``.
2. *spend* the activation is spent, every order under it is ``intended`` and its intent leaf is durable, all in one
   transaction. After a crash from here on the same orders go on without a new approval: each may only sign the digest it
   was prepared with, which is a digest that was approved. Who takes up what another process spent says so in the log
   first, because the key may have been used already.
3. *sign* signatures exist in memory only; each was verified with the certificate before this step ends. Where an answer of
   the key store was lost a signature may exist that nobody has: the log says so, and the order is signed again.
4. *stamp* time-stamps exist in memory only.
5. *embed* the signed bytes are in the document store, named by their digest.
6. *record* the orders are ``made``, their result leaves are durable, and the caller's own state moved, in one transaction.

Many documents go through 3 to 6 in pieces of ``signing.piece`` and ``signing.piece_bytes``: a crash between two pieces leaves whole pieces.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from audit.events import Leaf, LeafType, commit
from audit.log import Log
from core.certificates import Certificate
from core.clock import Clock
from core.db import Database, UnitOfWork
from core.errors import Broken, Conflict, NotFound, Refused, ServiceError
from core.formats.cms import CmsProfile, signature_timestamp_attribute
from core.ids import new_id
from core.jobs import Note
from core.objects import Documents
from core.signing import SigningKey, Timestamper
from core.values import Digest
from signer.activation import redeem
from signer.activation.passkeys import RelyingParty
from signer.credentials import Credential, Credentials, OpenKey
from signer.formats import cades, pades
from signer.keystores.rules import Rules
from signer.orders import Orders, Prepared, SigningOrder, in_pieces

__all__ = ["Approve", "Guard", "RemoteKey", "Settle", "SigningDesk", "profile_of", "sign"]

RemoteKey = Callable[[SigningOrder, Credential], SigningKey]
"""The key of an order that a provider signs: its ``sign`` asks the person there and answers when the value is verified."""
Approve = Callable[[Sequence[SigningOrder]], Awaitable[Sequence[SigningOrder]]]
"""Sees to it that the activation of prepared orders is approved; gives them back, perhaps under a newer activation."""
Guard = Callable[[UnitOfWork, Sequence[SigningOrder]], Awaitable[None]]
"""Re-checks roles and terms of all orders that are spent, inside step 2's transaction."""
Settle = Callable[[UnitOfWork, Mapping[str, str]], Awaitable[None]]
"""Moves the caller's state inside step 6's transaction; takes names of signed bytes by order."""


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
    orders: Orders
    rules: Rules
    """How often a key may be used, and whether it may be used at all."""
    providers: Mapping[str, RemoteKey] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    """Orders that this process has spent and not yet made: what else is ``intended`` was left by another one."""


async def sign(
    order_ids: Sequence[str], desk: SigningDesk, *, approve: Approve, guard: Guard, settle: Settle, note: Note
) -> list[str]:
    """Sign prepared documents of one approval; returns the names of the signed bytes in the same order.

    Raises ``activation.*``, ``key.*``, ``tsa.*``, ``credential.*``, ``signing.*``; nothing of what was done is lost.
    """
    # 1 check: the orders, the certificate's dates, the stored bytes
    async with desk.db.read() as uow:
        orders = [await desk.orders.get(uow, each) for each in order_ids]
        credential = await desk.credentials.get(uow, orders[0].credential_id)
    names = {o.id: o.signed_document for o in orders if o.state == "made" and o.signed_document is not None}
    todo = [o for o in orders if o.id not in names]
    if not todo:
        return [names[each] for each in order_ids]
    _require_signable(todo)
    credential.require_valid(desk.clock.now())
    pieces = in_pieces(todo, [order.size for order in todo])
    checked = await _check(desk, pieces[0])
    waiting = [o for o in todo if o.state == "prepared"]
    if waiting and waiting[0].provider is None:
        waiting = list(await approve(waiting))
    role, profile = todo[0].role, profile_of(credential)
    note(f"{role}.check")

    # 2 spend: the approval, our intents and the states, in one transaction (compare-and-swap on both)
    if waiting:
        await _spend(desk, waiting, credential, guard)
    await _say_unknown(desk, [o for o in todo if o.state == "intended" and o.id not in desk.spent], credential)
    note(f"{role}.spend")

    for number, piece in enumerate(pieces):
        prepared = checked if number == 0 else await _check(desk, piece)

        # 3 sign: the key is touched once a digest, for exactly the approved one; the store verified before it answered
        signatures = await _signatures(desk, piece, credential)
        note(f"{role}.sign")

        with _unmade(desk, piece):  # whoever goes on with these says first that their key was used
            # 4 stamp: over each signature value (PAdES-B-T, CAdES-B-T)
            tokens = await asyncio.gather(*(desk.timestamps.stamp(Digest.of(value)) for value in signatures))
            note(f"{role}.stamp")

            # 5 embed: check our own output against the certificate, then store it
            parts = zip(prepared, signatures, tokens, strict=True)
            made = await asyncio.gather(
                *(desk.documents.put(_embedded(p, profile, value, token)) for p, value, token in parts)
            )
            note(f"{role}.embed")

            # 6 record: result leaves, our states and the caller's, in one transaction
            done = dict(zip((o.id for o in piece), made, strict=True))
            async with desk.db.write() as uow:
                leaves = [_leaf(desk, o, credential, LeafType.SIGNATURE_MADE, value)
                          for o, value in zip(piece, signatures, strict=True)]  # fmt: skip
                await desk.log.append(uow, *leaves)
                await desk.orders.make(uow, done)
                await settle(uow, done)
            names.update(done)
            desk.spent.difference_update(done)
            note(f"{role}.record")
    return [names[each] for each in order_ids]


def _require_signable(orders: Sequence[SigningOrder]) -> None:
    """One approval, one key, none given up."""
    first = orders[0]
    for order in orders:
        if order.state == "dropped":
            raise Refused("signing.dropped", order=order.id)
        if (order.credential_id, order.role, order.provider) != (first.credential_id, first.role, first.provider):
            raise Broken("signing.not_together", order=order.id)


async def _check(desk: SigningDesk, orders: Sequence[SigningOrder]) -> list[Prepared]:
    return list(await asyncio.gather(*(_unchanged(desk, order) for order in orders)))


async def _unchanged(desk: SigningDesk, order: SigningOrder) -> Prepared:
    """The stored bytes must still give the digest that was approved; they came from a store, not from us."""
    if order.prepared.get("format") == "cades":
        detached = cades.PreparedDigest.from_json(order.prepared)
        cades.require_unchanged(detached)
        prepared: Prepared = detached
    else:
        document = pades.PreparedSignature.from_json(order.prepared, await desk.documents.get(order.document))
        pades.require_unchanged(document)
        prepared = document
    if Digest.of(prepared.signed_attributes, prepared.to_sign.algorithm) != prepared.to_sign:
        raise Broken("signing.prepared_bytes_changed")
    return prepared


async def _spend(desk: SigningDesk, waiting: Sequence[SigningOrder], credential: Credential, guard: Guard) -> None:
    assert credential.certificate is not None
    spki = Certificate.parse(credential.certificate).spki
    first = waiting[0]
    async with _paid(desk, waiting, credential), desk.db.write() as uow:
        orders = list(waiting) if first.provider else await desk.orders.under(uow, first.activation_tx)
        live = [o for o in orders if o.state == "prepared"]
        if not {o.id for o in waiting} <= {o.id for o in live}:  # who goes on with another order was first
            raise Conflict("signing.not_in_state", order=first.id, state="prepared")
        await desk.credentials.require_active(uow, credential.id)  # taken back since the bytes were prepared
        if first.provider is None:
            await desk.rules.registry.require_usable(uow, credential.key, credential.owner)
        await guard(uow, live)
        if first.provider is None:
            await redeem.spend(
                uow, desk.clock, desk.relying_party, first.activation_tx, credential_id=credential.id, spki=spki,
                person_id=first.person_id, digests=[o.digest().value for o in orders], realm=first.realm, purpose=first.role,
            )  # fmt: skip
        await desk.log.append(uow, *(_leaf(desk, o, credential, LeafType.KEY_USE_INTENDED) for o in live))
        await desk.orders.intend(uow, live)
    desk.spent.update(o.id for o in live)


@contextmanager
def _unmade(desk: SigningDesk, orders: Sequence[SigningOrder]) -> Iterator[None]:
    """Orders whose key was touched, or may have been: what ends before they are made leaves them as another's work."""
    try:
        yield
    except BaseException:
        desk.spent.difference_update(o.id for o in orders)
        raise


@asynccontextmanager
async def _paid(desk: SigningDesk, waiting: Sequence[SigningOrder], credential: Credential) -> AsyncIterator[None]:
    """The key's own rules, around the transaction that spends the approval: as many uses as it will move orders."""
    first = waiting[0]
    if first.provider is not None:  # a key of another's, with rules of its own
        yield
        return
    async with desk.db.read() as uow:
        count = await desk.orders.unspent(uow, first.activation_tx)
    async with desk.rules.spending(credential.key, max(count, 1), first.role):
        yield


async def _say_unknown(desk: SigningDesk, orders: Sequence[SigningOrder], credential: Credential) -> None:
    """The log before the key is used again: one leaf an order and an occasion (``<order>.key_outcome_unknown.<id>``)."""
    own = [o for o in orders if o.provider is None]
    if own:
        async with desk.db.write() as uow:
            await desk.rules.registry.require_owned(uow, credential.key, credential.owner)
            await desk.log.append(uow, *(_leaf(desk, o, credential, LeafType.KEY_OUTCOME_UNKNOWN) for o in own))
        desk.spent.update(o.id for o in own)


async def _signatures(desk: SigningDesk, orders: Sequence[SigningOrder], credential: Credential) -> list[bytes]:
    """The values, or the first error; whose answer was lost is said in the log before the error goes on."""
    with _unmade(desk, orders):
        values = await asyncio.gather(*(_signature(desk, o, credential) for o in orders), return_exceptions=True)
    failed = next((value for value in values if isinstance(value, BaseException)), None)
    if failed is None:
        return [value for value in values if isinstance(value, bytes)]
    found = list(zip(orders, values, strict=True))
    lost = [o for o, value in found if isinstance(value, ServiceError) and value.code == "key.outcome_unknown"]
    # values that nobody will have, and answers that nobody has: if the leaf cannot be written, the next turn writes it
    desk.spent.difference_update(o.id for o, value in found if o in lost or not isinstance(value, ServiceError))
    await _say_unknown(desk, lost, credential)
    raise failed


async def _signature(desk: SigningDesk, order: SigningOrder, credential: Credential) -> bytes:
    """The value, verified with the certificate."""
    certificate = credential.require_valid(desk.clock.now())
    if order.provider is None:
        key = desk.open_key(credential, order.id)
    elif order.provider in desk.providers:
        key = desk.providers[order.provider](order, credential)
    else:
        raise NotFound("provider.unknown", provider=order.provider)
    if key.spki != certificate.spki:
        raise Broken("signing.key_is_not_the_certificates", order=order.id)
    return await key.sign(order.digest())


def _embedded(prepared: Prepared, profile: CmsProfile, signature: bytes, token: bytes) -> bytes:
    unsigned = (signature_timestamp_attribute(token),)
    cms = profile.signed_data(prepared.signed_attributes, signature, unsigned_attributes=unsigned)
    if isinstance(prepared, cades.PreparedDigest):
        signed = cades.embed(prepared, cms)
        cades.check(signed, prepared, profile.certificate)
    else:
        signed = pades.embed(prepared, cms)
        pades.check(signed, prepared, profile.certificate)
    return signed


def profile_of(credential: Credential) -> CmsProfile:
    """The prepared CMS parts of a credential; the root stays out of the signature."""
    assert credential.certificate is not None
    return CmsProfile(credential.certificate, credential.chain[:-1], credential.key.algorithm)


def _leaf(
    desk: SigningDesk, order: SigningOrder, credential: Credential, kind: LeafType, signature: bytes | None = None
) -> Leaf:
    assert credential.certificate is not None
    certificate = Certificate.parse(credential.certificate)
    personal = order.role != "seal"
    digest = order.digest()
    return Leaf(
        type=kind,
        time=desk.clock.now(),
        tenant_id=order.realm.value,
        event_id=f"{order.id}.{kind.value}"
        + (f".{new_id(desk.clock)}" if kind is LeafType.KEY_OUTCOME_UNKNOWN else ""),
        prev_event_id=None if kind is LeafType.KEY_USE_INTENDED else f"{order.id}.{LeafType.KEY_USE_INTENDED.value}",
        doc_commit=commit(order.salt, digest.value),
        digest_alg=digest.algorithm.value,
        sig_hash=None if signature is None else Digest.of(signature).value,
        sig_alg=credential.key.algorithm.value,
        cert_commit=commit(order.salt, certificate.sha256) if personal else certificate.sha256,
        key_ref_hash=credential.key.sha256,
    )
