"""SoftHSM tokens, stores over them that are closed at the end, a database with the table of wrapped keys."""

import shutil

import pytest

from core.db import Database, metadata
from signer.keystores.pkcs11.store import Pkcs11KeyStore
from tests.conftest import live_or_skip
from tests.signer.keystores.pkcs11.hsm import Hsm, lay, module


@pytest.fixture(scope="session")
def fresh_token(tmp_path_factory):
    """A token that nobody has used; copied for each test."""
    if module() is None:
        live_or_skip("SoftHSM (softhsm2)")
    folder = tmp_path_factory.mktemp("softhsm")
    lay(folder)
    return folder


@pytest.fixture
def hsm(fresh_token, tmp_path, monkeypatch):
    """This test's token."""
    shutil.copytree(fresh_token, tmp_path / "hsm")
    return Hsm(tmp_path / "hsm", monkeypatch.setenv)


@pytest.fixture
async def open_store(hsm, clock):
    """``open_store(db=…, workers=…)``: stores on this test's token."""
    stores = []

    def make(db=None, workers=1, **changes) -> Pkcs11KeyStore:
        stores.append(Pkcs11KeyStore(hsm.config(workers, **changes), clock, db))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()


@pytest.fixture
async def sqlite_db(tmp_path):
    """SQLite with the tables that are imported here: enough for this store."""
    async with Database(f"sqlite+aiosqlite:///{tmp_path / 'keys.db'}") as database:
        await database.create_all()
        yield database


@pytest.fixture
async def keys_db(database_url):
    """The same of each kind."""
    async with Database(database_url) as database:
        async with database.write() as uow:
            await uow.run_sync(lambda sync: metadata.create_all(sync, [metadata.tables["wrapped_key"]]))
        yield database
