"""Validation data as one incremental update (EN 319 142-1 §5.4.2): ``/DSS`` without ``/VRI`` of our own.

Two halves, because only the first has to understand the document: its *ground* is read where hostile bytes may be read,
its *update* is written by whoever has the data, also much later, without parsing anything.
"""

import base64
import hashlib
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader

from core import pdf_hex  # noqa: F401  (puts its reader in place)
from core.errors import BadInput, Broken
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
    room: int
    """Objects that the rehearsal tried: an update may write no more, since a paper may refer to numbers that nobody has yet."""
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
            "permanent_id": self.permanent_id.hex(), "room": self.room,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Ground":
        """Back. Raises ``KeyError``, ``TypeError``, ``ValueError``, also for what no sound file can have given."""
        number, generation = map(int, value["root"])
        certs, ocsps, crls = map(_bytes, value["kept"])
        made = cls(
            room=int(value["room"]), size=int(value["size"]), startxref=int(value["startxref"]), numbers=int(value["numbers"]),
            root=(number, generation), stream=bool(value["stream"]), line_end=bool(value["line_end"]),
            kept=(certs, ocsps, crls), catalog=_bytes(value["catalog"]), trailer=_bytes(value["trailer"]),
            rest=_bytes(value["rest"]), permanent_id=bytes.fromhex(value["permanent_id"]),
        )  # fmt: skip
        _require_plain(made)
        return made


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
    if _bytes_of(ground) > LIMITS["pades.catalog_bytes"]:
        raise BadInput("pades.catalog_too_large", most=LIMITS["pades.catalog_bytes"] // 1024)
    return ground


def _bytes_of(ground: Ground) -> int:
    return len(ground.catalog) + len(ground.trailer) + len(ground.rest) + sum(map(len, ground.kept))


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
        room=LIMITS["pades.validation_objects"],
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


# ---------------------------------------------------------------------------------------------------- plain
_MOST_NUMBER: Final = 8_388_607
"""Largest object number that readers take (ISO 32000-1, annex C)."""
_REFERENCES: Final = re.compile(rb"(?:\d{1,7} \d{1,5} R(?: (?=\d)|$))*")
_TOKEN: Final = re.compile(
    rb"[\x00\t\n\x0c\r ]+|(?P<open><<|\[)|(?P<close>>>|\])|(?P<hex><[0-9A-Fa-f\t\n\x0c\r ]*>)"
    rb"|(?P<name>/[^\x00\t\n\x0c\r ()<>\[\]{}/%]*)|(?P<word>[+-]?(?:\d+\.?\d*|\.\d+)|true|false|null|R)(?![^\x00\t\n\x0c\r ()<>\[\]{}/%])"
)


def _require_plain(ground: Ground) -> None:
    """What a taken-over sandbox could give so that readers do not agree on the update. Raises ``ValueError``.

    What is left to it is a catalog of sound form that names other objects: a checker sees that the paper was changed.
    """
    number, generation = ground.root
    sound = 0 < number < ground.numbers <= _MOST_NUMBER - ground.room and 0 <= generation <= 65_535
    sound = sound and 0 < ground.room <= LIMITS["pades.validation_objects"] and 0 <= ground.startxref < ground.size
    sound = sound and len(ground.permanent_id) <= 64 and _bytes_of(ground) <= LIMITS["pades.catalog_bytes"]
    if not sound or not all(_REFERENCES.fullmatch(each) for each in ground.kept):
        raise ValueError("not the ground of a sound file")
    catalog, trailer, rest = _names(ground.catalog), _names(ground.trailer), _names(ground.rest)
    if not {b"/Type", b"/Pages"} <= catalog or b"/DSS" in catalog:
        raise ValueError("not a catalog")
    if trailer & {each.encode() for each in (*_WRITTEN_ANEW, "/Encrypt")} or rest & {
        b"/Type",
        *map(str.encode, _KINDS),
    }:
        raise ValueError("entries that are written anew")


def _names(entries: bytes) -> set[bytes]:
    """Keys of a dictionary's entries, each once; brackets balanced, strings closed, no comment, no foreign word."""
    found: set[bytes] = set()
    depth: list[bytes] = []
    at, is_key = 0, True
    while at < len(entries):
        if entries[at : at + 1] == b"(":
            at, is_key = _after_string(entries, at), is_key if depth else True
            continue
        token = _TOKEN.match(entries, at)
        if token is None:
            raise ValueError("not plain entries")
        at, kind, text = token.end(), token.lastgroup, token.group()
        if kind is None:
            continue
        if kind == "close":
            if not depth or depth.pop() != {b">>": b"<<", b"]": b"["}[text]:
                raise ValueError("brackets")
        elif kind == "name" and not depth and is_key:
            name = re.sub(rb"#([0-9A-Fa-f]{2})", lambda m: bytes.fromhex(m.group(1).decode()), text)
            if name in found or name == b"/":
                raise ValueError("a key twice")
            found.add(name)
            is_key = False
            continue
        elif kind == "open":
            depth.append(text)
            continue
        if not depth:
            is_key = kind != "word" or _is_last_word(entries, at)
    if depth or not is_key:
        raise ValueError("entries without an end")
    return found


def _is_last_word(entries: bytes, at: int) -> bool:
    """Numbers of a reference follow each other: ``5 0 R`` is one value."""
    following = entries[at:].lstrip(b"\x00\t\n\x0c\r ")
    return not following or following[:1] == b"/"


def _after_string(entries: bytes, at: int) -> int:
    """Behind the ``)`` that closes the literal string at ``at`` (ISO 32000-2 §7.3.4.2)."""
    depth = 0
    while at < len(entries):
        letter = entries[at : at + 1]
        if letter == b"\\":
            at += 1
        elif letter == b"(":
            depth += 1
        elif letter == b")":
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    raise ValueError("a string without an end")


# ---------------------------------------------------------------------------------------------------- update
def update(ground: Ground, *, certificates: Sequence[bytes], ocsps: Sequence[bytes], crls: Sequence[bytes]) -> bytes:
    """The bytes to append; all data DER. The same data gives the same bytes. Raises ``pades.too_much_validation``."""
    if sum(len(set(items)) for items in (certificates, ocsps, crls)) + 2 > ground.room:  # the DSS, the table's stream
        raise Broken("pades.too_much_validation", most=ground.room)
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
