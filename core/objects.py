"""Documents by content: the name of an object is the SHA-256 of its bytes; written once, checked when read."""

from pathlib import Path

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from core.errors import Broken, NotFound, Unavailable
from core.values import Digest

__all__ = ["Documents"]


class Documents:
    """Content-addressed and write-once. ``put`` returns only after the bytes are stored; putting twice is harmless."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str, home: Path) -> "Documents":
        """A local folder under ``home`` when ``url`` is empty, else what the URL names (``s3://``, ``file://``)."""
        if url == "memory:":
            return cls(MemoryStore())
        if url:
            return cls(from_url(url))
        return cls(LocalStore(prefix=home / "objects", mkdir=True))

    @staticmethod
    def _path(name: str) -> str:
        return f"{name[:2]}/{name}"

    async def put(self, data: bytes) -> str:
        """Store ``data``; returns its name (64 hex digits). Raises ``store.full``."""
        name = Digest.of(data).hex
        try:
            await self._store.put_async(self._path(name), data, mode="create")
        except AlreadyExistsError:
            pass  # same name, same bytes: read back and checked by whoever uses it
        except (BaseError, OSError) as error:
            raise Unavailable("store.full") from error
        return name

    async def get(self, name: str) -> bytes:
        """The bytes of ``name``, checked against it. Raises ``store.missing``, ``store.damaged``."""
        try:
            data = bytes(await (await self._store.get_async(self._path(name))).bytes_async())
        except (FileNotFoundError, BaseError) as error:
            raise NotFound("store.missing", document=name[:12]) from error
        if Digest.of(data).hex != name:
            raise Broken("store.damaged", document=name[:12])
        return data
