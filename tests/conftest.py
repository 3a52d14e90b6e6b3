"""Shared fixtures: both databases, a bent clock."""

import asyncio
import contextlib
import datetime as dt
import gc
import os
import shutil
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import structlog

from core.db import Database
from tests import sandboxes
from tests.openbao import binary
from tests.vault import server_kind, vault_binary


class BentClock:
    """A clock that tests set and move."""

    def __init__(self, at: dt.datetime) -> None:
        self.at = at

    def now(self) -> dt.datetime:
        return self.at

    def move(self, **delta: float) -> None:
        self.at += dt.timedelta(**delta)


_LONG = (
    "flows/",
    "deploy/",
    "browser/",
    "docs/",
    "api/portal/test_openapi",
    "api/cli/",
    "audit/keyuse/test_whole",
    "api/desk/",
)
"""Files of a minute and more. They begin first: what is long and begins last has a core to itself."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    items.sort(key=lambda item: not item.path.relative_to(here).as_posix().startswith(_LONG))


gc.disable()  # until all tests are collected
_SANDBOXES = sandboxes.Parent()
sandboxes.use(_SANDBOXES)


def pytest_unconfigure() -> None:
    _SANDBOXES.end()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    gc.collect()
    gc.enable()


@pytest.fixture(autouse=True)
def _no_stream_is_kept():
    """A command that a test ran configured the logs onto a stream that is closed by now."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> BentClock:
    return BentClock(dt.datetime(2026, 11, 25, 3, 0, tzinfo=dt.UTC))


def live_or_skip(what: str) -> None:
    """Skip where a real part is missing; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing in CI")
    pytest.skip(f"{what} is not on this machine")


def _postgres_bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _ask_postgres(home: Path | str, what: str) -> None:
    with psycopg.connect(f"host={home} user=postgres dbname=postgres", autocommit=True) as asking:
        asking.execute(what)


def _drop(url: str) -> None:
    """Thousands of databases fill a disk, and taking them away at the end would last a minute."""
    name, _, home = url.removeprefix("postgresql+psycopg://postgres@/").partition("?host=")
    with contextlib.suppress(psycopg.Error):  # the test stopped the server
        _ask_postgres(home, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory):
    """A PostgreSQL of our own on a Unix socket, run as a user that is not root; yields a function url(dbname)."""
    bin_dir = _postgres_bin()
    if bin_dir is None:
        live_or_skip("PostgreSQL")
    import tempfile

    home = Path(tempfile.mkdtemp(prefix="dauso-pg-", dir="/tmp"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(home, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    data = home / "data"

    def run(*args: str) -> None:
        subprocess.run([*as_user, *args], check=True, capture_output=True, cwd="/")

    run(str(bin_dir / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    run(
        str(bin_dir / "pg_ctl"), "-D", str(data), "-w", "-l", str(home / "log"), "-o",
        f"-k {home} -c listen_addresses='' -c max_connections=200 -c fsync=off -c full_page_writes=off -c wal_level=minimal"
        " -c max_wal_senders=0 -c autovacuum=off", "start",
    )  # fmt: skip

    def make(name: str, template: str = "template0") -> str:
        _ask_postgres(home, f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql+psycopg://postgres@/{name}?host={home}"

    yield make
    run(str(bin_dir / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory):
    """A real OpenBao of this session. Leave it running and unsealed; who stops or seals one starts a server of his own."""
    if vault_binary() is None and binary() is None:
        live_or_skip("OpenBao (bao)")
    with server_kind()(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'dauso.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def postgres_url(postgres):
    """An empty PostgreSQL database."""
    url = postgres("t" + uuid.uuid4().hex[:12])
    yield url
    _drop(url)


async def _lay_tables(url: str) -> None:
    from tests.tables import EVERY

    assert EVERY.tables
    async with Database(url) as database:
        await database.create_all()


def _in_a_thread(work) -> None:
    """Playwright may keep a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to be copied: laying them takes longer than most tests."""
    made = tmp_path_factory.mktemp("tables") / "dauso.db"
    _in_a_thread(_lay_tables(f"sqlite+aiosqlite:///{made}"))
    return made


@pytest.fixture(scope="session")
def postgres_tables(postgres) -> str:
    """Name of a database with all tables, to be copied."""
    _in_a_thread(_lay_tables(postgres("tables")))
    return "tables"


@pytest.fixture(params=["sqlite", "postgresql"])
def laid_url(request: pytest.FixtureRequest, tmp_path: Path):
    """A database of each kind with all tables, whatever a test has imported."""
    if request.param == "sqlite":
        made = tmp_path / "dauso.db"
        shutil.copy(request.getfixturevalue("sqlite_tables"), made)
        yield f"sqlite+aiosqlite:///{made}"
        return
    tables = request.getfixturevalue("postgres_tables")
    url = request.getfixturevalue("postgres")("t" + uuid.uuid4().hex[:12], tables)
    yield url
    _drop(url)


@pytest.fixture
async def db(laid_url: str):
    """The same, open."""
    async with Database(laid_url) as database:
        yield database
