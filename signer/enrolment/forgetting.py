"""A key that was made for somebody and did not become theirs: another was first, or the database did not take it."""

from ca_bridge import records as ca
from core.certificates import Certificate
from core.clock import Clock
from core.db import Database
from core.logs import code_of, logger
from core.values import Realm
from signer.keystores.model import KeyRef
from signer.keystores.registry import Registry

__all__ = ["SUPERSEDED", "forget"]

SUPERSEDED = 4
"""CRL reason (RFC 5280 §5.3.1)."""


async def forget(
    db: Database, clock: Clock, realm: Realm, *, owner: str, key: KeyRef, certificate: Certificate | None
) -> bool:
    """Out of use for good, its certificate revoked; its end in the store is ordered. False where it is the owner's after all.

    That is so where the commit stood and its answer alone was lost, or whoever waited for it was interrupted: the registry
    knows. Raises nothing: the caller has an error of its own to tell.
    """
    try:
        async with db.write() as uow:
            if not await Registry(clock).abandon(uow, key, owner, realm):
                return False
            if certificate is not None:
                await ca.revoke(uow, certificate.serial, SUPERSEDED, clock.now())
    except Exception as error:  # noqa: BLE001 - whatever it was, it must not hide why the key is nobody's
        logger().error("key.not_forgotten", id=key.name, code=code_of(error))
    return True
