"""Who may sign a step, asked when it is made, when it is opened, when it is approved and when the key is used."""

import sqlalchemy as sa
from cryptography.x509.oid import NameOID

from ca_bridge.authorities.embedded import TRAINING_MARK
from core.db import UnitOfWork
from core.directory.model import Role
from core.directory.records import authorisation_table
from core.errors import NotFound, Refused
from core.values import Realm
from signer.activation.records import passkey_table
from signer.credentials import Credential
from signer.keystores.model import KeyPurpose
from signer.requests.parts import Parts

__all__ = ["capacity_of", "credential_of", "require_may", "require_passkey"]


_ANY_ROLE = (
    sa.select(authorisation_table.c.id).where(authorisation_table.c.person_id == sa.bindparam("person")).limit(1)
)


async def require_may(
    uow: UnitOfWork, parts: Parts, *, realm: Realm, agency_id: str, kind: str, person_id: str
) -> None:
    """The role now.

    Raises ``directory.*``, ``request.other_realm``, ``request.not_citizen``, ``request.not_official``, ``request.not_clerk``.
    """
    agency = await parts.directory.agency(uow, agency_id)
    agency.require_active(parts.clock.now())
    person = await parts.directory.person(uow, person_id)
    if person.realm is not realm:
        raise Refused("request.other_realm")
    if kind == "citizen" and await _was_official(uow, person_id):
        raise Refused("request.not_citizen")
    if kind == "official" and not await _runs(uow, parts, person_id, agency_id, tuple(Role)):
        raise Refused("request.not_official")
    if kind == "seal" and not await _runs(uow, parts, person_id, agency_id, (Role.CLERK,)):
        raise Refused("request.not_clerk")


async def _was_official(uow: UnitOfWork, person_id: str) -> bool:
    """Whoever held a role has a key of the agency's; the same human signs for herself as another person, with another key."""
    return (await uow.execute(_ANY_ROLE, {"person": person_id})).first() is not None


async def _runs(uow: UnitOfWork, parts: Parts, person_id: str, agency_id: str, roles: tuple[Role, ...]) -> bool:
    """An authorisation at the agency that holds now. Its scope speaks of certified copies, which these are not."""
    t, now = authorisation_table.c, parts.clock.now()
    query = sa.select(t.id).where(
        t.person_id == person_id, t.agency_id == agency_id, t.role.in_(roles), t.valid_from <= now,
        sa.or_(t.valid_to.is_(None), t.valid_to > now),
    )  # fmt: skip
    return (await uow.execute(query.limit(1))).first() is not None


async def require_passkey(uow: UnitOfWork, person_id: str, realm: Realm) -> None:
    """One that can answer now. Raises ``request.not_enrolled``."""
    t = passkey_table.c
    query = sa.select(t.id).where(t.person_id == person_id, t.realm == realm, t.state == "active").limit(1)
    if (await uow.execute(query)).first() is None:
        raise Refused("request.not_enrolled")


async def credential_of(uow: UnitOfWork, parts: Parts, *, agency_id: str, kind: str, person_id: str) -> Credential:
    """The key a step is signed with, its certificate in force.

    Raises ``request.not_enrolled``, ``request.not_citizen``, ``credential.expired``.
    """
    owner, purpose = (agency_id, KeyPurpose.SEAL) if kind == "seal" else (person_id, KeyPurpose.DOCUMENT)
    try:
        credential = await parts.signing.credentials.of(uow, owner, purpose)
    except NotFound as error:
        raise Refused("request.not_enrolled") from error
    certificate = credential.require_valid(parts.clock.now())
    organisations = certificate.parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if kind == "citizen" and any(each.value != TRAINING_MARK for each in organisations):
        raise Refused("request.not_citizen")  # it names an agency, whatever roles the directory knows
    return credential


async def capacity_of(uow: UnitOfWork, parts: Parts, person_id: str, agency_id: str) -> str:
    """The line above an official's signature, as the newest running authorisation has it."""
    t, now = authorisation_table.c, parts.clock.now()
    query = (
        sa.select(t.capacity)
        .where(
            t.person_id == person_id, t.agency_id == agency_id, t.valid_from <= now,
            sa.or_(t.valid_to.is_(None), t.valid_to > now),
        )
        .order_by(t.valid_from.desc())
        .limit(1)
    )  # fmt: skip
    return str((await uow.execute(query)).scalar_one_or_none() or "")
