"""In-memory doubles that pass the same contract suites as the real adapters."""

import asyncio

from core.errors import Broken
from core.ids import new_id
from core.jobs import Note, Work, worth_repeating


class MemoryJobs:
    """Satisfies ``core.jobs.Jobs``; ``left`` stands for the database that outlives the process."""

    def __init__(self, left: dict[str, tuple[str, str]], clock) -> None:
        self._left, self._clock = left, clock
        self._work: dict[str, Work] = {}
        self._tasks: set[asyncio.Task] = set()

    def serve(self, kind: str, work: Work) -> None:
        self._work[kind] = work

    async def start(self) -> None:
        for run in list(self._left):
            task = asyncio.create_task(self._quietly(run))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _quietly(self, run: str) -> None:
        try:
            await self._do(run, lambda _: None)
        except Exception:
            return

    async def _do(self, run: str, note: Note) -> str:
        kind, key = self._left[run]
        try:
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
        finally:
            if not asyncio.current_task().cancelling():
                self._left.pop(run, None)

    async def run(self, kind: str, key: str, note: Note = lambda _: None) -> str:
        run = new_id(self._clock)
        self._left[run] = kind, key
        return await self._do(run, note)

    async def under_way(self) -> set[tuple[str, str]]:
        return set(self._left.values())

    async def settle(self, seconds: float) -> bool:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        return not self._left

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
