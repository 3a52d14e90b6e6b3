"""Sessions, questions and queues on both databases: one winner of a race, nothing opened that is locked."""

import asyncio
import datetime as dt

import pytest

from api.desk import queues
from api.desk.deadlines import due_on
from api.desk.passkeys import LoginPasskeys
from api.desk.sessions import DeskPerson, Sessions
from core.clock import VIETNAM
from core.directory.model import Role
from core.directory.records import Directory
from core.errors import Conflict
from core.limits import LIMITS
from core.settings import Settings
from core.values import Realm
from signer.copies.inbox import Inbox

AGENT = "Mozilla/5.0 (Windows NT 10.0) Chrome/156.0"


@pytest.fixture
async def desk(db, clock, tmp_path):
    """(sessions, passkeys, who, a passkey's id)."""
    directory = Directory(clock)
    passkeys = LoginPasskeys(Settings(home=tmp_path, web_url="http://localhost"), clock, Realm.TRAINING)
    async with db.write() as uow:
        agency = await directory.add_agency(uow, realm=Realm.TRAINING, code="H1", name="UBND xã", parent="UBND tỉnh")
        person = await directory.add_person(uow, agency, "Lê Thị Hữu")
        key = await passkeys.add(uow, person.id, b"id", b"key")
    who = DeskPerson(
        person_id=person.id, name=person.name, agency=agency, roles=frozenset({Role.CERTIFIER}), session_id="", passkey_id=key,
        verified_at=clock.now(),
    )  # fmt: skip
    return Sessions(clock, Realm.TRAINING), passkeys, who, key


async def test_two_answers_to_one_question_at_once_have_one_winner(db, desk):
    _, passkeys, _, _ = desk
    async with db.write() as uow:
        asked = await passkeys.ask_login(uow)

    async def answer():
        async with db.write() as uow:
            await passkeys.spend(uow, asked["tx"], "login")

    found = await asyncio.gather(*(answer() for _ in range(4)), return_exceptions=True)
    assert [each for each in found if each is None] == [None]
    assert all(isinstance(each, Conflict) and each.code == "desk.question_gone" for each in found if each is not None)
    async with db.write() as uow:
        with pytest.raises(Conflict):
            await passkeys.spend(uow, asked["tx"], "unlock")


async def test_a_session_lives_locks_and_ends(db, desk, clock):
    sessions, _, who, key = desk
    async with db.write() as uow:
        token = await sessions.start(uow, person_id=who.person_id, passkey_id=key, device="d" * 43, agent=AGENT)
    async with db.read() as uow:
        row = await sessions.find(uow, token, "d" * 43, AGENT)
        assert row is not None
        for wrong in (
            (token, "e" * 43, AGENT),
            (token, "d" * 43, "Firefox"),
            ("t" * 43, "d" * 43, AGENT),
            ("", "", ""),
        ):
            assert await sessions.find(uow, *wrong) is None
        assert not sessions.is_locked(row)
    clock.move(seconds=LIMITS["desk.idle_seconds"])
    async with db.write() as uow:
        await sessions.touch(uow, row.id)  # too late: it opens nothing
        row = await sessions.find(uow, token, "d" * 43, AGENT)
        assert sessions.is_locked(row)
        fresh = await sessions.renew(uow, row.id, key)
        assert await sessions.find(uow, token, "d" * 43, AGENT) is None
        row = await sessions.find(uow, fresh, "d" * 43, AGENT)
        assert not sessions.is_locked(row)
        await sessions.lock(uow, row.id)
        assert sessions.is_locked(await sessions.find(uow, fresh, "d" * 43, AGENT))
        await sessions.end(uow, row.id)
        assert await sessions.find(uow, fresh, "d" * 43, AGENT) is None
        assert await sessions.open_of(uow, who.person_id) == []


async def test_old_questions_are_forgotten(db, desk, clock):
    _, passkeys, who, _ = desk
    async with db.write() as uow:
        asked = await passkeys.ask_login(uow)
    clock.move(hours=2)
    async with db.write() as uow:
        await passkeys.ask_registration(uow, who.person_id, who.name)
        with pytest.raises(Conflict):
            await passkeys.spend(uow, asked["tx"], "login")


async def test_queues_read_on_both_databases(db, desk, clock):
    _, _, who, _ = desk
    now = clock.now()
    async with db.read() as uow:
        for state in ("awaiting_certifier", "awaiting_seal"):
            assert await queues.queue(uow, who, state, now) == []
        assert await queues.received(uow, who, now - dt.timedelta(days=3)) == []
        assert await queues.steps(uow, who, now) == []
        assert await queues.request_of(uow, who, "0" * 26, Inbox(clock)) is None


@pytest.mark.parametrize(
    ("asked", "due"),
    [
        ("2026-11-25T09:00", "2026-11-25"), ("2026-11-25T15:00", "2026-11-25"), ("2026-11-25T15:01", "2026-11-26"),
        ("2026-11-27T16:00", "2026-11-30"), ("2026-11-28T09:00", "2026-11-30"), ("2026-11-29T23:59", "2026-11-30"),
    ],
)  # fmt: skip
def test_the_deadline_is_that_of_the_law(asked, due):
    assert due_on(dt.datetime.fromisoformat(asked).replace(tzinfo=VIETNAM)).isoformat() == due


def test_a_name_in_a_list_is_masked():
    assert [queues.masked(each) for each in ("Phạm Thị Ổn", "Ổn", "")] == ["P. T. Ổn", "Ổn", ""]
