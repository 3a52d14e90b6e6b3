"""Leaves are deterministic bytes without personal data; the golden ones must never change."""

import datetime as dt
import hashlib
import json

import pytest

from audit.events import Leaf, LeafType, commit
from core.errors import BadInput

AT = dt.datetime(2026, 11, 25, 3, 4, 5, 678_000, tzinfo=dt.UTC)
GOLDEN = {
    LeafType.NUMBER_RESERVED: "22a2b1f17c946a98f819ecc2b81508eacfe3e93e0906084c7dfadc4a3462a71d",
    LeafType.NUMBER_VOIDED: "3cc9e43660f7b12bfdc677e171b162ab27cd56fef2d25517e865a84825d045c8",
    LeafType.COPY_RELEASED: "a7983c00fa7f0689d663247f3a958dd5d0762a8b19f96c679da27f238ad56892",
    LeafType.COPY_RECALLED: "e04dbec258691dad5e40993cc1d67fe368c60f747d5b6c891452131018faa1f3",
    LeafType.KEY_USE_INTENDED: "e59a735177d104a175c944fa995e1a59e977bf592b89b0dc745d4c7ca93a0d4e",
    LeafType.KEY_OUTCOME_UNKNOWN: "9d71b65ad861d27911d6dec6dcdfa8ca4ca2f6fd5e6114b64a2af8cf81f3de49",
    LeafType.SIGNATURE_MADE: "733a15acdf508b58ad6e3db0074d7388c79293cd5df3fcb36c986c82262ff668",
    LeafType.REQUEST_CREATED: "90b0c3ba7671056efe311b5f0405f681af91f060577e9a98636750b4368fcee0",
    LeafType.REQUEST_CHANGED: "d708f715b4cde6be7535d881b829e63c16a97d986e9cb28db4c379b647508d55",
    LeafType.REQUEST_SETTLED: "bbf780f0ade657975ce0aed553dea31416a9aadb0a7f4b35088e10994dbb6dfe",
    LeafType.DECISION_APPLIED: "736d468dd006e7ebc7f2655ad501beef994c4cd64315f0621dd59571f602324b",
    LeafType.IDENTITY_VERIFIED: "c69672b3a382c5046507be83ad1ccb8045fbe575802de461ea3c372410059d63",
    LeafType.PASSKEY_CHANGED: "54f99fe64fcbf4c38e63a3035391862e70d99cc2c548202ef689791f24cfe790",
    LeafType.CREDENTIAL_CHANGED: "9a9b8b08dbe924490bd554ebfa5b96f108498783dd0306566da7690bb9fcab62",
    LeafType.KEY_CHANGED: "f737e1e3948d719164961dd69eb36f45e6af2157ead98a777098c2edd9f2a552",
    LeafType.LOG_RELEASED: "9f729ed790a2e5affd65dc766c4ecb3e1386dd8f6f934ddcd0b04bc5ea6ab108",
}


RELEASED = "f70962d7cf1e667aa3f608b9c944f2154dae4d35bf66f7115ac2467106f76f54"


def leaf(kind, **more):
    salt = bytes(range(32))
    return Leaf(
        type=kind, time=AT, tenant_id="training", event_id=f"01m89.{kind.value}", doc_commit=commit(salt, bytes(32)),
        digest_alg="sha256", **more,
    )  # fmt: skip


def test_a_commitment_is_the_digest_of_salt_and_value_and_takes_no_short_salt():
    assert commit(bytes(32), b"v") == hashlib.sha256(bytes(32) + b"v").digest()
    with pytest.raises(ValueError, match="32"):
        commit(bytes(31), b"v")


@pytest.mark.parametrize("kind", list(LeafType))
def test_a_leaf_is_the_same_bytes_for_ever(kind):
    assert hashlib.sha256(leaf(kind).encode()).hexdigest() == GOLDEN[kind]


def test_a_result_names_its_intent_and_its_value():
    made = leaf(LeafType.SIGNATURE_MADE, prev_event_id="x", sig_hash=bytes(32), sig_alg="ecdsa", cert_commit=bytes(32),
                key_ref_hash=bytes(32))  # fmt: skip
    text = made.encode().decode()
    for member in ("prev_event_id", "sig_hash", "sig_alg", "cert_sha256", "key_ref_hash"):
        assert member in text


def test_a_release_shows_both_marks_and_a_lost_one_is_left_out():
    new = (2, bytes(32))
    both = leaf(LeafType.LOG_RELEASED, mark_old=(5, bytes([1]) * 32), mark_new=new).encode()
    assert hashlib.sha256(both).hexdigest() == RELEASED
    assert json.loads(both)["mark_old"]["size"] == 5
    assert "mark_old" not in json.loads(leaf(LeafType.LOG_RELEASED, mark_new=new).encode())


def test_a_leaf_too_long_for_the_log_is_refused():
    with pytest.raises(BadInput):
        leaf(LeafType.COPY_RELEASED, sig_alg="x" * 70_000).encode()
