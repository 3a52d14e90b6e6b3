"""The migrations make exactly what the code declares, on both databases, and can be undone."""

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from core.db import Database
from tests.tables import EVERY


def _config(connection):
    config = Config()
    config.set_main_option("script_location", "migrations")
    config.attributes["connection"] = connection
    return config


def _upgrade(connection):
    command.upgrade(_config(connection), "head")


def _downgrade(connection):
    command.downgrade(_config(connection), "base")


def _triggers(connection):
    if connection.dialect.name == "sqlite":
        rows = connection.execute(sa.text("select name, sql from sqlite_master where type = 'trigger'"))
        return {row.name: " ".join(row.sql.split()) for row in rows}
    rows = connection.execute(
        sa.text("select tgname, pg_get_triggerdef(oid) as sql from pg_trigger where not tgisinternal")
    )
    return {row.tgname: row.sql for row in rows}


def _checks(connection):
    found = sa.inspect(connection)
    return {
        (table, check["name"], " ".join(check["sqltext"].split()))
        for table in found.get_table_names()
        for check in found.get_check_constraints(table)
    }


def _differences(connection):
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return compare_metadata(context, EVERY)


async def test_what_migrations_make_is_what_the_code_declares(database_url, tmp_path):
    async with Database(database_url) as db:
        async with db.write() as uow:
            await uow.run_sync(_upgrade)
        async with db.read() as uow:
            assert await uow.run_sync(_differences) == []
            migrated = await uow.run_sync(_triggers), await uow.run_sync(_checks)
        async with db.write() as uow:
            await uow.run_sync(_downgrade)
            await uow.execute(sa.text("drop table alembic_version"))
        async with db.read() as uow:
            assert await uow.run_sync(lambda c: sa.inspect(c).get_table_names()) == []
        await db.create_all()
        async with db.read() as uow:
            declared = await uow.run_sync(_triggers), await uow.run_sync(_checks)
    assert migrated[0] == declared[0]
    assert len(declared[0]) >= 8
    assert migrated[1] == declared[1]
