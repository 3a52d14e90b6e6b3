"""Two kinds of update that can be judged at sight; any other goes to pyHanko's difference analysis.

* *validation data*: nothing that existed is replaced but the catalog, and in it only ``/DSS``;
* *one more signature*: nothing that existed is replaced but one empty signature field, and in it only ``/V`` and ``/AP``.

In both, every new object is unreachable except through the entry named: no object of the older state refers to a number
that was not there (a reference to nothing becomes content when the number is filled later). What is shown of the older
state, outside that field's own rectangle, is therefore the same. This is stricter than pyHanko and ten times faster: it
looks for references, not for every path to every object.
"""

import io
from typing import Any

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.diff_analysis import ModificationLevel

__all__ = ["Updates"]

_TRAILER = ("/Root", "/Info", "/Encrypt")


class Updates:
    """The revisions of one file."""

    def __init__(self, reader: PdfFileReader, signatures: dict[int, int]) -> None:
        """``signatures``: revision → object number of the signature dictionary that revision carries."""
        self._reader, self._signatures = reader, signatures
        self._outgoing: dict[tuple[int, int], frozenset[int]] = {}
        """(object number, revision in which it last changed) → object numbers it refers to."""

    def level(self, revision: int) -> ModificationLevel | None:
        """How far ``revision`` goes beyond the one before; None when that cannot be seen at a glance."""
        xrefs = self._reader.xrefs
        before = revision - 1
        known = {ref.idnum: ref for r in range(revision) for ref in xrefs.explicit_refs_in_revision(r)}
        written = {ref.idnum: ref for ref in xrefs.explicit_refs_in_revision(revision)}
        table = xrefs.get_xref_container_info(revision).stream_ref
        if table is not None:
            written[table.idnum] = table
        fresh = written.keys() - known.keys()
        level = self._kind(revision, known, written, fresh)
        if (
            level is None
            or xrefs.refs_freed_in_revision(revision)
            or not self._same_trailer(before, revision)
            or fresh & self._referred(before, known)
        ):
            return None
        return level

    def _kind(
        self, revision: int, known: dict[int, generic.Reference], written: dict[int, generic.Reference], fresh: set[int]
    ) -> ModificationLevel | None:
        changed = None
        info = self._info(revision)
        for number in known.keys() & written.keys():
            old, new = (self._read(known[number], r) for r in (revision - 1, revision))
            keys = _differing(old, new)
            if not keys and number != info:
                return None  # why is it here again? the difference analysis may say
            if number == info and keys <= {"/ModDate", "/Producer"} and not _references(new):
                continue
            if known[number] != written[number] or (keys and changed is not None):
                return None
            if keys:  # an object written again as it was is no change
                changed = (number, keys, old, new)
        if changed is None:
            return None
        number, keys, old, new = changed
        if keys == {"/DSS"} and number == self._reader.trailer.raw_get("/Root", revision=revision).idnum:
            return ModificationLevel.LTA_UPDATES
        if keys <= {"/V", "/AP"} and self._fills(old, new, revision, fresh):
            return ModificationLevel.FORM_FILLING
        return None

    def _same_trailer(self, before: int, revision: int) -> bool:
        old, new = (self._reader.trailer.flatten(r) for r in (before, revision))
        return all(_written(old, key) == _written(new, key) for key in _TRAILER) and "/Encrypt" not in new

    def _info(self, revision: int) -> int | None:
        """Object number of the document's properties, which writers date anew."""
        trailer = self._reader.trailer.flatten(revision)
        value = trailer.raw_get("/Info") if "/Info" in trailer else None
        return value.idnum if isinstance(value, generic.IndirectObject) else None

    def _fills(self, old: Any, new: Any, revision: int, fresh: set[int]) -> bool:
        """An empty signature field, its own widget, gets the signature of this very revision."""
        if (
            revision not in self._signatures
            or old.get("/FT") != "/Sig"
            or "/V" in old
            or "/Parent" in old
            or "/Kids" in old
            or "/AA" in old
        ):
            return False
        value = new.raw_get("/V") if "/V" in new else None
        return (
            isinstance(value, generic.IndirectObject)
            and value.idnum == self._signatures[revision]
            and value.idnum in fresh
        )

    def _read(self, ref: generic.Reference, revision: int) -> Any:
        """The object as it stood in ``revision``."""
        if self._reader.xrefs.get_last_change(ref) <= revision:
            return self._reader.get_object(ref)
        return self._reader.get_object(ref, revision=revision)

    def _referred(self, revision: int, known: dict[int, generic.Reference]) -> set[int]:
        """Every object number that anything alive in ``revision`` refers to."""
        found = set(_references(self._reader.trailer.flatten(revision)))
        changed = {ref: r for r in range(revision + 1) for ref in self._reader.xrefs.explicit_refs_in_revision(r)}
        for ref in known.values():
            key = (ref.idnum, changed[ref])
            if key not in self._outgoing:
                self._outgoing[key] = frozenset(_references(self._read(ref, revision)))
            found |= self._outgoing[key]
        return found


def _written(container: Any, key: str) -> bytes | None:
    """An entry as it would stand in a file: references stay references."""
    if key not in container:
        return None
    out = io.BytesIO()
    container.raw_get(key).write_to_stream(out, None, None)
    return out.getvalue()


def _differing(old: Any, new: Any) -> set[str]:
    """Keys whose entries are not the same; everything if these are no plain dictionaries."""
    if type(old) is not generic.DictionaryObject or type(new) is not generic.DictionaryObject:
        return {"*"}
    return {key for key in old.keys() | new.keys() if _written(old, key) != _written(new, key)}


def _references(found: Any) -> set[int]:
    numbers: set[int] = set()
    waiting = [found]
    while waiting:
        each = waiting.pop()
        if isinstance(each, generic.IndirectObject):
            numbers.add(each.idnum)
        elif isinstance(each, dict):
            waiting.extend(dict.values(each))
        elif isinstance(each, list):
            waiting.extend(list.__iter__(each))
    return numbers
