"""What a link of the signing origin may be about, seen from the page: one protocol, one table.

Each matter shows itself, asks its own desk, and verifies nothing itself: passkeys are judged by the room that holds the
keys. Before the person has entered it says nothing personal.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from api.bootstrap import Service
from api.sign.certified import CopiesMatter
from api.sign.decided import DecisionMatter
from api.sign.requested import StepMatter
from api.sign.shown import Described, File, Shown, Standing
from signer.activation.passkeys import Assertion
from signer.links import Link

__all__ = ["MATTERS", "Matter", "Matters"]


class Matter(Protocol):
    """One person's part in something to be approved. ``document`` is an id from ``show``; pages count from 0."""

    async def describe(self) -> Described:
        """Who asks, for what kind of thing, until when: shown to who only holds the link."""

    async def show(self, person_id: str) -> Shown:
        """Everything to be read, and the open question. May be called again: the same question while it stands."""

    async def pages(self, person_id: str, document: str) -> int:
        """How many pages a document has, where ``show`` did not say."""

    async def page(self, person_id: str, document: str, page: int, width: int) -> bytes:
        """A page as WebP, ``width`` pixels wide."""

    async def text(self, person_id: str, document: str, page: int) -> str:
        """The same page as words."""

    async def approve(self, person_id: str, tx: str, assertion: Assertion) -> None:
        """The person's answer to the question ``tx``; what follows goes on by itself."""

    async def start(self, person_id: str) -> None:
        """Where a provider's app asks the person: let it ask. Raises ``request.no_provider`` elsewhere."""

    async def refuse(self, person_id: str, reason: str) -> None:
        """The person says no."""

    async def status(self, person_id: str, seconds: float) -> Standing:
        """How it stands, as soon as nothing more happens by itself, or after ``seconds``."""

    async def file(self, person_id: str, document: str) -> File:
        """The signed file."""


Matters = Mapping[str, Callable[[Service, Link], Matter]]
MATTERS: Final[Matters] = {"step": StepMatter, "copies": CopiesMatter, "decision": DecisionMatter}
"""By the kind of link. A link of another kind (enrolment) opens nothing here."""
