"""Calls against causes, in constant memory: what has met its other half is forgotten.

Both sides are fed in the order of time, causes ahead of calls by a *horizon* that covers the clocks' difference and the way
from writing a cause down to the server's line. A call that has no cause by then has none; a cause that says ``MUST`` and has
no call by then has none. Intents that came to nothing yet are kept, since an order may be signed days later.

Several orders, or uses, may have one key and input: each says for itself how many calls it explains and whether it demands one.
"""

import datetime as dt
from collections import Counter, OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

from audit.keyuse.model import Call, Cause, Inputs, KeyVersion, Signal
from core.limits import LIMITS

__all__ = ["Matcher", "Settled"]

_Mark = tuple[KeyVersion, bytes]


@dataclass(slots=True)
class _Open:
    cause: Cause
    """The newest."""
    may: Counter[str] = field(default_factory=Counter)
    """Calls that each order or use explains."""
    must: dict[str, dt.datetime] = field(default_factory=dict)
    """Orders that demand one, and since when."""
    calls: int = 0
    told: int = 0
    """Demands that were found to have none."""

    def add(self, cause: Cause) -> None:
        self.cause = cause
        if cause.signal is Signal.MAY:
            self.may[cause.id] += 1
        else:
            self.must[cause.id], self.may[cause.id] = cause.at, max(self.may[cause.id], 1)

    @property
    def free(self) -> bool:
        """For one more call."""
        return self.calls < self.may.total()

    @property
    def ends(self) -> bool:
        """No cause of it will say more."""
        return self.cause.kind == "use" or self.may.keys() == self.must.keys()


@dataclass(frozen=True, slots=True)
class Settled:
    """What will not find its other half any more."""

    calls: list[Call]
    unmet: list[Cause]
    """Orders that must have had a call."""
    unused: list[Cause]
    """Uses of the book without one."""


class Matcher:
    """The state between two sides."""

    def __init__(self, hashes: Inputs, start: dt.datetime) -> None:
        """``start``: no cause from before it is asked for a call, since the files may begin after the call."""
        self._hashes = hashes
        self._start = start
        self._horizon = dt.timedelta(seconds=LIMITS["keyuse.horizon_seconds"])
        self._open: OrderedDict[_Mark, _Open] = OrderedDict()
        self._waiting: OrderedDict[_Mark, list[Call]] = OrderedDict()
        self.matched = 0

    async def add_causes(self, causes: list[Cause]) -> None:
        """In the order of time. Raises what the hashes raise."""
        hashed = await self._hashes.of([cause.input for cause in causes])
        for cause, value in zip(causes, hashed, strict=True):
            mark = (cause.key, value)
            entry = self._open.setdefault(mark, _Open(cause))
            entry.add(cause)
            self._open.move_to_end(mark)
            waiting = self._waiting.get(mark, [])
            while waiting and entry.free:
                waiting.pop(0)
                self._count(entry)
            if not waiting:
                self._waiting.pop(mark, None)
            self._forget_met(mark, entry)

    def add_call(self, call: Call) -> None:
        """In the order of time, more or less."""
        if call.key.version == 0:
            call = call._replace(key=self._named(call))
        mark = (call.key, call.input)
        entry = self._open.get(mark)
        if entry is not None and entry.free:
            self._count(entry)
            self._forget_met(mark, entry)
        else:
            self._waiting.setdefault(mark, []).append(call)

    def _named(self, call: Call) -> KeyVersion:
        """A request without response does not tell the version where it was sent as a string: the one that has a cause."""
        fitting = (key for key, value in self._open if value == call.input and key[:2] == call.key[:2])
        return next(fitting, call.key)

    def _count(self, entry: _Open) -> None:
        entry.calls += 1
        self.matched += 1

    def _forget_met(self, mark: _Mark, entry: _Open) -> None:
        if entry.ends and not entry.free:
            del self._open[mark]

    def settle(self, causes_until: dt.datetime, calls_until: dt.datetime) -> Settled:
        """What is decided when all causes until then, and all calls until then, have been given."""
        lonely: list[Call] = []
        for mark, waiting in list(self._waiting.items()):
            lonely += [call for call in waiting if call.at <= causes_until - self._horizon]
            self._waiting[mark] = [call for call in waiting if call.at > causes_until - self._horizon]
            if not self._waiting[mark]:
                del self._waiting[mark]
        unmet, unused = list[Cause](), list[Cause]()
        for mark, entry in list(self._open.items()):
            if entry.cause.at > calls_until - self._horizon:
                continue
            if entry.cause.kind == "use":
                del self._open[mark]
                unused += [entry.cause] if entry.cause.at >= self._start else []
                continue
            unmet += self._unmet(entry)
            if entry.ends or entry.cause.at < calls_until - dt.timedelta(days=LIMITS["keyuse.intent_days"]):
                del self._open[mark]
        return Settled(sorted(lonely, key=lambda call: call.at), unmet, unused)

    def _unmet(self, entry: _Open) -> list[Cause]:
        """One call each is enough: an answer that was lost may never have been asked for."""
        demanded = [ref for ref, at in entry.must.items() if at >= self._start]
        missing = demanded[entry.calls + entry.told :]
        entry.told += len(missing)
        return [replace(entry.cause, id=ref, at=entry.must[ref]) for ref in missing]

    @property
    def size(self) -> int:
        """How much is kept."""
        return len(self._open) + len(self._waiting)

    def dump(self) -> dict[str, Any]:
        """For the next run: keys, ids, keyed hashes, times."""
        return {
            "open": [
                [*mark[0], mark[1].hex(), e.cause.id, e.cause.kind, e.cause.at.isoformat(), dict(e.may),
                 {ref: at.isoformat() for ref, at in e.must.items()}, e.calls, e.told,
                 e.cause.input.hex() if e.cause.kind == "use" else ""]
                for mark, e in self._open.items()
            ],
            "waiting": [
                [*call.key, call.input.hex(), call.at.isoformat(), *call[3:]]
                for calls in self._waiting.values() for call in calls
            ],
        }  # fmt: skip

    def load(self, kept: dict[str, Any]) -> None:
        """As ``dump`` gave it."""
        for place, name, version, value, ref, kind, at, may, must, calls, told, given in kept.get("open", ()):
            key, demanded = KeyVersion(place, name, version), {r: dt.datetime.fromisoformat(a) for r, a in must.items()}
            signal = Signal.MUST if ref in must else Signal.MAY
            cause = Cause(
                id=ref, kind=kind, key=key, input=bytes.fromhex(given), signal=signal, at=dt.datetime.fromisoformat(at)
            )
            self._open[key, bytes.fromhex(value)] = _Open(cause, Counter(may), demanded, calls, told)
        for place, name, version, value, at, *rest in kept.get("waiting", ()):
            call = Call(KeyVersion(place, name, version), bytes.fromhex(value), dt.datetime.fromisoformat(at), *rest)
            self._waiting.setdefault((call.key, call.input), []).append(call)
