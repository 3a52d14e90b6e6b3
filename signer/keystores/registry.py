"""The registry of keys: which keys there are, whose, where, in what state, and what rules hold for each.

A key that does not stand here is used by nobody. States move inside the caller's transaction by compare-and-swap:

* ``active`` → ``stopped``: used more than its rules allow; two administrators let it go on (``resume``);
* → ``disabled``: for good. Whoever spent an approval before may finish; nobody begins;
* ``disabled`` → ``destroyed``: when the store has said that the key is gone.

What must be done in a store is written down here (``key_work``) and done after the commit (``signer/keystores/work.py``).
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, insert_new, row_by, swap_state
from core.directory.records import person_table
from core.errors import Broken, Conflict, NotFound, Refused
from core.ids import new_id
from core.limits import LIMITS
from core.logs import logger
from core.values import Realm, SignatureAlgorithm
from signer.credentials import credential_table
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.records import event_table, key_table, work_table

__all__ = [
    "FOR_USE", "NEVER_OWNED", "NOT_FOR_PRODUCTION", "OWNED", "KeyEvent", "KeyState", "KnownKey", "Registry", "Rule", "Work", "place_of",
    "require_active", "rule_of", "work_of",
]  # fmt: skip

NOT_FOR_PRODUCTION: Final = frozenset({"memory", "software"})
"""Stores that say so of themselves; for processes that open none."""
OWNED: Final = (KeyPurpose.DOCUMENT, KeyPurpose.SEAL, KeyPurpose.QR)
"""Purposes of keys that a person or an agency owns; all others are the realm's."""
NEVER_OWNED: Final = "key.never_owned"
"""Why a key is out of use that nobody decided about: it was made, and became nobody's."""
_OURS: Final = ("memory", "software", "transit", "pkcs11")
"""A credential's key in any other is a provider's, which keeps its own books."""


class KeyState(StrEnum):
    """Of a key."""

    ACTIVE = "active"
    STOPPED = "stopped"
    DISABLED = "disabled"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How often a key may be used."""

    per_minute: int
    per_day: int
    """Of Vietnam."""
    at_once: int
    """Under one approval."""

    @classmethod
    def usual(cls, purpose: KeyPurpose) -> "Rule":
        """Where nothing else was decided."""
        return cls(
            per_minute=LIMITS[f"pace.{purpose.value}"], per_day=LIMITS[f"budget.{purpose.value}"],
            at_once=LIMITS["activation.documents"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """A key as it stands."""

    id: str
    realm: Realm
    owner: str
    """A person's id, an agency's id, or the name of a service key."""
    ref: KeyRef
    state: KeyState
    created_at: dt.datetime
    stopped_at: dt.datetime | None
    disabled_at: dt.datetime | None
    destroy_after: dt.datetime | None
    why: str
    """A message code, or a decision's id; empty while nothing happened."""
    rule: Rule
    decided: bool
    """Its rule is one that two administrators set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEvent:
    """Something that became of a key."""

    id: str
    what: str
    why: str
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done, or was done, in a key's store."""

    id: str
    key_id: str
    act: str
    """``disable`` or ``destroy``."""
    state: str
    """``due`` or ``done``."""
    ordered_at: dt.datetime
    next_at: dt.datetime
    tries: int
    code: str
    """Why the last try failed, or how the store answered; empty before the first."""
    done_at: dt.datetime | None


_t = key_table.c
_REF = (_t.store == sa.bindparam("store"), _t.place == sa.bindparam("place"), _t.name == sa.bindparam("name"),
        _t.version == sa.bindparam("version"))  # fmt: skip
FOR_USE: Final = sa.select(_t.id, _t.state, _t.purpose, _t.per_minute, _t.per_day, _t.at_once).where(*_REF)
"""What a use looks at, by place and name."""
_STATE_HELD = sa.select(_t.state, _t.spki, _t.purpose, _t.owner).where(*_REF).with_for_update(read=True)
_BY_REF = sa.select(key_table).where(*_REF)


def place_of(ref: KeyRef) -> dict[str, Any]:
    """What finds a reference's row."""
    return {"store": ref.store, "place": ref.place, "name": ref.name, "version": ref.version}


