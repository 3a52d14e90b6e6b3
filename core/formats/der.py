"""A DER writer of a few lines: the CMS of our own signatures is assembled from prepared parts (design §8)."""

import datetime as dt

__all__ = [
    "bit_string",
    "boolean",
    "context",
    "generalized_time",
    "ia5",
    "implicit",
    "integer",
    "null",
    "octet_string",
    "oid",
    "sequence",
    "set_of",
    "tlv",
    "utc_or_generalized",
    "utf8",
]  # fmt: skip


def tlv(tag: int, content: bytes) -> bytes:
    """Tag, definite length, content."""
    n = len(content)
    if n < 0x80:
        return bytes((tag, n)) + content
    size = (n.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + n.to_bytes(size, "big") + content


def sequence(*parts: bytes) -> bytes:
    """SEQUENCE."""
    return tlv(0x30, b"".join(parts))


def set_of(*parts: bytes) -> bytes:
    """SET OF, in DER order."""
    return tlv(0x31, b"".join(sorted(parts)))


def context(number: int, *parts: bytes) -> bytes:
    """Explicit or constructed context tag."""
    return tlv(0xA0 | number, b"".join(parts))


def implicit(number: int, content: bytes) -> bytes:
    """Primitive implicit context tag."""
    return tlv(0x80 | number, content)


def integer(value: int) -> bytes:
    """INTEGER."""
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def boolean(value: bool) -> bytes:
    """BOOLEAN."""
    return b"\x01\x01\xff" if value else b"\x01\x01\x00"


def null() -> bytes:
    """NULL."""
    return b"\x05\x00"


def octet_string(value: bytes) -> bytes:
    """OCTET STRING."""
    return tlv(4, value)


def bit_string(value: bytes, unused: int = 0) -> bytes:
    """BIT STRING."""
    return tlv(3, bytes((unused,)) + value)


def utf8(text: str) -> bytes:
    """UTF8String."""
    return tlv(12, text.encode())


def ia5(text: str) -> bytes:
    """IA5String."""
    return tlv(22, text.encode("ascii"))


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    body = bytearray()
    for arc in (first * 40 + second, *rest):
        chunk = [arc & 0x7F]
        while arc := arc >> 7:
            chunk.append(0x80 | (arc & 0x7F))
        body += bytes(reversed(chunk))
    return tlv(6, bytes(body))


def generalized_time(at: dt.datetime) -> bytes:
    """GeneralizedTime, whole seconds, UTC."""
    return tlv(24, at.astimezone(dt.UTC).strftime("%Y%m%d%H%M%SZ").encode())


def utc_or_generalized(at: dt.datetime) -> bytes:
    """Time of certificates: UTCTime through 2049 (RFC 5280 §4.1.2.5)."""
    at = at.astimezone(dt.UTC)
    return tlv(23, at.strftime("%y%m%d%H%M%SZ").encode()) if at.year < 2050 else generalized_time(at)
