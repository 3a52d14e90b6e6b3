"""Entering the signing page, on both databases: the right person, once, and never an approval."""

import asyncio
import datetime as dt

import pytest
import sqlalchemy as sa

from core.directory.records import Directory
from core.errors import ServiceError
from core.limits import LIMITS
from core.values import Realm
from signer import links
from signer.activation import devices, entering, redeem
from signer.activation.passkeys import RelyingParty, SoftwarePasskey

RP = RelyingParty("sign.localhost", "http://sign.localhost:8001")


class Town:
    """A person with a passkey, somebody else with one, and links."""

    def __init__(self, db, clock):
        self.db, self.clock = db, clock
        self.mine, self.other = SoftwarePasskey.create(Realm.TRAINING), SoftwarePasskey.create(Realm.TRAINING)

    async def build(self):
        directory = Directory(self.clock)
        async with self.db.write() as uow:
            agency = await directory.add_agency(uow, realm=Realm.TRAINING, code="A", name="A", parent="P")
            self.people = [(await directory.add_person(uow, agency, name)).id for name in "NM"]
            self.passkeys = [
                await redeem.enrol_passkey(
                    uow, self.clock, person_id=person, realm=Realm.TRAINING, credential_id=key.credential_id,
                    public_key=key.public_key, kind="software",
                )
                for person, key in zip(self.people, (self.mine, self.other), strict=True)
            ]  # fmt: skip
        return self

    async def link(self, person=0, hours=24):
        expires = self.clock.now() + dt.timedelta(hours=hours)
        async with self.db.write() as uow:
            token = await links.make_link(
                uow, self.clock, kind="step", subject=["s"], person_id=self.people[person], expires_at=expires
            )
            return await links.find_link(uow, self.clock, token)

    async def ask(self, link):
        async with self.db.write() as uow:
            return await entering.ask(uow, self.clock, link)

    async def answer(self, link, tx, assertion):
        async with self.db.write() as uow:
            return await entering.answer(uow, self.clock, RP, tx, assertion, link=link)

    async def holder(self, token, link):
        async with self.db.read() as uow:
            return await entering.holder(uow, self.clock, token, link)

    async def enter(self, link):
        tx, challenge = await self.ask(link)
        return await self.answer(link, tx, self.mine.answer(challenge, RP))


@pytest.fixture
async def town(db, clock):
    return await Town(db, clock).build()


async def code_of(doing):
    with pytest.raises(ServiceError) as refused:
        await doing
    return refused.value.code


async def test_the_persons_passkey_gives_a_pass_for_this_link_alone(town):
    link, another, foreign = await town.link(), await town.link(), await town.link(person=1)
    token = await town.enter(link)
    assert len(token) >= 40
    assert await town.holder(token, link) == town.people[0]
    assert await code_of(town.holder(token, another)) == "pass.foreign"
    assert await code_of(town.holder(token, foreign)) == "pass.foreign"
    assert await code_of(town.holder("", link)) == "pass.missing"
    assert await code_of(town.holder("x" * 43, link)) == "pass.expired"
    async with town.db.read() as uow:
        assert token not in str((await uow.execute(sa.select(entering.pass_table))).all())


async def test_an_answer_is_good_once(town):
    link = await town.link()
    tx, challenge = await town.ask(link)
    assertion = town.mine.answer(challenge, RP)
    await town.answer(link, tx, assertion)
    assert await code_of(town.answer(link, tx, assertion)) == "enter.spent"


