"""At a start: every seal's certificate belongs to its key. One that does not is stopped before anybody asks for it."""

import asyncio
from dataclasses import dataclass

from core.certificates import Certificate
from core.clock import Clock
from core.db import Database
from core.errors import Broken, Refused, ServiceError
from core.limits import LIMITS
from core.logs import logger
from signer.credentials import Credential, Credentials
from signer.keystores.model import KeyPurpose, KeyStore, StoredKey, is_away
from signer.keystores.proof import prove
from signer.keystores.registry import KeyState, Registry

__all__ = ["SealProofs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealProofs:
    """Signer role only. ``store`` writes each use down before it touches the key: these have no order."""

    db: Database
    clock: Clock
    credentials: Credentials
    store: KeyStore

    async def serve(self) -> None:
        """Until cancelled, as all work of a signer; there is nothing left to do once each is proven."""
        await self.prove_all()
        await asyncio.Event().wait()

    async def prove_all(self) -> None:
        """Returns when each is proven or stopped; a store that is away is waited for."""
        left = await self._seals()
        while True:
            left = [each for each in left if not await self._prove(each)]
            if not left:
                return
            await asyncio.sleep(LIMITS["keys.away_seconds"])

    async def _seals(self) -> list[Credential]:
        async with self.db.read() as uow:
            found = [each for each, active in await self.credentials.all(uow, KeyPurpose.SEAL) if active]
            known = [(await Registry(self.clock).find(uow, each.key)).state for each in found]
        return [each for each, state in zip(found, known, strict=True) if state is KeyState.ACTIVE]

    async def _prove(self, credential: Credential) -> bool:
        """False where the answer is still out."""
        assert credential.certificate is not None
        key = StoredKey(self.store, credential.key, KeyPurpose.SEAL, "startup")
        try:
            await prove(key, Certificate.parse(credential.certificate))
        except (Broken, Refused) as error:
            await self._stop(credential, error.code)
        except ServiceError as error:
            if is_away(error):
                return False
            await self._stop(credential, error.code)
        return True

    async def _stop(self, credential: Credential, code: str) -> None:
        logger().error("seal.not_proven", id=credential.id, code=code)
        async with self.db.write() as uow:
            registry = Registry(self.clock)
            await registry.stop(uow, (await registry.find(uow, credential.key)).id, code)
