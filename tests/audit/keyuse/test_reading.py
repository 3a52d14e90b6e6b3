"""Files are followed over rotations; a stretch that is missing or was changed shows."""

import datetime as dt
import gzip
import hashlib

import pytest

from audit.keyuse.lines import time_of
from audit.keyuse.reading import Place, group, know, next_line, opened
from core.errors import BadInput
from tests.audit.keyuse.makers import AT, noise

ALL = [noise(at=AT + dt.timedelta(seconds=n)).replace(b'"remote_port":1', b'"remote_port":%d' % n) for n in range(9)]


def lines(first, last):
    return b"".join(ALL[first:last])


def place_in(path, data):
    """After ``data``, the first bytes of the file at ``path``."""
    tail = data.splitlines(keepends=True)[-1]
    head = data.splitlines(keepends=True)[0]
    return Place(
        series=str(path), head=hashlib.sha256(head).hexdigest(), inode=0, offset=len(data),
        tail=hashlib.sha256(tail).hexdigest(), tail_size=len(tail), at=time_of(tail),
    )  # fmt: skip


def rest(pieces):
    """What would be read."""
    found = b""
    for piece in pieces:
        with opened(piece.file.path) as file:
            file.seek(piece.offset)
            found += file.read()
    return found


@pytest.fixture
def live(tmp_path):
    return tmp_path / "audit.log"


def series(live):
    (one,) = group([live])
    return one


def planned(one, *places):
    """(pieces, code of the problem there is)."""
    plan = one.plan(places)
    assert len(plan.problems) < 2
    return plan.pieces, "".join(code for code, _ in plan.problems)


def test_a_first_run_reads_all_parts_oldest_first(live):
    live.write_bytes(lines(4, 6))
    live.with_name("audit.log.1").write_bytes(lines(2, 4))
    live.with_name("audit.log.2.gz").write_bytes(gzip.compress(lines(0, 2)))
    live.with_name("audit.logbook").write_bytes(b"something else\n")
    pieces, problem = planned(series(live))
    assert (rest(pieces), problem) == (lines(0, 6), "")
    assert [p.live for p in pieces] == [False, False, True]


def test_a_file_that_grew_is_read_on(live):
    live.write_bytes(lines(0, 5))
    pieces, problem = planned(series(live), place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(2, 5), "")


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(live):
    live.with_name("audit.log-20261125").write_bytes(lines(0, 4))
    live.write_bytes(lines(4, 6))
    pieces, problem = planned(series(live), place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(2, 6), "")


def test_two_rotations_between_two_runs_lose_nothing(live):
    live.with_name("audit.log.2.gz").write_bytes(gzip.compress(lines(0, 4)))
    live.with_name("audit.log.1").write_bytes(lines(4, 6))
    live.write_bytes(lines(6, 7))
    pieces, problem = planned(series(live), place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(2, 7), "")


def test_copied_and_truncated_goes_on_in_the_copy(live):
    live.write_bytes(lines(0, 3))
    inode = live.stat().st_ino
    live.with_name("audit.log.1").write_bytes(lines(0, 3))
    live.write_bytes(lines(3, 9))
    assert live.stat().st_ino == inode
    pieces, problem = planned(series(live), place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(2, 9), "")


def test_an_older_part_may_lie_elsewhere_when_it_is_named(live, tmp_path):
    live.write_bytes(lines(3, 5))
    (tmp_path / "archive").mkdir()
    packed = tmp_path / "archive" / "audit.log.1.gz"
    packed.write_bytes(gzip.compress(lines(0, 3)))
    (one,) = group([live, packed])
    pieces, problem = planned(one, place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(2, 5), "")


def test_the_same_part_plain_and_packed_is_read_once(live):
    live.write_bytes(lines(3, 5))
    live.with_name("audit.log.1").write_bytes(lines(0, 3))
    live.with_name("audit.log.1.gz").write_bytes(gzip.compress(lines(0, 3)))
    pieces, _ = planned(series(live))
    assert rest(pieces) == lines(0, 5)


def test_a_part_that_is_gone_is_a_missing_stretch(live):
    live.write_bytes(lines(4, 6))
    pieces, problem = planned(series(live), place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(4, 6), "keyuse.stretch_missing")


