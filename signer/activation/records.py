"""Tables of passkeys and activations."""

import sqlalchemy as sa

from core.db import UtcDateTime, append_only, metadata

__all__ = ["activation_table", "passkey_table"]

passkey_table = sa.Table(
    "passkey",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("credential_id", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("sign_count", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("flags", sa.Integer),
    sa.Column("label", sa.Text),
    sa.CheckConstraint("kind in ('software', 'platform')", name="kind"),
    sa.CheckConstraint("not (kind = 'software' and realm = 'production')", name="software_only_in_training"),
)
"""Of the signing origin only. ``state``: ``active``, ``suspended`` (its person's phone is lost, say) or ``revoked``."""
activation_table = sa.Table(
    "activation",
    metadata,
    sa.Column("tx", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("evidence", sa.JSON(none_as_null=True)),
    sa.Column("approved_at", UtcDateTime),
    sa.Column("spent_at", UtcDateTime),
    sa.CheckConstraint("state in ('open', 'approved', 'spent', 'refused')", name="state"),
)
append_only(activation_table, may_change=("state", "evidence", "approved_at", "spent_at"), final=("spent", "refused"))
"""``open → approved → spent``, ``open → refused``; the record never changes."""
