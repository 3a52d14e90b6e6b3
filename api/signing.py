"""What the signer role holds: the key store, the desks, enrolment, jobs. Nothing else may reach a private key."""

from dataclasses import dataclass
from pathlib import Path

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from api.evidence import EmbeddedEvidence
from api.keystores import KeyRing
from api.remote import Basis, RemoteParts, open_remote, outbound_of, remote_providers, shown_at_provider
from audit.highwater import FileHighWater, HighWater
from audit.log import Log
from ca_bridge.records import token_table
from ca_bridge.timestamp.authority import EmbeddedTimestampAuthority
from ca_bridge.timestamp.client import ExternalTimestampAuthority
from core.clock import Clock
from core.db import Database, UnitOfWork
from core.directory.records import Directory
from core.errors import Refused
from core.jobs import Jobs, Note
from core.objects import Documents
from core.sandbox import Sandbox
from core.settings import Settings
from core.signing import Timestamper
from core.values import Realm
from signer.activation import redeem
from signer.activation.devices import passkeys_of
from signer.activation.passkeys import RelyingParty, SoftwarePasskey
from signer.ceremony import SigningDesk
from signer.copies.batches import BatchWork
from signer.copies.closing import BookDesk
from signer.copies.desk import CopyDesk
from signer.copies.inbox import Inbox
from signer.copies.notices import Notices
from signer.copies.pages import Printer
from signer.copies.pictures import Pictures
from signer.copies.publication import Publisher
from signer.copies.recalls import Recalls
from signer.copies.reception import Reception
from signer.copies.register import Register
from signer.credentials import Credential, Credentials, OpenKey
from signer.decisions.desk import Decisions
from signer.decisions.findings import KeyFindings
from signer.enrolment import Enrolment
from signer.enrolment.people import People
from signer.enrolment.phones import Phones
from signer.enrolment.seals import SealProofs
from signer.keystores.model import KeyPurpose, KeyStore
from signer.keystores.stores import KeyStores
from signer.keystores.work import KeyWork
from signer.orders import Orders
from signer.papers import PageCache
from signer.providers.desk import ProviderDesk
from signer.reports.desk import SheetDesk
from signer.requests.desk import RequestDesk
from verification.policy import TrustAnchor

__all__ = [
    "Records",
    "SignerParts",
    "highwater_of",
    "make_enrolment",
    "open_signer",
    "relying_party",
    "stamping_anchors",
]


def relying_party(settings: Settings) -> RelyingParty:
    """The signer's own origin: a log-in passkey of the portal's origin is none of its passkeys."""
    return RelyingParty(httpx2.URL(settings.sign_url).host, settings.sign_url.rstrip("/"))


def highwater_of(settings: Settings) -> HighWater:
    """The log's mark."""
    return FileHighWater(settings.highwater or settings.home / "highwater" / "mark.json")


class Records:
    """The registers that every role reads."""

    def __init__(self, clock: Clock) -> None:
        self.directory = Directory(clock)
        self.register = Register(clock)
        self.credentials = Credentials(clock)


def _passkey_path(settings: Settings, person_id: str) -> Path:
    return settings.home / "training-passkeys" / person_id


class TrainingHand:
    """Satisfies ``signer.asking.Approver``: a software passkey under the home answers (the class refuses any other realm)."""

    def __init__(self, settings: Settings, clock: Clock, db: Database, rp: RelyingParty) -> None:
        self._settings, self._clock, self._db, self._rp = settings, clock, db, rp

    async def stands_in_for(self, uow: UnitOfWork, person_id: str) -> bool:
        """Until the person practises with a real phone."""
        if not _passkey_path(self._settings, person_id).is_file():
            return False
        return all(p.kind == SoftwarePasskey.kind for p in await passkeys_of(uow, person_id) if p.state == "active")

    async def answer(self, person_id: str, tx: str, challenge: bytes) -> None:
        """Approve, as the person's phone would."""
        passkey = SoftwarePasskey.load(Realm.TRAINING, _passkey_path(self._settings, person_id).read_bytes())
        async with self._db.write() as uow:
            await redeem.approve(uow, self._clock, self._rp, tx, passkey.answer(challenge, self._rp))


