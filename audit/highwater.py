"""The log's high-water mark: an independent store that never goes back, so that a restored database cannot equivocate.

Only people set it back (``audit/release.py``): ``replace`` keeps what stood there, with the record of who and why, for ever.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from core.errors import Conflict, Unavailable
from core.formats import canonical_json

__all__ = ["FileHighWater", "HighWater", "Mark", "MemoryHighWater"]

Mark = tuple[int, bytes]
"""(size, root)."""


class HighWater(Protocol):
    """Compare-and-set is atomic over processes and durable when it returns."""

    def read(self) -> Mark | None:
        """The mark, None before the first."""

    def compare_and_set(self, old: Mark | None, new: Mark) -> bool:
        """Set ``new`` if the mark is still ``old``."""

    def replace(self, old: Mark | None, new: Mark, record: dict[str, Any]) -> str:
        """Set ``new``, also a lower one; first keep ``old`` with ``record`` (canonical JSON), which nothing ever overwrites.

        Returns the name of what was kept. Raises ``log.mark_moved`` if the mark is not ``old`` any more.
        """


class MemoryHighWater:
    """For tests."""

    def __init__(self) -> None:
        self._mark: Mark | None = None
        self.kept: dict[str, bytes] = {}

    def read(self) -> Mark | None:
        """The mark."""
        return self._mark

    def compare_and_set(self, old: Mark | None, new: Mark) -> bool:
        """Set ``new`` if the mark is still ``old``."""
        if self._mark != old:
            return False
        self._mark = new
        return True

    def replace(self, old: Mark | None, new: Mark, record: dict[str, Any]) -> str:
        """Set ``new``, and keep ``old``."""
        name, data = _evidence(old, record)
        if self._mark != old:
            raise Conflict("log.mark_moved")
        self.kept.setdefault(name, data)
        self._mark = new
        return name


class FileHighWater:
    """A small file, best on another volume than the database; replaced by rename after fsync, under a lock file.

    ``mark.json`` that was replaced is ``mark-<size>-<digest of this evidence>.json`` beside it, readable by its owner alone: the record
    names people.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Mark | None:
        """The mark. Raises ``log.highwater_unavailable`` when the file cannot be read as one."""
        try:
            value = json.loads(self._path.read_text())
            return int(value["size"]), bytes.fromhex(value["root"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable("log.highwater_unavailable") from error

    def compare_and_set(self, old: Mark | None, new: Mark) -> bool:
        """Set ``new`` if the mark is still ``old``."""
        with self._locked():
            if self.read() != old:
                return False
            self._write(self._path, _mark(new))
            return True

    def replace(self, old: Mark | None, new: Mark, record: dict[str, Any]) -> str:
        """Set ``new``, and keep ``old``; a crash between the two leaves the old mark and its evidence."""
        name, data = _evidence(old, record)
        kept = self._path.with_name(f"{self._path.stem}-{name}{self._path.suffix}")
        with self._locked():
            if self.read() != old:
                raise Conflict("log.mark_moved")
            if not kept.exists():  # its name is its digest: what has it is the same
                self._write(kept, data, mode=0o600)
            self._write(self._path, _mark(new))
        return kept.name

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise Unavailable("log.highwater_unavailable") from error

    def _write(self, path: Path, data: bytes, mode: int = 0o666) -> None:
        """Whole and durable, or not at all."""
        part = self._path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _mark(mark: Mark) -> bytes:
    return json.dumps({"size": mark[0], "root": mark[1].hex()}).encode()


def _evidence(old: Mark | None, record: dict[str, Any]) -> tuple[str, bytes]:
    """What is kept, and its name."""
    mark = None if old is None else {"size": old[0], "root": old[1].hex()}
    data = canonical_json.encode({"mark": mark, "record": record})
    return f"{'none' if old is None else old[0]}-{hashlib.sha256(data).hexdigest()[:16]}", data
