"""The doors: portals' clients, requests and batches, answers kept, uploads, events, webhooks, search, recalls by name."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TRIGGERS: dict[str, tuple[str, ...]] = {
    "sqlite": (),
    "postgresql": (),
}
"""Append-only tables, as ``core.db.append_only`` words them."""


def upgrade() -> None:
    """Make what is new."""
    op.create_table(
        "client",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("agencies", sa.JSON(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_client")),
    )
    op.create_table(
        "client_assertion",
        sa.Column("client_id", sa.String(length=26), nullable=False),
        sa.Column("jti_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "jti_sha256", name=op.f("pk_client_assertion")),
    )
    op.create_table(
        "access_token",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("client_id", sa.String(length=26), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["client.id"], name=op.f("fk_access_token_client_id")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_access_token")),
    )
    op.create_table(
        "client_key",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("client_id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("jwk", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind in ('secret', 'jwk')", name=op.f("ck_client_key_kind")),
        sa.ForeignKeyConstraint(["client_id"], ["client.id"], name=op.f("fk_client_key_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_client_key")),
    )
    op.create_table(
        "copy_request",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("client_id", sa.String(length=26), nullable=False),
        sa.Column("dossier", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.String(length=26), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("taken_until", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("evidence", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state in ('received', 'taken', 'accepted', 'refused')", name=op.f("ck_copy_request_state")),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("fk_copy_request_agency_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_copy_request")),
    )
    with op.batch_alter_table("copy_request", schema=None) as batch_op:
        batch_op.create_index("ix_copy_request_batch", ["batch_id", "position"], unique=False)
        batch_op.create_index("ix_copy_request_client", ["client_id", "id"], unique=False)
        batch_op.create_index("ix_copy_request_open", ["state", "id"], unique=False)

    with op.batch_alter_table("certified_copy", schema=None) as batch_op:
        batch_op.add_column(sa.Column("recalled_by", sa.String(length=26), nullable=True))
        batch_op.add_column(sa.Column("recall_from", sa.BigInteger(), nullable=True))
        batch_op.create_index("ix_certified_copy_recalled", ["agency_id", "recalled_at"], unique=False)
        batch_op.create_index("ix_certified_copy_state", ["agency_id", "state"], unique=False)
        batch_op.create_foreign_key(batch_op.f("fk_certified_copy_recalled_by"), "person", ["recalled_by"], ["id"])
    for statement in _TRIGGERS[op.get_bind().dialect.name]:
        op.get_bind().exec_driver_sql(statement.replace("%", "%%"))


def downgrade() -> None:
    """Take it away again."""
    with op.batch_alter_table("certified_copy", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_certified_copy_recalled_by"), type_="foreignkey")
        batch_op.drop_index("ix_certified_copy_state")
        batch_op.drop_index("ix_certified_copy_recalled")
        batch_op.drop_column("recall_from")
        batch_op.drop_column("recalled_by")

    with op.batch_alter_table("copy_request", schema=None) as batch_op:
        batch_op.drop_index("ix_copy_request_open")
        batch_op.drop_index("ix_copy_request_client")
        batch_op.drop_index("ix_copy_request_batch")

    op.drop_table("copy_request")
    op.drop_table("client_key")
    op.drop_table("access_token")
    op.drop_table("client_assertion")
    op.drop_table("client")
