"""Two administrators who decide at the real desk of decisions, with software passkeys that lie under a training home."""

from api.signing import relying_party
from core.directory.model import Role
from core.values import Realm, Regime
from signer.activation.passkeys import SoftwarePasskey
from tests.flows.town import at


async def administrators(service, code="H1"):
    """Ids of two, new."""
    now, found = service.clock.now(), []
    for name in ("Trần Văn Quản", "Vũ Thị Trị"):
        person = await service.enrolment.person(
            agency=code, name=name, role=Role.ADMINISTRATOR, number="1/QĐ", capacity="", dated=now,
            valid_to=at(now.timestamp() + 9 * 86_400), scope=frozenset(Regime),
        )  # fmt: skip
        found.append(person.id)
    return found


async def decide(service, people, kind, payload, code="H1"):
    """Propose and agree; returns the decision's id."""
    desk = service.parts().decisions
    async with service.db.read() as uow:
        agency = await service.directory.agency(uow, code)
    decision = await desk.propose(agency_id=agency.id, kind=kind, payload=payload, proposed_by=people[0])
    for person in people:
        asked = await desk.question(decision, person)
        dump = (service.settings.home / "training-passkeys" / person).read_bytes()
        answer = SoftwarePasskey.load(Realm.TRAINING, dump).answer(asked.challenge, relying_party(service.settings))
        standing = await desk.approve(decision, person, asked.tx, answer)
    assert standing.state == "applied"
    return decision
