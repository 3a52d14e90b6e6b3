"""Tables of the log (transparency log, one table for pending and sequenced leaves)."""

import sqlalchemy as sa

from core.db import UtcDateTime, append_only, metadata

__all__ = ["checkpoint_table", "entry_table", "state_table", "tile_table"]

state_table = sa.Table(
    "log_state",
    metadata,
    sa.Column("log_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
)
entry_table = sa.Table(
    "log_entry",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("log_id", sa.Integer, nullable=False),
    sa.Column("dedup", sa.Text, nullable=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
    sa.Column("idx", sa.BigInteger),
    sa.UniqueConstraint("log_id", "dedup"),
    sa.UniqueConstraint("log_id", "idx"),
)
sa.Index(
    "ix_log_pending", entry_table.c.log_id, entry_table.c.seq,
    sqlite_where=entry_table.c.idx.is_(None), postgresql_where=entry_table.c.idx.is_(None),
)  # fmt: skip
append_only(entry_table, may_change=("idx",), from_null=True)
"""Pending = ``idx is null``; an index is given once."""

tile_table = sa.Table(
    "log_tile",
    metadata,
    sa.Column("log_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
)
checkpoint_table = sa.Table(
    "log_checkpoint",
    metadata,
    sa.Column("log_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)
append_only(checkpoint_table)
