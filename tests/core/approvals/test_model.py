"""What is decided has one byte form, and a voter's challenge covers it together with that voter's own ballot."""

import hashlib
import json

import pytest

from core.approvals.model import Ballot, DecisionRecord
from core.values import Realm


def record(**change):
    return DecisionRecord(**{
        "id": "d" * 26, "agency_id": "a" * 26, "kind": "book.open", "payload": {"kind": "SCTĐT/BS", "year": 2026},
        "proposed_by": "p" * 26, "expires": 1_795_000_000, "realm": Realm.TRAINING, "nonce": b"n" * 32, **change,
    })  # fmt: skip


def ballot(**change):
    return Ballot(**{
        "tx": "t" * 26, "decision_id": "d" * 26, "voter": "v" * 26, "expires": 1_795_000_000, "nonce": b"b" * 32, **change,
    })  # fmt: skip


def test_both_come_back_from_their_canonical_bytes():
    assert DecisionRecord.decode(record().encode()) == record()
    assert Ballot.decode(ballot().encode()) == ballot()
    assert json.loads(record().encode())["d"] == "dauso/decision/v1"


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b'{"d":"dauso/decision/v1"}', record().encode() + b" ", ballot().encode(),
     record().encode().replace(b"decision/v1", b"decision/v2"), b'{"a":' * 5_000],
    ids=["nothing", "empty", "list", "null", "bare", "space", "ballot", "version", "deep"],
)  # fmt: skip
def test_other_bytes_are_no_decision(data):
    with pytest.raises((ValueError, RecursionError)):
        DecisionRecord.decode(data)
    if data != ballot().encode():
        with pytest.raises((ValueError, RecursionError)):
            Ballot.decode(data)


def test_the_challenge_is_the_digest_of_both():
    data = record().encode()
    assert ballot().challenge(data) == hashlib.sha256(data + ballot().encode()).digest()


@pytest.mark.parametrize(
    "change", [{"payload": {"kind": "SCTĐT/BS", "year": 2027}}, {"nonce": b"m" * 32}, {"kind": "x"}]
)
def test_another_decision_is_another_challenge(change):
    assert ballot().challenge(record(**change).encode()) != ballot().challenge(record().encode())


@pytest.mark.parametrize("change", [{"voter": "w" * 26}, {"tx": "u" * 26}, {"nonce": b"c" * 32}, {"expires": 1}])
def test_another_ballot_is_another_challenge(change):
    assert ballot(**change).challenge(record().encode()) != ballot().challenge(record().encode())


@pytest.mark.parametrize("payload", [{"x": 1.5}, {"x": 2**60}, {"x": b"bytes"}, {1: "x"}])
def test_a_payload_without_one_byte_form_is_refused(payload):
    with pytest.raises(ValueError):
        record(payload=payload).encode()
