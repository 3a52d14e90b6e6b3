"""Open, approve, spend: an activation's life, each step by compare-and-swap in the caller's transaction."""

import base64
import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from core.clock import Clock
from core.db import UnitOfWork, insert_new, row_by, swap_state
from core.errors import BadInput, Conflict, NotFound, Refused
from core.ids import new_id, random_bytes
from core.limits import LIMITS
from core.values import DigestAlgorithm, Realm
from signer.activation.passkeys import Assertion, RelyingParty, verify_assertion
from signer.activation.record import ActivationRecord
from signer.activation.records import activation_table, passkey_table

__all__ = [
    "Opened",
    "Status",
    "advance_count",
    "approve",
    "enrol_passkey",
    "open_activation",
    "record",
    "refuse",
    "spend",
    "status",
    "verify_evidence",
]


@dataclass(frozen=True, slots=True)
class Opened:
    """A new activation."""

    tx: str
    challenge: bytes


@dataclass(frozen=True, slots=True)
class Status:
    """``open``, ``approved``, ``spent``, ``refused`` or ``expired``."""

    state: str
    challenge: bytes


async def enrol_passkey(
    uow: UnitOfWork, clock: Clock, *, person_id: str, realm: Realm, credential_id: bytes, public_key: bytes, kind: str,
    flags: int | None = None, sign_count: int = 0, label: str = "",
) -> str:  # fmt: skip
    """Record a passkey of the signing origin; returns its id.

    ``flags``: of its authenticator data (0x08 may be backed up, 0x10 is). Raises ``activation.software_in_production``,
    ``activation.passkey_known``.
    """
    if kind == "software" and realm is not Realm.TRAINING:
        raise Refused("activation.software_in_production")
    passkey_id = new_id(clock)
    made = await uow.execute(
        insert_new(uow, passkey_table),
        {
            "id": passkey_id, "person_id": person_id, "realm": realm, "credential_id": credential_id, "public_key": public_key,
            "kind": kind, "sign_count": sign_count, "state": "active", "created_at": clock.now(), "flags": flags, "label": label,
        },
    )  # fmt: skip
    if made.rowcount != 1:
        raise Conflict("activation.passkey_known")
    return passkey_id


async def open_activation(
    uow: UnitOfWork, clock: Clock, *, person_id: str, credential_id: str, spki: bytes, hashes: Sequence[bytes],
    title: str, pages: int, purpose: str, realm: Realm, client: str, description: str, ttl: int,
) -> Opened:  # fmt: skip
    """Fix what is to be approved; returns the challenge for the passkey.

    ``hashes``: 1 to ``activation.documents`` digests of one length (32, 48 or 64 bytes); ``ttl``: seconds, at most
    ``activation.seconds``. Raises ``activation.malformed``.
    """
    by_size = {a.size: a for a in DigestAlgorithm}
    digest = by_size.get(len(hashes[0])) if hashes else None
    if digest is None or any(len(h) != digest.size for h in hashes) or len(hashes) > LIMITS["activation.documents"]:
        raise BadInput("activation.malformed")
    if not 0 < ttl <= LIMITS["activation.seconds"]:
        raise BadInput("activation.malformed")
    now = clock.now()
    record = ActivationRecord(
        tx=new_id(clock), credential=credential_id, key_sha256=hashlib.sha256(spki).digest(), digest_oid=digest.oid,
        hashes=tuple(hashes), client=client, description=description, expires=int(now.timestamp()) + ttl,
        nonce=random_bytes(32), purpose=purpose, realm=realm, title=title, pages=pages,
    )  # fmt: skip
    await uow.execute(
        activation_table.insert(),
        {
            "tx": record.tx, "realm": realm, "person_id": person_id, "record": record.encode(), "state": "open", "created_at": now,
            "expires_at": now + dt.timedelta(seconds=ttl),
        },
    )  # fmt: skip
    return Opened(record.tx, record.challenge)


async def _load(uow: UnitOfWork, tx: str) -> tuple[sa.Row[Any], ActivationRecord]:
    row = (await uow.execute(row_by(activation_table.c.tx), {"value": tx})).first()
    if row is None:
        raise NotFound("activation.unknown")
    record = _decoded(row.record)
    if record.tx != tx:  # a row copied under another name would spend one approval twice
        raise Refused("activation.mismatch")
    return row, record


