"""Every byte of a PDF belongs to a revision, and every signature covers whole revisions (ISO 32000-2, 7.5.6, 12.8.1).

pyHanko accepts objects after the last ``%%EOF``; this gate does not.
"""

import re
from dataclasses import dataclass
from typing import Any

from core.limits import LIMITS

__all__ = ["NotAccounted", "Revisions", "check_byte_range", "read_revisions"]

_TRAILER = re.compile(rb"startxref[ \t]*[\r\n]+[ \t]*(\d{1,12})[ \t]*[\r\n]+%%EOF(?:\r\n|\n|\r|\Z)")


class NotAccounted(ValueError):
    """Bytes that no revision or signature accounts for; the text says which."""


@dataclass(frozen=True, slots=True)
class Revisions:
    """Ends of revisions: byte counts from the start, with and without the line end after ``%%EOF``."""

    ends: tuple[int, ...]

    def at(self, end: int, document: bytes) -> int | None:
        """Index of the revision that ends at ``end``, its closing line end counted or not."""
        for index, whole in enumerate(self.ends):
            if end == whole or (whole - 2 <= end < whole and document[end:whole].strip(b"\r\n") == b""):
                return index
        return None


def read_revisions(document: bytes, startxrefs: list[int]) -> Revisions:
    """Compare the trailers found in the bytes with the parsed chain (oldest first). Raises ``NotAccounted``."""
    if not document.startswith(b"%PDF-"):
        raise NotAccounted("the file does not start with %PDF")
    # a pattern that begins with a letter is found fifty times faster than one that begins with a choice
    trailers = (m for m in _TRAILER.finditer(document) if document[m.start() - 1] in b"\r\n")
    found = [(int(m.group(1)), m.end()) for m in trailers]
    if not found or found[-1][1] != len(document):
        raise NotAccounted("bytes after the last %%EOF")
    if b"/Linearized" in document[:1024] and found[0][0] == 0 and len(startxrefs) > 1:
        found, startxrefs = found[1:], startxrefs[1:]  # two sections form one first revision
    if [n for n, _ in found] != startxrefs:
        raise NotAccounted("revisions in the file and in the chain of startxref differ")
    if len(found) > LIMITS["verify.revisions"]:
        raise NotAccounted("too many revisions")
    return Revisions(tuple(end for _, end in found))


def check_byte_range(document: bytes, byte_range: list[Any], contents: bytes, revisions: Revisions) -> int:
    """``[0, a, b, c]`` leaves out exactly the hex string of /Contents and ends a revision; gives its index.

    Raises ``NotAccounted``.
    """
    if len(byte_range) != 4 or not all(isinstance(n, int) and 0 <= n <= len(document) for n in byte_range):
        raise NotAccounted("ByteRange is not four numbers inside the file")
    zero, first, second, length = (int(n) for n in byte_range)
    if zero != 0 or second <= first + 2 or second + length > len(document):
        raise NotAccounted("ByteRange does not start at 0 or overlaps")
    gap = document[first:second]
    if gap[:1] != b"<" or gap[-1:] != b">" or not re.fullmatch(rb"[0-9A-Fa-f]*", gap[1:-1]):
        raise NotAccounted("the gap of ByteRange is not one hex string")
    if gap.lower() != gap and gap.upper() != gap:  # a flipped bit may turn a digit's case and nothing else
        raise NotAccounted("the hex string of /Contents is written in both cases")
    if len(gap) % 2 or bytes.fromhex(gap[1:-1].decode()) != contents:
        raise NotAccounted("the gap of ByteRange is not /Contents")
    index = revisions.at(second + length, document)
    if index is None:
        raise NotAccounted("ByteRange does not end a revision")
    return index
