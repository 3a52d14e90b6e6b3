"""Takes requests from the inbox to the desk: intake, number, and on until the copy rests or waits for a person.

Woken directly; a sweep now and then finds what a dead process left. What a request did wrong is written beside it; what
may pass (a part that does not answer) puts it back.
"""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from audit.outbox import EventType, Outbox
from core.clock import Clock
from core.db import Database, UnitOfWork
from core.errors import Conflict, ServiceError, Unavailable
from core.jobs import Jobs
from core.limits import LIMITS
from core.logs import code_of, logger
from core.objects import Documents
from core.sandbox import Sandbox
from signer.copies import store
from signer.copies.desk import CopyDesk
from signer.copies.inbox import Inbox, PortalRequest
from signer.copies.intake import take_in
from signer.keystores.model import is_away

__all__ = ["Reception"]

_LONGEST_REST = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """One in each signer process; several share one inbox."""

    db: Database
    clock: Clock
    inbox: Inbox
    desk: CopyDesk
    documents: Documents
    sandbox: Sandbox
    jobs: Jobs
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LIMITS["inbox.at_once"]))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _held: set[str] = field(default_factory=set)
    _busy: set[str] = field(default_factory=set)
    _waiting: dict[str, list[asyncio.Future[None]]] = field(default_factory=dict)
    _resting: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Copy → not before (monotonic seconds), and how long it rested last."""

    async def serve(self) -> None:
        """Until cancelled: take what is there, then wait for the bell."""
        while True:
            self.bell.clear()
            try:
                while await self._take():
                    pass
                await self.jobs.adopt()
                await self._take_up()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next sweep looks again
                logger().warning("inbox.stopped", code=code_of(error))
            try:
                await asyncio.wait_for(self.bell.wait(), LIMITS["inbox.sweep_seconds"])
            except TimeoutError:
                continue

    async def hold(self) -> None:
        """Until cancelled: renew the leases of what is being taken in, here or for a batch."""
        while True:
            await asyncio.sleep(LIMITS["inbox.lease_seconds"] / 3)
            if self._held:
                try:
                    async with self.db.write() as uow:
                        await self.inbox.renew(uow, list(self._held))
                except Exception as error:  # noqa: BLE001 - the next renewal is soon
                    logger().warning("inbox.not_renewed", code=code_of(error))

    async def _take_up(self) -> None:
        """Copies that rest for no person and whose job has ended: a part did not answer for too long, or a crash."""
        async with self.db.read() as uow:
            left = await store.interrupted(uow, self.clock.now())
        if left := [copy_id for copy_id in left if copy_id not in self._busy and not self._rests(copy_id)]:
            known = {key for kind, key in await self.jobs.under_way() if kind == "copy"}
            # a run of ours that failed is over, whatever its job's row says: the database may not have heard of it
            for copy_id in [e for e in left if e not in known or e in self._resting][: LIMITS["inbox.at_once"]]:
                self.go_on(copy_id)

    async def _take(self) -> bool:
        """Start the next ones as soon as there is room; false when nothing is left."""
        async with self._room:
            async with self.db.write() as uow:
                taken = await self.inbox.take(uow, 1)
        self.held(taken)
        for request in taken:
            await self._room.acquire()
            self._busy.add(request.id)
            task = asyncio.create_task(self._one(request))
            self._tasks.add(task)
            task.add_done_callback(self._done)
        return bool(taken)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _one(self, request: PortalRequest) -> None:
        try:
            if await self.admit(request):
                await self._advance(request.id)
        finally:
            self.settled(request.id)

    def go_on(self, *copy_ids: str) -> None:
        """A person has answered: the copies' work goes on, and whoever waits for one is told at its end.

        The first spends the approval for all of them; the others then have a key use that is intended already.
        """
        self._busy.update(copy_ids)
        first, *others = copy_ids
        left = iter(others)

        async def one(copy_id: str) -> None:
            try:
                await self._advance(copy_id)
            finally:
                self.settled(copy_id)

        async def hand() -> None:
            for copy_id in left:
                await one(copy_id)

        async def work() -> None:
            await one(first)
            await asyncio.gather(*(hand() for _ in range(LIMITS["inbox.at_once"])))

        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _advance(self, copy_id: str) -> None:
        try:
            await self.jobs.run("copy", copy_id)
            self._resting.pop(copy_id, None)
        except Exception as error:  # noqa: BLE001 - it waits for a person, or a sweep takes it up again: the row says which
            logger().info("copy.rests", id=copy_id, code=code_of(error))
            _, last = self._resting.get(copy_id, (0.0, LIMITS["inbox.sweep_seconds"] / 2))
            rest = LIMITS["keys.away_seconds"] if is_away(error) else min(2 * last, _LONGEST_REST)
            self._resting[copy_id] = time.monotonic() + rest, rest

    def _rests(self, copy_id: str) -> bool:
        """Whether a sweep leaves it alone for now: what fails again and again must not take the others' turn."""
        return self._resting.get(copy_id, (0.0, 0.0))[0] > time.monotonic()

    def held(self, taken: Collection[PortalRequest]) -> None:
        """Taken and not settled yet; ``admit`` lets each go."""
        self._held.update(request.id for request in taken)

    async def admit(self, request: PortalRequest) -> bool:
        """Intake and number; false where the request was refused or put back."""
        try:
            return await self._admit(request)
        finally:
            self._held.discard(request.id)

    async def _admit(self, request: PortalRequest) -> bool:

        async def settle(uow: UnitOfWork) -> None:
            await self.inbox.accepted(uow, request.id)

        try:
            files = [await self.documents.get(name) for name in request.files]
            wanted = request.to_desk()
            intake = await take_in(self.sandbox, files, title=wanted.kind)
            await self.desk.attest(intake, wanted, copy_id=request.id, settle=settle)
        except (Unavailable, Conflict) as error:
            logger().warning("request.put_back", id=request.id, code=error.code)
            counts = not is_away(error)
            if counts and request.tries + 1 >= LIMITS["inbox.tries"]:
                await self._refuse(request, error.code, error.plain())
                return False
            async with self.db.write() as uow:
                await self.inbox.put_back(uow, request, counts=counts)
            return False
        except ServiceError as error:
            await self._refuse(request, error.code, error.plain())
            return False
        except Exception as error:  # noqa: BLE001 - one paper that nobody foresaw must not be taken again and again
            logger().error("request.broken", id=request.id, error=type(error).__name__)
            await self._refuse(request, "jobs.failed", {"kind": "copy"})
            return False
        return True

    async def _refuse(self, request: PortalRequest, code: str, evidence: dict[str, Any]) -> None:
        async with self.db.write() as uow:
            if await self.inbox.refused(uow, request.id, code, evidence):
                await Outbox(self.clock).append(
                    uow, EventType.COPY_REFUSED, realm=request.realm, agency_id=request.agency_id, subject=request.id,
                    occasion=request.round, batch=request.batch_id,
                )  # fmt: skip

    # -------------------------------------------------------------------------------------------------- waiting
    def settled(self, copy_id: str) -> None:
        """Nothing more will happen to this copy by itself: tell whoever waits."""
        self._busy.discard(copy_id)
        for future in self._waiting.pop(copy_id, ()):
            if not future.done():
                future.set_result(None)

    async def rest(self, copy_id: str, seconds: float) -> None:
        """Returns when nothing more happens to the copy by itself, or when the time is up."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(copy_id, [])
        waiting.append(future)
        try:
            async with self.db.read() as uow:
                request = await self.inbox.find(uow, copy_id)
            waits = request is not None and request.state in {"received", "taken"}
            if waits or copy_id in self._busy:
                await asyncio.wait([future], timeout=seconds)
        finally:
            if future in waiting:
                waiting.remove(future)
            if not waiting and self._waiting.get(copy_id) is waiting:
                del self._waiting[copy_id]

    async def drain(self) -> None:
        """Let what is under way come to its end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LIMITS["web.drain_seconds"])
