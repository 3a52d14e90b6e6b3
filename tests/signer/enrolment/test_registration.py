"""A new passkey: each way in which it is none of ours, by code; and what is kept of one that is."""

import pytest
import sqlalchemy as sa
from fido2 import cbor
from fido2.cose import RS256

from core.errors import ServiceError
from signer.activation.records import passkey_table
from tests.signer.enrolment.test_phones import code_of, states
from tests.signer.enrolment.town import HUAN, RP, TAP, Phone


async def agreed(village, who=TAP):
    person = await village.citizen(who)
    held = await village.log_in(await village.phones.invite(person), who)
    await village.agree(held)
    return person, held


WRONG = {
    "user verification false": ({"flags": 0x41}, "passkey.no_user_verification"),
    "user not present": ({"flags": 0x44}, "passkey.refused"),
    "another port": ({"origin": "http://sign.localhost:8000"}, "passkey.wrong_origin"),
    "a longer host": ({"origin": f"{RP.origin}.evil.example"}, "passkey.wrong_origin"),
    "user information in the origin": ({"origin": "http://x@sign.localhost:8001"}, "passkey.wrong_origin"),
    "the web's origin": ({"origin": "http://localhost:8000"}, "passkey.wrong_origin"),
    "a log-in passkey's RP": ({"rp_id": "localhost"}, "passkey.wrong_origin"),
    "inside another site's page": ({"crossOrigin": True}, "passkey.wrong_origin"),
    "a top origin": ({"topOrigin": "http://evil.example"}, "passkey.wrong_origin"),
    "an assertion": ({"kind": "webauthn.get"}, "passkey.wrong_type"),
    "another id inside": ({"inside": b"y" * 32}, "passkey.refused"),
    "backed up that may not be": ({"flags": 0x55}, "passkey.refused"),
    "no key inside": ({"flags": 0x05}, "passkey.malformed"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_no_registration_of_this_page_is_refused(village, case):
    how, expected = WRONG[case]
    person, held = await agreed(village)
    assert await code_of(village.make(held, Phone(), **how)) == expected
    assert await states(village, person) == []
    await village.make(held, Phone())  # another question, a good answer


async def test_another_challenge_and_bytes_that_are_no_answer_are_refused(village):
    _, held = await agreed(village)
    phone = Phone()

    async def give(credential_id, client, attestation):
        asked, _ = await village.phones.ask_registration(held)
        await village.phones.register(
            held, asked.tx, credential_id=credential_id, client_data=client, attestation=attestation
        )

    assert await code_of(give(*phone.create(b"x" * 32))) == "passkey.wrong_challenge"
    good = phone.create(b"x" * 32)
    for broken in (b"", b"\xff" * 40, b"{}", b"[" * 5_000, cbor.encode({"fmt": "none", "attStmt": {}})):
        assert await code_of(give(good[0], broken, good[2])) == "passkey.malformed"
        assert await code_of(give(good[0], good[1], broken)) == "passkey.malformed"


async def test_one_question_takes_one_answer_and_belongs_to_its_run(village):
    _, held = await agreed(village)
    asked, _ = await village.phones.ask_registration(held)

    async def give(phone, tx=asked.tx, by=held):
        credential_id, client, attestation = phone.create(asked.value)
        await village.phones.register(by, tx, credential_id=credential_id, client_data=client, attestation=attestation)

    _, other = await agreed(village, HUAN)
    assert await code_of(give(Phone(), by=other)) == "passkey.no_challenge"
    assert await code_of(give(Phone(), tx="0" * 26)) == "passkey.no_challenge"
    await give(Phone())
    assert await code_of(give(Phone())) == "passkey.challenge_used"


async def test_a_wrong_answer_uses_the_question_up(village):
    _, held = await agreed(village)
    asked, _ = await village.phones.ask_registration(held)
    phone = Phone()
    for how, expected in (({"flags": 0x41}, "passkey.no_user_verification"), ({}, "passkey.challenge_used")):
        credential_id, client, attestation = phone.create(asked.value, **how)
        answer = village.phones.register(
            held, asked.tx, credential_id=credential_id, client_data=client, attestation=attestation
        )
        assert await code_of(answer) == expected


async def test_a_passkey_belongs_to_one_person_and_is_named_to_be_left_out(village):
    person, held = await agreed(village)
    phone = Phone()
    await village.carry_on_from_consent(held, phone)
    _, other = await agreed(village, HUAN)
    assert await code_of(village.make(other, phone)) == "activation.passkey_known"
    asked, _ = await village.phones.known.ask(token := await village.phones.invite(person))
    held = await village.phones.known.admit(token, asked.tx, phone.get(asked.value))
    await village.agree(held)
    _, known = await village.phones.ask_registration(held)
    assert [key.credential_id for key in known] == [phone.credential_id]


@pytest.mark.parametrize("flags", [0x45, 0x4D, 0x5D])
async def test_backup_flags_and_the_count_are_kept(village, flags):
    person, held = await agreed(village)
    phone = Phone()
    phone.count = 7
    await village.make(held, phone, flags=flags)
    async with village.db.read() as uow:
        row = (await uow.execute(sa.select(passkey_table).where(passkey_table.c.person_id == person))).one()
    assert (row.flags, row.sign_count, row.state, row.kind) == (flags, 7, "suspended", "platform")
    await village.phones.finish(held)
    asked, _ = await village.phones.known.ask(token := await village.phones.invite(person))
    answer = village.phones.known.admit(token, asked.tx, phone.get(asked.value))
    assert await code_of(answer) == "activation.replayed"  # the count did not grow: a clone


async def test_an_rsa_passkey_is_taken_and_an_odd_algorithm_is_not(village):
    _, held = await agreed(village)
    odd = Phone(RS256)
    odd.kind = type("Odd", (RS256,), {"from_cryptography_key": staticmethod(_odd)})
    assert await code_of(village.make(held, odd)) == "passkey.algorithm"
    await village.make(held, Phone(RS256))


def _odd(public):
    return {**RS256.from_cryptography_key(public), 3: -65535}  # RS1: SHA-1


async def test_no_way_leads_to_a_passkey_without_a_run(village):
    """Whoever holds the tables' writer could; no question and no page does."""
    person = await village.citizen()
    with pytest.raises(ServiceError, match=r"pass\.missing"):
        await village.make("A" * 32, Phone())
    assert await states(village, person) == []
