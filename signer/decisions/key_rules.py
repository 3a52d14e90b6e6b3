"""Decisions about a key's use: on again after a stop, and how often."""

from typing import Any, ClassVar

from core.approvals.model import Decision
from core.db import UnitOfWork
from core.directory.model import Agency
from core.errors import BadInput, Conflict
from core.limits import LIMITS
from signer.decisions.keys import KeyAsked, KeyKind, KeyRecord, key_of, sha256, states
from signer.decisions.room import Payload, Room, Words, both
from signer.keystores.registry import KeyState, KnownKey, Registry, Rule
from signer.keystores.rules import begin_anew

__all__ = ["ResumeKey", "RuleKey"]


# --------------------------------------------------------------------------------------------------------------- resume
class _ResumeRecord(KeyRecord):
    stopped_why: str
    stopped_at: int
    """Microseconds since 1970: which stop it is about."""


class ResumeKey(KeyKind):
    """A key that was used more than its rules allow goes on; its counts begin anew."""

    name: ClassVar[str] = "key.resume"
    shape: ClassVar[type[Payload]] = _ResumeRecord

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``key.unknown``, ``decision.nothing_to_change``."""
        wanted: KeyAsked = self.proposed(payload)
        key = await key_of(uow, room, agency, wanted.key)
        if key.state is not KeyState.STOPPED:
            raise Conflict("decision.nothing_to_change")
        return {**self.record(key), "stopped_why": key.why, "stopped_at": _micros(key)}

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Which, and why it was stopped."""
        wanted: _ResumeRecord = self.read(payload)
        return [
            *await self.which(uow, room, agency, wanted),
            (both("decision.w_stopped_why"), both(wanted.stopped_why)),
            *states("stopped", "active"),
            (both("decision.w_key_later"), both("decision.key_anew")),
        ]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``decision.overtaken``, where it was stopped again since too."""
        wanted: _ResumeRecord = self.read(decision.payload)
        first = await key_of(uow, room, agency, wanted.key)
        await begin_anew(uow, room.clock, first.ref.name)  # who stops it holds these rows: what they did is seen below
        key = await self.unchanged(uow, room, agency, wanted)
        if _micros(key) != wanted.stopped_at:
            raise Conflict("decision.overtaken")
        await Registry(room.clock).resume(uow, key.id, decision.id)
        return {"key": key.id}


def _micros(key: KnownKey) -> int:
    return 0 if key.stopped_at is None else round(key.stopped_at.timestamp() * 1_000_000)


# ----------------------------------------------------------------------------------------------------------------- rule
class _Rule(KeyAsked):
    per_minute: int
    per_day: int
    at_once: int
    """All three 0: what is usual for the purpose."""


class _RuleRecord(_Rule, KeyRecord):
    minute_before: int
    day_before: int
    once_before: int


class RuleKey(KeyKind):
    """How often the key may be used from now on."""

    name: ClassVar[str] = "key.rule"
    shape: ClassVar[type[Payload]] = _RuleRecord
    asked: ClassVar[type[Payload]] = _Rule

    @staticmethod
    def _wanted(wanted: _Rule) -> Rule | None:
        numbers = (wanted.per_minute, wanted.per_day, wanted.at_once)
        if not any(numbers):
            return None
        if not all(1 <= number <= LIMITS["keys.rule_most"] for number in numbers):
            raise BadInput("key.bad_rule", most=LIMITS["keys.rule_most"])
        return Rule(per_minute=wanted.per_minute, per_day=wanted.per_day, at_once=wanted.at_once)

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``key.unknown``, ``key.bad_rule``, ``decision.nothing_to_change``."""
        wanted: _Rule = self.proposed(payload)
        key = await key_of(uow, room, agency, wanted.key)
        rule = self._wanted(wanted)
        same = rule == key.rule if key.decided else rule is None
        if same or key.state not in {KeyState.ACTIVE, KeyState.STOPPED}:
            raise Conflict("decision.nothing_to_change")
        return {**wanted.model_dump(), **self.record(key), **self._before(key)}

    @staticmethod
    def _before(key: KnownKey) -> dict[str, int]:
        rule = key.rule
        return {"minute_before": rule.per_minute, "day_before": rule.per_day, "once_before": rule.at_once}

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Which, and each number before and after."""
        wanted: _RuleRecord = self.read(payload)
        key = await Registry(room.clock).get(uow, wanted.key)
        after = self._wanted(wanted) or Rule.usual(key.ref.purpose)
        rows = (
            ("minute", wanted.minute_before, after.per_minute), ("day", wanted.day_before, after.per_day),
            ("once", wanted.once_before, after.at_once),
        )  # fmt: skip
        said = await self.which(uow, room, agency, wanted)
        for name, before, now in rows:
            label = both(f"key.rule_{name}")
            said += [
                (f"{label} · {both('decision.w_before')}", str(before)), (f"{label} · {both('decision.w_after')}", str(now)),
            ]  # fmt: skip
        return said

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``decision.overtaken``."""
        wanted: _RuleRecord = self.read(decision.payload)
        key = await key_of(uow, room, agency, wanted.key)  # a stop in between changes no rule
        before = {
            "minute_before": wanted.minute_before,
            "day_before": wanted.day_before,
            "once_before": wanted.once_before,
        }
        if sha256(key) != wanted.spki_sha256 or self._before(key) != before:
            raise Conflict("decision.overtaken")
        await Registry(room.clock).set_rule(uow, key, self._wanted(wanted), decision.id)
        return {"key": key.id}
