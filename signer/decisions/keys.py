"""Decisions about keys: no use for good, and destruction (``key_rules.py``: use again after a stop, other rules).

Who decides: administrators of the agency whose seal or code key it is, or whose person's key it is (that person has no
voice). Keys of the realm itself (root, issuing, log, time stamps …) belong to no agency: the administrators of the one
named in ``keys_agency`` decide about them, or of the only agency there is; with several and none named, nobody.

A decision changes the registry and orders what is to be done in the store; that is done after the commit
(``signer/keystores/work.py``).
"""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from ca_bridge import records as ca
from core.approvals.model import Decision
from core.certificates import Certificate
from core.db import UnitOfWork
from core.directory.model import Agency
from core.errors import BadInput, Conflict, NotFound
from core.limits import LIMITS
from core.messages import codes
from core.values import Digest
from signer.credentials import Credentials
from signer.decisions.room import Id, Kind, Payload, Room, Text, Words, both, date
from signer.enrolment.keys import CESSATION
from signer.keystores.model import KeyPurpose
from signer.keystores.registry import NOT_FOR_PRODUCTION, OWNED, KeyState, KnownKey, Registry

__all__ = [
    "DestroyKey", "DisableKey", "Hash", "KeyAsked", "KeyKind", "KeyRecord", "is_keeper", "key_of", "keys_of", "owner_name", "person_of",
    "require_keeper", "sha256", "states", "store_name",
]  # fmt: skip

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in hexadecimal."""
_REASONS: Final = {"cessation": CESSATION, "compromise": 1}
"""CRL reasons (RFC 5280 §5.3.1)."""


# ------------------------------------------------------------------------------------------------------ who and which
async def is_keeper(uow: UnitOfWork, room: Room, agency: Agency) -> bool:
    """Whether its administrators decide about the realm's own keys."""
    if room.keys_agency:
        return agency.code == room.keys_agency
    return [each.id for each in await room.directory.agencies(uow) if each.realm is agency.realm] == [agency.id]


async def require_keeper(uow: UnitOfWork, room: Room, agency: Agency) -> None:
    """Raises ``key.unknown``: to the others these keys do not exist here."""
    if not await is_keeper(uow, room, agency):
        raise NotFound("key.unknown")


async def key_of(uow: UnitOfWork, room: Room, agency: Agency, key_id: str) -> KnownKey:
    """A key about which the agency's administrators decide. Raises ``key.unknown``."""
    key = await Registry(room.clock).get(uow, key_id)
    if key.realm is not agency.realm:
        raise NotFound("key.unknown")
    if key.ref.purpose not in OWNED:
        await require_keeper(uow, room, agency)
    elif key.owner != agency.id and (
        key.ref.purpose is not KeyPurpose.DOCUMENT
        or (await room.directory.person(uow, key.owner)).agency_id != agency.id
    ):
        raise NotFound("key.unknown")
    return key


async def keys_of(uow: UnitOfWork, room: Room, agency: Agency, limit: int) -> tuple[list[KnownKey], list[KnownKey]]:
    """Keys that the agency's administrators decide about: those of the agency and its people, and the realm's own."""
    registry = Registry(room.clock)
    services = await registry.services(uow, agency.realm) if await is_keeper(uow, room, agency) else []
    return await registry.of_agency(uow, agency.id, limit), services


def person_of(key: KnownKey) -> str:
    """Id of whose it is; empty for keys that are nobody's."""
    return key.owner if key.ref.purpose is KeyPurpose.DOCUMENT else ""


async def owner_name(uow: UnitOfWork, room: Room, purpose: KeyPurpose, owner: str) -> str:
    """For people."""
    if purpose is KeyPurpose.DOCUMENT:
        return (await room.directory.person(uow, owner)).name
    if purpose in OWNED:
        return (await room.directory.agency(uow, owner)).name
    code = f"key.service_{owner}"
    return both(code) if code in codes() else owner


def store_name(store: str) -> str:
    """With the mark that belongs to it."""
    return f"{store} · {both('key.not_for_production')}" if store in NOT_FOR_PRODUCTION else store


