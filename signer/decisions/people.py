"""Decisions about people: who comes, who gets a role, whose role ends, whose phone is stopped.

Nobody gets a passkey this way. A new official proves identity and registers a phone with a link that is handed over.
"""

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from core.approvals.model import QUORUM, Decision
from core.db import UnitOfWork
from core.directory.model import Agency, Authorisation, Person, Role
from core.errors import BadInput, Conflict, NotFound, Refused
from core.values import Regime
from signer.activation.devices import passkeys_of
from signer.decisions.room import Id, Kind, Payload, Room, Text, Words, both, date, moment

__all__ = ["AddPerson", "EndRole", "GiveRole", "IdentifyPerson", "SuspendPhone"]

_T = TypeVar("_T", bound=Payload)

_DAY = 86_400
_NAME = 64
"""Letters that a certificate has room for (RFC 5280, ub-common-name)."""


class Grant(Payload):
    """One role by a numbered instrument. Times in Unix seconds; 0 means at once, or without end."""

    role: Literal["certifier", "clerk", "administrator"]
    capacity: Text
    number: Text
    dated: int
    valid_from: int = 0
    valid_to: int = 0
    scope: list[Literal["certified_copy", "sao_y", "so_hoa"]]


class _Number(Payload):
    national_id: Annotated[str, Field(pattern=r"^[0-9]{12}$")]


class _New(_Number):
    name: Text
    roles: list[Grant]


class _Hashed(Payload):
    """The record outlives the need to know: it holds the keyed hash, and the last digits for who compares with the papers."""

    number_mac: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    number_end: Annotated[str, Field(pattern=r"^[0-9]{4}$")]


class _NewRecord(_Hashed):
    name: Text
    roles: list[Grant]


class _Given(Payload):
    person: Id
    roles: list[Grant]


class _Ended(Payload):
    authorisation: Id
    at: int = 0
    """Unix seconds; 0 means at once."""


class _Person(Payload):
    person: Id


class _Identified(_Number):
    person: Id


class _IdentifiedRecord(_Hashed):
    person: Id


def _hashed(room: Room, national_id: str) -> dict[str, str]:
    return {"number_mac": room.require_phones().people.hashed(national_id).hex(), "number_end": national_id[-4:]}


def _masked(end: str) -> str:
    return f"•••• •••• {end}"


def _shaped(shape: type[_T], payload: dict[str, Any]) -> _T:
    """A proposer's words, before they become a record. Raises ``decision.malformed``."""
    try:
        return shape.model_validate(payload)
    except (ValueError, RecursionError) as error:
        raise BadInput("decision.malformed") from error


def _require_dates(room: Room, roles: list[Grant]) -> None:
    """Raises ``decision.malformed``, ``decision.dates``."""
    if not roles or any(not each.scope for each in roles) or len({each.role for each in roles}) != len(roles):
        raise BadInput("decision.malformed")
    now = int(room.clock.now().timestamp())
    for each in roles:
        begins = each.valid_from or now
        good = 0 < each.dated <= now + _DAY and each.valid_from >= 0
        if not good or (each.valid_to and each.valid_to <= max(now, begins)):
            raise BadInput("decision.dates")
        for seconds in (each.dated, each.valid_from, each.valid_to):
            moment(seconds)


async def _authorise(uow: UnitOfWork, room: Room, person: Person, roles: list[Grant]) -> None:
    _require_dates(room, roles)
    for each in roles:
        await room.directory.authorise(
            uow, person, Role(each.role), capacity=each.capacity, number=each.number, dated=moment(each.dated),
            valid_from=moment(each.valid_from) if each.valid_from else room.clock.now(),
            valid_to=moment(each.valid_to) if each.valid_to else None, scope=frozenset(map(Regime, each.scope)),
        )  # fmt: skip


def _of(roles: list[Grant]) -> Words:
    said: Words = []
    for each in roles:
        said += [
            (both("decision.w_role"), both(f"decision.role_{each.role}")),
            (both("decision.w_number"), f"{each.number} ({date(each.dated)})"),
            (both("decision.w_capacity"), each.capacity),
            (both("decision.w_from"), date(each.valid_from) if each.valid_from else both("decision.w_at_once")),
            (both("decision.w_to"), date(each.valid_to) if each.valid_to else both("decision.w_no_end")),
            (both("decision.w_scope"), "; ".join(both(f"decision.scope_{regime}") for regime in sorted(each.scope))),
        ]
    return said


