"""Signing credentials: which key, which certificate, whose, for what."""

import base64
import datetime as dt
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from core.certificates import Certificate
from core.clock import Clock
from core.db import UnitOfWork, UtcDateTime, metadata, row_by, swap_state
from core.errors import Broken, Conflict, NotFound, Refused
from core.ids import new_id
from core.limits import LIMITS
from core.signing import SigningKey
from core.values import Realm
from signer.keystores.model import KeyPurpose, KeyRef

__all__ = ["Credential", "Credentials", "OpenKey"]

_MOST_KNOWN = 4096

credential_table = sa.Table(
    "credential",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("certificate", sa.LargeBinary),
    sa.Column("chain", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("active_from", UtcDateTime),
    sa.CheckConstraint("state in ('active', 'retired')", name="state"),
    sa.Index("ix_credential_owner_purpose", "owner", "purpose"),
)
"""``active_from``: when a key that follows another takes its place; null: at once."""

_t, _newer = credential_table.c, credential_table.alias("newer")
_IN_FORCE = (
    sa.select(credential_table)
    .where(_t.owner == sa.bindparam("owner"), _t.purpose == sa.bindparam("purpose"), _t.state == "active")
    .where(sa.or_(_t.active_from.is_(None), _t.active_from <= sa.bindparam("now")))
    .order_by(_t.id.desc())
    .limit(1)
)
_LAST = (
    sa.select(credential_table)
    .where(_t.owner == sa.bindparam("owner"), _t.purpose == sa.bindparam("purpose"))
    .where(sa.or_(_t.active_from.is_(None), _t.active_from <= sa.bindparam("now")))
    .order_by(sa.case((_t.state == "active", 0), else_=1), _t.id.desc())
    .limit(1)
)
_NEWEST_HELD = (
    sa.select(_t.id)
    .where(_t.owner == sa.bindparam("owner"), _t.purpose == sa.bindparam("purpose"))
    .order_by(_t.id.desc())
    .limit(1)
    .with_for_update(key_share=True)
)
_WAITING = sa.select(credential_table).where(
    _t.owner == sa.bindparam("owner"), _t.purpose == sa.bindparam("purpose"), _t.state == "active",
    _t.active_from > sa.bindparam("now"),
)  # fmt: skip
_FOLLOWED = sa.select(_t.id).where(
    _t.state == "active",
    sa.exists().where(
        _newer.c.owner == _t.owner, _newer.c.purpose == _t.purpose, _newer.c.state == "active",
        _newer.c.active_from <= sa.bindparam("before"), _newer.c.id > _t.id,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A key with its certificate; the certificate was proven to belong to the key when it was made."""

    id: str
    realm: Realm
    purpose: KeyPurpose
    owner: str
    """A person's id, an agency's id, or the name of a service key (``root``, ``issuing``, ``tsa``, ``log`` …)."""
    key: KeyRef
    certificate: bytes | None
    """DER; None for raw keys (log, QR seal)."""
    chain: tuple[bytes, ...]
    """Issuers, DER, nearest first, root last."""
    created_at: dt.datetime
    active_from: dt.datetime | None = None
    """When it takes the place of the one before; None: from the beginning."""

    def require_valid(self, now: object) -> Certificate:
        """The parsed certificate, inside its dates. Raises ``credential.expired``."""
        assert self.certificate is not None
        certificate = Certificate.parse(self.certificate)
        if not certificate.not_before <= now < certificate.not_after:  # type: ignore[operator]
            raise Refused("credential.expired", until=f"{certificate.not_after:%d/%m/%Y}")
        return certificate


OpenKey = Callable[[Credential, str], SigningKey]
"""A credential and the id of the event it is used for → its key."""


class Credentials:
    """The table of credentials, inside the caller's transaction.

    A row changes its state, which no ``Credential`` carries, and the place of its key (``move``), at which a process that
    read it before goes on until it starts anew: what was read once is kept by id.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, Credential] = {}

    async def add(
        self, uow: UnitOfWork, *, realm: Realm, purpose: KeyPurpose, owner: str, key: KeyRef,
        certificate: bytes | None, chain: tuple[bytes, ...] = (), active_from: dt.datetime | None = None,
    ) -> Credential:  # fmt: skip
        """Record a credential that is ready for use, from ``active_from`` on."""
        made = Credential(
            id=new_id(self._clock),
            realm=realm,
            purpose=purpose,
            owner=owner,
            key=key,
            certificate=certificate,
            chain=chain,
            created_at=self._clock.now(),
            active_from=active_from,
        )
        await uow.execute(
            credential_table.insert(),
            {
                "id": made.id, "realm": realm, "purpose": purpose, "owner": owner, "key": json.dumps(key.to_json()),
                "certificate": certificate, "chain": [base64.b64encode(c).decode() for c in chain], "state": "active",
                "created_at": made.created_at, "active_from": active_from,
            },
        )  # fmt: skip
        return made

    async def move(self, uow: UnitOfWork, old: KeyRef, new: KeyRef) -> list[Credential]:
        """The same key is in another place from now on: every credential of it names that one, and nothing else changes.

        Raises ``credential.wrong_key`` for another key, ``decision.overtaken`` where none names the old place any more.
        """
        if (old.purpose, old.algorithm, old.spki) != (new.purpose, new.algorithm, new.spki):
            raise Broken("credential.wrong_key")
        rows = (await uow.execute(sa.select(credential_table).where(_t.purpose == old.purpose).order_by(_t.id))).all()
        mine = [row for row in rows if KeyRef.from_json(json.loads(row.key)) == old]
        for row in mine:
            here = credential_table.update().where(_t.id == row.id, _t.key == row.key)
            if (await uow.execute(here.values(key=json.dumps(new.to_json())))).rowcount != 1:
                raise Conflict("decision.overtaken")
            self._known.pop(row.id, None)
        if not mine:
            raise Conflict("decision.overtaken")
        return [replace(self._from(row), key=new) for row in mine]

    async def of(self, uow: UnitOfWork, owner: str, purpose: KeyPurpose) -> Credential:
        """The newest active one whose time has come. Raises ``credential.missing``."""
        row = (await uow.execute(_IN_FORCE, {"owner": owner, "purpose": purpose, "now": self._clock.now()})).first()
        if row is None:
            raise NotFound("credential.missing", owner=owner, purpose=purpose)
        return self._from(row)

    async def last(self, uow: UnitOfWork, owner: str, purpose: KeyPurpose) -> Credential | None:
        """The one in force; where there is none any more, the newest that was. None where there never was one."""
        row = (await uow.execute(_LAST, {"owner": owner, "purpose": purpose, "now": self._clock.now()})).first()
        return None if row is None else self._from(row)

    async def hold(self, uow: UnitOfWork, owner: str, purpose: KeyPurpose) -> None:
        """Whoever else wants to put another key after this owner's waits until this transaction ends, and then sees it.

        What is read before is stale. An owner without any key has nothing to hold.
        """
        await uow.execute(_NEWEST_HELD, {"owner": owner, "purpose": purpose})

    async def waiting(self, uow: UnitOfWork, owner: str, purpose: KeyPurpose) -> Credential | None:
        """The one whose time has not come yet."""
        row = (await uow.execute(_WAITING, {"owner": owner, "purpose": purpose, "now": self._clock.now()})).first()
        return None if row is None else self._from(row)

    async def retire_followed(self, uow: UnitOfWork) -> list[str]:
        """Retire those that a rotation replaced ``keys.overlap_seconds`` ago: what was opened with them has ended by now."""
        before = self._clock.now() - dt.timedelta(seconds=LIMITS["keys.overlap_seconds"])
        followed = list((await uow.execute(_FOLLOWED, {"before": before})).scalars())
        return [each for each in followed if await swap_state(uow, _t.id, each, "active", "retired")]

    async def get(self, uow: UnitOfWork, credential_id: str) -> Credential:
        """By id, in whatever state. Raises ``credential.missing``."""
        if credential_id in self._known:
            return self._known[credential_id]
        row = (await uow.execute(row_by(credential_table.c.id), {"value": credential_id})).first()
        if row is None:
            raise NotFound("credential.missing", owner=credential_id, purpose="")
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[credential_id] = self._from(row)
        return self._known[credential_id]

    async def all(self, uow: UnitOfWork, purpose: KeyPurpose) -> list[tuple[Credential, bool]]:
        """All of a purpose, each with whether it is active."""
        query = sa.select(credential_table).where(credential_table.c.purpose == purpose).order_by(credential_table.c.id)
        return [(self._from(row), row.state == "active") for row in await uow.execute(query)]

    async def require_active(self, uow: UnitOfWork, credential_id: str) -> None:
        """Read now, never from what is kept. Raises ``credential.retired``."""
        row = (await uow.execute(row_by(credential_table.c.id), {"value": credential_id})).first()
        if row is None or row.state != "active":
            raise Refused("credential.retired")

    async def retired(self, uow: UnitOfWork, credential_ids: Collection[str]) -> set[str]:
        """Which of them are active no more."""
        t = credential_table.c
        query = sa.select(t.id).where(t.id.in_(credential_ids), t.state != "active")
        return set((await uow.execute(query)).scalars())

    async def retire(self, uow: UnitOfWork, credential_id: str) -> None:
        """No new use; what it signed stands. Raises ``credential.missing``."""
        if not await swap_state(uow, credential_table.c.id, credential_id, "active", "retired"):
            raise NotFound("credential.missing", owner=credential_id, purpose="")

    @staticmethod
    def _from(row: sa.Row[Any]) -> Credential:
        return Credential(
            id=row.id, realm=Realm(row.realm), purpose=KeyPurpose(row.purpose), owner=row.owner,
            key=KeyRef.from_json(json.loads(row.key)), certificate=row.certificate,
            chain=tuple(base64.b64decode(c) for c in row.chain), created_at=row.created_at,
            active_from=row.active_from,
        )  # fmt: skip
