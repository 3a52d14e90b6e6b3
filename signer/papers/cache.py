"""Pictures of pages, kept for a while: the first as soon as it is drawn, its neighbours while the person reads.

A paper goes into the sandbox once for a batch of pages, not once a page: pages that are asked for while others are drawn
make up the next batch.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from core.errors import NotFound, ServiceError
from core.limits import LIMITS
from core.sandbox import Sandbox
from signer.papers import work

__all__ = ["PageCache", "page_image", "page_text"]

_NARROWEST, _WIDEST, _STEP = 160, 2_000, 160
Key = tuple[str, int, int]
"""Name of the document, page, width."""


async def page_image(sandbox: Sandbox, document: bytes, page: int, width: int) -> bytes:
    """WebP picture of a page (counted from 0), ``width`` pixels wide: 160 to 2000, anything else is brought there.

    Raises ``request.no_such_page``, ``request.paper_unreadable``, ``sandbox.*``.
    """
    made, _ = await _drawn(sandbox, document, [page], min(max(width, _NARROWEST), _WIDEST))
    return made[0]


async def page_text(sandbox: Sandbox, document: bytes, page: int) -> str:
    """The text of a page (counted from 0), empty for a scan. Raises as ``page_image``."""
    found, _ = await sandbox.run(work.text, document, {"page": page})
    return str(found["text"])


async def _drawn(sandbox: Sandbox, document: bytes, pages: Sequence[int], width: int) -> tuple[list[bytes], int]:
    """The pictures, and how many pages the document has."""
    found, blob = await sandbox.run(work.pictures, document, {"pages": list(pages), "width": width})
    made, at = [], 0
    for size in found["sizes"]:
        made.append(blob[at : at + size])
        at += size
    return made, int(found["pages"])


@dataclass(slots=True)
class _Paper:
    """One document at one width, while pages of it are wanted."""

    wanted: dict[int, asyncio.Future[bytes]] = field(default_factory=dict)
    """Asked for and not yet given to the sandbox."""
    drawing: dict[int, asyncio.Future[bytes]] = field(default_factory=dict)
    work: asyncio.Task[None] | None = None
    last: int = 0
    """The page asked for last."""


class PageCache:
    """Drawn pages by document, page and width, at most ``most_bytes`` of them; the least used go first.

    Widths are rounded up to the next step of 160 so that phones of nearly the same size share.
    """

    def __init__(
        self, *, sandbox: Sandbox, load: Callable[[str], Awaitable[bytes]],
        most_bytes: int = LIMITS["paper.cache_bytes"],
    ) -> None:  # fmt: skip
        """``load``: a document by its name (``Documents.get``)."""
        self._sandbox, self._load, self._most = sandbox, load, most_bytes
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0
        self._papers: dict[tuple[str, int], _Paper] = {}
        self._slots = asyncio.Semaphore(LIMITS["paper.drawing"])
        self._spare = asyncio.Lock()
        """Only one paper at a time is drawn ahead, so that somebody who waits finds room."""
        self._ahead: set[asyncio.Task[None]] = set()

    async def image(self, document: str, page: int, width: int) -> bytes:
        """WebP picture. Raises ``request.no_such_page``, ``store.*``, ``sandbox.*``."""
        width = min(-(-max(width, _NARROWEST) // _STEP) * _STEP, _WIDEST)
        if page < 0:
            raise NotFound("request.no_such_page", pages=0)
        kept = self._kept.get((document, page, width))
        if kept is not None:
            self._kept.move_to_end((document, page, width))
            return kept
        paper = self._papers.setdefault((document, width), _Paper())
        paper.last = page
        waiting = paper.drawing.get(page) or paper.wanted.get(page)
        if waiting is None:
            waiting = paper.wanted[page] = _promise()
        if paper.wanted and paper.work is None:
            paper.work = asyncio.create_task(self._serve(document, width, paper))
        return await asyncio.shield(waiting)

    async def text(self, document: str, page: int) -> str:
        """The text of a page. Raises as ``image``."""
        async with self._slots:
            return await page_text(self._sandbox, await self._load(document), page)

    async def settle(self) -> None:
        """Wait until nothing is being drawn."""
        while tasks := [*self._ahead, *(p.work for p in self._papers.values() if p.work is not None)]:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # what ended takes itself off the lists

    async def _serve(self, document: str, width: int, paper: _Paper) -> None:
        """Batches until nobody waits; then the neighbours of what was asked for last."""
        count = 0
        while paper.wanted:
            pages = list(paper.wanted)[: LIMITS["paper.batch"]]
            async with self._slots:
                count = await self._draw(document, width, paper, pages)
        paper.work = None
        near = range(paper.last + 1, min(paper.last + 1 + LIMITS["paper.ahead"], count))
        pages = [p for p in near if (document, p, width) not in self._kept and p not in paper.drawing]
        if pages and not self._spare.locked():
            paper.wanted |= {page: _promise() for page in pages}
            task = asyncio.create_task(self._draw_ahead(document, width, paper, pages))
            self._ahead.add(task)
            task.add_done_callback(self._ahead.discard)
        else:
            self._forget(document, width, paper)

    async def _draw_ahead(self, document: str, width: int, paper: _Paper, pages: list[int]) -> None:
        async with self._spare, self._slots:
            left = [page for page in pages if page in paper.wanted]  # the others were asked for meanwhile
            if left:
                await self._draw(document, width, paper, left)
        self._forget(document, width, paper)

    def _forget(self, document: str, width: int, paper: _Paper) -> None:
        if not paper.wanted and not paper.drawing and paper.work is None:
            self._papers.pop((document, width), None)

    async def _draw(self, document: str, width: int, paper: _Paper, pages: list[int]) -> int:
        """Draw ``pages`` for who waits; returns the document's number of pages, 0 if it could not be learnt."""
        batch = {page: paper.wanted.pop(page) for page in pages}
        paper.drawing |= batch
        count = 0
        try:
            data = await self._load(document)
            made, count = await self._one_by_one(data, pages, width)
            for page, picture in made.items():
                if isinstance(picture, bytes):
                    self._keep((document, page, width), picture)
                    batch[page].set_result(picture)
                else:
                    batch[page].set_exception(picture)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is told to who waits
            for waiting in batch.values():
                if not waiting.done():
                    waiting.set_exception(error)
        finally:
            for page, waiting in batch.items():
                paper.drawing.pop(page, None)
                waiting.cancel()  # nothing if it was answered
        return count

    async def _one_by_one(
        self, data: bytes, pages: list[int], width: int
    ) -> tuple[dict[int, bytes | ServiceError], int]:
        """All at once; where that fails each for itself, so that a bad page takes no other with it."""
        try:
            pictures, count = await _drawn(self._sandbox, data, pages, width)
            return dict(zip(pages, pictures, strict=True)), count
        except ServiceError as error:
            if len(pages) == 1:
                return {pages[0]: error}, 0
        made: dict[int, bytes | ServiceError] = {}
        count = 0
        for page in pages:
            one, seen = await self._one_by_one(data, [page], width)
            made |= one
            count = max(count, seen)
        return made, count

    def _keep(self, key: Key, picture: bytes) -> None:
        self._bytes += len(picture) - len(self._kept.pop(key, b""))
        self._kept[key] = picture
        while self._bytes > self._most and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped)


def _promise() -> asyncio.Future[bytes]:
    """A page to come. Its failure is nobody's news if nobody waits for it any more."""
    waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    waiting.add_done_callback(_seen)
    return waiting


def _seen(waiting: asyncio.Future[bytes]) -> None:
    if not waiting.cancelled():
        waiting.exception()
