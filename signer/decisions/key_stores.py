"""Decisions about key stores: one key that comes from elsewhere, and another policy.

Both only allow: the operator imports with ``dauso keys import``, and loads what ``dauso keys policy`` writes.
"""

import base64
import binascii
from typing import Annotated, Any, ClassVar, Final, Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import Field

from core.approvals.model import Decision
from core.certificates import Certificate
from core.db import UnitOfWork
from core.directory.model import Agency
from core.errors import BadInput, Conflict, NotFound
from core.limits import LIMITS
from core.values import Digest, SignatureAlgorithm
from signer.decisions.keys import Hash, owner_name, require_keeper
from signer.decisions.room import Kind, Payload, Room, Words, both, date
from signer.keystores.allowed import SERVICES, Imports, Policies
from signer.keystores.model import KeyPurpose
from signer.keystores.registry import OWNED

__all__ = ["ChangePolicy", "ImportKey"]

_RAW: Final = frozenset({KeyPurpose.LOG, KeyPurpose.QR})
"""Without a certificate."""


class _Import(Payload):
    purpose: Literal["document", "seal", "log", "qr", "list", "tsa", "ocsp", "ca", "report"]
    owner: Annotated[str, Field(max_length=64)]
    """A person's id, a service key's name; empty for the agency itself."""
    algorithm: Literal["ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pkcs1-sha256", "rsa-pss-sha256", "ed25519"]
    spki_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """May be left out where a certificate is given."""
    certificate: Annotated[str, Field(max_length=16_384)] = ""
    """DER in base64; empty for raw keys."""


class _ImportRecord(_Import):
    spki_sha256: Hash
    subject: str
    until: int
    """End of the certificate, Unix seconds; 0 for none."""


class ImportKey(Kind):
    """One key may come from elsewhere, once and soon: this one and no other."""

    name: ClassVar[str] = "key.import"
    shape: ClassVar[type[Payload]] = _ImportRecord

    def subject(self, payload: dict[str, Any]) -> str | None:
        """Whose key it will be."""
        return str(payload["owner"]) if payload["purpose"] == KeyPurpose.DOCUMENT.value else None

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``decision.malformed``, ``key.unknown_owner``, ``key.import_other``, ``cert.unreadable``, ``key.unknown``."""
        try:
            wanted = _Import.model_validate(payload)
        except (ValueError, RecursionError) as error:
            raise BadInput("decision.malformed") from error
        purpose = KeyPurpose(wanted.purpose)
        owner = await self._owner(uow, room, agency, purpose, wanted.owner)
        if (purpose in _RAW) is bool(wanted.certificate):
            raise BadInput("decision.malformed")
        record = {**wanted.model_dump(), "owner": owner, "subject": "", "until": 0}
        if wanted.certificate:
            record |= self._read(room, wanted)
        if not record["spki_sha256"]:
            raise BadInput("decision.malformed")
        return record

    @staticmethod
    async def _owner(uow: UnitOfWork, room: Room, agency: Agency, purpose: KeyPurpose, owner: str) -> str:
        if purpose not in OWNED:
            await require_keeper(uow, room, agency)
            if SERVICES.get(owner) is not purpose:
                raise NotFound("key.unknown_owner")
            return owner
        if purpose is not KeyPurpose.DOCUMENT:
            if owner not in {"", agency.id}:
                raise NotFound("key.unknown_owner")
            return agency.id
        try:
            person = await room.directory.person(uow, owner)
        except NotFound as error:
            raise NotFound("key.unknown_owner") from error
        if person.agency_id != agency.id:
            raise NotFound("key.unknown_owner")
        return person.id

    @staticmethod
    def _read(room: Room, wanted: _Import) -> dict[str, Any]:
        """What the certificate says. Raises ``key.import_other`` where it is over another key, ``decision.dates`` where it is over."""
        certificate = _certificate(wanted.certificate)
        digest = Digest.of(certificate.spki).hex
        if wanted.spki_sha256 not in {"", digest} or not _fits(certificate, SignatureAlgorithm(wanted.algorithm)):
            raise BadInput("key.import_other")
        if certificate.not_after <= room.clock.now():
            raise BadInput("decision.dates")
        return {"spki_sha256": digest, "subject": certificate.subject, "until": int(certificate.not_after.timestamp())}

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Whose, for what, and the key by its digest."""
        wanted: _ImportRecord = self.read(payload)
        purpose = KeyPurpose(wanted.purpose)
        said = [
            (both("decision.w_key"), both(f"key.purpose_{wanted.purpose}")),
            (both("decision.w_key_owner"), await owner_name(uow, room, purpose, wanted.owner)),
            (both("decision.w_algorithm"), wanted.algorithm),
            (both("decision.w_key_hash"), wanted.spki_sha256),
        ]
        if wanted.certificate:
            certificate = _certificate(wanted.certificate)
            said += [
                (both("decision.w_certificate"), wanted.subject),
                (both("decision.w_certificate_hash"), certificate.sha256.hex()),
                (both("decision.w_certificate_end"), date(wanted.until)),
            ]
        once = both("decision.key_once", hours=LIMITS["keys.import_hours"])
        return [*said, (both("decision.w_key_later"), once)]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Allowed from now on, for ``keys.import_hours``. Raises ``key.unknown_owner``, ``key.unknown``."""
        wanted: _ImportRecord = self.read(decision.payload)
        purpose = KeyPurpose(wanted.purpose)
        await self._owner(uow, room, agency, purpose, wanted.owner)
        await Imports(room.clock).allow(
            uow, decision.id, realm=agency.realm, owner=wanted.owner, purpose=purpose,
            algorithm=SignatureAlgorithm(wanted.algorithm), spki_sha256=wanted.spki_sha256,
            certificate=_certificate(wanted.certificate).der if wanted.certificate else None,
        )  # fmt: skip
        return {"import": decision.id}


def _certificate(text: str) -> Certificate:
    """Raises ``cert.unreadable``."""
    try:
        return Certificate.parse(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise BadInput("cert.unreadable") from error


def _fits(certificate: Certificate, algorithm: SignatureAlgorithm) -> bool:
    """Whether the certificate's key is one of that algorithm."""
    key = certificate.parsed.public_key()
    match algorithm:
        case SignatureAlgorithm.ECDSA_P256_SHA256:
            return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
        case SignatureAlgorithm.ECDSA_P384_SHA384:
            return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
        case SignatureAlgorithm.ED25519:
            return isinstance(key, ed25519.Ed25519PublicKey)
        case _:
            return isinstance(key, rsa.RSAPublicKey)


