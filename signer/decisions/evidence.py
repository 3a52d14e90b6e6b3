"""A voter's passkey answer: verified when it comes, again when it is counted, and years later from a file alone."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from audit.events import commit
from core.approvals.model import QUORUM, Ballot, Decision, DecisionRecord, Vote
from core.db import UnitOfWork, row_by
from core.errors import BadInput, Refused, ServiceError
from core.formats import canonical_json
from core.values import Digest
from signer.activation import redeem
from signer.activation.passkeys import Assertion, RelyingParty, verify_assertion
from signer.activation.records import passkey_table

__all__ = ["Proven", "accepted", "digest_of", "file_of", "still_counts", "verify_evidence"]

_FILE = "dauso/decision-evidence/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What an evidence file proves, if the passkeys in it are the administrators'."""

    record: DecisionRecord
    voters: tuple[str, ...]
    """Ids of people."""
    commitment: bytes
    """As in the log's leaf ``<decision id>.decision_applied``."""


async def accepted(
    uow: UnitOfWork, rp: RelyingParty, decision: Decision, ballot: Ballot, assertion: Assertion
) -> dict[str, Any]:
    """Verify an answer to a ballot; returns the evidence to keep. Raises ``activation.*`` by the check that failed."""
    passkey = (await uow.execute(row_by(passkey_table.c.credential_id), {"value": assertion.credential_id})).first()
    mine = ballot.voter, decision.realm, "active"
    if passkey is None or (passkey.person_id, passkey.realm, passkey.state) != mine:
        raise Refused("activation.foreign_passkey")
    challenge = ballot.challenge(decision.record)
    count = verify_assertion(assertion, challenge=challenge, public_key=passkey.public_key, rp=rp)
    await redeem.advance_count(uow, passkey, count)
    return {
        "assertion": assertion.to_json(), "public_key": _b64(passkey.public_key), "kind": passkey.kind, "rp_id": rp.rp_id,
        "origin": rp.origin,
    }  # fmt: skip


async def still_counts(uow: UnitOfWork, rp: RelyingParty, decision: Decision, vote: Vote) -> bool:
    """An earlier yes, looked at as if it were new: its bytes, its origin, and its passkey as it is enrolled now."""
    try:
        assertion = Assertion.from_json(vote.evidence.get("assertion") or {})
        t = passkey_table.c
        query = sa.select(t.public_key).where(
            t.credential_id == assertion.credential_id, t.person_id == vote.person_id, t.realm == decision.realm,
            t.state == "active",
        )  # fmt: skip
        key = (await uow.execute(query)).scalar_one_or_none()
        if key is None or _b64(key) != vote.evidence.get("public_key"):
            return False
        if (vote.evidence.get("rp_id"), vote.evidence.get("origin")) != (rp.rp_id, rp.origin):
            return False
        ballot = Ballot.decode(vote.ballot)
        if (ballot.decision_id, ballot.voter) != (decision.id, vote.person_id):
            return False
        verify_assertion(assertion, challenge=ballot.challenge(decision.record), public_key=key, rp=rp)
    except (ServiceError, ValueError):
        return False
    return True


def _vote_json(vote: Vote) -> dict[str, Any]:
    return {"ballot": _b64(vote.ballot), **vote.evidence}


def digest_of(record: bytes, votes: list[dict[str, Any]]) -> Digest:
    """SHA-256 of what was decided and by which answers, in canonical form."""
    return Digest.of(canonical_json.encode({"record": _b64(record), "votes": votes}))


def file_of(decision: Decision, votes: list[Vote]) -> dict[str, Any]:
    """All that proves a decision, as one JSON value; ``votes`` are those that counted."""
    ordered = [_vote_json(vote) for vote in sorted(votes, key=lambda v: v.person_id)]
    return {"d": _FILE, "record": _b64(decision.record), "votes": ordered, "salt": _b64(decision.salt)}


def verify_evidence(value: dict[str, Any]) -> Proven:
    """Verify it again, offline. Whose passkeys and which origin those are, the file only claims.

    Raises ``decision.evidence_bad``, ``activation.*``.
    """
    try:
        record_bytes, salt = _bytes(value["record"]), _bytes(value["salt"])
        record = DecisionRecord.decode(record_bytes)
        votes: list[dict[str, Any]] = list(value["votes"])
        voters = [_verified(record, record_bytes, vote) for vote in votes]
        commitment = commit(salt, digest_of(record_bytes, votes).value)
        keys = {vote["public_key"] for vote in votes}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadInput("decision.evidence_bad", what="form") from error
    if value.get("d") != _FILE:
        raise BadInput("decision.evidence_bad", what="form")
    if len(set(voters)) < QUORUM or len(keys) < QUORUM or len(voters) != len(set(voters)):
        raise Refused("decision.evidence_bad", what="votes")
    return Proven(record=record, voters=tuple(voters), commitment=commitment)


def _verified(record: DecisionRecord, record_bytes: bytes, vote: dict[str, Any]) -> str:
    ballot = Ballot.decode(_bytes(vote["ballot"]))
    if ballot.decision_id != record.id:
        raise Refused("decision.evidence_bad", what="ballot")
    rp = RelyingParty(str(vote["rp_id"]), str(vote["origin"]))
    verify_assertion(
        Assertion.from_json(vote["assertion"]), challenge=ballot.challenge(record_bytes),
        public_key=_bytes(vote["public_key"]), rp=rp,
    )  # fmt: skip
    return ballot.voter


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("base64") from error
