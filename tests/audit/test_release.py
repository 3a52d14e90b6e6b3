"""Releasing a frozen log on both databases: what may be released, what it leaves, and what a crash leaves."""

import base64
import json

import pytest
import sqlalchemy as sa

from audit.events import LeafType
from audit.highwater import MemoryHighWater
from audit.log import Freeze, Log
from audit.records import entry_table, state_table
from audit.release import LogRelease, commitment, require_two
from core.errors import Broken, Conflict, Refused, Unavailable
from core.formats.note import NoteKey, open_checkpoint, verify_proof
from core.values import Realm
from tests.audit.test_log import Key, put

ORIGIN = "log.example/1"
OTHER_ROOT = bytes([7]) * 32
WHO = ("Nguyễn Văn Mẫu", "Lê Thị Hữu")


class Place:
    """A log of two published leaves, whose mark a test sets."""

    def __init__(self, db, clock):
        self.db, self.clock, self.mark = db, clock, MemoryHighWater()

    def log(self):
        return Log(db=self.db, origin=ORIGIN, key=Key(), clock=self.clock, highwater=self.mark)

    def desk(self):
        return LogRelease(db=self.db, origin=ORIGIN, clock=self.clock, highwater=self.mark)

    async def release(self, seen=None):
        desk = self.desk()
        return await desk.release(seen or await desk.look(), realm=Realm.PRODUCTION, present=WHO, reason="ổ đĩa hỏng")

    async def frozen(self):
        with pytest.raises(Broken) as caught:
            await self.log().open()
        return caught.value.code == "log.frozen"

    async def releases(self):
        """Leaves about releases: (index or None, leaf)."""
        t = entry_table.c
        async with self.db.read() as uow:
            rows = await uow.execute(sa.select(t.idx, t.entry).order_by(t.seq))
            leaves = [(row.idx, json.loads(row.entry)) for row in rows]
        return [each for each in leaves if each[1]["type"] == LeafType.LOG_RELEASED]


@pytest.fixture
async def place(db, clock):
    made = Place(db, clock)
    log = made.log()
    await log.open()
    await put(log, clock, "a", "b")
    await log.sequence()
    return made


def _shown(mark):
    return None if mark is None else {"size": mark[0], "root": base64.b64encode(mark[1]).decode()}


@pytest.mark.parametrize(
    ("mark", "why", "gone"),
    [
        ((5, OTHER_ROOT), Freeze.BEHIND, 3),
        ((2, OTHER_ROOT), Freeze.OTHER, None),
        ((1, OTHER_ROOT), Freeze.OTHER, None),
        (None, Freeze.LOST, None),
    ],
)
async def test_a_frozen_log_goes_on_from_its_database_and_says_so_for_ever(place, clock, mark, why, gone):
    state = place.mark.read()
    place.mark = MemoryHighWater()
    if mark is not None:
        place.mark.compare_and_set(None, mark)
    assert await place.frozen()
    seen = await place.desk().look()
    assert (seen.why, seen.mark, seen.state, seen.checkpoint, seen.gone, seen.begun) == (
        why,
        mark,
        state,
        state,
        gone,
        0,
    )
    done = await place.release(seen)
    assert place.mark.read() == state
    log = place.log()
    await log.open()
    ((index, leaf),) = await place.releases()
    assert (index, leaf.get("mark_old"), leaf["mark_new"]) == (2, _shown(mark), _shown(state))
    key = NoteKey.parse(log.vkey)
    assert open_checkpoint(await log.latest_checkpoint(), key).size == 3, "published with the next checkpoint"
    entry = (await log.entries(2, 3))[0][1]
    verify_proof((await log.receipt(done.event_id)).decode(), entry, key)
    kept = json.loads(place.mark.kept[done.kept])
    assert kept["mark"] == (None if mark is None else {"size": mark[0], "root": mark[1].hex()})
    assert base64.b64decode(leaf["doc_commit"]) == commitment(kept["record"])
    assert (kept["record"]["present"], kept["record"]["reason"]) == (list(WHO), "ổ đĩa hỏng")
    for personal in (*WHO, "ổ đĩa"):
        assert personal not in entry.decode()
    await put(log, clock, "c")
    assert await log.sequence() == 4


