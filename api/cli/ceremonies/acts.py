"""Ceremonies about one key that is here: rotate, disable, destroy."""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import sqlalchemy as sa

from api import bootstrap
from api.bootstrap import Service
from api.cli.cards import own_login, role_of
from api.cli.ceremonies.base import Act, Done
from api.roles import ProcessRole
from core.approvals.model import Decision
from core.approvals.records import Approvals, decision_table
from core.certificates import Certificate
from core.clock import SystemClock, timestamp_text
from core.db import UnitOfWork
from core.directory.records import Directory
from core.errors import BadInput, NotFound, Refused, ServiceError
from core.messages import sentence
from core.values import Digest
from signer.credentials import Credential
from signer.keyceremony.protocol import Fact, Outcome, Protocol
from signer.keyceremony.rotation import Rotation, owner_of, require_rotatable
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.policies import Identity
from signer.keystores.records import key_table
from signer.keystores.registry import NEVER_OWNED, KnownKey, Registry
from signer.keystores.stores import KeyStores
from signer.keystores.transit import TransitKeyStore, mounts_of
from signer.keystores.work import KeyWork

__all__ = ["DIGEST", "Destroy", "Disable", "End", "HandedAct", "KeyAct", "Rotate", "about", "certificate_facts"]

DIGEST: Final = ("SHA-256 của khóa công khai", "Digest of the public key")


def _protocol(kind: str, service: Service) -> Protocol:
    return Protocol(clock=service.clock, kind=kind, store=service.parts().store.name)


def about(label: tuple[str, str], ref: KeyRef) -> list[Fact]:
    """Where a key is, and its public key's digest."""
    where = f"{ref.store}:{ref.place} {ref.name} v{ref.version}".replace(": ", " ")
    return [(label, where), (DIGEST, Digest.of(ref.spki).hex)]


def certificate_facts(credential: Credential) -> list[Fact]:
    """Digest and end of its certificate; nothing for a raw key."""
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
        """Raises what opening a home raises and what was wrongly asked; what the act itself refuses stands in its protocol."""
        async with bootstrap.open_tables(self.settings) as db, db.read() as uow:
            await self.look(uow)
        settings = own_login(self.settings, self.cards)
        async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
            protocol = _protocol(self.kind, service)
            protocol.product = (await service.parts().store.default.health()).detail
            try:
                await self.attend(protocol, service.realm)
                await self.act(service, protocol)
            except ServiceError as error:
                if not protocol.steps:  # nothing happened that a protocol could tell
                    raise
                return await self.finish(protocol, service, service.realm, error)
            return await self.finish(protocol, service, service.realm)

    @abstractmethod
    async def look(self, uow: UnitOfWork) -> None:
        """What was asked, by itself and by the tables: a slip of the hand must cost no secret id."""

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

    async def look(self, uow: UnitOfWork) -> None:
        """Raises as ``require_rotatable`` and ``owner_of``."""
        clock = SystemClock()
        require_rotatable(self.purpose, self.at, clock.now())
        await owner_of(uow, Directory(clock), self.owner, self.purpose)

    async def act(self, service: Service, protocol: Protocol) -> None:
        """Raises as ``Rotation.rotate``."""
        at = "ngay / now" if self.at is None else timestamp_text(self.at)
        asked: list[Fact] = [
            (("Của", "Of"), self.owner), (("Mục đích", "Purpose"), self.purpose.value), (("Chuyển lúc", "Switch at"), at),
        ]  # fmt: skip
        what = ("Thay khóa", "Rotation of a key")
        await self.confirm(what, asked)
        with protocol.step(what) as facts:
            facts.extend(asked[:2])
            done = await Rotation(enrolment=service.enrolment).rotate(self.owner, self.purpose, self.at)
            if done.old is not None:
                facts.extend(about(("Khóa cũ", "Old key"), done.old.key))
            facts.extend(about(("Khóa mới", "New key"), done.new.key))
            facts.extend(certificate_facts(done.new))
            facts.append((("Dùng khóa mới từ", "New key in use from"), timestamp_text(done.at)))
        if self.purpose is KeyPurpose.QR:
            with protocol.step(("Công bố danh mục khóa dấu QR", "List of QR-seal keys published")) as facts:
                listed = await service.publisher.keys()
                facts.append((("Số thứ tự", "Sequence"), str(listed.sequence)))
        if done.needs_restart:
            protocol.add(what, Outcome.WARNING, code="keys.restart_after")
            self.next.append(f"khởi động lại bộ ký sau / restart the signer after {timestamp_text(done.at)}")


