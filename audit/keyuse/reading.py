"""Follows an audit file over its rotations, in constant memory, complete lines only.

A file is known by its first line, which holds an id and a time that no other line has; a name or an inode says nothing after
a rotation. Where reading stopped is a *place*: first line, bytes read, and the last line read. From there on:

* the file that begins with that first line is read on, whatever it is called by now (renamed, copied and truncated, packed);
* then the files that began later, by the time of their first lines; last the one that is written to.

A file that is gone, shorter than what was read of it, or different at the place where reading stopped is a finding: a stretch
of the record is missing or was changed.
"""

import contextlib
import datetime as dt
import gzip
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from audit.keyuse.lines import time_of
from core.errors import BadInput

__all__ = ["MOST_LINE", "Known", "Piece", "Place", "Series", "group", "opened"]

MOST_LINE = 64 * 1024 * 1024
"""A request has at most 32 MB (``max_request_size``), its lines hold it once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where reading stopped."""

    series: str
    head: str
    """SHA-256 of the file's first line, hexadecimal."""
    inode: int
    offset: int
    """Bytes read, of the unpacked file."""
    tail: str
    """SHA-256 of the last line read."""
    tail_size: int
    at: dt.datetime
    """Time of that line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A file that holds at least one line."""

    path: Path
    head: str
    inode: int
    size: int
    """As it lies there, perhaps packed."""
    began: dt.datetime
    """Time of its first line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One file to be read from an offset."""

    file: Known
    offset: int
    live: bool
    """Still written to: what stands behind its last complete line will be completed."""
    tail: str = ""
    tail_size: int = 0
    resume: bytes = b""
    """The last whole line before the offset, where that is a new place and not the one where reading stopped."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Plain or gzip, told by its first bytes. Raises ``cli.no_such_file``."""
    try:
        with path.open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                file.seek(0)
                with gzip.open(file) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                file.seek(0)
                yield file
    except (OSError, EOFError) as error:
        raise BadInput("cli.no_such_file", file=path.name) from error


def know(path: Path) -> Known | None:
    """None for a file without a complete line that has a time. Raises ``cli.no_such_file``."""
    with opened(path) as file:
        first = file.readline(MOST_LINE)
        status = path.stat()
    began = time_of(first) if first.endswith(b"\n") else None
    if began is None:
        return None
    return Known(
        path=path, head=hashlib.sha256(first).hexdigest(), inode=status.st_ino, size=status.st_size, began=began
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The file that one server writes, with what became of its earlier parts."""

    live: Path
    older: tuple[Path, ...]

    @property
    def name(self) -> str:
        """As places name it."""
        return str(self.live.absolute())

    def parts(self) -> list[Known]:
        """All parts, oldest first; the same one twice (plain and packed) counts once, the live one last."""
        found: dict[str, Known] = {}
        for path in (self.live, *self.older):
            known = know(path) if path.exists() or path != self.live else None
            if known is not None:
                found.setdefault(known.head, known)
        return sorted(found.values(), key=lambda each: (each.began, each.path == self.live))

    def plan(self, place: Place | None) -> tuple[list[Piece], str]:
        """What is to be read, and a code where a stretch is missing: ``keyuse.stretch_missing``, ``file_truncated``, ``file_changed``."""
        parts = self.parts()
        if place is None:
            return [self._piece(each, 0) for each in parts], ""
        holder = next((each for each in parts if each.head == place.head), None)
        if holder is None:  # what was read last is nowhere: what it held behind that place is lost
            left = [each for each in parts if each.began > place.at or each.path == self.live]
            return [self._piece(each, 0) for each in left], "keyuse.stretch_missing"
        later = [self._piece(each, 0) for each in parts if each.began > holder.began]
        problem = _problem(holder, place)
        if problem == "keyuse.file_truncated":  # what is left was read before; what comes after it is new
            end, last = _end_of(holder)
            cut = Piece(file=holder, offset=end, live=holder.path == self.live, resume=last)
            return [cut, *later], problem
        return [self._piece(holder, place.offset, place if not problem else None), *later], problem

    def _piece(self, file: Known, offset: int, place: Place | None = None) -> Piece:
        tail = ("", 0) if place is None else (place.tail, place.tail_size)
        return Piece(file=file, offset=offset, live=file.path == self.live, tail=tail[0], tail_size=tail[1])


def _problem(holder: Known, place: Place) -> str:
    """Whether the file still holds what was read of it."""
    with opened(holder.path) as file:
        try:
            file.seek(place.offset - place.tail_size)
            tail = file.read(place.tail_size)
        except (OSError, EOFError):
            return "keyuse.file_truncated"
    if len(tail) < place.tail_size:
        return "keyuse.file_truncated"
    return "" if hashlib.sha256(tail).hexdigest() == place.tail else "keyuse.file_changed"


def _end_of(file: Known) -> tuple[int, bytes]:
    """(bytes, last line) of what is whole in it."""
    end, last = 0, b""
    with opened(file.path) as lines:
        while (line := lines.readline(MOST_LINE)).endswith(b"\n"):
            end, last = end + len(line), line
    return end, last


def group(files: Sequence[Path]) -> list[Series]:
    """Files of one server together: ``audit.log`` with ``audit.log.1``, ``audit.log-20261125.gz``, given or beside it.

    Raises ``cli.no_such_file``.
    """
    heads: list[Path] = []
    for path in sorted({each.absolute() for each in files}, key=lambda p: (len(p.name), p)):
        if not any(path.name.startswith(head.name) for head in heads if _together(head, path)):
            heads.append(path)
    made = []
    for head in heads:
        given = {p.absolute() for p in files if p.name.startswith(head.name) and p.absolute() != head}
        beside = {p for p in head.parent.glob(f"{head.name}[.-]*") if p.is_file()}
        mine = [p for p in given if _closest(p, heads) == head] + sorted(beside - given)
        made.append(Series(live=head, older=tuple(mine)))
    return made


def _together(head: Path, path: Path) -> bool:
    """Two files of one name in two folders are two servers'; an older part may lie anywhere."""
    return path.name != head.name


def _closest(path: Path, heads: Sequence[Path]) -> Path:
    fitting = [head for head in heads if path.name.startswith(head.name)]
    return next((head for head in fitting if head.parent == path.parent), fitting[0])
