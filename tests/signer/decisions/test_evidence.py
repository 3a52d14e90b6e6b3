"""A decision's evidence is one file that proves it years later, offline; nothing in it can be changed."""

import base64
import copy
import json

import pytest

from core.errors import ServiceError
from signer.decisions.evidence import verify_evidence


@pytest.fixture
async def proof(town):
    decision, _ = await town.decide("book.open", {"kind": "A", "year": 2026})
    value = json.loads(json.dumps(await town.desk.evidence(decision)))
    return town, decision, value


async def test_it_names_the_decision_and_both_voters_and_leads_to_the_leaf(proof):
    town, decision, value = proof
    found = verify_evidence(value)
    assert (found.record.id, found.record.payload) == (decision, {"kind": "A", "year": 2026})
    assert set(found.voters) == set(town.admins[:2])
    (leaf,) = [json.loads(entry) for entry in await town.events()]
    assert base64.b64decode(leaf["doc_commit"]) == found.commitment
    assert not any(person in json.dumps(leaf) for person in town.admins)


def record_changed(value):
    record = json.loads(base64.b64decode(value["record"]))
    record["payload"]["year"] = 2027
    data = json.dumps(record, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    value["record"] = base64.b64encode(data).decode()


def one_vote(value):
    value["votes"].pop()


def same_vote_twice(value):
    value["votes"] = [value["votes"][0]] * 2


def swapped_ballots(value):
    a, b = value["votes"]
    a["ballot"], b["ballot"] = b["ballot"], a["ballot"]


def other_origin(value):
    value["votes"][0]["origin"] = "http://evil.example"


def other_key(value):
    a, b = value["votes"]
    a["public_key"] = b["public_key"]


@pytest.mark.parametrize(
    "change", [record_changed, one_vote, same_vote_twice, swapped_ballots, other_origin, other_key]
)
async def test_what_is_changed_no_longer_proves(proof, change):
    _, _, value = proof
    change(value)
    with pytest.raises(ServiceError):
        verify_evidence(value)


async def test_another_salt_leads_to_another_leaf(proof):
    _, _, value = proof
    other = copy.deepcopy(value)
    other["salt"] = base64.b64encode(bytes(32)).decode()
    assert verify_evidence(other).commitment != verify_evidence(value).commitment


@pytest.mark.parametrize(
    "value", [{}, {"d": "x"}, {"record": "", "votes": [], "salt": ""}, {"record": "!", "votes": 3, "salt": None}]
)
def test_what_is_no_evidence_is_malformed(value):
    with pytest.raises(ServiceError, match=r"decision\.evidence_bad"):
        verify_evidence(value)


async def test_an_open_decision_has_none(town):
    with pytest.raises(ServiceError, match=r"decision\.unknown"):
        await town.desk.evidence(await town.propose())
