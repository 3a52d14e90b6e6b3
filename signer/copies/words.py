"""The words of each line of the register, as an index of their own: what a clerk types, with or without accents."""

import re
import unicodedata
from typing import Any

import sqlalchemy as sa

from core.db import UnitOfWork, append_only, metadata

__all__ = ["index_words", "word_table", "words_of"]

word_table = sa.Table(
    "register_word",
    metadata,
    sa.Column("agency_id", sa.String(26), primary_key=True),
    sa.Column("word", sa.Text, primary_key=True),
    sa.Column("entry_id", sa.String(26), sa.ForeignKey("register_entry.id"), primary_key=True),
)
append_only(word_table)
"""Its key is the index: agency, word, then lines in the order of their making."""

_SEARCHED = ("kind", "original_number", "requester", "notes")
_MARKS = str.maketrans("đĐ", "dD")


def words_of(*texts: str) -> list[str]:
    """Lower case, without accents; letters and digits only, in order, each once. ``Giấy`` and ``giay`` are one word."""
    plain = unicodedata.normalize("NFD", " ".join(texts).translate(_MARKS)).lower()
    bare = "".join(c for c in plain if not unicodedata.combining(c))
    return list(dict.fromkeys(word[:40] for word in re.findall(r"[0-9a-z]+", bare)))


async def index_words(uow: UnitOfWork, agency_id: str, entry_id: str, columns: dict[str, Any]) -> None:
    """In the transaction that writes the line."""
    found = words_of(*(str(columns.get(name) or "") for name in _SEARCHED))
    if found:
        rows = [{"agency_id": agency_id, "word": word, "entry_id": entry_id} for word in found]
        await uow.execute(word_table.insert(), rows)
