"""The signatures of a request, with who made them."""

from dataclasses import dataclass

from signer.credentials import Credential
from signer.orders import SigningOrder
from signer.requests.model import RequestView
from signer.requests.parts import Parts

__all__ = ["Signed", "signed_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """One signature over one document."""

    order: SigningOrder
    credential: Credential

    @property
    def certificate(self) -> bytes:
        """DER."""
        assert self.credential.certificate is not None
        return self.credential.certificate


async def signed_of(parts: Parts, view: RequestView) -> list[list[Signed]]:
    """By document, in the order in which its signatures were made."""
    steps = sorted((s for s in view.wanted if s.state == "signed"), key=lambda s: (str(s.signed_at), s.id))
    found: list[list[Signed]] = [[] for _ in view.documents]
    if not steps:
        return found
    async with parts.signing.db.read() as uow:
        for step in steps:
            for place, order_id in enumerate(step.orders):
                order = await parts.signing.orders.get(uow, order_id)
                credential = await parts.signing.credentials.get(uow, order.credential_id)
                found[place].append(Signed(order=order, credential=credential))
    return found
