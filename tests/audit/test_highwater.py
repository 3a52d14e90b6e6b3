"""One contract for each high-water mark."""

from pathlib import Path

import pytest

from audit.highwater import FileHighWater, HighWater, MemoryHighWater
from core.errors import Unavailable


@pytest.fixture(params=["file", "memory"])
def mark(request: pytest.FixtureRequest, tmp_path: Path) -> HighWater:
    return FileHighWater(tmp_path / "other" / "mark") if request.param == "file" else MemoryHighWater()


def test_the_mark_moves_only_from_the_value_that_was_read(mark: HighWater) -> None:
    first, second = (1, bytes(32)), (2, bytes([1]) * 32)
    assert mark.read() is None
    assert mark.compare_and_set(None, first)
    assert not mark.compare_and_set(None, second)
    assert mark.read() == first
    assert mark.compare_and_set(first, second)
    assert mark.read() == second


def test_a_damaged_file_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "mark").write_text("{")
    with pytest.raises(Unavailable) as caught:
        FileHighWater(tmp_path / "mark").read()
    assert caught.value.code == "log.highwater_unavailable"
