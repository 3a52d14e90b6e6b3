"""Ceremonies about one key: rotate, import, disable, destroy."""

import asyncio
import datetime as dt
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from api import bootstrap
from api.bootstrap import Service
from api.cli.ceremonies.base import Act, Done, secret
from api.cli.show import read_file
from api.roles import ProcessRole
from core.approvals.model import Decision
from core.approvals.records import Approvals, decision_table
from core.certificates import Certificate
from core.clock import timestamp_text
from core.db import UnitOfWork
from core.errors import BadInput, NotFound, Refused, ServiceError
from core.settings import Settings
from core.values import Digest
from core.vault import Vault, VaultConfig
from signer.credentials import Credential
from signer.keyceremony.importing import Importing, chain_of, load_private
from signer.keyceremony.protocol import Fact, Outcome, Protocol
from signer.keyceremony.rotation import Rotation
from signer.keystores.allowed import AllowedImport
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.records import import_table, key_table
from signer.keystores.registry import KnownKey, Registry
from signer.keystores.transit.naming import mounts_of
from signer.keystores.work import KeyWork

__all__ = ["Destroy", "Disable", "End", "Import", "Rotate"]

_DIGEST: Final = ("SHA-256 của khóa công khai", "Digest of the public key")


def _protocol(kind: str, service: Service) -> Protocol:
    return Protocol(clock=service.clock, kind=kind, store=service.parts().store.name)


def _about(label: tuple[str, str], ref: KeyRef) -> list[Fact]:
    where = f"{ref.store}:{ref.place} {ref.name} v{ref.version}".replace(": ", " ")
    return [(label, where), (_DIGEST, Digest.of(ref.spki).hex)]


def _certificate(credential: Credential) -> list[Fact]:
    if credential.certificate is None:
        return []
    certificate = Certificate.parse(credential.certificate)
    return [
        (("SHA-256 của chứng thư", "Digest of the certificate"), certificate.sha256.hex()),
        (("Chứng thư đến", "Certificate until"), timestamp_text(certificate.not_after)),
    ]


@dataclass(slots=True, kw_only=True)
class KeyAct(Act, ABC):
    """One that a whole signer stands behind."""

    async def run(self) -> Done:
        """Raises what opening a home raises; what the act itself refuses stands in its protocol."""
        async with bootstrap.open_service(self.opened(), ProcessRole.SIGNER) as service:
            protocol = _protocol(self.kind, service)
            protocol.product = (await service.parts().store.health()).detail
            try:
                await self.attend(protocol, service.realm)
                await self.act(service, protocol)
            except ServiceError as error:
                if not protocol.steps:  # nothing happened that a protocol could tell
                    raise
                return await self.finish(protocol, service, service.realm, error)
            return await self.finish(protocol, service, service.realm)

    def opened(self) -> Settings:
        """With which the home is opened."""
        return self.settings

    @abstractmethod
    async def act(self, service: Service, protocol: Protocol) -> None:
        """The steps."""


@dataclass(slots=True, kw_only=True)
class Rotate(KeyAct):
    """A new key beside the old one."""

    kind: ClassVar[str] = "rotate"
    owner: str
    purpose: KeyPurpose
    at: dt.datetime | None

    async def act(self, service: Service, protocol: Protocol) -> None:
        """Raises as ``Rotation.rotate``."""
        Rotation.require_rotatable(self.purpose)
        at = "ngay / now" if self.at is None else timestamp_text(self.at)
        asked: list[Fact] = [
            (("Của", "Of"), self.owner), (("Mục đích", "Purpose"), self.purpose.value), (("Chuyển lúc", "Switch at"), at),
        ]  # fmt: skip
        what = ("Thay khóa", "Rotation of a key")
        await self.confirm(what, asked)
        with protocol.step(what) as facts:
            facts.extend(asked[:2])
            done = await Rotation(enrolment=service.enrolment).rotate(self.owner, self.purpose, self.at)
            facts.extend(_about(("Khóa cũ", "Old key"), done.old.key))
            facts.extend(_about(("Khóa mới", "New key"), done.new.key))
            facts.extend(_certificate(done.new))
            facts.append((("Dùng khóa mới từ", "New key in use from"), timestamp_text(done.at)))
        if self.purpose is KeyPurpose.QR:
            with protocol.step(("Công bố danh mục khóa dấu QR", "List of QR-seal keys published")) as facts:
                listed = await service.publisher.keys()
                facts.append((("Số thứ tự", "Sequence"), str(listed.sequence)))
        if done.needs_restart:
            protocol.add(what, Outcome.WARNING, code="keys.restart_after")
            self.next.append(f"khởi động lại bộ ký sau / restart the signer after {timestamp_text(done.at)}")


