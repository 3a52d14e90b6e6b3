"""Users with narrow rights in a test's PostgreSQL."""

import uuid

from api.roles import AUDITOR_WRITES, hidden_from_auditor
from core.db import Database, grants

__all__ = ["auditors_url"]


async def auditors_url(url: str) -> str:
    """The same database, by a user who has the auditor's rights."""
    user = f"auditor_{uuid.uuid4().hex[:8]}"
    async with Database(url) as db, db.write() as uow:
        await uow.exec_driver_sql("CREATE TABLE IF NOT EXISTS alembic_version (version_num text)")
        await uow.exec_driver_sql(f"CREATE USER {user}")
        for statement in grants(user, AUDITOR_WRITES, hidden_from_auditor(), adding=True):
            await uow.exec_driver_sql(statement)
    return url.replace("postgres@", f"{user}@")
