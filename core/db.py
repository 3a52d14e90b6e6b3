"""One relational store, two forms: SQLite when nothing is configured, PostgreSQL in production.

Rules:

* What depends on locking is written once here, with a form for each database. Safety rests on compare-and-swap
  (``UPDATE … WHERE state = :old`` and the row count), constraints and triggers, which both have.
* A ``write`` transaction starts ``BEGIN IMMEDIATE`` on SQLite, so that a read never turns into a refused write.
* Short transactions; no network call, no rendering inside one.
* A statement on the path of an approval is a constant of its module with ``bindparam``s: SQLAlchemy takes longer to build
  one than SQLite to run it.
* Tables are declared in each room's ``records.py`` on ``metadata``; only ``migrations/`` creates them in production.

Example::

    async with db.write() as uow:
        await uow.execute(insert(agencies).values(...))   # committed when the block ends without an error
"""

import datetime as dt
import sqlite3
from collections import namedtuple
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import TypeDecorator

from core import sqlite
from core.errors import Broken, Unavailable

__all__ = [
    "Database",
    "Prepared",
    "UnitOfWork",
    "UtcDateTime",
    "append_only",
    "grants",
    "insert_new",
    "metadata",
    "row_by",
    "set_pragmas",
    "swap_state",
]

_T = TypeVar("_T")

_naming = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=_naming)

UnitOfWork = AsyncConnection
"""One transaction: executes statements, may run ``run_sync``; committed or rolled back by the block that opened it."""


class UtcDateTime(TypeDecorator[dt.datetime]):
    """Aware times in, aware UTC times out; microseconds since 1970 underneath, so both databases order alike."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> int | None:
        """Refuses naive times: a date without zone is a bug."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime")
        return round(value.timestamp() * 1_000_000)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> dt.datetime | None:
        """Aware, UTC."""
        return None if value is None else dt.datetime.fromtimestamp(value / 1_000_000, dt.UTC)


