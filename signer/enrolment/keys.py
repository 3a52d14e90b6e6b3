"""The key of a person who enrols: made, certified, and proven to belong together before anybody may use it."""

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from ca_bridge import records as ca
from ca_bridge.authorities.embedded import Subject
from ca_bridge.issuance import issue
from core.certificates import Certificate
from core.clock import Clock
from core.db import Database, UnitOfWork
from core.directory.model import Agency, Person
from core.ids import new_id
from core.values import Realm, SignatureAlgorithm
from signer.credentials import Credential, Credentials, OpenKey, credential_table
from signer.enrolment.forgetting import SUPERSEDED, forget
from signer.enrolment.house import issuer_of
from signer.keystores.model import KeyPurpose, KeyRef, KeyStore, StoredKey
from signer.keystores.proof import prove
from signer.keystores.registry import Registry

__all__ = ["CESSATION", "SUPERSEDED", "WITHDRAWN", "Certified", "PersonKeys"]

CESSATION, WITHDRAWN = 5, 9
"""CRL reasons (RFC 5280 §5.3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A key with the certificate that was proven to be its own."""

    key: KeyRef
    certificate: Certificate
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonKeys:
    """Makes and ends them."""

    db: Database
    clock: Clock
    realm: Realm
    store: KeyStore
    open_key: OpenKey
    credentials: Credentials
    base_url: str

    async def make(self, person: Person, agency: Agency, *, official: bool, event_id: str) -> Certified:
        """Key, request with proof of possession, certificate, proof. Raises ``ca.*``, ``key.*``, ``credential.wrong_key``."""
        async with self.db.read() as uow:
            issuing = await self.credentials.of(uow, "issuing", KeyPurpose.CA)
        ref = await self.store.create(
            f"{KeyPurpose.DOCUMENT}-{new_id(self.clock)}", KeyPurpose.DOCUMENT, SignatureAlgorithm.ECDSA_P256_SHA256
        )
        key = StoredKey(self.store, ref, KeyPurpose.DOCUMENT, event_id)
        certificate = await issue(
            self.db, self.clock, subject=_subject(person, agency, official), key=key,
            profile="official" if official else "citizen", realm=self.realm,
            issuer=issuer_of(issuing, self.open_key(issuing, event_id)), base_url=self.base_url,
            software=self.store.not_for_production,
        )  # fmt: skip
        await prove(key, certificate)
        assert issuing.certificate is not None
        return Certified(key=ref, certificate=certificate, chain=(issuing.certificate, *issuing.chain))

    async def keep(self, uow: UnitOfWork, person_id: str, made: Certified) -> Credential:
        """The rows with which it becomes usable."""
        await Registry(self.clock).note(uow, made.key, person_id, self.realm)
        return await self.credentials.add(
            uow, realm=self.realm, purpose=KeyPurpose.DOCUMENT, owner=person_id, key=made.key,
            certificate=made.certificate.der, chain=made.chain,
        )  # fmt: skip

    async def end(self, uow: UnitOfWork, credential: Credential, reason: int) -> None:
        """Retired, its certificate revoked; what it signed stands."""
        await self.credentials.retire(uow, credential.id)
        assert credential.certificate is not None
        await ca.revoke(uow, Certificate.parse(credential.certificate).serial, reason, self.clock.now())

    async def forget(self, person_id: str, made: Certified) -> bool:
        """It never becomes anybody's; False where it is the person's after all. Raises nothing."""
        return await forget(
            self.db, self.clock, self.realm, owner=person_id, key=made.key, certificate=made.certificate
        )

    async def valid(self, uow: UnitOfWork, person_id: str) -> bool:
        """Whether one of them is inside its certificate's dates."""
        now = self.clock.now()
        return any(now < self._until(credential) for credential in await self.active(uow, person_id))

    async def retire_expired(self, uow: UnitOfWork, person_id: str) -> None:
        """Their certificates have ended by themselves."""
        for credential in await self.active(uow, person_id):
            if self.clock.now() >= self._until(credential):
                await self.credentials.retire(uow, credential.id)

    @staticmethod
    def _until(credential: Credential) -> dt.datetime:
        assert credential.certificate is not None
        return Certificate.parse(credential.certificate).not_after

    async def active(self, uow: UnitOfWork, person_id: str) -> list[Credential]:
        """The person's credentials that may be used, oldest first."""
        t = credential_table.c
        query = sa.select(t.id).where(
            t.owner == person_id, t.purpose == KeyPurpose.DOCUMENT, t.state == "active"
        ).order_by(t.id)  # fmt: skip
        return [await self.credentials.get(uow, found) for found in (await uow.execute(query)).scalars().all()]


def _subject(person: Person, agency: Agency, official: bool) -> Subject:
    """An official's names the agency; a citizen's nothing but the name: no number, and no office that is not theirs."""
    return Subject(common_name=person.name, organisation=agency.name if official else None)
