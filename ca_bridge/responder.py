"""The OCSP responder of the embedded CA (RFC 6960, RFC 5019, nonces by RFC 9654).

* It speaks for certificates of one issuer, whose delegate its own certificate makes it (RFC 6960 §4.2.2.2). Of what
  another issued, the root included, it says *unauthorized*; the root's list covers what the root issued.
* *good* is a certificate that stands as issued in the table; what only was ordered, or never was, is *unknown*.
* The table is asked each time. An answer that says the same, to nobody in particular, is given again for
  ``ca.answer_seconds``; a nonce costs a signature of its own.
* Every request gets an OCSPResponse; nothing is raised.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import sqlalchemy as sa
from cryptography.x509 import ocsp

from ca_bridge.authorities.embedded import OCSP_NONCE, Issuer, SingleStatus, build_ocsp_answer
from ca_bridge.records import certificate_table
from core.clock import Clock
from core.db import Database
from core.errors import Broken, ServiceError
from core.formats import der
from core.limits import LIMITS

__all__ = ["Asked", "CertId", "Failure", "Responder", "failure", "is_malformed", "made_at", "read"]

_HASHES = {der.oid("1.3.14.3.2.26"): ("sha1", 20), der.oid("2.16.840.1.101.3.4.2.1"): ("sha256", 32)}
_NONCE = der.oid(OCSP_NONCE)
_TBS = (0xA0, 0xA1, 0x30, 0xA2)
"""version, requestorName, requestList, requestExtensions: each at most once, in this order."""
_SERIALS = range(1, 1 << 160)
"""What RFC 5280 §4.1.2.2 allows; the table is not asked for others."""


class Failure(IntEnum):
    """OCSPResponseStatus of answers that are not signed (RFC 6960 §2.3)."""

    MALFORMED = 1
    INTERNAL = 2
    TRY_LATER = 3
    UNAUTHORIZED = 6


class CertId(NamedTuple):
    """One certificate asked for. ``algorithm`` None: named with a hash that we do not make."""

    raw: bytes
    algorithm: str | None
    issuer: tuple[bytes, bytes]
    """Hashes of the issuer's name and key."""
    serial: int


class Asked(NamedTuple):
    """A request, read."""

    certificates: tuple[CertId, ...]
    nonce: bytes | None


def failure(status: Failure) -> bytes:
    """An OCSPResponse without an answer."""
    return der.sequence(der.tlv(10, bytes((status,))))


def is_malformed(response: bytes) -> bool:
    """Whether one of our own responses says that the asker made a mistake."""
    return response == failure(Failure.MALFORMED)


def made_at(response: bytes) -> dt.datetime | None:
    """When one of our own responses was made; None where no other asker may be given it (failures, nonces)."""
    read_back = ocsp.load_der_ocsp_response(response)
    if read_back.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL or len(read_back.extensions):
        return None
    return read_back.produced_at_utc


# ------------------------------------------------------------------------------------------------------------ reading
def read(request: bytes) -> Asked:
    """An OCSPRequest (RFC 6960 §4.1.1). Raises ``ValueError``.

    Who asks, and a signature over the question, are allowed and ignored: the answer is the same for everybody.
    """
    if len(request) > LIMITS["pki.request_bytes"]:
        raise ValueError("too long")
    tbs, *signature = der.children(der.one(request, 0x30).content)
    if tbs.tag != 0x30 or [s.tag for s in signature] not in ([], [0xA0]):
        raise ValueError("OCSPRequest")
    found = der.children(tbs.content)
    parts = {part.tag: part for part in found}
    if [p.tag for p in found] != [tag for tag in _TBS if tag in parts] or 0x30 not in parts:
        raise ValueError("TBSRequest: what stands there, and in which order")
    if 0xA0 in parts and parts[0xA0].content != der.integer(0):
        raise ValueError("a version that is not v1")
    requests = der.children(parts[0x30].content)
    if not 1 <= len(requests) <= LIMITS["pki.ocsp_certificates"]:
        raise ValueError("how many certificates")
    nonce = _extensions(parts[0xA2]) if 0xA2 in parts else None
    return Asked(tuple(map(_certificate, requests)), nonce)


def _certificate(request: der.Tlv) -> CertId:
    cert_id, *extensions = der.children(request.content)
    if request.tag != 0x30 or cert_id.tag != 0x30 or [e.tag for e in extensions] not in ([], [0xA0]):
        raise ValueError("Request")
    for each in extensions:
        _extensions(each)
    algorithm, name, key, serial = der.children(cert_id.content)
    if [algorithm.tag, name.tag, key.tag] != [0x30, 4, 4]:
        raise ValueError("CertID")
    kind, *parameters = der.children(algorithm.content)
    if kind.tag != 6 or [p.raw for p in parameters] not in ([], [der.null()]):
        raise ValueError("hashAlgorithm")
    known, size = _HASHES.get(kind.raw, (None, 0))
    if known is not None and (len(name.content), len(key.content)) != (size, size):
        raise ValueError("a hash of the wrong length")
    return CertId(cert_id.raw, known, (name.content, key.content), _integer(serial))


