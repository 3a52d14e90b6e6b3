"""What the desk says of the key stores: the signer is asked now and then, and no page waits for the answer."""

import asyncio
import json
import time

from api.inner import SignerDoor
from core.errors import ServiceError
from core.limits import LIMITS
from core.messages import codes
from core.values import Realm

__all__ = ["StoreWatch"]


class StoreWatch:
    """One in each web process."""

    def __init__(self, signer: SignerDoor, realm: Realm) -> None:
        self._signer, self._realm = signer, realm
        self._said: tuple[str, ...] = ()
        self._asked = 0.0
        self._asking: asyncio.Task[None] | None = None

    def said(self) -> tuple[str, ...]:
        """Message codes for the head of a page, as of some seconds ago; asks anew where that is long ago."""
        if time.monotonic() - self._asked > LIMITS["keys.away_seconds"]:
            self._asked = time.monotonic()
            self._asking = asyncio.create_task(self.ask())
        return self._said

    async def ask(self) -> None:
        """Now. A signer that does not answer is said by what fails without it."""
        try:
            found = json.loads(await self._signer.ask("stores"))
        except ServiceError:
            self._said = ()
            return
        state = f"desk.store_{found['state']}"
        marks = ("desk.store_software",) if found["not_for_production"] and self._realm is Realm.PRODUCTION else ()
        self._said = (*((state,) if found["state"] != "open" and state in codes() else ()), *marks)
