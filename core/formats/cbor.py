"""A strict subset of CBOR: integers, bytes, text, arrays, maps; RFC 8949 section 4.2.1 (core deterministic) only."""

from typing import TypeAlias

from core.errors import BadInput

__all__ = ["Item", "decode", "encode"]

Item: TypeAlias = "int | bytes | str | list[Item] | dict[int | bytes | str, Item]"
_MAX_DEPTH = 8


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << (8 * size):
            return bytes([major << 5 | info]) + value.to_bytes(size)
    raise BadInput("qr.cbor_malformed")


def encode(item: Item, depth: int = 0) -> bytes:
    """Deterministic bytes of ``item``; map keys in the order of their encodings. Raises ``qr.cbor_malformed``."""
    if depth > _MAX_DEPTH or isinstance(item, bool):
        raise BadInput("qr.cbor_malformed")
    if isinstance(item, int):
        return _head(0, item) if item >= 0 else _head(1, -1 - item)
    if isinstance(item, bytes):
        return _head(2, len(item)) + item
    if isinstance(item, str):
        try:
            text = item.encode()
        except UnicodeEncodeError:
            raise BadInput("qr.cbor_malformed") from None
        return _head(3, len(text)) + text
    if isinstance(item, list):
        return _head(4, len(item)) + b"".join(encode(part, depth + 1) for part in item)
    if isinstance(item, dict):
        pairs = sorted((encode(key, depth + 1), encode(value, depth + 1)) for key, value in item.items())
        return _head(5, len(pairs)) + b"".join(key + value for key, value in pairs)
    raise BadInput("qr.cbor_malformed")


def decode(data: bytes, limit: int = 600) -> Item:
    """The one item in ``data`` (at most ``limit`` bytes).

    Refuses floats, tags, simple values, indefinite and non-minimal lengths, duplicate or unsorted keys, trailing bytes
    and deep nesting: ``qr.cbor_malformed``; ``qr.too_big`` above the limit.
    """
    if len(data) > limit:
        raise BadInput("qr.too_big")
    item, end = _item(data, 0, 0)
    if end != len(data):
        raise BadInput("qr.cbor_malformed")
    return item


def _length(data: bytes, at: int) -> tuple[int, int, int]:
    if at >= len(data):
        raise BadInput("qr.cbor_malformed")
    major, info = data[at] >> 5, data[at] & 31
    if info < 24:
        return major, info, at + 1
    if info > 27:
        raise BadInput("qr.cbor_malformed")
    end = at + 1 + (1 << (info - 24))
    value = int.from_bytes(data[at + 1 : end])
    if end > len(data) or _head(major, value) != data[at:end]:
        raise BadInput("qr.cbor_malformed")
    return major, value, end


def _item(data: bytes, at: int, depth: int) -> tuple[Item, int]:
    major, value, at = _length(data, at)
    if depth > _MAX_DEPTH or major > 5:
        raise BadInput("qr.cbor_malformed")
    if major < 2:
        return (value if major == 0 else -1 - value), at
    if value > len(data) - at:
        raise BadInput("qr.cbor_malformed")
    if major < 4:
        raw = data[at : at + value]
        if major == 2:
            return raw, at + value
        try:
            return raw.decode(), at + value
        except UnicodeDecodeError:
            raise BadInput("qr.cbor_malformed") from None
    if major == 4:
        items: list[Item] = []
        for _ in range(value):
            part, at = _item(data, at, depth + 1)
            items.append(part)
        return items, at
    return _map(data, at, value, depth)


def _map(data: bytes, at: int, count: int, depth: int) -> tuple[Item, int]:
    pairs: dict[int | bytes | str, Item] = {}
    last = b""
    for _ in range(count):
        start = at
        key, at = _item(data, at, depth + 1)
        if isinstance(key, list | dict) or data[start:at] <= last:
            raise BadInput("qr.cbor_malformed")
        last = data[start:at]
        pairs[key], at = _item(data, at, depth + 1)
    return pairs, at
