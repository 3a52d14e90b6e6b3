"""The embedded time-stamping authority (RFC 3161), assembled from parts encoded once."""

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import IntEnum
from typing import Any, NamedTuple

from core.clock import Clock
from core.errors import Refused, ServiceError
from core.formats import der
from core.formats.cms import ID_TST_INFO, CmsProfile
from core.ids import random_bytes
from core.limits import LIMITS
from core.signing import SigningKey
from core.values import Digest, DigestAlgorithm

__all__ = ["EmbeddedTimestampAuthority", "Failure", "Token", "rejection"]

POLICY = "1.3.6.1.4.1.99999.1.3"
_DIGESTS = {der.oid(algorithm.oid): algorithm for algorithm in DigestAlgorithm}
_OPTIONAL = (6, 2, 1, 0xA0)
"""reqPolicy, nonce, certReq, extensions: each at most once, in this order."""


class Failure(IntEnum):
    """PKIFailureInfo (RFC 3161 §2.4.2)."""

    BAD_ALG = 0
    BAD_REQUEST = 2
    BAD_DATA_FORMAT = 5
    TIME_NOT_AVAILABLE = 14
    UNACCEPTED_POLICY = 15
    UNACCEPTED_EXTENSION = 16
    SYSTEM_FAILURE = 25


class Token(NamedTuple):
    """What the register holds of one."""

    serial: int
    at: dt.datetime
    info: bytes
    """TSTInfo, DER."""
    signed: Digest
    """Of the signed attributes: what the key is given."""

    def row(self) -> dict[str, Any]:
        """Of ``ca_bridge.records.token_table``."""
        return {"signed": self.signed.value, "serial": f"{self.serial:030x}", "at": self.at, "info": self.info}


Register = Callable[[Token], AbstractContextManager[object]]
"""Held around the signature: the token is written down with that use of the key, or the key is not touched."""


class _Request(NamedTuple):
    """A TimeStampReq, read."""

    imprint: bytes
    nonce: bytes
    """INTEGER, DER; empty where there is none."""
    certificates: bool


class _Rejected(Exception):
    def __init__(self, why: Failure) -> None:
        super().__init__(why.name)
        self.why = why


