"""In-memory doubles that pass the same contract suites as the real adapters."""

import asyncio
import contextlib
import time

from core.errors import Broken
from core.ids import new_id
from core.jobs import Again, Note, Work, worth_repeating


class MemoryJobs:
    """Satisfies ``core.jobs.Jobs``; ``left`` stands for the database that outlives the process.

    It holds, by run: the kind, the key, and when it is to be run (None once it is over).
    """

    def __init__(self, left: dict[str, tuple[str, str, float | None]], clock) -> None:
        self._left, self._clock = left, clock
        self._work: dict[str, Work] = {}
        self._tasks: set[asyncio.Task] = set()

    def serve(self, kind: str, work: Work) -> None:
        self._work[kind] = work

    async def start(self) -> None:
        for run, (_, _, due) in list(self._left.items()):
            if due is not None:
                self._go_on(run)

    def _go_on(self, run: str) -> None:
        task = asyncio.create_task(self._quietly(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, run: str) -> None:
        with contextlib.suppress(Exception):
            await self._do(run, lambda _: None)

    async def _do(self, run: str, note: Note) -> str:
        kind, key, due = self._left[run]
        try:
            while True:
                await asyncio.sleep(due - time.monotonic())
                try:
                    return await self._once(kind, key, note)
                except Again as again:
                    due = time.monotonic() + again.seconds
                    self._left[run] = kind, key, due
        finally:
            if not asyncio.current_task().cancelling():
                self._left[run] = kind, key, None

    async def _once(self, kind: str, key: str, note: Note) -> str:
        if kind not in self._work:
            raise Broken("jobs.unknown_kind", kind=kind)
        for attempt in range(4):
            try:
                return await self._work[kind](key, note)
            except Exception as error:
                if attempt == 3 or not worth_repeating(error):
                    raise
                await asyncio.sleep(0)
        raise AssertionError

    async def run(self, kind: str, key: str, note: Note = lambda _: None) -> str:
        run = new_id(self._clock)
        self._left[run] = kind, key, time.monotonic()
        return await self._do(run, note)

    async def submit(self, kind: str, key: str, run: str) -> None:
        run = f"{kind}/{key}/{run}"
        if run not in self._left:
            self._left[run] = kind, key, time.monotonic()
            self._go_on(run)

    async def adopt(self) -> None:
        return

    async def under_way(self) -> set[tuple[str, str]]:
        return {(kind, key) for kind, key, due in self._left.values() if due is not None}

    async def settle(self, seconds: float) -> bool:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        return not await self.under_way()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
