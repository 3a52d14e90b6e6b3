"""How keys come to their owners: service keys of a realm, seal keys of agencies, signing keys of people.

Every certificate is issued over a proof of possession, and recorded only after a signature proved that it belongs to
its key. In realm training a person also gets a software passkey; in production enrolment of a real one is the phone
pages' business, and a person without one cannot approve anything.
"""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from ca_bridge.authorities.embedded import Issuer, Subject
from ca_bridge.issuance import issue
from core.certificates import Certificate
from core.clock import VIETNAM, Clock
from core.db import Database, UnitOfWork
from core.directory.model import Agency, Person, Role
from core.directory.records import Directory
from core.errors import Conflict, NotFound, Unavailable
from core.ids import new_id
from core.signing import SigningKey
from core.values import Realm, Regime, SignatureAlgorithm
from signer.activation import redeem
from signer.activation.passkeys import SoftwarePasskey
from signer.copies.register import Register
from signer.copies.wording import Wording
from signer.credentials import Credential, Credentials, OpenKey
from signer.enrolment.forgetting import forget
from signer.keystores.model import KeyPurpose, KeyRef, KeyStore, StoredKey
from signer.keystores.proof import prove
from signer.keystores.registry import Registry

__all__ = ["SERVICE", "Enrolment", "Made", "issuer_of"]

_T = TypeVar("_T")
SERVICE = ("root", "issuing", "tsa", "ocsp", "lists", "report")
P256 = SignatureAlgorithm.ECDSA_P256_SHA256
_PURPOSE = {
    "root": KeyPurpose.CA,
    "issuing": KeyPurpose.CA,
    "tsa": KeyPurpose.TSA,
    "ocsp": KeyPurpose.OCSP,
    "lists": KeyPurpose.LIST,
    "report": KeyPurpose.REPORT,
}
_NAMES = {
    "root": "Chứng thư gốc nhúng", "issuing": "Cơ quan cấp chứng thư nhúng", "tsa": "Dấu thời gian nhúng",
    "ocsp": "Trả lời trạng thái chứng thư", "lists": "Danh mục khóa dấu QR",
    "report": "Phiếu kết quả kiểm tra",
}  # fmt: skip


