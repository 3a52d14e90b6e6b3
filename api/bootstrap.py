"""Turns one frozen ``Settings`` into one ``Service``; alone knows concrete classes. Importing does nothing.

By process role (design §2): only ``SIGNER`` opens the key store and may sign; ``WEB`` reads and serves; a check without
a home builds a sandbox alone.
"""

import asyncio
import gc
import json
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from cryptography.hazmat.primitives.serialization import Encoding

from api.keystores import KeyRing, open_ring
from api.roles import WEB_HIDDEN, WEB_WRITES, ProcessRole
from api.secrets import is_home
from api.signing import Records, SignerParts, highwater_of, make_enrolment, open_signer
from audit.log import LogReader
from audit.release import LogRelease
from core.certificates import Certificate
from core.clock import Clock, SystemClock
from core.db import Database
from core.directory.records import Directory
from core.errors import Broken, NotFound, Refused, ServiceError
from core.formats.note import NoteKey
from core.jobs import Jobs
from core.limits import LIMITS
from core.logs import logger
from core.objects import Documents
from core.sandbox import Sandbox
from core.settings import Settings
from core.values import Realm
from signer.copies import store
from signer.copies.closing import BookDesk
from signer.copies.desk import CopyDesk
from signer.copies.facts import RegisterFacts
from signer.copies.notices import Notices
from signer.copies.publication import Publisher
from signer.copies.recalls import Recalls
from signer.copies.reception import Reception
from signer.copies.register import Register
from signer.credentials import Credentials
from signer.enrolment import Enrolment
from signer.keystores.model import KeyPurpose
from signer.keystores.registry import Registry
from signer.keystores.software import make_key_file

__all__ = [
    "PRELOAD",
    "Service",
    "create_home",
    "demo_needs_training",
    "examine",
    "examine_keys",
    "is_home",
    "make_sandbox",
    "open_frozen",
    "open_service",
    "open_tables",
    "require_narrow_rights",
    "signer_work",
    "upgrade_home",
]

PRELOAD = (
    "signer.copies.intake.work:warm",
    "verification.engine.codes:warm",
    "verification.worker:warm",
    "signer.papers.work:warm",
    "signer.decisions.preview:warm",
)
"""What reads hostile bytes, as ``module:function``. Behind the walls no file can be opened, so nothing else is imported there."""


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
        return self.parts().copies

    @property
    def enrolment(self) -> Enrolment:
        """Enrolment; only where keys may be made."""
        return self.parts().enrolment

    @property
    def books(self) -> BookDesk:
        """Closing of books; only where keys may be used."""
        return self.parts().books

    @property
    def publisher(self) -> Publisher:
        """The public lists; only where keys may be used."""
        return self.parts().publisher

    @property
    def reception(self) -> Reception:
        """Takes portals' requests; only where keys may be used."""
        return self.parts().reception

    @property
    def recalls(self) -> Recalls:
        """Recalls by a named person; only where keys may be used."""
        return self.parts().recalls

    @property
    def jobs(self) -> Jobs:
        """Durable work; only where keys may be used."""
        return self.parts().jobs

    def parts(self) -> "SignerParts":
        """What the signer role holds."""
        if self.signing is None:
            raise Broken("home.role", role=self.role)
        return self.signing

    async def log_tail(self, last: int) -> list[dict[str, Any]]:
        """The newest leaves, decoded."""
        size = await self.log.size()
        return [{"index": i, **json.loads(e)} for i, e in await self.log.entries(max(0, size - last), size)]


def demo_needs_training() -> Refused:
    """The refusal to make practice papers in a real home."""
    return Refused("home.not_training")


@asynccontextmanager
async def make_sandbox() -> AsyncIterator[Sandbox]:
    """A running sandbox with the readers of hostile bytes loaded."""
    async with Sandbox(preload=PRELOAD) as sandbox:
        yield sandbox


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    return config


async def upgrade_home(settings: Settings) -> None:
    """Bring the tables to this release; harmless where they are. Nothing else may run meanwhile."""
    async with Database(settings.database) as db:
        await _migrate(db)
        async with db.write() as uow:  # keys made before there was a registry
            await Registry(SystemClock()).fill(uow)


