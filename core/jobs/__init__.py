"""Work that survives its process: a port, because tests have a second implementation (``tests/fakes.py``).

A job is a kind and a key (an id; never bytes, never a secret). What it does lives in a state machine of the room that
serves it, so repeating a job is harmless; the job only makes sure that somebody goes on. Errors of class
``Unavailable`` and ``Conflict`` are tried again a few times before they reach the caller. Work that is not over yet
raises ``Again``: it rests without holding anything and goes on when its time has come, also in another process.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from core.errors import Conflict, Unavailable

__all__ = ["Again", "Jobs", "Note", "Work", "worth_repeating"]

Note = Callable[[str], None]
"""Told the name of each step when it is complete; known only in the process that asked."""

Work = Callable[[str, Note], Awaitable[str]]
"""``(key, note)`` → the id of what it came to (stored in clear). Repeating it must be harmless."""


class Again(Exception):
    """Raised by work that wants to be run again after ``seconds``; however often, a restart keeps the time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = max(0.0, seconds)


def worth_repeating(error: BaseException) -> bool:
    """A part did not answer, or another process was first: both may look different in a moment."""
    return isinstance(error, Unavailable | Conflict)


class Jobs(Protocol):
    """Durable work. Nobody who asks with ``run`` waits for a polling interval."""

    def serve(self, kind: str, work: Work) -> None:
        """Say what ``kind`` does; before ``start``."""

    async def start(self) -> None:
        """Begin, and go on with what this executor, or a dead one on this machine, left unfinished."""

    async def run(self, kind: str, key: str, note: Note = lambda _: None) -> str:
        """Do it now, here; durable from before its first step. Raises what the work raises."""

    async def submit(self, kind: str, key: str, run: str) -> None:
        """Start it and do not wait; durable when this returns. The same ``run`` of a key is started once, ever."""

    async def adopt(self) -> None:
        """Go on with what processes of this machine left unfinished that have died since ``start``."""

    async def under_way(self) -> set[tuple[str, str]]:
        """``(kind, key)`` of all jobs that are not finished, of any executor."""

    async def settle(self, seconds: float) -> bool:
        """Wait until nothing of this executor is under way (work that rests is); False when the time ran out."""

    async def stop(self) -> None:
        """Let go. What is unfinished goes on at the next ``start``."""
