"""Validation data as one incremental update (EN 319 142-1 §5.4.2): ``/DSS`` without ``/VRI`` of our own.

Two halves, because only the first has to understand the document: its *ground* is read where hostile bytes may be read,
its *update* is written by whoever has the data, also much later, without parsing anything.
"""

import base64
import hashlib
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader

from core import pdf_hex  # noqa: F401  (puts its reader in place)
from core.errors import BadInput
from core.limits import LIMITS
from signer.formats.fields import UNREADABLE

__all__ = ["Ground", "append", "ground_of", "update"]

_KINDS: Final = ("/Certs", "/OCSPs", "/CRLs")
_WRITTEN_ANEW: Final = frozenset({
    "/Size", "/Prev", "/Root", "/ID", "/XRefStm", "/Type", "/W", "/Index", "/Length", "/Filter", "/DecodeParms", "/DL",
})  # fmt: skip
"""Entries of a trailer that belong to one revision; others are handed on (ISO 32000-2 §7.5.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What an update has to know of the file it is appended to. Offsets and sizes in bytes."""

    size: int
    """Of the file."""
    startxref: int
    """Where its newest cross-reference section begins."""
    numbers: int
    """The first object number that is free: ``/Size``."""
    root: tuple[int, int]
    """Number and generation of the catalog."""
    catalog: bytes
    """Entries of the catalog, without ``/DSS``, as they are written."""
    trailer: bytes
    """Entries that every later trailer repeats: ``/Info``, say."""
    permanent_id: bytes
    """First half of ``/ID``; empty where the file has none."""
    stream: bool
    """The newest section is a cross-reference stream, so the next one is too."""
    kept: tuple[bytes, bytes, bytes]
    """References of earlier validation data, by ``_KINDS``: later data is added to them."""
    rest: bytes
    """Other entries of an earlier ``/DSS``."""
    line_end: bool
    """The file's last byte ends a line."""

    def to_json(self) -> dict[str, Any]:
        """For storing."""
        return {
            "size": self.size, "startxref": self.startxref, "numbers": self.numbers, "root": list(self.root),
            "stream": self.stream, "line_end": self.line_end, "kept": [_text(each) for each in self.kept],
            "catalog": _text(self.catalog), "trailer": _text(self.trailer), "rest": _text(self.rest),
            "permanent_id": self.permanent_id.hex(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Ground":
        """Back. Raises ``KeyError``, ``TypeError``, ``ValueError``."""
        number, generation = map(int, value["root"])
        certs, ocsps, crls = map(_bytes, value["kept"])
        return cls(
            size=int(value["size"]), startxref=int(value["startxref"]), numbers=int(value["numbers"]),
            root=(number, generation), stream=bool(value["stream"]), line_end=bool(value["line_end"]),
            kept=(certs, ocsps, crls), catalog=_bytes(value["catalog"]), trailer=_bytes(value["trailer"]),
            rest=_bytes(value["rest"]), permanent_id=bytes.fromhex(value["permanent_id"]),
        )  # fmt: skip


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# ---------------------------------------------------------------------------------------------------- ground
def ground_of(document: bytes) -> Ground:
    """Read the newest revision of ``document``. Raises ``pades.unreadable``, ``pades.catalog_too_large``."""
    try:
        ground = _ground(document)
    except UNREADABLE as error:
        raise BadInput("pades.unreadable") from error
    if (
        len(ground.catalog) + len(ground.trailer) + len(ground.rest) + sum(map(len, ground.kept))
        > LIMITS["pades.catalog_bytes"]
    ):
        raise BadInput("pades.catalog_too_large", most=LIMITS["pades.catalog_bytes"] // 1024)
    return ground


def _ground(document: bytes) -> Ground:
    reader = PdfFileReader(io.BytesIO(document))
    if reader.encrypted:
        raise ValueError
    trailer = reader.trailer.flatten()
    catalog = reader.root
    dss = catalog["/DSS"] if "/DSS" in catalog else generic.DictionaryObject()
    identity = trailer["/ID"][0].original_bytes if "/ID" in trailer else b""
    root = reader.root_ref
    return Ground(
        size=len(document), startxref=int(reader.last_startxref or 0), numbers=int(trailer["/Size"]),
        root=(root.idnum, root.generation), catalog=_entries(catalog, {"/DSS"}), trailer=_entries(trailer, _WRITTEN_ANEW),
        permanent_id=identity, stream=reader.has_xref_stream,
        kept=(_references(dss, "/Certs"), _references(dss, "/OCSPs"), _references(dss, "/CRLs")),
        rest=_entries(dss, {"/Type", *_KINDS}), line_end=document[-1:] in {b"\n", b"\r"},
    )  # fmt: skip


def _entries(found: generic.DictionaryObject, without: frozenset[str] | set[str]) -> bytes:
    target = io.BytesIO()
    for key, value in found.items():
        if key not in without:
            key.write_to_stream(target)
            target.write(b" ")
            value.write_to_stream(target)
            target.write(b"\n")
    return target.getvalue()


def _references(dss: generic.DictionaryObject, kind: str) -> bytes:
    found = dss[kind] if kind in dss else ()  # noqa: SIM401
    places = [(each.idnum, each.generation) for each in found if isinstance(each, generic.IndirectObject)]
    return b" ".join(b"%d %d R" % place for place in dict.fromkeys(places))


# ---------------------------------------------------------------------------------------------------- update
def update(ground: Ground, *, certificates: Sequence[bytes], ocsps: Sequence[bytes], crls: Sequence[bytes]) -> bytes:
    """The bytes to append; all data DER. The same data gives the same bytes."""
    objects: dict[tuple[int, int], bytes] = {}

    def add(body: bytes) -> bytes:
        number = ground.numbers + len(objects)
        objects[number, 0] = body
        return b"%d 0 R" % number

    dss = b"/Type /DSS\n" + ground.rest
    for kind, kept, items in zip(_KINDS, ground.kept, (certificates, ocsps, crls), strict=True):
        references = [kept] if kept else []
        references += [add(_stream(b"/Filter /FlateDecode", zlib.compress(item))) for item in dict.fromkeys(items)]
        if references:
            dss += b"%s [%s]\n" % (kind.encode(), b" ".join(references))
    reference = add(b"<<%s>>" % dss)
    objects[ground.root] = b"<<%s/DSS %s\n>>" % (ground.catalog, reference)
    return _revision(ground, objects)


def append(document: bytes, *, certificates: list[bytes], ocsps: list[bytes], crls: list[bytes]) -> bytes:
    """Both halves over a document of ours. Raises as ``ground_of`` does."""
    return document + update(ground_of(document), certificates=certificates, ocsps=ocsps, crls=crls)


def _stream(entries: bytes, data: bytes) -> bytes:
    return b"<<%s /Length %d>>\nstream\n%s\nendstream" % (entries, len(data), data)


def _revision(ground: Ground, objects: dict[tuple[int, int], bytes]) -> bytes:
    """Objects, one cross-reference section of the file's own kind, trailer."""
    target = io.BytesIO()
    target.write(b"" if ground.line_end else b"\n")
    places: dict[tuple[int, int], int] = {}
    for key, body in objects.items():
        places[key] = ground.size + target.tell()
        target.write(b"%d %d obj\n%s\nendobj\n" % (*key, body))
    here = ground.size + target.tell()
    digest = hashlib.sha256(b"%d " % ground.size + target.getvalue()).hexdigest()[:32].encode()
    first = ground.permanent_id.hex().encode() or digest
    head = b"%s/Root %d %d R\n/Prev %d\n/ID [<%s> <%s>]\n" % (
        ground.trailer, *ground.root, ground.startxref, first, digest,
    )  # fmt: skip
    after = max(ground.numbers, *(number + 1 for number, _ in objects))
    if ground.stream:
        places[after, 0] = here
        index = b" ".join(b"%d 1" % number for number, _ in sorted(places))
        rows = b"".join(b"\x01" + place.to_bytes(8) + key[1].to_bytes(2) for key, place in sorted(places.items()))
        entries = b"/Type /XRef /W [1 8 2] /Index [%s] /Size %d\n%s" % (index, after + 1, head)
        target.write(b"%d 0 obj\n%s\nendobj\n" % (after, _stream(entries, rows)))
    else:
        target.write(b"xref\n0 1\n0000000000 65535 f \n")
        for (number, generation), place in sorted(places.items()):
            target.write(b"%d 1\n%010d %05d n \n" % (number, place, generation))
        target.write(b"trailer\n<<%s/Size %d>>\n" % (head, after))
    target.write(b"startxref\n%d\n%%%%EOF\n" % here)
    return target.getvalue()
