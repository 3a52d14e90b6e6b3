"""Keys of a town with administrators: noted in the registry, with the worker that acts in their store."""

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from api.clients.access import AgencyAccess
from audit.highwater import MemoryHighWater
from audit.log import Log
from ca_bridge.records import certificate_table
from core.directory.model import Role
from core.directory.records import Directory
from core.errors import Unavailable
from core.ids import new_id
from core.objects import Documents
from core.values import Realm, SignatureAlgorithm
from signer.copies.register import Register
from signer.credentials import Credentials
from signer.decisions.desk import Decisions
from signer.decisions.room import Room
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose
from signer.keystores.registry import Registry
from signer.keystores.rules import Rules
from signer.keystores.work import KeyWork
from tests.audit.test_log import Key
from tests.signer.decisions.conftest import RP, Phone, Town

P256 = SignatureAlgorithm.ECDSA_P256_SHA256


def certificate(spki: bytes, now: dt.datetime, days: int = 300, name: str = "Nguyễn Thị Mẫu") -> bytes:
    """Over a public key, by somebody."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
        .public_key(serialization.load_der_public_key(spki)).serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=days))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.DER)


class SlowStore(MemoryKeyStore):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.acts = None, []

    async def disable(self, ref):
        self.acts.append("disable")
        if self.away:
            raise self.away
        await super().disable(ref)

    async def destroy(self, ref):
        self.acts.append("destroy")
        if self.away:
            raise self.away
        await super().destroy(ref)


class Keyring:
    """Keys of a town."""

    def __init__(self, town) -> None:
        self.town, self.db, self.clock = town, town.db, town.clock
        self.store, self.registry, self.credentials = SlowStore(), Registry(town.clock), Credentials(town.clock)
        self.work = KeyWork(db=town.db, clock=town.clock, log=town.desk.log, store=self.store)

    def process(self):
        return Rules(self.db, self.clock)

    async def make(self, purpose=KeyPurpose.SEAL, owner=None, *, certified=False, ours=True):
        """Id and reference of a new key."""
        ref = await self.store.create(f"{purpose.value}-{new_id(self.clock)}", purpose, P256)
        der = certificate(ref.spki, self.clock.now()) if certified else None
        async with self.db.write() as uow:
            key_id = await self.registry.note(uow, ref, owner or self.town.agency.id, Realm.TRAINING)
            await self.credentials.add(
                uow, realm=Realm.TRAINING, purpose=purpose, owner=owner or self.town.agency.id, key=ref, certificate=der
            )
            if der is not None and ours:
                serial = x509.load_der_x509_certificate(der).serial_number
                row = {"serial": f"{serial:040x}", "realm": "training", "issuer": "CN=x", "profile": "seal", "der": der}
                await uow.execute(certificate_table.insert(), {**row, "status": "good", "ordered_at": self.clock.now()})
        return key_id, ref

    async def known(self, key_id):
        async with self.db.read() as uow:
            return await self.registry.get(uow, key_id)

    async def history(self, key_id):
        async with self.db.read() as uow:
            return sorted(each.what for each in await self.registry.history(uow, key_id))

    async def works(self, key_id):
        async with self.db.read() as uow:
            return await self.registry.works(uow, key_id)

    async def disabled(self, key_id, revoke=""):
        """By two, and in the store too."""
        return await self.town.decide("key.disable", {"key": key_id, "why": "Hết dùng", "revoke": revoke})

    async def stop(self, key_id, why="key.over_day"):
        async with self.db.write() as uow:
            assert await self.registry.stop(uow, key_id, why)


def away(code="key.sealed"):
    """A store that does not answer."""
    return Unavailable(code)


async def open_town(db, clock, tmp_path) -> Town:
    """A town whose decisions draw nothing: without the sandbox, which takes longer to start than a test."""
    directory = Directory(clock)
    log = Log(db=db, origin="log.example/1", key=Key(), clock=clock, highwater=MemoryHighWater())
    await log.open()
    async with db.write() as uow:
        agency = await directory.add_agency(
            uow, realm=Realm.TRAINING, code="H1", name="UBND xã Mẫu", parent="UBND tỉnh Ví Dụ"
        )
    room = Room(
        clock=clock, directory=directory, register=Register(clock), documents=Documents.open("", tmp_path), sandbox=None,
        clients=AgencyAccess(), phones=Phone(clock, directory),
    )  # fmt: skip
    made = Town(Decisions(db=db, clock=clock, realm=Realm.TRAINING, log=log, relying_party=RP, room=room), agency)
    made.admins = [await made.person(f"Quản trị {n}", Role.ADMINISTRATOR) for n in range(4)]
    return made
