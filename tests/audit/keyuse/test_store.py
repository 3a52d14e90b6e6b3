"""What runs leave in the database, on both: they go on from each other and never change an earlier one."""

import pytest
import sqlalchemy as sa

from audit.keyuse.records import finding_table, place_table, run_table
from core.errors import Conflict, Unavailable
from core.limits import LIMITS
from tests.audit.keyuse.makers import KEY, Side, at, digest, may, must, noise, shown, sign


async def rows(db, table):
    async with db.read() as uow:
        return (await uow.execute(sa.select(table).order_by(table.c.id))).all()


async def test_orders_and_uses_with_their_calls_leave_nothing_to_tell(db, look, live):
    live.write_bytes(noise(2) + sign(digest(1)) + sign(digest(2), digest(3), at=at(2)) + noise(2))
    side = Side(
        may(digest(1)), must(digest(1), at=at(1)), may(digest(2), ref="o2", at=at(1)), must(digest(2), ref="o2", at=at(3)),
        may(digest(3), kind="use", ref="u", at=at(1)),
    )  # fmt: skip
    report, found = await look(side)
    assert (found, report.clean, report.complete) == ([], True, True)
    assert (report.counts["calls"], report.counts["matched"], report.counts["lines"]) == (3, 3, 12)
    (run,) = await rows(db, run_table)
    (place,) = await rows(db, place_table)
    assert (run.state, place.offset, place.run_id) == ("whole", live.stat().st_size, run.id)


async def test_more_of_the_same_is_counted_with_a_few_request_ids(db, look, live):
    live.write_bytes(b"".join(sign(digest(n), at=at(n)) for n in range(9)))
    report, found = await look(Side())
    (finding,) = report.findings
    assert (finding.count, len(finding.requests), finding.first_at, finding.last_at) == (9, 5, at(0), at(8))
    (row,) = await rows(db, finding_table)
    assert (row.count, row.name, row.requests) == (9, KEY.name, list(finding.requests))


async def test_the_next_run_reads_only_what_is_new(look, live):
    live.write_bytes(sign(digest(1)))
    first, _ = await look(Side(may(digest(1)), must(digest(1), at=at(1))))
    with live.open("ab") as file:
        file.write(sign(digest(2), at=at(3_600)))
    side = Side(may(digest(2), at=at(3_599)), must(digest(2), at=at(3_601)), may(digest(1)))
    second, found = await look(side, hours=1)
    assert (found, second.counts["lines"], second.counts["calls"]) == ([], 2, 1)
    assert side.memories == [{"seen": "1"}]
    assert second.since == first.until
    third, found = await look(Side(), hours=1)
    assert (found, third.counts["lines"]) == ([], 0)


async def test_old_files_are_proven_again_without_moving_the_chain(db, look, live):
    live.write_bytes(sign(digest(1)))
    await look(Side(may(digest(1))))
    report, found = await look(Side(), again=True)
    assert found == [("keyuse.call_without_intent", "critical")]
    assert [r.state for r in await rows(db, run_table)] == ["whole", "again"]
    assert len(await rows(db, place_table)) == 1
    _, found = await look(Side())
    assert found == []


async def test_a_long_run_is_saved_on_its_way_and_goes_on_from_there(db, look, live, monkeypatch):
    monkeypatch.setitem(LIMITS, "keyuse.part_bytes", 1_000_000)
    count = 6_000
    causes = [may(digest(n), ref=f"o{n}", at=at(n / 10)) for n in range(count)]
    causes += [must(digest(n), ref=f"o{n}", at=at(n / 10 + 1)) for n in range(count)]
    live.write_bytes(b"".join(sign(digest(n), at=at(n / 10)) for n in range(count)) + sign(digest("x"), at=at(count)))
    asked = 0

    async def until_it_fails(text):
        nonlocal asked
        asked += 1
        if asked > count - 200:
            raise Unavailable("vault.sealed")
        return shown(text)

    with pytest.raises(Unavailable, match=r"vault\.sealed"):
        await look(Side(*causes), asked=until_it_fails)
    parts = await rows(db, run_table)
    assert [p.state for p in parts] == ["part"] * len(parts) != []
    report, found = await look(Side(*causes))
    assert found == [("keyuse.call_without_intent", "critical")]
    assert report.counts["lines"] < 2 * count
    runs = await rows(db, run_table)
    assert {r.before for r in runs} == {None} | {r.id for r in runs if r.state == "part"}


async def test_of_two_runs_at_a_time_one_is_refused(db, clock, look, live):
    live.write_bytes(noise())
    await look(Side())

    class Slow(Side):
        async def counterparts(self, after, until):
            if not self.permits:
                self.permits = "once"
                await look(Side(), hours=0.1)
            return []

    with pytest.raises(Conflict, match=r"keyuse\.run_overtaken"):
        await look(Slow())


async def test_runs_places_and_findings_are_never_changed(db, look, live):
    live.write_bytes(sign(digest()))
    await look(Side())
    for table in (run_table, place_table, finding_table):
        with pytest.raises(Exception, match="append-only"):
            async with db.write() as uow:
                await uow.execute(sa.delete(table))