def issuer_of(credential: Credential, key: SigningKey) -> Issuer:
    """A CA credential as the bridge wants it."""
    assert credential.certificate is not None
    return Issuer(certificate=Certificate.parse(credential.certificate), key=key, slug=credential.owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A key with the certificate that was proven to be its own; raw keys (log, QR seal) have none."""

    key: KeyRef
    certificate: bytes | None = None
    chain: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Makes owners with their keys."""

    db: Database
    clock: Clock
    store: KeyStore
    open_key: OpenKey
    realm: Realm
    directory: Directory
    register: Register
    credentials: Credentials
    base_url: str
    organisation: str
    keep_passkey: Callable[[str, bytes], None]
    """(person id, dump): where the training hand finds its software passkeys."""

    async def service_keys(self) -> Credential:
        """Root, issuing, TSA, OCSP, lists, reports, log: once a realm; returns the root. Raises ``home.exists``."""
        async with self.db.read() as uow:
            if await self.credentials.all(uow, KeyPurpose.CA):
                raise Conflict("home.exists")
        made: dict[str, Credential] = {}
        for owner in SERVICE:
            issuer = {"root": None, "issuing": made.get("root")}.get(owner, made.get("issuing"))
            made[owner] = await self._service_key(owner, issuer)
        await self._raw("log", KeyPurpose.LOG, SignatureAlgorithm.ED25519)
        return made["root"]

    async def report_key(self) -> Credential:
        """The key of verification sheets; a home made before there were sheets gets it when it is first asked for."""
        async with self.db.read() as uow:
            try:
                return await self.credentials.of(uow, "report", KeyPurpose.REPORT)
            except NotFound:
                issuing = await self.credentials.of(uow, "issuing", KeyPurpose.CA)
        return await self._service_key("report", issuing)

    async def _service_key(self, owner: str, issuer: Credential | None) -> Credential:
        return await self._certified(owner, _PURPOSE[owner], owner, self.subject(owner), issuer)

    async def _raw(self, owner: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm) -> Credential:
        made = Made(key=await self.store.create(f"{purpose}-{new_id(self.clock)}", purpose, algorithm))
        return await self.settle(owner, made, lambda uow: self.keep(uow, owner, made))

    async def _certified(
        self, owner: str, purpose: KeyPurpose, profile: str, subject: Subject, issuer: Credential | None
    ) -> Credential:
        made = await self.make(purpose, profile, subject, issuer)
        return await self.settle(owner, made, lambda uow: self.keep(uow, owner, made))

    async def make(self, purpose: KeyPurpose, profile: str, subject: Subject, issuer: Credential | None) -> Made:
        """A new key with its certificate, proven to belong together; nobody's until it is kept. ``issuer``: None for a root."""
        ref = await self.store.create(f"{purpose}-{new_id(self.clock)}", purpose, P256)
        key = StoredKey(self.store, ref, purpose, "enrolment")
        certificate = await issue(
            self.db, self.clock, subject=subject, key=key, profile=profile,
            realm=self.realm, issuer=None if issuer is None else issuer_of(issuer, self.open_key(issuer, "enrolment")), base_url=self.base_url,
            software=self.store.not_for_production,
        )  # fmt: skip
        await prove(key, certificate)
        chain = () if issuer is None or issuer.certificate is None else (issuer.certificate, *issuer.chain)
        return Made(key=ref, certificate=certificate.der, chain=chain)

    async def keep(
        self, uow: UnitOfWork, owner: str, made: Made, *, active_from: dt.datetime | None = None
    ) -> Credential:
        """The rows with which it becomes usable, from ``active_from`` on."""
        await Registry(self.clock).note(uow, made.key, owner, self.realm)
        return await self.credentials.add(
            uow, realm=self.realm, purpose=made.key.purpose, owner=owner, key=made.key, certificate=made.certificate,
            chain=made.chain, active_from=active_from,
        )  # fmt: skip

    async def settle(self, owner: str, made: Made, write: Callable[[UnitOfWork], Awaitable[_T]]) -> _T:
        """``write``, by which the key becomes its owner's, in one transaction; a key that does not become theirs is forgotten.

        A commit whose answer was lost has happened or not: that is looked up. Raises what ``write`` and the database raise.
        """
        done: list[_T] = []
        try:
            async with self.db.write() as uow:
                done.append(await write(uow))
        except BaseException as error:
            certificate = None if made.certificate is None else Certificate.parse(made.certificate)
            lost = await forget(self.db, self.clock, self.realm, owner=owner, key=made.key, certificate=certificate)
            if lost or not isinstance(error, Unavailable):
                raise
        return done[0]

    def subject(self, owner: str) -> Subject:
        """Of a service key's certificate."""
        return Subject(common_name=_NAMES[owner], organisation=self.organisation)

    async def agency(self, *, code: str, name: str, parent: str, wording: dict[str, object] | None = None) -> Agency:
        """An agency with its seal key and certificate, QR-seal key and this year's book."""
        words = Wording.of(wording or {})
        async with self.db.write() as uow:
            agency = await self.directory.add_agency(
                uow, realm=self.realm, code=code, name=name, parent=parent, wording=wording
            )
            year = self.clock.now().astimezone(VIETNAM).year
            await self.register.open_book(uow, agency, words.book_kind, year)
            issuing = await self.credentials.of(uow, "issuing", KeyPurpose.CA)
        await self._certified(agency.id, KeyPurpose.SEAL, "seal", Subject(common_name=name, organisation=name), issuing)
        await self._raw(agency.id, KeyPurpose.QR, P256)
        return agency

    async def renew_qr_key(self, code: str) -> tuple[Credential | None, Credential]:
        """A new QR-seal key for an agency, at once; returns the last one and it.

        What was before stays listed, as retired, for the papers that carry it.
        """
        async with self.db.read() as uow:
            agency = await self.directory.agency(uow, code)
        made = Made(key=await self.store.create(f"{KeyPurpose.QR}-{new_id(self.clock)}", KeyPurpose.QR, P256))

        async def follow(uow: UnitOfWork) -> tuple[Credential | None, Credential]:
            await self.credentials.hold(uow, agency.id, KeyPurpose.QR)
            old = await self.credentials.last(uow, agency.id, KeyPurpose.QR)
            for each, active in await self.credentials.all(uow, KeyPurpose.QR):
                if active and each.owner == agency.id:
                    await self.credentials.retire(uow, each.id)
            return old, await self.keep(uow, agency.id, made)

        return await self.settle(agency.id, made, follow)

    async def person(
        self, *, agency: str, name: str, role: Role, number: str, capacity: str, dated: dt.datetime,
        valid_to: dt.datetime | None, scope: frozenset[Regime],
    ) -> Person:  # fmt: skip
        """A person with a role; a certifier gets a signing key and certificate."""
        async with self.db.write() as uow:
            where = await self.directory.agency(uow, agency)
            person = await self.directory.add_person(uow, where, name)
            await self.directory.authorise(
                uow, person, role, capacity=capacity, number=number, dated=dated, valid_from=self.clock.now(),
                valid_to=valid_to, scope=scope,
            )  # fmt: skip
            issuing = await self.credentials.of(uow, "issuing", KeyPurpose.CA)
        if role is Role.CERTIFIER:
            subject = Subject(common_name=name, organisation=where.name)
            await self._certified(person.id, KeyPurpose.DOCUMENT, "official", subject, issuing)
        if self.realm is Realm.TRAINING:
            await self._software_passkey(person)
        return person

    async def _software_passkey(self, person: Person) -> None:
        passkey = SoftwarePasskey.create(self.realm)
        self.keep_passkey(person.id, passkey.dump())
        async with self.db.write() as uow:
            await redeem.enrol_passkey(
                uow, self.clock, person_id=person.id, realm=self.realm, credential_id=passkey.credential_id,
                public_key=passkey.public_key, kind=passkey.kind,
            )  # fmt: skip