def set_pragmas(connection: Any, _record: Any) -> None:
    """On every SQLite connection, ours and the jobs' (``connect`` event): durable commits, waiting writers."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def append_only(
    table: sa.Table, *, may_change: tuple[str, ...] = (), from_null: bool = False, final: tuple[str, ...] = ()
) -> None:
    """Forbid DELETE, and UPDATE of any column not in ``may_change``, by trigger on both databases.

    With ``from_null`` the named columns may only go from NULL to a value; a row whose ``state`` is one of ``final``
    changes no more. Attached to ``after_create``; the migrations hold the same text (a test compares).
    """
    table.info["append_only"] = (may_change, from_null, final)
    for dialect in ("sqlite", "postgresql"):
        for ddl in triggers(table, dialect):
            event.listen(table, "after_create", sa.DDL(ddl.replace("%", "%%")).execute_if(dialect=dialect))


def triggers(table: sa.Table, dialect: str) -> list[str]:
    """The DDL of ``append_only`` for ``dialect``."""
    may_change, from_null, final = table.info["append_only"]
    name = table.name
    fixed = [c for c in table.columns if c.name not in may_change]
    differs = "IS NOT" if dialect == "sqlite" else "IS DISTINCT FROM"
    # PostgreSQL's json has no equality; its text has
    cast = {c.name: "::text" if dialect == "postgresql" and isinstance(c.type, sa.JSON) else "" for c in fixed}
    broken = [f"OLD.{c}{cast[c]} {differs} NEW.{c}{cast[c]}" for c in cast]
    if from_null:
        broken += [f"OLD.{c} IS NOT NULL" for c in may_change]
    if final:
        broken.append(f"OLD.state IN ({', '.join(map(repr, final))})")
    when = " OR ".join(broken)
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {name}_no_delete BEFORE DELETE ON {name} "
            f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END",
            f"CREATE TRIGGER {name}_no_update BEFORE UPDATE ON {name} WHEN {when} "
            f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END",
        ]
    return [
        f"CREATE FUNCTION {name}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{name} is append-only'; END $$",
        f"CREATE TRIGGER {name}_no_delete BEFORE DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION {name}_refuse()",
        f"CREATE TRIGGER {name}_no_update BEFORE UPDATE ON {name} FOR EACH ROW "
        f"WHEN ({when}) EXECUTE FUNCTION {name}_refuse()",
    ]


@cache
def row_by(column: sa.Column[Any]) -> sa.Select[Any]:
    """Whole rows by one column, prepared once: ``await uow.execute(row_by(t.c.id), {"value": …})``."""
    return sa.select(column.table).where(column == sa.bindparam("value"))


def grants(
    user: str, may_write: frozenset[str], hidden: frozenset[str] = frozenset(), *, adding: bool = False
) -> list[str]:
    """PostgreSQL statements that let ``user`` read all of ours but ``hidden``, and change rows of ``may_write`` only.

    ``adding``: rows are added there, and none is changed or taken away.
    """
    quoted = '"' + user.replace('"', '""') + '"'
    tables = [table.name for table in metadata.sorted_tables if table.name not in hidden]
    verbs, sequences = ("INSERT", "REVOKE ALL") if adding else ("INSERT, UPDATE, DELETE", "GRANT USAGE")
    to = "FROM" if adding else "TO"
    return [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {quoted}",
        f"GRANT USAGE ON SCHEMA public TO {quoted}",
        f"GRANT SELECT ON {', '.join([*tables, 'alembic_version'])} TO {quoted}",
        f"GRANT {verbs} ON {', '.join(sorted(may_write & set(tables)))} TO {quoted}",
        f"{sequences} ON ALL SEQUENCES IN SCHEMA public {to} {quoted}",
    ]


def insert_new(uow: AsyncConnection, table: sa.Table) -> Any:
    """``INSERT … ON CONFLICT DO NOTHING``: two spellings, one meaning; the row count says whether it was new."""
    return _insert_new(uow.dialect.name, table)


@cache
def _insert_new(dialect: str, table: sa.Table) -> Any:
    insert = sqlite_dialect.insert if dialect == "sqlite" else postgresql_dialect.insert
    return insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


@cache
def _swap(key: sa.Column[Any], names: frozenset[str]) -> sa.Update:
    table: Any = key.table
    values: dict[str, Any] = {name: sa.bindparam(f"to_{name}") for name in names}
    return (
        sa.update(table)
        .where(key == sa.bindparam("swap_key"), table.c.state == sa.bindparam("swap_old"))
        .values(values)
    )


async def swap_state(uow: AsyncConnection, key: sa.Column[Any], which: Any, old: str, new: str, **values: Any) -> bool:
    """``state`` of the row ``key == which`` from ``old`` to ``new``, with ``values``; false if another was first.

    The compare-and-swap on which everything that may be spent once rests.
    """
    statement = _swap(key, frozenset({"state", *values}))
    done = await uow.execute(
        statement,
        {"swap_key": which, "swap_old": old, "to_state": new, **{f"to_{name}": v for name, v in values.items()}},
    )
    return bool(done.rowcount == 1)


class Prepared:
    """One statement for a hot read, compiled once; each call sees what is committed then.

    On SQLite it runs in place on a connection of its own, without a transaction around it: microseconds instead of the
    half millisecond of the general way. On PostgreSQL it goes the general way.
    """

    def __init__(self, db: "Database", statement: sa.Select[Any]) -> None:
        self._db, self._statement = db, statement
        self._connection: sqlite3.Connection | None = None
        dialect = sqlite_dialect.dialect(paramstyle="qmark")
        compiled = statement.compile(dialect=dialect)
        self._text, self._order = str(compiled), compiled.positiontup or []
        self._fixed = compiled.params
        columns = statement.selected_columns
        self._row = namedtuple("_Row", [c.key for c in columns])  # type: ignore[misc]  # noqa: PYI024 - its fields are the statement's
        self._readers = [c.type.dialect_impl(dialect).result_processor(dialect, None) for c in columns]

    async def first(self, **values: Any) -> Any | None:
        """The first row, by the statement's column names, or None. Raises ``database.unavailable``."""
        if not self._db.is_sqlite:
            async with self._db.read() as uow:
                return (await uow.execute(self._statement, values)).first()
        given = {**self._fixed, **values}
        try:
            if self._connection is None:
                self._connection = self._db.plain_connection()
            found = self._connection.execute(self._text, [given[name] for name in self._order]).fetchone()
        except sqlite3.Error as error:
            raise Unavailable("database.unavailable") from error
        if found is None:
            return None
        values_read: list[Any] = [v if read is None else read(v) for v, read in zip(found, self._readers, strict=True)]
        return self._row(*values_read)


