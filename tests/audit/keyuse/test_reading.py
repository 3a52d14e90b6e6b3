"""Files are followed over rotations; a stretch that is missing or was changed shows."""

import datetime as dt
import gzip
import hashlib

import pytest

from audit.keyuse.lines import time_of
from audit.keyuse.reading import Place, group, know, opened
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


def test_a_first_run_reads_all_parts_oldest_first(live):
    live.write_bytes(lines(4, 6))
    live.with_name("audit.log.1").write_bytes(lines(2, 4))
    live.with_name("audit.log.2.gz").write_bytes(gzip.compress(lines(0, 2)))
    live.with_name("audit.logbook").write_bytes(b"something else\n")
    pieces, problem = series(live).plan(None)
    assert (rest(pieces), problem) == (lines(0, 6), "")
    assert [p.live for p in pieces] == [False, False, True]


def test_a_file_that_grew_is_read_on(live):
    live.write_bytes(lines(0, 5))
    pieces, problem = series(live).plan(place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(2, 5), "")


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(live):
    live.with_name("audit.log-20261125").write_bytes(lines(0, 4))
    live.write_bytes(lines(4, 6))
    pieces, problem = series(live).plan(place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(2, 6), "")


def test_two_rotations_between_two_runs_lose_nothing(live):
    live.with_name("audit.log.2.gz").write_bytes(gzip.compress(lines(0, 4)))
    live.with_name("audit.log.1").write_bytes(lines(4, 6))
    live.write_bytes(lines(6, 7))
    pieces, problem = series(live).plan(place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(2, 7), "")


def test_copied_and_truncated_goes_on_in_the_copy(live):
    live.write_bytes(lines(0, 3))
    inode = live.stat().st_ino
    live.with_name("audit.log.1").write_bytes(lines(0, 3))
    live.write_bytes(lines(3, 9))
    assert live.stat().st_ino == inode
    pieces, problem = series(live).plan(place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(2, 9), "")


def test_an_older_part_may_lie_elsewhere_when_it_is_named(live, tmp_path):
    live.write_bytes(lines(3, 5))
    (tmp_path / "archive").mkdir()
    packed = tmp_path / "archive" / "audit.log.1.gz"
    packed.write_bytes(gzip.compress(lines(0, 3)))
    (one,) = group([live, packed])
    pieces, problem = one.plan(place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(2, 5), "")


def test_the_same_part_plain_and_packed_is_read_once(live):
    live.write_bytes(lines(3, 5))
    live.with_name("audit.log.1").write_bytes(lines(0, 3))
    live.with_name("audit.log.1.gz").write_bytes(gzip.compress(lines(0, 3)))
    pieces, _ = series(live).plan(None)
    assert rest(pieces) == lines(0, 5)


def test_a_part_that_is_gone_is_a_missing_stretch(live):
    live.write_bytes(lines(4, 6))
    pieces, problem = series(live).plan(place_in(live, lines(0, 2)))
    assert (rest(pieces), problem) == (lines(4, 6), "keyuse.stretch_missing")


def test_a_file_that_is_gone_is_a_missing_stretch(live):
    pieces, problem = series(live).plan(place_in(live, lines(0, 2)))
    assert (pieces, problem) == ([], "keyuse.stretch_missing")


@pytest.mark.parametrize("pack", [False, True])
def test_a_file_that_was_cut_shows(live, pack):
    cut = lines(0, 1)
    live.write_bytes(gzip.compress(cut) if pack else cut)
    pieces, problem = series(live).plan(place_in(live, lines(0, 3)))
    assert (rest(pieces), problem) == (b"", "keyuse.file_truncated")
    assert pieces[0].offset == len(cut)  # what is written from now on is read


def test_a_file_that_was_changed_shows_and_is_read_on(live):
    live.write_bytes(lines(0, 4).replace(b'"remote_port":1}', b'"remote_port":7}'))
    pieces, problem = series(live).plan(place_in(live, lines(0, 2)))
    assert problem == "keyuse.file_changed"
    assert pieces[0].offset == len(lines(0, 2))


def test_a_line_taken_out_of_what_was_read_shows(live):
    whole = lines(0, 4).splitlines(keepends=True)
    live.write_bytes(b"".join(whole[:1] + whole[2:]))
    _, problem = series(live).plan(place_in(live, lines(0, 2)))
    assert problem == "keyuse.file_changed"


def test_a_file_without_a_whole_line_is_not_there_yet(live):
    live.write_bytes(b"")
    assert know(live) is None
    live.write_bytes(lines(0, 1)[:50])
    assert know(live) is None
    assert series(live).plan(None) == ([], "")


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
    live.write_bytes(gzip.compress(lines(0, 3))[:-20])
    with pytest.raises(BadInput, match=r"cli\.no_such_file"), opened(live) as file:
        file.read()
