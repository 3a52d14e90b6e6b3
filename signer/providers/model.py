"""The port that every signing service stands behind, and the values that cross it.

A service takes the digest of the CMS signed attributes, asks the person on its own app, and gives a signature value when
it is asked again. What comes back counts for nothing until ``values.value_of`` has verified it.
"""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from core.values import Digest

__all__ = [
    "Asked",
    "Outcome",
    "OutcomeState",
    "Provider",
    "ProviderCertificate",
    "Taken",
    "plain_serial",
    "transaction_id",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCertificate:
    """What a service says that a person signs with; nothing of it is checked yet."""

    certificate: bytes
    """DER."""
    chain: tuple[bytes, ...]
    """Issuers as the service sent them, DER, in any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One digest to be signed by one person."""

    transaction_id: str
    user: str = field(repr=False)
    """How the service knows the person: often the national number, so it is never logged nor shown."""
    serial: str
    """Serial number of the certificate, as ``plain_serial`` writes it."""
    digest: Digest
    description: str
    """Shown on the service's app; no personal data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The service has it."""

    tran_code: str = ""
    """The service's own name for the transaction; some ask for it instead of ours."""
    seconds: int | None = None
    """How long the person has, where the service says so."""


class OutcomeState(StrEnum):
    """What a service may say about a transaction."""

    WAITING = "waiting"
    UNKNOWN = "unknown"
    """The service does not know such a transaction."""
    SIGNED = "signed"
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The state, and with ``signed`` what the service calls a signature: a raw value or a CMS, unverified."""

    state: OutcomeState
    value: bytes = b""


class Provider(Protocol):
    """A signing service. Errors: ``provider.unreachable`` (nothing was sent), ``provider.unavailable`` (nobody knows),
    ``provider.not_allowed``, ``provider.rejected``, ``provider.no_certificate``.
    """

    @property
    def name(self) -> str:
        """As it stands in records; the store of its credentials' keys."""

    async def certificates(self, user: str) -> tuple[ProviderCertificate, ...]:
        """At least one. Raises ``provider.no_certificate``."""

    async def submit(self, asked: Asked) -> Taken:
        """Called at most once for a transaction id that may have reached the service."""

    async def outcome(self, asked: Asked, tran_code: str) -> Outcome:
        """What has become of it; never starts anything at a service that asks the person. Harmless to repeat."""


def transaction_id(provider: str, order_id: str) -> str:
    """The same for the same order, so that a lost answer is found again; says nothing about our ids. 32 hex digits."""
    return hashlib.sha256(f"dauso/{provider}/{order_id}".encode()).hexdigest()[:32]


def plain_serial(serial: str | int) -> str:
    """A certificate's serial number in one spelling: hexadecimal, upper case, no separators, no leading zeros."""
    text = f"{serial:X}" if isinstance(serial, int) else re.sub(r"[^0-9A-Fa-f]", "", serial.lower().removeprefix("0x"))
    return text.upper().lstrip("0") or "0"
