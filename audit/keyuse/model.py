"""What the comparison speaks of: calls, causes, findings. No I/O."""

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

__all__ = [
    "Call",
    "Cause",
    "CauseSource",
    "Doubt",
    "Finding",
    "Judgement",
    "KeyVersion",
    "Operation",
    "Permit",
    "Severity",
    "Signal",
]


class KeyVersion(NamedTuple):
    """One version of one key, as audit files and key references name it."""

    place: str
    """The mount, a namespace before it where there is one, without slashes at the ends."""
    name: str
    version: int


class Severity(StrEnum):
    """Of a finding."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"
    """Explained, and worth knowing; a run with nothing else is clean."""


class Call(NamedTuple):
    """One value that a key was asked to sign, and did sign: a call, or one item of a batch."""

    key: KeyVersion
    input: bytes
    """HMAC-SHA-256 of the input as it was sent, under the device's own key."""
    at: dt.datetime
    """By the server's clock."""
    request: str
    """The server's id of the request: finds the line again."""
    who: str
    """Opaque id of the caller's entity; empty where the server knows none."""
    asked: str = ""
    """The version as it was asked for, a keyed hash, where the answer does not tell it: ``key`` says 0 then."""


class Operation(NamedTuple):
    """A call on a mount of ours that is no signature, or on the server's own rules."""

    kind: str
    """``export``, ``config`` …; ``rules`` for policies, audit devices and mounts; ``sign_refused`` for signatures that were not made."""
    place: str
    name: str
    done: bool
    at: dt.datetime
    request: str
    who: str
    known: bool
    """Whether the caller is one of the identities that may sign."""
    path: str = ""
    """Inside our namespace; of changes of settings and rules alone."""
    data: dict[str, Any] | None = None
    """What was sent there, as the file shows it: names and numbers plain, strings as keyed hashes."""


class Permit(NamedTuple):
    """What explains an operation."""

    code: str
    """``keyuse.decided``, ``keyuse.as_prepared`` or ``keyuse.never_owned``."""
    ref: str = ""
    """The decision's id, or the ordered act's."""


class Signal(StrEnum):
    """What a cause says about calls."""

    MAY = "may"
    """One more call with this input has its cause."""
    MUST = "must"
    """What came of it stands in our records, so there was a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a key was, or may have been, called."""

    id: str
    """Of the order or the use; in findings."""
    kind: str
    """``order`` (persons' and seal keys) or ``use`` (the use book)."""
    key: KeyVersion
    input: bytes
    """As the key got it: digest or message."""
    signal: Signal
    at: dt.datetime


class Doubt(StrEnum):
    """What may be behind a call without cause, or a use without call."""

    NOTHING = "nothing"
    TWICE = "twice"
    """An order of ours with this digest, and more calls than its records explain."""
    CRASH = "crash"
    """A process of ours died just then, which is proven, and may have taken its last notes with it."""
    STORED = "stored"
    """A use without call whose result is stored with us: somebody else made that signature."""


class Judgement(NamedTuple):
    """An answer to ``CauseSource.explain`` and ``CauseSource.result_of``."""

    doubt: Doubt
    ref: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What does not agree, once a key and caller: more of the same are counted."""

    code: str
    severity: Severity
    key: KeyVersion | None
    what: str = ""
    """An operation's kind, an order's or life's id, a file's name."""
    who: str = ""
    count: int = 1
    first_at: dt.datetime | None = None
    last_at: dt.datetime | None = None
    requests: tuple[str, ...] = field(default=())
    """The first of them."""

    @property
    def evidence(self) -> dict[str, str | int]:
        """For the sentence."""
        key = self.key or KeyVersion("", "", 0)
        return {"key": key.name, "place": key.place, "version": key.version, "what": self.what, "count": self.count}


class CauseSource(Protocol):
    """Our side. All times are ours; the comparison allows for the clocks' difference."""

    async def begin(self, start: dt.datetime, end: dt.datetime, memory: dict[str, str]) -> dt.datetime:
        """Called first. ``memory``: what ``remember`` gave at the end of the last run, empty at the first. Returns until when
        everything of ours is durable and can be given: ``end`` or earlier."""  # noqa: D209

    def causes(self, after: dt.datetime, until: dt.datetime) -> AsyncIterator[list["Cause | Finding"]]:
        """In pieces, in the order of time: ``after`` < ``at`` ≤ ``until``; a finding in place of what is none although it says
        so. Called with rising times."""  # noqa: D209

    async def explain(self, calls: list[Call], hashes: "Inputs") -> list[Judgement]:
        """What may be behind calls without cause."""

    async def result_of(self, uses: list[Cause]) -> list[Judgement]:
        """For uses of the book without call: whether what came of them is stored."""

    async def permitted(self, operation: Operation, hashes: "Inputs") -> Permit | None:
        """What explains an operation; None for nothing."""

    async def counterparts(self, after: dt.datetime, until: dt.datetime) -> list[Finding]:
        """The book against what service keys made: checkpoints, lists, certificates."""

    def remember(self) -> dict[str, str]:
        """For the next run."""


class Inputs(Protocol):
    """Values as an audit file shows them."""

    async def of(self, inputs: list[bytes]) -> list[bytes]:
        """HMACs, in order."""

    async def shown(self, value: Any, *, numbers: bool = False) -> Any:
        """What was sent, with every string in it as the file has it; ``numbers``: those too, as Vault has them."""
