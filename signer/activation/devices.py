"""A person's passkeys of the signing origin: what there is, and what still counts."""

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from core.db import UnitOfWork, swap_state
from core.errors import Conflict
from signer.activation.records import passkey_table

__all__ = ["Passkey", "passkeys_of", "set_state"]

_BACKED_UP = 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """One passkey, without its key."""

    id: str
    person_id: str
    credential_id: bytes
    kind: str
    state: str
    created_at: dt.datetime
    flags: int | None
    label: str | None

    @property
    def synced(self) -> bool:
        """Copied to an account of its owner's: a lost phone need not be a lost passkey, and a stolen account is one."""
        return bool((self.flags or 0) & _BACKED_UP)


async def passkeys_of(uow: UnitOfWork, person_id: str) -> list[Passkey]:
    """All of them, oldest first, in whatever state."""
    t = passkey_table.c
    columns = [t[name] for name in Passkey.__dataclass_fields__]
    rows = await uow.execute(sa.select(*columns).where(t.person_id == person_id).order_by(t.id))
    return [Passkey(**row._mapping) for row in rows]  # noqa: SLF001


async def set_state(uow: UnitOfWork, passkey_id: str, old: str, new: str) -> None:
    """``active``, ``suspended``, ``revoked``; by compare-and-swap. Raises ``activation.passkey_moved``."""
    if not await swap_state(uow, passkey_table.c.id, passkey_id, old, new):
        raise Conflict("activation.passkey_moved")
