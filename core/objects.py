"""Documents by content: the name of an object is the SHA-256 of its bytes; written once, checked when read."""

from collections import OrderedDict
from pathlib import Path

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from core.errors import Broken, NotFound, Unavailable
from core.values import Digest

__all__ = ["Documents"]

_KEPT, _KEPT_BYTES = 16, 32 * 2**20


class Documents:
    """Content-addressed and write-once. ``put`` returns only after the bytes are stored; putting twice is harmless.

    What was lately put is kept in memory: a copy's steps hand one document on, and its name says what it is.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._recent: OrderedDict[str, bytes] = OrderedDict()

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
        self._remember(name, data)
        return name

    def _remember(self, name: str, data: bytes) -> None:
        self._recent[name] = data
        while len(self._recent) > _KEPT or sum(map(len, self._recent.values())) > _KEPT_BYTES:
            self._recent.popitem(last=False)

    async def get(self, name: str) -> bytes:
        """The bytes of ``name``, checked against it. Raises ``store.missing``, ``store.damaged``."""
        if name in self._recent:
            return self._recent[name]
        try:
            data = bytes(await (await self._store.get_async(self._path(name))).bytes_async())
        except (FileNotFoundError, BaseError) as error:
            raise NotFound("store.missing", document=name[:12]) from error
        if Digest.of(data).hex != name:
            raise Broken("store.damaged", document=name[:12])
        return data
