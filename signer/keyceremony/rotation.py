"""Rotation: a new key and certificate beside the old ones, and a time at which the new ones take over.

Until then nothing changes. From then on ``Credentials.of`` gives the new key; the old one still signs what was opened with
it, for ``keys.overlap_seconds``, and then only its signatures live on. Nothing that was prepared with one key is ever signed
with the other: orders name their credential, and a credential names one version of one key.

Where the old one has ended, with its certificate revoked after a theft, the new one follows all the same.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from ca_bridge.authorities.embedded import Subject
from core.clock import VIETNAM
from core.db import UnitOfWork
from core.directory.records import Directory
from core.errors import BadInput, Conflict, Refused
from core.limits import LIMITS
from signer.credentials import Credential
from signer.enrolment.house import Enrolment
from signer.keystores.allowed import SERVICES
from signer.keystores.model import KeyPurpose

__all__ = ["ROTATABLE", "Rotated", "Rotation", "owner_of", "require_rotatable"]

ROTATABLE: Final = frozenset({
    KeyPurpose.SEAL, KeyPurpose.QR, KeyPurpose.TSA, KeyPurpose.OCSP, KeyPurpose.LIST, KeyPurpose.REPORT,
})  # fmt: skip
_STAYS: Final = {
    KeyPurpose.LOG: "keys.log_key_stays",
    KeyPurpose.CA: "keys.ca_key_stays",
    KeyPurpose.DOCUMENT: "keys.person_enrols",
}
"""Why others are not: the log's name is its key, a CA's certificates need lists of the same key, a person's key is theirs."""
_AT_START: Final = frozenset({KeyPurpose.TSA, KeyPurpose.OCSP})
"""Keys that a signer process reads once, when it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The last credential and the one that follows."""

    old: Credential | None
    """In force until now; else the newest that was; None where there never was one."""
    new: Credential
    at: dt.datetime
    needs_restart: bool
    """Signer processes take the new key when they start after ``at``."""


def require_rotatable(purpose: KeyPurpose, at: dt.datetime | None, now: dt.datetime) -> None:
    """Without looking at anything else.

    Raises ``keys.log_key_stays``, ``keys.ca_key_stays``, ``keys.person_enrols``, ``keys.qr_at_once``, ``keys.switch_time``.
    """
    if purpose not in ROTATABLE:
        raise Refused(_STAYS[purpose])
    if at is None:
        return
    if purpose is KeyPurpose.QR:
        raise BadInput("keys.qr_at_once")
    latest = now + dt.timedelta(days=LIMITS["keys.switch_days"])
    if not now <= at <= latest:
        raise BadInput("keys.switch_time", latest=f"{latest.astimezone(VIETNAM):%d/%m/%Y %H:%M}")


async def owner_of(uow: UnitOfWork, directory: Directory, owner: str, purpose: KeyPurpose) -> tuple[str, str]:
    """(id, name) of an agency by its code; a service key's name twice. Raises ``directory.no_such_agency``, ``keys.no_such_owner``."""
    if purpose in {KeyPurpose.SEAL, KeyPurpose.QR}:
        agency = await directory.agency(uow, owner)
        return agency.id, agency.name
    if SERVICES.get(owner) is not purpose:
        raise BadInput("keys.no_such_owner", owner=owner, purpose=purpose)
    return owner, owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Makes keys that follow others."""

    enrolment: Enrolment

    async def rotate(self, owner: str, purpose: KeyPurpose, at: dt.datetime | None = None) -> Rotated:
        """``owner``: an agency's code or a service key's name; ``at``: None for now, QR keys always now.

        Raises as ``require_rotatable`` and ``owner_of``, and ``keys.rotation_waits``, ``ca.*``, ``key.*``.
        """
        enrolment = self.enrolment
        credentials, when = enrolment.credentials, at or enrolment.clock.now()
        require_rotatable(purpose, at, enrolment.clock.now())
        if purpose is KeyPurpose.QR:
            old, new = await enrolment.renew_qr_key(owner)
            return Rotated(old=old, new=new, at=new.created_at, needs_restart=False)
        async with enrolment.db.read() as uow:
            owner_id, name = await owner_of(uow, enrolment.directory, owner, purpose)
            await self._require_none_waits(uow, owner_id, purpose)
            issuing = await credentials.of(uow, "issuing", KeyPurpose.CA)
        subject, profile = self._certificate(purpose, name)
        made = await enrolment.make(purpose, profile, subject, issuing)

        async def follow(uow: UnitOfWork) -> tuple[Credential | None, Credential]:
            await credentials.hold(uow, owner_id, purpose)
            await self._require_none_waits(uow, owner_id, purpose)
            old = await credentials.last(uow, owner_id, purpose)
            return old, await enrolment.keep(uow, owner_id, made, active_from=max(when, enrolment.clock.now()))

        old, new = await enrolment.settle(owner_id, made, follow)
        assert new.active_from is not None
        return Rotated(old=old, new=new, at=new.active_from, needs_restart=purpose in _AT_START)

    def _certificate(self, purpose: KeyPurpose, name: str) -> tuple[Subject, str]:
        """Subject and profile."""
        if purpose is KeyPurpose.SEAL:
            return Subject(common_name=name, organisation=name), "seal"
        return self.enrolment.subject(name), name

    async def _require_none_waits(self, uow: UnitOfWork, owner_id: str, purpose: KeyPurpose) -> None:
        """One switch at a time: with two nobody could say which key is the next."""
        waiting = await self.enrolment.credentials.waiting(uow, owner_id, purpose)
        if waiting is not None:
            assert waiting.active_from is not None
            raise Conflict("keys.rotation_waits", at=f"{waiting.active_from.astimezone(VIETNAM):%d/%m/%Y %H:%M}")
