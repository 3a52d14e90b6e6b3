"""The code a person types: 10 bytes as 16 Crockford base32 characters, ``7K3M-9QXT-2H5R-WD4F``."""

from core.errors import BadInput

__all__ = ["read", "write"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TOLERANT = str.maketrans("OIL", "011", "- ")


def write(code: bytes) -> str:
    """Ten bytes to four groups of four."""
    if len(code) != 10:
        raise BadInput("qr.typed_code")
    value = int.from_bytes(code)
    text = "".join(_ALPHABET[value >> shift & 31] for shift in range(75, -1, -5))
    return "-".join(text[at : at + 4] for at in range(0, 16, 4))


def read(text: str) -> bytes:
    """Ten bytes; takes lower case, missing dashes, O for 0, I and L for 1. Raises ``qr.typed_code``."""
    plain = text[:64].upper().translate(_TOLERANT)
    if len(text) > 64 or len(plain) != 16 or any(letter not in _ALPHABET for letter in plain):
        raise BadInput("qr.typed_code")
    value = 0
    for letter in plain:
        value = value << 5 | _ALPHABET.index(letter)
    return value.to_bytes(10)
