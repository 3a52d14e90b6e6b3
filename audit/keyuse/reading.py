"""Follows an audit file over its rotations, in constant memory, complete lines only.

A file is known by its first line with a time, which holds an id that no other line has; a name or an inode says nothing after
a rotation, and a time is what the server's clock said. Each part that was read has a *place*: that first line, bytes read, and
the last line read. So every part is read, from its place on or from its beginning, whatever it is called by now (renamed,
copied and truncated, packed) and whatever times stand in it; last the one that is written to.

A finding each, since a stretch of the record is missing or was changed: the newest place is in no part; a part is shorter than
what was read of it, or different where reading stopped; an older part is empty; a part holds no line that can be read.
"""

import contextlib
import datetime as dt
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NamedTuple

from audit.keyuse.lines import time_of
from core.errors import BadInput

__all__ = ["DAMAGED", "MOST_LINE", "Known", "Line", "Piece", "Place", "Plan", "Series", "group", "next_line", "opened"]

MOST_LINE = 64 * 1024 * 1024
"""Kept in memory. Anybody can make a longer one without logging in: a request of 12 MB whose member is called ``<<<…``."""
_CHUNK: Final = 64 * 1024
_SIZE: Final = 1 << 32
DAMAGED: Final = (OSError, EOFError, zlib.error)
"""What reading raises where a file is broken, packed ones above all."""


class Line(NamedTuple):
    """A line, with its end where it has one."""

    text: bytes
    """Of one that is too long only its last part."""
    size: int

    @property
    def whole(self) -> bool:
        """Whether more of it may follow."""
        return self.text.endswith(b"\n")

    @property
    def too_long(self) -> bool:
        """Longer than ``MOST_LINE``."""
        return self.size > len(self.text)


def next_line(file: IO[bytes]) -> Line:
    """Empty at the end. In bounded memory. Raises ``DAMAGED``."""
    text = file.readline(MOST_LINE)
    size = len(text)
    if size == MOST_LINE:
        while not text.endswith(b"\n") and (more := file.readline(_CHUNK)):
            text, size = more, size + len(more)
    return Line(text, size)


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
    packed: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be read, and what is wrong with the parts: (code, file)."""

    pieces: list[Piece]
    problems: list[tuple[str, str]]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Plain or gzip, told by its first bytes. Raises ``cli.no_such_file``; reading raises ``DAMAGED``."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadInput("cli.no_such_file", file=path.name) from error
    with file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.open(file) as unpacked:
            yield unpacked  # type: ignore[misc]


def know(path: Path, *, live: bool = False) -> Known | None:
    """By its first line that has a time; None for an empty one, and for a live one whose first line is not whole yet.

    Raises ``ValueError`` where it holds something and no such line, ``cli.no_such_file``.
    """
    with opened(path) as file:
        try:
            status, line = path.stat(), next_line(file)
            whole = line.whole
            while line.size:
                began = None if line.too_long or not line.whole else time_of(line.text)
                if began is not None:
                    head = hashlib.sha256(line.text).hexdigest()
                    packed = isinstance(file, gzip.GzipFile)
                    return Known(
                        path=path, head=head, inode=status.st_ino, size=status.st_size, began=began, packed=packed
                    )
                line = next_line(file)
            if not status.st_size or file.tell() == 0 or (live and not whole):
                return None
        except DAMAGED as error:
            raise ValueError(path.name) from error
    raise ValueError(path.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The file that one server writes, with what became of its earlier parts."""

    live: Path
    older: tuple[Path, ...]

    @property
    def name(self) -> str:
        """As places name it."""
        return str(self.live.absolute())

    def parts(self) -> tuple[list[Known], list[tuple[str, str]]]:
        """All parts, oldest first, the live one last, and what is wrong with others. The same one twice counts once: plain
        rather than packed, since packing takes a while, and the longest."""  # noqa: D209
        found: dict[str, Known] = {}
        problems: list[tuple[str, str]] = []
        for path in (self.live, *self.older):
            try:
                known = know(path, live=path == self.live)
            except ValueError:
                problems.append(("keyuse.line_unreadable", path.name))
                continue
            if known is not None:
                other = found.setdefault(known.head, known)
                found[known.head] = max(other, known, key=lambda each: (not each.packed, each.size))
            elif path != self.live:
                problems.append(("keyuse.file_truncated", path.name))
        return sorted(found.values(), key=lambda each: (each.path == self.live, each.began)), problems

    def plan(self, places: Sequence[Place]) -> Plan:
        """``places``: of parts that were read, each with another head; of this series, or found in it."""
        parts, problems = self.parts()
        held = {place.head: place for place in places}
        newest = max(places, key=lambda place: place.at, default=None)
        if newest is not None and all(part.head != newest.head for part in parts):
            problems.append(("keyuse.stretch_missing", self.live.name))
        pieces = []
        for part in parts:
            place = held.get(part.head)
            if place is None:
                pieces.append(self._piece(part, 0))
            elif place is newest or not _is_done(part, place):
                piece, problem = self._from(part, place)
                pieces.append(piece)
                problems += [(problem, part.path.name)] if problem else []
        return Plan(pieces=pieces, problems=problems)

    def _from(self, part: Known, place: Place) -> tuple[Piece, str]:
        problem = _problem(part, place)
        if problem != "keyuse.file_truncated":
            return self._piece(part, place.offset, place if not problem else None), problem
        end, last = _end_of(part)  # what is left was read before; what comes after it is new
        return Piece(file=part, offset=end, live=part.path == self.live, resume=last), problem

    def _piece(self, file: Known, offset: int, place: Place | None = None) -> Piece:
        tail = ("", 0) if place is None else (place.tail, place.tail_size)
        return Piece(file=file, offset=offset, live=file.path == self.live, tail=tail[0], tail_size=tail[1])


def _is_done(part: Known, place: Place) -> bool:
    """A packed one that is as long as what was read of it: not unpacked again for each run."""
    if not part.packed:
        return False
    with part.path.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(4), "little") == place.offset % _SIZE


def _problem(part: Known, place: Place) -> str:
    """Whether the file still holds what was read of it."""
    with opened(part.path) as file:
        try:
            file.seek(place.offset - place.tail_size)
            tail = file.read(place.tail_size)
        except DAMAGED:
            return "keyuse.file_truncated"
    if len(tail) < place.tail_size:
        return "keyuse.file_truncated"
    return "" if hashlib.sha256(tail).hexdigest() == place.tail else "keyuse.file_changed"


def _end_of(file: Known) -> tuple[int, bytes]:
    """(bytes, last line) of what is whole in it."""
    end, last = 0, b""
    with opened(file.path) as lines, contextlib.suppress(*DAMAGED):
        while (line := next_line(lines)).whole:
            end, last = end + line.size, line.text
    return end, last


def group(files: Sequence[Path]) -> list[Series]:
    """Files of one server together: ``audit.log`` with ``audit.log.1``, ``audit.log-20261125.gz``, given or beside it.

    Raises ``cli.no_such_file`` where one that was given is not there.
    """
    for path in files:
        if not path.is_file():
            raise BadInput("cli.no_such_file", file=path.name)
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
