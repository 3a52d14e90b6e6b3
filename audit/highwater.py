"""The log's high-water mark: an independent store that never goes back, so that a restored database cannot equivocate."""

import fcntl
import json
import os
from pathlib import Path
from typing import Protocol

from core.errors import Unavailable

__all__ = ["FileHighWater", "HighWater", "Mark", "MemoryHighWater"]

Mark = tuple[int, bytes]
"""(size, root)."""


class HighWater(Protocol):
    """Compare-and-set is atomic over processes and durable when it returns."""

    def read(self) -> Mark | None:
        """The mark, None before the first."""

    def compare_and_set(self, old: Mark | None, new: Mark) -> bool:
        """Set ``new`` if the mark is still ``old``."""


class MemoryHighWater:
    """For tests."""

    def __init__(self) -> None:
        self._mark: Mark | None = None

    def read(self) -> Mark | None:
        """The mark."""
        return self._mark

    def compare_and_set(self, old: Mark | None, new: Mark) -> bool:
        """Set ``new`` if the mark is still ``old``."""
        if self._mark != old:
            return False
        self._mark = new
        return True


class FileHighWater:
    """A small file, best on another volume than the database; replaced by rename after fsync, under a lock file."""

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
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.read() != old:
                    return False
                part = self._path.with_suffix(".part")
                with part.open("w") as file:
                    json.dump({"size": new[0], "root": new[1].hex()}, file)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(self._path)
                folder = os.open(self._path.parent, os.O_RDONLY)
                os.fsync(folder)
                os.close(folder)
                return True
        except OSError as error:
            raise Unavailable("log.highwater_unavailable") from error
