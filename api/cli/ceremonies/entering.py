"""Ceremonies by which a key enters a store: from elsewhere (import), or out of the software store's files (move)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from api.bootstrap import Service
from api.cli.ceremonies.acts import DIGEST, HandedAct, about, certificate_facts
from api.cli.ceremonies.base import secret
from api.cli.show import read_file
from core.certificates import Certificate
from core.clock import SystemClock
from core.db import UnitOfWork
from core.directory.records import Directory
from core.errors import BadInput, NotFound, Unavailable
from signer.keyceremony.importing import Caller, Importing, chain_of, load_private
from signer.keyceremony.moving import Files, Leaving, Moved, Moving
from signer.keyceremony.protocol import Fact, Outcome, Protocol
from signer.keyceremony.rotation import owner_of
from signer.keystores.allowed import SERVICES, AllowedImport
from signer.keystores.memory import spki_of
from signer.keystores.model import KeyPurpose, KeyRef, KeyStore
from signer.keystores.policies import Identity
from signer.keystores.records import import_table
from signer.keystores.transit.naming import mounts_of

__all__ = ["Import", "Move"]


def _decided(allowed: AllowedImport, owner: str) -> list[Fact]:
    return [
        (("Quyết định", "Decision"), allowed.id), (("Của", "Of"), owner),
        (("Mục đích, thuật toán", "Purpose, algorithm"), f"{allowed.purpose}, {allowed.algorithm}"), (DIGEST, allowed.spki_sha256),
    ]  # fmt: skip


def _store(service: Service, name: str) -> KeyStore:
    """Raises ``key.no_such_store``."""
    found = next((each for each in service.parts().store.all() if each.name == name), None)
    if found is None:
        raise Unavailable("key.no_such_store", store=name)
    return found


@dataclass(slots=True, kw_only=True)
class Entering(HandedAct):
    """One for which the store's importer is handed out."""

    identity: ClassVar[Identity] = Identity.IMPORTER

    @property
    def mounts(self) -> tuple[str, ...]:
        """Of new keys."""
        return mounts_of(self.settings.transit_mounts)

    @asynccontextmanager
    async def importer(self) -> AsyncIterator[Caller]:
        """The importer's short-lived identity, or an operator's token. Raises ``vault.*``, ``keys.no_token``."""
        if self.secret_id_file is None:
            async with await self.operator(None) as session:
                yield session
        else:
            async with self.handed(self.identity, self.role_id, self.secret_id_file) as vault:
                yield vault


@dataclass(slots=True, kw_only=True)
class Import(Entering):
    """A key from elsewhere."""

    kind: ClassVar[str] = "import"
    key_file: Path | None
    cka_id: str
    spki_sha256: str
    chain: Path | None

    async def look(self, uow: UnitOfWork) -> None:
        """Raises ``keys.which_key``, ``cli.no_such_file``, and as every act with an identity of its own."""
        await Entering.look(self, uow)
        if (self.key_file is None) == (not self.cka_id):
            raise BadInput("keys.which_key")
        for file in (self.key_file, self.chain):
            if file is not None:
                read_file(file)

    async def act(self, service: Service, protocol: Protocol) -> None:
        """Raises ``keys.*``, ``key.*``, ``vault.*``."""
        importing = Importing(
            db=service.db, clock=service.clock, realm=service.realm, credentials=service.credentials, store=service.enrolment.store
        )  # fmt: skip
        private = None if self.key_file is None else await self._private(read_file(self.key_file))
        with protocol.step(("Quyết định của hai quản trị viên", "What two administrators decided")) as facts:
            allowed = await importing.allowed(await self._spki(service, private))
            facts.extend(_decided(allowed, allowed.owner))
        chain = () if self.chain is None else self._chain(allowed)
        await self.confirm(("Nhập khóa này", "Take this key in"), _decided(allowed, allowed.owner))
        with protocol.step(("Đưa khóa vào kho", "The key into its store")) as facts:
            if private is None:
                ref = await self._adopt(service, importing, allowed)
            else:
                async with self.importer() as caller:
                    ref = await importing.bring(caller, self.mounts, private, allowed)
            facts.extend(about(("Khóa", "Key"), ref))
        with protocol.step(("Khóa tự chứng minh và được ghi nhận", "The key proves itself and is recorded")) as facts:
            credential = await importing.keep(allowed, ref, chain)
            facts.extend(certificate_facts(credential))

    async def _private(self, data: bytes) -> Any:
        try:
            return load_private(data, None)
        except BadInput:  # perhaps it is encrypted
            typed = await asyncio.to_thread(secret, "Mật khẩu của tệp khóa / passphrase of the key file")
            return load_private(data, typed)

    async def _spki(self, service: Service, private: Any) -> bytes:
        """Of the key in the file; of a pair in a token it is the decided certificate's."""
        if private is not None:
            return spki_of(private)
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

    async def _adopt(self, service: Service, importing: Importing, allowed: AllowedImport) -> KeyRef:
        try:
            cka_id = bytes.fromhex(self.cka_id)
        except ValueError as error:
            raise BadInput("keys.which_key") from error
        store: Any = _store(service, "pkcs11")
        return await importing.adopt(store, cka_id, allowed)


