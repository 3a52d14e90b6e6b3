"""Rules of keys: by whom a key may be used, how often in a minute, in a day and at once. Who goes beyond stops the key.

A stolen session could use a key without anybody noticing; the rules bound the harm and make it show. All processes share
one count. Uses are taken from the database in small leases, so that the fast path does not wait for a commit; a crash
loses at most one lease, never gains one. What a lease holds is used only while the registry says ``active``, and that is
read again when it is a second old; where a person's approval is spent it is read in that transaction
(``Registry.require_usable``).

* Keys of persons and seals are spent by the ceremony (``spending``): all digests of one approval in one go, before the
  approval is spent. The key that is opened for such an order counts no more, so an approval that was spent can be finished.
* Every other key is a ``RuledKey``: each use is paid for before the key is touched.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from core.clock import VIETNAM, Clock
from core.db import Database, UnitOfWork, insert_new
from core.errors import NotFound, Refused, ServiceError, Unavailable
from core.limits import LIMITS
from core.signing import SigningKey
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.records import budget_table, pace_table
from signer.keystores.registry import FOR_USE, Registry, Rule, place_of, require_active, rule_of

__all__ = ["PERSONAL", "ROLES", "RuledKey", "Rules", "begin_anew", "used_today"]

_MOST_KNOWN: Final = 4096
"""Keys whose leases a process holds before it forgets those of past minutes."""

PERSONAL: Final = frozenset({KeyPurpose.DOCUMENT, KeyPurpose.SEAL})
"""Keys that only a person's approval may cause to sign."""
ROLES: Final[dict[KeyPurpose, frozenset[str]]] = {
    # an official who certifies; a signer of a request, official or citizen; a clerk who seals
    KeyPurpose.DOCUMENT: frozenset({"certifier", "signer"}),
    KeyPurpose.SEAL: frozenset({"seal"}),
    **{purpose: frozenset({"service"}) for purpose in set(KeyPurpose) - PERSONAL},
}
"""As an activation's record and an order name them; ``service`` is a process of ours without a person."""

_b, _p = budget_table.c, pace_table.c
_PACE = sa.select(_p.minute, _p.used).where(_p.key_name == sa.bindparam("key")).with_for_update()
_DAY = sa.select(_b.used).where(_b.key_name == sa.bindparam("key"), _b.day == sa.bindparam("on")).with_for_update()
_SET_PACE = (
    pace_table.update()
    .where(_p.key_name == sa.bindparam("key"))
    .values(minute=sa.bindparam("at"), used=sa.bindparam("now"))
)
_SET_DAY = (
    budget_table.update()
    .where(_b.key_name == sa.bindparam("key"), _b.day == sa.bindparam("on"))
    .values(used=sa.bindparam("now"))
)


async def used_today(uow: UnitOfWork, clock: Clock, names: list[str]) -> dict[str, int]:
    """Uses that were leased today, by the key's name; a key that was not used is left out."""
    query = sa.select(_b.key_name, _b.used).where(_b.key_name.in_(names), _b.day == _day(clock.now()))
    return {row.key_name: row.used for row in await uow.execute(query)}


async def begin_anew(uow: UnitOfWork, clock: Clock, name: str) -> None:
    """A stopped key that may go on starts today's and this minute's count again. Before the key's own row is touched."""
    now = clock.now()
    await uow.execute(pace_table.update().where(_p.key_name == name).values(used=0))
    await uow.execute(budget_table.update().where(_b.key_name == name, _b.day == _day(now)).values(used=0))


def _day(at: dt.datetime) -> str:
    return f"{at.astimezone(VIETNAM):%Y-%m-%d}"