async def test_of_two_answers_at_once_one_wins(town):
    link = await town.link()
    tx, challenge = await town.ask(link)
    assertion = town.mine.answer(challenge, RP)
    done = await asyncio.gather(*(town.answer(link, tx, assertion) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(each, str) for each in done) == 1
    assert {each.code for each in done if not isinstance(each, str)} == {"enter.spent"}


async def test_what_is_no_answer_of_this_person_to_this_question_opens_nothing(town):
    link, other = await town.link(), await town.link()
    tx, challenge = await town.ask(link)
    good = town.mine.answer(challenge, RP)
    elsewhere = RelyingParty(RP.rp_id, "http://localhost:8000")
    login = RelyingParty("localhost", RP.origin)
    second = (await town.ask(link)).challenge
    wrong = {
        "enter.unknown": [(other, tx, good), (link, "0" * 26, good)],
        "activation.foreign_passkey": [
            (link, tx, town.other.answer(challenge, RP)),
            (link, tx, SoftwarePasskey.create(Realm.TRAINING).answer(challenge, RP)),
        ],
        "activation.no_user_verification": [(link, tx, town.mine.answer(challenge, RP, flags=0x01))],
        "activation.wrong_origin": [
            (link, tx, town.mine.answer(challenge, elsewhere)),
            (link, tx, town.mine.answer(challenge, login)),
        ],
        "activation.wrong_challenge": [(link, tx, town.mine.answer(second, RP))],
    }
    for code, tried in wrong.items():
        for how in tried:
            assert await code_of(town.answer(*how)) == code
    await town.answer(link, tx, good)  # the question is still the person's to answer


async def test_an_entry_is_no_approval_and_an_approval_is_no_entry(town):
    link = await town.link()
    tx, challenge = await town.ask(link)
    async with town.db.write() as uow:
        opened = await redeem.open_activation(
            uow, town.clock, person_id=town.people[0], credential_id="C", spki=b"s", hashes=[b"h" * 32], title="Giấy",
            pages=1, purpose="citizen", realm=Realm.TRAINING, client="c", description="", ttl=600,
        )  # fmt: skip
    approval, entry = town.mine.answer(opened.challenge, RP), town.mine.answer(challenge, RP)
    assert await code_of(town.answer(link, tx, approval)) == "activation.wrong_challenge"
    assert await code_of(town.answer(link, opened.tx, approval)) == "enter.unknown"

    async def approve(at, assertion):
        async with town.db.write() as uow:
            await redeem.approve(uow, town.clock, RP, at, assertion)

    assert await code_of(approve(opened.tx, entry)) == "activation.wrong_challenge"
    assert await code_of(approve(tx, entry)) == "activation.unknown"


async def test_a_question_and_a_pass_have_their_time(town):
    link = await town.link()
    tx, challenge = await town.ask(link)
    token = await town.enter(link)
    town.clock.move(seconds=LIMITS["enter.seconds"])
    assert await code_of(town.answer(link, tx, town.mine.answer(challenge, RP))) == "enter.expired"
    town.clock.move(seconds=LIMITS["pass.seconds"] - LIMITS["enter.seconds"] - 1)
    await town.holder(token, link)
    town.clock.move(seconds=1)
    assert await code_of(town.holder(token, link)) == "pass.expired"
    await town.ask(link)
    async with town.db.read() as uow:  # what is over is not kept
        assert not (await uow.execute(sa.select(entering.pass_table))).all()
        assert len((await uow.execute(sa.select(entering.challenge_table))).all()) == 1


async def test_a_pass_ends_with_its_link_and_with_its_passkey(town):
    link, other = await town.link(), await town.link()
    token, second = await town.enter(link), await town.enter(other)
    async with town.db.write() as uow:
        await devices.set_state(uow, town.passkeys[0], "active", "suspended")
    assert await code_of(town.holder(token, link)) == "pass.expired"
    tx, challenge = await town.ask(link)
    assert await code_of(town.answer(link, tx, town.mine.answer(challenge, RP))) == "activation.foreign_passkey"
    async with town.db.write() as uow:
        await devices.set_state(uow, town.passkeys[0], "suspended", "active")
    await town.holder(second, other)
    async with town.db.write() as uow:
        await links.end_links(uow, town.clock, "step", "s")
    assert await code_of(town.holder(second, other)) == "pass.expired"


async def test_an_authenticator_whose_count_went_back_is_turned_away(town):
    link = await town.link()
    for counter, code in ((5, None), (5, "activation.replayed"), (4, "activation.replayed"), (6, None)):
        tx, challenge = await town.ask(link)
        doing = town.answer(link, tx, town.mine.answer(challenge, RP, counter=counter))
        if code is None:
            await doing
        else:
            assert await code_of(doing) == code