def sha256(key: KnownKey) -> str:
    """Of its public key."""
    return Digest.of(key.ref.spki).hex


def _seconds(at: Any) -> int:
    return 0 if at is None else int(at.timestamp())


class KeyAsked(Payload):
    """What a proposer says at least."""

    key: Id


class KeyRecord(KeyAsked):
    """What every record of a decision about one key holds."""

    person: str
    """Whose it is; empty for nobody's."""
    spki_sha256: Hash
    before: str
    """Its state when this was proposed."""


class KeyKind(Kind):
    """What decisions about one key share."""

    asked: ClassVar[type[Payload]] = KeyAsked
    """What the proposer says."""

    def subject(self, payload: dict[str, Any]) -> str | None:
        """Whose key it is."""
        return str(payload["person"]) or None

    def proposed(self, payload: dict[str, Any]) -> Any:
        """Raises ``decision.malformed``."""
        try:
            return self.asked.model_validate(payload)
        except (ValueError, RecursionError) as error:
            raise BadInput("decision.malformed") from error

    @staticmethod
    def record(key: KnownKey) -> dict[str, Any]:
        """What every record holds."""
        return {"key": key.id, "person": person_of(key), "spki_sha256": sha256(key), "before": key.state.value}

    async def which(self, uow: UnitOfWork, room: Room, agency: Agency, wanted: Any) -> Words:
        """The key, for people; who may decide was asked when it was proposed, and is asked again when it is done."""
        key = await Registry(room.clock).get(uow, wanted.key)
        return [
            (both("decision.w_key"), both(f"key.purpose_{key.ref.purpose.value}")),
            (both("decision.w_key_owner"), await owner_name(uow, room, key.ref.purpose, key.owner)),
            (both("decision.w_key_hash"), wanted.spki_sha256),
            (both("decision.w_key_store"), store_name(key.ref.store)),
        ]

    async def unchanged(self, uow: UnitOfWork, room: Room, agency: Agency, wanted: Any) -> KnownKey:
        """The key, as it was when this was proposed. Raises ``decision.overtaken``, ``key.unknown``."""
        key = await key_of(uow, room, agency, wanted.key)
        if (sha256(key), person_of(key), key.state.value) != (wanted.spki_sha256, wanted.person, wanted.before):
            raise Conflict("decision.overtaken")
        return key


def states(before: str, after: str) -> Words:
    """Of a key, before and after."""
    return [
        (both("decision.w_before"), both(f"key.state_{before}")), (both("decision.w_after"), both(f"key.state_{after}")),
    ]  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- disable
class _Disable(KeyAsked):
    why: Text
    revoke: Literal["", "cessation", "compromise"] = ""


class _DisableRecord(KeyRecord):
    why: Text
    revoke: Literal["", "cessation", "compromise"]