def require_active(state: str, ref: KeyRef) -> None:
    """Raises ``key.stopped``, ``key.disabled`` (of a destroyed one too)."""
    if state == KeyState.STOPPED:
        raise Refused("key.stopped", key=ref.name)
    if state != KeyState.ACTIVE:
        raise Refused("key.disabled", key=ref.name)


class Registry:
    """Reads and writes the registry inside the caller's transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    # --------------------------------------------------------------------------------------------------------- keys
    async def note(self, uow: UnitOfWork, ref: KeyRef, owner: str, realm: Realm) -> str:
        """A key that was made, with the row by which it becomes usable; returns its id. The same again changes nothing.

        Raises ``key.damaged`` where the place and name stand for another key, or somebody else's.
        """
        values = self._row(ref, owner, realm)
        if (await uow.execute(insert_new(uow, key_table), values)).rowcount == 1:
            return str(values["id"])
        known = await self.find(uow, ref)
        if (known.ref, known.owner, known.realm) != (ref, owner, realm):
            raise Broken("key.damaged", key=ref.name)
        return known.id

    async def abandon(self, uow: UnitOfWork, ref: KeyRef, owner: str, realm: Realm) -> bool:
        """A key that was made for ``owner`` and did not become theirs: out of use for good, its end in the store ordered.

        False where it stands here already: it did become somebody's, and nothing is changed. A transaction that notes it
        at the same moment is waited for.
        """
        values = self._row(ref, owner, realm) | self._ended(NEVER_OWNED) | {"state": KeyState.DISABLED}
        if (await uow.execute(insert_new(uow, key_table), values)).rowcount != 1:
            return False
        await self.happened(uow, values["id"], "disabled", NEVER_OWNED)
        await self._order(uow, values["id"], "disable", None)
        return True

    def _row(self, ref: KeyRef, owner: str, realm: Realm) -> dict[str, Any]:
        return {
            "id": new_id(self._clock), "realm": realm, "owner": owner, "purpose": ref.purpose, "algorithm": ref.algorithm,
            **place_of(ref), "spki": ref.spki, "state": KeyState.ACTIVE, "created_at": self._clock.now(),
        }  # fmt: skip

    async def fill(self, uow: UnitOfWork) -> int:
        """Keys of credentials that were made before there was a registry; returns how many. Once, at a start."""
        t = credential_table.c
        known = {tuple(row) for row in await uow.execute(sa.select(_t.store, _t.place, _t.name, _t.version))}
        new = 0
        for row in (await uow.execute(sa.select(t.key, t.owner, t.realm).order_by(t.id))).all():
            ref = KeyRef.from_json(json.loads(row.key))
            place = (ref.store, ref.place, ref.name, ref.version)
            if ref.store in _OURS and place not in known:
                await self.note(uow, ref, row.owner, Realm(row.realm))
                known.add(place)
                new += 1
        return new

    async def find(self, uow: UnitOfWork, ref: KeyRef) -> KnownKey:
        """By reference. Raises ``key.unregistered``."""
        row = (await uow.execute(_BY_REF, place_of(ref))).first()
        if row is None:
            raise NotFound("key.unregistered", key=ref.name)
        return _known(row)

    async def get(self, uow: UnitOfWork, key_id: str) -> KnownKey:
        """By id. Raises ``key.unknown``."""
        row = (await uow.execute(row_by(key_table.c.id), {"value": key_id})).first()
        if row is None:
            raise NotFound("key.unknown")
        return _known(row)

    async def of_agency(self, uow: UnitOfWork, agency_id: str, limit: int) -> list[KnownKey]:
        """Keys of an agency and of its people: who is stopped first, the agency's before its people's, the newest first."""
        people = sa.select(person_table.c.id).where(person_table.c.agency_id == agency_id)
        mine = sa.or_(_t.owner == agency_id, _t.owner.in_(people))
        works = _t.state == KeyState.ACTIVE
        first = sa.case(
            (_t.state == KeyState.STOPPED, 0), (sa.and_(_t.owner == agency_id, works), 1), (_t.owner == agency_id, 2),
            (works, 3), else_=4,
        )  # fmt: skip
        query = sa.select(key_table).where(mine).order_by(first, _t.id.desc()).limit(limit)
        return [_known(row) for row in await uow.execute(query)]

    async def services(self, uow: UnitOfWork, realm: Realm) -> list[KnownKey]:
        """Keys that belong to no agency and to nobody, oldest first."""
        query = sa.select(key_table).where(_t.realm == realm, _t.purpose.not_in(OWNED)).order_by(_t.id)
        return [_known(row) for row in await uow.execute(query)]

    async def require_usable(self, uow: UnitOfWork, ref: KeyRef, owner: str) -> None:
        """Strict: who ends the key meanwhile waits for this transaction, and what they did before is seen.

        Raises ``key.stopped``, ``key.disabled``, and as ``require_owned``.
        """
        require_active(await self.require_owned(uow, ref, owner), ref)

    async def require_owned(self, uow: UnitOfWork, ref: KeyRef, owner: str) -> str:
        """The key's state, where it is this owner's: a credential that was bent to another's key leads nowhere.

        Raises ``key.unregistered``, ``key.damaged``, ``key.wrong_owner``.
        """
        row = (await uow.execute(_STATE_HELD, place_of(ref))).first()
        if row is None:
            raise NotFound("key.unregistered", key=ref.name)
        if bytes(row.spki) != ref.spki or row.purpose != ref.purpose:
            raise Broken("key.damaged", key=ref.name)
        if row.owner != owner:
            raise Broken("key.wrong_owner", key=ref.name)
        return str(row.state)

    async def credentials(self, uow: UnitOfWork, key: KnownKey) -> list[sa.Row[Any]]:
        """Rows of the credential table that lean on this key, oldest first."""
        t = credential_table.c
        query = sa.select(credential_table).where(t.owner == key.owner, t.purpose == key.ref.purpose).order_by(t.id)
        rows = (await uow.execute(query)).all()
        return [row for row in rows if KeyRef.from_json(json.loads(row.key)) == key.ref]

    # ------------------------------------------------------------------------------------------------------- states
    async def stop(self, uow: UnitOfWork, key_id: str, why: str) -> bool:
        """``active → stopped``; false where another was first. ``why``: a message code."""
        stopped = {"stopped_at": self._clock.now(), "why": why}
        if not await swap_state(uow, key_table.c.id, key_id, KeyState.ACTIVE, KeyState.STOPPED, **stopped):
            return False
        await self.happened(uow, key_id, "stopped", why)
        logger().error("key.stopped", id=key_id, code=why)
        return True

    async def resume(self, uow: UnitOfWork, key_id: str, decision_id: str) -> None:
        """``stopped → active``. Raises ``decision.overtaken``."""
        values = {"stopped_at": None, "why": decision_id}
        await self._move(uow, key_id, (KeyState.STOPPED,), KeyState.ACTIVE, values)
        await self.happened(uow, key_id, "resumed", decision_id)

    async def disable(self, uow: UnitOfWork, key_id: str, decision_id: str) -> dt.datetime:
        """For good; returns when it may be destroyed at the earliest. Raises ``decision.overtaken``."""
        values = self._ended(decision_id)
        await self._move(uow, key_id, (KeyState.ACTIVE, KeyState.STOPPED), KeyState.DISABLED, values)
        await self.happened(uow, key_id, "disabled", decision_id)
        await self._order(uow, key_id, "disable", decision_id)
        after: dt.datetime = values["destroy_after"]
        return after

    def _ended(self, why: str) -> dict[str, Any]:
        now = self._clock.now()
        return {"disabled_at": now, "destroy_after": now + dt.timedelta(days=LIMITS["keys.destroy_days"]), "why": why}

    async def order_destruction(self, uow: UnitOfWork, key_id: str, decision_id: str) -> None:
        """To be destroyed in its store. Raises ``key.not_disabled``, ``key.too_early``, ``key.destruction_ordered``."""
        key = await self.get(uow, key_id)
        self.require_destroyable(key)
        if any(work.act == "destroy" for work in await self.works(uow, key_id)):
            raise Conflict("key.destruction_ordered")
        await self.happened(uow, key_id, "condemned", decision_id)
        await self._order(uow, key_id, "destroy", decision_id)

    def require_destroyable(self, key: KnownKey) -> None:
        """Disabled, and that long enough ago by the clock as it stands now. Raises ``key.not_disabled``, ``key.too_early``."""
        if key.state is not KeyState.DISABLED or key.destroy_after is None or key.disabled_at is None:
            raise Refused("key.not_disabled", key=key.ref.name)
        if not key.disabled_at <= key.destroy_after <= self._clock.now():
            raise Refused("key.too_early", until=f"{key.destroy_after:%d/%m/%Y}")

    async def set_rule(self, uow: UnitOfWork, key: KnownKey, rule: Rule | None, decision_id: str) -> None:
        """None: what is usual for the purpose. Raises ``decision.overtaken`` where the key has ended."""
        values: dict[str, int | None] = {"per_minute": None, "per_day": None, "at_once": None}
        if rule is not None:
            values |= {"per_minute": rule.per_minute, "per_day": rule.per_day, "at_once": rule.at_once}
        alive = _t.state.in_((KeyState.ACTIVE, KeyState.STOPPED))
        done = await uow.execute(key_table.update().where(_t.id == key.id, alive).values(values))
        if done.rowcount != 1:
            raise Conflict("decision.overtaken")
        await self.happened(uow, key.id, "ruled", decision_id)

    async def _move(
        self, uow: UnitOfWork, key_id: str, old: Sequence[KeyState], new: KeyState, values: dict[str, Any]
    ) -> None:
        for state in old:
            if await swap_state(uow, key_table.c.id, key_id, state, new, **values):
                return
        raise Conflict("decision.overtaken")

    # ------------------------------------------------------------------------------------------------------ history
    async def happened(
        self, uow: UnitOfWork, key_id: str, what: str, why: str, *, event_id: str = "", salt: bytes | None = None
    ) -> None:
        """A line of the key's history, which nobody changes any more."""
        row = {
            "id": event_id or new_id(self._clock),
            "key_id": key_id,
            "what": what,
            "why": why,
            "at": self._clock.now(),
        }
        await uow.execute(event_table.insert(), {**row, "salt": salt})

    async def history(self, uow: UnitOfWork, key_id: str) -> list[KeyEvent]:
        """Oldest first."""
        t = event_table.c
        query = sa.select(t.id, t.what, t.why, t.at).where(t.key_id == key_id).order_by(t.at, t.id)
        return [KeyEvent(**row._mapping) for row in await uow.execute(query)]  # noqa: SLF001 (SQLAlchemy's public spelling)

    async def _order(self, uow: UnitOfWork, key_id: str, act: str, decision_id: str | None) -> None:
        now = self._clock.now()
        row = {
            "id": new_id(self._clock), "key_id": key_id, "act": act, "decision_id": decision_id, "state": "due",
            "ordered_at": now, "next_at": now, "tries": 0,
        }  # fmt: skip
        if (await uow.execute(insert_new(uow, work_table), row)).rowcount != 1:
            raise Conflict("decision.overtaken")

    async def works(self, uow: UnitOfWork, key_id: str) -> list[Work]:
        """What was ordered of its store, oldest first."""
        t = work_table.c
        query = sa.select(work_table).where(t.key_id == key_id).order_by(t.ordered_at, t.id)
        return [work_of(row) for row in await uow.execute(query)]


