"""What two administrators allowed for key stores: one import of one key, and the policy that a store should have."""

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, swap_state
from core.errors import Conflict, NotFound, Refused
from core.limits import LIMITS
from core.values import Digest, Realm, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.records import import_table, policy_table
from signer.keystores.registry import Registry

__all__ = ["AllowedImport", "Imports", "Policies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedImport:
    """One key that may come from elsewhere, once."""

    id: str
    """The decision's."""
    realm: Realm
    owner: str
    purpose: KeyPurpose
    algorithm: SignatureAlgorithm
    spki_sha256: str
    certificate: bytes | None
    """DER; None for a raw key."""
    state: str
    expires_at: dt.datetime


class Imports:
    """Inside the caller's transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def allow(
        self, uow: UnitOfWork, decision_id: str, *, realm: Realm, owner: str, purpose: KeyPurpose,
        algorithm: SignatureAlgorithm, spki_sha256: str, certificate: bytes | None,
    ) -> None:  # fmt: skip
        """With the decision."""
        now = self._clock.now()
        await uow.execute(
            import_table.insert(),
            {
                "id": decision_id, "realm": realm, "owner": owner, "purpose": purpose, "algorithm": algorithm,
                "spki_sha256": spki_sha256, "certificate": certificate, "state": "open", "decided_at": now,
                "expires_at": now + dt.timedelta(hours=LIMITS["keys.import_hours"]),
            },
        )  # fmt: skip

    async def find(self, uow: UnitOfWork, realm: Realm, spki: bytes) -> AllowedImport:
        """The newest that allows this public key. Raises ``key.import_not_decided``, ``key.import_used``, ``key.import_over``."""
        t = import_table.c
        query = (
            sa.select(import_table)
            .where(t.realm == realm, t.spki_sha256 == Digest.of(spki).hex)
            .order_by(t.id.desc())
            .limit(1)
        )
        row = (await uow.execute(query)).first()
        if row is None:
            raise NotFound("key.import_not_decided")
        found = AllowedImport(
            id=row.id, realm=Realm(row.realm), owner=row.owner, purpose=KeyPurpose(row.purpose),
            algorithm=SignatureAlgorithm(row.algorithm), spki_sha256=row.spki_sha256, certificate=row.certificate,
            state=row.state, expires_at=row.expires_at,
        )  # fmt: skip
        if found.state != "open":
            raise Conflict("key.import_used")
        if self._clock.now() >= found.expires_at:
            raise Refused("key.import_over")
        return found

    async def use(self, uow: UnitOfWork, allowed: AllowedImport, ref: KeyRef) -> str:
        """The key is in its store: note it and spend the permission; returns the key's id.

        Raises ``key.import_other`` for another key than the decided one, ``key.import_used``, ``key.import_over``,
        ``key.damaged``.
        """
        if (ref.purpose, ref.algorithm, Digest.of(ref.spki).hex) != (
            allowed.purpose, allowed.algorithm, allowed.spki_sha256,
        ):  # fmt: skip
            raise Refused("key.import_other")
        await self.find(uow, allowed.realm, ref.spki)
        key_id = await Registry(self._clock).note(uow, ref, allowed.owner, allowed.realm)
        used = {"used_at": self._clock.now(), "key_id": key_id}
        if not await swap_state(uow, import_table.c.id, allowed.id, "open", "used", **used):
            raise Conflict("key.import_used")
        await Registry(self._clock).happened(uow, key_id, "imported", allowed.id)
        return key_id


class Policies:
    """Inside the caller's transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def decide(self, uow: UnitOfWork, decision_id: str, realm: Realm, store: str, sha256: str) -> None:
        """With the decision."""
        row = {"id": decision_id, "realm": realm, "store": store, "sha256": sha256, "decided_at": self._clock.now()}
        await uow.execute(policy_table.insert(), row)

    async def decided(self, uow: UnitOfWork, realm: Realm, store: str) -> str:
        """SHA-256 in hexadecimal of the policy that holds for a store; empty where none was decided."""
        t = policy_table.c
        query = (
            sa.select(t.sha256)
            .where(t.realm == realm, t.store == store)
            .order_by(t.decided_at.desc(), t.id.desc())
            .limit(1)
        )
        return (await uow.execute(query)).scalar_one_or_none() or ""
