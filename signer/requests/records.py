"""Tables of signature requests, their documents and their steps."""

import sqlalchemy as sa

from core.db import UtcDateTime, append_only, metadata

__all__ = ["change_table", "document_table", "request_table", "step_table"]

request_table = sa.Table(
    "signature_request",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("realm", sa.String(16), nullable=False),
    sa.Column("agency_id", sa.String(26), sa.ForeignKey("agency.id"), nullable=False),
    sa.Column("client_id", sa.String(26), nullable=False),
    sa.Column("client_name", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("return_url", sa.Text),
    sa.Column("deadline", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("why", sa.Text),
    sa.Column("problem", sa.Text),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.CheckConstraint("state in ('open', 'completed', 'refused', 'cancelled', 'expired', 'failed')", name="state"),
    sa.CheckConstraint("(state = 'open') = (settled_at is null)", name="settled"),
    sa.Index("ix_signature_request_agency_id", "agency_id", "id"),
    sa.Index("ix_signature_request_client_id", "client_id", "id"),
    sa.Index("ix_signature_request_state", "state", "deadline"),
)
"""The row that every change of a request locks first; ``version`` counts them."""

document_table = sa.Table(
    "request_document",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("request_id", sa.String(26), sa.ForeignKey("signature_request.id"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("original", sa.String(64)),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("algorithm", sa.String(16)),
    sa.Column("pages", sa.Integer, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("current", sa.String(64)),
    sa.Column("released", sa.String(64)),
    sa.UniqueConstraint("request_id", "position"),
    sa.CheckConstraint("kind in ('pdf', 'digest')", name="kind"),
    sa.CheckConstraint(
        "(kind = 'pdf' and original is not null and digest is null and algorithm is null) or "
        "(kind = 'digest' and original is null and digest is not null and algorithm is not null)",
        name="content",
    ),
    sa.Index("ix_request_document_released", "released"),
)
step_table = sa.Table(
    "request_step",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("request_id", sa.String(26), sa.ForeignKey("signature_request.id"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("person_id", sa.String(26), sa.ForeignKey("person.id"), nullable=False),
    sa.Column("provider", sa.Text),
    sa.Column("placement", sa.JSON(none_as_null=True)),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("lease", sa.String(26)),
    sa.Column("leased_until", UtcDateTime),
    sa.Column("turned_away_at", UtcDateTime),
    sa.Column("rests_until", UtcDateTime),
    sa.Column("activation_tx", sa.String(26)),
    sa.Column("code", sa.String(6)),
    sa.Column("orders", sa.JSON, nullable=False),
    sa.Column("opened_at", UtcDateTime),
    sa.Column("approved_at", UtcDateTime),
    sa.Column("signed_at", UtcDateTime),
    sa.Column("reminded_at", UtcDateTime),
    sa.Column("why", sa.Text),
    sa.Column("problem", sa.Text),
    sa.Column("replaced_by", sa.String(26), sa.ForeignKey("request_step.id")),
    sa.CheckConstraint("kind in ('citizen', 'official', 'seal')", name="kind"),
    sa.CheckConstraint(
        "state in ('waiting', 'ready', 'open', 'approved', 'signed', 'refused', 'replaced', 'cancelled', 'expired')",
        name="state",
    ),
    sa.Index("ix_request_step_request_id", "request_id", "position", "place"),
    sa.Index("ix_request_step_person_id", "person_id", "state"),
    sa.Index("ix_request_step_state", "state", "leased_until"),
)
change_table = sa.Table(
    "request_change",
    metadata,
    sa.Column("request_id", sa.String(26), sa.ForeignKey("signature_request.id"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("said", sa.JSON, nullable=False),
)
append_only(change_table)
"""What the leaves of the log commit to, with the request's salt: made, changed, settled."""