async def _require_apart(uow: UnitOfWork, room: Room, agency: Agency, roles: list[Grant]) -> None:
    """One human never votes twice: with every administrator's number known, the same one twice is noticed.

    Raises ``decision.unknown_administrator``.
    """
    if all(Role(each.role) is not Role.ADMINISTRATOR for each in roles):
        return
    people = room.require_phones().people
    for person_id in await room.directory.holders(uow, agency.id, Role.ADMINISTRATOR, room.clock.now()):
        if not await people.has_number(uow, person_id):
            raise Refused("decision.unknown_administrator")


async def _official(uow: UnitOfWork, room: Room, agency: Agency, person_id: str) -> Person:
    """Somebody who holds or held a role here: a citizen's identity was proven for less. Raises ``decision.not_official``."""
    for person, rights in await room.directory.people(uow, agency.id):
        if person.id == person_id and rights:
            return person
    raise NotFound("decision.not_official")


class AddPerson(Kind):
    """A new official or clerk, known by name and national number; who enrols the phone must prove to be that one."""

    name: ClassVar[str] = "person.add"
    shape: ClassVar[type[Payload]] = _NewRecord

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``decision.malformed``, ``decision.dates``, ``decision.unknown_administrator``."""
        wanted = _shaped(_New, payload)
        if len(wanted.name) > _NAME:
            raise BadInput("decision.malformed")
        _require_dates(room, wanted.roles)
        await _require_apart(uow, room, agency, wanted.roles)
        return {**wanted.model_dump(exclude={"national_id"}), **_hashed(room, wanted.national_id)}

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Name, the number's end, then each role."""
        wanted: _NewRecord = self.read(payload)
        return [
            (both("decision.w_new_person"), wanted.name),
            (both("decision.w_national_id"), _masked(wanted.number_end)),
            *_of(wanted.roles),
        ]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """The person, without a passkey. Raises ``decision.unknown_administrator``, ``people.other_number``."""
        wanted: _NewRecord = self.read(decision.payload)
        await _require_apart(uow, room, agency, wanted.roles)
        person = await room.directory.add_person(uow, agency, wanted.name)
        await _authorise(uow, room, person, wanted.roles)
        await room.require_phones().people.know_hashed(uow, person.id, bytes.fromhex(wanted.number_mac))
        return {"person": person.id}


