"""Tables of the desk's log-in. The web process writes them; nothing here opens a key or approves anything."""

import sqlalchemy as sa

from core.db import UtcDateTime, metadata

__all__ = ["challenge_table", "passkey_table", "session_table"]

passkey_table = sa.Table(
    "login_passkey",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("credential_id", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("public_key", sa.LargeBinary, nullable=False),
    sa.Column("sign_count", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("used_at", UtcDateTime),
    sa.Index("ix_login_passkey_person_id", "person_id"),
    sa.CheckConstraint("state in ('active', 'revoked')", name="state"),
)
"""For the web's RP ID alone. A signing passkey has another table, another RP ID and another origin."""

session_table = sa.Table(
    "desk_session",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("token_sha256", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("device_sha256", sa.LargeBinary, nullable=False),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("passkey_id", sa.String(26), sa.ForeignKey("login_passkey.id"), nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("verified_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("locked_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Index("ix_desk_session_person_id", "person_id"),
)
"""``verified_at``: when the passkey was last used in it; ``device``: browser and system in words, for the person's own list."""

challenge_table = sa.Table(
    "desk_challenge",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("challenge", sa.LargeBinary, nullable=False),
    sa.Column("person_id", sa.String(26)),
    sa.Column("session_id", sa.String(26)),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Index("ix_desk_challenge_expires_at", "expires_at"),
    sa.CheckConstraint("purpose in ('login', 'unlock', 'register')", name="purpose"),
    sa.CheckConstraint("state in ('open', 'spent')", name="state"),
)
"""Each is answered once; ``person_id`` and ``session_id`` where only those may answer."""
