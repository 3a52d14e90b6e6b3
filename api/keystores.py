"""The key stores that the settings name, opened for a process of the signer role and for no other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.errors import NotFound
from core.settings import Settings
from signer.keystores.software import SoftwareKeyStore
from signer.keystores.stores import KeyStores

__all__ = ["open_stores", "software_store"]


def software_store(settings: Settings) -> SoftwareKeyStore:
    """Opened by passphrase or key file. Raises ``key.missing``."""
    if settings.key_passphrase is not None:
        return SoftwareKeyStore(settings.home / "keys", passphrase=settings.key_passphrase.get_secret_value())
    path = settings.key_file or settings.home / "key-file"
    if not path.is_file():
        raise NotFound("key.missing", key=path.name)
    return SoftwareKeyStore(settings.home / "keys", key_file=path.read_bytes())


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[KeyStores]:
    """Until the block ends. Raises ``key.missing``."""
    yield KeyStores(software_store(settings))