def test_a_part_that_began_before_the_one_where_reading_stopped_is_read(live):
    live.write_bytes(lines(4, 6))
    live.with_name("audit.log.1").write_bytes(lines(2, 4))
    live.with_name("audit.log.2").write_bytes(lines(0, 2))
    pieces, problem = planned(series(live), place_in(live, lines(2, 4)), place_in(live, lines(4, 5)))
    assert (rest(pieces), problem) == (lines(0, 2) + lines(5, 6), "")


def test_a_packed_part_that_was_read_to_its_end_is_not_unpacked_again(live, monkeypatch):
    live.write_bytes(lines(4, 6))
    live.with_name("audit.log.1.gz").write_bytes(gzip.compress(lines(0, 4)))
    monkeypatch.setattr("audit.keyuse.reading._problem", lambda part, place: "" if part.path == live else "unpacked")
    pieces, problem = planned(series(live), place_in(live, lines(0, 4)), place_in(live, lines(4, 5)))
    assert (rest(pieces), problem) == (lines(5, 6), "")


@pytest.mark.parametrize(("most", "size"), [(100, 1_000), (100, 150), (100, 100), (100, 99)])
def test_a_line_of_any_length_is_read_in_bounded_memory(live, monkeypatch, most, size):
    monkeypatch.setattr("audit.keyuse.reading.MOST_LINE", most)
    monkeypatch.setattr("audit.keyuse.reading._CHUNK", 30)
    live.write_bytes(b"x" * (size - 1) + b"\n" + b"y" * size)
    with live.open("rb") as file:
        first, cut, end = next_line(file), next_line(file), next_line(file)
    assert (first.size, first.whole, first.too_long, len(first.text) <= most) == (size, True, size > most, True)
    assert (cut.size, cut.whole, end.size) == (size, False, 0)


@pytest.mark.parametrize("pack", [False, True])
def test_a_file_that_was_cut_shows(live, pack):
    cut = lines(0, 1)
    live.write_bytes(gzip.compress(cut) if pack else cut)
    pieces, problem = planned(series(live), place_in(live, lines(0, 3)))
    assert (rest(pieces), problem) == (b"", "keyuse.file_truncated")
    assert pieces[0].offset == len(cut)  # what is written from now on is read


def test_a_file_that_was_changed_shows_and_is_read_on(live):
    live.write_bytes(lines(0, 4).replace(b'"remote_port":1}', b'"remote_port":7}'))
    pieces, problem = planned(series(live), place_in(live, lines(0, 2)))
    assert problem == "keyuse.file_changed"
    assert pieces[0].offset == len(lines(0, 2))


def test_a_line_taken_out_of_what_was_read_shows(live):
    whole = lines(0, 4).splitlines(keepends=True)
    live.write_bytes(b"".join(whole[:1] + whole[2:]))
    _, problem = planned(series(live), place_in(live, lines(0, 2)))
    assert problem == "keyuse.file_changed"


def test_a_file_without_a_whole_line_is_not_there_yet(live):
    live.write_bytes(b"")
    assert know(live) is None
    live.write_bytes(lines(0, 1)[:50])
    assert know(live, live=True) is None
    assert planned(series(live)) == ([], "")


def test_a_file_is_known_by_its_first_line_that_can_be_read_and_one_without_is_told(live):
    live.write_bytes(b"#\n" + lines(0, 2))
    assert know(live).head == hashlib.sha256(lines(0, 1).splitlines(keepends=True)[0]).hexdigest()
    live.with_name("audit.log.1").write_bytes(b"#\n#\n")
    assert planned(series(live))[1] == "keyuse.line_unreadable"


def test_a_file_that_was_named_and_is_not_there_is_said(live):
    live.write_bytes(lines(0, 1))
    with pytest.raises(BadInput, match=r"cli\.no_such_file"):
        group([live, live.with_name("audit.log.1")])


def test_files_of_several_servers_are_kept_apart(tmp_path):
    made = []
    for node in ("n1", "n2"):
        (tmp_path / node).mkdir()
        made.append(tmp_path / node / "audit.log")
        made[-1].write_bytes(lines(0, 1))
        (tmp_path / node / "audit.log.1").write_bytes(lines(1, 2))
    found = group(made)
    assert [s.live for s in found] == made
    assert [s.older for s in found] == [(m.with_name("audit.log.1"),) for m in made]


def test_a_file_that_cannot_be_read_is_named_without_its_folder(live):
    with pytest.raises(BadInput, match=r"cli\.no_such_file") as error, opened(live):
        pass
    assert error.value.evidence == {"file": "audit.log"}
