"""What a training home needs before people practise in it: the guide's client, sample officials, a paper for their desk.

May be repeated: what is there already stays, and invitations are made anew.
"""

import datetime as dt
import json
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from api.bootstrap import Service, demo_needs_training
from api.clients.model import Client, Scope
from api.clients.store import Clients
from api.portal.request_schemas import AtAnchor, KnownPersonIn, PdfIn, SignatureRequestIn, SignerIn
from api.portal.uploads import upload_table
from api.questions import requests
from api.training.paper import notice
from api.training.practice import PORTAL
from core.directory.model import Agency, Role
from core.ids import new_id
from core.limits import LIMITS
from core.values import Realm, Regime
from signer.requests.model import LIVE
from signer.requests.records import step_table

__all__ = ["AGENCY", "Invited", "prepare", "sample_agency"]

AGENCY: Final = "H99.1"
_PEOPLE: Final = (
    (Role.CERTIFIER, "Nguyễn Thị Ánh Tuyết", "TUQ. CHỦ TỊCH", "12/QĐ-UBND", "999000000011"),
    (Role.CLERK, "Trần Văn Thư", "TUQ. CHỦ TỊCH", "13/QĐ-UBND", "999000000012"),
    (Role.ADMINISTRATOR, "Lê Thị Quản", "QUẢN TRỊ", "14/QĐ-UBND", "999000000013"),
    (Role.ADMINISTRATOR, "Phạm Văn Trị", "QUẢN TRỊ", "15/QĐ-UBND", "999000000014"),
)
"""Role, name, capacity, number of the authorisation, invented national number. Two administrators: no one decides alone."""
_FOR: Final = "TM. ỦY BAN NHÂN DÂN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """A sample official with the two ways in."""

    role: str
    name: str
    number: str
    """To log in with at the simulated provider."""
    sign: str
    """Enrols the phone that signs."""
    desk: str
    """Registers the passkey that opens the desk; good for ``enrol.ticket_seconds``."""


async def sample_agency(service: Service) -> None:
    """An agency with its people, in a home that has none, and those of its people who are missing elsewhere.

    Raises ``home.not_training``.
    """
    if service.realm is not Realm.TRAINING:
        raise demo_needs_training()
    async with service.db.read() as uow:
        known = await service.directory.agencies(uow)
    if not known:
        await service.enrolment.agency(code=AGENCY, name="UBND xã Mẫu Sơn", parent="UBND tỉnh Ví Dụ")
    elif AGENCY not in {each.code for each in known}:
        return
    here, now = set(await _people(service)), service.clock.now()
    for role, name, capacity, number, _ in _PEOPLE:
        if (role, name) not in here:
            await service.enrolment.person(
                agency=AGENCY, name=name, role=role, number=number, capacity=capacity, dated=now,
                valid_to=now + dt.timedelta(days=365), scope=frozenset(Regime),
            )  # fmt: skip


async def prepare(service: Service) -> list[Invited]:
    """Client and paper where they are missing, and an invitation for each sample official. Raises ``home.not_training``."""
    await sample_agency(service)
    async with service.db.read() as uow:
        agencies = await service.directory.agencies(uow)
    agency = next((each for each in agencies if each.code == AGENCY), agencies[0])
    client = await _client(service, agency)
    if agency.code != AGENCY:
        return []
    people, phones = await _people(service), service.parts().phones
    await _paper_for_desk(service, client, agency, people)
    invited = []
    for role, name, _, _, number in _PEOPLE:
        person = people[role, name]
        link = await phones.invite(person, national_id=number)
        ticket = await phones.desk_ticket(person)
        invited.append(
            Invited(
                role=role.value, name=name, number=number, sign=f"{phones.relying_party.origin}/e/{link}",
                desk=f"{service.settings.url}/desk/register#{ticket}",
            )
        )  # fmt: skip
    return invited


async def _people(service: Service) -> dict[tuple[Role, str], str]:
    async with service.db.read() as uow:
        agency = await service.directory.agency(uow, AGENCY)
        found = await service.directory.people(uow, agency.id)
    return {(right.role, person.name): person.id for person, rights in found for right in rights}


async def _client(service: Service, agency: Agency) -> Client:
    """The guide as a portal. It has no key: nobody can come in with it from outside."""
    clients = Clients(service.db, service.clock, "")
    back = [f"{service.settings.url}/training"] if service.settings.url.startswith("https:") else []
    for each in await clients.all():
        if each.name == PORTAL and each.ended_at is None:
            await clients.set_return_urls(each.id, back)
            return each
    return await clients.add(PORTAL, [agency.id], [Scope.SIGNATURES_READ, Scope.SIGNATURES_WRITE], back)


async def _paper_for_desk(
    service: Service, client: Client, agency: Agency, people: dict[tuple[Role, str], str]
) -> None:  # fmt: skip
    """Something for the official to sign and the clerk to seal, unless something waits for them."""
    official, clerk = (people[role, name] for role, name, *_ in _PEOPLE[:2])
    t = step_table.c
    async with service.db.read() as uow:
        query = sa.select(t.id).where(t.person_id.in_((official, clerk)), t.state.in_(LIVE)).limit(1)
        if (await uow.execute(query)).first() is not None:
            return
    now, title = service.clock.now(), "Thông báo lịch tập huấn"
    body = ["UBND xã Mẫu Sơn thông báo: lớp tập huấn ký số mở tại nhà văn hóa thôn, sáng thứ Bảy hằng tuần.",
            "Giấy này do máy làm ra để cán bộ và văn thư tập ký, tập đóng dấu."]  # fmt: skip
    drawn = notice(title.upper(), body, signed_by=_FOR)
    file = await service.documents.put(drawn)
    async with service.db.write() as uow:  # as if the guide had sent it: requests take only their client's own files
        row = {"id": new_id(service.clock), "client_id": client.id, "length": len(drawn), "position": len(drawn),
               "document": file, "created_at": now}  # fmt: skip
        await uow.execute(upload_table.insert(), row)
    wanted = SignatureRequestIn(
        agency=agency.code, title=title, reason="Tập huấn", deadline=now + dt.timedelta(days=LIMITS["request.days"] - 1),
        documents=[PdfIn(title=title, file=file)],
        signers=[
            SignerIn(person=KnownPersonIn(id=official), kind="official", order=0,
                     placement=AtAnchor(kind="anchor", text=_FOR, y=8, width=200, height=80)),
            SignerIn(person=KnownPersonIn(id=clerk), kind="seal", order=1,
                     placement=AtAnchor(kind="anchor", text=_FOR, x=-110, y=8, width=110, height=110)),
        ],
    )  # fmt: skip
    lay = requests.handlers(service)["request.create"]
    words = {"client": client.id, "agency": agency.id, "request": new_id(service.clock)}
    await lay(words, json.dumps(wanted.model_dump(mode="json", exclude={"agency"}), ensure_ascii=False).encode())
