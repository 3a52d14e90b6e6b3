"""From settings to a desk."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from core.clock import Clock
from core.db import Database
from core.directory.records import Directory
from core.errors import BadInput, Refused
from core.outbound import Outbound, is_secure, named
from core.sealed import Box
from core.settings import Settings
from core.values import Realm
from signer.credentials import Credentials, OpenKey
from signer.providers.accounts import Accounts
from signer.providers.desk import ProviderDesk
from signer.providers.model import Provider
from signer.providers.sp769 import Sp769
from signer.providers.transactions import Pauses, Transactions
from verification.policy import TrustAnchor

__all__ = ["open_providers", "provider_anchors"]

_OURS: Final = frozenset({"own", "software", "memory", "transit", "pkcs11"})
"""Names of stores of our own keys: no service may be called like one."""


def open_providers(
    settings: Settings, *, realm: Realm, db: Database, clock: Clock, credentials: Credentials, directory: Directory,
    open_key: OpenKey, box: Box, outbound: Outbound, settled: Callable[[str], None] = lambda _: None,
    pauses: Pauses | None = None,
) -> ProviderDesk:  # fmt: skip
    """The desk with the service that the settings name, if they name one.

    Raises ``provider.not_secure``, ``provider.no_secret``, ``provider.no_anchor``, ``provider.bad_name``.
    """
    accounts = Accounts(
        db=db, clock=clock, credentials=credentials, directory=directory, realm=realm, box=box,
        anchors=provider_anchors(settings, realm),
    )  # fmt: skip
    transactions = Transactions(db=db, clock=clock, user_of=accounts.user, pauses=pauses or Pauses())
    return ProviderDesk(
        providers=_providers(settings, outbound), accounts=accounts, transactions=transactions, open_key=open_key,
        settled=settled,
    )  # fmt: skip


def _providers(settings: Settings, outbound: Outbound) -> dict[str, Provider]:
    if not settings.provider_url:
        return {}
    name = settings.provider_name
    if name in _OURS or not name.isascii() or not name.replace("-", "").isalnum() or len(name) > 32:
        raise BadInput("provider.bad_name")
    if not is_secure(settings.provider_url, named(settings.outbound_private)):
        raise Refused("provider.not_secure")
    if settings.provider_sp_password is None or not settings.provider_sp_id:
        raise BadInput("provider.no_secret")
    made = Sp769(
        name=name, url=settings.provider_url.rstrip("/"), sp_id=settings.provider_sp_id,
        sp_password=settings.provider_sp_password.get_secret_value(), outbound=outbound,
    )  # fmt: skip
    return {name: made}


def provider_anchors(settings: Settings, realm: Realm) -> tuple[TrustAnchor, ...]:
    """Roots that people's certificates at services must lead to; none without a service. Raises ``provider.no_anchor``."""
    if not settings.provider_url:
        return ()
    roots = _read(settings.provider_anchors)
    if not roots:
        raise Refused("provider.no_anchor")
    return tuple(TrustAnchor(certificate=root.public_bytes(Encoding.DER), realm=realm) for root in roots)


def _read(path: Path | None) -> list[x509.Certificate]:
    try:
        return [] if path is None else x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return []
