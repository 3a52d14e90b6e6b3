"""Answers that no honest page sends: each is refused with its own code and nothing is counted."""

import dataclasses

import pytest

from core.errors import ServiceError
from core.values import Realm
from signer.activation.devices import passkeys_of, set_state
from signer.activation.passkeys import Assertion, RelyingParty, SoftwarePasskey
from tests.signer.decisions.conftest import RP


async def refused(town, decision, person, tx, assertion, code):
    with pytest.raises(ServiceError) as error:
        await town.desk.approve(decision, person, tx, assertion)
    assert error.value.code == code
    standing = await town.desk.status(decision)
    assert (standing.state, standing.voted) == ("open", ())


@pytest.fixture
async def asked(town):
    """(decision, voter, question, key)."""
    decision = await town.propose()
    voter = town.admins[0]
    return decision, voter, await town.desk.question(decision, voter), town.keys[voter]


@pytest.mark.parametrize(
    ("rp", "craft", "code"),
    [
        (RelyingParty("sign.localhost", "http://evil.example"), {}, "activation.wrong_origin"),
        (RelyingParty("localhost", "http://localhost:8000"), {}, "activation.wrong_origin"),
        (RelyingParty("localhost", RP.origin), {}, "activation.wrong_origin"),
        (RP, {"flags": 0x01}, "activation.no_user_verification"),
        (RP, {"flags": 0x04}, "activation.no_user_verification"),
    ],
)
async def test_another_origin_or_no_user_verification(town, asked, rp, craft, code):
    decision, voter, question, key = asked
    await refused(town, decision, voter, question.tx, key.answer(question.challenge, rp, **craft), code)


async def test_a_passkey_of_the_log_in_page_is_none_of_the_signing_origin(town, asked):
    decision, voter, question, _ = asked
    login = SoftwarePasskey.create(Realm.TRAINING)  # never recorded among the signing passkeys
    await refused(
        town, decision, voter, question.tx, login.answer(question.challenge, RP), "activation.foreign_passkey"
    )


async def test_another_administrators_passkey(town, asked):
    decision, voter, question, _ = asked
    other = town.keys[town.admins[1]]
    await refused(
        town, decision, voter, question.tx, other.answer(question.challenge, RP), "activation.foreign_passkey"
    )


async def test_another_decisions_challenge(town, asked):
    decision, voter, question, key = asked
    other = await town.desk.question(await town.propose(), voter)
    await refused(town, decision, voter, question.tx, key.answer(other.challenge, RP), "activation.wrong_challenge")
    await refused(town, decision, voter, other.tx, key.answer(other.challenge, RP), "decision.no_such_ballot")


async def test_another_voters_ballot(town, asked):
    decision, voter, _, key = asked
    other = await town.desk.question(decision, town.admins[1])
    await refused(town, decision, voter, other.tx, key.answer(other.challenge, RP), "decision.no_such_ballot")


async def test_a_suspended_or_revoked_passkey(town, asked):
    decision, voter, question, key = asked
    async with town.db.write() as uow:
        (passkey,) = await passkeys_of(uow, voter)
        await set_state(uow, passkey.id, "active", "suspended")
    answer = key.answer(question.challenge, RP)
    await refused(town, decision, voter, question.tx, answer, "activation.foreign_passkey")
    async with town.db.write() as uow:
        await set_state(uow, passkey.id, "suspended", "revoked")
    await refused(town, decision, voter, question.tx, answer, "activation.foreign_passkey")


async def test_changed_bytes_and_what_is_no_answer_at_all(town, asked):
    decision, voter, question, key = asked
    good = key.answer(question.challenge, RP)
    broken = dataclasses.replace(good, signature=good.signature[:-1] + bytes([good.signature[-1] ^ 1]))
    await refused(town, decision, voter, question.tx, broken, "activation.bad_signature")
    for craft in ({"client_data": b"{}"}, {"authenticator_data": b""}, {"client_data": b"\xff"}):
        nothing = dataclasses.replace(good, **craft)
        await refused(town, decision, voter, question.tx, nothing, "activation.malformed")
    made = key.answer(question.challenge, RP)
    created = dataclasses.replace(made, client_data=made.client_data.replace(b"webauthn.get", b"webauthn.create"))
    await refused(town, decision, voter, question.tx, created, "activation.wrong_type")


async def test_a_cloned_authenticator(town):
    first, second = await town.propose(), await town.propose()
    await town.vote(first, town.admins[0], counter=7)
    question = await town.desk.question(second, town.admins[0])
    for counter in (7, 6, 0):
        answer = town.keys[town.admins[0]].answer(question.challenge, RP, counter=counter)
        await refused(town, second, town.admins[0], question.tx, answer, "activation.replayed")


async def test_an_answer_replayed_to_the_same_decision(town, asked):
    decision, voter, question, key = asked
    answer = key.answer(question.challenge, RP)
    await town.desk.approve(decision, voter, question.tx, answer)
    for person in (voter, town.admins[1]):
        with pytest.raises(ServiceError) as error:
            await town.desk.approve(decision, person, question.tx, answer)
        assert error.value.code in {"decision.ballot_used", "decision.no_such_ballot"}
    assert (await town.desk.status(decision)).voted == (voter,)


async def test_a_late_answer(town, asked):
    decision, voter, question, key = asked
    town.clock.at = town.clock.at.replace(microsecond=0)
    town.clock.move(seconds=question.expires - town.clock.at.timestamp())
    answer = key.answer(question.challenge, RP)
    await refused(town, decision, voter, question.tx, answer, "decision.ballot_expired")


async def test_an_approval_of_a_signature_is_no_vote(town, asked):
    from signer.activation import redeem

    decision, voter, question, key = asked
    async with town.db.write() as uow:
        opened = await redeem.open_activation(
            uow, town.clock, person_id=voter, credential_id="C", spki=b"s", hashes=[b"h" * 32], title="Giấy", pages=1,
            purpose="certifier", realm=Realm.TRAINING, client="c", description="", ttl=600,
        )  # fmt: skip
    answer = key.answer(opened.challenge, RP)
    await refused(town, decision, voter, question.tx, answer, "activation.wrong_challenge")
    await refused(town, decision, voter, opened.tx, answer, "decision.no_such_ballot")


async def test_evidence_changed_in_the_database_no_longer_counts(town, asked):
    """A row that somebody wrote by hand is looked at like a new answer."""
    from core.approvals.records import ballot_table, vote_table
    from signer.decisions import evidence

    decision, voter, question, key = asked
    forged = key.answer(b"x" * 32, RP)
    async with town.db.write() as uow:
        record = (await uow.execute(ballot_table.select().where(ballot_table.c.tx == question.tx))).one().record
        (passkey,) = await passkeys_of(uow, voter)
        proof = {"assertion": Assertion.to_json(forged), "public_key": evidence._b64(key.public_key), "kind": "software",
                 "rp_id": RP.rp_id, "origin": RP.origin}  # fmt: skip
        await uow.execute(
            vote_table.insert(),
            {
                "decision_id": decision,
                "person_id": voter,
                "ballot": record,
                "evidence": proof,
                "given_at": town.clock.now(),
            },
        )
    assert (await town.desk.status(decision)).voted == ()
    assert (await town.vote(decision, town.admins[1])).state == "open"