def make_enrolment(
    settings: Settings, realm: Realm, clock: Clock, db: Database, parts: Records, store: KeyStore, open_key: OpenKey
) -> Enrolment:
    """How keys come to their owners; in training passkeys are kept under the home."""

    def keep(person_id: str, dump: bytes) -> None:
        path = _passkey_path(settings, person_id)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_bytes(dump)

    return Enrolment(
        db=db, clock=clock, store=store, open_key=open_key, realm=realm, directory=parts.directory, register=parts.register,
        credentials=parts.credentials, base_url=settings.pki_base, organisation=settings.system_name,
        keep_passkey=keep,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerParts:
    """What only the signer role holds."""

    store: KeyStores
    key_work: KeyWork
    seals: SealProofs
    copies: CopyDesk
    books: BookDesk
    enrolment: Enrolment
    publisher: Publisher
    jobs: Jobs
    reception: Reception
    batches: BatchWork
    notices: Notices
    recalls: Recalls
    evidence: EmbeddedEvidence
    sheets: SheetDesk
    remote: RemoteParts
    findings: KeyFindings

    @property
    def requests(self) -> RequestDesk:
        """Signature requests."""
        return self.remote.requests

    @property
    def phones(self) -> Phones:
        """Enrolment."""
        return self.remote.phones

    @property
    def people(self) -> People:
        """Citizens and officials as enrolment knows them."""
        return self.remote.people

    @property
    def decisions(self) -> Decisions:
        """Four-eyes."""
        return self.remote.decisions

    @property
    def providers(self) -> ProviderDesk:
        """Remote-signing services."""
        return self.remote.providers

    @property
    def pages(self) -> PageCache:
        """Pictures of pages."""
        return self.remote.pages


async def open_signer(
    settings: Settings, realm: Realm, clock: Clock, db: Database, parts: Records, documents: Documents,
    sandbox: Sandbox, log_key: Credential, keys: KeyRing,
) -> SignerParts:  # fmt: skip
    """Log, desks and jobs, wired over opened key stores. Raises ``log.frozen``, ``tsa.no_anchor``."""
    log = Log(
        db=db, origin=settings.origin, key=keys.open(log_key, "log"), clock=clock, highwater=highwater_of(settings)
    )
    await log.open()
    basis = Basis(
        settings=settings, realm=realm, clock=clock, db=db, directory=parts.directory, register=parts.register,
        credentials=parts.credentials, documents=documents, sandbox=sandbox, store=keys.booked, open_key=keys.open, log=log,
        relying_party=relying_party(settings), outbound=outbound_of(settings),
    )  # fmt: skip
    evidence = await _evidence(basis)
    hears: list[RequestDesk] = []  # made below: its desk holds the providers' keys

    def heard(order_id: str) -> None:
        hears[0].heard(order_id)

    providers = remote_providers(basis, heard)
    desk = SigningDesk(
        db=db, clock=clock, credentials=parts.credentials, documents=documents, log=log, open_key=keys.open,
        timestamps=_timestamps(basis, evidence.tsa, keys), relying_party=basis.relying_party, orders=Orders(clock),
        rules=keys.rules, providers=providers.keys(lambda order_id: shown_at_provider(db, order_id)),
    )  # fmt: skip
    pictures = Pictures(db, clock, documents, sandbox)
    publisher = Publisher(
        db=db, clock=clock, directory=parts.directory, credentials=parts.credentials, open_key=keys.open
    )
    notices = Notices(db=db, clock=clock, publisher=publisher)
    copies = _copy_desk(basis, desk, evidence, pictures, notices)
    jobs = _jobs(settings, clock, copies)
    reception = Reception(
        db=db, clock=clock, inbox=Inbox(clock), desk=copies, documents=documents, sandbox=sandbox, jobs=jobs
    )
    enrolment = make_enrolment(settings, realm, clock, db, parts, keys.booked, keys.open)
    batches = BatchWork(db=db, reception=reception, jobs=jobs)
    jobs.serve("chunk", batches.chunk)
    assert evidence.root.certificate is not None
    remote = open_remote(
        basis, desk=desk, providers=providers, jobs=jobs, pictures=pictures, validation=evidence,
        anchors=(TrustAnchor(certificate=evidence.root.certificate, realm=realm), *evidence.stampers),
    )  # fmt: skip
    hears.append(remote.requests)
    findings = KeyFindings(
        db=db, clock=clock, realm=realm, room=remote.decisions.room, letters=remote.phones.letters
    )  # fmt: skip
    return SignerParts(
        remote=remote, findings=findings, evidence=evidence, reception=reception, batches=batches,
        store=keys.stores, key_work=KeyWork(db=db, clock=clock, log=log, store=keys.stores),
        seals=SealProofs(db=db, clock=clock, credentials=parts.credentials, store=keys.booked), copies=copies,
        books=BookDesk(signing=desk, pictures=pictures, directory=parts.directory, register=parts.register, checks=evidence,
                       approver=copies.approver, client=copies.client),
        enrolment=enrolment,
        sheets=SheetDesk(signing=desk, enrolment=enrolment, checks=evidence, realm=realm, system=settings.system_name,
                         host=settings.host),
        publisher=publisher, notices=notices,
        recalls=Recalls(db=db, clock=clock, directory=parts.directory, desk=copies, notices=notices),
        jobs=jobs,
    )  # fmt: skip


async def _evidence(basis: Basis) -> EmbeddedEvidence:
    """Of the embedded authority. Raises ``tsa.no_anchor``."""
    credentials = basis.credentials
    async with basis.db.read() as uow:
        return EmbeddedEvidence(
            db=basis.db, clock=basis.clock, open_key=basis.open_key, sandbox=basis.sandbox,
            root=await credentials.of(uow, "root", KeyPurpose.CA), issuing=await credentials.of(uow, "issuing", KeyPurpose.CA),
            ocsp=await _last(credentials, uow, "ocsp", KeyPurpose.OCSP),
            tsa=await _last(credentials, uow, "tsa", KeyPurpose.TSA),
            stampers=stamping_anchors(basis.settings, basis.realm),
        )  # fmt: skip


def _copy_desk(
    basis: Basis, desk: SigningDesk, evidence: EmbeddedEvidence, pictures: Pictures, notices: Notices
) -> CopyDesk:
    settings, training = basis.settings, basis.realm is Realm.TRAINING
    printer = Printer(
        db=basis.db, directory=basis.directory, register=basis.register, credentials=basis.credentials,
        documents=basis.documents, open_key=basis.open_key, sandbox=basis.sandbox, host=settings.host, system=settings.system_name,
    )  # fmt: skip
    return CopyDesk(
        signing=desk, pictures=pictures, directory=basis.directory, register=basis.register, printer=printer, checks=evidence,
        approver=TrainingHand(settings, basis.clock, basis.db, basis.relying_party) if training else None,
        client="dauso-cli", told=notices.mark,
    )  # fmt: skip


async def _last(credentials: Credentials, uow: UnitOfWork, owner: str, purpose: KeyPurpose) -> Credential:
    """Also of a key that has ended: a signer starts with it and says so where it is wanted, and the next can be made."""
    return await credentials.last(uow, owner, purpose) or await credentials.of(uow, owner, purpose)


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


def _timestamps(basis: Basis, tsa: Credential, keys: KeyRing) -> Timestamper:
    settings = basis.settings
    if settings.tsa_url:
        return ExternalTimestampAuthority(
            url=settings.tsa_url, anchors=stamping_anchors(settings, basis.realm), outbound=basis.outbound, clock=basis.clock
        )  # fmt: skip
    assert tsa.certificate is not None
    return EmbeddedTimestampAuthority(
        key=keys.open(tsa, "tsa"), certificate=tsa.certificate, chain=tsa.chain[:-1], clock=basis.clock,
        register=lambda token: keys.book.beside(token.signed, token_table, token.row()),
    )  # fmt: skip


def _jobs(settings: Settings, clock: Clock, copies: CopyDesk) -> Jobs:
    from core.jobs.durable import DurableJobs  # noqa: PLC0415  (half a second that other roles need not wait)

    async def advance(copy_id: str, note: Note) -> str:
        return (await copies.advance(copy_id, note)).id

    jobs = DurableJobs(
        database=settings.jobs_database, executor=settings.executor_id, locks=settings.home / "executors", clock=clock
    )
    jobs.serve("copy", advance)
    return jobs