async def _require_current(db: Database) -> None:
    """Raise ``home.old_tables`` unless the tables are those of this release."""
    newest = ScriptDirectory.from_config(_alembic()).get_current_head()
    async with db.read() as uow:
        now = (await uow.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if now != newest:
        raise Refused("home.old_tables", now=now, newest=newest)


async def _migrate(db: Database) -> None:
    config = _alembic()

    def run(connection: Any) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async with db.write() as uow:
        await uow.run_sync(run)


async def create_home(settings: Settings, realm: Realm) -> Path:
    """Database, keys, certificates, log; returns the root certificate's file. Raises ``home.exists``."""
    home = settings.home
    if is_home(home):
        raise Broken("home.exists")
    for folder in ("db", "objects"):
        (home / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    if settings.keys == "software" and settings.key_passphrase is None and settings.key_file is None:
        make_key_file(home / "key-file")
    clock = SystemClock()
    async with Database(settings.database) as db:
        await _migrate(db)
    async with Database(settings.database) as db, open_ring(settings, clock, db) as keys:
        enrolment = make_enrolment(settings, realm, clock, db, Records(clock), keys.booked, keys.open)
        root = await enrolment.service_keys()
        assert root.certificate is not None
        pem = Certificate.parse(root.certificate).parsed.public_bytes(Encoding.PEM)
        (home / "pki").mkdir(exist_ok=True)
        anchor = home / "pki" / "root.pem"
        anchor.write_bytes(pem)
        (home / "home.json").write_text(json.dumps({"realm": realm.value}))
        async with open_service(settings, ProcessRole.SIGNER, ring=keys):  # a wrapped secret id opens the stores once
            return anchor


def _require_home(settings: Settings) -> None:
    if not is_home(settings.home):
        raise NotFound("home.missing", home=str(settings.home))


@asynccontextmanager
async def open_tables(settings: Settings) -> AsyncIterator[Database]:
    """A home's tables alone; opens no key. Raises ``home.missing``, ``home.old_tables``."""
    _require_home(settings)
    async with Database(settings.database) as db:
        await _require_current(db)
        yield db


@asynccontextmanager
async def open_frozen(settings: Settings) -> AsyncIterator[LogRelease]:
    """The log alone, which need not follow its mark: for the ceremony that releases it. Opens no key. Raises ``home.missing``."""
    async with open_tables(settings) as db:
        yield LogRelease(db=db, origin=settings.origin, clock=SystemClock(), highwater=highwater_of(settings))


@asynccontextmanager
async def open_service(
    settings: Settings, role: ProcessRole, clock: Clock | None = None, ring: KeyRing | None = None
) -> AsyncIterator[Service]:
    """A running service; a signer uses the key stores of ``ring`` where they are open already.

    Raises ``home.missing``, ``log.frozen`` and what its parts raise.
    """
    _require_home(settings)
    realm = Realm(json.loads((settings.home / "home.json").read_text())["realm"])
    clock = clock or SystemClock()
    rights = () if role is ProcessRole.SIGNER else (WEB_WRITES, WEB_HIDDEN)
    async with Database(settings.database, *rights) as db, make_sandbox() as sandbox, AsyncExitStack() as held:
        await _require_current(db)
        parts = Records(clock)
        documents = Documents.open(settings.objects_url, settings.home)
        async with db.read() as uow:
            root = await parts.credentials.of(uow, "root", KeyPurpose.CA)
            log_key = await parts.credentials.of(uow, "log", KeyPurpose.LOG)
        assert root.certificate is not None
        vkey = str(NoteKey(settings.origin, log_key.key.spki[-32:]))
        signing = None
        log: LogReader = LogReader(db=db, origin=settings.origin)
        if role is ProcessRole.SIGNER:
            if ring is None:
                ring = await held.enter_async_context(open_ring(settings, clock, db))
            signing = await open_signer(settings, realm, clock, db, parts, documents, sandbox, log_key, ring)
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
            async with _at_work(db, clock, signing.jobs):
                yield service
                await _last_notices(signing.notices)


async def _last_notices(notices: Notices) -> None:
    """A command that releases or recalls leaves lists behind that say so; the next process tries again if it cannot."""
    try:
        await notices.flush()
    except ServiceError as error:
        logger().warning("lists.not_published", code=error.code)


def signer_work(service: Service) -> list[Callable[[], Coroutine[Any, Any, None]]]:
    """What a signer process does by itself, each until cancelled."""
    parts = service.parts()
    return [
        parts.reception.serve, parts.reception.hold, parts.batches.serve, parts.notices.serve, parts.requests.serve,
        parts.decisions.serve, parts.phones.serve, parts.key_work.serve, parts.seals.serve, parts.findings.serve,
    ]  # fmt: skip


async def require_narrow_rights(service: Service) -> None:
    """On PostgreSQL the web's user must not be able to write what its role may not. Raises ``home.web_rights``.

    On SQLite the connection itself refuses. In training wide rights are only said, so that a demo needs one user.
    """
    if service.db.is_sqlite:
        return
    async with service.db.read() as uow:
        wide = await uow.exec_driver_sql("SELECT has_table_privilege(current_user, 'activation', 'INSERT, UPDATE')")
        if not wide.scalar_one():
            return
    if service.realm is Realm.PRODUCTION:
        raise Refused("home.web_rights")
    logger().warning("web.wide_rights", role=service.role)


@asynccontextmanager
async def _at_work(db: Database, clock: Clock, jobs: Jobs) -> AsyncIterator[None]:
    """Jobs run; copies that a dead process left are taken on without anybody asking."""
    await jobs.start()
    try:
        async with db.read() as uow:
            left = await store.interrupted(uow, clock.now())
        known = {key for _, key in await jobs.under_way()}
        # A crash between a copy's row and its job leaves the row alone: start what no job knows.
        orphans = [asyncio.create_task(jobs.run("copy", copy_id)) for copy_id in left if copy_id not in known]
        yield
        await jobs.settle(LIMITS["jobs.settle_seconds"])
        await asyncio.gather(*orphans, return_exceptions=True)
    finally:
        await jobs.stop()


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
    return [*rows, *await examine_keys(settings)]


async def examine_keys(settings: Settings) -> list[tuple[str, bool, str]]:
    """``doctor keys``: stores, rights and keys alone."""
    from api.doctor_keys import look  # noqa: PLC0415 - a tenth of a second that no other command need wait for

    if not is_home(settings.home):
        return [("home", False, f"no home at {settings.home}")]
    return await look(settings)