async def test_a_log_that_follows_its_mark_is_not_released(place):
    with pytest.raises(Refused, match=r"log\.not_frozen"):
        await place.desk().look()


@pytest.mark.parametrize(
    "present",
    [(), ("Nguyễn Văn Mẫu",), ("Nguyễn Văn Mẫu", "nguyễn  văn mẫu "), ("Nguyễn Văn Mẫu", " "),
     ("Nguyễn Văn Mẫu", "Nguye\u0302\u0303n Va\u0306n Ma\u0302\u0303u")],
)  # fmt: skip
def test_one_person_is_not_two(present):
    with pytest.raises(Refused, match=r"log\.needs_two"):
        require_two(present)
    require_two((*present, "Lê Thị Hữu", "Đỗ Văn Thư"))


async def _behind(place, size=5):
    place.mark = MemoryHighWater()
    place.mark.compare_and_set(None, (size, OTHER_ROOT))


async def test_what_changed_since_it_was_looked_at_is_not_released(place, clock):
    state = place.mark.read()
    await _behind(place)
    seen = await place.desk().look()
    place.mark.compare_and_set(seen.mark, (6, OTHER_ROOT))
    with pytest.raises(Conflict, match=r"log\.mark_moved"):
        await place.release(seen)
    place.mark.compare_and_set((6, OTHER_ROOT), seen.mark)
    async with place.db.write() as uow:  # another database in its place
        await uow.execute(state_table.update().values(root=OTHER_ROOT))
    with pytest.raises(Conflict, match=r"log\.mark_moved"):
        await place.release(seen)
    assert (await place.releases(), place.mark.read(), place.mark.kept) == ([], seen.mark, {})
    assert state == seen.state


async def test_a_mark_that_moves_at_the_last_moment_stays(place, monkeypatch):
    await _behind(place)
    seen = await place.desk().look()
    reads = iter([seen.mark])
    monkeypatch.setattr(place.mark, "read", lambda: next(reads))
    place.mark._mark = (7, OTHER_ROOT)
    with pytest.raises(Conflict, match=r"log\.mark_moved"):
        await place.release(seen)
    assert (place.mark._mark, place.mark.kept) == ((7, OTHER_ROOT), {})


async def test_a_crash_before_the_mark_leaves_it_frozen_and_running_again_completes_it(place, monkeypatch):
    await _behind(place)

    def crash(*_):
        raise Unavailable("log.highwater_unavailable")

    with monkeypatch.context() as once:
        once.setattr(place.mark, "replace", crash)
        with pytest.raises(Unavailable):
            await place.release()
    assert await place.frozen()
    seen = await place.desk().look()
    assert seen.begun == 1, "not silent"
    await place.release(seen)
    await place.log().open()
    assert [index for index, _ in await place.releases()] == [2, 3]
    assert len(place.mark.kept) == 1


async def test_a_crash_after_the_mark_is_published_by_whoever_opens_the_log(place):
    await _behind(place)
    await place.release()
    assert [index for index, _ in await place.releases()] == [None]
    with pytest.raises(Refused, match=r"log\.not_frozen"):
        await place.desk().look()
    await place.log().open()
    assert [index for index, _ in await place.releases()] == [2]


@pytest.mark.parametrize("change", [{"root": OTHER_ROOT}, {"size": 1}])
async def test_a_database_that_contradicts_itself_is_not_released(place, change):
    root = await place.desk().root_at(1)
    await _behind(place)
    async with place.db.write() as uow:
        await uow.execute(state_table.update().values(**change | ({"root": root} if "size" in change else {})))
    with pytest.raises(Broken, match=r"log\.equivocation"):
        await place.desk().look()
