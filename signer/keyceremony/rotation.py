"""Rotation: a new key and certificate beside the old ones, and a time at which the new ones take over.

Until then nothing changes. From then on ``Credentials.of`` gives the new key; the old one still signs what was opened with
it, for ``keys.overlap_seconds``, and then only its signatures live on. Nothing that was prepared with one key is ever signed
with the other: orders name their credential, and a credential names one version of one key.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from ca_bridge import records as ca
from ca_bridge.authorities.embedded import Subject
from core.certificates import Certificate
from core.clock import VIETNAM
from core.db import UnitOfWork
from core.errors import BadInput, Conflict, Refused
from core.limits import LIMITS
from signer.credentials import Credential
from signer.enrolment.house import SERVICE, Enrolment, Made
from signer.enrolment.keys import SUPERSEDED
from signer.keystores.model import KeyPurpose

__all__ = ["ROTATABLE", "Rotated", "Rotation"]

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
    """The old credential and the one that follows."""

    old: Credential
    new: Credential
    at: dt.datetime
    needs_restart: bool
    """Signer processes take the new key when they start after ``at``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Makes keys that follow others."""

    enrolment: Enrolment

    async def rotate(self, owner: str, purpose: KeyPurpose, at: dt.datetime | None = None) -> Rotated:
        """``owner``: an agency's code or a service key's name; ``at``: None for now, QR keys always now.

        Raises ``keys.log_key_stays``, ``keys.ca_key_stays``, ``keys.person_enrols``, ``keys.switch_time``,
        ``keys.rotation_waits``, ``directory.*``, ``credential.*``, ``ca.*``, ``key.*``.
        """
        self.require_rotatable(purpose)
        when = self._when(at)
        if purpose is KeyPurpose.QR:
            if at is not None:
                raise BadInput("keys.qr_at_once")
            return await self._qr(owner)
        enrolment = self.enrolment
        async with enrolment.db.read() as uow:
            owner_id, subject, profile = await self._whose(uow, owner, purpose)
            await self._require_none_waits(uow, owner_id, purpose)
            issuing = await enrolment.credentials.of(uow, "issuing", KeyPurpose.CA)
        made = await enrolment.make(purpose, profile, subject, issuing)
        try:
            async with enrolment.db.write() as uow:
                old = await enrolment.credentials.of(uow, owner_id, purpose)
                await self._require_none_waits(uow, owner_id, purpose)
                new = await enrolment.keep(uow, owner_id, made, active_from=max(when, enrolment.clock.now()))
        except BaseException:
            await self._forget(made)
            raise
        assert new.active_from is not None
        return Rotated(old=old, new=new, at=new.active_from, needs_restart=purpose in _AT_START)

    @staticmethod
    def require_rotatable(purpose: KeyPurpose) -> None:
        """Raises ``keys.log_key_stays``, ``keys.ca_key_stays``, ``keys.person_enrols``."""
        if purpose not in ROTATABLE:
            raise Refused(_STAYS[purpose])

    def _when(self, at: dt.datetime | None) -> dt.datetime:
        now = self.enrolment.clock.now()
        if at is None:
            return now
        latest = now + dt.timedelta(days=LIMITS["keys.switch_days"])
        if not now <= at <= latest:
            raise BadInput("keys.switch_time", latest=f"{latest.astimezone(VIETNAM):%d/%m/%Y %H:%M}")
        return at

    async def _whose(self, uow: UnitOfWork, owner: str, purpose: KeyPurpose) -> tuple[str, Subject, str]:
        """(owner's id, subject, certificate's profile)."""
        if purpose is KeyPurpose.SEAL:
            agency = await self.enrolment.directory.agency(uow, owner)
            return agency.id, Subject(common_name=agency.name, organisation=agency.name), "seal"
        if owner not in SERVICE or (await self.enrolment.credentials.of(uow, owner, purpose)).certificate is None:
            raise BadInput("keys.no_such_owner", owner=owner, purpose=purpose)
        return owner, self.enrolment.subject(owner), owner

    async def _require_none_waits(self, uow: UnitOfWork, owner_id: str, purpose: KeyPurpose) -> None:
        """One switch at a time: with two nobody could say which key is the next."""
        waiting = await self.enrolment.credentials.waiting(uow, owner_id, purpose)
        if waiting is not None:
            assert waiting.active_from is not None
            raise Conflict("keys.rotation_waits", at=f"{waiting.active_from.astimezone(VIETNAM):%d/%m/%Y %H:%M}")

    async def _qr(self, code: str) -> Rotated:
        enrolment = self.enrolment
        async with enrolment.db.read() as uow:
            agency = await enrolment.directory.agency(uow, code)
            old = await enrolment.credentials.of(uow, agency.id, KeyPurpose.QR)
        await enrolment.renew_qr_key(code)
        async with enrolment.db.read() as uow:
            new = await enrolment.credentials.of(uow, agency.id, KeyPurpose.QR)
        return Rotated(old=old, new=new, at=new.created_at, needs_restart=False)

    async def _forget(self, made: Made) -> None:
        """It never becomes anybody's: the certificate is revoked, the key out of use."""
        async with self.enrolment.db.write() as uow:
            await ca.revoke(uow, Certificate.parse(made.certificate).serial, SUPERSEDED, self.enrolment.clock.now())
        await self.enrolment.store.disable(made.key)
