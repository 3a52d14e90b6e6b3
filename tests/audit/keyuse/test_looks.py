"""What was found so far: counted, listed, looked at once, told once; and said when nothing was compared for too long."""

import asyncio
import datetime as dt

import pytest

from audit.keyuse import Finding, KeyVersion, Severity, looks
from audit.keyuse.store import Saved, save
from core.directory.records import Directory
from core.errors import Conflict, NotFound
from core.ids import new_id
from core.limits import LIMITS
from core.values import Realm

KEY = KeyVersion("transit", "seal-1", 1)


@pytest.fixture
async def person(db, clock):
    directory = Directory(clock)
    async with db.write() as uow:
        agency = await directory.add_agency(uow, realm=Realm.TRAINING, code="H1", name="UBND", parent="UBND")
        return (await directory.add_person(uow, agency, "A")).id


def finding(code="keyuse.call_without_intent", severity=Severity.CRITICAL, key=KEY, **more):
    return Finding(code=code, severity=severity, key=key, **more)


@pytest.fixture
def run(db, clock):
    """Saves a run that ends now."""

    async def run(*findings, state="whole", until=None, device="d"):
        now = clock.now()
        made = Saved(
            id=new_id(clock), device=device, before=None, state=state, began_at=now, ended_at=now, since=now,
            until=until or now, counts={}, carry={}, places=[], findings=list(findings),
        )  # fmt: skip
        await save(db, clock, made)
        return made.id

    return run


async def standing(db, clock):
    async with db.read() as uow:
        return await looks.standing(uow, clock.now())


async def listed(db, limit=50):
    async with db.read() as uow:
        return await looks.found(uow, limit)


async def look(db, clock, found, person, why="biết rồi"):
    async with db.write() as uow:
        await looks.look(uow, clock, found.id, person, why)


async def test_before_the_first_run_there_is_nothing_to_say(db, clock):
    assert await standing(db, clock) is None
    assert await listed(db) == []


async def test_critical_findings_wait_until_somebody_has_looked_and_stay_critical(db, clock, run, person):
    await run(finding(), finding("keyuse.decided", Severity.NOTE))
    first = clock.now()
    clock.move(minutes=5)
    run_id = await run(
        finding("keyuse.refused_attempt", Severity.WARNING), finding("keyuse.raw_audit", key=None, what="a.log")
    )
    assert (await standing(db, clock)).waiting == 2
    assert (await standing(db, clock)).newest == clock.now()
    rows = await listed(db)
    assert [(r.finding.code.removeprefix("keyuse."), r.finding.key) for r in rows] == [
        ("raw_audit", None), ("call_without_intent", KEY), ("refused_attempt", KEY),
    ]  # fmt: skip
    assert (rows[0].run_id, rows[0].run_at, rows[0].look) == (run_id, clock.now(), None)
    await look(db, clock, rows[0], person, "nhật ký thử")
    now = await standing(db, clock)
    assert (now.waiting, now.seen, now.newest) == (1, 1, first)
    rows = await listed(db)
    assert next(r.finding.code.removeprefix("keyuse.") for r in rows) == "call_without_intent"
    seen = next(r for r in rows if r.look)
    assert (seen.finding.severity, seen.look.person_id, seen.look.why) == (Severity.CRITICAL, person, "nhật ký thử")
    assert len(await listed(db, 1)) == 1


async def test_a_finding_is_looked_at_once_whoever_is_first(db, clock, run, person):
    await run(finding())
    (row,) = await listed(db)
    tries = await asyncio.gather(*(look(db, clock, row, person, str(n)) for n in range(5)), return_exceptions=True)
    assert [str(each) for each in tries if each is not None] == [t for t in map(str, tries) if "looked_at" in t]
    assert tries.count(None) == 1
    with pytest.raises(Conflict, match=r"keyuse\.looked_at"):
        await look(db, clock, row, person)


async def test_what_is_no_finding_is_not_looked_at(db, clock, run, person):
    await run(finding("keyuse.decided", Severity.NOTE))
    async with db.read() as uow:
        note = (await uow.exec_driver_sql("select id from key_audit_finding")).scalar_one()
    for number in ("x" * 26, note):
        with pytest.raises(NotFound, match=r"keyuse\.no_such_finding"):
            async with db.write() as uow:
                await looks.look(uow, clock, number, person, "a")


async def test_runs_with_critical_findings_are_told_once(db, clock, run):
    one = await run(finding(), finding("keyuse.raw_audit", key=None))
    await run(finding("keyuse.refused_attempt", Severity.WARNING))
    async with db.write() as uow:
        assert await looks.untold(uow) == [one]
        assert await looks.tell(uow, clock, one)
        assert not await looks.tell(uow, clock, one)
        assert await looks.untold(uow) == []


async def test_a_comparison_that_does_not_come_forward_is_overdue(db, clock, run):
    hours = LIMITS["keyuse.overdue_hours"]
    await run(state="again")
    assert await standing(db, clock) is None
    await run(state="part")  # a first run that does not come to its end
    clock.move(hours=hours)
    assert not (await standing(db, clock)).overdue
    clock.move(seconds=1)
    assert (await standing(db, clock)).overdue
    behind = clock.now() - dt.timedelta(hours=hours + 1)
    await run(until=behind)  # it runs, and does not get beyond a leaf that is never published
    assert (await standing(db, clock)).until == behind
    assert (await standing(db, clock)).overdue
    await run(device="e")
    assert not (await standing(db, clock)).overdue
