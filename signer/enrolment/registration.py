"""A passkey that is made, and one that lets a further one in: challenges that exist as records, each good for one answer.

fido2 checks type, challenge, RP ID hash, presence and, asked with the word *required*, user verification. Ours: the exact
origin, crossOrigin and topOrigin, the algorithm, single use, flags that contradict each other.
"""

import base64
import datetime as dt
import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any, Final

from fido2 import cbor
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestationConveyancePreference,
    AttestationObject,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
)

from core.clock import Clock
from core.db import UnitOfWork, row_by, swap_state
from core.errors import BadInput, Conflict, Refused
from core.formats import canonical_json
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.values import Realm
from signer.activation import redeem
from signer.activation.passkeys import Assertion, RelyingParty, verify_assertion
from signer.activation.records import passkey_table
from signer.enrolment.records import challenge_table

__all__ = ["ALGORITHMS", "Challenge", "Made", "approved_by", "ask", "spend", "verify_made"]

ALGORITHMS: Final = (-7, -8, -257)
"""COSE: ES256, EdDSA, RS256, in the order of our wish."""
_UNREADABLE: Final = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, struct.error)
_VERIFIED, _MAY_BE_BACKED_UP, _BACKED_UP = 0x04, 0x08, 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """SHA-256 of its record."""

    tx: str
    person_id: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A new passkey as its authenticator described it."""

    credential_id: bytes
    public_key: bytes
    flags: int
    sign_count: int


async def ask(
    uow: UnitOfWork, clock: Clock, *, do: str, person_id: str, about: str, realm: Realm, rp: RelyingParty
) -> Challenge:
    """A new record ``dauso/passkey/v1``. ``do``: ``create`` or ``approve``; ``about``: the run, or the link in hex."""
    tx, until = new_id(clock), clock.now() + dt.timedelta(seconds=LIMITS["enrol.challenge_seconds"])
    record = canonical_json.encode(
        {
            "d": "dauso/passkey/v1", "tx": tx, "do": do, "person": person_id, "about": about, "realm": realm.value,
            "rp": rp.rp_id, "exp": int(until.timestamp()), "nonce": base64.b64encode(random_bytes(32)).decode(),
        }
    )  # fmt: skip
    await uow.execute(challenge_table.delete().where(challenge_table.c.expires_at < clock.now()))
    values = {"tx": tx, "person_id": person_id, "about": f"{do} {about}", "record": record, "state": "open",
              "expires_at": until}  # fmt: skip
    await uow.execute(challenge_table.insert(), values)
    return Challenge(tx=tx, person_id=person_id, value=hashlib.sha256(record).digest())


async def spend(uow: UnitOfWork, clock: Clock, tx: str, *, do: str, about: str) -> Challenge:
    """Use it up before its answer is looked at: a wrong answer needs a new question too.

    Raises ``passkey.no_challenge``, ``passkey.challenge_used``.
    """
    row = (await uow.execute(row_by(challenge_table.c.tx), {"value": tx})).first()
    if row is None or row.about != f"{do} {about}" or clock.now() >= row.expires_at:
        raise Refused("passkey.no_challenge")
    if not await swap_state(uow, challenge_table.c.tx, tx, "open", "used"):
        raise Conflict("passkey.challenge_used")
    return Challenge(tx=tx, person_id=row.person_id, value=hashlib.sha256(row.record).digest())


def verify_made(
    challenge: bytes, rp: RelyingParty, *, credential_id: bytes, client_data: bytes, attestation: bytes
) -> Made:
    """A registration at exactly this origin, with the person verified.

    Raises ``passkey.malformed``, ``passkey.wrong_type``, ``passkey.wrong_origin``, ``passkey.wrong_challenge``,
    ``passkey.no_user_verification``, ``passkey.algorithm``, ``passkey.refused``.
    """
    try:
        client, fields = CollectedClientData(client_data), dict(json.loads(client_data))
        data = AttestationObject(attestation).auth_data
        made = data.credential_data
        assert made is not None
        key = cbor.encode(dict(made.public_key))
    except (*_UNREADABLE, AssertionError) as error:
        raise BadInput("passkey.malformed") from error
    if client.type != "webauthn.create":
        raise Refused("passkey.wrong_type")
    if client.origin != rp.origin or fields.get("crossOrigin", False) is not False or "topOrigin" in fields:
        raise Refused("passkey.wrong_origin")
    if data.rp_id_hash != hashlib.sha256(rp.rp_id.encode()).digest():  # a log-in passkey belongs to another RP
        raise Refused("passkey.wrong_origin")
    if client.challenge != challenge:
        raise Refused("passkey.wrong_challenge")
    if not data.flags & _VERIFIED:
        raise Refused("passkey.no_user_verification")
    if made.public_key.get(3) not in ALGORITHMS:
        raise Refused("passkey.algorithm")
    _require_sound(data, credential_id)
    _complete(challenge, rp, credential_id, client_data, attestation)
    return Made(
        credential_id=bytes(made.credential_id), public_key=key, flags=int(data.flags), sign_count=int(data.counter)
    )


def _require_sound(data: AuthenticatorData, credential_id: bytes) -> None:
    assert data.credential_data is not None
    inside = bytes(data.credential_data.credential_id)
    backed_up_alone = data.flags & _BACKED_UP and not data.flags & _MAY_BE_BACKED_UP  # WebAuthn L3 §6.1.3
    if inside != credential_id or not 16 <= len(inside) <= 1023 or backed_up_alone:
        raise Refused("passkey.refused")


def _complete(challenge: bytes, rp: RelyingParty, credential_id: bytes, client_data: bytes, attestation: bytes) -> None:
    """The library's own verdict over the same bytes."""
    server = Fido2Server(
        PublicKeyCredentialRpEntity(id=rp.rp_id, name=rp.rp_id), attestation=AttestationConveyancePreference.NONE,
        verify_origin=lambda origin: origin == rp.origin,
    )  # fmt: skip
    state = {"challenge": _text(challenge), "user_verification": "required"}
    response: dict[str, Any] = {
        "id": _text(credential_id), "rawId": _text(credential_id), "type": "public-key",
        "response": {"clientDataJSON": _text(client_data), "attestationObject": _text(attestation)},
    }  # fmt: skip
    try:
        server.register_complete(state, response)
    except (*_UNREADABLE, AssertionError) as error:
        raise Refused("passkey.refused") from error


async def approved_by(
    uow: UnitOfWork, challenge: Challenge, rp: RelyingParty, realm: Realm, assertion: Assertion
) -> str:
    """The id of the active passkey that answered. Raises ``activation.*``."""
    row = (await uow.execute(row_by(passkey_table.c.credential_id), {"value": assertion.credential_id})).first()
    if row is None or row.person_id != challenge.person_id or row.realm != realm or row.state != "active":
        raise Refused("activation.foreign_passkey")
    count = verify_assertion(assertion, challenge=challenge.value, public_key=row.public_key, rp=rp)
    await redeem.advance_count(uow, row, count)
    return str(row.id)


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
