"""Agencies, people, roles. Frozen; read from ``core.directory.records``."""

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core.errors import Refused
from core.values import Realm, Regime

__all__ = ["Agency", "Authorisation", "Person", "Role"]


class Role(StrEnum):
    """What a person may do for an agency."""

    CERTIFIER = "certifier"
    """Signs the attestation (người thực hiện chứng thực)."""
    CLERK = "clerk"
    """Applies the agency's seal (văn thư, Decree 30/2020 art. 32)."""
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agency:
    """A public body; its seals and codes still verify after it has ended, under the name it had."""

    id: str
    realm: Realm
    code: str
    """Identification code (Decision 20/2020), e.g. ``H55.242``; never parsed for authorisation."""
    name: str
    parent: str
    """Owner of the information system named beside the QR code, e.g. ``UBND tỉnh Thái Nguyên``."""
    valid_from: dt.datetime
    valid_to: dt.datetime | None = None
    successor_id: str | None = None
    wording: dict[str, Any] = field(default_factory=dict)
    """Overrides of ``signer.copies.wording`` defaults: patterns, lines, layout."""

    def require_active(self, at: dt.datetime) -> None:
        """Raise ``directory.agency_ended`` outside the agency's validity."""
        if at < self.valid_from or (self.valid_to is not None and at >= self.valid_to):
            raise Refused("directory.agency_ended", agency=self.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An official or clerk."""

    id: str
    realm: Realm
    agency_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorisation:
    """A role with the instrument that gives it (Decree 280/2025: ủy quyền hoặc phân công)."""

    id: str
    person_id: str
    agency_id: str
    role: Role
    capacity: str
    """Line above the signature, e.g. ``TUQ. CHỦ TỊCH``."""
    number: str
    """Number of the instrument, e.g. ``12/QĐ-UBND``."""
    dated: dt.datetime
    valid_from: dt.datetime
    valid_to: dt.datetime | None
    scope: frozenset[Regime]

    def runs(self, at: dt.datetime) -> bool:
        """True inside its term."""
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)

    def require(self, regime: Regime, at: dt.datetime) -> None:
        """Raise unless the authorisation covers ``regime`` at ``at``; asked again at the moment of signing."""
        if regime not in self.scope:
            raise Refused("directory.out_of_scope", number=self.number)
        if not self.runs(at):
            raise Refused("directory.authorisation_expired", number=self.number)