def work_of(row: sa.Row[Any]) -> Work:
    """A row of ``key_work``."""
    return Work(
        id=row.id, key_id=row.key_id, act=row.act, state=row.state, ordered_at=row.ordered_at, next_at=row.next_at,
        tries=row.tries, code=row.code or "", done_at=row.done_at,
    )  # fmt: skip


def rule_of(row: Any) -> Rule:
    """A row's own rule, completed by what is usual for its purpose."""
    usual = Rule.usual(KeyPurpose(row.purpose))
    return Rule(
        per_minute=usual.per_minute if row.per_minute is None else row.per_minute,
        per_day=usual.per_day if row.per_day is None else row.per_day,
        at_once=usual.at_once if row.at_once is None else row.at_once,
    )


def _known(row: sa.Row[Any]) -> KnownKey:
    ref = KeyRef(
        store=row.store, name=row.name, version=row.version, purpose=KeyPurpose(row.purpose),
        algorithm=SignatureAlgorithm(row.algorithm), spki=bytes(row.spki), place=row.place,
    )  # fmt: skip
    return KnownKey(
        id=row.id, realm=Realm(row.realm), owner=row.owner, ref=ref, state=KeyState(row.state), created_at=row.created_at,
        stopped_at=row.stopped_at, disabled_at=row.disabled_at, destroy_after=row.destroy_after, why=row.why or "",
        rule=rule_of(row), decided=any(n is not None for n in (row.per_minute, row.per_day, row.at_once)),
    )  # fmt: skip
