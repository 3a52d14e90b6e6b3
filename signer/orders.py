"""Orders: what is to be signed under which approval, one a digest. Ceremony *sign* moves them.

``prepared`` → ``intended`` (the approval is spent) → ``made``; or ``dropped``, which no approval brings back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, row_by
from core.errors import Conflict, NotFound
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.values import Digest, Realm
from signer.credentials import Credential
from signer.formats import cades, pades
from signer.records import order_table

__all__ = ["Orders", "Prepared", "SigningOrder", "in_pieces"]

Prepared = pades.PreparedSignature | cades.PreparedDigest

_t = order_table.c
_UNDER = sa.select(order_table).where(_t.activation_tx == sa.bindparam("tx")).order_by(_t.position, _t.id)
_UNSPENT = sa.select(sa.func.count()).where(_t.activation_tx == sa.bindparam("tx"), _t.state == "prepared")
_INTEND = (
    order_table.update()
    .where(_t.id.in_(sa.bindparam("orders", expanding=True)), _t.state == "prepared")
    .values(state="intended", intended_at=sa.bindparam("at"))
)
_MAKE = (
    order_table.update()
    .where(_t.id == sa.bindparam("order"), _t.state == "intended")
    .values(state="made", signed_document=sa.bindparam("name"), made_at=sa.bindparam("at"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningOrder:
    """One digest to be signed: by whom, approved by which activation."""

    id: str
    realm: Realm
    role: str
    """``certifier``, ``seal``, ``signer``: the purpose in the activation's record."""
    credential_id: str
    person_id: str
    activation_tx: str
    """Empty where somebody else's service asks the person (``provider``)."""
    position: int
    """Place of its digest in the approved list, from 0."""
    provider: str | None
    document: str
    """Name of the stored prepared bytes."""
    prepared: dict[str, Any]
    salt: bytes
    state: str
    signed_document: str | None

    @property
    def size(self) -> int:
        """Bytes of the signed document; 0 for a bare digest."""
        _, _, start, rest = self.prepared.get("byte_range", (0, 0, 0, 0))
        return int(start) + int(rest)

    def digest(self) -> Digest:
        """What is approved and signed."""
        return Digest.from_hex(self.prepared["digest"], self.prepared["to_sign"])


_T = TypeVar("_T")


def in_pieces(items: Sequence[_T], sizes: Sequence[int]) -> list[list[_T]]:
    """What is done together: at most ``signing.piece`` of them and, but for a single large one, ``signing.piece_bytes``."""
    pieces: list[list[_T]] = []
    room = 0
    for item, size in zip(items, sizes, strict=True):
        if not pieces or len(pieces[-1]) == LIMITS["signing.piece"] or size > room:
            pieces.append([])
            room = LIMITS["signing.piece_bytes"]
        pieces[-1].append(item)
        room -= size
    return pieces


class Orders:
    """Works inside the caller's transaction; states move by compare-and-swap."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def place(
        self, uow: UnitOfWork, *, realm: Realm, role: str, credential: Credential, person_id: str, activation_tx: str,
        prepared: Prepared, document: str, position: int = 0, provider: str | None = None,
    ) -> str:  # fmt: skip
        """Record an order for stored prepared bytes; returns its id."""
        order_id = new_id(self._clock)
        await uow.execute(
            order_table.insert(),
            {
                "id": order_id, "realm": realm, "role": role, "credential_id": credential.id, "person_id": person_id,
                "activation_tx": activation_tx, "position": position, "provider": provider, "document": document,
                "prepared": prepared.to_json(), "salt": random_bytes(32), "state": "prepared", "prepared_at": self._clock.now(),
            },
        )  # fmt: skip
        return order_id

    async def get(self, uow: UnitOfWork, order_id: str) -> SigningOrder:
        """By id. Raises ``signing.no_such_order``."""
        row = (await uow.execute(row_by(order_table.c.id), {"value": order_id})).first()
        if row is None:
            raise NotFound("signing.no_such_order", order=order_id)
        return _order(row)

    async def under(self, uow: UnitOfWork, activation_tx: str) -> list[SigningOrder]:
        """All orders under one approval, in the order of its digests, also dropped ones."""
        return [_order(row) for row in await uow.execute(_UNDER, {"tx": activation_tx})]

    async def unspent(self, uow: UnitOfWork, activation_tx: str) -> int:
        """How many of them wait for that approval."""
        return int((await uow.execute(_UNSPENT, {"tx": activation_tx})).scalar_one())

    async def drop(self, uow: UnitOfWork, order_ids: Sequence[str]) -> None:
        """They will never be signed, unless they are already."""
        await uow.execute(order_table.update().where(_t.id.in_(order_ids), _t.state != "made").values(state="dropped"))

    async def intend(self, uow: UnitOfWork, orders: Sequence[SigningOrder]) -> None:
        """All of them, or none: raises ``signing.not_in_state``."""
        moved = await uow.execute(_INTEND, {"orders": [o.id for o in orders], "at": self._clock.now()})
        if moved.rowcount != len(orders):
            raise Conflict("signing.not_in_state", order=orders[0].id, state="prepared")

    async def make(self, uow: UnitOfWork, names: Mapping[str, str]) -> None:
        """``names`` of the stored signed bytes by order. Raises ``signing.not_in_state``."""
        now = self._clock.now()
        for order_id, name in names.items():
            done = await uow.execute(_MAKE, {"order": order_id, "name": name, "at": now})
            if done.rowcount != 1:
                raise Conflict("signing.not_in_state", order=order_id, state="intended")


def _order(row: sa.Row[Any]) -> SigningOrder:
    names = SigningOrder.__dataclass_fields__
    values = {k: v for k, v in row._mapping.items() if k in names}  # noqa: SLF001
    return SigningOrder(**{**values, "realm": Realm(row.realm)})
