"""What every ``Jobs`` does: the memory double of the tests, and DBOS on both databases."""

import asyncio
import time
from itertools import pairwise

import pytest

from core.errors import Broken, Conflict, Refused, Unavailable
from core.jobs import Again
from core.jobs.durable import DurableJobs
from tests.fakes import MemoryJobs


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def new_jobs(request, tmp_path, clock):
    """A function that makes ``Jobs`` over one lasting store, as a new process would."""
    if request.param == "memory":
        left = {}
        return lambda: MemoryJobs(left, clock)
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}"
    else:
        url = request.getfixturevalue("postgres")("j" + tmp_path.name.replace("-", "_").lower()[-20:])
    return lambda: DurableJobs(database=url, executor="a", locks=tmp_path / "locks", clock=clock)


async def test_a_job_runs_here_and_now_and_tells_its_steps(new_jobs):
    jobs, steps = new_jobs(), []

    async def work(key, note):
        note("one")
        return key.upper()

    jobs.serve("copy", work)
    await jobs.start()
    assert await jobs.run("copy", "x", steps.append) == "X"
    assert steps == ["one"]
    assert await jobs.under_way() == set()
    await jobs.stop()


@pytest.mark.parametrize("error", [Refused("copy.awaiting_certifier"), ValueError("a bug"), Broken("key.damaged")])
async def test_what_the_work_raises_reaches_the_caller_at_once(new_jobs, error):
    jobs, calls = new_jobs(), []

    async def work(key, note):
        calls.append(key)
        raise error

    jobs.serve("copy", work)
    await jobs.start()
    with pytest.raises(type(error)) as caught:
        await jobs.run("copy", "x")
    assert caught.value is error
    assert calls == ["x"]
    assert await jobs.under_way() == set()
    await jobs.stop()


@pytest.mark.parametrize("error", [Unavailable("database.busy"), Conflict("copy.not_in_state")])
async def test_what_may_pass_is_tried_again(new_jobs, error):
    jobs, calls = new_jobs(), []

    async def work(key, note):
        calls.append(key)
        if len(calls) < 3:
            raise error
        return "done"

    jobs.serve("copy", work)
    await jobs.start()
    assert await jobs.run("copy", "x") == "done"
    assert len(calls) == 3
    await jobs.stop()


async def test_a_kind_nobody_serves_is_an_error_with_a_code(new_jobs):
    jobs = new_jobs()
    await jobs.start()
    with pytest.raises(Broken) as caught:
        await jobs.run("nothing", "x")
    assert caught.value.code == "jobs.unknown_kind"
    await jobs.stop()


async def test_unfinished_work_goes_on_at_the_next_start(new_jobs):
    jobs, hang = new_jobs(), asyncio.Event()

    async def stuck(key, note):
        hang.set()
        await asyncio.Event().wait()

    jobs.serve("copy", stuck)
    await jobs.start()
    asked = asyncio.create_task(jobs.run("copy", "x"))
    await hang.wait()
    assert await jobs.under_way() == {("copy", "x")}
    assert await jobs.settle(0.3) is False
    asked.cancel()
    await jobs.stop()

    again, done = new_jobs(), []

    async def work(key, note):
        done.append(key)
        return key

    again.serve("copy", work)
    await again.start()
    assert await again.settle(20)
    assert done == ["x"]
    await again.stop()


async def test_work_may_ask_to_be_run_again_later(new_jobs):
    jobs, times = new_jobs(), []

    async def work(key, note):
        times.append(time.monotonic())
        if len(times) < 3:
            raise Again(0.3)
        return "done"

    jobs.serve("copy", work)
    await jobs.start()
    assert await jobs.run("copy", "x") == "done"
    assert [late - early >= 0.3 for early, late in pairwise(times)] == [True, True]
    assert await jobs.under_way() == set()
    await jobs.stop()


async def test_again_in_the_past_is_at_once(new_jobs):
    jobs, calls = new_jobs(), []

    async def work(key, note):
        calls.append(key)
        if len(calls) == 1:
            raise Again(-5)
        return "done"

    jobs.serve("copy", work)
    await jobs.start()
    assert await jobs.run("copy", "x") == "done"
    await jobs.stop()


async def test_the_wait_survives_a_restart_and_keeps_its_time(new_jobs):
    jobs, asked = new_jobs(), asyncio.Event()

    async def later(key, note):
        asked.set()
        raise Again(2)

    jobs.serve("copy", later)
    await jobs.start()
    start = time.monotonic()
    await jobs.submit("copy", "x", "1")
    await asked.wait()
    assert await jobs.settle(0.5) is False
    assert await jobs.under_way() == {("copy", "x")}
    await jobs.stop()

    again, times = new_jobs(), []

    async def work(key, note):
        times.append(time.monotonic() - start)
        return key

    again.serve("copy", work)
    await again.start()
    assert await again.settle(20)
    assert len(times) == 1
    assert 2 <= times[0] < 4  # not at once, and not two seconds from the restart on when that took long
    await again.stop()


async def test_submitted_work_is_not_waited_for_and_starts_once(new_jobs):
    jobs, calls, go = new_jobs(), [], asyncio.Event()

    async def work(key, note):
        calls.append(key)
        await go.wait()
        return key

    jobs.serve("copy", work)
    await jobs.start()
    for run in ("1", "1", "2"):
        await jobs.submit("copy", "x", run)
    assert await jobs.under_way() == {("copy", "x")}
    go.set()
    assert await jobs.settle(20)
    await jobs.submit("copy", "x", "1")
    assert await jobs.settle(20)
    assert calls == ["x", "x"]
    await jobs.stop()


async def test_what_submitted_work_raises_ends_it_quietly(new_jobs):
    jobs, calls = new_jobs(), []

    async def work(key, note):
        calls.append(key)
        raise Refused("copy.awaiting_certifier")

    jobs.serve("copy", work)
    await jobs.start()
    await jobs.submit("copy", "x", "1")
    assert await jobs.settle(20)
    assert calls == ["x"]
    await jobs.stop()