def _decoded(data: bytes) -> ActivationRecord:
    try:
        return ActivationRecord.decode(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput("activation.malformed") from error


def _bytes(evidence: dict[str, Any], member: str) -> bytes:
    try:
        return base64.b64decode(evidence[member], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput("activation.malformed") from error


def _expired(record: ActivationRecord, clock: Clock) -> bool:
    return clock.now().timestamp() >= record.expires


async def status(uow: UnitOfWork, clock: Clock, tx: str) -> Status:
    """Where it stands now."""
    row, record = await _load(uow, tx)
    late = row.state in {"open", "approved"} and _expired(record, clock)
    return Status("expired" if late else row.state, record.challenge)


async def record(uow: UnitOfWork, tx: str) -> ActivationRecord:
    """What is to be approved, as it was fixed. Raises ``activation.unknown``."""
    return (await _load(uow, tx))[1]


async def refuse(uow: UnitOfWork, tx: str) -> None:
    """The person said no, or the question was put anew: it can never be approved. Raises ``activation.not_open``."""
    await _load(uow, tx)
    await _move(uow, tx, "open", "refused")


async def approve(uow: UnitOfWork, clock: Clock, rp: RelyingParty, tx: str, assertion: Assertion) -> None:
    """Verify the person's assertion and keep it as evidence. Raises ``activation.*``."""
    row, record = await _load(uow, tx)
    if row.state != "open":
        raise Conflict("activation.not_open")
    if _expired(record, clock):
        raise Refused("activation.expired")
    passkey = (await uow.execute(row_by(passkey_table.c.credential_id), {"value": assertion.credential_id})).first()
    if passkey is None or passkey.person_id != row.person_id or passkey.realm != row.realm or passkey.state != "active":
        raise Refused("activation.foreign_passkey")
    count = verify_assertion(assertion, challenge=record.challenge, public_key=passkey.public_key, rp=rp)
    await advance_count(uow, passkey, count)
    evidence = {
        "record": base64.b64encode(row.record).decode(), "assertion": assertion.to_json(), "kind": passkey.kind,
        "public_key": base64.b64encode(passkey.public_key).decode(), "rp_id": rp.rp_id, "origin": rp.origin,
    }  # fmt: skip
    await _move(uow, tx, "open", "approved", evidence=evidence, approved_at=clock.now())


async def advance_count(uow: UnitOfWork, passkey: sa.Row[Any], count: int) -> None:
    """``passkey``: its row. A count that does not grow is a cloned authenticator; 0 stays 0 for synced passkeys. Raises ``activation.replayed``."""
    if count == 0 and passkey.sign_count == 0:
        return
    t = passkey_table.c
    done = await uow.execute(
        passkey_table.update().where(t.id == passkey.id, t.sign_count < count).values(sign_count=count)
    )
    if done.rowcount != 1:
        raise Refused("activation.replayed")


async def spend(
    uow: UnitOfWork, clock: Clock, rp: RelyingParty, tx: str, *, credential_id: str, spki: bytes, person_id: str,
    digests: Sequence[bytes], realm: Realm, purpose: str,
) -> dict[str, Any]:  # fmt: skip
    """Use it up for exactly these digests; returns the evidence.

    The stored state is not trusted: the assertion is verified again against the record. Raises ``activation.spent``,
    ``activation.not_approved``, ``activation.mismatch``, ``activation.expired`` and what ``verify_evidence`` raises.
    """
    row, record = await _load(uow, tx)
    if row.state == "spent":
        raise Conflict("activation.spent")
    if row.state != "approved" or row.evidence is None:
        raise Refused("activation.not_approved")
    if _expired(record, clock):
        raise Refused("activation.expired")
    key = hashlib.sha256(spki).digest()  # the key itself, not only the name it goes by in our tables
    asked = (credential_id, key, person_id, tuple(digests), realm, purpose)
    if asked != (
        record.credential, record.key_sha256, row.person_id, record.hashes, record.realm, record.purpose
    ):  # fmt: skip
        raise Refused("activation.mismatch")
    evidence: dict[str, Any] = row.evidence
    if _bytes(evidence, "record") != row.record:
        raise Refused("activation.mismatch")
    # the row's own origin proves nothing: an assertion made on another page of the same host must not pass
    if (evidence.get("rp_id"), evidence.get("origin")) != (rp.rp_id, rp.origin):
        raise Refused("activation.wrong_origin")
    await _require_own_passkey(uow, row, evidence)
    verify_evidence(evidence)
    await _move(uow, tx, "approved", "spent", spent_at=clock.now())
    return evidence


async def _require_own_passkey(uow: UnitOfWork, row: sa.Row[Any], evidence: dict[str, Any]) -> None:
    """The passkey as it is enrolled now: one revoked since the approval no longer counts."""
    assertion = Assertion.from_json(evidence.get("assertion") or {})
    passkey = (await uow.execute(row_by(passkey_table.c.credential_id), {"value": assertion.credential_id})).first()
    mine = passkey is not None and (passkey.person_id, passkey.realm, passkey.state) == (
        row.person_id,
        row.realm,
        "active",
    )
    if not mine or passkey.public_key != _bytes(evidence, "public_key"):
        raise Refused("activation.foreign_passkey")


def verify_evidence(evidence: dict[str, Any]) -> ActivationRecord:
    """Verify an approval again, offline, from its evidence alone; returns what was approved.

    Whose passkey and which origin those are, the evidence only claims: compare them with what you expect.
    Raises ``activation.*``, ``activation.malformed`` for what is no evidence.
    """
    record = _decoded(_bytes(evidence, "record"))
    rp = RelyingParty(str(evidence.get("rp_id")), str(evidence.get("origin")))
    verify_assertion(
        Assertion.from_json(evidence.get("assertion") or {}),
        challenge=record.challenge,
        public_key=_bytes(evidence, "public_key"),
        rp=rp,
    )
    return record


async def _move(uow: UnitOfWork, tx: str, old: str, new: str, **values: Any) -> None:
    if not await swap_state(uow, activation_table.c.tx, tx, old, new, **values):
        raise Conflict("activation.spent" if new == "spent" else "activation.not_open")