class Database:
    """Two engines on SQLite (readers do not queue behind the writer), one on PostgreSQL."""

    def __init__(self, url: str, may_write: frozenset[str] | None = None, hidden: frozenset[str] = frozenset()) -> None:
        """``url``: ``sqlite+aiosqlite:////path`` or ``postgresql+psycopg://…``. Opens nothing yet.

        ``may_write``: the only tables this process may change, ``hidden``: those it may not even read. SQLite's
        connections then refuse; on PostgreSQL the user's grants do (``grants``).
        """
        self.url = url
        self._prepared: dict[sa.Select[Any], Prepared] = {}
        self._plain: list[sqlite3.Connection] = []
        self.is_sqlite = url.startswith("sqlite")
        if self.is_sqlite:
            self._writer = self._sqlite(url, "BEGIN IMMEDIATE", may_write, hidden)
            self._reader = self._sqlite(url, "BEGIN", may_write, hidden)
        else:
            self._writer = self._reader = create_async_engine(url, pool_size=8, max_overflow=8, pool_pre_ping=True)

    @staticmethod
    def _sqlite(url: str, begin: str, may_write: frozenset[str] | None, hidden: frozenset[str]) -> AsyncEngine:
        options = {"isolation_level": None, "timeout": 30, "async_creator_fn": sqlite.connect}
        # every transaction is ended by its block, so a connection comes back clean
        engine = create_async_engine(url, connect_args=options, pool_reset_on_return=None)
        event.listen(engine.sync_engine, "connect", set_pragmas)
        if may_write is not None:

            def bind(connection: Any, _record: Any) -> None:
                connection.driver_connection.narrow(may_write, hidden)

            event.listen(engine.sync_engine, "connect", bind)
        dialect: Any = engine.sync_engine.dialect
        dialect.do_begin = lambda connection: connection.execute(begin).close()
        return engine

    @asynccontextmanager
    async def write(self) -> AsyncIterator[UnitOfWork]:
        """A transaction that may write; serialised on SQLite, READ COMMITTED on PostgreSQL."""
        async with self._transaction(self._writer) as uow:
            yield uow

    @asynccontextmanager
    async def read(self) -> AsyncIterator[UnitOfWork]:
        """A transaction that only reads."""
        async with self._transaction(self._reader) as uow:
            yield uow

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[UnitOfWork]:
        try:
            async with engine.begin() as connection:
                yield connection
        except OperationalError as error:
            text = str(error.orig).lower()
            if "disk is full" in text or "disk i/o" in text or "readonly" in text:
                raise Unavailable("store.full") from error
            busy = "locked" in text or getattr(error.orig, "sqlstate", "") == "40001"
            raise Unavailable("database.busy" if busy else "database.unavailable") from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise Unavailable("database.unavailable") from error
            said = str(error.orig)
            if "not authorized" in said or "is prohibited" in said or getattr(error.orig, "sqlstate", "") == "42501":
                raise Broken("database.not_allowed") from error
            raise

    async def retrying(self, work: Callable[[UnitOfWork], Awaitable[_T]], tries: int = 4) -> _T:
        """Run ``work`` in a write transaction; repeat the whole of it when the database says it is busy."""
        for attempt in range(tries):
            try:
                async with self.write() as uow:
                    return await work(uow)
            except Unavailable as error:
                if error.code != "database.busy" or attempt == tries - 1:
                    raise
        raise AssertionError

    async def create_all(self) -> None:
        """Create every table on an empty database (tests and bench; homes are made by ``migrations``)."""
        async with self.write() as uow:
            await uow.run_sync(metadata.create_all)

    def prepared(self, statement: sa.Select[Any]) -> Prepared:
        """For hot reads; the same statement is prepared once."""
        if statement not in self._prepared:
            self._prepared[statement] = Prepared(self, statement)
        return self._prepared[statement]

    def plain_connection(self) -> sqlite3.Connection:
        """SQLite only, reading only, for ``Prepared``; closed with the database."""
        made = sqlite3.connect(self.url.partition(":///")[2], isolation_level=None, check_same_thread=False)
        made.execute("PRAGMA query_only=1")
        self._plain.append(made)
        return made

    async def close(self) -> None:
        """Close all connections."""
        for plain in self._plain:
            plain.close()
        await self._writer.dispose()
        await self._reader.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
