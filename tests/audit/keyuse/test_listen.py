"""Lines that arrive by socket are durable, whole and in order."""

import asyncio

import pytest

from audit.keyuse.lines import LineReader
from audit.keyuse.listen import Listener
from core.errors import Unavailable
from tests.audit.keyuse.makers import noise


async def start(path, **more):
    """(port, task, count of durable lines) of a running listener."""
    port = asyncio.get_running_loop().create_future()
    kept = []
    listener = Listener(path, kept.append)
    task = asyncio.create_task(listener.serve("127.0.0.1", 0, port.set_result))
    return await asyncio.wait_for(port, 5), task, kept


async def stop(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def send(port, data):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def until(true):
    for _ in range(200):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError


async def test_lines_are_appended_and_made_durable_in_batches(tmp_path):
    path = tmp_path / "audit.log"
    path.write_bytes(b"before\n")
    port, task, kept = await start(path)
    data = noise(1_000)
    await send(port, data)
    await until(lambda: kept and kept[-1] == 2_000)
    await stop(task)
    assert path.read_bytes() == b"before\n" + data
    assert len(kept) < 100
    assert path.stat().st_mode & 0o777 in {0o600, 0o644}


async def test_a_line_that_breaks_off_is_not_kept_and_the_next_connection_goes_on(tmp_path):
    path = tmp_path / "audit.log"
    port, task, kept = await start(path)
    first, second = noise(), noise()
    await send(port, first + second[:70])
    await send(port, second)
    await until(lambda: kept and kept[-1] == 4)
    await stop(task)
    assert path.read_bytes() == first + second
    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_arrived_is_written_when_it_is_stopped(tmp_path):
    path = tmp_path / "audit.log"
    port, task, kept = await start(path)
    data = noise()
    await send(port, data)
    await asyncio.sleep(0.05)
    await stop(task)
    assert path.read_bytes() == data


async def test_a_line_that_is_too_long_is_kept_as_one_that_nobody_can_read(tmp_path, monkeypatch):
    monkeypatch.setattr("audit.keyuse.listen.MOST_LINE", 5_000)
    path = tmp_path / "audit.log"
    port, task, kept = await start(path)
    first, second = noise(), noise()
    await send(port, first + b"<" * 100_000 + b"\n" + second)
    await until(lambda: kept and kept[-1] == 5)
    await stop(task)
    assert path.read_bytes() == first + b'{"too_long":100001}\n' + second
    with pytest.raises(ValueError, match="not a line"):
        LineReader({"transit"}, set()).read(b'{"too_long":100001}\n')


async def test_long_lines_wait_for_the_disk_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("audit.keyuse.listen._MOST_WAITING", 3_000)
    listener = Listener(tmp_path / "audit.log")
    listener._size = 3_000
    assert not listener._has_room()


@pytest.mark.parametrize("bind", [("127.0.0.1", 99_999), ("not an address", 9590), ("a" * 70 + ".x", 9590)])
async def test_an_address_that_can_be_none_is_said(tmp_path, bind):
    with pytest.raises(Unavailable, match=r"keyuse\.cannot_listen"):
        await Listener(tmp_path / "audit.log").serve(*bind)


async def test_a_port_that_is_taken_is_said(tmp_path):
    port, task, _ = await start(tmp_path / "one")
    with pytest.raises(Unavailable, match=r"keyuse\.cannot_listen"):
        await Listener(tmp_path / "two").serve("127.0.0.1", port)
    await stop(task)


async def test_a_full_disk_ends_it_rather_than_losing_lines(tmp_path, monkeypatch):
    def full(self, file, lines):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Listener, "_append", full)
    port, task, _ = await start(tmp_path / "audit.log")
    await send(port, noise())
    with pytest.raises(Unavailable, match=r"store\.full"):
        await asyncio.wait_for(task, 5)
