"""Tables of the comparison of key stores' audit files with our causes. Append-only: a run never changes an earlier one."""

import sqlalchemy as sa

from core.db import UtcDateTime, append_only, metadata
from core.directory.records import person_table

__all__ = ["WRITES", "finding_table", "look_table", "place_table", "run_table", "told_table"]

run_table = sa.Table(
    "key_audit_run",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("before", sa.String(26)),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("began_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime, nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("carry", sa.JSON, nullable=False),
    sa.Index("ix_key_audit_run_device", "device"),
    sa.UniqueConstraint("before"),
    sa.CheckConstraint("state in ('part', 'whole', 'again')", name="state"),
)
"""``part``: a long run saved on its way; ``whole``: it came to the end of what there was; ``again``: a proof of old files anew,
which the next run does not go on from. ``before``: the run that it went on from, so that of two at a time one is refused.
``carry``: what waits for its other half."""
append_only(run_table)

place_table = sa.Table(
    "key_audit_place",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("run_id", sa.String(26), sa.ForeignKey("key_audit_run.id"), nullable=False),
    sa.Column("before", sa.String(26)),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("series", sa.Text, nullable=False),
    sa.Column("head", sa.String(64), nullable=False),
    sa.Column("inode", sa.BigInteger, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("tail", sa.String(64), nullable=False),
    sa.Column("tail_size", sa.BigInteger, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_key_audit_place_device", "device"),
    sa.Index("ix_key_audit_place_before", "before"),
)
"""Where reading stopped; each row follows the one before (``before``), so that the chain tells what was read and when."""
append_only(place_table)

finding_table = sa.Table(
    "key_audit_finding",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("run_id", sa.String(26), sa.ForeignKey("key_audit_run.id"), nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("severity", sa.String(8), nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("first_at", UtcDateTime),
    sa.Column("last_at", UtcDateTime),
    sa.Column("requests", sa.JSON, nullable=False),
    sa.Index("ix_key_audit_finding_run_id", "run_id"),
    sa.CheckConstraint("severity in ('critical', 'warning', 'note')", name="severity"),
)
"""``what``, ``who``, ``requests``: ids of orders, entities and requests; nothing personal."""
append_only(finding_table)

look_table = sa.Table(
    "key_audit_look",
    metadata,
    sa.Column("finding_id", sa.String(26), sa.ForeignKey("key_audit_finding.id"), primary_key=True),
    sa.Column("person_id", sa.String(26), sa.ForeignKey(person_table.c.id), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
"""An administrator has looked at a finding, once. The finding stays what it is."""
append_only(look_table)

told_table = sa.Table(
    "key_audit_told",
    metadata,
    sa.Column("run_id", sa.String(26), sa.ForeignKey("key_audit_run.id"), primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
)
"""Administrators were written to about the critical findings of a run."""
append_only(told_table)

WRITES = frozenset({run_table.name, place_table.name, finding_table.name})
"""The only tables that the auditor's process writes."""
