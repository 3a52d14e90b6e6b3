"""The bytes of an update after a signature: readers must have no choice in how to read them.

pyHanko, pdfium, poppler, mupdf and qpdf differ where a file is odd: a number listed twice, an object whose header is not
the one its table promises, bytes after the trailer that a repairing reader picks up. The signed state is the signer's
own; whatever was appended to it has to be exactly this:

    objects, each one listed, with the header its entry says · one table with its trailer, or one stream · startxref · %%EOF

Everything else is ``NotAccounted``.
"""

import io
import re
from itertools import pairwise

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.xref import XRefSectionType

from verification.engine.revisions import NotAccounted

__all__ = ["require_plain_update"]

_SUBSECTION = re.compile(rb"(\d{1,10}) (\d{1,7})[ \t]*(?:\r\n|\r|\n)")
_ENTRY = re.compile(rb"(\d{10}) (\d{5}) ([nf])(?: \r| \n|\r\n)")
_END = re.compile(rb"\s*startxref\s+(\d{1,12})\s+%%EOF\s*\Z")


def require_plain_update(document: bytes, reader: PdfFileReader, revision: int, start: int, end: int) -> None:
    """``document[start:end]`` is revision ``revision`` (pyHanko's count). Raises ``NotAccounted``."""
    info, own = reader.xrefs.get_xref_container_info(revision), None
    place = info.declared_startxref
    if not start <= place < end:
        raise NotAccounted("the table of an update lies outside it")
    if info.xref_section_type == XRefSectionType.STANDARD:
        entries, after = _table(document, place, end)
        listed = dict(entries)
    elif info.xref_section_type == XRefSectionType.STREAM and info.stream_ref is not None:
        own = info.stream_ref
        earlier = {r.idnum for n in range(revision) for r in reader.xrefs.explicit_refs_in_revision(n)}
        if own.idnum in earlier:
            raise NotAccounted("the cross-reference stream of an update takes the number of an object")
        entries = _stream(document, reader, own, place, earlier)
        listed = {**entries, (own.idnum, own.generation): place}
        after = document.index(b"endobj", place) + 6
    else:
        raise NotAccounted("an update with two kinds of cross-reference")
    known = {(r.idnum, r.generation) for r in reader.xrefs.explicit_refs_in_revision(revision)}
    extra = listed.keys() - known - ({(own.idnum, own.generation)} if own is not None else set())
    if extra or known - listed.keys() != _compressed(reader, revision, known, listed):
        raise NotAccounted("an update lists other objects than were read")
    _objects(document, listed, start, place if own is None else after)
    if (found := _END.match(document, after, end)) is None or int(found.group(1)) != place:
        raise NotAccounted("bytes between the table of an update and its end")


def _table(document: bytes, place: int, end: int) -> tuple[dict[tuple[int, int], int], int]:
    """Entries in use, and where the trailer's dictionary ends."""
    if document[place : place + 4] != b"xref":
        raise NotAccounted("startxref does not point at a table")
    at = place + 4
    while at < end and document[at] in b" \t\r\n":
        at += 1
    entries: dict[tuple[int, int], int] = {}
    numbers: set[int] = set()
    while (head := _SUBSECTION.match(document, at, end)) is not None:
        first, count = int(head.group(1)), int(head.group(2))
        at = head.end()
        for number in range(first, first + count):
            row = _ENTRY.match(document, at, end)
            if row is None or number in numbers:
                raise NotAccounted("a table of an update is malformed or lists a number twice")
            numbers.add(number)
            at = row.end()
            if row.group(3) == b"n":
                entries[number, int(row.group(2))] = int(row.group(1))
            elif number:
                raise NotAccounted("an update frees an object")
    if 0 in {n for n, _ in entries} or document[at : at + 7] != b"trailer":
        raise NotAccounted("a table of an update has no trailer")
    stream = io.BytesIO(document)
    trailer = _read(stream, at + 7, generic.TrailerReference(None))
    if not isinstance(trailer, generic.DictionaryObject) or "/XRefStm" in trailer:
        raise NotAccounted("an update with two kinds of cross-reference")
    return entries, stream.tell()


def _read(stream: io.BytesIO, at: int, container: generic.Dereferenceable) -> generic.PdfObject:
    """The object after the blanks at ``at``; the stream then stands behind it."""
    stream.seek(at)
    while (byte := stream.read(1)) and byte in b" \t\r\n":
        pass
    stream.seek(-1, io.SEEK_CUR)
    try:
        return generic.read_object(stream, container)
    except (PdfError, ValueError, IndexError, AssertionError) as error:
        raise NotAccounted("the table or trailer of an update cannot be read") from error


