"""First tables: directory, register, credentials, activations, orders, copies, certificates, lists, budgets, log.

Frozen: what a home made with the first release holds. Later changes are revisions of their own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TABLES = (
    "agency",
    "credential",
    "crl_number",
    "issued_certificate",
    "key_budget",
    "log_checkpoint",
    "log_entry",
    "log_state",
    "log_tile",
    "picture",
    "publication",
    "person",
    "register_counter",
    "activation",
    "authorisation",
    "passkey",
    "signing_order",
    "register_book",
    "register_entry",
    "certified_copy",
)
"""In the order in which they refer to each other."""

_TRIGGERS = {
    "sqlite": (
        "CREATE TRIGGER log_checkpoint_no_delete BEFORE DELETE ON log_checkpoint BEGIN SELECT RAISE(ABORT, 'log_checkpoint is append-only'); END",
        "CREATE TRIGGER log_checkpoint_no_update BEFORE UPDATE ON log_checkpoint WHEN OLD.log_id IS NOT NEW.log_id OR OLD.size IS NOT NEW.size OR OLD.root IS NOT NEW.root OR OLD.note IS NOT NEW.note OR OLD.created_at IS NOT NEW.created_at BEGIN SELECT RAISE(ABORT, 'log_checkpoint is append-only'); END",
        "CREATE TRIGGER log_entry_no_delete BEFORE DELETE ON log_entry BEGIN SELECT RAISE(ABORT, 'log_entry is append-only'); END",
        "CREATE TRIGGER log_entry_no_update BEFORE UPDATE ON log_entry WHEN OLD.seq IS NOT NEW.seq OR OLD.log_id IS NOT NEW.log_id OR OLD.dedup IS NOT NEW.dedup OR OLD.entry IS NOT NEW.entry OR OLD.idx IS NOT NULL BEGIN SELECT RAISE(ABORT, 'log_entry is append-only'); END",
        "CREATE TRIGGER activation_no_delete BEFORE DELETE ON activation BEGIN SELECT RAISE(ABORT, 'activation is append-only'); END",
        "CREATE TRIGGER activation_no_update BEFORE UPDATE ON activation WHEN OLD.tx IS NOT NEW.tx OR OLD.realm IS NOT NEW.realm OR OLD.person_id IS NOT NEW.person_id OR OLD.record IS NOT NEW.record OR OLD.created_at IS NOT NEW.created_at OR OLD.expires_at IS NOT NEW.expires_at OR OLD.state IN ('spent', 'refused') BEGIN SELECT RAISE(ABORT, 'activation is append-only'); END",
        "CREATE TRIGGER register_entry_no_delete BEFORE DELETE ON register_entry BEGIN SELECT RAISE(ABORT, 'register_entry is append-only'); END",
        "CREATE TRIGGER register_entry_no_update BEFORE UPDATE ON register_entry WHEN OLD.id IS NOT NEW.id OR OLD.book_id IS NOT NEW.book_id OR OLD.agency_id IS NOT NEW.agency_id OR OLD.kind IS NOT NEW.kind OR OLD.year IS NOT NEW.year OR OLD.number IS NOT NEW.number OR OLD.reserved_at IS NOT NEW.reserved_at OR OLD.columns IS NOT NEW.columns OR OLD.state IN ('issued', 'voided') BEGIN SELECT RAISE(ABORT, 'register_entry is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION log_checkpoint_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'log_checkpoint is append-only'; END $$",
        "CREATE TRIGGER log_checkpoint_no_delete BEFORE DELETE ON log_checkpoint FOR EACH ROW EXECUTE FUNCTION log_checkpoint_refuse()",
        "CREATE TRIGGER log_checkpoint_no_update BEFORE UPDATE ON log_checkpoint FOR EACH ROW WHEN (OLD.log_id IS DISTINCT FROM NEW.log_id OR OLD.size IS DISTINCT FROM NEW.size OR OLD.root IS DISTINCT FROM NEW.root OR OLD.note IS DISTINCT FROM NEW.note OR OLD.created_at IS DISTINCT FROM NEW.created_at) EXECUTE FUNCTION log_checkpoint_refuse()",
        "CREATE FUNCTION log_entry_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'log_entry is append-only'; END $$",
        "CREATE TRIGGER log_entry_no_delete BEFORE DELETE ON log_entry FOR EACH ROW EXECUTE FUNCTION log_entry_refuse()",
        "CREATE TRIGGER log_entry_no_update BEFORE UPDATE ON log_entry FOR EACH ROW WHEN (OLD.seq IS DISTINCT FROM NEW.seq OR OLD.log_id IS DISTINCT FROM NEW.log_id OR OLD.dedup IS DISTINCT FROM NEW.dedup OR OLD.entry IS DISTINCT FROM NEW.entry OR OLD.idx IS NOT NULL) EXECUTE FUNCTION log_entry_refuse()",
        "CREATE FUNCTION activation_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'activation is append-only'; END $$",
        "CREATE TRIGGER activation_no_delete BEFORE DELETE ON activation FOR EACH ROW EXECUTE FUNCTION activation_refuse()",
        "CREATE TRIGGER activation_no_update BEFORE UPDATE ON activation FOR EACH ROW WHEN (OLD.tx IS DISTINCT FROM NEW.tx OR OLD.realm IS DISTINCT FROM NEW.realm OR OLD.person_id IS DISTINCT FROM NEW.person_id OR OLD.record IS DISTINCT FROM NEW.record OR OLD.created_at IS DISTINCT FROM NEW.created_at OR OLD.expires_at IS DISTINCT FROM NEW.expires_at OR OLD.state IN ('spent', 'refused')) EXECUTE FUNCTION activation_refuse()",
        "CREATE FUNCTION register_entry_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'register_entry is append-only'; END $$",
        "CREATE TRIGGER register_entry_no_delete BEFORE DELETE ON register_entry FOR EACH ROW EXECUTE FUNCTION register_entry_refuse()",
        "CREATE TRIGGER register_entry_no_update BEFORE UPDATE ON register_entry FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.book_id IS DISTINCT FROM NEW.book_id OR OLD.agency_id IS DISTINCT FROM NEW.agency_id OR OLD.kind IS DISTINCT FROM NEW.kind OR OLD.year IS DISTINCT FROM NEW.year OR OLD.number IS DISTINCT FROM NEW.number OR OLD.reserved_at IS DISTINCT FROM NEW.reserved_at OR OLD.columns::text IS DISTINCT FROM NEW.columns::text OR OLD.state IN ('issued', 'voided')) EXECUTE FUNCTION register_entry_refuse()",
    ),
}
"""Append-only tables, as ``core.db.append_only`` words them."""


def upgrade() -> None:
    """Make all tables with their triggers."""
    op.create_table(
        "agency",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.Column("successor_id", sa.String(length=26), nullable=True),
        sa.Column("wording", sa.JSON(), nullable=False),
        sa.CheckConstraint("realm in ('production', 'training')", name=op.f("ck_agency_realm")),
        sa.ForeignKeyConstraint(["successor_id"], ["agency.id"], name=op.f("fk_agency_successor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agency")),
        sa.UniqueConstraint("realm", "code", name=op.f("uq_agency_realm_code")),
    )
    op.create_table(
        "credential",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=True),
        sa.Column("chain", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state in ('active', 'retired')", name=op.f("ck_credential_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
    )
    op.create_table(
        "crl_number",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", name=op.f("pk_crl_number")),
    )
    op.create_table(
        "issued_certificate",
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("profile", sa.String(length=16), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("ordered_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Integer(), nullable=True),
        sa.CheckConstraint("status in ('ordered', 'good', 'revoked')", name=op.f("ck_issued_certificate_status")),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_issued_certificate")),
    )
    op.create_table(
        "key_budget",
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key_name", "day", name=op.f("pk_key_budget")),
    )
    op.create_table(
        "log_checkpoint",
        sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "size", name=op.f("pk_log_checkpoint")),
        info={"append_only": ((), False, ())},
    )
    op.create_table(
        "log_entry",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("log_id", sa.Integer(), nullable=False),
        sa.Column("dedup", sa.Text(), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("idx", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_log_entry")),
        sa.UniqueConstraint("log_id", "dedup", name=op.f("uq_log_entry_log_id_dedup")),
        sa.UniqueConstraint("log_id", "idx", name=op.f("uq_log_entry_log_id_idx")),
        info={"append_only": (("idx",), True, ())},
    )
    op.create_index(
        "ix_log_pending",
        "log_entry",
        ["log_id", "seq"],
        unique=False,
        sqlite_where=sa.text("idx IS NULL"),
        postgresql_where=sa.text("idx IS NULL"),
    )
    op.create_table(
        "log_state",
        sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", name=op.f("pk_log_state")),
    )
    op.create_table(
        "log_tile",
        sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "level", "n", name=op.f("pk_log_tile")),
    )
    op.create_table(
        "picture",
        sa.Column("owner", sa.String(length=26), nullable=False),
        sa.Column("document", sa.String(length=64), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_picture")),
    )
    op.create_table(
        "publication",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("next_update", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_publication")),
    )
    op.create_table(
        "person",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("fk_person_agency_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
    )
    op.create_table(
        "register_counter",
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("fk_register_counter_agency_id")),
        sa.PrimaryKeyConstraint("agency_id", "series", "year", name=op.f("pk_register_counter")),
    )
    op.create_table(
        "activation",
        sa.Column("tx", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("evidence", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("approved_at", sa.BigInteger(), nullable=True),
        sa.Column("spent_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state in ('open', 'approved', 'spent', 'refused')", name=op.f("ck_activation_state")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_activation_person_id")),
        sa.PrimaryKeyConstraint("tx", name=op.f("pk_activation")),
        info={"append_only": (("state", "evidence", "approved_at", "spent_at"), False, ("spent", "refused"))},
    )
    op.create_table(
        "authorisation",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("capacity", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("dated", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.CheckConstraint("role in ('certifier', 'clerk', 'administrator')", name=op.f("ck_authorisation_role")),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("fk_authorisation_agency_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_authorisation_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authorisation")),
    )
    op.create_table(
        "passkey",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind in ('software', 'platform')", name=op.f("ck_passkey_kind")),
        sa.CheckConstraint(
            "not (kind = 'software' and realm = 'production')", name=op.f("ck_passkey_software_only_in_training")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_passkey_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkey")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkey_credential_id")),
    )
    op.create_table(
        "signing_order",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("credential_id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("activation_tx", sa.Text(), nullable=False),
        sa.Column("document", sa.String(length=64), nullable=False),
        sa.Column("prepared", sa.JSON(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("signed_document", sa.String(length=64), nullable=True),
        sa.Column("prepared_at", sa.BigInteger(), nullable=False),
        sa.Column("intended_at", sa.BigInteger(), nullable=True),
        sa.Column("made_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state in ('prepared', 'intended', 'made', 'dropped')", name=op.f("ck_signing_order_state")),
        sa.ForeignKeyConstraint(["credential_id"], ["credential.id"], name=op.f("fk_signing_order_credential_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_signing_order_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_order")),
    )
    op.create_table(
        "register_book",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("volume", sa.Integer(), nullable=False),
        sa.Column("medium", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("totals", sa.JSON(), nullable=True),
        sa.Column("closing_order", sa.String(length=26), nullable=True),
        sa.Column("closing_document", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("fk_register_book_agency_id")),
        sa.ForeignKeyConstraint(["closing_order"], ["signing_order.id"], name=op.f("fk_register_book_closing_order")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_register_book")),
        sa.UniqueConstraint(
            "agency_id", "kind", "year", "volume", name=op.f("uq_register_book_agency_id_kind_year_volume")
        ),
    )
    op.create_table(
        "register_entry",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("book_id", sa.String(length=26), nullable=False),
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("reserved_at", sa.BigInteger(), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("state in ('reserved', 'issued', 'voided')", name=op.f("ck_register_entry_state")),
        sa.ForeignKeyConstraint(["book_id"], ["register_book.id"], name=op.f("fk_register_entry_book_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_register_entry")),
        sa.UniqueConstraint(
            "agency_id", "kind", "year", "number", name=op.f("uq_register_entry_agency_id_kind_year_number")
        ),
        info={"append_only": (("state", "settled_at", "reason"), False, ("issued", "voided"))},
    )
    op.create_table(
        "certified_copy",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("regime", sa.String(length=16), nullable=False),
        sa.Column("entry_id", sa.String(length=26), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("seal_id", sa.LargeBinary(), nullable=False),
        sa.Column("status_year", sa.Integer(), nullable=False),
        sa.Column("status_index", sa.Integer(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("content_length", sa.Integer(), nullable=False),
        sa.Column("certifier_id", sa.String(length=26), nullable=True),
        sa.Column("clerk_id", sa.String(length=26), nullable=False),
        sa.Column("composed", sa.String(length=64), nullable=True),
        sa.Column("printed_at", sa.BigInteger(), nullable=True),
        sa.Column("access_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("qr", sa.Text(), nullable=True),
        sa.Column("certifier_order", sa.String(length=26), nullable=True),
        sa.Column("seal_order", sa.String(length=26), nullable=True),
        sa.Column("released", sa.String(length=64), nullable=True),
        sa.Column("receipt", sa.LargeBinary(), nullable=True),
        sa.Column("leaf", sa.LargeBinary(), nullable=True),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("recalled_at", sa.BigInteger(), nullable=True),
        sa.Column("recall_reason", sa.Text(), nullable=True),
        sa.Column("successor", sa.String(length=26), nullable=True),
        sa.CheckConstraint("recalled_at is null or state = 'released'", name=op.f("ck_certified_copy_recalled")),
        sa.CheckConstraint(
            "state in ('numbered', 'awaiting_certifier', 'certified', 'awaiting_seal', 'sealed', 'released', 'voided')",
            name=op.f("ck_certified_copy_state"),
        ),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("fk_certified_copy_agency_id")),
        sa.ForeignKeyConstraint(["certifier_id"], ["person.id"], name=op.f("fk_certified_copy_certifier_id")),
        sa.ForeignKeyConstraint(
            ["certifier_order"], ["signing_order.id"], name=op.f("fk_certified_copy_certifier_order")
        ),
        sa.ForeignKeyConstraint(["clerk_id"], ["person.id"], name=op.f("fk_certified_copy_clerk_id")),
        sa.ForeignKeyConstraint(["entry_id"], ["register_entry.id"], name=op.f("fk_certified_copy_entry_id")),
        sa.ForeignKeyConstraint(["seal_order"], ["signing_order.id"], name=op.f("fk_certified_copy_seal_order")),
        sa.ForeignKeyConstraint(["successor"], ["certified_copy.id"], name=op.f("fk_certified_copy_successor")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certified_copy")),
        sa.UniqueConstraint(
            "agency_id",
            "status_year",
            "status_index",
            name=op.f("uq_certified_copy_agency_id_status_year_status_index"),
        ),
        sa.UniqueConstraint("entry_id", name=op.f("uq_certified_copy_entry_id")),
        sa.UniqueConstraint("seal_id", name=op.f("uq_certified_copy_seal_id")),
    )
    for statement in _TRIGGERS[op.get_bind().dialect.name]:
        op.get_bind().exec_driver_sql(statement.replace("%", "%%"))


def downgrade() -> None:
    """Drop all tables, and on PostgreSQL the functions behind their triggers."""
    for table in reversed(_TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        for table in _TABLES:
            op.execute(f"DROP FUNCTION IF EXISTS {table}_refuse()")
