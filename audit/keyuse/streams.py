"""One server's audit files, read one after the other in pages."""

import datetime as dt
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from audit.keyuse.lines import LineReader, RawLine, time_of
from audit.keyuse.model import Call, Finding, Operation, Severity
from audit.keyuse.reading import MOST_LINE, Piece, Place, Series, opened

__all__ = ["Page", "Stream"]

_PAGE_LINES = 5_000


@dataclass(slots=True)
class Page:
    """What some thousand lines told."""

    items: list[Call | Operation] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    lines: int = 0
    size: int = 0


@dataclass(slots=True)
class Stream:
    """One server's files, one after the other."""

    series: Series
    pieces: list[Piece]
    before: str | None
    skip_until: dt.datetime | None = None
    """Of a server that was not read before: what is older cannot be compared any more."""
    file: IO[bytes] | None = None
    held: Any = None
    offset: int = 0
    head: str = ""
    inode: int = 0
    tail: bytes = b""
    at: dt.datetime | None = None
    done: bool = False
    moved: bool = False

    def place(self) -> Place | None:
        """Where it stands; None where nothing new was read."""
        if not self.moved or self.at is None:
            return None
        tail = hashlib.sha256(self.tail).hexdigest()
        return Place(
            series=self.series.name, head=self.head, inode=self.inode, offset=self.offset, tail=tail,
            tail_size=len(self.tail), at=self.at,
        )  # fmt: skip

    def close(self) -> None:
        """The file that is open, if one is."""
        if self.held is not None:
            self.held.__exit__(None, None, None)
        self.file = self.held = None

    def next_file(self) -> bool:
        """Opens the next piece; false when there is none."""
        self.close()
        if not self.pieces:
            return False
        piece = self.pieces[0]
        self.held = opened(piece.file.path)
        self.file = self.held.__enter__()
        self.file.seek(piece.offset)
        if piece.resume:
            self.tail, self.moved = piece.resume, True
        elif piece.offset and not piece.tail_size:  # the place has changed: begin with the next whole line
            self.file.seek(piece.offset - 1)
            self.file.readline(MOST_LINE)
        self.offset, self.head, self.inode = self.file.tell(), piece.file.head, piece.file.inode
        return True

    def page(self, reader: LineReader, until: dt.datetime) -> Page:
        """Some thousand lines from before ``until``; may run in a thread."""
        page = Page()
        limit = until.strftime("%Y-%m-%dT%H:%M:%S").encode()
        while page.lines < _PAGE_LINES:
            if self.file is None and not self.next_file():
                self.done = True
                break
            assert self.file is not None
            line = self.file.readline(MOST_LINE)
            if not line.endswith(b"\n"):
                self._end_of_file(line, page)
                continue
            if line[9:28] >= limit and line[:9] == b'{"time":"':
                self.done = True  # younger than what our side is sure of: the next run's
                break
            page.lines += 1
            page.size += len(line)
            self.offset += len(line)
            self.tail, self.moved = line, True
            self._line(reader, line, page)
        if self.tail:
            self.at = time_of(self.tail) or self.at
        return page

    def _end_of_file(self, rest: bytes, page: Page) -> None:
        piece = self.pieces.pop(0)
        if rest and not piece.live:
            page.problems.append(self._broken("keyuse.line_unreadable", piece.file.path, self.at))
        self.close()
        if piece.live:
            self.done = True

    def _line(self, reader: LineReader, line: bytes, page: Page) -> None:
        if self.skip_until is not None:
            at = time_of(line)
            if at is not None and at < self.skip_until:
                return
        path = self.pieces[0].file.path
        try:
            page.items += reader.read(line)
        except RawLine:
            page.problems.append(self._broken("keyuse.raw_audit", path, time_of(line)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            page.problems.append(self._broken("keyuse.line_unreadable", path, time_of(line)))
            cut = line.rfind(b'{"time":"')
            if cut > 0:  # written on after a cut: the second of the two is whole
                self._line(reader, line[cut:], page)

    @staticmethod
    def _broken(code: str, path: Path, at: dt.datetime | None) -> Finding:
        return Finding(code=code, severity=Severity.CRITICAL, key=None, what=path.name, first_at=at, last_at=at)