@dataclass(slots=True, kw_only=True)
class HandedAct(KeyAct, ABC):
    """One for which a short-lived identity of the store may be handed out."""

    identity: ClassVar[Identity]
    role_id: str
    secret_id_file: Path | None

    async def look(self, uow: UnitOfWork) -> None:
        """Raises ``keys.no_card``, ``keys.other_card``, ``keys.half_card``."""
        if bool(self.role_id) != (self.secret_id_file is not None):
            raise BadInput("keys.half_card")
        if self.secret_id_file is not None:
            role_of(self.secret_id_file, self.identity)


@dataclass(slots=True, kw_only=True)
class End(HandedAct):
    """Disable or destroy: the decision is taken at the desk, its act is done here where the store wants its custodian."""

    identity: ClassVar[Identity] = Identity.CUSTODIAN
    key: str

    async def look(self, uow: UnitOfWork) -> None:
        """Raises ``key.unknown``, and as every act with an identity of its own."""
        await HandedAct.look(self, uow)
        await self._find(uow, Registry(SystemClock()))

    @asynccontextmanager
    async def stores(self, service: Service) -> AsyncIterator[KeyStores]:
        """With the custodian's session, where it was handed out. Raises ``vault.*``."""
        opened = service.parts().store
        if self.secret_id_file is None:
            yield opened
            return
        mounts = mounts_of(self.settings.transit_mounts)
        async with self.handed(self.identity, self.role_id, self.secret_id_file) as vault:
            others = [each for each in opened.all() if each.name != TransitKeyStore.name]
            yield KeyStores(TransitKeyStore(vault, mounts, admin=vault, clock=service.clock), *others)

    async def act(self, service: Service, protocol: Protocol) -> None:
        """Raises ``key.unknown``, ``keys.not_decided``; what the store refuses stands in the protocol as waiting."""
        registry = Registry(service.clock)
        async with service.db.read() as uow:
            key = await self._find(uow, registry)
            decisions = await self._decisions(uow, service, key)
        with protocol.step(("Khóa", "The key")) as facts:
            facts.extend(about(("Khóa", "Key"), key.ref))
            facts.extend([(("Mã", "Id"), key.id), (("Trạng thái", "State"), key.state.value)])
        with protocol.step(("Quyết định của hai quản trị viên", "What two administrators decided")) as facts:
            for each in decisions:
                facts.append((("Quyết định", "Decision"), f"{each.id}: {each.state}, {each.votes}/2"))
            if key.why == NEVER_OWNED and self.kind == Disable.kind:  # nobody's: there was nothing to decide
                facts.append((("Không cần", "None needed"), f"{sentence(key.why)} / {sentence(key.why, 'en')}"))
            elif not any(each.state == "applied" for each in decisions):
                self.next.append(
                    f"hai quản trị viên quyết định tại / two administrators decide at {service.settings.url}/desk"
                )
                raise Refused("keys.not_decided", kind=f"key.{self.kind}")
        await self.confirm(("Thực hiện trong kho khóa", "Do it in the store"), [(("Khóa", "Key"), key.ref.name)])
        async with self.stores(service) as store:
            work = KeyWork(db=service.db, clock=service.clock, log=service.copies.signing.log, store=store)
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
