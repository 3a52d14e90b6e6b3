"""What is decided and how a vote is bound to it: canonical bytes that every voter's answer covers."""

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass, field
from typing import Any, Self

from core.formats import canonical_json
from core.values import Realm

__all__ = ["QUORUM", "Ballot", "Decision", "DecisionRecord", "Vote"]

QUORUM = 2
"""Administrators who must agree. One alone decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """What exactly is decided. Made once, never changed."""

    id: str
    agency_id: str
    kind: str
    payload: dict[str, Any]
    """Integers, strings, booleans, lists, objects; times in Unix seconds, lengths in tenths of a millimetre."""
    proposed_by: str
    expires: int
    """Unix seconds."""
    realm: Realm
    nonce: bytes

    def encode(self) -> bytes:
        """Canonical JSON. Raises ``ValueError`` for a payload without a canonical form."""
        return canonical_json.encode(
            {
                "d": "dauso/decision/v1", "id": self.id, "agency": self.agency_id, "kind": self.kind,
                "payload": self.payload, "proposed_by": self.proposed_by, "exp": self.expires, "realm": self.realm.value,
                "nonce": _b64(self.nonce),
            }
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Back from canonical bytes. Raises ``ValueError``."""
        try:
            v: dict[str, Any] = canonical_json.decode(data)
            if v["d"] != "dauso/decision/v1" or not isinstance(v["payload"], dict):
                raise ValueError("not a decision")
            return cls(
                id=v["id"], agency_id=v["agency"], kind=v["kind"], payload=v["payload"], proposed_by=v["proposed_by"],
                expires=v["exp"], realm=Realm(v["realm"]), nonce=base64.b64decode(v["nonce"]),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("not a decision") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """One voter's own question. Its challenge covers the decision's bytes and these, so an answer fits nowhere else."""

    tx: str
    decision_id: str
    voter: str
    expires: int
    """Unix seconds."""
    nonce: bytes

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical_json.encode(
            {
                "d": "dauso/ballot/v1", "tx": self.tx, "decision": self.decision_id, "voter": self.voter,
                "exp": self.expires, "nonce": _b64(self.nonce),
            }
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Back from canonical bytes. Raises ``ValueError``."""
        try:
            v: dict[str, Any] = canonical_json.decode(data)
            if v["d"] != "dauso/ballot/v1":
                raise ValueError("not a ballot")
            nonce = base64.b64decode(v["nonce"])
            return cls(tx=v["tx"], decision_id=v["decision"], voter=v["voter"], expires=v["exp"], nonce=nonce)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("not a ballot") from error

    def challenge(self, record: bytes) -> bytes:
        """SHA-256 of the decision's canonical bytes followed by the ballot's; both are one JSON object, so the seam is plain."""
        return hashlib.sha256(record + self.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One administrator's yes, with what proves it."""

    decision_id: str
    person_id: str
    ballot: bytes
    evidence: dict[str, Any]
    given_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A proposal and where it stands."""

    id: str
    realm: Realm
    agency_id: str
    kind: str
    record: bytes
    proposed_by: str
    created_at: dt.datetime
    expires_at: dt.datetime
    state: str
    """``open``, then ``applied``, ``refused`` or ``expired`` for good."""
    votes: int
    """How often somebody agreed; a yes that no longer counts is still in it."""
    salt: bytes
    settled_at: dt.datetime | None = None
    refused_by: str | None = None
    reason: str | None = None
    outcome: dict[str, Any] | None = field(default=None)
    """Ids of what came of it."""

    @property
    def content(self) -> DecisionRecord:
        """The record, read from its bytes."""
        return DecisionRecord.decode(self.record)

    @property
    def payload(self) -> dict[str, Any]:
        """What the kind of decision needs."""
        return self.content.payload


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
