"""The QR seal: claims in a COSE_Sign1 in the fragment of an https URL (QR seal, sections 1, 2 and 7).

It helps a reader of paper to compare; it is not a digital signature in the sense of the law.
"""

import base64
import binascii
import datetime as dt
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from core.errors import BadInput, Refused, ServiceError
from core.formats import cbor, cose
from core.formats.key_list import KeyEntry, KeyList
from core.signing import SigningKey
from core.values import Digest, SignatureAlgorithm

__all__ = ["SealCheck", "SealClaims", "SealState", "decode", "encode", "parse_url", "seal", "url", "verify"]

_REQUIRED = {6, 7, -1, -2, -3, -4, -5, -7}
_MAX_COSE = 600


@dataclass(frozen=True, slots=True)
class SealClaims:
    """What the seal says. ``issued_at`` has a zone; ``kind`` is a code of the table or text; ``id`` 10 bytes."""

    issued_at: dt.datetime
    id: bytes
    content_sha256: bytes
    number: int
    year: int
    volume: int
    kind: int | str
    pages: int
    initials: str
    status_index: int
    original_number: str | None = None


class SealState(StrEnum):
    """Verdict before the status list is asked."""

    VALID = "valid"
    REVOKED = "revoked"
    INVALID = "invalid"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True)
class SealCheck:
    """``claims`` and ``key`` are given only when the signature is right; ``reason`` is an error code or empty."""

    state: SealState
    reason: str
    claims: SealClaims | None = None
    key: KeyEntry | None = None


def _text(value: object, most: int) -> str:
    """Plain text, NFC, without control, format (bidi), surrogate or separator characters; ``most`` UTF-8 bytes."""
    if not isinstance(value, str) or not value or unicodedata.normalize("NFC", value) != value:
        raise BadInput("qr.claims_malformed")
    if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for c in value):
        raise BadInput("qr.claims_malformed")
    if len(value.encode()) > most:
        raise BadInput("qr.claims_malformed")
    return value


def _number(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise BadInput("qr.claims_malformed")
    return value


def _octets(value: object, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise BadInput("qr.claims_malformed")
    return value


def encode(claims: SealClaims) -> bytes:
    """The CBOR map. Raises ``qr.claims_malformed``."""
    if claims.issued_at.tzinfo is None:
        raise BadInput("qr.claims_malformed")
    value: dict[int | bytes | str, cbor.Item] = {
        6: int(claims.issued_at.timestamp()), 7: claims.id, -1: claims.content_sha256,
        -2: [claims.number, claims.year, claims.volume], -3: claims.kind, -4: claims.pages,
        -5: claims.initials, -7: claims.status_index,
    }  # fmt: skip
    if claims.original_number is not None:
        value[-6] = claims.original_number
    data = cbor.encode(value)
    decode(data)
    return data


def decode(data: bytes) -> SealClaims:
    """Strict reading: exactly the known keys, checked ranges. Raises ``qr.*``."""
    value = cbor.decode(data)
    if not isinstance(value, dict) or set(value) - {-6} != _REQUIRED:
        raise BadInput("qr.claims_malformed")
    book, kind = value[-2], value[-3]
    if not isinstance(book, list) or len(book) != 3:
        raise BadInput("qr.claims_malformed")
    return SealClaims(
        issued_at=dt.datetime.fromtimestamp(_number(value[6], 0, 1 << 35), dt.UTC),
        id=_octets(value[7], 10),
        content_sha256=_octets(value[-1], 32),
        number=_number(book[0], 1, 1 << 31),
        year=_number(book[1], 2000, 9999),
        volume=_number(book[2], 1, 9999),
        kind=_text(kind, 60) if isinstance(kind, str) else _number(kind, 0, 65535),
        pages=_number(value[-4], 1, 65535),
        initials=_text(value[-5], 16),
        status_index=_number(value[-7], 0, 1 << 24),
        original_number=_text(value[-6], 16) if -6 in value else None,
    )


async def seal(claims: SealClaims, key: SigningKey, kid: bytes) -> bytes:
    """The COSE_Sign1. Raises ``qr.wrong_key`` for a key that is not P-256, ``qr.cose_malformed`` for a bad kid."""
    if key.algorithm is not SignatureAlgorithm.ECDSA_P256_SHA256:
        raise Refused("qr.wrong_key")
    protected, payload = cose.protected_header(kid), encode(claims)
    der = await key.sign(Digest.of(cose.to_be_signed(protected, payload)))
    data = cose.assemble(protected, payload, cose.raw_signature(der))
    cose.verify(cose.parse(data), key.spki)
    return data


def url(host: str, data: bytes) -> str:
    """``https://<host>/v#BASE32``, without padding."""
    if not re.fullmatch(r"[a-z0-9.-]{3,60}", host):
        raise BadInput("qr.url_malformed")
    return f"https://{host}/v#{base64.b32encode(data).decode().rstrip('=')}"


def parse_url(text: str, host: str) -> bytes:
    """The COSE bytes of a URL of ``host``; base32 in either case, no padding. Raises ``qr.url_malformed``."""
    prefix = f"https://{host}/v#"
    body = text[len(prefix) :]
    if not text.startswith(prefix) or not re.fullmatch(r"[A-Za-z2-7]{1,960}", body):
        raise BadInput("qr.url_malformed")
    try:
        data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    except binascii.Error:
        raise BadInput("qr.url_malformed") from None
    if url(host, data) != prefix + body.upper():
        raise BadInput("qr.url_malformed")
    return data


def verify(data: bytes, keys: KeyList, at: dt.datetime) -> SealCheck:
    """Check signature and key, without the status list: VALID here never means "not recalled"."""
    try:
        sign1 = cose.parse(data, _MAX_COSE)
        claims = decode(sign1.payload)
    except ServiceError as error:
        return SealCheck(SealState.INVALID, error.code)
    old = at > keys.next_update
    candidates = [key for key in keys.keys if key.kid == sign1.kid]
    for key in candidates:
        try:
            cose.verify(sign1, key.spki)
        except Refused:
            continue
        if not key.valid_from <= claims.issued_at <= key.valid_to:
            return SealCheck(SealState.INVALID, "qr.key_dates", claims, key)
        if key.status == "revoked":
            return SealCheck(SealState.INVALID, "qr.key_revoked", claims, key)
        state = SealState.UNDETERMINED if old else SealState.VALID
        return SealCheck(state, "qr.key_list_old" if old else "", claims, key)
    if old:
        return SealCheck(SealState.UNDETERMINED, "qr.key_list_old")
    return SealCheck(SealState.INVALID, "qr.bad_signature" if candidates else "qr.unknown_key")