class DisableKey(KeyKind):
    """No use from now on, for good. A person's certificate ends with it, so that the person can enrol again."""

    name: ClassVar[str] = "key.disable"
    shape: ClassVar[type[Payload]] = _DisableRecord
    asked: ClassVar[type[Payload]] = _Disable

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``key.unknown``, ``decision.nothing_to_change``, ``key.foreign_certificate``."""
        wanted: _Disable = self.proposed(payload)
        key = await key_of(uow, room, agency, wanted.key)
        if key.state not in {KeyState.ACTIVE, KeyState.STOPPED}:
            raise Conflict("decision.nothing_to_change")
        revoke = wanted.revoke
        ours = bool(await self._serials(uow, room, key))
        if revoke and not ours:
            raise BadInput("key.foreign_certificate")
        if person_of(key) and ours:
            revoke = revoke or "cessation"
        return {**self.record(key), "why": wanted.why, "revoke": revoke}

    @staticmethod
    async def _serials(uow: UnitOfWork, room: Room, key: KnownKey) -> list[int]:
        """Of certificates over this key that our own authority issued and nobody revoked."""
        rows = await Registry(room.clock).credentials(uow, key)
        serials = [Certificate.parse(row.certificate).serial for row in rows if row.certificate is not None]
        return [serial for serial, state in (await ca.states(uow, serials)).items() if state.status == "good"]

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Which, why, and what it means."""
        wanted: _DisableRecord = self.read(payload)
        return [
            *await self.which(uow, room, agency, wanted),
            *states(wanted.before, "disabled"),
            (both("decision.w_reason"), wanted.why),
            (both("decision.w_revoke"), both(f"decision.revoke_{wanted.revoke or 'none'}")),
            (both("decision.w_key_later"), both("decision.key_later", days=LIMITS["keys.destroy_days"])),
        ]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``decision.overtaken``."""
        wanted: _DisableRecord = self.read(decision.payload)
        key = await self.unchanged(uow, room, agency, wanted)
        registry, credentials = Registry(room.clock), Credentials(room.clock)
        await registry.disable(uow, key.id, decision.id)
        if wanted.revoke:
            for serial in await self._serials(uow, room, key):
                await ca.revoke(uow, serial, _REASONS[wanted.revoke], room.clock.now())
        for row in await registry.credentials(uow, key):
            # one that waits takes nobody's place any more; others stay named beside their successor
            waits = row.active_from is not None and row.active_from > room.clock.now()
            if row.state == "active" and (wanted.revoke or wanted.person or waits):
                await credentials.retire(uow, row.id)
        return {"key": key.id}


# -------------------------------------------------------------------------------------------------------------- destroy
class _DestroyRecord(KeyRecord):
    certificates: list[Hash]
    """SHA-256 of certificates over this key."""
    until: int
    """End of the last of them, Unix seconds; 0 for none."""
    disabled_at: int
    destroy_after: int


class DestroyKey(KeyKind):
    """Gone from its store for good. What it signed needs only the public key."""

    name: ClassVar[str] = "key.destroy"
    shape: ClassVar[type[Payload]] = _DestroyRecord

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``key.unknown``, ``key.not_disabled``, ``key.too_early``, ``key.destruction_ordered``."""
        wanted: KeyAsked = self.proposed(payload)
        key = await key_of(uow, room, agency, wanted.key)
        registry = Registry(room.clock)
        registry.require_destroyable(key)
        if any(work.act == "destroy" for work in await registry.works(uow, key.id)):
            raise Conflict("key.destruction_ordered")
        return {**self.record(key), **await self._leaning(uow, room, key)}

    @staticmethod
    async def _leaning(uow: UnitOfWork, room: Room, key: KnownKey) -> dict[str, Any]:
        rows = await Registry(room.clock).credentials(uow, key)
        found = [Certificate.parse(row.certificate) for row in rows if row.certificate is not None]
        return {
            "certificates": sorted(each.sha256.hex() for each in found),
            "until": max((_seconds(each.not_after) for each in found), default=0),
            "disabled_at": _seconds(key.disabled_at), "destroy_after": _seconds(key.destroy_after),
        }  # fmt: skip

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Which, what leans on it, and what it means."""
        wanted: _DestroyRecord = self.read(payload)
        return [
            *await self.which(uow, room, agency, wanted),
            (both("decision.w_disabled_at"), date(wanted.disabled_at)),
            *((both("decision.w_certificate_hash"), each) for each in wanted.certificates),
            (both("decision.w_certificate_end"), date(wanted.until)),
            *states(wanted.before, "destroyed"),
            (both("decision.w_key_later"), both("decision.key_gone")),
        ]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Ordered; its store does it. Raises ``decision.overtaken``, ``key.too_early`` by the clock as it stands now."""
        wanted: _DestroyRecord = self.read(decision.payload)
        key = await self.unchanged(uow, room, agency, wanted)
        leaning = await self._leaning(uow, room, key)
        if leaning != {name: getattr(wanted, name) for name in leaning}:
            raise Conflict("decision.overtaken")
        await Registry(room.clock).order_destruction(uow, key.id, decision.id)
        return {"key": key.id}
