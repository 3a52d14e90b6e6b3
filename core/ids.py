"""Sortable ids and secrets-grade randomness."""

import datetime as dt
import secrets

from core.clock import Clock

__all__ = ["first_id", "new_id", "random_bytes"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(clock: Clock) -> str:
    """26 characters of Crockford base32: 48 bits of milliseconds, then 80 random bits. Sorts by time of making."""
    return _text(clock.now(), secrets.randbits(80))


def first_id(at: dt.datetime) -> str:
    """No id made at or after that time is smaller."""
    return _text(at, 0)


def _text(at: dt.datetime, rest: int) -> str:
    value = max(0, int(at.timestamp() * 1000)) << 80 | rest
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def random_bytes(count: int) -> bytes:
    """From the operating system's generator."""
    return secrets.token_bytes(count)
