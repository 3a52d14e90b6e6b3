"""Turns one frozen ``Settings`` into one ``Service``; alone knows concrete classes. Importing does nothing.

By process role (design §2): only ``SIGNER`` opens the key store and may sign; ``WEB`` reads and serves; a check without
a home builds a sandbox alone.
"""

import asyncio
import gc
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from api.evidence import EmbeddedEvidence
from api.roles import ProcessRole
from audit.highwater import FileHighWater
from audit.log import Log, LogReader
from ca_bridge.timestamp.authority import EmbeddedTimestampAuthority
from ca_bridge.timestamp.client import ExternalTimestampAuthority
from core.certificates import Certificate
from core.clock import Clock, SystemClock
from core.db import Database
from core.directory.records import Directory
from core.errors import Broken, NotFound, Refused, ServiceError
from core.formats.note import NoteKey
from core.jobs import Jobs, Note
from core.limits import LIMITS
from core.objects import Documents
from core.outbound import Outbound
from core.sandbox import Sandbox
from core.settings import Settings
from core.signing import SigningKey, Timestamper
from core.values import Realm
from signer.activation import redeem
from signer.activation.passkeys import RelyingParty, SoftwarePasskey
from signer.ceremony import SigningDesk
from signer.copies import store
from signer.copies.closing import BookDesk
from signer.copies.desk import CopyDesk
from signer.copies.facts import RegisterFacts
from signer.copies.pages import Printer
from signer.copies.pictures import Pictures
from signer.copies.publication import Publisher
from signer.copies.register import Register
from signer.credentials import Credential, Credentials, OpenKey
from signer.enrolment import Enrolment
from signer.keystores.budget import BudgetedKey, Budgets
from signer.keystores.model import KeyPurpose, KeyStore, StoredKey
from signer.keystores.software import SoftwareKeyStore, make_key_file
from verification.policy import TrustAnchor

__all__ = [
    "Service",
    "create_home",
    "demo_needs_training",
    "examine",
    "is_home",
    "make_sandbox",
    "open_service",
    "stamping_anchors",
]

