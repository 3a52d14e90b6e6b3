"""Canonical JSON: one byte form for one value (the subset of RFC 8785 without floating point).

Objects sorted by UTF-16 code units, no white space, shortest string escapes, integers within ±(2^53 − 1).
"""

import json
from typing import Any

__all__ = ["decode", "encode"]

_SAFE = 2**53 - 1


def encode(value: Any) -> bytes:
    """The canonical bytes. Raises ``ValueError`` for floats, other types and unsafe integers."""
    return json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _ordered(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) > _SAFE:
            raise ValueError("integer beyond 2^53 - 1")
        return value
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("member names are strings")
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda k: k.encode("utf-16-be"))}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    raise ValueError(f"no canonical form for {type(value).__name__}")


def decode(data: bytes) -> Any:
    """Parse and require that ``data`` is canonical. Raises ``ValueError``."""
    value = json.loads(data, parse_float=_no_float)
    if encode(value) != data:
        raise ValueError("not canonical")
    return value


def _no_float(text: str) -> Any:
    raise ValueError(f"floating point: {text[:20]}")
