"""Signing from the phone, wired: providers, enrolment, requests, decisions, pictures of pages. Signer role only."""

from collections.abc import Callable
from dataclasses import dataclass

from api.clients.access import AgencyAccess
from api.secrets import people_key
from audit.log import Log
from core.clock import Clock
from core.db import Database
from core.directory.records import Directory
from core.jobs import Jobs
from core.objects import Documents
from core.outbound import Outbound, named
from core.sandbox import Sandbox
from core.sealed import Box
from core.settings import Settings
from core.values import Realm
from signer import links, papers
from signer.activation.passkeys import RelyingParty
from signer.ceremony import SigningDesk
from signer.copies.pictures import Pictures
from signer.copies.register import Register
from signer.credentials import Credentials, OpenKey
from signer.decisions.desk import Decisions
from signer.decisions.room import Room
from signer.enrolment.people import People
from signer.enrolment.phones import Phones
from signer.enrolment.wiring import make_phones
from signer.keystores.model import KeyStore
from signer.papers import PageCache
from signer.providers.desk import ProviderDesk
from signer.providers.opening import open_providers, provider_anchors
from signer.requests import store
from signer.requests.desk import RequestDesk
from signer.requests.parts import Validation
from verification.policy import TrustAnchor

__all__ = ["Basis", "RemoteParts", "open_remote", "remote_providers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a signer has before anything of this."""

    settings: Settings
    realm: Realm
    clock: Clock
    db: Database
    directory: Directory
    register: Register
    credentials: Credentials
    documents: Documents
    sandbox: Sandbox
    store: KeyStore
    open_key: OpenKey
    log: Log
    relying_party: RelyingParty
    outbound: Outbound


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteParts:
    """Desks of what phones do."""

    providers: ProviderDesk
    requests: RequestDesk
    phones: Phones
    decisions: Decisions
    pages: PageCache

    @property
    def people(self) -> People:
        """Citizens and officials as enrolment knows them."""
        return self.phones.people


def remote_providers(basis: Basis, settled: Callable[[str], None]) -> ProviderDesk:
    """Before the signing desk, which holds their keys; ``settled`` hears of orders that a provider has answered."""
    return open_providers(
        basis.settings, realm=basis.realm, db=basis.db, clock=basis.clock, credentials=basis.credentials,
        directory=basis.directory, open_key=basis.open_key, box=Box(people_key(basis.settings), "providers"),
        outbound=basis.outbound, settled=settled,
    )  # fmt: skip


def open_remote(
    basis: Basis, *, desk: SigningDesk, providers: ProviderDesk, jobs: Jobs, pictures: Pictures, validation: Validation,
    anchors: tuple[TrustAnchor, ...],
) -> RemoteParts:  # fmt: skip
    """``anchors``: roots that our own signatures and their time-stamps lead to. Raises what the settings of its parts raise."""
    settings = basis.settings
    phones = make_phones(
        settings, basis.realm, basis.clock, basis.db, directory=basis.directory, credentials=basis.credentials,
        store=basis.store, open_key=basis.open_key, log=basis.log, relying_party=basis.relying_party,
        key=people_key(settings), outbound=basis.outbound,
    )  # fmt: skip
    requests = RequestDesk(
        signing=desk, directory=basis.directory, sandbox=basis.sandbox, papers=papers, links=links, validation=validation,
        anchors=(*anchors, *provider_anchors(settings, basis.realm)), pictures=pictures, remote=providers.credential, jobs=jobs,
    )  # fmt: skip
    jobs.serve("step", requests.advance)
    room = Room(
        clock=basis.clock, directory=basis.directory, register=basis.register, documents=basis.documents,
        sandbox=basis.sandbox, clients=AgencyAccess(), phones=phones, host=settings.host, system=settings.system_name,
        keys_agency=settings.keys_agency,
    )  # fmt: skip
    decisions = Decisions(
        db=basis.db, clock=basis.clock, realm=basis.realm, log=basis.log, relying_party=basis.relying_party, room=room
    )
    pages = PageCache(sandbox=basis.sandbox, load=basis.documents.get)
    return RemoteParts(providers=providers, requests=requests, phones=phones, decisions=decisions, pages=pages)


async def shown_at_provider(db: Database, order_id: str) -> str:
    """What the provider's app shows its person: the request's title, short."""
    async with db.read() as uow:
        step = await store.step_of_order(uow, order_id)
        return "" if step is None else (await store.of_step(uow, step)).title[:100]


def outbound_of(settings: Settings) -> Outbound:
    """One client of the process, with its inner services named."""
    return Outbound(private=named(settings.outbound_private))
