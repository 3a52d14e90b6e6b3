"""What kinds of decisions share: the registers they work on, the shape of a payload, words for people."""

import datetime as dt
import unicodedata
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from core.approvals.model import Decision
from core.clock import VIETNAM, Clock
from core.db import UnitOfWork
from core.directory.model import Agency
from core.directory.records import Directory
from core.errors import BadInput, Broken
from core.limits import LIMITS
from core.messages import LANGUAGES, sentence
from core.objects import Documents
from core.sandbox import Sandbox
from signer.copies.register import Register

__all__ = [
    "ClientAccess",
    "Id",
    "Kind",
    "Numbers",
    "Payload",
    "PhoneDesk",
    "Room",
    "Text",
    "Words",
    "both",
    "date",
    "moment",
]

Words = list[tuple[str, str]]
"""Label and value, each in Vietnamese with the English after it, in the order to be read."""


class ClientAccess(Protocol):
    """Which agencies a portal's client may speak for. Works inside the caller's transaction."""

    async def named(self, uow: UnitOfWork, client_id: str) -> tuple[str, frozenset[str]]:
        """Its name and its agencies. Raises ``client.no_such_client``."""

    async def grant(self, uow: UnitOfWork, client_id: str, agency_id: str) -> None:
        """Also for this agency from now on."""

    async def withdraw(self, uow: UnitOfWork, client_id: str, agency_id: str) -> None:
        """No longer for this agency."""


class Numbers(Protocol):
    """National numbers, of which only a keyed hash is kept."""

    def hashed(self, national_id: str) -> bytes:
        """What is kept. Raises ``people.bad_number``."""

    async def know_hashed(self, uow: UnitOfWork, person_id: str, mac: bytes) -> None:
        """Whose identity must be proven before a phone is enrolled. Raises ``people.other_number``."""

    async def has_number(self, uow: UnitOfWork, person_id: str) -> bool:
        """Whether one is known of that person."""


class PhoneDesk(Protocol):
    """What may be done to a person's phone without that person: only less."""

    @property
    def people(self) -> Numbers:
        """By whom an enrolment is expected."""

    async def suspend(self, uow: UnitOfWork, person_id: str) -> None:
        """Every passkey of the person stops counting until identity is proven again, at the desk too."""

    async def end_official(self, uow: UnitOfWork, person_id: str) -> int:
        """The key for the agency ends, its certificate revoked, unless a role runs or is yet to begin. Returns how many ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What decisions are carried out with. The web process, which only reads, has neither ``phones`` nor ``clients``' writes."""

    clock: Clock
    directory: Directory
    register: Register
    documents: Documents
    sandbox: Sandbox
    clients: ClientAccess
    phones: PhoneDesk | None = None
    host: str = ""
    """As printed on copies."""
    system: str = ""
    """Name of the information system, as printed on copies."""
    keys_agency: str = ""
    """Code of the agency whose administrators decide about keys that belong to no agency."""

    def require_phones(self) -> PhoneDesk:
        """Raises ``decision.not_here`` in a process that only reads."""
        if self.phones is None:
            raise Broken("decision.not_here")
        return self.phones


def _plain(text: str) -> str:
    """One line as everybody sees it: no control, no invisible and no direction-changing characters."""
    said = " ".join(unicodedata.normalize("NFC", text).split())
    if not said or len(said) > LIMITS["decision.text_letters"]:
        raise ValueError("length")
    if any(unicodedata.category(letter)[0] == "C" for letter in said):
        raise ValueError("invisible")
    return said


Text = Annotated[str, AfterValidator(_plain)]
"""1 to ``decision.text_letters`` letters."""
Id = Annotated[str, Field(pattern=r"^[0-9a-z]{26}$")]


class Payload(BaseModel):
    """Strict: what is not foreseen is refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Kind(ABC):
    """One thing that can be decided. The defaults suit what changes nobody's role and needs no picture."""

    name: ClassVar[str]
    shape: ClassVar[type[Payload]]

    def read(self, payload: dict[str, Any]) -> Any:
        """The payload with its types. Raises ``decision.malformed``."""
        try:
            return self.shape.model_validate(payload)
        except (ValidationError, RecursionError) as error:
            raise BadInput("decision.malformed") from error

    async def examine(self, room: Room, payload: dict[str, Any]) -> None:  # noqa: B027 - most need nothing
        """Look at what needs time, before any transaction."""

    @abstractmethod
    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """What is written into the record: checked against what stands now, with the values that would be replaced."""

    def subject(self, payload: dict[str, Any]) -> str | None:
        """Id of the person whose rights it changes: who has no voice in it."""
        return None

    @abstractmethod
    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """What changes, before and after."""

    @abstractmethod
    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Do it in the caller's transaction; returns ids of what came of it. Everything is checked again."""


def both(code: str, /, **values: object) -> str:
    """The sentence for ``code`` in both languages, said once where they agree."""
    said = [sentence(code, language, **values) for language in LANGUAGES]
    return " / ".join(dict.fromkeys(said))


def date(seconds: int) -> str:
    """A day in Vietnam, by Unix seconds; a dash for none."""
    return f"{moment(seconds).astimezone(VIETNAM):%d/%m/%Y}" if seconds else "–"


def moment(seconds: int) -> dt.datetime:
    """Unix seconds as an aware time. Raises ``decision.dates``."""
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise BadInput("decision.dates") from error
