"""Jobs on DBOS Transact. Its tables lie beside ours: in a SQLite file of their own, or the schema ``dbos`` on PostgreSQL.

They may be lost: what is unfinished stands in our own tables, and a start takes on what no job knows.

* Executor ids are slots, ``1.name.0``, ``1.name.1`` …, each held by a file lock. A slot whose lock is free belongs to a
  dead process, so its work goes back to the queue at the next start, and any living process takes it (open-source DBOS has no dead-executor detection).
* The serializer is JSON: a writer to the job tables must not be able to run code here. Only ids and codes are stored.
* ``application`` is DBOS's application version, set by hand: recovery and queue take only jobs of the same one, so roles
  with different work differ in it, and it changes when the shape of a job changes, not with each release.
"""

import asyncio
import fcntl
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID, WorkflowStatus
from dbos import error as dbos_error
from sqlalchemy import event

from core.clock import Clock
from core.db import set_pragmas
from core.errors import Broken, ServiceError
from core.ids import new_id
from core.jobs import Again, Note, Work, worth_repeating
from core.limits import LIMITS
from core.logs import logger

__all__ = ["DurableJobs"]

_SLOTS = 32
_AGAIN = "~"
"""Before the seconds, in the stored result of a step whose work asked to be run again."""


def _silent(_: str) -> None:
    """A recovered job has nobody watching."""