class _Policy(Payload):
    store: Literal["transit", "pkcs11"]
    sha256: Hash


class _PolicyRecord(_Policy):
    before: str


class ChangePolicy(Kind):
    """The policy that a store should have from now on, by its digest; ``dauso doctor keys`` compares."""

    name: ClassVar[str] = "store.policy"
    shape: ClassVar[type[Payload]] = _PolicyRecord

    async def complete(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> dict[str, Any]:
        """Raises ``decision.malformed``, ``key.unknown``, ``decision.nothing_to_change``."""
        try:
            wanted = _Policy.model_validate(payload)
        except (ValueError, RecursionError) as error:
            raise BadInput("decision.malformed") from error
        await require_keeper(uow, room, agency)
        before = await Policies(room.clock).decided(uow, agency.realm, wanted.store)
        if before == wanted.sha256:
            raise Conflict("decision.nothing_to_change")
        return {**wanted.model_dump(), "before": before}

    async def words(self, uow: UnitOfWork, room: Room, agency: Agency, payload: dict[str, Any]) -> Words:
        """Which store, and both digests."""
        wanted: _PolicyRecord = self.read(payload)
        return [
            (both("decision.w_key_store"), wanted.store),
            (both("decision.w_policy_before"), wanted.before or "–"),
            (both("decision.w_policy_after"), wanted.sha256),
            (both("decision.w_key_later"), both("decision.policy_compare")),
        ]

    async def apply(self, uow: UnitOfWork, room: Room, agency: Agency, decision: Decision) -> dict[str, Any]:
        """Raises ``decision.overtaken``, ``key.unknown``."""
        wanted: _PolicyRecord = self.read(decision.payload)
        await require_keeper(uow, room, agency)
        policies = Policies(room.clock)
        if await policies.decided(uow, agency.realm, wanted.store) != wanted.before:
            raise Conflict("decision.overtaken")
        await policies.decide(uow, decision.id, agency.realm, wanted.store, wanted.sha256)
        return {"policy": decision.id}
