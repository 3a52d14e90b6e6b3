"""Hexadecimal strings of PDF, read at once.

pyHanko reads them two digits at a time: 9 ms for the 16 KB of one ``/Contents``, met a dozen times on the way of a copy.
Importing this module puts the reader below in its place (pyHanko offers no seam); anything unusual – a comment inside,
a foreign sign, a missing end – goes to pyHanko's own, so that what is accepted stays exactly the same.
"""

import binascii
from typing import Any, BinaryIO

from pyhanko.pdf_utils import generic

__all__ = ["read_hex_string"]

_THEIRS = generic.read_hex_string_from_stream
_BLANK = b"\x00\t\n\x0c\r "
_CHUNK = 8192


def read_hex_string(stream: BinaryIO) -> Any:
    """From ``<`` to after ``>``; the string object pyHanko makes of it. Raises what pyHanko raises."""
    start = stream.tell()
    data = bytearray()
    while (end := data.find(b">", max(0, len(data) - _CHUNK))) < 0:
        chunk = stream.read(_CHUNK)
        if not chunk:
            break
        data += chunk
    try:
        digits = data[1:end].translate(None, _BLANK) if end > 0 else b"-"
        value = binascii.unhexlify(digits + b"0" * (len(digits) % 2))
    except binascii.Error:
        stream.seek(start)
        return _THEIRS(stream)
    stream.seek(start + end + 1)
    return generic.pdf_string(value)


generic.read_hex_string_from_stream = read_hex_string
