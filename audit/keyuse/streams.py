"""One server's audit files, read one after the other in pages.

Its clock may say anything, and be set for a moment: a time that is later than now, or runs back further than the horizon, is a
finding; such a line counts as of the newest time before it, so that it is compared at once and stops nothing.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from audit.keyuse.lines import LineReader, RawLine, in_order, time_of
from audit.keyuse.model import Call, Finding, Operation, Severity
from audit.keyuse.reading import DAMAGED, Line, Piece, Place, Series, next_line, opened
from core.limits import LIMITS

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
    at: dt.datetime | None = None
    """Of the newest line, by a clock that does not run ahead or back."""
    skip_until: dt.datetime | None = None
    """Of a server that was not read before: what is older cannot be compared any more."""
    file: IO[bytes] | None = None
    held: Any = None
    offset: int = 0
    head: str = ""
    inode: int = 0
    tail: bytes = b""
    second: bytes = b""
    places: dict[str, Place] = field(default_factory=dict)
    """Where each part stands that was read since the last save, by its first line."""
    done: bool = False
    younger: bool = False
    """It ended at a line that is the next run's."""
    read: int = 0
    """Lines."""

    def _mark(self) -> None:
        if self.tail and self.at is not None:
            tail = hashlib.sha256(self.tail).hexdigest()
            self.places[self.head] = Place(
                series=self.series.name, head=self.head, inode=self.inode, offset=self.offset, tail=tail,
                tail_size=len(self.tail), at=self.at,
            )  # fmt: skip

    def stands(self, until: dt.datetime, *, live: bool) -> dt.datetime | None:
        """Up to when all its lines are known. ``live``: the server writes the file itself, so what is not there did not happen."""
        if self.done and (self.younger or (live and self.series.live.suffix != ".gz")):
            return until
        return self.at

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
        self.tail, self.head, self.inode = piece.resume, piece.file.head, piece.file.inode
        self.held = opened(piece.file.path)
        self.file = self.held.__enter__()
        self.file.seek(piece.offset)
        if piece.offset and not piece.resume and not piece.tail_size:
            self.file.seek(piece.offset - 1)  # the place has changed: begin with the next whole line
            next_line(self.file)
        self.offset = self.file.tell()
        return True

    def page(self, reader: LineReader, until: dt.datetime, now: dt.datetime) -> Page:
        """Some thousand lines from before ``until``; may run in a thread."""
        page = Page()
        while page.lines < _PAGE_LINES:
            try:
                if self.file is None and not self.next_file():
                    self.done = True
                    break
                assert self.file is not None
                line = next_line(self.file)
            except DAMAGED:
                self._end_of_file(page, damaged=True)
                continue
            if not line.whole:
                self._end_of_file(page, damaged=line.size > 0 and not self.pieces[0].live)
                continue
            text = self._in_time(line, until, now, page)
            if text is None:
                self.done = self.younger = True
                break
            page.lines += 1
            page.size += line.size
            self.offset += line.size
            self.tail = line.text
            if line.too_long:
                page.problems.append(self._broken("keyuse.line_unreadable", self.pieces[0].file.path, self.at))
            else:
                self._line(reader, text, page)
        self.read += page.lines
        self._mark()
        return page

    def _end_of_file(self, page: Page, *, damaged: bool) -> None:
        piece = self.pieces.pop(0)
        if damaged:
            page.problems.append(self._broken("keyuse.line_unreadable", piece.file.path, self.at))
        self._mark()
        self.close()

    def _in_time(self, line: Line, until: dt.datetime, now: dt.datetime, page: Page) -> bytes | None:
        """The line, with a time that can be; None where it is younger than what our side is sure of."""
        text = in_order(line.text)
        if text[:28] == self.second or line.too_long:
            return text
        at = time_of(text)
        if at is None:
            return text
        horizon = dt.timedelta(seconds=LIMITS["keyuse.horizon_seconds"])
        if at <= now + horizon and at.replace(microsecond=0) >= until.replace(microsecond=0):
            return None
        if at <= now + horizon and (self.at is None or at >= self.at - horizon):
            self.second = text[:28]
            self.at = at if self.at is None else max(at, self.at)
            return text
        wrong = self._broken("keyuse.clock_wrong", self.pieces[0].file.path, at)
        page.problems.append(replace(wrong, severity=Severity.WARNING))
        counted = self.at or min(at, until)
        return b'{"time":"' + counted.isoformat().encode() + text[text.index(b'"', 9) :]

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
            page.problems.append(self._broken("keyuse.line_unreadable", path, time_of(line) or self.at))
            cut = line.rfind(b'{"time":"')
            if cut > 0:  # written on after a cut: the second of the two is whole
                self._line(reader, line[cut:], page)

    @staticmethod
    def _broken(code: str, path: Path, at: dt.datetime | None) -> Finding:
        return Finding(code=code, severity=Severity.CRITICAL, key=None, what=path.name, first_at=at, last_at=at)
