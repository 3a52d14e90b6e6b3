"""The key stores that the settings name, opened for a process of the signer role and for no other.

A store that does not answer is opened all the same: what needs a key waits, and everything else works.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.clock import Clock
from core.db import Database
from core.errors import BadInput, NotFound, ServiceError
from core.logs import logger
from core.settings import Settings
from core.signing import SigningKey
from signer.credentials import Credential
from signer.keystores.model import KeyStore, StoredKey
from signer.keystores.pkcs11 import records  # noqa: F401 - its table belongs to every home, whatever opens it
from signer.keystores.rules import PERSONAL, RuledKey, Rules
from signer.keystores.software import SoftwareKeyStore
from signer.keystores.stores import KeyStores
from signer.keystores.uses import BookedKey, BookedStore, UseBook

if TYPE_CHECKING:
    from core.vault import Vault

__all__ = ["KeyRing", "open_ring", "open_stores", "software_store", "spends_secret_ids"]


def spends_secret_ids(settings: Settings) -> bool:
    """Whether opening the stores uses up a wrapped secret id, which one process can have once."""
    named = settings.keys == "transit" or settings.vault_url != ""
    return named and settings.vault_login == "approle" and settings.vault_wrapped


def software_store(settings: Settings) -> SoftwareKeyStore:
    """Opened by passphrase or key file. Raises ``key.missing``."""
    if settings.key_passphrase is not None:
        return SoftwareKeyStore(settings.home / "keys", passphrase=settings.key_passphrase.get_secret_value())
    path = settings.key_file or settings.home / "key-file"
    if not path.is_file():
        raise NotFound("key.missing", key=path.name)
    return SoftwareKeyStore(settings.home / "keys", key_file=path.read_bytes())


@asynccontextmanager
async def open_stores(settings: Settings, clock: Clock, db: Database) -> AsyncIterator[KeyStores]:
    """Until the block ends: the one that new keys are made in, and every other that has settings.

    Raises ``key.missing``, ``key.not_configured``, ``vault.not_configured``; nothing for a store that does not answer.
    """
    async with AsyncExitStack() as held:
        found: dict[str, KeyStore] = {}
        if settings.keys == "software" or _has_software(settings):
            found["software"] = software_store(settings)
        if settings.keys == "transit" or settings.vault_url:
            found["transit"] = await _transit(settings, clock, held)
        if settings.keys == "pkcs11" or settings.pkcs11_module is not None:
            found["pkcs11"] = await _pkcs11(settings, clock, db, held)
        yield KeyStores(found.pop(settings.keys), *found.values())


def _has_software(settings: Settings) -> bool:
    named = settings.key_passphrase is not None or settings.key_file is not None
    return named or (settings.home / "key-file").is_file()


async def _transit(settings: Settings, clock: Clock, held: AsyncExitStack) -> KeyStore:
    from signer.keystores.transit import TransitKeyStore, mounts_of  # noqa: PLC0415 - a tenth of a second for who has none

    signer = await _session(settings, clock, held)
    enroller = custodian = None
    if settings.vault_enroller_role or settings.vault_enroller_role_id:
        enroller = await _session(_as(settings, "enroller"), clock, held)
    if settings.vault_custodian_role or settings.vault_custodian_role_id:
        custodian = await _session(_as(settings, "custodian"), clock, held)
    return TransitKeyStore(
        signer, mounts_of(settings.transit_mounts), enroller=enroller, admin=custodian, clock=clock
    )  # fmt: skip


def _as(settings: Settings, identity: str) -> Settings:
    """The settings with which another identity logs in at the same store."""
    own = {name: getattr(settings, f"vault_{identity}_{name}") for name in ("role", "role_id", "secret_id_file")}
    return settings.model_copy(update={f"vault_{name}": value for name, value in own.items()})


async def _session(settings: Settings, clock: Clock, held: AsyncExitStack) -> "Vault":
    from core.vault import Vault, config_of  # noqa: PLC0415 - as above

    vault = Vault(config_of(settings), clock=clock)
    held.push_async_callback(vault.close)
    try:
        await vault.start()
    except BadInput:
        raise
    except ServiceError as error:  # it goes on trying by itself
        logger().warning("store.away", kind="transit", code=error.code)
    return vault


async def _pkcs11(settings: Settings, clock: Clock, db: Database, held: AsyncExitStack) -> KeyStore:
    from signer.keystores.pkcs11.pool import config_of  # noqa: PLC0415 - as above
    from signer.keystores.pkcs11.store import Pkcs11KeyStore  # noqa: PLC0415

    store = Pkcs11KeyStore(config_of(settings), clock, db)
    held.push_async_callback(store.close)
    await store.start()
    return store


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """The stores of one signer process, the rules by which keys are used there, and the book of uses without an order."""

    stores: KeyStores
    rules: Rules
    book: UseBook

    @property
    def booked(self) -> BookedStore:
        """For who makes keys: every proof is written down before the key is touched."""
        return BookedStore(self.stores, self.book)

    def open(self, credential: Credential, event_id: str) -> SigningKey:
        """Satisfies ``OpenKey``. Keys of persons and seals are spent by activations; all others pay by rule, and are booked."""
        key = StoredKey(self.stores, credential.key, credential.purpose, event_id)
        if credential.purpose in PERSONAL:
            return key
        booked = BookedKey(key=key, ref=credential.key, event_id=event_id, book=self.book)
        return RuledKey(booked, credential.key, self.rules)


@asynccontextmanager
async def open_ring(settings: Settings, clock: Clock, db: Database) -> AsyncIterator[KeyRing]:
    """Until the block ends; the tables must be there. Raises as ``open_stores``, and ``keyuse.no_slot``."""
    book = UseBook(db=db, clock=clock, folder=settings.home / "executors", executor=settings.executor_id)
    async with open_stores(settings, clock, db) as stores, book:
        yield KeyRing(stores=stores, rules=Rules(db, clock), book=book)
