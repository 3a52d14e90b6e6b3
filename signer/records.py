"""Tables of signing orders and certified copies."""

import sqlalchemy as sa

from core.db import UtcDateTime, metadata

__all__ = ["UNFINISHED", "copy_table", "order_table"]

order_table = sa.Table(
    "signing_order",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("credential_id", sa.String(26), sa.ForeignKey("credential.id"), nullable=False),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("activation_tx", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False, server_default="0"),
    sa.Column("provider", sa.Text),
    sa.Column("document", sa.String(64), nullable=False),
    sa.Column("prepared", sa.JSON, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("signed_document", sa.String(64)),
    sa.Column("prepared_at", UtcDateTime, nullable=False),
    sa.Column("intended_at", UtcDateTime),
    sa.Column("made_at", UtcDateTime),
    sa.CheckConstraint("state in ('prepared', 'intended', 'made', 'dropped')", name="state"),
    sa.Index("ix_signing_order_activation_tx", "activation_tx"),
)
"""``prepared`` (bytes fixed) → ``intended`` (activation spent, intent leaf durable) → ``made`` | ``dropped``."""

UNFINISHED = "state <> 'voided' AND (state <> 'released' OR receipt IS NULL)"
"""Of a copy that something is still to be done for."""

copy_table = sa.Table(
    "certified_copy",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("agency_id", sa.String(26), sa.ForeignKey("agency.id"), nullable=False),
    sa.Column("regime", sa.String(16), nullable=False),
    sa.Column("entry_id", sa.String(26), sa.ForeignKey("register_entry.id"), nullable=False, unique=True),
    sa.Column("state", sa.String(24), nullable=False),
    sa.Column("seal_id", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("status_year", sa.Integer, nullable=False),
    sa.Column("status_index", sa.Integer, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("content", sa.String(64), nullable=False),
    sa.Column("content_length", sa.Integer, nullable=False),
    sa.Column("certifier_id", sa.String(26), sa.ForeignKey("person.id")),
    sa.Column("clerk_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("composed", sa.String(64)),
    sa.Column("printed_at", UtcDateTime),
    sa.Column("access_sha256", sa.LargeBinary),
    sa.Column("qr", sa.Text),
    sa.Column("certifier_order", sa.String(26), sa.ForeignKey("signing_order.id")),
    sa.Column("seal_order", sa.String(26), sa.ForeignKey("signing_order.id")),
    sa.Column("released", sa.String(64)),
    sa.Column("receipt", sa.LargeBinary),
    sa.Column("leaf", sa.LargeBinary),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.Column("reason", sa.Text),
    sa.Column("recalled_at", UtcDateTime),
    sa.Column("recall_reason", sa.Text),
    sa.Column("successor", sa.String(26), sa.ForeignKey("certified_copy.id")),
    sa.Column("recalled_by", sa.String(26), sa.ForeignKey("person.id")),
    sa.Column("recall_from", UtcDateTime),
    sa.Index("ix_certified_copy_recalled", "agency_id", "recalled_at"),
    sa.Index("ix_certified_copy_released", "released"),
    sa.Index(
        "ix_certified_copy_unfinished", "id", sqlite_where=sa.text(UNFINISHED), postgresql_where=sa.text(UNFINISHED)
    ),
    sa.Index("ix_certified_copy_content", "content"),
    sa.Index("ix_certified_copy_state", "agency_id", "state"),
    sa.UniqueConstraint("agency_id", "status_year", "status_index"),
    sa.CheckConstraint("recalled_at is null or state = 'released'", name="recalled"),
    sa.CheckConstraint(
        "state in ('numbered', 'awaiting_certifier', 'certified', 'awaiting_seal', 'sealed', 'released', 'voided')",
        name="state",
    ),
)
"""One certified copy; ``facts`` holds what was compared and the scan's record, never bytes."""
