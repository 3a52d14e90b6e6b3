"""DER in a few lines: a writer, since the CMS of our own signatures is assembled from prepared parts (design §8), and a
reader that hands out the bytes as they stand (a library that decodes and encodes again may hand out others).
"""

import datetime as dt
from typing import NamedTuple

__all__ = [
    "Tlv",
    "bit_string",
    "boolean",
    "children",
    "context",
    "generalized_time",
    "ia5",
    "implicit",
    "integer",
    "null",
    "octet_string",
    "oid",
    "one",
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


# ------------------------------------------------------------------------------------------------------------ reading
class Tlv(NamedTuple):
    """One element: its tag byte, all its bytes, and its content."""

    tag: int
    raw: bytes
    content: bytes


def children(content: bytes) -> list[Tlv]:
    """The elements that fill ``content`` exactly. Definite, minimal lengths and one-byte tags only. Raises ``ValueError``."""
    found, at, end = [], 0, len(content)
    while at < end:
        if end - at < 2 or content[at] & 0x1F == 0x1F:
            raise ValueError("truncated or long tag")
        size, start = content[at + 1], at + 2
        if size >= 0x80:
            octets = size & 0x7F
            if not 1 <= octets <= 4 or start + octets > end:
                raise ValueError("length")
            size = int.from_bytes(content[start : start + octets], "big")
            if size < 0x80 or size >> (8 * (octets - 1)) == 0:
                raise ValueError("length is not minimal")
            start += octets
        if start + size > end:
            raise ValueError("element leaves its parent")
        found.append(Tlv(content[at], content[at : start + size], content[start : start + size]))
        at = start + size
    return found


def one(data: bytes, tag: int) -> Tlv:
    """``data`` is exactly one element with this tag. Raises ``ValueError``."""
    found = children(data)
    if len(found) != 1 or found[0].tag != tag:
        raise ValueError("not one element of the kind expected")
    return found[0]
