"""What a ceremony leaves: who, when, which store, each step with its result; no secret is ever put in."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from core.clock import Clock
from core.errors import ServiceError
from core.ids import new_id

__all__ = ["KINDS", "RELEASE", "Both", "Fact", "Outcome", "Protocol", "Step"]

Both = tuple[str, str]
"""Vietnamese, English."""
Fact = tuple[Both, str]
"""What, and its value: a digest, a name of a key, an id of a decision; never a secret."""

KINDS: Final[dict[str, Both]] = {
    "init": ("Chuẩn bị kho khóa", "Preparing a key store"),
    "rotate": ("Thay khóa", "Rotation of a key"),
    "import": ("Nhập khóa", "Import of a key"),
    "move": ("Dời khóa vào OpenBao", "Move of a key into OpenBao"),
    "disable": ("Ngừng dùng khóa", "Taking a key out of use"),
    "destroy": ("Hủy khóa", "Destruction of a key"),
    "ceremony": ("Kiểm kê và nghi thức khóa", "Key ceremony"),
    "release": ("Cho nhật ký đã đóng băng chạy tiếp", "Release of the frozen log"),
}
RELEASE: Final = "release"
"""The one kind that is about no key."""


class Outcome(StrEnum):
    """Of a step."""

    DONE = "done"
    WARNING = "warning"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was done or looked at."""

    at: dt.datetime
    what: Both
    outcome: Outcome
    facts: tuple[Fact, ...] = ()
    code: str = ""
    """Why it failed, or what is to be noticed: a message code."""


@dataclass(slots=True, kw_only=True)
class Protocol:
    """Written while the ceremony goes on."""

    clock: Clock
    kind: str
    store: str
    """``transit``, ``pkcs11``, ``software``; product and version beside it."""
    product: str = ""
    present: tuple[str, ...] = ()
    """Names as they were typed."""
    reason: str = ""
    """As it was typed, where one is asked for."""
    id: str = ""
    started: dt.datetime = field(init=False)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = self.clock.now()
        self.id = self.id or new_id(self.clock)

    def add(self, what: Both, outcome: Outcome = Outcome.DONE, *facts: Fact, code: str = "") -> Step:
        """One more step, now."""
        step = Step(at=self.clock.now(), what=what, outcome=outcome, facts=facts, code=code)
        self.steps.append(step)
        return step

    @contextmanager
    def step(self, what: Both) -> Iterator[list[Fact]]:
        """A step whose facts are put into the list given; one of our errors is written down and goes on."""
        facts: list[Fact] = []
        try:
            yield facts
        except ServiceError as error:
            self.add(what, Outcome.FAILED, *facts, code=error.code)
            raise
        self.add(what, Outcome.DONE, *facts)

    @property
    def good(self) -> bool:
        """Nothing failed."""
        return all(step.outcome is not Outcome.FAILED for step in self.steps)
