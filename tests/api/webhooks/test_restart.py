"""Deliveries on the real jobs: the wait between two attempts survives the worker."""

import asyncio
from dataclasses import replace

from core.clock import SystemClock
from core.jobs.durable import DurableJobs


async def test_a_delivery_goes_on_in_the_next_worker(post, tmp_path):
    endpoint, _ = await post.endpoint()
    await post.happen("copy-1")
    post.receiver.answers = [(500, {}), (200, {})]

    def worker():
        jobs = DurableJobs(
            database=f"sqlite+aiosqlite:///{tmp_path / 'jobs.db'}", executor="a", locks=tmp_path / "locks",
            clock=SystemClock(), application="worker",
        )  # fmt: skip
        courier = replace(post.courier, jobs=jobs, clock=SystemClock())
        courier.serve()
        return courier

    first = worker()
    await first.jobs.start()
    await first.fan_out()
    await first.hand_over()
    async with asyncio.timeout(20):
        while not post.receiver.bodies:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    await first.jobs.stop()

    second = worker()
    await second.jobs.start()
    assert await second.jobs.settle(30)
    await second.jobs.stop()
    [done] = await post.log(endpoint)
    assert (done.state, done.run) == ("delivered", 1)
    early, late = await post.attempts(done)
    assert 5 <= (late.at - early.at).total_seconds() < 9
