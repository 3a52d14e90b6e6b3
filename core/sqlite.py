"""SQLite for the event loop: a statement runs where it is called, only what may wait goes to a thread.

``aiosqlite`` hands each of a statement's five calls to a thread and back; a certified copy has a hundred statements and
a statement here takes microseconds. Two things may wait, and the loop never stands still for them: ``BEGIN IMMEDIATE``
while another process writes (asked again every few milliseconds; SQLite's own waiting sleeps up to a tenth of a second)
and ``COMMIT`` (the disk's flush, in a thread).

Those threads are our own. The loop's default ones are whose library asks last, and it may end them while we commit.

The class is what SQLAlchemy's ``aiosqlite`` dialect uses of a connection, nothing more; it is handed in as
``async_creator_fn``.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

__all__ = ["connect"]

_T = TypeVar("_T")
_THREADS = ThreadPoolExecutor(thread_name_prefix="sqlite")

_PATIENCE = 30
"""Seconds; then the caller hears ``database.busy``."""


class _Cursor:
    """One statement's results."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._cursor = connection.cursor()

    async def __aenter__(self) -> Self:
        return self

    @property
    def description(self) -> Any:
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        return self._cursor.lastrowid

    @property
    def arraysize(self) -> int:
        return self._cursor.arraysize

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> "_Cursor":
        """In place, but for the statement that waits for the write lock."""
        if statement == "BEGIN IMMEDIATE":
            await self._begin()
        else:
            self._cursor.execute(statement, parameters)
        return self

    async def _begin(self) -> None:
        """Ask for the write lock until it is ours or ``_PATIENCE`` is over."""
        last = time.monotonic() + _PATIENCE
        self._cursor.execute("PRAGMA busy_timeout=0")
        try:
            while True:
                try:
                    self._cursor.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                        raise
                else:
                    return
                await asyncio.sleep(0.0005)
        finally:
            self._cursor.execute(f"PRAGMA busy_timeout={_PATIENCE * 1000}")

    async def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> "_Cursor":
        """In place."""
        self._cursor.executemany(statement, rows)
        return self

    async def fetchall(self) -> list[Any]:
        """All rows."""
        return self._cursor.fetchall()

    async def close(self) -> None:
        """Forget the results."""
        self._cursor.close()


class _Connection:
    """One connection, used by one transaction at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._conn = connection

    def narrow(self, tables: frozenset[str], hidden: frozenset[str]) -> None:
        """From now on this connection changes rows of ``tables`` only, reads nothing of ``hidden``, and changes no schema.

        SQLite has no users to say so.
        """
        self._connection.set_authorizer(_authorizer(tables, hidden))

    @property
    def isolation_level(self) -> str | None:
        return self._connection.isolation_level

    def cursor(self) -> _Cursor:
        """For one statement."""
        return _Cursor(self._connection)

    async def create_function(self, *args: Any, **kw: Any) -> None:
        """The dialect registers ``regexp`` and ``floor``."""
        self._connection.create_function(*args, **kw)

    async def commit(self) -> None:
        """Flushes to the disk: in a thread, and to its end even if the task is cancelled meanwhile."""
        if not self._connection.in_transaction:
            return
        try:
            await _to_the_end(_in_a_thread(self._connection.commit))
        except BaseException:  # SQLAlchemy takes it for ended, and the pool would hand it out with its transaction open
            if self._connection.in_transaction:
                self._connection.rollback()
            raise

    async def rollback(self) -> None:
        """In place: nothing is flushed."""
        self._connection.rollback()

    async def close(self) -> None:
        """Ends the connection; a checkpoint of the write-ahead log may take a moment."""
        await _to_the_end(_in_a_thread(self._connection.close))

    def stop(self) -> None:
        """Ends the connection without waiting (garbage collection)."""
        self._connection.close()


_CHANGES = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_HARMLESS = frozenset({
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_SAVEPOINT,
})  # fmt: skip
_PRAGMAS = frozenset({"busy_timeout", "read_uncommitted", "table_info", "table_xinfo"})


def _authorizer(tables: frozenset[str], hidden: frozenset[str]) -> Any:
    """What SQLite asks while it compiles a statement; a trigger's own changes are asked about too."""

    def decide(action: int, first: str | None, *_: Any) -> int:
        if action == sqlite3.SQLITE_READ and first in hidden:
            return sqlite3.SQLITE_DENY
        if action in _HARMLESS or (action in _CHANGES and first in tables):
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    return decide


def _in_a_thread(work: Callable[[], _T]) -> "asyncio.Future[_T]":
    return asyncio.get_running_loop().run_in_executor(_THREADS, work)


async def _to_the_end(work: Any) -> None:
    """A connection must not go back to its pool while a thread still works on it."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:  # again and again, if need be
            cancelled = error
    task.result()  # what the disk said comes first
    if cancelled is not None:
        raise cancelled


async def connect(database: str, **options: Any) -> _Connection:
    """As ``sqlite3.connect``; the connection may move between the loop's thread and the waiting one."""
    options["check_same_thread"] = False

    def opened() -> sqlite3.Connection:
        made: sqlite3.Connection = sqlite3.connect(database, **options)
        return made

    return _Connection(await _in_a_thread(opened))
