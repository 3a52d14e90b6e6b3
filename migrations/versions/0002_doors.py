"""The doors: portals' clients, requests and batches, answers kept, uploads, events, webhooks, search, recalls by name."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TRIGGERS: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'event is append-only'); END",
        "CREATE TRIGGER event_no_update BEFORE UPDATE ON event WHEN OLD.seq IS NOT NEW.seq OR OLD.id IS NOT NEW.id OR OLD.type IS NOT NEW.type OR OLD.realm IS NOT NEW.realm OR OLD.agency_id IS NOT NEW.agency_id OR OLD.subject IS NOT NEW.subject OR OLD.at IS NOT NEW.at OR OLD.data IS NOT NEW.data OR OLD.occasion IS NOT NEW.occasion BEGIN SELECT RAISE(ABORT, 'event is append-only'); END",
        "CREATE TRIGGER register_word_no_delete BEFORE DELETE ON register_word BEGIN SELECT RAISE(ABORT, 'register_word is append-only'); END",
        "CREATE TRIGGER register_word_no_update BEFORE UPDATE ON register_word WHEN OLD.agency_id IS NOT NEW.agency_id OR OLD.word IS NOT NEW.word OR OLD.entry_id IS NOT NEW.entry_id BEGIN SELECT RAISE(ABORT, 'register_word is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION event_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'event is append-only'; END $$",
        "CREATE TRIGGER event_no_delete BEFORE DELETE ON event FOR EACH ROW EXECUTE FUNCTION event_refuse()",
        "CREATE TRIGGER event_no_update BEFORE UPDATE ON event FOR EACH ROW WHEN (OLD.seq IS DISTINCT FROM NEW.seq OR OLD.id IS DISTINCT FROM NEW.id OR OLD.type IS DISTINCT FROM NEW.type OR OLD.realm IS DISTINCT FROM NEW.realm OR OLD.agency_id IS DISTINCT FROM NEW.agency_id OR OLD.subject IS DISTINCT FROM NEW.subject OR OLD.at IS DISTINCT FROM NEW.at OR OLD.data::text IS DISTINCT FROM NEW.data::text OR OLD.occasion IS DISTINCT FROM NEW.occasion) EXECUTE FUNCTION event_refuse()",
        "CREATE FUNCTION register_word_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'register_word is append-only'; END $$",
        "CREATE TRIGGER register_word_no_delete BEFORE DELETE ON register_word FOR EACH ROW EXECUTE FUNCTION register_word_refuse()",
        "CREATE TRIGGER register_word_no_update BEFORE UPDATE ON register_word FOR EACH ROW WHEN (OLD.agency_id IS DISTINCT FROM NEW.agency_id OR OLD.word IS DISTINCT FROM NEW.word OR OLD.entry_id IS DISTINCT FROM NEW.entry_id) EXECUTE FUNCTION register_word_refuse()",
    ),
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
        "event",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("type", sa.String(length=48), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("subject", sa.String(length=26), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("occasion", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_event")),
        sa.UniqueConstraint("id", name=op.f("uq_event_id")),
        sa.UniqueConstraint("subject", "type", "occasion", name=op.f("uq_event_subject_type_occasion")),
        info={"append_only": ((), False, ())},
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index("ix_event_agency", ["agency_id", "seq"], unique=False)

    op.create_table(
        "idempotent_answer",
        sa.Column("client_id", sa.String(length=26), nullable=False),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.String(length=26), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "key_sha256", name=op.f("pk_idempotent_answer")),
    )
    with op.batch_alter_table("idempotent_answer", schema=None) as batch_op:
        batch_op.create_index("ix_idempotent_answer_expires_at", ["expires_at"], unique=False)

    op.create_table(
        "upload",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("client_id", sa.String(length=26), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload")),
    )
    with op.batch_alter_table("upload", schema=None) as batch_op:
        batch_op.create_index("ix_upload_client_created_at", ["client_id", "created_at"], unique=False)
        batch_op.create_index("ix_upload_client_document", ["client_id", "document"], unique=False)

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
        "batch",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("client_id", sa.String(length=26), nullable=False),
        sa.Column("regime", sa.String(length=16), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("fk_batch_agency_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
    )
    with op.batch_alter_table("batch", schema=None) as batch_op:
        batch_op.create_index("ix_batch_client", ["client_id", "id"], unique=False)

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
        sa.Column("taker", sa.String(length=26), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
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

    op.create_table(
        "upload_part",
        sa.Column("upload_id", sa.String(length=26), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["upload.id"], name=op.f("fk_upload_part_upload_id")),
        sa.PrimaryKeyConstraint("upload_id", "position", name=op.f("pk_upload_part")),
    )
    op.create_table(
        "webhook_endpoint",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("client_id", sa.String(length=26), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("types", sa.JSON(), nullable=False),
        sa.Column("scheme", sa.String(length=8), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("hold_until", sa.BigInteger(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_code", sa.String(length=48), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["client.id"], name=op.f("fk_webhook_endpoint_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoint")),
    )
    with op.batch_alter_table("webhook_endpoint", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhook_endpoint_client_id"), ["client_id"], unique=False)

    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("endpoint_id", sa.String(length=26), nullable=False),
        sa.Column("event_id", sa.String(length=26), nullable=False),
        sa.Column("type", sa.String(length=48), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=48), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state in ('new', 'pending', 'delivered', 'failed')", name=op.f("ck_webhook_delivery_state")
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoint.id"], name=op.f("fk_webhook_delivery_endpoint_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_delivery")),
        sa.UniqueConstraint("endpoint_id", "event_id", name=op.f("uq_webhook_delivery_endpoint_id_event_id")),
    )
    with op.batch_alter_table("webhook_delivery", schema=None) as batch_op:
        batch_op.create_index("ix_webhook_delivery_log", ["endpoint_id", "id"], unique=False)
        batch_op.create_index("ix_webhook_delivery_state", ["state", "id"], unique=False)

    op.create_table(
        "webhook_secret",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("endpoint_id", sa.String(length=26), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoint.id"], name=op.f("fk_webhook_secret_endpoint_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_secret")),
    )
    with op.batch_alter_table("webhook_secret", schema=None) as batch_op:
        batch_op.create_index("ix_webhook_secret_endpoint", ["endpoint_id", "id"], unique=False)

    op.create_table(
        "webhook_attempt",
        sa.Column("delivery_id", sa.String(length=26), nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("ms", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("code", sa.String(length=48), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["webhook_delivery.id"], name=op.f("fk_webhook_attempt_delivery_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("delivery_id", "n", name=op.f("pk_webhook_attempt")),
    )
    op.create_table(
        "register_word",
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("entry_id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["register_entry.id"], name=op.f("fk_register_word_entry_id")),
        sa.PrimaryKeyConstraint("agency_id", "word", "entry_id", name=op.f("pk_register_word")),
        info={"append_only": ((), False, ())},
    )
    with op.batch_alter_table("certified_copy", schema=None) as batch_op:
        batch_op.add_column(sa.Column("recalled_by", sa.String(length=26), nullable=True))
        batch_op.add_column(sa.Column("recall_from", sa.BigInteger(), nullable=True))
        batch_op.create_index("ix_certified_copy_content", ["content"], unique=False)
        batch_op.create_index("ix_certified_copy_recalled", ["agency_id", "recalled_at"], unique=False)
        batch_op.create_index("ix_certified_copy_released", ["released"], unique=False)
        batch_op.create_index("ix_certified_copy_state", ["agency_id", "state"], unique=False)
        batch_op.create_index(
            "ix_certified_copy_unfinished",
            ["id"],
            unique=False,
            sqlite_where=sa.text("state <> 'voided' AND (state <> 'released' OR receipt IS NULL)"),
            postgresql_where=sa.text("state <> 'voided' AND (state <> 'released' OR receipt IS NULL)"),
        )
        batch_op.create_foreign_key(batch_op.f("fk_certified_copy_recalled_by"), "person", ["recalled_by"], ["id"])

    with op.batch_alter_table("register_entry", schema=None) as batch_op:
        batch_op.create_index("ix_register_entry_agency_id_id", ["agency_id", "id"], unique=False)
        batch_op.create_index("ix_register_entry_agency_id_number", ["agency_id", "number"], unique=False)
        batch_op.create_index("ix_register_entry_agency_id_state_id", ["agency_id", "state", "id"], unique=False)
        batch_op.create_index("ix_register_entry_agency_id_year_id", ["agency_id", "year", "id"], unique=False)
        batch_op.create_index("ix_register_entry_book_id_number", ["book_id", "number"], unique=False)
    for statement in _TRIGGERS[op.get_bind().dialect.name]:
        op.get_bind().exec_driver_sql(statement.replace("%", "%%"))


def downgrade() -> None:
    """Take it away again."""
    with op.batch_alter_table("register_entry", schema=None) as batch_op:
        batch_op.drop_index("ix_register_entry_book_id_number")
        batch_op.drop_index("ix_register_entry_agency_id_year_id")
        batch_op.drop_index("ix_register_entry_agency_id_state_id")
        batch_op.drop_index("ix_register_entry_agency_id_number")
        batch_op.drop_index("ix_register_entry_agency_id_id")

    with op.batch_alter_table("certified_copy", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_certified_copy_recalled_by"), type_="foreignkey")
        batch_op.drop_index(
            "ix_certified_copy_unfinished",
            sqlite_where=sa.text("state <> 'voided' AND (state <> 'released' OR receipt IS NULL)"),
            postgresql_where=sa.text("state <> 'voided' AND (state <> 'released' OR receipt IS NULL)"),
        )
        batch_op.drop_index("ix_certified_copy_state")
        batch_op.drop_index("ix_certified_copy_released")
        batch_op.drop_index("ix_certified_copy_recalled")
        batch_op.drop_index("ix_certified_copy_content")
        batch_op.drop_column("recall_from")
        batch_op.drop_column("recalled_by")

    op.drop_table("register_word")
    op.drop_table("webhook_attempt")
    with op.batch_alter_table("webhook_secret", schema=None) as batch_op:
        batch_op.drop_index("ix_webhook_secret_endpoint")

    op.drop_table("webhook_secret")
    with op.batch_alter_table("webhook_delivery", schema=None) as batch_op:
        batch_op.drop_index("ix_webhook_delivery_state")
        batch_op.drop_index("ix_webhook_delivery_log")

    op.drop_table("webhook_delivery")
    with op.batch_alter_table("webhook_endpoint", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhook_endpoint_client_id"))

    op.drop_table("webhook_endpoint")
    op.drop_table("upload_part")
    with op.batch_alter_table("copy_request", schema=None) as batch_op:
        batch_op.drop_index("ix_copy_request_open")
        batch_op.drop_index("ix_copy_request_client")
        batch_op.drop_index("ix_copy_request_batch")

    op.drop_table("copy_request")
    op.drop_table("client_key")
    with op.batch_alter_table("batch", schema=None) as batch_op:
        batch_op.drop_index("ix_batch_client")

    op.drop_table("batch")
    op.drop_table("access_token")
    with op.batch_alter_table("upload", schema=None) as batch_op:
        batch_op.drop_index("ix_upload_client_document")
        batch_op.drop_index("ix_upload_client_created_at")

    op.drop_table("upload")
    with op.batch_alter_table("idempotent_answer", schema=None) as batch_op:
        batch_op.drop_index("ix_idempotent_answer_expires_at")

    op.drop_table("idempotent_answer")
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.drop_index("ix_event_agency")

    op.drop_table("event")
    op.drop_table("client_assertion")
    op.drop_table("client")
    if op.get_bind().dialect.name == "postgresql":
        for table in ("event", "register_word"):
            op.execute(f"DROP FUNCTION IF EXISTS {table}_refuse()")