@dataclass(slots=True)
class _Lease:
    """What this process has paid for and not used. Numbers of an older window are worth nothing."""

    day: str
    minute: int
    of_day: int
    of_minute: int
    at_once: int
    read_at: dt.datetime
    """When the registry last said that the key may be used."""

    @property
    def window(self) -> tuple[str, int]:
        """For which it was paid."""
        return self.day, self.minute


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """One count to be raised."""

    used: int
    most: int
    left: int
    """Paid for before, and still good."""

    def taken(self, count: int) -> int | None:
        """How many more to pay for so that ``count`` can be used; None where that is more than there is."""
        wanted = max(0, count - self.left)
        free = self.most - self.used
        if wanted > free:
            return None
        # of a small budget a small lease, so that idle processes do not hold all of it
        lease = min(LIMITS["budget.lease"], self.most // 50) - self.left
        return min(max(wanted, lease), free) if wanted else 0


class Rules:
    """Leases of this process."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock
        self.registry = Registry(clock)
        self._leases: dict[KeyRef, _Lease] = {}
        self._turns: dict[KeyRef, asyncio.Lock] = {}
        self._look = db.prepared(FOR_USE)

    # -------------------------------------------------------------------------------------------------------- using
    @asynccontextmanager
    async def spending(self, ref: KeyRef, count: int, role: str) -> AsyncIterator[None]:
        """Pay for ``count`` uses around the transaction that spends their approval.

        What was paid is given back to this process's lease where the block is refused for sure; where its outcome is not
        known it stays paid. Raises what ``spend`` raises.
        """
        lease = await self.spend(ref, count, role)
        try:
            yield
        except Unavailable:  # a commit may stand behind it
            raise
        except ServiceError:
            now = self._good(ref, self._clock.now())
            if now is not None and now.window == lease.window:  # an older minute's are worth nothing
                now.of_day += count
                now.of_minute += count
            raise

    async def spend(self, ref: KeyRef, count: int = 1, role: str = "service") -> _Lease:
        """Uses of a key, before it is touched; from which lease. Of more than there is none is given, and the key is stopped.

        Raises ``key.wrong_role``, ``key.budget_spent`` (this use stopped it), ``key.stopped``, ``key.disabled``,
        ``key.unregistered``.
        """
        if role not in ROLES[ref.purpose]:
            raise Refused("key.wrong_role", key=ref.name, role=role)
        async with self._turns.setdefault(ref, asyncio.Lock()):  # whoever waits finds the lease of the one before
            now = self._clock.now()
            lease = self._good(ref, now)
            if lease is None or min(lease.of_day, lease.of_minute, lease.at_once) < count:
                lease = await self._paid(ref, count, now)
            elif not dt.timedelta() <= now - lease.read_at < dt.timedelta(milliseconds=LIMITS["keys.fresh_ms"]):
                del self._leases[ref]  # what it holds is worth nothing where the answer is no
                await self._require_active(ref)
                lease.read_at = now
                self._leases[ref] = lease
            lease.of_day -= count
            lease.of_minute -= count
            return lease

    def _good(self, ref: KeyRef, now: dt.datetime) -> _Lease | None:
        """The lease, where it is of this minute."""
        lease = self._leases.get(ref)
        return lease if lease is not None and lease.window == (_day(now), _minute(now)) else None

    async def _require_active(self, ref: KeyRef) -> None:
        row = await self._look.first(**place_of(ref))
        if row is None:
            raise NotFound("key.unregistered", key=ref.name)
        require_active(row.state, ref)

    # ------------------------------------------------------------------------------------------------------- paying
    async def _paid(self, ref: KeyRef, count: int, now: dt.datetime) -> _Lease:
        """A lease with at least ``count`` uses. A refusal for too many is committed before it is raised."""
        async with self._db.write() as uow:
            made = await self._pay(uow, ref, count, now)
        if isinstance(made, Refused):
            self._leases.pop(ref, None)
            raise made
        self._leases[ref] = made
        if len(self._leases) > _MOST_KNOWN:
            self._forget(now)
        return made

    def _forget(self, now: dt.datetime) -> None:
        self._leases = {ref: lease for ref, lease in self._leases.items() if self._good(ref, now) is lease}
        self._turns = {ref: turn for ref, turn in self._turns.items() if turn.locked()}

    async def _pay(self, uow: UnitOfWork, ref: KeyRef, count: int, now: dt.datetime) -> _Lease | Refused:
        day, minute, name = _day(now), _minute(now), ref.name
        # 1 the counts, locked in this order by everybody
        await uow.execute(insert_new(uow, pace_table), {"key_name": name, "minute": minute, "used": 0})
        await uow.execute(insert_new(uow, budget_table), {"key_name": name, "day": day, "used": 0})
        pace = (await uow.execute(_PACE, {"key": name})).one()
        used = (await uow.execute(_DAY, {"key": name, "on": day})).scalar_one()

        # 2 the key as it stands now
        row = (await uow.execute(FOR_USE, place_of(ref))).first()
        if row is None:
            raise NotFound("key.unregistered", key=name)
        require_active(row.state, ref)
        rule = rule_of(row)

        # 3 what is left, and what more is wanted; a clock that was set back finds the minute it left, not a new one
        lease = self._leases.get(ref)
        counted = max(minute, pace.minute)
        days = _Window(used=used, most=rule.per_day, left=lease.of_day if lease and lease.day == day else 0)
        minutes = _Window(
            used=pace.used if counted == pace.minute else 0, most=rule.per_minute,
            left=lease.of_minute if lease and lease.minute == minute else 0,
        )  # fmt: skip
        more = _more(rule, count, days, minutes)
        if isinstance(more, str):
            await self.registry.stop(uow, row.id, more)
            return Refused("key.budget_spent", key=name, most=_most(rule, more))

        # 4 both counts grow by what is taken
        await uow.execute(_SET_DAY, {"key": name, "on": day, "now": used + more[0]})
        await uow.execute(_SET_PACE, {"key": name, "at": counted, "now": minutes.used + more[1]})
        return _Lease(
            day=day, minute=minute, of_day=days.left + more[0], of_minute=minutes.left + more[1], at_once=rule.at_once,
            read_at=now,
        )  # fmt: skip


def _minute(at: dt.datetime) -> int:
    return int(at.timestamp()) // 60


def _more(rule: Rule, count: int, days: _Window, minutes: _Window) -> tuple[int, int] | str:
    """What to take of both, or the code of what is spent."""
    if count > rule.at_once:
        return "key.over_at_once"
    of_day, of_minute = days.taken(count), minutes.taken(count)
    if of_minute is None:
        return "key.over_minute"
    if of_day is None:
        return "key.over_day"
    return of_day, of_minute


def _most(rule: Rule, code: str) -> int:
    return {"key.over_at_once": rule.at_once, "key.over_minute": rule.per_minute, "key.over_day": rule.per_day}[code]


@dataclass(frozen=True, slots=True)
class RuledKey:
    """A service key's ``core.signing.SigningKey``: each use is paid for first."""

    key: SigningKey
    ref: KeyRef
    rules: Rules

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """Pinned at creation."""
        return self.key.algorithm

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.key.spki

    async def sign(self, to_sign: Digest | Message) -> bytes:
        """Raises what ``Rules.spend`` and the key raise."""
        await self.rules.spend(self.ref)
        return await self.key.sign(to_sign)
