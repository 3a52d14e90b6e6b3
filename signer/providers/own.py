"""Our own keys behind the same port: the person's approval was spent before, so the answer is there at once."""

from dataclasses import dataclass

from core.errors import BadInput, NotFound
from core.signing import SigningKey
from signer.credentials import Credential
from signer.providers.model import Asked, Outcome, OutcomeState, ProviderCertificate, Taken

__all__ = ["OwnKey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKey:
    """Satisfies ``signer.providers.model.Provider`` for one credential; ``key`` was opened for the order at hand."""

    credential: Credential
    key: SigningKey
    name: str = "own"

    async def certificates(self, user: str) -> tuple[ProviderCertificate, ...]:
        """``user``: the credential's owner. Raises ``provider.no_certificate``."""
        if user != self.credential.owner or self.credential.certificate is None:
            raise NotFound("provider.no_certificate", provider=self.name)
        return (ProviderCertificate(certificate=self.credential.certificate, chain=self.credential.chain),)

    async def submit(self, asked: Asked) -> Taken:
        """Looks whether the key can sign that at all. Raises ``provider.no_certificate``, ``key.bad_input``."""
        await self.certificates(asked.user)
        if asked.digest.algorithm is not self.key.algorithm.digest:
            raise BadInput("key.bad_input")
        return Taken()

    async def outcome(self, asked: Asked, tran_code: str) -> Outcome:
        """Signs. Raises what the key store raises (``key.*``)."""
        return Outcome(state=OutcomeState.SIGNED, value=await self.key.sign(asked.digest))
