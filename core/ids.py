"""Sortable ids and secrets-grade randomness."""

import secrets

from core.clock import Clock

__all__ = ["new_id", "random_bytes"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(clock: Clock) -> str:
    """26 characters of Crockford base32: 48 bits of milliseconds, then 80 random bits. Sorts by time of making."""
    value = (int(clock.now().timestamp() * 1000) << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def random_bytes(count: int) -> bytes:
    """From the operating system's generator."""
    return secrets.token_bytes(count)
