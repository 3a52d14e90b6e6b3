"""Evidence of keys: tokens made, findings looked at."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TRIGGERS: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "CREATE TRIGGER timestamp_token_no_delete BEFORE DELETE ON timestamp_token BEGIN SELECT RAISE(ABORT, 'timestamp_token is append-only'); END",
        "CREATE TRIGGER timestamp_token_no_update BEFORE UPDATE ON timestamp_token WHEN OLD.signed IS NOT NEW.signed OR OLD.serial IS NOT NEW.serial OR OLD.at IS NOT NEW.at OR OLD.info IS NOT NEW.info BEGIN SELECT RAISE(ABORT, 'timestamp_token is append-only'); END",
        "CREATE TRIGGER key_audit_told_no_delete BEFORE DELETE ON key_audit_told BEGIN SELECT RAISE(ABORT, 'key_audit_told is append-only'); END",
        "CREATE TRIGGER key_audit_told_no_update BEFORE UPDATE ON key_audit_told WHEN OLD.run_id IS NOT NEW.run_id OR OLD.at IS NOT NEW.at BEGIN SELECT RAISE(ABORT, 'key_audit_told is append-only'); END",
        "CREATE TRIGGER key_audit_look_no_delete BEFORE DELETE ON key_audit_look BEGIN SELECT RAISE(ABORT, 'key_audit_look is append-only'); END",
        "CREATE TRIGGER key_audit_look_no_update BEFORE UPDATE ON key_audit_look WHEN OLD.finding_id IS NOT NEW.finding_id OR OLD.person_id IS NOT NEW.person_id OR OLD.why IS NOT NEW.why OR OLD.at IS NOT NEW.at BEGIN SELECT RAISE(ABORT, 'key_audit_look is append-only'); END",
        "DROP TRIGGER key_use_no_update",
        "CREATE TRIGGER key_use_no_update BEFORE UPDATE ON key_use WHEN OLD.id IS NOT NEW.id OR OLD.life IS NOT NEW.life OR OLD.store IS NOT NEW.store OR OLD.place IS NOT NEW.place OR OLD.name IS NOT NEW.name OR OLD.version IS NOT NEW.version OR OLD.purpose IS NOT NEW.purpose OR OLD.input IS NOT NEW.input OR OLD.event IS NOT NEW.event OR OLD.at IS NOT NEW.at OR OLD.said IS NOT NEW.said BEGIN SELECT RAISE(ABORT, 'key_use is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION timestamp_token_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'timestamp_token is append-only'; END $$",
        "CREATE TRIGGER timestamp_token_no_delete BEFORE DELETE ON timestamp_token FOR EACH ROW EXECUTE FUNCTION timestamp_token_refuse()",
        "CREATE TRIGGER timestamp_token_no_update BEFORE UPDATE ON timestamp_token FOR EACH ROW WHEN (OLD.signed IS DISTINCT FROM NEW.signed OR OLD.serial IS DISTINCT FROM NEW.serial OR OLD.at IS DISTINCT FROM NEW.at OR OLD.info IS DISTINCT FROM NEW.info) EXECUTE FUNCTION timestamp_token_refuse()",
        "CREATE FUNCTION key_audit_told_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_audit_told is append-only'; END $$",
        "CREATE TRIGGER key_audit_told_no_delete BEFORE DELETE ON key_audit_told FOR EACH ROW EXECUTE FUNCTION key_audit_told_refuse()",
        "CREATE TRIGGER key_audit_told_no_update BEFORE UPDATE ON key_audit_told FOR EACH ROW WHEN (OLD.run_id IS DISTINCT FROM NEW.run_id OR OLD.at IS DISTINCT FROM NEW.at) EXECUTE FUNCTION key_audit_told_refuse()",
        "CREATE FUNCTION key_audit_look_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_audit_look is append-only'; END $$",
        "CREATE TRIGGER key_audit_look_no_delete BEFORE DELETE ON key_audit_look FOR EACH ROW EXECUTE FUNCTION key_audit_look_refuse()",
        "CREATE TRIGGER key_audit_look_no_update BEFORE UPDATE ON key_audit_look FOR EACH ROW WHEN (OLD.finding_id IS DISTINCT FROM NEW.finding_id OR OLD.person_id IS DISTINCT FROM NEW.person_id OR OLD.why IS DISTINCT FROM NEW.why OR OLD.at IS DISTINCT FROM NEW.at) EXECUTE FUNCTION key_audit_look_refuse()",
        "DROP TRIGGER key_use_no_update ON key_use",
        "CREATE TRIGGER key_use_no_update BEFORE UPDATE ON key_use FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.life IS DISTINCT FROM NEW.life OR OLD.store IS DISTINCT FROM NEW.store OR OLD.place IS DISTINCT FROM NEW.place OR OLD.name IS DISTINCT FROM NEW.name OR OLD.version IS DISTINCT FROM NEW.version OR OLD.purpose IS DISTINCT FROM NEW.purpose OR OLD.input IS DISTINCT FROM NEW.input OR OLD.event IS DISTINCT FROM NEW.event OR OLD.at IS DISTINCT FROM NEW.at OR OLD.said IS DISTINCT FROM NEW.said) EXECUTE FUNCTION key_use_refuse()",
    ),
}
"""Append-only tables, as ``core.db.append_only`` words them."""


_BEFORE: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "CREATE TRIGGER key_use_no_update BEFORE UPDATE ON key_use WHEN OLD.id IS NOT NEW.id OR OLD.life IS NOT NEW.life OR OLD.store IS NOT NEW.store OR OLD.place IS NOT NEW.place OR OLD.name IS NOT NEW.name OR OLD.version IS NOT NEW.version OR OLD.purpose IS NOT NEW.purpose OR OLD.input IS NOT NEW.input OR OLD.event IS NOT NEW.event OR OLD.at IS NOT NEW.at BEGIN SELECT RAISE(ABORT, 'key_use is append-only'); END",
    ),
    "postgresql": (
        "CREATE TRIGGER key_use_no_update BEFORE UPDATE ON key_use FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.life IS DISTINCT FROM NEW.life OR OLD.store IS DISTINCT FROM NEW.store OR OLD.place IS DISTINCT FROM NEW.place OR OLD.name IS DISTINCT FROM NEW.name OR OLD.version IS DISTINCT FROM NEW.version OR OLD.purpose IS DISTINCT FROM NEW.purpose OR OLD.input IS DISTINCT FROM NEW.input OR OLD.event IS DISTINCT FROM NEW.event OR OLD.at IS DISTINCT FROM NEW.at) EXECUTE FUNCTION key_use_refuse()",
    ),
}
"""Those of tables that get a column here, without it."""


def upgrade() -> None:
    """Make what is new."""
    op.create_table(
        "timestamp_token",
        sa.Column("signed", sa.LargeBinary(), nullable=False),
        sa.Column("serial", sa.String(length=30), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("info", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("signed", name=op.f("pk_timestamp_token")),
        info={"append_only": ((), False, ())},
    )
    with op.batch_alter_table("timestamp_token", schema=None) as batch_op:
        batch_op.create_index("ix_timestamp_token_at", ["at"], unique=False)

    op.create_table(
        "key_audit_told",
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["key_audit_run.id"], name=op.f("fk_key_audit_told_run_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_key_audit_told")),
        info={"append_only": ((), False, ())},
    )
    op.create_table(
        "key_audit_look",
        sa.Column("finding_id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["finding_id"], ["key_audit_finding.id"], name=op.f("fk_key_audit_look_finding_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_key_audit_look_person_id")),
        sa.PrimaryKeyConstraint("finding_id", name=op.f("pk_key_audit_look")),
        info={"append_only": ((), False, ())},
    )
    with op.batch_alter_table("key_use", schema=None) as batch_op:
        batch_op.add_column(sa.Column("said", sa.LargeBinary(), nullable=True))

    for statement in _TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Take it away again."""
    op.execute("DROP TRIGGER key_use_no_update" + (" ON key_use" if op.get_bind().dialect.name == "postgresql" else ""))
    with op.batch_alter_table("key_use", schema=None) as batch_op:
        batch_op.drop_column("said")

    op.drop_table("key_audit_look")
    op.drop_table("key_audit_told")
    with op.batch_alter_table("timestamp_token", schema=None) as batch_op:
        batch_op.drop_index("ix_timestamp_token_at")

    op.drop_table("timestamp_token")
    for statement in _BEFORE[op.get_bind().dialect.name]:
        op.execute(statement)

    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION IF EXISTS timestamp_token_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS key_audit_told_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS key_audit_look_refuse() CASCADE")
