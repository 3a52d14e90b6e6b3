"""Tables of enrolment. Names and addresses of people stand in none of them in the clear; numbers only as keyed hashes."""

import sqlalchemy as sa

from core.db import UtcDateTime, append_only, metadata

__all__ = [
    "RUNNING",
    "challenge_table",
    "code_table",
    "consent_table",
    "contact_table",
    "desk_ticket_table",
    "fact_table",
    "flow_table",
    "notice_table",
    "number_table",
    "objection_table",
    "run_table",
]

RUNNING = ("identified", "consented", "registered")
"""States of a run that its page may still carry on."""


def _person() -> sa.Column[str]:
    return sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False)


number_table = sa.Table(
    "person_number",
    metadata,
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("scope", sa.String(26), nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("realm", "scope", "mac"),
    sa.Index("ix_person_number_mac", "mac"),
)
"""HMAC of a national number. ``scope``: ``citizen``, or the agency for which the person acts: two rows, two signatures."""

contact_table = sa.Table(
    "person_contact",
    metadata,
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), primary_key=True),
    sa.Column("email", sa.LargeBinary, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)
"""Where notices go, sealed."""

run_table = sa.Table(
    "enrolment_run",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    _person(),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("link", sa.LargeBinary),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("method", sa.String(16), nullable=False),
    sa.Column("level", sa.Text),
    sa.Column("pass_sha256", sa.LargeBinary, unique=True),
    sa.Column("email", sa.LargeBinary),
    sa.Column("subject", sa.LargeBinary),
    sa.Column("consent", sa.LargeBinary),
    sa.Column("consented_at", UtcDateTime),
    sa.Column("usable_from", UtcDateTime),
    sa.Column("passkey_id", sa.String(26), sa.ForeignKey("passkey.id")),
    sa.Column("credential_id", sa.String(26), sa.ForeignKey("credential.id")),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Index("ix_enrolment_run_person_id", "person_id", "state"),
    sa.Index("ix_enrolment_run_state", "state", "usable_from"),
    sa.CheckConstraint("kind in ('first', 'second', 'again', 'renewal')", name="kind"),
    sa.CheckConstraint("method in ('oidc', 'portal', 'passkey')", name="method"),
    sa.CheckConstraint(
        "state in ('asserted', 'identified', 'consented', 'registered', 'waiting', 'done', 'objected', 'ended')",
        name="state",
    ),
)
"""One way through enrolment: (``asserted`` →) ``identified`` → ``consented`` → ``registered`` → (``waiting`` →) ``done``;
``objected`` by the person, ``ended`` by a loss, a newer run or the rules.
"""

consent_table = sa.Table(
    "consent_text",
    metadata,
    sa.Column("sha256", sa.LargeBinary, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
append_only(consent_table)
"""Every wording that anybody agreed to, under its digest."""

flow_table = sa.Table(
    "identity_flow",
    metadata,
    sa.Column("state_sha256", sa.LargeBinary, primary_key=True),
    sa.Column("flow_sha256", sa.LargeBinary, nullable=False),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("link", sa.LargeBinary),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id")),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("state in ('open', 'used')", name="state"),
)
"""A log-in that went out to an identity provider; without person it is about a lost phone."""

code_table = sa.Table(
    "enrolment_code",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("run_id", sa.String(26), sa.ForeignKey("enrolment_run.id"), nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("sent_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Index("ix_enrolment_code_run_id", "run_id"),
    sa.CheckConstraint("state in ('sent', 'used', 'ended')", name="state"),
)
"""Six digits by the second channel; ``tries`` grows by compare-and-swap before a guess is looked at."""

challenge_table = sa.Table(
    "passkey_challenge",
    metadata,
    sa.Column("tx", sa.String(26), primary_key=True),
    _person(),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("state in ('open', 'used')", name="state"),
)
"""Records ``dauso/passkey/v1``: to make a passkey (``about`` a run) or to let a further one in (``about`` a link)."""

objection_table = sa.Table(
    "enrolment_objection",
    metadata,
    sa.Column("sha256", sa.LargeBinary, primary_key=True),
    sa.Column("run_id", sa.String(26), sa.ForeignKey("enrolment_run.id"), nullable=False, unique=True),
    sa.Column("expires_at", UtcDateTime, nullable=False),
)
"""The way to say *that was not me*; it needs no passkey and no log-in."""

desk_ticket_table = sa.Table(
    "desk_ticket",
    metadata,
    sa.Column("sha256", sa.LargeBinary, primary_key=True),
    _person(),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("state in ('open', 'used')", name="state"),
)
"""Lets an official register a log-in passkey at the desk, once."""

notice_table = sa.Table(
    "enrolment_notice",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    _person(),
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Index("ix_enrolment_notice_state", "state", "next_at"),
    sa.CheckConstraint("state in ('open', 'sent', 'failed')", name="state"),
)
"""A letter on its way, written in the transaction that it tells of; sealed, and emptied when it has left."""

fact_table = sa.Table(
    "enrolment_fact",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    _person(),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Index("ix_enrolment_fact_person_id", "person_id", "id"),
)
append_only(fact_table)
"""What a leaf of the log commits to, with the salt that opens it."""
