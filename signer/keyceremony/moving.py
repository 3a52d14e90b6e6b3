"""The same key in another place: out of encrypted files into OpenBao or Vault, as two administrators decided (``key.move``).

For keys that no other may follow, the log's and those of the authorities, and for others where the same key is wanted: its
certificate, the log's name and every public link stay. Steps, and what a crash between them leaves:

1. *carry* the private key is wrapped in memory for the server alone and imported, never to leave it. Its name is the
   decision's id: who begins anew finds it there and goes on with it.
2. *prove* it signs, and the certificate (or the public key) in use verifies that. Nothing rests on the key before.
3. *settle* one transaction: registry, permission spent, and every credential of the key names the new place.

A process that read the old place before goes on there until it starts anew: the same key signs the same. Orders name their
credential and its public key, not the place. The files remain until two administrators end the old entry of the registry:
no credential names it any more, so no certificate ends with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from audit.log import LogReader
from core.certificates import Certificate
from core.errors import NotFound, Refused, Unavailable
from signer.credentials import Credential
from signer.enrolment.house import Enrolment
from signer.keyceremony.importing import Caller, Importing
from signer.keystores.allowed import SERVICES, AllowedImport, Imports, require_movable
from signer.keystores.model import KeyPurpose, KeyRef, StoredKey
from signer.keystores.proof import prove_public
from signer.keystores.registry import KnownKey, Registry

__all__ = ["Files", "Leaving", "Moved", "Moving"]


class Files(Protocol):
    """The software store: the only one whose keys can be read."""

    def reveal(self, ref: KeyRef) -> Any:
        """The private key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """A key in files that may go."""

    credential: Credential
    key: KnownKey
    allowed: AllowedImport


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What came of it."""

    old: KnownKey
    new_id: str
    """Of its new entry in the registry."""
    credentials: tuple[Credential, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """Signer role only."""

    enrolment: Enrolment
    log: LogReader

    async def find(self, owner: str) -> Leaving:
        """The key that is used now, and the decision about it. ``owner``: a service key's name, or an agency's code for its QR key.

        Raises ``keys.not_in_files``, ``keys.move_not_decided``, ``key.import_*``, ``key.stopped``, ``key.disabled``,
        ``directory.no_such_agency``.
        """
        enrolment, purpose = self.enrolment, SERVICES.get(owner, KeyPurpose.QR)
        async with enrolment.db.read() as uow:
            owner_id = owner if owner in SERVICES else (await enrolment.directory.agency(uow, owner)).id
            credential = await enrolment.credentials.of(uow, owner_id, purpose)
            key = await Registry(enrolment.clock).find(uow, credential.key)
            require_movable(key)
            try:
                allowed = await Imports(enrolment.clock).find(uow, enrolment.realm, key.ref.spki, moves=True)
            except NotFound as error:
                raise Refused("keys.move_not_decided") from error
        decided = allowed.owner, allowed.purpose, allowed.algorithm, allowed.certificate
        if decided != (key.owner, purpose, key.ref.algorithm, credential.certificate):
            raise Refused("key.import_other")
        return Leaving(credential=credential, key=key, allowed=allowed)

    async def carry(self, caller: Caller, mounts: Sequence[str], files: Files, leaving: Leaving) -> KeyRef:
        """Step 1; where it is there already nothing is sent. Raises ``vault.*``, ``key.*``."""
        return await self._importing.bring(caller, mounts, files.reveal(leaving.key.ref), leaving.allowed)

    async def settle(self, leaving: Leaving, ref: KeyRef) -> Moved:
        """Steps 2 and 3. Raises ``credential.wrong_key``, ``decision.overtaken``, ``key.*``."""
        clock, old = self.enrolment.clock, leaving.key
        await self._prove(leaving, ref)
        registry = Registry(clock)
        async with self.enrolment.db.write() as uow:
            # held: who ends it waits, and then ends what nobody uses
            await registry.require_usable(uow, old.ref, old.owner)
            new_id = await Imports(clock).use(uow, leaving.allowed, ref)
            if old.decided:
                await registry.set_rule(uow, await registry.get(uow, new_id), old.rule, leaving.allowed.id)
            moved = await self.enrolment.credentials.move(uow, old.ref, ref)
            await registry.happened(uow, old.id, "left", leaving.allowed.id)
        return Moved(old=old, new_id=new_id, credentials=tuple(moved))

    @property
    def _importing(self) -> Importing:
        enrolment = self.enrolment
        return Importing(
            db=enrolment.db, clock=enrolment.clock, realm=enrolment.realm, credentials=enrolment.credentials, store=enrolment.store
        )  # fmt: skip

    async def _prove(self, leaving: Leaving, ref: KeyRef) -> None:
        """With what everybody verifies it: the certificate in use, or the public key. A log's key signs nothing but its log."""
        certificate = leaving.credential.certificate
        spki = leaving.credential.key.spki if certificate is None else Certificate.parse(certificate).spki
        challenge = await self._checkpoint() if ref.purpose is KeyPurpose.LOG else b""
        await prove_public(StoredKey(self.enrolment.store, ref, ref.purpose, leaving.allowed.id), spki, challenge)

    async def _checkpoint(self) -> bytes:
        """The text of the newest one, which the key signed before."""
        note = await self.log.latest_checkpoint()
        if note is None:
            raise Unavailable("log.pending", event="checkpoint")
        return note[: note.rfind("\n\n") + 1].encode()
