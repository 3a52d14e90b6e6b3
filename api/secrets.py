"""Key files that sign nothing: one that web, worker and signer share, and one for what the signer knows about people."""

import contextlib
import os
from pathlib import Path

from core.errors import BadInput, NotFound
from core.ids import random_bytes
from core.settings import Settings

__all__ = ["is_home", "people_key", "web_key"]


def is_home(home: Path) -> bool:
    """Whether ``create_home`` has been here."""
    return (home / "home.json").is_file()


def web_key(settings: Settings) -> bytes:
    """Of web, worker and signer. Raises ``home.missing``, ``home.web_key``."""
    return _kept(settings.web_key, settings)


def people_key(settings: Settings) -> bytes:
    """Of the signer alone: hashes numbers of people, seals their addresses. Raises ``home.missing``, ``home.web_key``."""
    return _kept(settings.people_key, settings)


def _kept(path: Path, settings: Settings) -> bytes:
    """Thirty-two bytes; nothing that signs. Made once."""
    if not path.exists():
        if not is_home(settings.home):
            raise NotFound("home.missing", home=str(settings.home))
        made = path.with_suffix(f".{os.getpid()}")
        made.touch(mode=0o600)
        made.write_bytes(random_bytes(32))
        with contextlib.suppress(FileExistsError):
            os.link(made, path)  # whoever is first wins; all read the same
        made.unlink()
    key = path.read_bytes()
    if len(key) != 32:
        raise BadInput("home.web_key", file=path.name)
    return key
