"""Whom the check trusts, and when it looks."""

import base64
import datetime as dt
from dataclasses import dataclass
from typing import Any, Self

from core.values import Realm

__all__ = ["Policy", "TrustAnchor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustAnchor:
    """A root certificate (DER), its realm, optionally the time in which it is trusted, and for what."""

    certificate: bytes
    realm: Realm
    valid_from: dt.datetime | None = None
    valid_until: dt.datetime | None = None
    timestamps_only: bool = False
    """A root of an external time-stamping authority says nothing about who signed."""

    def to_json(self) -> dict[str, Any]:
        """For the sandbox."""
        return {
            "certificate": base64.b64encode(self.certificate).decode(),
            "realm": self.realm.value,
            "valid_from": None if self.valid_from is None else self.valid_from.isoformat(),
            "valid_until": None if self.valid_until is None else self.valid_until.isoformat(),
            "timestamps_only": self.timestamps_only,
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """Inverse of ``to_json``."""

        def time(name: str) -> dt.datetime | None:
            return None if row[name] is None else dt.datetime.fromisoformat(row[name])

        return cls(
            certificate=base64.b64decode(row["certificate"]),
            realm=Realm(row["realm"]),
            valid_from=time("valid_from"),
            valid_until=time("valid_until"),
            timestamps_only=bool(row["timestamps_only"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Anchors and the time of judging; no anchor means nothing is ever genuine."""

    anchors: tuple[TrustAnchor, ...]
    at: dt.datetime
    language: str = "vi"