RP = RelyingParty("sign.localhost", "http://sign.localhost:8001")
_PRELOAD = ("signer.copies.intake.work:warm", "verification.engine.codes:warm", "verification.worker:warm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What one process works with. ``copies`` and ``enrolment`` exist in the signer role only."""

    settings: Settings
    role: ProcessRole
    realm: Realm
    root: bytes
    clock: Clock
    db: Database
    documents: Documents
    directory: Directory
    register: Register
    credentials: Credentials
    log: LogReader
    log_vkey: str
    facts: RegisterFacts
    sandbox: Sandbox
    signing: "SignerParts | None"

    @property
    def copies(self) -> CopyDesk:
        """The desk; only where keys may be used."""
        return self._signing().copies

    @property
    def enrolment(self) -> Enrolment:
        """Enrolment; only where keys may be made."""
        return self._signing().enrolment

    @property
    def books(self) -> BookDesk:
        """Closing of books; only where keys may be used."""
        return self._signing().books

    @property
    def publisher(self) -> Publisher:
        """The public lists; only where keys may be used."""
        return self._signing().publisher

    @property
    def jobs(self) -> Jobs:
        """Durable work; only where keys may be used."""
        return self._signing().jobs

    def _signing(self) -> "SignerParts":
        if self.signing is None:
            raise Broken("home.role", role=self.role)
        return self.signing

    async def log_tail(self, last: int) -> list[dict[str, Any]]:
        """The newest leaves, decoded."""
        size = await self.log.size()
        return [{"index": i, **json.loads(e)} for i, e in await self.log.entries(max(0, size - last), size)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerParts:
    """What only the signer role holds."""

    store: KeyStore
    copies: CopyDesk
    books: BookDesk
    enrolment: Enrolment
    publisher: Publisher
    jobs: Jobs


def demo_needs_training() -> Refused:
    """The refusal to make practice papers in a real home."""
    return Refused("home.not_training")


def is_home(home: Path) -> bool:
    """True where ``init`` has been."""
    return (home / "home.json").is_file()


@asynccontextmanager
async def make_sandbox() -> AsyncIterator[Sandbox]:
    """A running sandbox with the readers of hostile bytes loaded."""
    async with Sandbox(preload=list(_PRELOAD)) as sandbox:
        yield sandbox


async def _migrate(db: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))

    def run(connection: Any) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async with db.write() as uow:
        await uow.run_sync(run)


def _store(settings: Settings) -> SoftwareKeyStore:
    if settings.key_passphrase is not None:
        return SoftwareKeyStore(settings.home / "keys", passphrase=settings.key_passphrase.get_secret_value())
    path = settings.key_file or settings.home / "key-file"
    if not path.is_file():
        raise NotFound("key.missing", key=path.name)
    return SoftwareKeyStore(settings.home / "keys", key_file=path.read_bytes())


async def create_home(settings: Settings, realm: Realm) -> Path:
    """Database, keys, certificates, log; returns the root certificate's file. Raises ``home.exists``."""
    home = settings.home
    if is_home(home):
        raise Broken("home.exists")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.key_passphrase is None and settings.key_file is None:
        make_key_file(home / "key-file")
    clock = SystemClock()
    async with Database(settings.database) as db:
        await _migrate(db)
        parts = _Records(clock)
        keys = _store(settings)
        enrolment = _enrolment(settings, realm, clock, db, parts, keys, _open_key(keys, Budgets(db, clock)))
        root = await enrolment.service_keys()
    assert root.certificate is not None
    pem = Certificate.parse(root.certificate).parsed.public_bytes(Encoding.PEM)
    (home / "pki").mkdir(exist_ok=True)
    anchor = home / "pki" / "root.pem"
    anchor.write_bytes(pem)
    (home / "home.json").write_text(json.dumps({"realm": realm.value}))
    async with open_service(settings, ProcessRole.SIGNER):
        return anchor


class _Records:
    def __init__(self, clock: Clock) -> None:
        self.directory = Directory(clock)
        self.register = Register(clock)
        self.credentials = Credentials(clock)


def _passkey_path(settings: Settings, person_id: str) -> Path:
    return settings.home / "training-passkeys" / person_id


def _open_key(store: KeyStore, budgets: Budgets) -> OpenKey:
    """Keys of persons and seals are spent by activations, all others by a daily budget."""

    def opened(credential: Credential, event_id: str) -> SigningKey:
        key = StoredKey(store, credential.key, credential.purpose, event_id)
        if credential.purpose in {KeyPurpose.DOCUMENT, KeyPurpose.SEAL}:
            return key
        return BudgetedKey(key, credential.key.name, credential.purpose, budgets)

    return opened


def _enrolment(
    settings: Settings, realm: Realm, clock: Clock, db: Database, parts: _Records, store: KeyStore, open_key: OpenKey
) -> Enrolment:
    def keep(person_id: str, dump: bytes) -> None:
        path = _passkey_path(settings, person_id)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_bytes(dump)

    return Enrolment(
        db=db, clock=clock, store=store, open_key=open_key, realm=realm, directory=parts.directory, register=parts.register,
        credentials=parts.credentials, base_url=f"https://{settings.host}", organisation=settings.system_name,
        keep_passkey=keep,
    )  # fmt: skip


@asynccontextmanager
async def open_service(settings: Settings, role: ProcessRole, clock: Clock | None = None) -> AsyncIterator[Service]:
    """A running service. Raises ``home.missing``, ``log.frozen`` and what its parts raise."""
    if not is_home(settings.home):
        raise NotFound("home.missing", home=str(settings.home))
    realm = Realm(json.loads((settings.home / "home.json").read_text())["realm"])
    clock = clock or SystemClock()
    async with Database(settings.database) as db, make_sandbox() as sandbox:
        parts = _Records(clock)
        documents = Documents.open(settings.objects_url, settings.home)
        async with db.read() as uow:
            root = await parts.credentials.of(uow, "root", KeyPurpose.CA)
            log_key = await parts.credentials.of(uow, "log", KeyPurpose.LOG)
        assert root.certificate is not None
        vkey = str(NoteKey(settings.origin, log_key.key.spki[-32:]))
        signing = None
        log: LogReader = LogReader(db=db, origin=settings.origin)
        if role is ProcessRole.SIGNER:
            signing = await _signer(settings, realm, clock, db, parts, documents, sandbox, log_key)
            log = signing.copies.signing.log
        service = Service(
            settings=settings, role=role, realm=realm, root=root.certificate, clock=clock, db=db, documents=documents,
            directory=parts.directory, register=parts.register, credentials=parts.credentials, log=log, log_vkey=vkey,
            facts=RegisterFacts(db, clock, parts.directory, parts.register, parts.credentials, vkey), sandbox=sandbox,
            signing=signing,
        )  # fmt: skip
        gc.freeze()  # what stands now stays: the collector need not walk through it again and again
        if signing is None:
            yield service
        else:
            async with _at_work(db, signing.jobs):
                yield service


@asynccontextmanager
async def _at_work(db: Database, jobs: Jobs) -> AsyncIterator[None]:
    """Jobs run; copies that a dead process left are taken on without anybody asking."""
    await jobs.start()
    try:
        async with db.read() as uow:
            left = await store.interrupted(uow)
        known = {key for _, key in await jobs.under_way()}
        # A crash between a copy's row and its job leaves the row alone: start what no job knows.
        orphans = [asyncio.create_task(jobs.run("copy", copy_id)) for copy_id in left if copy_id not in known]
        yield
        await jobs.settle(LIMITS["jobs.settle_seconds"])
        await asyncio.gather(*orphans, return_exceptions=True)
    finally:
        await jobs.stop()


async def _signer(
    settings: Settings, realm: Realm, clock: Clock, db: Database, parts: _Records, documents: Documents,
    sandbox: Sandbox, log_key: Credential,
) -> SignerParts:  # fmt: skip
    keys = _store(settings)
    mark = FileHighWater(settings.highwater or settings.home / "highwater" / "mark.json")
    open_key = _open_key(keys, Budgets(db, clock))
    log = Log(db=db, origin=settings.origin, key=open_key(log_key, "log"), clock=clock, highwater=mark)
    await log.open()

    async with db.read() as uow:
        tsa = await parts.credentials.of(uow, "tsa", KeyPurpose.TSA)
        evidence = EmbeddedEvidence(
            db=db, clock=clock, open_key=open_key, sandbox=sandbox,
            root=await parts.credentials.of(uow, "root", KeyPurpose.CA),
            issuing=await parts.credentials.of(uow, "issuing", KeyPurpose.CA),
            ocsp=await parts.credentials.of(uow, "ocsp", KeyPurpose.OCSP),
            tsa=tsa, stampers=stamping_anchors(settings, realm),
        )  # fmt: skip
    timestamps = _timestamps(settings, realm, clock, tsa, open_key(tsa, "tsa"))
    desk = SigningDesk(
        db=db, clock=clock, credentials=parts.credentials, documents=documents, log=log, open_key=open_key,
        timestamps=timestamps, relying_party=RP,
    )  # fmt: skip

    async def training_hand(person_id: str, tx: str, challenge: bytes) -> None:
        """A software passkey answers: realm training only (the class refuses any other)."""
        passkey = SoftwarePasskey.load(realm, _passkey_path(settings, person_id).read_bytes())
        async with db.write() as uow:
            await redeem.approve(uow, clock, RP, tx, passkey.answer(challenge, RP))

    pictures = Pictures(db, clock, documents, sandbox)
    copies = CopyDesk(
        signing=desk, pictures=pictures, directory=parts.directory, register=parts.register,
        printer=Printer(db=db, directory=parts.directory, register=parts.register, credentials=parts.credentials,
                        documents=documents, open_key=open_key, sandbox=sandbox, host=settings.host,
                        system=settings.system_name),
        checks=evidence, approver=training_hand if realm is Realm.TRAINING else None, client="dauso-cli",
    )  # fmt: skip
    return SignerParts(
        store=keys, copies=copies,
        books=BookDesk(signing=desk, pictures=pictures, directory=parts.directory, register=parts.register, checks=evidence,
                       approver=copies.approver, client=copies.client),
        enrolment=_enrolment(settings, realm, clock, db, parts, keys, open_key),
        publisher=Publisher(db=db, clock=clock, directory=parts.directory, credentials=parts.credentials,
                            open_key=open_key),
        jobs=_jobs(settings, clock, copies),
    )  # fmt: skip


def stamping_anchors(settings: Settings, realm: Realm) -> tuple[TrustAnchor, ...]:
    """Roots of the external time-stamping authority, if there is one. Raises ``tsa.no_anchor``."""
    if not settings.tsa_url:
        return ()
    try:
        roots = x509.load_pem_x509_certificates(settings.tsa_anchor.read_bytes()) if settings.tsa_anchor else []
    except (OSError, ValueError) as error:
        raise Refused("tsa.no_anchor") from error
    return tuple(
        TrustAnchor(certificate=root.public_bytes(Encoding.DER), realm=realm, timestamps_only=True) for root in roots
    )


def _timestamps(settings: Settings, realm: Realm, clock: Clock, tsa: Credential, key: SigningKey) -> Timestamper:
    if settings.tsa_url:
        private = frozenset(name.strip() for name in settings.outbound_private.split(",") if name.strip())
        return ExternalTimestampAuthority(
            url=settings.tsa_url, anchors=stamping_anchors(settings, realm), outbound=Outbound(private=private),
            clock=clock,
        )  # fmt: skip
    assert tsa.certificate is not None
    return EmbeddedTimestampAuthority(key=key, certificate=tsa.certificate, chain=tsa.chain[:-1], clock=clock)


def _jobs(settings: Settings, clock: Clock, copies: CopyDesk) -> Jobs:
    from core.jobs.durable import DurableJobs  # noqa: PLC0415  (half a second that other roles need not wait)

    async def advance(copy_id: str, note: Note) -> str:
        return (await copies.advance(copy_id, note)).id

    jobs = DurableJobs(
        database=settings.jobs_database, executor=settings.executor_id, locks=settings.home / "executors", clock=clock
    )
    jobs.serve("copy", advance)
    return jobs


async def examine(settings: Settings) -> list[tuple[str, bool, str]]:
    """``doctor``: each thing, whether it is well, and why."""
    rows: list[tuple[str, bool, str]] = []
    free = shutil.disk_usage(settings.home if settings.home.exists() else Path()).free // 2**20
    rows.append(("disk", free > 500, f"{free} MiB free"))
    async with make_sandbox() as sandbox:
        rows += [
            (f"sandbox.{name}", good, "on" if good else "missing in this kernel")
            for name, good in sandbox.features().items()
        ]
    if not is_home(settings.home):
        return [*rows, ("home", False, f"no home at {settings.home}")]
    async with open_service(settings, ProcessRole.WEB) as service:  # looks on; takes no job and touches no key
        rows.append(("home", True, f"{settings.home} · realm {service.realm}"))
        rows.append(("database", True, "sqlite" if service.db.is_sqlite else "postgresql"))
        rows.append(("log", True, f"{await service.log.size()} leaves"))
        rows.append(_keys(settings))
    return rows


def _keys(settings: Settings) -> tuple[str, bool, str]:
    try:
        _store(settings)
    except ServiceError as error:
        return "key store", False, error.say("en")
    return "key store", True, "software: not for production / không dùng cho vận hành thật"
