"""Slots: a live process keeps its own, a dead one's work is taken over."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.clock import SystemClock
from core.jobs.durable import DurableJobs

CHILD = """
import asyncio, os, sys
from pathlib import Path
from core.clock import SystemClock
from core.jobs.durable import DurableJobs

async def main(url, locks, wait):
    jobs = DurableJobs(database=url, executor="a", locks=Path(locks), clock=SystemClock())
    async def work(key, note):
        print("working", flush=True)
        await asyncio.sleep(60)
    jobs.serve("copy", work)
    await jobs.start()
    await jobs.run("copy", wait)

asyncio.run(main(*sys.argv[1:]))
"""


def start(url, locks, key):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, str(locks), key], stdout=subprocess.PIPE, text=True, env=env
    )
    assert child.stdout.readline() == "working\n"
    return child


async def test_a_killed_process_work_is_taken_over_and_a_living_ones_is_left_alone(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}"
    dead, living = start(url, tmp_path / "locks", "dead"), None
    try:
        living = start(url, tmp_path / "locks", "living")
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        jobs, done = DurableJobs(database=url, executor="a", locks=tmp_path / "locks", clock=SystemClock()), []

        async def work(key, note):
            done.append(key)
            return key

        jobs.serve("copy", work)
        await jobs.start()
        assert await jobs.settle(20)
        # any living process may take the dead one's job from the queue; nobody takes the living one's
        assert ("copy", "living") in await jobs.under_way()
        assert done in ([], ["dead"])
        assert (("copy", "dead") in await jobs.under_way()) == (done == [])
        living.send_signal(signal.SIGKILL)
        living.wait()
        await jobs.stop()
        later = DurableJobs(database=url, executor="a", locks=tmp_path / "locks", clock=SystemClock())
        later.serve("copy", work)
        await later.start()
        for _ in range(100):
            if not await later.under_way():
                break
            await later.settle(0.1)
        assert sorted(done) == ["dead", "living"]
        await later.stop()
    finally:
        for child in (dead, living):
            if child is not None:
                child.kill()
                child.wait()
                child.stdout.close()


async def test_the_job_tables_hold_json_and_no_error_texts(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}"
    jobs = DurableJobs(database=url, executor="a", locks=tmp_path / "locks", clock=SystemClock())

    async def work(key, note):
        raise ValueError("Nguyễn Thị Bí Mật")

    jobs.serve("copy", work)
    await jobs.start()
    with pytest.raises(ValueError):
        await jobs.run("copy", "x")
    await jobs.stop()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'jobs.db'}")
    with engine.connect() as connection:
        text = str(connection.execute(sa.text("select * from workflow_status")).all())
        text += str(connection.execute(sa.text("select * from operation_outputs")).all())
    engine.dispose()
    assert "portable_json" in text
    assert "pickle" not in text
    assert "Bí Mật" not in text
    assert "!jobs.failed" in text


async def test_roles_on_one_database_leave_each_others_jobs_alone(tmp_path):
    """The signer's job waits, dead, in the tables; a worker with the same executor name must not touch it."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}"
    signer = start(url, tmp_path / "locks", "signer's")
    signer.kill()
    signer.wait()
    signer.stdout.close()

    def jobs(application):
        made = DurableJobs(
            database=url, executor="a", locks=tmp_path / "locks", clock=SystemClock(), application=application
        )

        async def work(key, note):
            done.append((application, key))
            return key

        made.serve("copy", work)
        return made

    done = []
    worker = jobs("worker")
    await worker.start()
    assert await worker.run("copy", "worker's") == "worker's"
    assert await worker.under_way() == set()
    await worker.stop()
    again = jobs("1")
    await again.start()
    assert await again.settle(20)
    await again.stop()
    assert done == [("worker", "worker's"), ("1", "signer's")]
    assert sorted(path.name for path in (tmp_path / "locks").iterdir()) == ["1.a.0.lock", "worker.a.0.lock"]


async def test_only_so_many_works_run_at_a_time(tmp_path):
    jobs = DurableJobs(
        database=f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}", executor="a", locks=tmp_path / "locks",
        clock=SystemClock(), at_once=2,
    )  # fmt: skip
    running, most = 0, 0

    async def work(key, note):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        return key

    jobs.serve("copy", work)
    await jobs.start()
    for key in "abcdef":
        await jobs.submit("copy", key, "1")
    assert await jobs.settle(20)
    await jobs.stop()
    assert most == 2


async def test_others_have_their_threads_while_jobs_stop(tmp_path):
    """What a process writes last, its log's mark among it, goes on beside the jobs' end."""
    jobs = DurableJobs(
        database=f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}", executor="a", locks=tmp_path / "locks", clock=SystemClock()
    )  # fmt: skip
    jobs.serve("copy", lambda _key, _note: asyncio.sleep(0, "done"))
    await jobs.start()
    await jobs.run("copy", "one")
    stopping, turns = asyncio.create_task(jobs.stop()), 0
    while not stopping.done():
        await asyncio.to_thread(time.monotonic)
        turns += 1
    await stopping
    assert turns > 1
