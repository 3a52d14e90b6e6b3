"""A step whose key lies with somebody else: handed over, waited for, and never more than the ceremony allows."""

import asyncio
import dataclasses
import datetime as dt

import pytest

from ca_bridge.authorities.embedded import Subject
from core.errors import Conflict, Refused
from core.jobs import Again
from core.limits import LIMITS
from signer.keystores.model import KeyPurpose, StoredKey
from signer.requests.model import NewDocument
from tests.signer.requests.office import open_office, paper


class Service:
    """A remote-signing service with a real key: asks, and is asked again, until its person has decided."""

    def __init__(self, key, say=()):
        self.key, self.say, self.asked = key, list(say), 0
        self.algorithm, self.spki = key.algorithm, key.spki

    async def sign(self, to_sign):
        self.asked += 1
        if self.say:
            raise self.say.pop(0)
        return await self.key.sign(to_sign)


@pytest.fixture
async def remote(home):
    """An office that knows the provider ``sp``, where Nguyễn Văn Nobody has a key."""
    settings, ids = home
    office = await open_office(settings, ids)
    credentials, clock = office.records.credentials, office.clock
    from api.signing import make_enrolment
    from core.values import Realm

    keys = office.keys
    enrolment = make_enrolment(settings, Realm.TRAINING, clock, office.db, office.records, keys.booked, keys.open)
    async with office.db.read() as uow:
        issuing = await credentials.of(uow, "issuing", KeyPurpose.CA)
    credential = await enrolment._certified(
        f"sp:{ids['nobody']}", KeyPurpose.DOCUMENT, "official", Subject(common_name="Nobody", organisation="x"), issuing
    )
    service = Service(StoredKey(keys.stores, credential.key, KeyPurpose.DOCUMENT, "remote"))

    async def named(person_id, provider):
        assert (person_id, provider) == (ids["nobody"], "sp")
        return credential

    signing = dataclasses.replace(office.desk.signing, providers={"sp": lambda order, _credential: service})
    office.desk = dataclasses.replace(office.desk, signing=signing, remote=named)
    office.desk.jobs.serve("step", office.desk.advance)
    office.service = service
    yield office
    await office.desk.drain()
    await office.close()


async def make(office, **change):
    return await office.make(("nobody", "citizen", 0, {"provider": "sp"}), **change)


async def test_a_providers_step_shows_the_papers_and_asks_nothing_here(remote):
    made = await make(remote)
    opened = await remote.open(made.steps[0])
    assert (opened.tx, opened.challenge, opened.code, opened.record) == (None, None, None, None)
    assert opened.documents == made.documents
    assert (await remote.view(made.id)).steps[0].state == "ready"


async def test_handed_over_it_is_signed_when_the_person_has_decided_there(remote):
    remote.service.say = [Again(0.01), Again(0.01)]
    made = await make(remote)
    await remote.desk.start_provider(made.steps[0].id, remote.ids["nobody"])
    await remote.desk.rest(made.steps[0].id, 30)
    done = await remote.view(made.id)
    assert (done.state, done.steps[0].state, remote.service.asked) == ("completed", "signed", 3)
    value = await remote.desk.evidence(done.id)
    assert value["steps"][0]["activation"] is None
    assert await remote.told(made.id) == ["request.step_opened", "request.step_signed", "request.completed"]


async def test_a_no_at_the_provider_brings_the_step_back(remote):
    remote.service.say = [Refused("provider.not_linked")]
    made = await make(remote)
    await remote.desk.start_provider(made.steps[0].id, remote.ids["nobody"])
    await remote.desk.drain()
    step = (await remote.view(made.id)).steps[0]
    assert (step.state, step.problem, step.orders) == ("ready", "provider.not_linked", ())
    await remote.desk.start_provider(step.id, step.person_id)
    await remote.desk.drain()
    assert (await remote.view(made.id)).state == "completed"


async def test_while_the_provider_asks_nothing_is_cancelled_and_nobody_else_opens(remote):
    remote.service.say = [Again(0.3)]
    made = await remote.make(("nobody", "citizen", 0, {"provider": "sp"}), "an")
    step = next(s for s in made.steps if s.provider)
    other = next(s for s in made.steps if not s.provider)
    await remote.desk.start_provider(step.id, step.person_id)
    await remote.desk.start_provider(step.id, step.person_id)  # pressed twice
    for work in (remote.desk.cancel(made.id, "x"), remote.desk.replace(step.id, remote.ids["binh"])):
        with pytest.raises(Conflict, match=r"request\.signing"):
            await work
    with pytest.raises(Conflict, match=r"request\.leased"):
        await remote.open(other)
    await remote.desk.drain()
    assert (await remote.view(made.id)).step(step.id).state == "signed"


