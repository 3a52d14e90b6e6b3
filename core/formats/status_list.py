"""Two status bits per copy, per issuer and year, signed as COSE_Sign1 (QR seal, section 6)."""

import datetime as dt
from dataclasses import dataclass
from enum import IntEnum

from core.errors import BadInput, Refused
from core.formats import cbor, cose
from core.signing import SigningKey
from core.values import Digest, SignatureAlgorithm

__all__ = ["Status", "StatusList", "peek", "read", "write"]

_LIMIT = 1 << 22


class Status(IntEnum):
    """Only ``VALID`` ever reads as valid."""

    NOT_ISSUED = 0
    VALID = 1
    RECALLED = 2
    SUPERSEDED = 3


@dataclass(frozen=True, slots=True)
class StatusList:
    """``entries`` holds four indexes a byte, the lowest index in the lowest bits."""

    issuer: str
    year: int
    sequence: int
    issued_at: dt.datetime
    next_update: dt.datetime
    entries: bytes

    def get(self, index: int) -> Status:
        """Status at ``index``; beyond the list: not issued."""
        if not 0 <= index < len(self.entries) * 4:
            return Status.NOT_ISSUED
        return Status(self.entries[index // 4] >> (index % 4 * 2) & 3)

    def stale(self, at: dt.datetime) -> bool:
        """True after ``next_update``."""
        return at > self.next_update


async def write(status: StatusList, key: SigningKey, kid: bytes) -> bytes:
    """The list as COSE_Sign1. Raises ``qr.wrong_key``."""
    if key.algorithm is not SignatureAlgorithm.ECDSA_P256_SHA256:
        raise Refused("qr.wrong_key")
    payload = cbor.encode(
        [status.issuer, status.year, status.sequence, int(status.issued_at.timestamp()),
         int(status.next_update.timestamp()), status.entries]
    )  # fmt: skip
    protected = cose.protected_header(kid)
    der = await key.sign(Digest.of(cose.to_be_signed(protected, payload)))
    return cose.assemble(protected, payload, cose.raw_signature(der))


def peek(data: bytes) -> tuple[str, int]:
    """Whose list and of which year it says it is, unverified: only to find the key. Raises ``qr.status_malformed``."""
    match cbor.decode(cose.parse(data, _LIMIT).payload, _LIMIT):
        case [str(who), int(when), *_]:
            return who, when
    raise BadInput("qr.status_malformed")


def read(data: bytes, spki_der: bytes, issuer: str, year: int, last_seen: int = 0) -> StatusList:
    """Raises ``qr.bad_signature``, ``qr.status_malformed`` (other issuer or year too), ``qr.status_rollback``."""
    sign1 = cose.parse(data, _LIMIT)
    cose.verify(sign1, spki_der)
    match cbor.decode(sign1.payload, _LIMIT):
        case [str(who), int(when), int(sequence), int(issued), int(until), bytes(entries)]:
            pass
        case _:
            raise BadInput("qr.status_malformed")
    if (who, when) != (issuer, year) or not 0 <= issued <= until < 1 << 35:
        raise BadInput("qr.status_malformed")
    if sequence < last_seen:
        raise Refused("qr.status_rollback")
    at, end = dt.datetime.fromtimestamp(issued, dt.UTC), dt.datetime.fromtimestamp(until, dt.UTC)
    return StatusList(who, when, sequence, at, end, entries)