def _integer(element: der.Tlv) -> int:
    value = int.from_bytes(element.content, "big", signed=True)
    if element.raw != der.integer(value):
        raise ValueError("INTEGER")
    return value


def _extensions(explicit: der.Tlv) -> bytes | None:
    """The nonce among them. What is critical and not understood makes the request unanswerable (RFC 5280 §4.2)."""
    seen: dict[bytes, bytes] = {}
    for each in der.children(der.one(explicit.content, 0x30).content):
        kind, *flag, value = der.children(each.content)
        if each.tag != 0x30 or kind.tag != 6 or value.tag != 4 or kind.raw in seen:
            raise ValueError("Extension")
        if [f.raw for f in flag] not in ([], [der.boolean(True)], [der.boolean(False)]):
            raise ValueError("critical")
        if kind.raw != _NONCE and flag and flag[0].raw == der.boolean(True):
            raise ValueError("critical, and not known here")
        seen[kind.raw] = value.content
    if _NONCE not in seen:
        return None
    nonce = der.one(seen[_NONCE], 4).content
    if not 1 <= len(nonce) <= LIMITS["pki.nonce_bytes"]:  # RFC 9654 §2.1: such a request is malformed
        raise ValueError("length of the nonce")
    return nonce


# ---------------------------------------------------------------------------------------------------------- answering
@dataclass(frozen=True, slots=True, kw_only=True)
class Responder:
    """Answers for certificates of ``issuer``."""

    db: Database
    clock: Clock
    issuer: Issuer
    responder: Issuer
    """The delegate: certificate and key."""
    may_sign: Callable[[], bool] = lambda: True
    """Asked before each signature; False makes the asker come again later."""
    recent: dict[tuple[SingleStatus, ...], tuple[dt.datetime, bytes]] = field(default_factory=dict)
    """Answers without a nonce signed lately, by what they say."""

    async def respond(self, request: bytes) -> bytes:
        """An OCSPResponse, whatever was sent and whatever fails here."""
        try:
            asked = read(request)
        except ValueError:
            return failure(Failure.MALFORMED)
        us = {algorithm: self.issuer.hashes(algorithm) for algorithm, _ in _HASHES.values()}
        ours = {c.raw for c in asked.certificates if c.algorithm and c.issuer == us[c.algorithm]}
        if not ours:  # RFC 5019 §2.2.3
            return failure(Failure.UNAUTHORIZED)
        try:
            standing = await self._standing({c.serial for c in asked.certificates if c.raw in ours})
            statuses = tuple(
                SingleStatus(c.raw, *(standing.get(c.serial, _UNKNOWN) if c.raw in ours else _UNKNOWN))
                for c in asked.certificates
            )
            return await self._answer(statuses, asked.nonce)
        except Broken:
            return failure(Failure.INTERNAL)
        except ServiceError:  # a store that does not answer, a budget that is spent
            return failure(Failure.TRY_LATER)

    async def _standing(self, serials: Iterable[int]) -> dict[int, tuple[bool, tuple[dt.datetime, int] | None]]:
        """(known, revoked) of each serial of our issuer that the table knows."""
        t = certificate_table.c
        wanted = [f"{serial:040x}" for serial in serials if serial in _SERIALS]
        query = sa.select(t.serial, t.status, t.revoked_at, t.reason).where(
            t.serial.in_(wanted), t.issuer == self.issuer.certificate.subject, t.status.in_(("good", "revoked"))
        )
        async with self.db.read() as uow:
            return {
                int(row.serial, 16): (True, (row.revoked_at, int(row.reason)) if row.status == "revoked" else None)
                for row in await uow.execute(query)
            }

    async def _answer(self, statuses: tuple[SingleStatus, ...], nonce: bytes | None) -> bytes:
        now, life = self.clock.now(), dt.timedelta(seconds=LIMITS["ca.answer_seconds"])
        made, answer = self.recent.get(statuses, (None, b""))
        if nonce is None and made is not None and made <= now < made + life:
            return answer
        if not self.may_sign():
            return failure(Failure.TRY_LATER)
        answer = await build_ocsp_answer(statuses, self.responder, self.clock, nonce)
        if nonce is None:
            for old in [k for k, (at, _) in self.recent.items() if not at <= now < at + life]:
                del self.recent[old]
            self.recent[statuses] = (now, answer)
        return answer


_UNKNOWN: tuple[bool, None] = (False, None)
