"""The sandbox's walls, tried from inside."""

import asyncio
import time
from pathlib import Path

import pytest

from core.errors import Refused
from core.sandbox import Sandbox
from tests.core.sandbox import hostile


@pytest.fixture
async def sandbox(monkeypatch):
    monkeypatch.setenv("DAUSO_SECRET", "hush")
    async with Sandbox(preload=["tests.core.sandbox.hostile:warm"]) as made:
        yield made


async def test_nothing_outside_can_be_reached(sandbox, tmp_path):
    (tmp_path / "f").write_text("x")
    found, blob = await sandbox.run(hostile.try_things, b"abc", {"outside": str(tmp_path / "f")})
    assert blob == b"cba"
    assert found.pop("inside") == "done"
    assert "DAUSO_SECRET" not in found.pop("env")
    assert set(found.values()) == {"refused"}, found


@pytest.mark.parametrize("function", [hostile.eat_memory, hostile.burn, hostile.sleep])
async def test_memory_time_and_idling_end_the_child(sandbox, function):
    started = time.monotonic()
    with pytest.raises(Refused, match=r"sandbox\.limit"):
        await sandbox.run(function, b"", {}, cpu=1, wall=2)
    assert time.monotonic() - started < 6


async def test_a_child_that_ignores_its_alarm_is_ended_and_leaves_no_folder(sandbox):
    with pytest.raises(Refused, match=r"sandbox\.limit"):
        await sandbox.run(hostile.stay, b"", {}, wall=1)
    await asyncio.sleep(1)
    assert list(Path(sandbox._folder.name).iterdir()) == []


@pytest.mark.parametrize(
    ("how", "code"),
    [("size", "sandbox.limit"), ("[1]", "sandbox.failed"), ("{", "sandbox.failed"), ("[" * 100_000, "sandbox.failed"),
     ('{"error": 1}', "sandbox.failed"), ('{"error": "x.y", "kind": "Exception", "evidence": {}}', "sandbox.failed")],
)  # fmt: skip
async def test_a_lying_answer_is_refused_and_costs_nothing(sandbox, how, code):
    with pytest.raises(Refused) as refusal:
        await sandbox.run(hostile.lie, b"", {"how": how})
    assert refusal.value.code == code


async def test_a_fault_says_its_kind_and_nothing_of_the_file(sandbox):
    with pytest.raises(Refused, match=r"sandbox\.failed") as error:
        await sandbox.run(hostile.fault, b"", {})
    assert error.value.evidence == {"detail": "KeyError"}


async def test_many_files_run_at_once_and_a_dead_server_is_started_again(sandbox):
    big = bytes(3_000_000)
    results = await asyncio.gather(*(sandbox.run(hostile.try_things, big, {"outside": "/x"}) for _ in range(6)))
    assert all(len(blob) == len(big) for _, blob in results)
    sandbox._process.kill()
    await sandbox._process.wait()
    _, blob = await sandbox.run(hostile.try_things, b"ab", {"outside": "/x"})
    assert blob == b"ba"


def test_this_machine_has_all_walls():
    assert Sandbox.features() == {"limits": True, "landlock": True, "seccomp": True}
