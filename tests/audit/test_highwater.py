"""One contract for each high-water mark."""

import json
import stat
from pathlib import Path

import pytest

from audit.highwater import FileHighWater, HighWater, MemoryHighWater
from core.errors import Conflict, Unavailable


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


def test_a_mark_that_people_replace_may_go_back_and_is_kept_for_ever(mark: HighWater, tmp_path: Path) -> None:
    old, new = (9, bytes([1]) * 32), (4, bytes([2]) * 32)
    record = {"reason": "ổ đĩa hỏng"}
    mark.compare_and_set(None, old)
    with pytest.raises(Conflict, match=r"log\.mark_moved"):
        mark.replace(new, (1, bytes(32)), record)
    assert (mark.read(), _kept(mark, tmp_path)) == (old, {})
    first = mark.replace(old, new, record)
    assert mark.read() == new
    mark.compare_and_set(new, old)
    assert mark.replace(old, new, record) == first, "the same once more"
    mark.compare_and_set(new, old)
    second = mark.replace(old, new, record | {"reason": "khác"})
    kept = _kept(mark, tmp_path)
    assert list(kept) == sorted([first, second])
    assert json.loads(kept[first]) == {"mark": {"size": 9, "root": "01" * 32}, "record": record}
    assert json.loads(kept[second])["record"]["reason"] == "khác"


def test_a_mark_that_is_lost_is_replaced_too(mark: HighWater, tmp_path: Path) -> None:
    name = mark.replace(None, (4, bytes(32)), {})
    assert mark.read() == (4, bytes(32))
    assert json.loads(_kept(mark, tmp_path)[name])["mark"] is None


def _kept(mark: HighWater, tmp_path: Path) -> dict[str, bytes]:
    if isinstance(mark, MemoryHighWater):
        return dict(sorted(mark.kept.items()))
    return {each.name: each.read_bytes() for each in sorted((tmp_path / "other").glob("mark-*"))}


def test_what_is_kept_names_people_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    mark = FileHighWater(tmp_path / "mark.json")
    name = mark.replace(None, (4, bytes(32)), {"present": ["Nguyễn Văn Mẫu"]})
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert name.startswith("mark-none-")
    assert name.endswith(".json")


def test_a_crash_between_keeping_and_replacing_leaves_the_old_mark_and_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, old, new = FileHighWater(tmp_path / "mark.json"), (9, bytes([1]) * 32), (4, bytes([2]) * 32)
    mark.compare_and_set(None, old)
    rename, times = Path.replace, []

    def once(self: Path, target: Path) -> Path:
        times.append(target)
        if target.name == "mark.json":
            raise OSError("gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", once)
    with pytest.raises(Unavailable):
        mark.replace(old, new, {"n": 1})
    monkeypatch.undo()
    assert [each.name.startswith("mark-9-") for each in times] == [True, False]
    assert mark.read() == old
    mark.replace(old, new, {"n": 1})
    assert mark.read() == new
    assert len(list(tmp_path.glob("mark-9-*"))) == 1


def test_a_damaged_file_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "mark").write_text("{")
    with pytest.raises(Unavailable) as caught:
        FileHighWater(tmp_path / "mark").read()
    assert caught.value.code == "log.highwater_unavailable"
