"""What the rest of the house uses: accounts of people at services, and keys that lie there."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from core.certificates import Certificate
from core.errors import BadInput, NotFound, ServiceError
from core.jobs import Again
from core.logs import code_of, logger
from core.signing import SigningKey
from core.values import Digest, Message, SignatureAlgorithm
from signer.credentials import Credential, OpenKey
from signer.providers.accounts import Accounts
from signer.providers.model import Asked, Provider, plain_serial, transaction_id
from signer.providers.own import OwnKey
from signer.providers.transactions import Describe, Transactions, Wanted
from signer.providers.values import value_of

__all__ = ["Ordered", "ProviderDesk", "ProviderKey"]

_MOST_HINTS: Final = 64
"""Hints under way in one signer; one more is dropped, which only delays."""


class Ordered(Protocol):
    """An order of the ceremony."""

    @property
    def id(self) -> str:
        """Its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDesk:
    """Services by name; none configured is a desk that knows nobody."""

    providers: Mapping[str, Provider]
    accounts: Accounts
    transactions: Transactions
    open_key: OpenKey
    settled: Callable[[str], None]
    """Told the id of an order that a hint settled, so that its work goes on at once."""
    _bells: dict[str, asyncio.Event] = field(default_factory=dict)
    _hints: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """What a portal may name."""
        return frozenset(self.providers)

    async def link(self, person_id: str, provider: str, user: str) -> Credential:
        """Connect a person with an account. Raises ``provider.unknown`` and what ``Accounts.link`` raises."""
        return await self.accounts.link(person_id, self._provider(provider), user)

    async def introduce(self, person_id: str, provider: str, user: str) -> Credential:
        """``credential``, and ``link`` before it where nobody has linked the person yet. Raises as both do."""
        try:
            return await self.credential(person_id, provider)
        except NotFound as error:
            if error.code != "provider.not_linked":
                raise
            return await self.link(person_id, provider, user)

    async def unlink(self, person_id: str, provider: str) -> None:
        """Forget the account. Raises ``provider.not_linked``."""
        await self.accounts.unlink(person_id, provider)

    async def credential(self, person_id: str, provider: str) -> Credential:
        """What to prepare a signature with. Raises ``provider.unknown`` and what ``Accounts.credential`` raises."""
        return await self.accounts.credential(person_id, self._provider(provider))

    async def sign(self, order_id: str, credential: Credential, digest: Digest, describe: Describe) -> bytes:
        """The verified raw value, by whoever holds the credential's key: a service or we ourselves.

        Raises ``core.jobs.Again`` and what ``Transactions.signature`` raises, ``key.*``, ``provider.unknown``.
        """
        provider = self.providers.get(credential.key.store)
        if provider is None:
            return await self._own(order_id, credential, digest)
        wanted = Wanted(order_id=order_id, credential=credential, digest=digest)
        return await self.transactions.signature(provider, wanted, describe)

    async def wait(self, order_id: str, credential: Credential, digest: Digest, describe: Describe) -> bytes:
        """``sign`` that rests here between two looks; a hint ends the rest."""
        bell = self._bells.setdefault(order_id, asyncio.Event())
        try:
            while True:
                bell.clear()
                try:
                    return await self.sign(order_id, credential, digest, describe)
                except Again as again:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(bell.wait(), again.seconds)
        finally:
            self._bells.pop(order_id, None)

    def key(self, order_id: str, credential: Credential, describe: Describe) -> SigningKey:
        """The key of an order; ``sign`` behaves as the desk's."""
        return ProviderKey(desk=self, order_id=order_id, credential=credential, describe=describe)

    def keys(self, describe: Describe) -> dict[str, Callable[[Ordered, Credential], SigningKey]]:
        """For the ceremony: by service, how an order gets its key."""
        return {name: lambda order, credential: self.key(order.id, credential, describe) for name in self.providers}

    # ------------------------------------------------------------------------------------------------------- hints
    def hint(self, provider: str, name: str) -> None:
        """Somebody says that something happened to a transaction: look soon. Never raises, answers nothing."""
        if provider in self.providers and name not in self._hints and len(self._hints) < _MOST_HINTS:
            task = asyncio.create_task(self._hinted(self.providers[provider], name))
            self._hints[name] = task
            task.add_done_callback(lambda _: self._hints.pop(name, None))

    async def _hinted(self, provider: Provider, name: str) -> None:
        try:
            row = await self.transactions.find(provider.name, name)
            if row is None:
                return
            await asyncio.sleep(self.transactions.until_look(row))
            if await self._looked(provider, row.order_id, row.credential_id, row.digest):
                self.settled(row.order_id)
        except (ServiceError, OSError) as error:
            logger().warning("provider.hint_failed", code=code_of(error))

    async def drain(self) -> None:
        """Let hints that are under way go; a look is lost, which only delays."""
        tasks = list(self._hints.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _looked(self, provider: Provider, order_id: str, credential_id: str, digest: bytes) -> bool:
        """Whether it has come to an end."""
        async with self.accounts.db.read() as uow:
            credential = await self.accounts.credentials.get(uow, credential_id)
        algorithm = credential.key.algorithm.digest
        assert algorithm is not None
        wanted = Wanted(order_id=order_id, credential=credential, digest=Digest(algorithm, digest))
        row = await self.transactions.look(provider, wanted)
        if order_id in self._bells:
            self._bells[order_id].set()
        return row.settled_at is not None

    # -------------------------------------------------------------------------------------------------------- inner
    def _provider(self, name: str) -> Provider:
        if name not in self.providers:
            raise NotFound("provider.unknown", provider=name)
        return self.providers[name]

    async def _own(self, order_id: str, credential: Credential, digest: Digest) -> bytes:
        """Our own key through the same port and the same check, without a transaction: nobody else has to answer."""
        assert credential.certificate is not None
        own = OwnKey(credential=credential, key=self.open_key(credential, order_id))
        certificate = Certificate.parse(credential.certificate)
        asked = Asked(
            transaction_id=transaction_id(own.name, order_id), user=credential.owner, digest=digest, description="",
            serial=plain_serial(certificate.serial),
        )  # fmt: skip
        taken = await own.submit(asked)
        outcome = await own.outcome(asked, taken.tran_code)
        return value_of(outcome.value, digest, certificate, credential.key.algorithm)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKey:
    """Satisfies ``core.signing.SigningKey`` for one order."""

    desk: ProviderDesk
    order_id: str
    credential: Credential
    describe: Describe

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """Of the certificate's key."""
        return self.credential.key.algorithm

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.credential.key.spki

    async def sign(self, to_sign: Digest | Message) -> bytes:
        """Raises ``core.jobs.Again`` while the person has not decided, and what ``ProviderDesk.sign`` raises."""
        if isinstance(to_sign, Message):
            raise BadInput("key.bad_input")
        return await self.desk.sign(self.order_id, self.credential, to_sign, self.describe)
