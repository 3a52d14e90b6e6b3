"""People's accounts at signing services: linked once, their certificate checked before it is used and again each day.

The service's name for a person is often the national number. It is kept sealed, opened only to ask the service, and
gone when the account is unlinked.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from core.certificates import Certificate
from core.clock import Clock
from core.db import Database, UnitOfWork, insert_new
from core.directory.records import Directory
from core.errors import NotFound
from core.ids import new_id
from core.limits import LIMITS
from core.sealed import Box
from core.values import Realm
from signer.credentials import Credential, Credentials
from signer.keystores.model import KeyPurpose, KeyRef
from signer.providers.certificates import Holder, JudgedCertificate, choose
from signer.providers.model import Provider, plain_serial
from signer.providers.records import account_table
from verification.policy import TrustAnchor

__all__ = ["Accounts"]


def _owner(provider: str, person_id: str) -> str:
    """Another owner than the person: whoever looks for the person's own key must not find this one."""
    return f"{provider}:{person_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The table of accounts; each becomes a ``Credential`` whose key lies in the store of the service's name."""

    db: Database
    clock: Clock
    credentials: Credentials
    directory: Directory
    realm: Realm
    box: Box
    anchors: tuple[TrustAnchor, ...]
    """Whom the certificates must lead to."""

    async def link(self, person_id: str, provider: Provider, user: str) -> Credential:
        """Fetch and check the certificate, then remember account and certificate; again for the same person replaces.

        Raises what ``Provider.certificates`` and ``certificates.choose`` raise, ``directory.no_such_person``.
        """
        async with self.db.read() as uow:
            person = await self.directory.person(uow, person_id)
        found = await provider.certificates(user)
        judged = choose(found, Holder(user=user, name=person.name), self.anchors, self.clock.now())
        sealed = self.box.seal(user.encode(), _owner(provider.name, person_id).encode())
        async with self.db.write() as uow:
            row = await self._row(uow, person_id, provider.name)
            known = None if row is None else await self.credentials.get(uow, row.credential_id)
            same = known is not None and known.certificate == judged.certificate.der
            credential = (
                known if known is not None and same else await self._credential(uow, person_id, provider, judged)
            )
            if row is None:
                values = {"id": new_id(self.clock), "person_id": person_id, "provider": provider.name}
                await uow.execute(insert_new(uow, account_table).values(
                    **values, sealed_user=sealed, credential_id=credential.id, verified_at=self.clock.now()
                ))  # fmt: skip
            t = account_table.c
            await uow.execute(
                account_table.update().where(t.person_id == person_id, t.provider == provider.name)
                .values(sealed_user=sealed, credential_id=credential.id, verified_at=self.clock.now())
            )  # fmt: skip
            if known is not None and not same:
                await self.credentials.retire(uow, known.id)
        return credential

    async def unlink(self, person_id: str, provider: str) -> None:
        """Forget how the service knows the person. Raises ``provider.not_linked``."""
        async with self.db.write() as uow:
            row = await self._linked(uow, person_id, provider)
            await uow.execute(account_table.delete().where(account_table.c.id == row.id))
            await self.credentials.retire(uow, row.credential_id)

    async def credential(self, person_id: str, provider: Provider) -> Credential:
        """Good for use now: fetched again where the last check is older than ``provider.fresh_hours``.

        Raises ``provider.not_linked`` and what ``link`` raises.
        """
        async with self.db.read() as uow:
            row = await self._linked(uow, person_id, provider.name)
            credential = await self.credentials.get(uow, row.credential_id)
        assert credential.certificate is not None
        now, ends = self.clock.now(), Certificate.parse(credential.certificate).not_after
        if now - row.verified_at < dt.timedelta(hours=LIMITS["provider.fresh_hours"]) and now < ends:
            return credential
        return await self.link(person_id, provider, self._user(row))

    async def user(self, credential: Credential) -> str:
        """How the service knows the owner; only for asking it. Raises ``provider.not_linked``."""
        provider, _, person_id = credential.owner.partition(":")
        async with self.db.read() as uow:
            return self._user(await self._linked(uow, person_id, provider))

    def _user(self, row: sa.Row[Any]) -> str:
        return self.box.open(row.sealed_user, _owner(row.provider, row.person_id).encode()).decode()

    async def _row(self, uow: UnitOfWork, person_id: str, provider: str) -> sa.Row[Any] | None:
        t = account_table.c
        query = sa.select(account_table).where(t.person_id == person_id, t.provider == provider)
        return (await uow.execute(query)).first()

    async def _linked(self, uow: UnitOfWork, person_id: str, provider: str) -> sa.Row[Any]:
        row = await self._row(uow, person_id, provider)
        if row is None:
            raise NotFound("provider.not_linked", provider=provider)
        return row

    async def _credential(
        self, uow: UnitOfWork, person_id: str, provider: Provider, judged: JudgedCertificate
    ) -> Credential:
        certificate = judged.certificate
        key = KeyRef(
            store=provider.name, name=plain_serial(certificate.serial), version=1, purpose=KeyPurpose.DOCUMENT,
            algorithm=judged.algorithm, spki=certificate.spki,
        )  # fmt: skip
        return await self.credentials.add(
            uow, realm=self.realm, purpose=KeyPurpose.DOCUMENT, owner=_owner(provider.name, person_id), key=key,
            certificate=certificate.der, chain=judged.chain,
        )  # fmt: skip
