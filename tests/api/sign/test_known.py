"""Whom the gate knows at the signing origin: links and passes that were made here, and nothing that only looks like one."""

import datetime as dt
from types import SimpleNamespace

import pytest

from api.sign.known import known_link
from core.directory.records import Directory
from core.values import Realm
from signer.enrolment.runs import open_run
from signer.links import end_links, make_link


@pytest.fixture
async def made(db, clock):
    """(token of a link, pass of an enrolment)."""
    directory = Directory(clock)
    async with db.write() as uow:
        agency = await directory.add_agency(uow, realm=Realm.TRAINING, code="H1", name="UBND xã", parent="UBND tỉnh")
        person = await directory.add_person(uow, agency, "Lê Thị Hữu")
        until = clock.now() + dt.timedelta(hours=1)
        token = await make_link(uow, clock, kind="step", subject=["s1"], person_id=person.id, expires_at=until)
        held = await open_run(
            uow, clock, person_id=person.id, realm=Realm.TRAINING, kind="first", method="oidc", link=None
        )
    return token, held


def asked(path: str, held: str = ""):
    headers = [(b"dauso-pass", held.encode())] if held else []
    return {"type": "http", "method": "POST", "path": path, "headers": headers}


async def test_a_link_or_a_pass_of_ours_is_known_by_its_digest_and_a_guess_is_not(db, made):
    token, held = made
    known = known_link(SimpleNamespace(db=db))
    names = [await known(asked(path)) for path in (f"/s/{token}/enter", f"/s/{token}", f"/e/{token}/login")]
    assert len(set(names)) == 1
    assert names[0] is not None
    assert token not in names[0]
    assert await known(asked("/e/run/consent", held)) not in {None, *names}
    for path, given in (
        (f"/s/{token[:-1]}A/enter", ""), ("/s/x/enter", ""), (f"/s/{'A' * 32}", held), ("/e/run/consent", "B" * 32),
        ("/e/run/consent", "x"), ("/e/back", ""), (f"/x/{token}", ""),
    ):  # fmt: skip
        assert await known(asked(path, given)) is None, (path, given)


async def test_a_link_that_ended_was_still_ours(db, clock, made):
    async with db.write() as uow:
        await end_links(uow, clock, "step", "s1")
    assert await known_link(SimpleNamespace(db=db))(asked(f"/s/{made[0]}/status")) is not None
