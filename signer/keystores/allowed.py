"""What two administrators allowed for key stores: one key that comes in once, and the policy that a store should have.

A key comes from elsewhere (``key.import``), or out of the software store's files, the same key (``key.move``). Neither
decision allows the other.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from core.approvals.records import decision_table
from core.clock import VIETNAM, Clock
from core.db import UnitOfWork, swap_state
from core.errors import Conflict, NotFound, Refused
from core.limits import LIMITS
from core.messages import sentence
from core.values import Digest, Realm, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.records import import_table, key_table, policy_table
from signer.keystores.registry import KnownKey, Registry, require_active

__all__ = ["MOVE", "SERVICES", "AllowedImport", "Imports", "Origin", "Place", "Policies", "place", "require_movable"]

MOVE: Final = "key.move"
"""The kind of decision by which a key moves."""
SERVICES: Final = {
    "root": KeyPurpose.CA, "issuing": KeyPurpose.CA, "tsa": KeyPurpose.TSA, "ocsp": KeyPurpose.OCSP,
    "lists": KeyPurpose.LIST, "report": KeyPurpose.REPORT, "log": KeyPurpose.LOG,
}  # fmt: skip
"""Keys of the realm itself, by the name of their owner."""
_NOT_MOVED: Final = {KeyPurpose.DOCUMENT: "keys.person_enrols", KeyPurpose.SEAL: "keys.seal_rotates"}
"""A person's key stays with the person; a seal is renewed, and what it signed under an order stays where it was signed."""
_MOVES = sa.exists().where(decision_table.c.id == import_table.c.id, decision_table.c.kind == MOVE)

Place = tuple[str, str, str, int]
"""Store, place, name, version."""


def place(ref: KeyRef) -> Place:
    """Where a reference points."""
    return ref.store, ref.place, ref.name, ref.version


def require_movable(key: KnownKey) -> None:
    """A key in files that may go on elsewhere.

    Raises ``keys.person_enrols``, ``keys.seal_rotates``, ``keys.not_in_files``, ``key.stopped``, ``key.disabled``.
    """
    if key.ref.purpose in _NOT_MOVED:
        raise Refused(_NOT_MOVED[key.ref.purpose])
    if key.ref.store != "software":
        raise Conflict("keys.not_in_files", store=key.ref.store)
    require_active(key.state, key.ref)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How a key came into its store that was not made there."""

    moved: bool
    """Out of files; else from elsewhere."""
    at: dt.datetime

    @property
    def said(self) -> str:
        """For people, in both languages."""
        code, day = "keys.came_moved" if self.moved else "keys.came_imported", f"{self.at.astimezone(VIETNAM):%d/%m/%Y}"
        return f"{sentence(code, day=day)} / {sentence(code, 'en', day=day)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedImport:
    """One key that may come in, once."""

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
    moves: bool = False
    """Out of files; else from elsewhere."""


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

    async def find(self, uow: UnitOfWork, realm: Realm, spki: bytes, *, moves: bool = False) -> AllowedImport:
        """The newest that allows this public key to come in from elsewhere, or (``moves``) out of files.

        Raises ``key.import_not_decided``, ``key.import_used``, ``key.import_over``.
        """
        t = import_table.c
        query = (
            sa.select(import_table)
            .where(t.realm == realm, t.spki_sha256 == Digest.of(spki).hex, _MOVES if moves else ~_MOVES)
            .order_by(t.id.desc())
            .limit(1)
        )
        row = (await uow.execute(query)).first()
        if row is None:
            raise NotFound("key.import_not_decided")
        found = AllowedImport(
            id=row.id, realm=Realm(row.realm), owner=row.owner, purpose=KeyPurpose(row.purpose),
            algorithm=SignatureAlgorithm(row.algorithm), spki_sha256=row.spki_sha256, certificate=row.certificate,
            state=row.state, expires_at=row.expires_at, moves=moves,
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
        await self.find(uow, allowed.realm, ref.spki, moves=allowed.moves)
        key_id = await Registry(self._clock).note(uow, ref, allowed.owner, allowed.realm)
        used = {"used_at": self._clock.now(), "key_id": key_id}
        if not await swap_state(uow, import_table.c.id, allowed.id, "open", "used", **used):
            raise Conflict("key.import_used")
        await Registry(self._clock).happened(uow, key_id, "moved" if allowed.moves else "imported", allowed.id)
        return key_id

    async def origins(self, uow: UnitOfWork) -> dict[Place, Origin]:
        """Of every key that was not made where it is."""
        t, k = import_table.c, key_table.c
        query = sa.select(k.store, k.place, k.name, k.version, t.used_at, _MOVES.label("moved")).join(
            key_table, k.id == t.key_id
        )
        rows = (await uow.execute(query)).all()
        return {tuple(row[:4]): Origin(moved=row.moved, at=row.used_at) for row in rows}


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