class IdentifyPerson(Kind):
    """The national number of an official who was added without one; it is set once and never changed."""

    name: ClassVar[str] = "person.identify"
    shape: ClassVar[type[Payload]] = _IdentifiedRecord

    def subject(self, payload: dict[str, Any]) -> str | None:
        """The person."""
        return str(payload["person"])

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``decision.malformed``, ``decision.not_official``."""
        wanted = _shaped(_Identified, payload)
        await _official(uow, room, agency, wanted.person)
        return {"person": wanted.person, **_hashed(room, wanted.national_id)}

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Name and the number's end."""
        wanted: _IdentifiedRecord = self.read(payload)
        person = await room.directory.person(uow, wanted.person)
        return [
            (both("decision.w_person"), person.name), (both("decision.w_national_id"), _masked(wanted.number_end)),
        ]  # fmt: skip

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``people.other_number`` where one is known."""
        wanted: _IdentifiedRecord = self.read(decision.payload)
        person = await _official(uow, room, agency, wanted.person)
        await room.require_phones().people.know_hashed(uow, person.id, bytes.fromhex(wanted.number_mac))
        return {"person": person.id}


class GiveRole(Kind):
    """A further role, or a new term, for somebody who is here."""

    name: ClassVar[str] = "role.give"
    shape: ClassVar[type[Payload]] = _Given

    def subject(self, payload: dict[str, Any]) -> str | None:
        """The person."""
        return str(payload["person"])

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``decision.not_official``, ``decision.dates``, ``decision.unknown_administrator``."""
        wanted: _Given = self.read(payload)
        await _official(uow, room, agency, wanted.person)
        _require_dates(room, wanted.roles)
        await self._require_apart(uow, room, agency, wanted)
        return wanted.model_dump()

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Name, then each role."""
        wanted: _Given = self.read(payload)
        person = await room.directory.person(uow, wanted.person)
        return [(both("decision.w_person"), person.name), *_of(wanted.roles)]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """The authorisations. Raises ``decision.unknown_administrator``."""
        wanted: _Given = self.read(decision.payload)
        person = await _official(uow, room, agency, wanted.person)
        await self._require_apart(uow, room, agency, wanted)
        await _authorise(uow, room, person, wanted.roles)
        return {"person": person.id}

    @staticmethod
    async def _require_apart(uow: UnitOfWork, room: Room, agency: Agency, wanted: _Given) -> None:
        """Who becomes an administrator must be known by number, as the others are; a new term of one changes nothing."""
        running = await room.directory.holders(uow, agency.id, Role.ADMINISTRATOR, room.clock.now())
        if wanted.person in running or all(each.role != Role.ADMINISTRATOR.value for each in wanted.roles):
            return
        if not await room.require_phones().people.has_number(uow, wanted.person):
            raise Refused("decision.unknown_administrator")
        await _require_apart(uow, room, agency, wanted.roles)


class _EndedRecord(_Ended):
    person: Id
    before: int
    """End of the term as it stood, Unix seconds; 0 for none."""


class EndRole(Kind):
    """A term ends, at once or on a day."""

    name: ClassVar[str] = "role.end"
    shape: ClassVar[type[Payload]] = _EndedRecord

    def subject(self, payload: dict[str, Any]) -> str | None:
        """Whose role it is."""
        return str(payload["person"])

    async def _right(self, uow: UnitOfWork, room: Room, agency: Agency, which: str) -> Authorisation:
        right = await room.directory.right(uow, which)
        if right.agency_id != agency.id:
            raise NotFound("directory.no_such_authorisation", authorisation=which)
        return right

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``directory.no_such_authorisation``, ``directory.already_ended``, ``decision.dates``."""
        wanted = _shaped(_Ended, payload)
        right = await self._right(uow, room, agency, wanted.authorisation)
        now = room.clock.now()
        ends = moment(wanted.at) if wanted.at else now
        if ends < now:
            raise BadInput("decision.dates")
        if right.valid_to is not None and right.valid_to <= ends:
            raise Conflict("directory.already_ended", authorisation=right.id)
        return {**wanted.model_dump(), "person": right.person_id, "before": _seconds(right)}

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Whose, which, and the end before and after."""
        wanted: _EndedRecord = self.read(payload)
        right = await self._right(uow, room, agency, wanted.authorisation)
        person = await room.directory.person(uow, right.person_id)
        return [
            (both("decision.w_person"), person.name),
            (both("decision.w_role"), both(f"decision.role_{right.role.value}")),
            (both("decision.w_number"), right.number),
            (both("decision.w_end_before"), date(wanted.before) if wanted.before else both("decision.w_no_end")),
            (both("decision.w_end_after"), date(wanted.at) if wanted.at else both("decision.w_at_once")),
        ]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """With the last role the official's key ends. Raises ``decision.overtaken``, ``decision.last_administrator``."""
        wanted: _EndedRecord = self.read(decision.payload)
        right = await self._right(uow, room, agency, wanted.authorisation)
        if (right.person_id, _seconds(right)) != (wanted.person, wanted.before):
            raise Conflict("decision.overtaken")
        now = room.clock.now()
        ends = max(now, moment(wanted.at)) if wanted.at else now
        await room.directory.end_authorisation(uow, right.id, ends)
        if right.role is Role.ADMINISTRATOR:
            left = await room.directory.holders(uow, agency.id, Role.ADMINISTRATOR, ends)
            if await _able(uow, left) < QUORUM:
                raise Refused("decision.last_administrator", least=QUORUM)
        await room.require_phones().end_official(uow, right.person_id)  # nothing while a role runs
        return {"person": right.person_id}


async def _able(uow: UnitOfWork, people: frozenset[str]) -> int:
    """How many of them can vote: who has no phone that counts is an administrator on paper only."""
    keys = [await passkeys_of(uow, person_id) for person_id in people]
    return sum(any(key.state == "active" for key in each) for each in keys)


def _seconds(right: Authorisation) -> int:
    return 0 if right.valid_to is None else int(right.valid_to.timestamp())


class SuspendPhone(Kind):
    """A lost phone whose owner cannot say so: nothing that it approves counts any longer, and the owner's desk is shut."""

    name: ClassVar[str] = "phone.suspend"
    shape: ClassVar[type[Payload]] = _Person

    def subject(self, payload: dict[str, Any]) -> str | None:
        """Whose phone it is."""
        return str(payload["person"])

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``decision.not_official``."""
        wanted: _Person = self.read(payload)
        await _official(uow, room, agency, wanted.person)
        return wanted.model_dump()

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Whose, and what it means."""
        wanted: _Person = self.read(payload)
        person = await room.directory.person(uow, wanted.person)
        return [
            (both("decision.w_person"), person.name),
            (both("decision.w_phone_after"), both("decision.w_phone_suspended")),
        ]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``decision.not_here`` where no phones are kept."""
        wanted: _Person = self.read(decision.payload)
        person = await _official(uow, room, agency, wanted.person)
        await room.require_phones().suspend(uow, person.id)
        return {"person": person.id}