class DurableJobs:
    """Satisfies ``core.jobs.Jobs``. One a process: DBOS is a singleton."""

    def __init__(
        self, *, database: str, executor: str, locks: Path, clock: Clock, application: str = "1",
        at_once: int = LIMITS["jobs.at_once"],
    ) -> None:  # fmt: skip
        """``database``: URL of our own store (async driver); ``locks``: folder of the slot files.

        ``application``: processes with the same one serve the same kinds; ``at_once``: how many works run at a time.
        """
        self._database, self._locks, self._clock, self._application = database, locks, clock, application
        self._executor = f"{application}.{executor}"
        self._work: dict[str, Work] = {}
        self._watched: dict[str, Note] = {}
        self._failed: dict[str, Exception] = {}
        self._room = asyncio.Semaphore(at_once)
        self._slot: int | None = None
        self._held: int | None = None
        self._engine: sa.Engine | None = None
        self._job: Any = None

    def serve(self, kind: str, work: Work) -> None:
        """Before ``start``."""
        self._work[kind] = work

    async def start(self) -> None:
        """Must run on the loop that the work belongs to: DBOS puts recovered work on it."""
        self._slot, name, dead = self._take_slot()
        self._engine = _engine(self._database)
        config: DBOSConfig = {
            "name": "dauso", "system_database_engine": self._engine, "executor_id": name,
            "system_database_url": self._engine.url.render_as_string(hide_password=False),
            "application_version": self._application, "serializer": DBOSPortableJSONSerializer(), "log_level": "CRITICAL",
            "notification_listener_polling_interval_sec": 0.1,  # nobody notifies here; a stop waits for that long
        }  # fmt: skip
        logging.getLogger("dbos").setLevel(logging.CRITICAL)  # it would print tracebacks; we log codes
        DBOS(config=config)

        @DBOS.workflow(name="job")
        async def job(kind: str, key: str) -> str:
            """The only workflow: one repeatable step of the room that serves ``kind``, until it asks for no other."""
            while True:
                state = await DBOS.run_step_async(
                    {"name": kind, "retries_allowed": True, "max_attempts": 4, "interval_seconds": 0.2,
                     "backoff_rate": 3, "should_retry": worth_repeating},
                    self._once, kind, key, DBOS.workflow_id or "",
                )  # fmt: skip
                if not state.startswith(_AGAIN):
                    return state
                await DBOS.sleep_async(float(state.removeprefix(_AGAIN)))

        self._job = job
        DBOS.launch()
        await self._take_over(dead)

    async def adopt(self) -> None:
        """Work of processes that died while this one lives."""
        await self._take_over(self._dead_slots())

    async def _take_over(self, dead: list[str]) -> None:
        if dead:
            for status in await self._unfinished():
                if status.executor_id in dead:
                    await DBOS.resume_workflow_async(status.workflow_id)

    async def _once(self, kind: str, key: str, workflow_id: str) -> str:
        """Errors are an answer, stored as a code; what may pass is raised so that the step is repeated."""
        try:
            if kind not in self._work:
                raise Broken("jobs.unknown_kind", kind=kind)
            async with self._room:
                return await self._work[kind](key, self._watched.get(workflow_id, _silent))
        except Again as again:
            return f"{_AGAIN}{again.seconds}"
        except Exception as error:
            code = error.code if isinstance(error, ServiceError) else "jobs.failed"
            logger().warning("job.stopped", id=workflow_id, code=code, error=type(error).__name__)
            if workflow_id in self._watched:
                self._failed[workflow_id] = error
            if worth_repeating(error):
                raise
            return f"!{code}"

    async def run(self, kind: str, key: str, note: Note = _silent) -> str:
        """Raises what the work raises, in this process's own words."""
        workflow_id = f"{kind}/{key}/{new_id(self._clock)}"
        self._watched[workflow_id] = note
        try:
            with SetWorkflowID(workflow_id):
                handle = await DBOS.start_workflow_async(self._job, kind, key)
            try:
                state: str = await handle.get_result()
            except dbos_error.DBOSException as error:
                raise self._failed.get(workflow_id) or Broken("jobs.failed", kind=kind) from error
            if state.startswith("!"):
                raise self._failed[workflow_id]
            return state
        finally:
            self._watched.pop(workflow_id, None)
            self._failed.pop(workflow_id, None)

    async def submit(self, kind: str, key: str, run: str) -> None:
        """DBOS starts a workflow id once and ever after answers with the run it knows."""
        with SetWorkflowID(f"{kind}/{key}/{run}"):
            await DBOS.start_workflow_async(self._job, kind, key)

    async def under_way(self) -> set[tuple[str, str]]:
        """Named by the workflow id, ``kind/key/run``."""
        return {(kind, key) for kind, key, _ in (status.workflow_id.split("/") for status in await self._unfinished())}

    async def settle(self, seconds: float) -> bool:
        """Looks every tenth of a second: only the end of a command waits here."""
        for _ in range(max(1, round(seconds * 10))):
            if not await self._mine():
                return True
            await asyncio.sleep(0.1)
        return False

    async def _mine(self) -> bool:
        """Running under our slot, or queued for whoever comes: one query, since a job moves from one to the other."""
        me = self._name(self._slot)
        return any(s.status == "ENQUEUED" or s.executor_id == me for s in await self._unfinished())

    async def _unfinished(self) -> list[WorkflowStatus]:
        return await DBOS.list_workflows_async(
            status=["PENDING", "ENQUEUED"], app_version=self._application, load_input=False, load_output=False
        )

    async def stop(self) -> None:
        """Unfinished work stays PENDING under our slot."""
        # DBOS made its own pool the loop's default and is about to shut it down; the loop, and others' work in it, go on
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        if self._engine is not None:
            self._engine.dispose()
        if self._held is not None:
            os.close(self._held)
            self._held = None

    # ---------------------------------------------------------------------------------------------------- slots
    def _name(self, slot: int | None) -> str:
        return f"{self._executor}.{slot}"

    def _path(self, slot: int) -> Path:
        return self._locks / f"{self._name(slot)}.lock"

    def _take_slot(self) -> tuple[int, str, list[str]]:
        """The lowest free slot, its name, and the names of other slots that nobody holds."""
        self._locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        for slot in range(_SLOTS):
            held = _lock(self._path(slot))
            if held is not None:
                self._held, self._slot = held, slot
                return slot, self._name(slot), self._dead_slots()
        raise Broken("jobs.no_slot", slots=_SLOTS)

    def _dead_slots(self) -> list[str]:
        """Slots once held that nobody holds now; let go at once, so a process that starts now may take one."""
        dead = []
        for slot in range(_SLOTS):
            if slot == self._slot or not self._path(slot).exists():
                continue
            held = _lock(self._path(slot))
            if held is not None:
                dead.append(self._name(slot))
                os.close(held)
        return dead


def _away(context: sa.engine.ExceptionContext) -> None:
    """A server that cannot be reached is a lost connection: DBOS waits for it and goes on, by what SQLAlchemy calls it."""
    if context.connection is None and isinstance(context.sqlalchemy_exception, sa.exc.OperationalError):
        context.is_disconnect = True


def _lock(path: Path) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _engine(database: str) -> sa.Engine:
    """Our store through a synchronous driver, with the pragmas of ``core.db`` (DBOS sets none on a given engine)."""
    if not database.startswith("sqlite"):
        made = sa.create_engine(database, pool_size=4, pool_pre_ping=True)
        event.listen(made, "handle_error", _away)
        return made
    engine = sa.create_engine(
        database.replace("+aiosqlite", ""), connect_args={"isolation_level": "IMMEDIATE", "timeout": 30}
    )

    event.listen(engine, "connect", set_pragmas)
    return engine