def _stream(
    document: bytes, reader: PdfFileReader, own: generic.Reference, place: int, earlier: set[int]
) -> dict[tuple[int, int], int]:
    """Entries of type 1; those of type 2 must stand in an object stream of this update, at the index they give."""
    head = _header(document, place, (own.idnum, own.generation))
    if head is None:
        raise NotAccounted("startxref does not point at a cross-reference stream")
    table = _read(io.BytesIO(document), head.end(), own)  # it need not be listed in itself
    if not isinstance(table, generic.StreamObject):
        raise NotAccounted("startxref does not point at a cross-reference stream")
    widths = [int(w) for w in table["/W"]]
    if len(widths) != 3 or not all(0 <= w <= 8 for w in widths):
        raise NotAccounted("a cross-reference stream of an update is malformed")
    index = [int(n) for n in table["/Index"]] if "/Index" in table else [0, int(table["/Size"])]
    numbers = [n for first, count in zip(index[::2], index[1::2], strict=True) for n in range(first, first + count)]
    data, width = table.data, sum(widths)
    if len(set(numbers)) != len(numbers) or len(data) != width * len(numbers):
        raise NotAccounted("a cross-reference stream of an update is malformed or lists a number twice")
    entries: dict[tuple[int, int], int] = {}
    packed: dict[int, list[tuple[int, int]]] = {}
    for i, number in enumerate(numbers):
        row = data[i * width : (i + 1) * width]
        a, b = widths[0], widths[0] + widths[1]
        kind = int.from_bytes(row[:a]) if a else 1
        second, third = int.from_bytes(row[a:b]), int.from_bytes(row[b:])
        if kind == 1:
            entries[number, third] = second
        elif kind == 2:
            packed.setdefault(second, []).append((number, third))
        elif kind != 0 or number:
            raise NotAccounted("an update frees an object or uses an unknown kind of entry")
    for holder, held in packed.items():
        if (holder, 0) not in entries or holder in earlier:
            raise NotAccounted("an update lists objects in a stream that is not its own")
        _require_held(reader, holder, held)
    return entries


def _require_held(reader: PdfFileReader, holder: int, held: list[tuple[int, int]]) -> None:
    packed = reader.get_object(generic.Reference(holder, 0, reader))
    if not isinstance(packed, generic.StreamObject):
        raise NotAccounted("an object stream of an update is none")
    head = packed.data[: int(packed["/First"])].split()
    numbers = [int(n) for n in head[::2]]
    if len(head) != 2 * int(packed["/N"]) or len(set(numbers)) != len(numbers):
        raise NotAccounted("an object stream of an update names a number twice")
    if {(n, i) for i, n in enumerate(numbers)} != set(held):
        raise NotAccounted("an object stream of an update holds other objects than are listed")


def _compressed(
    reader: PdfFileReader, revision: int, known: set[tuple[int, int]], listed: dict[tuple[int, int], int]
) -> set[tuple[int, int]]:
    """Those of ``known`` that stand in object streams: listed there, checked by ``_require_held``."""
    return {
        k for k in known - listed.keys()
        if not isinstance(reader.xrefs.get_historical_ref(generic.Reference(*k, reader), revision), int)
    }  # fmt: skip


def _objects(document: bytes, listed: dict[tuple[int, int], int], start: int, end: int) -> None:
    """From ``start`` to ``end`` one listed object after the other, with its own header and one ``endobj``."""
    ordered = sorted((place, key) for key, place in listed.items())
    places = [place for place, _ in ordered]
    if not ordered or places[0] < start or document[start : places[0]].strip() or len(set(places)) != len(places):
        raise NotAccounted("bytes before the first object of an update")
    for (place, key), following in zip(ordered, [*places[1:], end], strict=True):
        if _header(document, place, key) is None:
            raise NotAccounted("an object of an update is not the one its entry names")
        body = document[place:following].rstrip()
        if not body.endswith(b"endobj") or body.count(b"endobj") != 1:
            raise NotAccounted("an update holds an object that is not listed")
    assert all(a < b for a, b in pairwise(places))


def _header(document: bytes, place: int, key: tuple[int, int]) -> re.Match[bytes] | None:
    return re.compile(rb"%d[ \t\r\n]{1,2}%d[ \t\r\n]{1,2}obj(?=[\s<\[(/\d-])" % key).match(document, place)
