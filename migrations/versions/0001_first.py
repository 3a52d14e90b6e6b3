"""First tables: directory, register, credentials, activations, orders, copies, certificates, log.

pre-deploy. Later revisions change tables step by step; this one makes what the code of the first release declares.
"""

from alembic import op

import api.bootstrap  # noqa: F401  (declares every table)
from core.db import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables with their triggers."""
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    """Drop all tables."""
    metadata.drop_all(op.get_bind())
