"""The desk of signature requests: one in each signer process, several share the tables; flow in ``docs/flows/request.md``.

A person's answer starts the work at once. A sweep now and then ends what time ends, and takes up what a dead process
left; it is never what a person waits for.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from core.db import UnitOfWork
from core.jobs import Jobs, Note
from core.limits import LIMITS
from core.logs import code_of, logger
from signer.activation.passkeys import Assertion
from signer.keystores.model import is_away
from signer.requests import answering, changing, collecting, making, opening, settling, store
from signer.requests.ending import at_work
from signer.requests.model import NewRequest, OpenedStep, RequestView
from signer.requests.parts import Parts

__all__ = ["RequestDesk"]

_KIND = "step"
_LONGEST_REST = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDesk(Parts):
    """Signature requests from the first question to the signed files. Serve ``jobs`` kind ``step`` with ``advance``."""

    jobs: Jobs
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _busy: dict[str, int] = field(default_factory=dict)
    _waiting: dict[str, list[asyncio.Future[None]]] = field(default_factory=dict)
    _resting: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Step → not before (monotonic seconds), and how long it rested last: what fails again and again is tried less."""

    # ---------------------------------------------------------------------------------------------------- a portal
    async def create(self, wanted: NewRequest, *, digests_allowed: bool = False) -> RequestView:
        """A new request, its papers looked at in the sandbox; asked again under its id it is found.

        ``digests_allowed``: the client may ask for signatures over what nobody here has seen. Raises ``request.*``,
        ``directory.*``, ``provider.unknown``, ``sandbox.*``.
        """
        return await making.make(self, wanted, digests_allowed=digests_allowed)

    async def view(self, uow: UnitOfWork, request_id: str) -> RequestView:
        """As it stands. Raises ``request.no_such_request``."""
        return await store.get(uow, request_id)

    async def link(self, step_id: str) -> str:
        """A fresh link token; older ones of the step end. Raises ``request.step_over``, ``request.not_open``."""
        return await changing.link(self, step_id)

    async def cancel(self, request_id: str, reason: str) -> None:
        """Raises ``request.not_open``, ``request.signing``."""
        await changing.cancel(self, request_id, reason)

    async def extend(self, request_id: str, deadline: dt.datetime) -> None:
        """Raises ``request.deadline``, ``request.not_open``, ``request.expired``."""
        await changing.extend(self, request_id, deadline)

    async def replace(self, step_id: str, person_id: str) -> str:
        """Another signer; returns the new step's id. Raises ``request.*``, ``directory.*``."""
        return await changing.replace(self, step_id, person_id)

    async def remind(self, step_id: str) -> None:
        """Raises ``request.not_your_turn``, ``request.step_over``, ``request.reminded``."""
        await changing.remind(self, step_id)

    async def evidence(self, request_id: str) -> dict[str, Any]:
        """All that is needed to check the request's signatures again from one file (``signer/requests/evidence.py``)."""
        return await collecting.evidence(self, request_id)

    # ---------------------------------------------------------------------------------------------------- a person
    async def open(self, step_id: str, person_id: str) -> OpenedStep:
        """Lease, prepare, ask; the same again while the lease runs. Raises ``request.*``, ``directory.*``."""
        return await opening.open_step(self, step_id, person_id)

    async def approve(self, step_id: str, person_id: str, tx: str, assertion: Assertion) -> None:
        """Verified here; the work then goes on by itself. Raises ``request.*``, ``activation.*``, ``directory.*``."""
        await answering.approve(self, step_id, person_id, tx, assertion)
        self.go_on(step_id)

    async def refuse(self, step_id: str, person_id: str, reason: str) -> None:
        """Raises ``request.*``."""
        await answering.refuse(self, step_id, person_id, reason)
        self._settled(step_id)

    async def start_provider(self, step_id: str, person_id: str) -> None:
        """Hand over to the person's provider; its answer moves the work on. Raises ``request.*``, ``provider.*``."""
        await opening.start_provider(self, step_id, person_id)
        self.go_on(step_id)

    # ------------------------------------------------------------------------------------------------------- work
    async def advance(self, step_id: str, note: Note) -> str:
        """The durable work of kind ``step``. Who waits for the step hears of it before its job is written off."""
        done = await settling.advance(self, step_id, note)
        self._settled(step_id)
        await self._settled_all(done)
        return done

    def go_on(self, step_id: str) -> None:
        """A person has answered: the work goes on, and whoever waits for the step is told at its end."""
        self._busy[step_id] = self._busy.get(step_id, 0) + 1
        self._keep(asyncio.create_task(self._work(step_id)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """A stop waits for it."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, step_id: str) -> None:
        try:
            await self.jobs.run(_KIND, step_id)
            self._resting.pop(step_id, None)
        except Exception as error:  # noqa: BLE001 - a sweep takes it up again: the row says where it stands
            logger().info("step.rests", id=step_id, code=code_of(error))
            _, last = self._resting.get(step_id, (0.0, LIMITS["request.sweep_seconds"] / 2))
            rest = LIMITS["keys.away_seconds"] if is_away(error) else min(2 * last, _LONGEST_REST)
            self._resting[step_id] = time.monotonic() + rest, rest
        finally:
            self._busy[step_id] -= 1
            if not self._busy[step_id]:
                del self._busy[step_id]
            self._settled(step_id)
        self._keep(self.signing.log.sequence_soon())  # receipts can be had; nobody waits for this

    async def order_settled(self, order_id: str) -> None:
        """A provider has answered for an order: its step's work goes on now. Unknown orders are none of ours."""
        async with self.signing.db.read() as uow:
            step_id = await store.step_of_order(uow, order_id)
        if step_id is not None:
            self.go_on(step_id)

    def heard(self, order_id: str) -> None:
        """``order_settled`` for who cannot wait."""
        self._keep(asyncio.create_task(self.order_settled(order_id)))

    # ---------------------------------------------------------------------------------------------------- waiting
    async def _settled_all(self, request_id: str) -> None:
        """Who waits for another step of the request hears of its end too."""
        if self._waiting:
            async with self.signing.db.read() as uow:
                steps = await store.steps_of(uow, request_id)
            for step_id in steps:
                self._settled(step_id)

    def _settled(self, step_id: str) -> None:
        for future in self._waiting.pop(step_id, ()):
            if not future.done():
                future.set_result(None)

    async def rest(self, step_id: str, seconds: float) -> None:
        """Returns when nothing more happens to the step by itself, or when the time is up."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(step_id, [])
        waiting.append(future)
        try:
            if await self._at_work(step_id):
                await asyncio.wait([future], timeout=seconds)
        finally:
            if future in waiting:
                waiting.remove(future)
            if not waiting and self._waiting.get(step_id) is waiting:
                del self._waiting[step_id]

    async def _at_work(self, step_id: str) -> bool:
        """Some process is, or will be."""
        async with self.signing.db.read() as uow:
            found = await store.standing(uow, step_id)
        if found is None or found.request != "open":
            return False
        return at_work(found) or (found.state == "signed" and found.unsigned == 0)

    async def drain(self) -> None:
        """Let what is under way come to its end."""
        while self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=LIMITS["web.drain_seconds"])
            if left:
                return

    # ------------------------------------------------------------------------------------------------------ sweeps
    async def serve(self) -> None:
        """Until cancelled: deadlines, ended leases, steps that a dead process left."""
        while True:
            self.bell.clear()
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next sweep looks again
                logger().warning("requests.stopped", code=code_of(error))
            try:
                await asyncio.wait_for(self.bell.wait(), LIMITS["request.sweep_seconds"])
            except TimeoutError:
                continue

    async def sweep(self) -> None:
        """Once."""
        if self.signing.log.owes:
            self._keep(self.signing.log.sequence_soon())
        now, most = self.clock.now(), LIMITS["web.page"]
        async with self.signing.db.read() as uow:
            lapsed = await store.lapsed(uow, now, most)
            due = await store.due(uow, now, most)
        for step_id in await self._each(changing.lapse, lapsed):
            self._settled(step_id)
        for request_id in await self._each(changing.expire, due):
            await self._settled_all(request_id)
        async with self.signing.db.read() as uow:
            left = await store.interrupted(uow)
        idle = [
            each
            for each in left
            if each not in self._busy and self._resting.get(each, (0.0, 0.0))[0] <= time.monotonic()
        ]
        if idle:
            known = {key for kind, key in await self.jobs.under_way() if kind == _KIND}
            # what failed here is over, even if its job's row could not say so: the database was away for that too
            left = [each for each in idle if each not in known or each in self._resting]
            for step_id in left[: LIMITS["jobs.at_once"]]:
                self.go_on(step_id)

    async def _each(self, end: Callable[[Parts, str], Awaitable[bool]], ids: list[str]) -> list[str]:
        """Which were ended; one that cannot be does not keep the others."""
        ended = []
        for each in ids:
            try:
                if await end(self, each):
                    ended.append(each)
            except Exception as error:  # noqa: BLE001 - looked at again at the next sweep
                logger().warning("requests.not_ended", id=each, code=code_of(error))
        return ended
