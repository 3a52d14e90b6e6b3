"""At a start: every seal's certificate belongs to its key. One that does not is stopped before anybody asks for it."""

import asyncio
from dataclasses import dataclass

from core.certificates import Certificate
from core.clock import Clock
from core.db import Database
from core.errors import Broken, ServiceError
from core.limits import LIMITS
from core.logs import logger
from signer.credentials import Credential, Credentials
from signer.keystores.model import KeyPurpose, KeyStore, StoredKey
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
        """Returns when each is proven or stopped. One that was not looked at (its store is away, does not let us in, or
        does not know it) is asked again: a setting that is wrong must not end a seal.
        """
        left, said = await self._seals(), set[tuple[str, str]]()
        while left:
            codes = {each.id: await self._prove(each) for each in left}
            left = [each for each in left if codes[each.id]]
            for seal, code in {(each.id, codes[each.id]) for each in left} - said:  # once, not at every look
                said.add((seal, code))
                logger().error("seal.not_looked_at", id=seal, code=code)
            if left:
                await asyncio.sleep(LIMITS["keys.away_seconds"])

    async def _seals(self) -> list[Credential]:
        async with self.db.read() as uow:
            found = [each for each, active in await self.credentials.all(uow, KeyPurpose.SEAL) if active]
            known = [(await Registry(self.clock).find(uow, each.key)).state for each in found]
        return [each for each, state in zip(found, known, strict=True) if state is KeyState.ACTIVE]

    async def _prove(self, credential: Credential) -> str:
        """Empty where that is settled; the code of an answer that says nothing about the key."""
        assert credential.certificate is not None
        key = StoredKey(self.store, credential.key, KeyPurpose.SEAL, "startup")
        try:
            await prove(key, Certificate.parse(credential.certificate))
        except ServiceError as error:
            if not (isinstance(error, Broken) or error.code == "key.disabled"):  # nothing was learned about the key
                return error.code
            await self._stop(credential, error.code)
        return ""

    async def _stop(self, credential: Credential, code: str) -> None:
        logger().error("seal.not_proven", id=credential.id, code=code)
        async with self.db.write() as uow:
            registry = Registry(self.clock)
            await registry.stop(uow, (await registry.find(uow, credential.key)).id, code)
