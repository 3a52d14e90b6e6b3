"""The phone and the desk: signature requests, links, enrolment, log-in, decisions, providers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TRIGGERS: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "CREATE TRIGGER consent_text_no_delete BEFORE DELETE ON consent_text BEGIN SELECT RAISE(ABORT, 'consent_text is append-only'); END",
        "CREATE TRIGGER consent_text_no_update BEFORE UPDATE ON consent_text WHEN OLD.sha256 IS NOT NEW.sha256 OR OLD.text IS NOT NEW.text BEGIN SELECT RAISE(ABORT, 'consent_text is append-only'); END",
        "CREATE TRIGGER decision_no_delete BEFORE DELETE ON decision BEGIN SELECT RAISE(ABORT, 'decision is append-only'); END",
        "CREATE TRIGGER decision_no_update BEFORE UPDATE ON decision WHEN OLD.id IS NOT NEW.id OR OLD.realm IS NOT NEW.realm OR OLD.agency_id IS NOT NEW.agency_id OR OLD.kind IS NOT NEW.kind OR OLD.record IS NOT NEW.record OR OLD.proposed_by IS NOT NEW.proposed_by OR OLD.created_at IS NOT NEW.created_at OR OLD.expires_at IS NOT NEW.expires_at OR OLD.salt IS NOT NEW.salt OR OLD.state IN ('applied', 'refused', 'expired') BEGIN SELECT RAISE(ABORT, 'decision is append-only'); END",
        "CREATE TRIGGER enrolment_fact_no_delete BEFORE DELETE ON enrolment_fact BEGIN SELECT RAISE(ABORT, 'enrolment_fact is append-only'); END",
        "CREATE TRIGGER enrolment_fact_no_update BEFORE UPDATE ON enrolment_fact WHEN OLD.id IS NOT NEW.id OR OLD.person_id IS NOT NEW.person_id OR OLD.realm IS NOT NEW.realm OR OLD.type IS NOT NEW.type OR OLD.at IS NOT NEW.at OR OLD.details IS NOT NEW.details OR OLD.salt IS NOT NEW.salt BEGIN SELECT RAISE(ABORT, 'enrolment_fact is append-only'); END",
        "CREATE TRIGGER request_change_no_delete BEFORE DELETE ON request_change BEGIN SELECT RAISE(ABORT, 'request_change is append-only'); END",
        "CREATE TRIGGER request_change_no_update BEFORE UPDATE ON request_change WHEN OLD.request_id IS NOT NEW.request_id OR OLD.version IS NOT NEW.version OR OLD.type IS NOT NEW.type OR OLD.at IS NOT NEW.at OR OLD.said IS NOT NEW.said BEGIN SELECT RAISE(ABORT, 'request_change is append-only'); END",
        "CREATE TRIGGER decision_ballot_no_delete BEFORE DELETE ON decision_ballot BEGIN SELECT RAISE(ABORT, 'decision_ballot is append-only'); END",
        "CREATE TRIGGER decision_ballot_no_update BEFORE UPDATE ON decision_ballot WHEN OLD.tx IS NOT NEW.tx OR OLD.decision_id IS NOT NEW.decision_id OR OLD.person_id IS NOT NEW.person_id OR OLD.record IS NOT NEW.record OR OLD.expires_at IS NOT NEW.expires_at OR OLD.state IN ('used') BEGIN SELECT RAISE(ABORT, 'decision_ballot is append-only'); END",
        "CREATE TRIGGER decision_vote_no_delete BEFORE DELETE ON decision_vote BEGIN SELECT RAISE(ABORT, 'decision_vote is append-only'); END",
        "CREATE TRIGGER decision_vote_no_update BEFORE UPDATE ON decision_vote WHEN OLD.decision_id IS NOT NEW.decision_id OR OLD.person_id IS NOT NEW.person_id OR OLD.ballot IS NOT NEW.ballot OR OLD.evidence IS NOT NEW.evidence OR OLD.given_at IS NOT NEW.given_at BEGIN SELECT RAISE(ABORT, 'decision_vote is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION consent_text_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'consent_text is append-only'; END $$",
        "CREATE TRIGGER consent_text_no_delete BEFORE DELETE ON consent_text FOR EACH ROW EXECUTE FUNCTION consent_text_refuse()",
        "CREATE TRIGGER consent_text_no_update BEFORE UPDATE ON consent_text FOR EACH ROW WHEN (OLD.sha256 IS DISTINCT FROM NEW.sha256 OR OLD.text IS DISTINCT FROM NEW.text) EXECUTE FUNCTION consent_text_refuse()",
        "CREATE FUNCTION decision_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'decision is append-only'; END $$",
        "CREATE TRIGGER decision_no_delete BEFORE DELETE ON decision FOR EACH ROW EXECUTE FUNCTION decision_refuse()",
        "CREATE TRIGGER decision_no_update BEFORE UPDATE ON decision FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.realm IS DISTINCT FROM NEW.realm OR OLD.agency_id IS DISTINCT FROM NEW.agency_id OR OLD.kind IS DISTINCT FROM NEW.kind OR OLD.record IS DISTINCT FROM NEW.record OR OLD.proposed_by IS DISTINCT FROM NEW.proposed_by OR OLD.created_at IS DISTINCT FROM NEW.created_at OR OLD.expires_at IS DISTINCT FROM NEW.expires_at OR OLD.salt IS DISTINCT FROM NEW.salt OR OLD.state IN ('applied', 'refused', 'expired')) EXECUTE FUNCTION decision_refuse()",
        "CREATE FUNCTION enrolment_fact_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'enrolment_fact is append-only'; END $$",
        "CREATE TRIGGER enrolment_fact_no_delete BEFORE DELETE ON enrolment_fact FOR EACH ROW EXECUTE FUNCTION enrolment_fact_refuse()",
        "CREATE TRIGGER enrolment_fact_no_update BEFORE UPDATE ON enrolment_fact FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.person_id IS DISTINCT FROM NEW.person_id OR OLD.realm IS DISTINCT FROM NEW.realm OR OLD.type IS DISTINCT FROM NEW.type OR OLD.at IS DISTINCT FROM NEW.at OR OLD.details::text IS DISTINCT FROM NEW.details::text OR OLD.salt IS DISTINCT FROM NEW.salt) EXECUTE FUNCTION enrolment_fact_refuse()",
        "CREATE FUNCTION request_change_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'request_change is append-only'; END $$",
        "CREATE TRIGGER request_change_no_delete BEFORE DELETE ON request_change FOR EACH ROW EXECUTE FUNCTION request_change_refuse()",
        "CREATE TRIGGER request_change_no_update BEFORE UPDATE ON request_change FOR EACH ROW WHEN (OLD.request_id IS DISTINCT FROM NEW.request_id OR OLD.version IS DISTINCT FROM NEW.version OR OLD.type IS DISTINCT FROM NEW.type OR OLD.at IS DISTINCT FROM NEW.at OR OLD.said::text IS DISTINCT FROM NEW.said::text) EXECUTE FUNCTION request_change_refuse()",
        "CREATE FUNCTION decision_ballot_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'decision_ballot is append-only'; END $$",
        "CREATE TRIGGER decision_ballot_no_delete BEFORE DELETE ON decision_ballot FOR EACH ROW EXECUTE FUNCTION decision_ballot_refuse()",
        "CREATE TRIGGER decision_ballot_no_update BEFORE UPDATE ON decision_ballot FOR EACH ROW WHEN (OLD.tx IS DISTINCT FROM NEW.tx OR OLD.decision_id IS DISTINCT FROM NEW.decision_id OR OLD.person_id IS DISTINCT FROM NEW.person_id OR OLD.record IS DISTINCT FROM NEW.record OR OLD.expires_at IS DISTINCT FROM NEW.expires_at OR OLD.state IN ('used')) EXECUTE FUNCTION decision_ballot_refuse()",
        "CREATE FUNCTION decision_vote_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'decision_vote is append-only'; END $$",
        "CREATE TRIGGER decision_vote_no_delete BEFORE DELETE ON decision_vote FOR EACH ROW EXECUTE FUNCTION decision_vote_refuse()",
        "CREATE TRIGGER decision_vote_no_update BEFORE UPDATE ON decision_vote FOR EACH ROW WHEN (OLD.decision_id IS DISTINCT FROM NEW.decision_id OR OLD.person_id IS DISTINCT FROM NEW.person_id OR OLD.ballot IS DISTINCT FROM NEW.ballot OR OLD.evidence::text IS DISTINCT FROM NEW.evidence::text OR OLD.given_at IS DISTINCT FROM NEW.given_at) EXECUTE FUNCTION decision_vote_refuse()",
    ),
}
"""Append-only tables, as ``core.db.append_only`` words them."""


def upgrade() -> None:
    """Make what is new."""
    op.create_table(
        "consent_text",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_consent_text")),
        info={"append_only": ((), False, ())},
    )
    op.create_table(
        "desk_challenge",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=True),
        sa.Column("session_id", sa.String(length=26), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("purpose in ('login', 'unlock', 'register')", name=op.f("ck_desk_challenge_purpose")),
        sa.CheckConstraint("state in ('open', 'spent')", name=op.f("ck_desk_challenge_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_desk_challenge")),
    )
    with op.batch_alter_table("desk_challenge", schema=None) as batch_op:
        batch_op.create_index("ix_desk_challenge_expires_at", ["expires_at"], unique=False)

    op.create_table(
        "provider_transaction",
        sa.Column("order_id", sa.String(length=26), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("transaction_id", sa.String(length=64), nullable=False),
        sa.Column("tran_code", sa.Text(), nullable=True),
        sa.Column("credential_id", sa.String(length=26), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("submitted_at", sa.BigInteger(), nullable=True),
        sa.Column("polled_at", sa.BigInteger(), nullable=True),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state in ('pending', 'confirmed', 'done', 'refused', 'expired', 'failed')",
            name=op.f("ck_provider_transaction_state"),
        ),
        sa.ForeignKeyConstraint(
            ["credential_id"], ["credential.id"], name=op.f("fk_provider_transaction_credential_id")
        ),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_provider_transaction")),
        sa.UniqueConstraint("transaction_id", name=op.f("uq_provider_transaction_transaction_id")),
    )
    op.create_table(
        "signature_request",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("client_id", sa.String(length=26), nullable=False),
        sa.Column("client_name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("return_url", sa.Text(), nullable=True),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(state = 'open') = (settled_at is null)", name=op.f("ck_signature_request_settled")),
        sa.CheckConstraint(
            "state in ('open', 'completed', 'refused', 'cancelled', 'expired', 'failed')",
            name=op.f("ck_signature_request_state"),
        ),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("fk_signature_request_agency_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signature_request")),
    )
    with op.batch_alter_table("signature_request", schema=None) as batch_op:
        batch_op.create_index("ix_signature_request_agency_id", ["agency_id", "id"], unique=False)
        batch_op.create_index("ix_signature_request_client_id", ["client_id", "id"], unique=False)
        batch_op.create_index("ix_signature_request_state", ["state", "deadline"], unique=False)

    op.create_table(
        "approval_link",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind in ('step', 'copies', 'decision', 'enrol')", name=op.f("ck_approval_link_kind")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_approval_link_person_id")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_approval_link")),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("agency_id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("proposed_by", sa.String(length=26), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("votes", sa.Integer(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("refused_by", sa.String(length=26), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("outcome", sa.JSON(none_as_null=True), nullable=True),
        sa.CheckConstraint("state in ('open', 'applied', 'refused', 'expired')", name=op.f("ck_decision_state")),
        sa.ForeignKeyConstraint(["agency_id"], ["agency.id"], name=op.f("fk_decision_agency_id")),
        sa.ForeignKeyConstraint(["proposed_by"], ["person.id"], name=op.f("fk_decision_proposed_by")),
        sa.ForeignKeyConstraint(["refused_by"], ["person.id"], name=op.f("fk_decision_refused_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        info={
            "append_only": (
                ("state", "votes", "settled_at", "refused_by", "reason", "outcome"),
                False,
                ("applied", "refused", "expired"),
            )
        },
    )
    with op.batch_alter_table("decision", schema=None) as batch_op:
        batch_op.create_index("ix_decision_agency_id_id", ["agency_id", "id"], unique=False)
        batch_op.create_index("ix_decision_state_expires_at", ["state", "expires_at"], unique=False)

    op.create_table(
        "desk_stop",
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_desk_stop_person_id")),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_desk_stop")),
    )
    op.create_table(
        "desk_ticket",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state in ('open', 'used')", name=op.f("ck_desk_ticket_state")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_desk_ticket_person_id")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_desk_ticket")),
    )
    op.create_table(
        "enrolment_fact",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_enrolment_fact_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment_fact")),
        info={"append_only": ((), False, ())},
    )
    with op.batch_alter_table("enrolment_fact", schema=None) as batch_op:
        batch_op.create_index("ix_enrolment_fact_person_id", ["person_id", "id"], unique=False)

    op.create_table(
        "enrolment_notice",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state in ('open', 'sent', 'failed')", name=op.f("ck_enrolment_notice_state")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_enrolment_notice_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment_notice")),
    )
    with op.batch_alter_table("enrolment_notice", schema=None) as batch_op:
        batch_op.create_index("ix_enrolment_notice_state", ["state", "next_at"], unique=False)

    op.create_table(
        "identity_flow",
        sa.Column("state_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("flow_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("link", sa.LargeBinary(), nullable=True),
        sa.Column("person_id", sa.String(length=26), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state in ('open', 'used')", name=op.f("ck_identity_flow_state")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_identity_flow_person_id")),
        sa.PrimaryKeyConstraint("state_sha256", name=op.f("pk_identity_flow")),
    )
    op.create_table(
        "login_passkey",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state in ('active', 'revoked')", name=op.f("ck_login_passkey_state")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_login_passkey_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_passkey")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_login_passkey_credential_id")),
    )
    with op.batch_alter_table("login_passkey", schema=None) as batch_op:
        batch_op.create_index("ix_login_passkey_person_id", ["person_id"], unique=False)

    op.create_table(
        "passkey_challenge",
        sa.Column("tx", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state in ('open', 'used')", name=op.f("ck_passkey_challenge_state")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_passkey_challenge_person_id")),
        sa.PrimaryKeyConstraint("tx", name=op.f("pk_passkey_challenge")),
    )
    op.create_table(
        "person_contact",
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("email", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_person_contact_person_id")),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_person_contact")),
    )
    op.create_table(
        "person_number",
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("scope", sa.String(length=26), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_person_number_person_id")),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_person_number")),
        sa.UniqueConstraint("realm", "scope", "mac", name=op.f("uq_person_number_realm_scope_mac")),
    )
    with op.batch_alter_table("person_number", schema=None) as batch_op:
        batch_op.create_index("ix_person_number_mac", ["mac"], unique=False)

    op.create_table(
        "provider_account",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("sealed_user", sa.LargeBinary(), nullable=False),
        sa.Column("credential_id", sa.String(length=26), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["credential_id"], ["credential.id"], name=op.f("fk_provider_account_credential_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_provider_account_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_account")),
        sa.UniqueConstraint("person_id", "provider", name=op.f("uq_provider_account_person_id_provider")),
    )
    op.create_table(
        "request_change",
        sa.Column("request_id", sa.String(length=26), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("said", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["signature_request.id"], name=op.f("fk_request_change_request_id")),
        sa.PrimaryKeyConstraint("request_id", "version", name=op.f("pk_request_change")),
        info={"append_only": ((), False, ())},
    )
    op.create_table(
        "request_document",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("request_id", sa.String(length=26), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("original", sa.String(length=64), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("algorithm", sa.String(length=16), nullable=True),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("current", sa.String(length=64), nullable=True),
        sa.Column("released", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "(kind = 'pdf' and original is not null and digest is null and algorithm is null) or (kind = 'digest' and original is null and digest is not null and algorithm is not null)",
            name=op.f("ck_request_document_content"),
        ),
        sa.CheckConstraint("kind in ('pdf', 'digest')", name=op.f("ck_request_document_kind")),
        sa.ForeignKeyConstraint(["request_id"], ["signature_request.id"], name=op.f("fk_request_document_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_document")),
        sa.UniqueConstraint("request_id", "position", name=op.f("uq_request_document_request_id_position")),
    )
    with op.batch_alter_table("request_document", schema=None) as batch_op:
        batch_op.create_index("ix_request_document_released", ["released"], unique=False)

    op.create_table(
        "request_step",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("request_id", sa.String(length=26), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("placement", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("lease", sa.String(length=26), nullable=True),
        sa.Column("leased_until", sa.BigInteger(), nullable=True),
        sa.Column("turned_away_at", sa.BigInteger(), nullable=True),
        sa.Column("rests_until", sa.BigInteger(), nullable=True),
        sa.Column("activation_tx", sa.String(length=26), nullable=True),
        sa.Column("code", sa.String(length=6), nullable=True),
        sa.Column("orders", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=True),
        sa.Column("approved_at", sa.BigInteger(), nullable=True),
        sa.Column("signed_at", sa.BigInteger(), nullable=True),
        sa.Column("reminded_at", sa.BigInteger(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("replaced_by", sa.String(length=26), nullable=True),
        sa.CheckConstraint("kind in ('citizen', 'official', 'seal')", name=op.f("ck_request_step_kind")),
        sa.CheckConstraint(
            "state in ('waiting', 'ready', 'open', 'approved', 'signed', 'refused', 'replaced', 'cancelled', 'expired')",
            name=op.f("ck_request_step_state"),
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_request_step_person_id")),
        sa.ForeignKeyConstraint(["replaced_by"], ["request_step.id"], name=op.f("fk_request_step_replaced_by")),
        sa.ForeignKeyConstraint(["request_id"], ["signature_request.id"], name=op.f("fk_request_step_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_step")),
    )
    with op.batch_alter_table("request_step", schema=None) as batch_op:
        batch_op.create_index("ix_request_step_person_id", ["person_id", "state"], unique=False)
        batch_op.create_index("ix_request_step_request_id", ["request_id", "position", "place"], unique=False)
        batch_op.create_index("ix_request_step_state", ["state", "leased_until"], unique=False)

    op.create_table(
        "approval_link_subject",
        sa.Column("link_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("subject_id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(
            ["link_sha256"], ["approval_link.sha256"], name=op.f("fk_approval_link_subject_link_sha256")
        ),
        sa.PrimaryKeyConstraint("link_sha256", "position", name=op.f("pk_approval_link_subject")),
    )
    with op.batch_alter_table("approval_link_subject", schema=None) as batch_op:
        batch_op.create_index("ix_approval_link_subject_subject_id", ["subject_id"], unique=False)

    op.create_table(
        "decision_ballot",
        sa.Column("tx", sa.String(length=26), nullable=False),
        sa.Column("decision_id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.CheckConstraint("state in ('open', 'used')", name=op.f("ck_decision_ballot_state")),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_decision_ballot_decision_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_decision_ballot_person_id")),
        sa.PrimaryKeyConstraint("tx", name=op.f("pk_decision_ballot")),
        info={"append_only": (("state",), False, ("used",))},
    )
    with op.batch_alter_table("decision_ballot", schema=None) as batch_op:
        batch_op.create_index("ix_decision_ballot_decision_id_person_id", ["decision_id", "person_id"], unique=False)

    op.create_table(
        "decision_vote",
        sa.Column("decision_id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("ballot", sa.LargeBinary(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("given_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_decision_vote_decision_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_decision_vote_person_id")),
        sa.PrimaryKeyConstraint("decision_id", "person_id", name=op.f("pk_decision_vote")),
        info={"append_only": ((), False, ())},
    )
    op.create_table(
        "desk_session",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("device_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("passkey_id", sa.String(length=26), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("locked_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["passkey_id"], ["login_passkey.id"], name=op.f("fk_desk_session_passkey_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_desk_session_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_desk_session")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_desk_session_token_sha256")),
    )
    with op.batch_alter_table("desk_session", schema=None) as batch_op:
        batch_op.create_index("ix_desk_session_person_id", ["person_id"], unique=False)

    op.create_table(
        "enrolment_run",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("realm", sa.String(length=16), nullable=False),
        sa.Column("link", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("level", sa.Text(), nullable=True),
        sa.Column("pass_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("email", sa.LargeBinary(), nullable=True),
        sa.Column("subject", sa.LargeBinary(), nullable=True),
        sa.Column("consent", sa.LargeBinary(), nullable=True),
        sa.Column("consented_at", sa.BigInteger(), nullable=True),
        sa.Column("usable_from", sa.BigInteger(), nullable=True),
        sa.Column("passkey_id", sa.String(length=26), nullable=True),
        sa.Column("credential_id", sa.String(length=26), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind in ('first', 'second', 'again', 'renewal')", name=op.f("ck_enrolment_run_kind")),
        sa.CheckConstraint("method in ('oidc', 'portal', 'passkey')", name=op.f("ck_enrolment_run_method")),
        sa.CheckConstraint(
            "state in ('asserted', 'identified', 'consented', 'registered', 'waiting', 'done', 'objected', 'ended')",
            name=op.f("ck_enrolment_run_state"),
        ),
        sa.ForeignKeyConstraint(["credential_id"], ["credential.id"], name=op.f("fk_enrolment_run_credential_id")),
        sa.ForeignKeyConstraint(["passkey_id"], ["passkey.id"], name=op.f("fk_enrolment_run_passkey_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_enrolment_run_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment_run")),
        sa.UniqueConstraint("pass_sha256", name=op.f("uq_enrolment_run_pass_sha256")),
    )
    with op.batch_alter_table("enrolment_run", schema=None) as batch_op:
        batch_op.create_index("ix_enrolment_run_person_id", ["person_id", "state"], unique=False)
        batch_op.create_index("ix_enrolment_run_state", ["state", "usable_from"], unique=False)

    op.create_table(
        "enter_challenge",
        sa.Column("tx", sa.String(length=26), nullable=False),
        sa.Column("link_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state in ('open', 'spent')", name=op.f("ck_enter_challenge_state")),
        sa.ForeignKeyConstraint(["link_sha256"], ["approval_link.sha256"], name=op.f("fk_enter_challenge_link_sha256")),
        sa.PrimaryKeyConstraint("tx", name=op.f("pk_enter_challenge")),
    )
    with op.batch_alter_table("enter_challenge", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_enter_challenge_link_sha256"), ["link_sha256"], unique=False)

    op.create_table(
        "page_pass",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("link_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.String(length=26), nullable=False),
        sa.Column("passkey_id", sa.String(length=26), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["link_sha256"], ["approval_link.sha256"], name=op.f("fk_page_pass_link_sha256")),
        sa.ForeignKeyConstraint(["passkey_id"], ["passkey.id"], name=op.f("fk_page_pass_passkey_id")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_page_pass_person_id")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_page_pass")),
    )
    with op.batch_alter_table("page_pass", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_page_pass_link_sha256"), ["link_sha256"], unique=False)

    op.create_table(
        "enrolment_code",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state in ('sent', 'used', 'ended')", name=op.f("ck_enrolment_code_state")),
        sa.ForeignKeyConstraint(["run_id"], ["enrolment_run.id"], name=op.f("fk_enrolment_code_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment_code")),
    )
    with op.batch_alter_table("enrolment_code", schema=None) as batch_op:
        batch_op.create_index("ix_enrolment_code_run_id", ["run_id"], unique=False)

    op.create_table(
        "enrolment_objection",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["enrolment_run.id"], name=op.f("fk_enrolment_objection_run_id")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_enrolment_objection")),
        sa.UniqueConstraint("run_id", name=op.f("uq_enrolment_objection_run_id")),
    )
    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.add_column(sa.Column("return_urls", sa.JSON(none_as_null=True), nullable=True))

    with op.batch_alter_table("passkey", schema=None) as batch_op:
        batch_op.add_column(sa.Column("flags", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("label", sa.Text(), nullable=True))

    with op.batch_alter_table("signing_order", schema=None) as batch_op:
        batch_op.add_column(sa.Column("position", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("provider", sa.Text(), nullable=True))
        batch_op.create_index("ix_signing_order_activation_tx", ["activation_tx"], unique=False)

    for statement in _TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Take it away again."""
    with op.batch_alter_table("signing_order", schema=None) as batch_op:
        batch_op.drop_index("ix_signing_order_activation_tx")
        batch_op.drop_column("provider")
        batch_op.drop_column("position")

    with op.batch_alter_table("passkey", schema=None) as batch_op:
        batch_op.drop_column("label")
        batch_op.drop_column("flags")

    with op.batch_alter_table("client", schema=None) as batch_op:
        batch_op.drop_column("return_urls")

    op.drop_table("enrolment_objection")
    with op.batch_alter_table("enrolment_code", schema=None) as batch_op:
        batch_op.drop_index("ix_enrolment_code_run_id")

    op.drop_table("enrolment_code")
    with op.batch_alter_table("page_pass", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_page_pass_link_sha256"))

    op.drop_table("page_pass")
    with op.batch_alter_table("enter_challenge", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_enter_challenge_link_sha256"))

    op.drop_table("enter_challenge")
    with op.batch_alter_table("enrolment_run", schema=None) as batch_op:
        batch_op.drop_index("ix_enrolment_run_state")
        batch_op.drop_index("ix_enrolment_run_person_id")

    op.drop_table("enrolment_run")
    with op.batch_alter_table("desk_session", schema=None) as batch_op:
        batch_op.drop_index("ix_desk_session_person_id")

    op.drop_table("desk_session")
    op.drop_table("decision_vote")
    with op.batch_alter_table("decision_ballot", schema=None) as batch_op:
        batch_op.drop_index("ix_decision_ballot_decision_id_person_id")

    op.drop_table("decision_ballot")
    with op.batch_alter_table("approval_link_subject", schema=None) as batch_op:
        batch_op.drop_index("ix_approval_link_subject_subject_id")

    op.drop_table("approval_link_subject")
    with op.batch_alter_table("request_step", schema=None) as batch_op:
        batch_op.drop_index("ix_request_step_state")
        batch_op.drop_index("ix_request_step_request_id")
        batch_op.drop_index("ix_request_step_person_id")

    op.drop_table("request_step")
    with op.batch_alter_table("request_document", schema=None) as batch_op:
        batch_op.drop_index("ix_request_document_released")

    op.drop_table("request_document")
    op.drop_table("request_change")
    op.drop_table("provider_account")
    with op.batch_alter_table("person_number", schema=None) as batch_op:
        batch_op.drop_index("ix_person_number_mac")

    op.drop_table("person_number")
    op.drop_table("person_contact")
    op.drop_table("passkey_challenge")
    with op.batch_alter_table("login_passkey", schema=None) as batch_op:
        batch_op.drop_index("ix_login_passkey_person_id")

    op.drop_table("login_passkey")
    op.drop_table("identity_flow")
    with op.batch_alter_table("enrolment_notice", schema=None) as batch_op:
        batch_op.drop_index("ix_enrolment_notice_state")

    op.drop_table("enrolment_notice")
    with op.batch_alter_table("enrolment_fact", schema=None) as batch_op:
        batch_op.drop_index("ix_enrolment_fact_person_id")

    op.drop_table("enrolment_fact")
    op.drop_table("desk_ticket")
    op.drop_table("desk_stop")
    with op.batch_alter_table("decision", schema=None) as batch_op:
        batch_op.drop_index("ix_decision_state_expires_at")
        batch_op.drop_index("ix_decision_agency_id_id")

    op.drop_table("decision")
    op.drop_table("approval_link")
    with op.batch_alter_table("signature_request", schema=None) as batch_op:
        batch_op.drop_index("ix_signature_request_state")
        batch_op.drop_index("ix_signature_request_client_id")
        batch_op.drop_index("ix_signature_request_agency_id")

    op.drop_table("signature_request")
    op.drop_table("provider_transaction")
    with op.batch_alter_table("desk_challenge", schema=None) as batch_op:
        batch_op.drop_index("ix_desk_challenge_expires_at")

    op.drop_table("desk_challenge")
    op.drop_table("consent_text")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION IF EXISTS consent_text_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS decision_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS enrolment_fact_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS request_change_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS decision_ballot_refuse() CASCADE")
        op.execute("DROP FUNCTION IF EXISTS decision_vote_refuse() CASCADE")
