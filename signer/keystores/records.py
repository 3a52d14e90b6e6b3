"""Tables of the key registry: every key with its state and its rules, what became of it, and what is still to be done.

``store_key``: ``active`` ⇄ ``stopped``; either → ``disabled`` → ``destroyed``. What identifies a key never changes.
"""

import sqlalchemy as sa

from core.approvals.records import decision_table
from core.db import UtcDateTime, append_only, metadata

__all__ = ["budget_table", "event_table", "import_table", "key_table", "pace_table", "policy_table", "work_table"]

key_table = sa.Table(
    "store_key",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("algorithm", sa.String(32), nullable=False),
    sa.Column("store", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("spki", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("stopped_at", UtcDateTime),
    sa.Column("disabled_at", UtcDateTime),
    sa.Column("destroy_after", UtcDateTime),
    sa.Column("why", sa.Text),
    sa.Column("per_minute", sa.Integer),
    sa.Column("per_day", sa.Integer),
    sa.Column("at_once", sa.Integer),
    sa.UniqueConstraint("store", "place", "name", "version"),
    sa.CheckConstraint("state in ('active', 'stopped', 'disabled', 'destroyed')", name="state"),
    sa.Index("ix_store_key_owner", "owner"),
)
"""``why``: a code of ours, or the id of the decision. Rules are null where the purpose's own hold."""
append_only(
    key_table,
    may_change=(
        "state", "stopped_at", "disabled_at", "destroy_after", "why", "per_minute", "per_day", "at_once",
    ),
    final=("destroyed",),
)  # fmt: skip

event_table = sa.Table(
    "key_event",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("key_id", sa.String(26), sa.ForeignKey("store_key.id"), nullable=False),
    sa.Column("what", sa.String(24), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("salt", sa.LargeBinary),
    sa.Index("ix_key_event_key_id_id", "key_id", "id"),
)
"""What became of a key. ``salt``: where a leaf of the log commits to the row."""
append_only(event_table)

work_table = sa.Table(
    "key_work",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("key_id", sa.String(26), sa.ForeignKey("store_key.id"), nullable=False),
    sa.Column("act", sa.String(16), nullable=False),
    sa.Column("decision_id", sa.String(26), sa.ForeignKey(decision_table.c.id)),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("ordered_at", UtcDateTime, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("code", sa.Text),
    sa.Column("done_at", UtcDateTime),
    sa.UniqueConstraint("key_id", "act"),
    sa.Index("ix_key_work_state_next_at", "state", "next_at"),
    sa.CheckConstraint("state in ('due', 'done')", name="state"),
    sa.CheckConstraint("act in ('disable', 'destroy')", name="act"),
)
"""What is to be done in the store, once a key and act. ``code``: why the last try failed, or how the store answered."""
append_only(work_table, may_change=("state", "next_at", "tries", "code", "done_at"), final=("done",))

import_table = sa.Table(
    "key_import",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("algorithm", sa.String(32), nullable=False),
    sa.Column("spki_sha256", sa.String(64), nullable=False),
    sa.Column("certificate", sa.LargeBinary),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("decided_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("used_at", UtcDateTime),
    sa.Column("key_id", sa.String(26), sa.ForeignKey("store_key.id")),
    sa.Index("ix_key_import_spki_sha256", "spki_sha256"),
    sa.CheckConstraint("state in ('open', 'used')", name="state"),
)
"""One import that two administrators allowed; ``id`` is the decision's."""
append_only(import_table, may_change=("state", "used_at", "key_id"), final=("used",))

policy_table = sa.Table(
    "key_policy",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("store", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("decided_at", UtcDateTime, nullable=False),
)
"""Digests of policies as two administrators decided them; ``id`` is the decision's, the newest of a store holds."""
append_only(policy_table)

budget_table = sa.Table(
    "key_budget",
    metadata,
    sa.Column("key_name", sa.Text, primary_key=True),
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("used", sa.Integer, nullable=False),
)
"""Uses leased on a day (Vietnam's); ``used`` grows, and starts again where two administrators let a stopped key go on."""

pace_table = sa.Table(
    "key_pace",
    metadata,
    sa.Column("key_name", sa.Text, primary_key=True),
    sa.Column("minute", sa.BigInteger, nullable=False),
    sa.Column("used", sa.Integer, nullable=False),
)
"""Uses leased in a minute (since 1970); the minute of a key only grows, whatever a clock does."""
