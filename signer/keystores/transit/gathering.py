"""Signatures of one key that are wanted at the same time go to the server in one call.

* The first goes at once. Those that arrive while it is under way wait and go together in the next call.
* A call holds so many items and bytes at most; where more than a full call waits, several of one key are under way.
* The next call leaves before the answer of the last is read: the server signs while we verify.
* What becomes of an item is told to its own caller alone. A caller that gives up leaves the others alone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import ServiceError, Unavailable
from core.limits import LIMITS
from core.values import SignatureAlgorithm
from signer.keystores.model import KeyRef
from signer.keystores.transit.answers import Asked

__all__ = ["Gathering", "Results"]

Results = list[bytes | ServiceError]
Send = Callable[[KeyRef, Sequence[Asked]], Awaitable[Mapping[str, Any]]]
Read = Callable[[KeyRef, Sequence[Asked], Mapping[str, Any]], Awaitable[Results]]


@dataclass(slots=True)
class _Waiting:
    asked: Asked
    answer: "asyncio.Future[bytes | ServiceError]"


@dataclass(slots=True)
class _Line:
    """One key's callers, in the order they came."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    calls: int = 0


class Gathering:
    """Of one store, used from one event loop."""

    def __init__(self, send: Send, read: Read) -> None:
        """``send``: one call, the server's answer. ``read``: one result or error an item, in order.

        A ``ServiceError`` that either raises is told to all items of the call.
        """
        self._send, self._read = send, read
        self._lines: dict[KeyRef, _Line] = {}
        self._waiting = 0
        self._free = asyncio.Semaphore(LIMITS["transit.calls"])
        self._tasks: set[asyncio.Task[None]] = set()

    async def sign(self, ref: KeyRef, asked: Sequence[Asked]) -> Results:
        """One result or error an item, in order. Raises ``key.unavailable`` where too many wait already."""
        if self._waiting + len(asked) > LIMITS["transit.waiting"]:
            raise Unavailable("key.unavailable")
        line = self._lines.get(ref)
        if line is None:
            line = self._lines[ref] = _Line()
            if len(asked) == 1:
                return await self._alone(ref, line, asked)
        loop = asyncio.get_running_loop()
        mine = [_Waiting(one, loop.create_future()) for one in asked]
        line.waiting.extend(mine)
        self._waiting += len(mine)
        self._start(ref, line)
        try:
            return [await one.answer for one in mine]
        finally:
            for one in mine:  # whoever gave up leaves nothing behind that would still be sent
                one.answer.cancel()

    async def _alone(self, ref: KeyRef, line: _Line, asked: Sequence[Asked]) -> Results:
        """The first, in its caller's own task: nobody else is in its call."""
        line.calls += 1
        try:
            return await self._read(ref, asked, await self._one_call(ref, line, asked))
        except ServiceError as error:
            return [error]

    async def _one_call(self, ref: KeyRef, line: _Line, asked: Sequence[Asked]) -> Mapping[str, Any]:
        """The line goes on when the answer is there; it is read afterwards."""
        try:
            async with self._free:
                return await self._send(ref, asked)
        finally:
            line.calls -= 1
            self._start(ref, line)

    def _start(self, ref: KeyRef, line: _Line) -> None:
        most = _most(ref)
        while line.waiting and (
            not line.calls or (len(line.waiting) >= most and line.calls < LIMITS["transit.key_calls"])
        ):
            group = self._next(line, most)
            if group:
                line.calls += 1
                task = asyncio.create_task(self._call(ref, line, group))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        if not line.waiting and not line.calls:
            self._lines.pop(ref, None)

    def _next(self, line: _Line, most: int) -> list[_Waiting]:
        group: list[_Waiting] = []
        room = LIMITS["transit.batch_bytes"]
        while line.waiting and len(group) < most:
            size = len(line.waiting[0].asked.to_sign.value)
            if group and size > room:
                break
            one = line.waiting.popleft()
            self._waiting -= 1
            if not one.answer.done():
                group.append(one)
                room -= size
        return group

    async def _call(self, ref: KeyRef, line: _Line, group: list[_Waiting]) -> None:
        asked = [one.asked for one in group]
        try:
            answer = await self._one_call(ref, line, asked)
            for one, result in zip(group, await self._read(ref, asked, answer), strict=True):
                _tell(one, result)
        except ServiceError as error:
            for one in group:  # an error of one's own: who raises it adds a traceback
                _tell(one, type(error)(error.code, **error.evidence))
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not leave callers waiting for ever
            for one in group:
                if not one.answer.done():
                    one.answer.set_exception(error)
        finally:
            for one in group:  # this task was cancelled: the loop ends
                one.answer.cancel()


def _tell(one: _Waiting, result: bytes | ServiceError) -> None:
    if not one.answer.done():
        one.answer.set_result(result)


def _most(ref: KeyRef) -> int:
    slow = ref.algorithm in {SignatureAlgorithm.RSA_PKCS1_SHA256, SignatureAlgorithm.RSA_PSS_SHA256}
    return LIMITS["transit.rsa_batch" if slow else "transit.batch"]
