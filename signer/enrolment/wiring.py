"""Settings → enrolment's parts. The only file here that reads settings."""

import datetime as dt
import hashlib
import hmac

import httpx2

from audit.log import Log
from core.clock import Clock
from core.db import Database
from core.directory.records import Directory
from core.errors import BadInput
from core.outbound import Outbound, is_secure, named
from core.sealed import Box
from core.settings import Settings
from core.values import Realm
from signer.activation.passkeys import RelyingParty
from signer.credentials import Credentials, OpenKey
from signer.enrolment.facts import Facts
from signer.enrolment.finishing import Finishing
from signer.enrolment.identity import Identities, Rules
from signer.enrolment.keys import PersonKeys
from signer.enrolment.known import KnownPasskeys
from signer.enrolment.letters import Letters
from signer.enrolment.losses import Losses
from signer.enrolment.messenger import FolderMessenger, Messenger, NoMessenger, SmtpMessenger
from signer.enrolment.officials import Officials
from signer.enrolment.oidc import ClaimMap, Provider
from signer.enrolment.openings import Openings
from signer.enrolment.people import People
from signer.enrolment.phones import Phones
from signer.enrolment.vouching import Vouching
from signer.keystores.model import KeyStore

__all__ = ["TRAINING_PATH", "make_messenger", "make_phones", "make_provider"]

TRAINING_PATH = "/training/identity"
"""Where the simulated provider is mounted on the signing origin, in realm training alone."""


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip() for word in text.split(",") if word.strip())


class _OwnDoor(Outbound):
    """In training the signer asks at its own door; names under ``localhost`` are this machine (RFC 6761 §6.3)."""

    async def _resolve(self, url: httpx2.URL) -> str:
        if url.host.endswith(".localhost") and is_secure(str(url), self._private):
            return "127.0.0.1"
        return await super()._resolve(url)


def make_provider(settings: Settings, realm: Realm, clock: Clock, outbound: Outbound) -> Provider | None:
    """The provider that the settings name; in training our simulated one where they name none. Raises ``identity.*``."""
    origin = settings.sign_url.rstrip("/")
    issuer = settings.identity_issuer or (f"{origin}{TRAINING_PATH}" if realm is Realm.TRAINING else "")
    if not issuer:
        return None
    if realm is Realm.PRODUCTION and issuer.rstrip("/").endswith(TRAINING_PATH):
        raise BadInput("identity.training_issuer")
    own = _own_provider(settings, realm)
    private = named(settings.outbound_private) | own
    levels = _words(settings.identity_levels)
    if realm is Realm.PRODUCTION and not levels:  # any level would do: nobody may choose that by leaving a line out
        raise BadInput("identity.no_levels")
    addresses = [issuer, settings.identity_userinfo.partition(":")[2].partition(":")[2]]
    if not all(is_secure(url, private) for url in addresses if url):
        raise BadInput("identity.insecure")
    secret = settings.identity_client_secret
    return Provider(
        issuer=issuer, client_id=settings.identity_client_id, client_secret=secret.get_secret_value() if secret else "",
        redirect_uri=f"{origin}/e/back", scope=settings.identity_scope, claims=ClaimMap.parse(settings.identity_claims),
        levels=levels | _words(settings.identity_official_levels) if levels else levels, userinfo=settings.identity_userinfo,
        outbound=_OwnDoor(private=own) if own else outbound, own_outbound=bool(own), private=private, clock=clock, realm=realm,
    )  # fmt: skip


def _own_provider(settings: Settings, realm: Realm) -> frozenset[str]:
    """In training the signer asks itself: its own door counts as an inner service that is meant."""
    if realm is not Realm.TRAINING or settings.identity_issuer:
        return frozenset()
    scheme, _, place = settings.sign_url.rstrip("/").partition("://")
    return frozenset({place if ":" in place else f"{place}:{443 if scheme == 'https' else 80}"})


def make_messenger(settings: Settings, realm: Realm, clock: Clock) -> Messenger:
    """A relay, in training a folder, or none."""
    if settings.mail_host:
        password = settings.mail_password
        return SmtpMessenger(
            host=settings.mail_host, port=settings.mail_port, starttls=settings.mail_starttls, user=settings.mail_user,
            password=password.get_secret_value() if password else "", clock=clock,
            sender=settings.mail_from or f"no-reply@{settings.host}",
        )  # fmt: skip
    return FolderMessenger(folder=settings.home / "mail", clock=clock) if realm is Realm.TRAINING else NoMessenger()


def make_phones(
    settings: Settings, realm: Realm, clock: Clock, db: Database, *, directory: Directory, credentials: Credentials,
    store: KeyStore, open_key: OpenKey, log: Log, relying_party: RelyingParty, key: bytes, outbound: Outbound,
) -> Phones:  # fmt: skip
    """The desk of enrolment. ``key``: the 32 bytes of ``settings.people_key``. Raises ``identity.*``."""
    people = People(clock=clock, directory=directory, credentials=credentials, key=key)
    messenger = make_messenger(settings, realm, clock)
    facts = Facts(clock=clock, log=log, realm=realm)
    letters = Letters(db=db, clock=clock, people=people, messenger=messenger, box=Box(key, "letters"))
    keys = PersonKeys(
        db=db, clock=clock, realm=realm, store=store, open_key=open_key, credentials=credentials,
        base_url=settings.pki_base,
    )  # fmt: skip
    levels = _words(settings.identity_levels)
    rules = Rules(
        delay=dt.timedelta(hours=settings.enrol_delay_hours), levels=levels,
        official_levels=_words(settings.identity_official_levels) or levels,
    )  # fmt: skip
    openings = Openings(clock=clock, realm=realm, people=people, facts=facts)
    secret = hmac.digest(key, b"dauso/identities", hashlib.sha256)
    identities = Identities(
        db=db, clock=clock, directory=directory, people=people, openings=openings, rules=rules, key=secret,
        provider=make_provider(settings, realm, clock, outbound),
    )  # fmt: skip
    vouching = Vouching(
        db=db, clock=clock, realm=realm, people=people, openings=openings, messenger=messenger, letters=letters, key=secret,
        levels=_words(settings.enrol_portal_levels),
    )  # fmt: skip
    losses = Losses(db=db, clock=clock, people=people, keys=keys, facts=facts, letters=letters)
    finishing = Finishing(
        db=db, clock=clock, rules=rules, people=people, keys=keys, facts=facts, letters=letters, losses=losses,
        origin=relying_party.origin,
    )  # fmt: skip
    return Phones(
        db=db, clock=clock, realm=realm, directory=directory, people=people, identities=identities, vouching=vouching,
        keys=keys, losses=losses, finishing=finishing, letters=letters, facts=facts, relying_party=relying_party,
        known=KnownPasskeys(
            db=db, clock=clock, realm=realm, relying_party=relying_party, identities=identities, losses=losses, letters=letters
        ),
        officials=Officials(db=db, clock=clock, people=people, keys=keys, losses=losses, key=secret),
    )  # fmt: skip
