"""The decision that a key leaves its files: the same key goes on in OpenBao or Vault, and everything that names it stays.

It only allows: the operator moves it with ``dauso keys move`` (``signer/keyceremony/moving.py``).
"""

from typing import Any, ClassVar

import sqlalchemy as sa

from core.approvals.model import Decision
from core.certificates import Certificate
from core.db import UnitOfWork
from core.directory.model import Agency
from core.errors import Conflict
from core.limits import LIMITS
from signer.decisions.keys import KeyAsked, KeyKind, KeyRecord, key_of, store_name
from signer.decisions.room import Payload, Room, Words, both, date
from signer.keystores.allowed import MOVE, Imports, require_movable
from signer.keystores.registry import KnownKey, Registry

__all__ = ["MoveKey"]

_TO = "transit"


class _MoveRecord(KeyRecord):
    certificate: str
    """SHA-256 of the certificate in use; empty for a raw key."""
    until: int
    """Its end, Unix seconds; 0 for none."""


class MoveKey(KeyKind):
    """One key may go out of the software store's files into OpenBao or Vault, once and soon: the same key, under the same certificate."""

    name: ClassVar[str] = MOVE
    shape: ClassVar[type[Payload]] = _MoveRecord

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``key.unknown``, ``keys.not_in_files``, ``keys.person_enrols``, ``keys.seal_rotates``, ``key.stopped``,
        ``key.disabled``, ``decision.nothing_to_change`` for one that is used no more.
        """
        wanted: KeyAsked = self.proposed(payload)
        key = await key_of(uow, room, agency, wanted.key)
        require_movable(key)
        return {**self.record(key), **_named((await self._in_use(uow, room, key)).certificate)}

    @staticmethod
    async def _in_use(uow: UnitOfWork, room: Room, key: KnownKey) -> sa.Row[Any]:
        """The newest credential that names it. Raises ``decision.nothing_to_change``."""
        rows = [row for row in await Registry(room.clock).credentials(uow, key) if row.state == "active"]
        if not rows:
            raise Conflict("decision.nothing_to_change")
        return rows[-1]

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Which, from where to where, what stays, and what remains behind."""
        wanted: _MoveRecord = self.read(payload)
        said = await self.which(uow, room, agency, wanted)
        if wanted.certificate:
            said += [
                (both("decision.w_certificate_hash"), wanted.certificate),
                (both("decision.w_certificate_end"), date(wanted.until)),
            ]
        return [
            *said,
            (both("decision.w_key_to"), store_name(_TO)),
            (both("decision.w_key_stays"), both("decision.key_same")),
            (both("decision.w_key_behind"), both("decision.key_files_remain")),
            (both("decision.w_key_later"), both("decision.key_move_once", hours=LIMITS["keys.import_hours"])),
        ]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Allowed from now on, for ``keys.import_hours``. Raises ``decision.overtaken``, ``key.unknown``."""
        wanted: _MoveRecord = self.read(decision.payload)
        key = await self.unchanged(uow, room, agency, wanted)
        require_movable(key)
        used = await self._in_use(uow, room, key)
        if _named(used.certificate) != {"certificate": wanted.certificate, "until": wanted.until}:
            raise Conflict("decision.overtaken")
        await Imports(room.clock).allow(
            uow, decision.id, realm=agency.realm, owner=key.owner, purpose=key.ref.purpose, algorithm=key.ref.algorithm,
            spki_sha256=wanted.spki_sha256, certificate=used.certificate,
        )  # fmt: skip
        return {"key": key.id, "import": decision.id}


def _named(der: bytes | None) -> dict[str, Any]:
    if der is None:
        return {"certificate": "", "until": 0}
    certificate = Certificate.parse(der)
    return {"certificate": certificate.sha256.hex(), "until": int(certificate.not_after.timestamp())}