@dataclass(slots=True, kw_only=True)
class Move(Entering):
    """The same keys, out of encrypted files: each by its own decision, all with one hand-over of the importer."""

    kind: ClassVar[str] = "move"
    owners: Sequence[str]

    async def look(self, uow: UnitOfWork) -> None:
        """Raises ``directory.no_such_agency``, and as every act with an identity of its own."""
        await Entering.look(self, uow)
        for owner in self.owners:
            await owner_of(uow, Directory(SystemClock()), owner, SERVICES.get(owner, KeyPurpose.QR))

    async def act(self, service: Service, protocol: Protocol) -> None:
        """Raises as ``Moving``, and ``key.no_such_store`` where one of the two stores is not opened."""
        moving = Moving(enrolment=service.enrolment, log=service.log)
        keys = {owner: await moving.find(owner) for owner in self.owners}
        files: Any = _store(service, "software")
        _store(service, "transit")
        await self.confirm(
            ("Dời chính các khóa này vào OpenBao", "Move these very keys into OpenBao"),
            [fact for owner, leaving in keys.items() for fact in _decided(leaving.allowed, owner)],
        )
        moved: dict[str, Moved] = {}
        try:
            async with self.importer() as caller:
                for owner, leaving in keys.items():
                    ref = await self._carry(protocol, moving, owner, leaving, caller, files)
                    with protocol.step(
                        (f"Khóa {owner}: tự chứng minh, từ đây ở chỗ mới", f"Key {owner}: proves itself, is in its new place")
                    ) as facts:  # fmt: skip
                        moved[owner] = await moving.settle(leaving, ref)
                        facts.extend(self._same(service, moved[owner]))
        finally:  # of those before one that failed too
            self._behind(service, protocol, moved)

    async def _carry(
        self, protocol: Protocol, moving: Moving, owner: str, leaving: Leaving, caller: Caller, files: Files
    ) -> KeyRef:  # fmt: skip
        with protocol.step((f"Khóa {owner}: quyết định", f"Key {owner}: what was decided")) as facts:
            facts.extend([*_decided(leaving.allowed, owner), *about(("Chỗ cũ", "Old place"), leaving.key.ref)[:1]])
        with protocol.step(
            (f"Khóa {owner}: chính khóa đó vào kho", f"Key {owner}: the same key into its store")
        ) as facts:
            ref = await moving.carry(caller, self.mounts, files, leaving)
            facts.extend(about(("Chỗ mới", "New place"), ref))
        return ref

    def _behind(self, service: Service, protocol: Protocol, moved: dict[str, Moved]) -> None:
        """They were once in files: what is still to be done about it."""
        if not moved:
            return
        facts = [
            ((f"{owner}, mã ở chỗ cũ", f"{owner}, id in its old place"), each.old.id) for owner, each in moved.items()
        ]
        what = ("Bản cũ trong tệp", "The old copies in files")
        protocol.add(what, Outcome.WARNING, *facts, code="keys.was_in_files")
        desk = f"{service.settings.url}/desk/admin/keys"
        self.next.append("khởi động lại bộ ký / restart the signer · dauso doctor keys")
        self.next += [
            f"{owner}: ngừng bản cũ / end the old copy: {desk}/{each.old.id}" for owner, each in moved.items()
        ]

    @staticmethod
    def _same(service: Service, moved: Moved) -> list[Fact]:
        """What did not change."""
        facts = certificate_facts(moved.credentials[-1])
        if moved.old.ref.purpose is KeyPurpose.LOG:
            facts.append((("Tên nhật ký, không đổi", "Name of the log, unchanged"), service.log_vkey))
        return [*facts, (("Mã khóa ở chỗ mới", "Id of the key in its new place"), moved.new_id)]
