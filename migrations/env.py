"""Alembic environment: runs on the connection it is given (``config.attributes["connection"]``)."""

from alembic import context

from core.db import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()
