"""Keys in stores: states, rules, uses, reconciliation."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TRIGGERS: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "CREATE TRIGGER key_audit_run_no_delete BEFORE DELETE ON key_audit_run BEGIN SELECT RAISE(ABORT, 'key_audit_run is append-only'); END",
        "CREATE TRIGGER key_audit_run_no_update BEFORE UPDATE ON key_audit_run WHEN OLD.id IS NOT NEW.id OR OLD.device IS NOT NEW.device OR OLD.before IS NOT NEW.before OR OLD.state IS NOT NEW.state OR OLD.began_at IS NOT NEW.began_at OR OLD.ended_at IS NOT NEW.ended_at OR OLD.since IS NOT NEW.since OR OLD.until IS NOT NEW.until OR OLD.counts IS NOT NEW.counts OR OLD.carry IS NOT NEW.carry BEGIN SELECT RAISE(ABORT, 'key_audit_run is append-only'); END",
        "CREATE TRIGGER key_policy_no_delete BEFORE DELETE ON key_policy BEGIN SELECT RAISE(ABORT, 'key_policy is append-only'); END",
        "CREATE TRIGGER key_policy_no_update BEFORE UPDATE ON key_policy WHEN OLD.id IS NOT NEW.id OR OLD.realm IS NOT NEW.realm OR OLD.store IS NOT NEW.store OR OLD.sha256 IS NOT NEW.sha256 OR OLD.decided_at IS NOT NEW.decided_at BEGIN SELECT RAISE(ABORT, 'key_policy is append-only'); END",
        "CREATE TRIGGER key_use_no_delete BEFORE DELETE ON key_use BEGIN SELECT RAISE(ABORT, 'key_use is append-only'); END",
        "CREATE TRIGGER key_use_no_update BEFORE UPDATE ON key_use WHEN OLD.id IS NOT NEW.id OR OLD.life IS NOT NEW.life OR OLD.store IS NOT NEW.store OR OLD.place IS NOT NEW.place OR OLD.name IS NOT NEW.name OR OLD.version IS NOT NEW.version OR OLD.purpose IS NOT NEW.purpose OR OLD.input IS NOT NEW.input OR OLD.event IS NOT NEW.event OR OLD.at IS NOT NEW.at BEGIN SELECT RAISE(ABORT, 'key_use is append-only'); END",
        "CREATE TRIGGER key_use_life_no_delete BEFORE DELETE ON key_use_life BEGIN SELECT RAISE(ABORT, 'key_use_life is append-only'); END",
        "CREATE TRIGGER key_use_life_no_update BEFORE UPDATE ON key_use_life WHEN OLD.id IS NOT NEW.id OR OLD.slot IS NOT NEW.slot OR OLD.began_at IS NOT NEW.began_at OR OLD.after IS NOT NEW.after OR OLD.ended_at IS NOT NULL BEGIN SELECT RAISE(ABORT, 'key_use_life is append-only'); END",
        "CREATE TRIGGER store_key_no_delete BEFORE DELETE ON store_key BEGIN SELECT RAISE(ABORT, 'store_key is append-only'); END",
        "CREATE TRIGGER store_key_no_update BEFORE UPDATE ON store_key WHEN OLD.id IS NOT NEW.id OR OLD.realm IS NOT NEW.realm OR OLD.owner IS NOT NEW.owner OR OLD.purpose IS NOT NEW.purpose OR OLD.algorithm IS NOT NEW.algorithm OR OLD.store IS NOT NEW.store OR OLD.place IS NOT NEW.place OR OLD.name IS NOT NEW.name OR OLD.version IS NOT NEW.version OR OLD.spki IS NOT NEW.spki OR OLD.created_at IS NOT NEW.created_at OR OLD.state IN ('destroyed') BEGIN SELECT RAISE(ABORT, 'store_key is append-only'); END",
        "CREATE TRIGGER wrapped_key_no_delete BEFORE DELETE ON wrapped_key BEGIN SELECT RAISE(ABORT, 'wrapped_key is append-only'); END",
        "CREATE TRIGGER wrapped_key_no_update BEFORE UPDATE ON wrapped_key WHEN OLD.name IS NOT NEW.name OR OLD.version IS NOT NEW.version OR OLD.purpose IS NOT NEW.purpose OR OLD.algorithm IS NOT NEW.algorithm OR OLD.place IS NOT NEW.place OR OLD.spki IS NOT NEW.spki OR OLD.kek IS NOT NEW.kek OR OLD.mac IS NOT NEW.mac OR OLD.tag IS NOT NEW.tag OR OLD.created_at IS NOT NEW.created_at OR OLD.state IN ('destroyed') BEGIN SELECT RAISE(ABORT, 'wrapped_key is append-only'); END",
        "CREATE TRIGGER key_audit_finding_no_delete BEFORE DELETE ON key_audit_finding BEGIN SELECT RAISE(ABORT, 'key_audit_finding is append-only'); END",
        "CREATE TRIGGER key_audit_finding_no_update BEFORE UPDATE ON key_audit_finding WHEN OLD.id IS NOT NEW.id OR OLD.run_id IS NOT NEW.run_id OR OLD.code IS NOT NEW.code OR OLD.severity IS NOT NEW.severity OR OLD.place IS NOT NEW.place OR OLD.name IS NOT NEW.name OR OLD.version IS NOT NEW.version OR OLD.what IS NOT NEW.what OR OLD.who IS NOT NEW.who OR OLD.count IS NOT NEW.count OR OLD.first_at IS NOT NEW.first_at OR OLD.last_at IS NOT NEW.last_at OR OLD.requests IS NOT NEW.requests BEGIN SELECT RAISE(ABORT, 'key_audit_finding is append-only'); END",
        "CREATE TRIGGER key_audit_place_no_delete BEFORE DELETE ON key_audit_place BEGIN SELECT RAISE(ABORT, 'key_audit_place is append-only'); END",
        "CREATE TRIGGER key_audit_place_no_update BEFORE UPDATE ON key_audit_place WHEN OLD.id IS NOT NEW.id OR OLD.run_id IS NOT NEW.run_id OR OLD.before IS NOT NEW.before OR OLD.device IS NOT NEW.device OR OLD.series IS NOT NEW.series OR OLD.head IS NOT NEW.head OR OLD.inode IS NOT NEW.inode OR OLD.offset IS NOT NEW.offset OR OLD.tail IS NOT NEW.tail OR OLD.tail_size IS NOT NEW.tail_size OR OLD.at IS NOT NEW.at BEGIN SELECT RAISE(ABORT, 'key_audit_place is append-only'); END",
        "CREATE TRIGGER key_event_no_delete BEFORE DELETE ON key_event BEGIN SELECT RAISE(ABORT, 'key_event is append-only'); END",
        "CREATE TRIGGER key_event_no_update BEFORE UPDATE ON key_event WHEN OLD.id IS NOT NEW.id OR OLD.key_id IS NOT NEW.key_id OR OLD.what IS NOT NEW.what OR OLD.why IS NOT NEW.why OR OLD.at IS NOT NEW.at OR OLD.salt IS NOT NEW.salt BEGIN SELECT RAISE(ABORT, 'key_event is append-only'); END",
        "CREATE TRIGGER key_import_no_delete BEFORE DELETE ON key_import BEGIN SELECT RAISE(ABORT, 'key_import is append-only'); END",
        "CREATE TRIGGER key_import_no_update BEFORE UPDATE ON key_import WHEN OLD.id IS NOT NEW.id OR OLD.realm IS NOT NEW.realm OR OLD.owner IS NOT NEW.owner OR OLD.purpose IS NOT NEW.purpose OR OLD.algorithm IS NOT NEW.algorithm OR OLD.spki_sha256 IS NOT NEW.spki_sha256 OR OLD.certificate IS NOT NEW.certificate OR OLD.decided_at IS NOT NEW.decided_at OR OLD.expires_at IS NOT NEW.expires_at OR OLD.state IN ('used') BEGIN SELECT RAISE(ABORT, 'key_import is append-only'); END",
        "CREATE TRIGGER key_work_no_delete BEFORE DELETE ON key_work BEGIN SELECT RAISE(ABORT, 'key_work is append-only'); END",
        "CREATE TRIGGER key_work_no_update BEFORE UPDATE ON key_work WHEN OLD.id IS NOT NEW.id OR OLD.key_id IS NOT NEW.key_id OR OLD.act IS NOT NEW.act OR OLD.decision_id IS NOT NEW.decision_id OR OLD.ordered_at IS NOT NEW.ordered_at OR OLD.state IN ('done') BEGIN SELECT RAISE(ABORT, 'key_work is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION key_audit_run_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_audit_run is append-only'; END $$",
        "CREATE TRIGGER key_audit_run_no_delete BEFORE DELETE ON key_audit_run FOR EACH ROW EXECUTE FUNCTION key_audit_run_refuse()",
        "CREATE TRIGGER key_audit_run_no_update BEFORE UPDATE ON key_audit_run FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.device IS DISTINCT FROM NEW.device OR OLD.before IS DISTINCT FROM NEW.before OR OLD.state IS DISTINCT FROM NEW.state OR OLD.began_at IS DISTINCT FROM NEW.began_at OR OLD.ended_at IS DISTINCT FROM NEW.ended_at OR OLD.since IS DISTINCT FROM NEW.since OR OLD.until IS DISTINCT FROM NEW.until OR OLD.counts::text IS DISTINCT FROM NEW.counts::text OR OLD.carry::text IS DISTINCT FROM NEW.carry::text) EXECUTE FUNCTION key_audit_run_refuse()",
        "CREATE FUNCTION key_policy_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_policy is append-only'; END $$",
        "CREATE TRIGGER key_policy_no_delete BEFORE DELETE ON key_policy FOR EACH ROW EXECUTE FUNCTION key_policy_refuse()",
        "CREATE TRIGGER key_policy_no_update BEFORE UPDATE ON key_policy FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.realm IS DISTINCT FROM NEW.realm OR OLD.store IS DISTINCT FROM NEW.store OR OLD.sha256 IS DISTINCT FROM NEW.sha256 OR OLD.decided_at IS DISTINCT FROM NEW.decided_at) EXECUTE FUNCTION key_policy_refuse()",
        "CREATE FUNCTION key_use_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_use is append-only'; END $$",
        "CREATE TRIGGER key_use_no_delete BEFORE DELETE ON key_use FOR EACH ROW EXECUTE FUNCTION key_use_refuse()",
        "CREATE TRIGGER key_use_no_update BEFORE UPDATE ON key_use FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.life IS DISTINCT FROM NEW.life OR OLD.store IS DISTINCT FROM NEW.store OR OLD.place IS DISTINCT FROM NEW.place OR OLD.name IS DISTINCT FROM NEW.name OR OLD.version IS DISTINCT FROM NEW.version OR OLD.purpose IS DISTINCT FROM NEW.purpose OR OLD.input IS DISTINCT FROM NEW.input OR OLD.event IS DISTINCT FROM NEW.event OR OLD.at IS DISTINCT FROM NEW.at) EXECUTE FUNCTION key_use_refuse()",
        "CREATE FUNCTION key_use_life_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_use_life is append-only'; END $$",
        "CREATE TRIGGER key_use_life_no_delete BEFORE DELETE ON key_use_life FOR EACH ROW EXECUTE FUNCTION key_use_life_refuse()",
        "CREATE TRIGGER key_use_life_no_update BEFORE UPDATE ON key_use_life FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.slot IS DISTINCT FROM NEW.slot OR OLD.began_at IS DISTINCT FROM NEW.began_at OR OLD.after IS DISTINCT FROM NEW.after OR OLD.ended_at IS NOT NULL) EXECUTE FUNCTION key_use_life_refuse()",
        "CREATE FUNCTION store_key_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'store_key is append-only'; END $$",
        "CREATE TRIGGER store_key_no_delete BEFORE DELETE ON store_key FOR EACH ROW EXECUTE FUNCTION store_key_refuse()",
        "CREATE TRIGGER store_key_no_update BEFORE UPDATE ON store_key FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.realm IS DISTINCT FROM NEW.realm OR OLD.owner IS DISTINCT FROM NEW.owner OR OLD.purpose IS DISTINCT FROM NEW.purpose OR OLD.algorithm IS DISTINCT FROM NEW.algorithm OR OLD.store IS DISTINCT FROM NEW.store OR OLD.place IS DISTINCT FROM NEW.place OR OLD.name IS DISTINCT FROM NEW.name OR OLD.version IS DISTINCT FROM NEW.version OR OLD.spki IS DISTINCT FROM NEW.spki OR OLD.created_at IS DISTINCT FROM NEW.created_at OR OLD.state IN ('destroyed')) EXECUTE FUNCTION store_key_refuse()",
        "CREATE FUNCTION wrapped_key_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'wrapped_key is append-only'; END $$",
        "CREATE TRIGGER wrapped_key_no_delete BEFORE DELETE ON wrapped_key FOR EACH ROW EXECUTE FUNCTION wrapped_key_refuse()",
        "CREATE TRIGGER wrapped_key_no_update BEFORE UPDATE ON wrapped_key FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name OR OLD.version IS DISTINCT FROM NEW.version OR OLD.purpose IS DISTINCT FROM NEW.purpose OR OLD.algorithm IS DISTINCT FROM NEW.algorithm OR OLD.place IS DISTINCT FROM NEW.place OR OLD.spki IS DISTINCT FROM NEW.spki OR OLD.kek IS DISTINCT FROM NEW.kek OR OLD.mac IS DISTINCT FROM NEW.mac OR OLD.tag IS DISTINCT FROM NEW.tag OR OLD.created_at IS DISTINCT FROM NEW.created_at OR OLD.state IN ('destroyed')) EXECUTE FUNCTION wrapped_key_refuse()",
        "CREATE FUNCTION key_audit_finding_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_audit_finding is append-only'; END $$",
        "CREATE TRIGGER key_audit_finding_no_delete BEFORE DELETE ON key_audit_finding FOR EACH ROW EXECUTE FUNCTION key_audit_finding_refuse()",
        "CREATE TRIGGER key_audit_finding_no_update BEFORE UPDATE ON key_audit_finding FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.run_id IS DISTINCT FROM NEW.run_id OR OLD.code IS DISTINCT FROM NEW.code OR OLD.severity IS DISTINCT FROM NEW.severity OR OLD.place IS DISTINCT FROM NEW.place OR OLD.name IS DISTINCT FROM NEW.name OR OLD.version IS DISTINCT FROM NEW.version OR OLD.what IS DISTINCT FROM NEW.what OR OLD.who IS DISTINCT FROM NEW.who OR OLD.count IS DISTINCT FROM NEW.count OR OLD.first_at IS DISTINCT FROM NEW.first_at OR OLD.last_at IS DISTINCT FROM NEW.last_at OR OLD.requests::text IS DISTINCT FROM NEW.requests::text) EXECUTE FUNCTION key_audit_finding_refuse()",
        "CREATE FUNCTION key_audit_place_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_audit_place is append-only'; END $$",
        "CREATE TRIGGER key_audit_place_no_delete BEFORE DELETE ON key_audit_place FOR EACH ROW EXECUTE FUNCTION key_audit_place_refuse()",
        "CREATE TRIGGER key_audit_place_no_update BEFORE UPDATE ON key_audit_place FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.run_id IS DISTINCT FROM NEW.run_id OR OLD.before IS DISTINCT FROM NEW.before OR OLD.device IS DISTINCT FROM NEW.device OR OLD.series IS DISTINCT FROM NEW.series OR OLD.head IS DISTINCT FROM NEW.head OR OLD.inode IS DISTINCT FROM NEW.inode OR OLD.offset IS DISTINCT FROM NEW.offset OR OLD.tail IS DISTINCT FROM NEW.tail OR OLD.tail_size IS DISTINCT FROM NEW.tail_size OR OLD.at IS DISTINCT FROM NEW.at) EXECUTE FUNCTION key_audit_place_refuse()",
        "CREATE FUNCTION key_event_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_event is append-only'; END $$",
        "CREATE TRIGGER key_event_no_delete BEFORE DELETE ON key_event FOR EACH ROW EXECUTE FUNCTION key_event_refuse()",
        "CREATE TRIGGER key_event_no_update BEFORE UPDATE ON key_event FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.key_id IS DISTINCT FROM NEW.key_id OR OLD.what IS DISTINCT FROM NEW.what OR OLD.why IS DISTINCT FROM NEW.why OR OLD.at IS DISTINCT FROM NEW.at OR OLD.salt IS DISTINCT FROM NEW.salt) EXECUTE FUNCTION key_event_refuse()",
        "CREATE FUNCTION key_import_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_import is append-only'; END $$",
        "CREATE TRIGGER key_import_no_delete BEFORE DELETE ON key_import FOR EACH ROW EXECUTE FUNCTION key_import_refuse()",
        "CREATE TRIGGER key_import_no_update BEFORE UPDATE ON key_import FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.realm IS DISTINCT FROM NEW.realm OR OLD.owner IS DISTINCT FROM NEW.owner OR OLD.purpose IS DISTINCT FROM NEW.purpose OR OLD.algorithm IS DISTINCT FROM NEW.algorithm OR OLD.spki_sha256 IS DISTINCT FROM NEW.spki_sha256 OR OLD.certificate IS DISTINCT FROM NEW.certificate OR OLD.decided_at IS DISTINCT FROM NEW.decided_at OR OLD.expires_at IS DISTINCT FROM NEW.expires_at OR OLD.state IN ('used')) EXECUTE FUNCTION key_import_refuse()",
        "CREATE FUNCTION key_work_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'key_work is append-only'; END $$",
        "CREATE TRIGGER key_work_no_delete BEFORE DELETE ON key_work FOR EACH ROW EXECUTE FUNCTION key_work_refuse()",
        "CREATE TRIGGER key_work_no_update BEFORE UPDATE ON key_work FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.key_id IS DISTINCT FROM NEW.key_id OR OLD.act IS DISTINCT FROM NEW.act OR OLD.decision_id IS DISTINCT FROM NEW.decision_id OR OLD.ordered_at IS DISTINCT FROM NEW.ordered_at OR OLD.state IN ('done')) EXECUTE FUNCTION key_work_refuse()",
    ),
}
"""Append-only tables, as ``core.db.append_only`` words them."""


def upgrade() -> None:
    """Make what is new."""
    op.create_table(
        "key_audit_run",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("before", sa.String(length=26), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("carry", sa.JSON(), nullable=False),
        sa.CheckConstraint("state in ('part', 'whole', 'again')", name=op.f("ck_key_audit_run_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_audit_run")),
        sa.UniqueConstraint("before", name=op.f("uq_key_audit_run_before")),
        info={"append_only": ((), False, ())},
    )
    with op.batch_alter_table("key_audit_run", schema=None) as batch_op:
        batch_op.create_index("ix_key_audit_run_device", ["device"], unique=False)

    op.create_table(
        "key_pace",
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key_name", name=op.f("pk_key_pace")),
    )
    op.create_table(
        "key_policy",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_policy")),
        info={"append_only": ((), False, ())},
    )
    op.create_table(
        "key_use",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("life", sa.String(length=26), nullable=False),
        sa.Column("store", sa.String(length=16), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("input", sa.LargeBinary(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_use")),
        info={"append_only": ((), False, ())},
    )
    with op.batch_alter_table("key_use", schema=None) as batch_op:
        batch_op.create_index("ix_key_use_at", ["at", "id"], unique=False)

    op.create_table(
        "key_use_life",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("after", sa.String(length=26), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_use_life")),
        info={"append_only": (("ended_at",), True, ())},
    )
    op.create_table(
        "store_key",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("spki", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("destroy_after", sa.BigInteger(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("per_minute", sa.Integer(), nullable=True),
        sa.Column("per_day", sa.Integer(), nullable=True),
        sa.Column("at_once", sa.Integer(), nullable=True),
        sa.CheckConstraint("state in ('active', 'stopped', 'disabled', 'destroyed')", name=op.f("ck_store_key_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store_key")),
        sa.UniqueConstraint("store", "place", "name", "version", name=op.f("uq_store_key_store_place_name_version")),
        info={
            "append_only": (
                ("state", "stopped_at", "disabled_at", "destroy_after", "why", "per_minute", "per_day", "at_once"),
                False,
                ("destroyed",),
            )
        },
    )
    with op.batch_alter_table("store_key", schema=None) as batch_op:
        batch_op.create_index("ix_store_key_owner", ["owner"], unique=False)

    op.create_table(
        "wrapped_key",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("spki", sa.LargeBinary(), nullable=False),
        sa.Column("kek", sa.LargeBinary(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=True),
        sa.Column("tag", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(state = 'destroyed') = (blob is null)", name=op.f("ck_wrapped_key_blob")),
        sa.CheckConstraint("state in ('active', 'disabled', 'destroyed')", name=op.f("ck_wrapped_key_state")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_wrapped_key")),
        info={"append_only": (("state", "blob"), False, ("destroyed",))},
    )
    op.create_table(
        "key_audit_finding",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("severity", sa.String(length=8), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=True),
        sa.Column("last_at", sa.BigInteger(), nullable=True),
        sa.Column("requests", sa.JSON(), nullable=False),
        sa.CheckConstraint("severity in ('critical', 'warning', 'note')", name=op.f("ck_key_audit_finding_severity")),
        sa.ForeignKeyConstraint(["run_id"], ["key_audit_run.id"], name=op.f("fk_key_audit_finding_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_audit_finding")),
        info={"append_only": ((), False, ())},
    )
    with op.batch_alter_table("key_audit_finding", schema=None) as batch_op:
        batch_op.create_index("ix_key_audit_finding_run_id", ["run_id"], unique=False)

    op.create_table(
        "key_audit_place",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("before", sa.String(length=26), nullable=True),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("tail", sa.String(length=64), nullable=False),
        sa.Column("tail_size", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["key_audit_run.id"], name=op.f("fk_key_audit_place_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_audit_place")),
        info={"append_only": ((), False, ())},
    )
    with op.batch_alter_table("key_audit_place", schema=None) as batch_op:
        batch_op.create_index("ix_key_audit_place_before", ["before"], unique=False)
        batch_op.create_index("ix_key_audit_place_device", ["device"], unique=False)

    op.create_table(
        "key_event",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("key_id", sa.String(length=26), nullable=False),
        sa.Column("what", sa.String(length=24), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["store_key.id"], name=op.f("fk_key_event_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_event")),
        info={"append_only": ((), False, ())},
    )
    with op.batch_alter_table("key_event", schema=None) as batch_op:
        batch_op.create_index("ix_key_event_key_id_id", ["key_id", "id"], unique=False)

    op.create_table(
        "key_import",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("spki_sha256", sa.String(length=64), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("key_id", sa.String(length=26), nullable=True),
        sa.CheckConstraint("state in ('open', 'used')", name=op.f("ck_key_import_state")),
        sa.ForeignKeyConstraint(["key_id"], ["store_key.id"], name=op.f("fk_key_import_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_import")),
        info={"append_only": (("state", "used_at", "key_id"), False, ("used",))},
    )
    with op.batch_alter_table("key_import", schema=None) as batch_op:
        batch_op.create_index("ix_key_import_spki_sha256", ["spki_sha256"], unique=False)

    op.create_table(
        "key_work",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("key_id", sa.String(length=26), nullable=False),
        sa.Column("act", sa.String(length=16), nullable=False),
        sa.Column("decision_id", sa.String(length=26), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("ordered_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("act in ('disable', 'destroy')", name=op.f("ck_key_work_act")),
        sa.CheckConstraint("state in ('due', 'done')", name=op.f("ck_key_work_state")),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_key_work_decision_id")),
        sa.ForeignKeyConstraint(["key_id"], ["store_key.id"], name=op.f("fk_key_work_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_work")),
        sa.UniqueConstraint("key_id", "act", name=op.f("uq_key_work_key_id_act")),
        info={"append_only": (("state", "next_at", "tries", "code", "done_at"), False, ("done",))},
    )
    with op.batch_alter_table("key_work", schema=None) as batch_op:
        batch_op.create_index("ix_key_work_state_next_at", ["state", "next_at"], unique=False)

    with op.batch_alter_table("credential", schema=None) as batch_op:
        batch_op.add_column(sa.Column("active_from", sa.BigInteger(), nullable=True))
        batch_op.create_index("ix_credential_owner_purpose", ["owner", "purpose"], unique=False)

    for statement in _TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Take it away again."""
    with op.batch_alter_table("credential", schema=None) as batch_op:
        batch_op.drop_index("ix_credential_owner_purpose")
        batch_op.drop_column("active_from")

    with op.batch_alter_table("key_work", schema=None) as batch_op:
        batch_op.drop_index("ix_key_work_state_next_at")

    op.drop_table("key_work")
    with op.batch_alter_table("key_import", schema=None) as batch_op:
        batch_op.drop_index("ix_key_import_spki_sha256")

    op.drop_table("key_import")
    with op.batch_alter_table("key_event", schema=None) as batch_op:
        batch_op.drop_index("ix_key_event_key_id_id")

    op.drop_table("key_event")
    with op.batch_alter_table("key_audit_place", schema=None) as batch_op:
        batch_op.drop_index("ix_key_audit_place_device")
        batch_op.drop_index("ix_key_audit_place_before")

    op.drop_table("key_audit_place")
    with op.batch_alter_table("key_audit_finding", schema=None) as batch_op:
        batch_op.drop_index("ix_key_audit_finding_run_id")

    op.drop_table("key_audit_finding")
    op.drop_table("wrapped_key")
    with op.batch_alter_table("store_key", schema=None) as batch_op:
        batch_op.drop_index("ix_store_key_owner")

    op.drop_table("store_key")
    op.drop_table("key_use_life")
    with op.batch_alter_table("key_use", schema=None) as batch_op:
        batch_op.drop_index("ix_key_use_at")

    op.drop_table("key_use")
    op.drop_table("key_policy")
    op.drop_table("key_pace")
    with op.batch_alter_table("key_audit_run", schema=None) as batch_op:
        batch_op.drop_index("ix_key_audit_run_device")

    op.drop_table("key_audit_run")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION IF EXISTS key_audit_run_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS key_policy_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS key_use_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS key_use_life_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS store_key_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS wrapped_key_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS key_audit_finding_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS key_audit_place_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS key_event_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS key_import_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS key_work_refuse() CASCADE")