async def test_a_provider_that_never_answers_loses_its_turn_and_what_it_sends_later_is_not_used(remote):
    remote.service.say = [Again(0.2)]
    made = await make(remote)
    await remote.desk.start_provider(made.steps[0].id, remote.ids["nobody"])
    await asyncio.sleep(0.05)
    remote.clock.move(seconds=LIMITS["request.provider_seconds"])
    await remote.desk.sweep()
    assert (await remote.view(made.id)).steps[0].state == "ready"
    await remote.desk.drain()
    step = (await remote.view(made.id)).steps[0]
    assert (step.state, step.problem) == ("ready", None)
    await remote.desk.cancel(made.id, "thôi")


@pytest.fixture
async def partly(remote, monkeypatch):
    """Two of three papers are signed there; the person put the phone away before the third."""
    monkeypatch.setitem(LIMITS, "signing.piece", 2)
    documents = tuple([NewDocument(title=f"{n}", name=await remote.put(paper(f"part {n}"))) for n in range(3)])
    made = await make(remote, documents=documents)
    real = remote.service.key

    class Half(Service):
        async def sign(self, to_sign):
            if self.asked >= 2:
                raise Again(0.01)
            return await super().sign(to_sign)

    half = Half(real)
    providers = {"sp": lambda order, _credential: half}
    remote.desk = dataclasses.replace(
        remote.desk, signing=dataclasses.replace(remote.desk.signing, providers=providers)
    )
    remote.desk.jobs.serve("step", remote.desk.advance)
    await remote.desk.start_provider(made.steps[0].id, remote.ids["nobody"])
    while sum(d.current != d.original for d in (await remote.view(made.id)).documents) < 2:
        await asyncio.sleep(0.02)
    remote.clock.move(seconds=LIMITS["request.provider_seconds"] + 1)
    yield made.id, made.steps[0]
    half.asked = 0
    await remote.desk.drain()


async def test_a_step_signed_in_part_never_goes_back_and_nobody_takes_its_place(remote, partly):
    request_id, step = partly
    with pytest.raises(Conflict, match=r"request\.signing"):
        await remote.desk.replace(step.id, remote.ids["an"])
    await remote.desk.sweep()
    failed = await remote.view(request_id)
    assert (failed.state, failed.problem) == ("failed", "request.signed_in_part")
    assert [d.released for d in failed.documents] == [None] * 3
    with pytest.raises(Conflict, match=r"request\.not_open"):
        await remote.desk.replace(step.id, remote.ids["an"])
    assert (await remote.told(request_id))[-1] == "request.changed"


async def test_whoever_opens_after_a_step_signed_in_part_finds_the_request_ended(remote, partly):
    request_id, step = partly
    with pytest.raises(Conflict, match=r"request\.not_open"):
        await remote.desk.start_provider(step.id, remote.ids["nobody"])
    assert (await remote.view(request_id)).state == "failed"


async def test_a_hint_for_an_order_moves_its_step_on(remote):
    remote.service.say = [Again(30)]
    made = await make(remote)
    await remote.desk.start_provider(made.steps[0].id, remote.ids["nobody"])
    while not remote.service.asked:
        await asyncio.sleep(0.01)
    (order,) = (await remote.view(made.id)).steps[0].orders
    await remote.desk.order_settled("of somebody else")
    remote.desk.heard(order)
    while (await remote.view(made.id)).state == "open":
        await asyncio.sleep(0.02)
    for task in list(remote.desk._tasks):
        task.cancel()


async def test_only_a_providers_step_is_handed_over(remote):
    made = await remote.make("an", deadline=remote.clock.now() + dt.timedelta(hours=1))
    with pytest.raises(Refused, match=r"request\.no_provider"):
        await remote.desk.start_provider(made.steps[0].id, remote.ids["an"])
    made = await make(remote)
    with pytest.raises(Refused, match=r"request\.other_person"):
        await remote.desk.start_provider(made.steps[0].id, remote.ids["an"])
