"""Finding a line of the register, at a million lines as at ten.

A search walks the index of its rarest word from the newest line back and asks each line for the rest, until the page is
full. Words that are all common and never stand together would walk far: after ``search.walk`` lines it stops and says so.
"""

from dataclasses import dataclass

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
        asked = words_of(words)[: LIMITS["search.words"]]
        if words.strip() and not asked:
            return Found([], complete=True)
        rules = [c == v for c, v in ((e.year, year), (e.number, number), (e.state, state)) if v is not None]
        if asked:
            ids, complete = await self._by_words(agency_id, asked, rules, after, limit)
            return Found(await self._read(e.id.in_(ids)), complete=complete)
        if after is not None:
            rules.append(e.id < after)
        if number is not None:  # one line a book and year: all of them, or the order would choose a worse index
            return Found((await self._read(e.agency_id == agency_id, *rules))[:limit], complete=True)
        return Found(await self._read(e.agency_id == agency_id, *rules, limit=limit), complete=True)

    async def _read(self, *rules: sa.ColumnElement[bool], limit: int | None = None) -> list[Entry]:
        query = sa.select(entry_table).where(*rules)
        if limit is not None:
            query = query.order_by(entry_table.c.id.desc()).limit(limit)
        found = [Entry(**row._mapping) for row in await self._uow.execute(query)]  # noqa: SLF001
        return sorted(found, key=lambda entry: entry.id, reverse=True)

    async def _by_words(
        self, agency_id: str, words: list[str], rules: list[sa.ColumnElement[bool]], after: str | None, limit: int
    ) -> tuple[list[str], bool]:
        """(ids, whether all lines were looked at). Reads the index of one word; the rest are questions to each line."""
        counted = sorted([(await self._count(agency_id, word), word) for word in words])
        w = word_table.c
        mine = sa.and_(w.agency_id == agency_id, w.word == counted[0][1])
        if after is not None:
            mine = sa.and_(mine, w.entry_id < after)
        edge = None
        if counted[0][0] >= LIMITS["search.few"]:
            far = sa.select(w.entry_id).where(mine).order_by(w.entry_id.desc()).offset(LIMITS["search.walk"]).limit(1)
            edge = (await self._uow.execute(far)).scalar_one_or_none()
        query = sa.select(w.entry_id).where(mine)
        if edge is not None:
            query = query.where(w.entry_id > edge)
        for _, word in counted[1:]:
            o = word_table.alias().c
            query = query.where(
                sa.exists()
                .where(o.agency_id == agency_id, o.word == word, o.entry_id == w.entry_id)
                .correlate(word_table)
            )
        if rules:
            query = query.where(sa.exists().where(entry_table.c.id == w.entry_id, *rules).correlate(word_table))
        found = list((await self._uow.execute(query.order_by(w.entry_id.desc()).limit(limit))).scalars())
        return found, edge is None or len(found) == limit

    async def _count(self, agency_id: str, word: str) -> int:
        """How many lines have it, counted only as far as it helps to choose."""
        w = word_table.c
        some = sa.select(w.entry_id).where(w.agency_id == agency_id, w.word == word).limit(LIMITS["search.few"])
        return int((await self._uow.execute(sa.select(sa.func.count()).select_from(some.subquery()))).scalar_one())