def rejection(why: Failure) -> bytes:
    """A TimeStampResp without a token."""
    bits = bytes(why // 8) + bytes((0x80 >> why % 8,))  # DER: no zero bits after the last one of a list of named bits
    return der.sequence(der.sequence(der.integer(2), der.bit_string(bits, 7 - why % 8)))


class EmbeddedTimestampAuthority:
    """Satisfies ``core.signing.Timestamper``. Refuses to stamp while the clock is behind its own last token."""

    def __init__(
        self, *, key: SigningKey, certificate: bytes, chain: tuple[bytes, ...], clock: Clock,
        register: Register = nullcontext,
    ) -> None:  # fmt: skip
        self._key, self._register = key, register
        self._profile = CmsProfile(certificate, chain, key.algorithm, content_type=ID_TST_INFO)
        self._clock = clock
        self._last = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._head = der.integer(1) + der.oid(POLICY)
        self._accuracy = der.sequence(der.integer(1))

    @property
    def size(self) -> int:
        """The certificates, and a TSTInfo of less than 200 bytes."""
        return self._profile.size + 200

    async def stamp(self, digest: Digest) -> bytes:
        """A TimeStampToken over ``digest``. Raises ``clock.stepped_back``."""
        algorithm = der.sequence(der.oid(digest.algorithm.oid), der.null())
        return await self._token(der.sequence(algorithm, der.octet_string(digest.value)))

    async def respond(self, request: bytes) -> bytes:
        """A TimeStampResp for somebody's TimeStampReq; whatever was sent and whatever fails here, nothing is raised."""
        try:
            asked = _read(request)
            token = await self._token(asked.imprint, asked.nonce)
        except _Rejected as error:
            return rejection(error.why)
        except ValueError:
            return rejection(Failure.BAD_DATA_FORMAT)
        except ServiceError as error:
            stepped_back = error.code == "clock.stepped_back"
            return rejection(Failure.TIME_NOT_AVAILABLE if stepped_back else Failure.SYSTEM_FAILURE)
        granted = der.sequence(der.integer(0))
        return der.sequence(granted, token if asked.certificates else _without_certificates(token))

    async def _token(self, imprint: bytes, nonce: bytes = b"") -> bytes:
        now = self._clock.now()
        if now < self._last:
            raise Refused("clock.stepped_back")
        self._last = now
        serial = int.from_bytes(random_bytes(15), "big")
        info = der.tlv(
            0x30, self._head + imprint + der.integer(serial) + der.generalized_time(now) + self._accuracy + nonce
        )
        attributes = self._profile.signed_attributes(Digest.of(info, self._profile.digest).value)
        signed = Digest.of(attributes, self._profile.digest)
        with self._register(Token(serial, now, info, signed)):
            signature = await self._key.sign(signed)
        return self._profile.signed_data(attributes, signature, econtent=info)


def _read(request: bytes) -> _Request:
    """RFC 3161 §2.4.1. Raises ``ValueError`` for what is no TimeStampReq, ``_Rejected`` for one we do not serve."""
    if len(request) > LIMITS["pki.request_bytes"]:
        raise ValueError("too long")
    version, imprint, *rest = der.children(der.one(request, 0x30).content)
    tags = [part.tag for part in rest]
    if version.tag != 2 or imprint.tag != 0x30 or tags != [tag for tag in _OPTIONAL if tag in tags]:
        raise ValueError("TimeStampReq: what stands there, and in which order")
    if version.raw != der.integer(1):
        raise _Rejected(Failure.BAD_REQUEST)
    _require_imprint(imprint)
    given = dict(zip(tags, rest, strict=True))
    if 6 in given and given[6].raw != der.oid(POLICY):
        raise _Rejected(Failure.UNACCEPTED_POLICY)
    if 0xA0 in given:  # §2.4.1: critical or not, one that is not known is refused; we know none
        raise _Rejected(Failure.UNACCEPTED_EXTENSION)
    return _Request(imprint.raw, _nonce(given.get(2)), _flag(given.get(1)))


def _require_imprint(imprint: der.Tlv) -> None:
    algorithm, hashed = der.children(imprint.content)
    if algorithm.tag != 0x30 or hashed.tag != 4:
        raise ValueError("MessageImprint")
    kind, *parameters = der.children(algorithm.content)
    if kind.raw not in _DIGESTS or [p.raw for p in parameters] not in ([], [der.null()]):
        raise _Rejected(Failure.BAD_ALG)
    Digest(_DIGESTS[kind.raw], hashed.content)  # its length is its algorithm's


def _nonce(given: der.Tlv | None) -> bytes:
    if given is None:
        return b""
    if not given.content or given.raw != der.integer(int.from_bytes(given.content, "big", signed=True)):
        raise ValueError("INTEGER")
    if len(given.content) > LIMITS["pki.nonce_bytes"]:
        raise _Rejected(Failure.BAD_REQUEST)
    return given.raw


def _flag(given: der.Tlv | None) -> bool:
    if given is None:
        return False
    if given.raw not in {der.boolean(True), der.boolean(False)}:
        raise ValueError("BOOLEAN")
    return given.raw == der.boolean(True)


def _without_certificates(token: bytes) -> bytes:
    """RFC 3161 §2.4.1: who did not ask for certificates gets none. They stand outside of what is signed."""
    kind, signed = der.children(der.one(token, 0x30).content)
    parts = der.children(der.one(signed.content, 0x30).content)
    return der.sequence(kind.raw, der.context(0, der.sequence(*(part.raw for part in parts if part.tag != 0xA0))))
