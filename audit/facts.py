"""Reconciliation's turn (design §2): rooms above give neutral facts; ``audit`` compares, importing none of them."""

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Difference", "Fact", "FactSource", "reconcile"]


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that must stand on both sides."""

    kind: str
    event_id: str
    time: dt.datetime
    commitment: bytes


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact that one side lacks or says differently."""

    source: str
    problem: str
    """``missing_in_log``, ``missing_in_source`` or ``differs``."""
    event_id: str


class FactSource(Protocol):
    """A room's own record of what the log should hold."""

    name: str

    def facts(self) -> AsyncIterator[Fact]:
        """Every fact, any order; each event id once."""


async def reconcile(log: dict[str, Fact], source: FactSource) -> list[Difference]:
    """Compare both directions; empty means they agree."""
    found: list[Difference] = []
    seen: set[str] = set()
    kinds: set[str] = set()
    async for fact in source.facts():
        seen.add(fact.event_id)
        kinds.add(fact.kind)
        logged = log.get(fact.event_id)
        if logged is None:
            found.append(Difference(source.name, "missing_in_log", fact.event_id))
        elif (logged.kind, logged.commitment) != (fact.kind, fact.commitment):
            found.append(Difference(source.name, "differs", fact.event_id))
    found += [
        Difference(source.name, "missing_in_source", e) for e, f in log.items() if f.kind in kinds and e not in seen
    ]
    return found