@dataclass(slots=True, kw_only=True)
class Import(KeyAct):
    """A key from elsewhere."""

    kind: ClassVar[str] = "import"
    key_file: Path | None
    cka_id: str
    spki_sha256: str
    chain: Path | None
    role_id: str
    secret_id_file: Path | None

    async def act(self, service: Service, protocol: Protocol) -> None:
        """Raises ``keys.*``, ``key.*``, ``vault.*``."""
        if (self.key_file is None) == (not self.cka_id):
            raise BadInput("keys.which_key")
        importing = Importing(
            db=service.db, clock=service.clock, realm=service.realm, credentials=service.credentials, store=service.enrolment.store
        )  # fmt: skip
        private = None if self.key_file is None else await self._private(read_file(self.key_file))
        with protocol.step(("Quyết định của hai quản trị viên", "What two administrators decided")) as facts:
            allowed = await importing.allowed(await self._spki(service, private))
            facts.extend(self._decided(allowed))
        chain = () if self.chain is None else self._chain(allowed)
        await self.confirm(("Nhập khóa này", "Take this key in"), self._decided(allowed))
        with protocol.step(("Đưa khóa vào kho", "The key into its store")) as facts:
            ref = (
                await self._adopt(service, importing, allowed) if private is None
                else await self._bring(importing, private, allowed)
            )  # fmt: skip
            facts.extend(_about(("Khóa", "Key"), ref))
        with protocol.step(("Khóa tự chứng minh và được ghi nhận", "The key proves itself and is recorded")) as facts:
            credential = await importing.keep(allowed, ref, chain)
            facts.extend(_certificate(credential))

    @staticmethod
    def _decided(allowed: AllowedImport) -> list[Fact]:
        return [
            (("Quyết định", "Decision"), allowed.id), (("Của", "Of"), allowed.owner),
            (("Mục đích, thuật toán", "Purpose, algorithm"), f"{allowed.purpose}, {allowed.algorithm}"), (_DIGEST, allowed.spki_sha256),
        ]  # fmt: skip

    async def _private(self, data: bytes) -> Any:
        try:
            return load_private(data, None)
        except BadInput:  # perhaps it is encrypted
            typed = await asyncio.to_thread(secret, "Mật khẩu của tệp khóa / passphrase of the key file")
            return load_private(data, typed)

    async def _spki(self, service: Service, private: Any) -> bytes:
        """Of the key in the file; of a pair in a token it is the decided certificate's."""
        if private is not None:
            return bytes(
                private.public_key().public_bytes(
                    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
                )
            )
        t = import_table.c
        query = sa.select(t.certificate).where(t.realm == service.realm, t.spki_sha256 == self.spki_sha256)
        async with service.db.read() as uow:
            found = (await uow.execute(query.order_by(t.id.desc()).limit(1))).scalar_one_or_none()
        if found is None:
            raise NotFound("key.import_not_decided")
        return Certificate.parse(found).spki

    def _chain(self, allowed: AllowedImport) -> tuple[bytes, ...]:
        assert self.chain is not None
        if allowed.certificate is None:
            raise BadInput("keys.wrong_chain")
        try:
            found = x509.load_pem_x509_certificates(read_file(self.chain))
        except ValueError as error:
            raise BadInput("keys.wrong_chain") from error
        issuers = [Certificate.parse(each.public_bytes(serialization.Encoding.DER)) for each in found]
        return chain_of(Certificate.parse(allowed.certificate), issuers)

    async def _bring(self, importing: Importing, private: Any, allowed: AllowedImport) -> KeyRef:
        """As the importer's short-lived identity, or with an operator's token."""
        mounts, config = mounts_of(self.settings.transit_mounts), self.config()
        if self.secret_id_file is None:
            async with await self.operator(None) as session:
                return await importing.bring(session, mounts, private, allowed)
        login = self.short_lived("dauso-importer", self.role_id, self.secret_id_file)
        vault = Vault(
            VaultConfig(url=config.url, namespace=config.namespace, ca_file=config.ca_file, login=login)
        )  # fmt: skip
        try:
            await vault.start()
            return await importing.bring(vault, mounts, private, allowed)
        finally:
            await vault.close()

    async def _adopt(self, service: Service, importing: Importing, allowed: AllowedImport) -> KeyRef:
        try:
            cka_id = bytes.fromhex(self.cka_id)
        except ValueError as error:
            raise BadInput("keys.which_key") from error
        found: Any = next((each for each in service.parts().store.all() if each.name == "pkcs11"), None)
        if found is None:
            raise NotFound("key.no_such_store", store="pkcs11")
        return await importing.adopt(found, cka_id, allowed)


