"""The table of wrapped keys: blobs that only the token can open, each tied by the token's MAC to what it is bound to."""

from typing import Final

import sqlalchemy as sa

from core.db import UtcDateTime, append_only, metadata

__all__ = ["WRAPPED_BY_NAME", "wrapped_key_table"]

wrapped_key_table = sa.Table(
    "wrapped_key",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("algorithm", sa.String(32), nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("spki", sa.LargeBinary, nullable=False),
    sa.Column("kek", sa.LargeBinary, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
    sa.Column("blob", sa.LargeBinary),
    sa.Column("tag", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("state in ('active', 'disabled', 'destroyed')", name="state"),
    sa.CheckConstraint("(state = 'destroyed') = (blob is null)", name="blob"),
)
"""``active`` → ``disabled`` → ``destroyed`` (the blob goes, the name stays). ``kek``, ``mac``: CKA_ID of the token's keys."""

append_only(wrapped_key_table, may_change=("state", "blob"), final=("destroyed",))

_t = wrapped_key_table.c
WRAPPED_BY_NAME: Final = sa.select(_t.state, _t.blob, _t.tag, _t.kek, _t.mac).where(_t.name == sa.bindparam("name"))
"""On the path of every signature of a person."""
