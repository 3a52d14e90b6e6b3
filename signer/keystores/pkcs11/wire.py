"""What travels between the service and its workers: a length of four bytes, then JSON; bytes as hexadecimal.

No PIN ever travels here: the worker reads it from its file itself.
"""

import json
import struct
from typing import Any, Final

from core import errors
from core.errors import ServiceError, Unavailable

__all__ = ["HEAD", "MOST", "error_of", "frame", "opened", "told"]

HEAD: Final = struct.Struct(">I")
MOST: Final = 4 * 1024 * 1024
"""Bytes of a frame at most."""


def frame(value: dict[str, Any]) -> bytes:
    """With its length before it. Raises ``ValueError`` when it is too long."""
    data = json.dumps(value, separators=(",", ":")).encode()
    if len(data) > MOST:
        raise ValueError("frame")
    return HEAD.pack(len(data)) + data


def opened(data: bytes) -> dict[str, Any]:
    """The frame's JSON. Raises ``ValueError`` unless it is an object."""
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("frame") from None
    if not isinstance(value, dict):
        raise ValueError("frame")
    return value


def told(error: ServiceError) -> list[str]:
    """An error as a worker tells it: class, code and its plain detail; never a foreign exception's text."""
    return [type(error).__name__, error.code, str(error.evidence.get("detail", ""))]


def error_of(told: Any, key: str = "") -> ServiceError:
    """Back; ``key`` is the name the sentence mentions. A worker is ours but its memory is not, so shapes are asked."""
    match told:
        case [str(kind), str(code), str(detail)] if kind in errors.__all__ and code.startswith("key."):
            made: type[ServiceError] = getattr(errors, kind)
            evidence = ({"key": key} if key else {}) | ({"detail": detail[:80]} if detail else {})
            return made(code, **evidence)
    return Unavailable("key.unavailable", detail="answer")