@dataclass(slots=True, kw_only=True)
class End(KeyAct):
    """Disable or destroy: the decision is taken at the desk, its act is done here where the store wants its custodian."""

    key: str
    role_id: str
    secret_id_file: Path | None

    def opened(self) -> Settings:
        """With the custodian's session, where it was handed out."""
        if self.secret_id_file is None:
            return self.settings
        return self.settings.model_copy(
            update={
                "vault_custodian_role": "dauso-custodian", "vault_custodian_role_id": self.role_id,
                "vault_custodian_secret_id_file": self.secret_id_file,
            }
        )  # fmt: skip

    async def act(self, service: Service, protocol: Protocol) -> None:
        """Raises ``key.unknown``, ``keys.not_decided``; what the store refuses stands in the protocol as waiting."""
        registry = Registry(service.clock)
        async with service.db.read() as uow:
            key = await self._find(uow, registry)
            decisions = await self._decisions(uow, service, key)
        with protocol.step(("Khóa", "The key")) as facts:
            facts.extend(_about(("Khóa", "Key"), key.ref))
            facts.extend([(("Mã", "Id"), key.id), (("Trạng thái", "State"), key.state.value)])
        with protocol.step(("Quyết định của hai quản trị viên", "What two administrators decided")) as facts:
            for each in decisions:
                facts.append((("Quyết định", "Decision"), f"{each.id}: {each.state}, {each.votes}/2"))
            if not any(each.state == "applied" for each in decisions):
                self.next.append(
                    f"hai quản trị viên quyết định tại / two administrators decide at {service.settings.url}/desk"
                )
                raise Refused("keys.not_decided", kind=f"key.{self.kind}")
        await self.confirm(("Thực hiện trong kho khóa", "Do it in the store"), [(("Khóa", "Key"), key.ref.name)])
        work = KeyWork(
            db=service.db, clock=service.clock, log=service.copies.signing.log, store=service.parts().store
        )  # fmt: skip
        await work.run(key.id)
        await self._told(service, registry, protocol, key)

    async def _told(self, service: Service, registry: Registry, protocol: Protocol, key: KnownKey) -> None:
        async with service.db.read() as uow:
            mine = [each for each in await registry.works(uow, key.id) if each.act == self.kind]
            now = await registry.get(uow, key.id)
        done = bool(mine) and all(each.state == "done" for each in mine)
        facts: list[Fact] = [(("Trạng thái", "State"), now.state.value)]
        facts += [
            (("Việc trong kho", "Act in the store"), f"{each.id}: {each.state}, {each.tries}× {each.code}".rstrip())
            for each in mine
        ]
        what = ("Thực hiện trong kho khóa", "Done in the store")
        protocol.add(what, Outcome.DONE if done else Outcome.WAITING, *facts, code="" if done else "keys.store_waits")

    async def _find(self, uow: UnitOfWork, registry: Registry) -> KnownKey:
        t = key_table.c
        found = (await uow.execute(sa.select(t.id).where(sa.or_(t.id == self.key, t.name == self.key)))).scalars().all()
        if len(found) != 1:
            raise NotFound("key.unknown")
        return await registry.get(uow, found[0])

    async def _decisions(self, uow: UnitOfWork, service: Service, key: KnownKey) -> list[Decision]:
        """About this key, newest first; how each stands now."""
        approvals, t = Approvals(service.clock), decision_table.c
        query = sa.select(t.id).where(t.kind == f"key.{self.kind}").order_by(t.id.desc())
        found = [await approvals.get(uow, each) for each in (await uow.execute(query)).scalars().all()]
        return [each for each in found if each.payload.get("key") == key.id]


@dataclass(slots=True, kw_only=True)
class Disable(End):
    """Out of use."""

    kind: ClassVar[str] = "disable"


@dataclass(slots=True, kw_only=True)
class Destroy(End):
    """Gone for good."""

    kind: ClassVar[str] = "destroy"
