"""Tables of people's accounts at signing services and of what runs there."""

import sqlalchemy as sa

from core.db import UtcDateTime, metadata

__all__ = ["account_table", "transaction_table"]

account_table = sa.Table(
    "provider_account",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("provider", sa.String(32), nullable=False),
    sa.Column("sealed_user", sa.LargeBinary, nullable=False),
    sa.Column("credential_id", sa.String(26), sa.ForeignKey("credential.id"), nullable=False),
    sa.Column("verified_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("person_id", "provider"),
)
"""How a service knows a person (sealed), and the credential made of the certificate that was checked there last."""

transaction_table = sa.Table(
    "provider_transaction",
    metadata,
    sa.Column("order_id", sa.String(26), primary_key=True),
    sa.Column("provider", sa.String(32), nullable=False),
    sa.Column("transaction_id", sa.String(64), nullable=False, unique=True),
    sa.Column("tran_code", sa.Text),
    sa.Column("credential_id", sa.String(26), sa.ForeignKey("credential.id"), nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("code", sa.String(64)),
    sa.Column("value", sa.LargeBinary),
    sa.Column("submitted_at", UtcDateTime),
    sa.Column("polled_at", UtcDateTime),
    sa.Column("deadline", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.CheckConstraint("state in ('pending', 'confirmed', 'done', 'refused', 'expired', 'failed')", name="state"),
)
"""One order at a service: ``pending`` (perhaps asked: ``submitted_at``) → ``confirmed`` (the service has it) →
``done`` with the verified ``value``, or an end with its ``code``."""
