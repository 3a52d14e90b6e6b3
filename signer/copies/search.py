"""Finding a line of the register, at a million lines as at ten.

A search walks the index of its rarest word from the newest line back and asks for the other words, until the page is
full. Words that are all common and never stand together would walk far: after ``search.walk`` lines it stops and says so.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from core.db import UnitOfWork
from core.limits import LIMITS
from signer.copies.register import Entry, entry_table
from signer.copies.words import word_table, words_of

__all__ = ["Found", "Search"]


@dataclass(frozen=True, slots=True)
class Found:
    """``complete`` is false where older lines were not looked at."""

    entries: list[Entry]
    complete: bool


class Search:
    """Reads only."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    async def entries(
        self, agency_id: str, *, words: str = "", year: int | None = None, number: int | None = None,
        state: str | None = None, after: str | None = None, limit: int = 50,
    ) -> Found:  # fmt: skip
        """The newest first. All words must stand in the line."""
        e = entry_table.c
        query = sa.select(entry_table).where(e.agency_id == agency_id)
        for column, value in ((e.year, year), (e.number, number), (e.state, state)):
            if value is not None:
                query = query.where(column == value)
        if after is not None:
            query = query.where(e.id < after)
        asked = words_of(words)[: LIMITS["search.words"]]
        walked = 0
        if words.strip():
            if not asked:
                return Found([], complete=True)
            counted = sorted([(await self._count(agency_id, word), word) for word in asked])
            walked = counted[0][0]
            query = query.where(e.id.in_(self._walk(agency_id, [word for _, word in counted], after)))
        rows = await self._uow.execute(query.order_by(e.id.desc()).limit(limit))
        found = [Entry(**row._mapping) for row in rows]  # noqa: SLF001
        return Found(found, complete=len(found) == limit or walked < LIMITS["search.walk"])

    async def _count(self, agency_id: str, word: str) -> int:
        """How many lines have it, counted no further than the walk goes."""
        w = word_table.c
        some = sa.select(w.entry_id).where(w.agency_id == agency_id, w.word == word).limit(LIMITS["search.walk"])
        return int((await self._uow.execute(sa.select(sa.func.count()).select_from(some.subquery()))).scalar_one())

    @staticmethod
    def _walk(agency_id: str, words: list[str], after: str | None) -> Any:
        """Ids of lines that have all words, out of the newest that have the first."""
        w = word_table.c
        rare = sa.select(w.entry_id).where(w.agency_id == agency_id, w.word == words[0])
        if after is not None:
            rare = rare.where(w.entry_id < after)
        newest = rare.order_by(w.entry_id.desc()).limit(LIMITS["search.walk"]).subquery()
        chosen = sa.select(newest.c.entry_id)
        for word in words[1:]:
            other = word_table.alias()
            chosen = chosen.where(
                sa.exists().where(
                    other.c.agency_id == agency_id, other.c.word == word, other.c.entry_id == newest.c.entry_id
                )
            )
        return chosen
