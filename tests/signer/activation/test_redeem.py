"""Approvals on both databases: exactly what was approved, exactly once."""

import asyncio
import base64
import json

import pytest
import sqlalchemy as sa

from core.directory.records import Directory
from core.errors import BadInput, Conflict, Refused, ServiceError
from core.values import Realm
from signer.activation import redeem
from signer.activation.passkeys import Assertion, RelyingParty, SoftwarePasskey
from signer.activation.records import activation_table, passkey_table

RP = RelyingParty("sign.localhost", "http://sign.localhost:8001")
H = (b"h" * 32,)


class Hand:
    def __init__(self, db, clock, person_id):
        self.db, self.clock, self.person_id = db, clock, person_id
        self.passkey = SoftwarePasskey.create(Realm.TRAINING)

    async def open(self, hashes=H):
        async with self.db.write() as uow:
            return await redeem.open_activation(
                uow, self.clock, person_id=self.person_id, credential_id="C1", spki=b"spki", hashes=hashes, title="Giấy",
                pages=2, purpose="seal", realm=Realm.TRAINING, client="cli", description="", ttl=600,
            )  # fmt: skip

    async def approve(self, tx, assertion):
        async with self.db.write() as uow:
            await redeem.approve(uow, self.clock, RP, tx, assertion)

    async def spend(self, tx, **change):
        asked = {
            "credential_id": "C1",
            "spki": b"spki",
            "person_id": self.person_id,
            "digests": list(H),
            "realm": Realm.TRAINING,
            "purpose": "seal",
        }
        async with self.db.write() as uow:
            return await redeem.spend(uow, self.clock, RP, tx, **{**asked, **change})


@pytest.fixture
async def hand(db, clock):
    directory = Directory(clock)
    async with db.write() as uow:
        agency = await directory.add_agency(uow, realm=Realm.TRAINING, code="A", name="A", parent="P")
        person = await directory.add_person(uow, agency, "N")
        made = Hand(db, clock, person.id)
        await redeem.enrol_passkey(
            uow, clock, person_id=person.id, realm=Realm.TRAINING, credential_id=made.passkey.credential_id,
            public_key=made.passkey.public_key, kind="software",
        )  # fmt: skip
    return made


async def test_an_approval_is_spent_once_by_one_of_ten(hand):
    opened = await hand.open()
    await hand.approve(opened.tx, hand.passkey.answer(opened.challenge, RP))
    results = await asyncio.gather(*(hand.spend(opened.tx) for _ in range(10)), return_exceptions=True)
    won = [r for r in results if isinstance(r, dict)]
    assert len(won) == 1
    assert {r.code for r in results if isinstance(r, ServiceError)} == {"activation.spent"}
    assert redeem.verify_evidence(won[0]).hashes == H


@pytest.mark.parametrize(
    "change",
    [{"digests": [b"x" * 32]}, {"spki": b"another key under the same name"}, {"digests": [*H, *H]}, {"credential_id": "C2"}, {"person_id": "other"},
     {"realm": Realm.PRODUCTION}, {"purpose": "certifier"}],
)  # fmt: skip
async def test_an_approval_covers_nothing_but_what_was_approved(hand, change):
    opened = await hand.open()
    await hand.approve(opened.tx, hand.passkey.answer(opened.challenge, RP))
    with pytest.raises(Refused, match=r"activation\.mismatch"):
        await hand.spend(opened.tx, **change)


async def test_nothing_is_spent_before_it_is_approved_or_after_its_time(hand, clock):
    opened = await hand.open()
    with pytest.raises(Refused, match=r"activation\.not_approved"):
        await hand.spend(opened.tx)
    await hand.approve(opened.tx, hand.passkey.answer(opened.challenge, RP))
    clock.move(seconds=601)
    with pytest.raises(Refused, match=r"activation\.expired"):
        await hand.spend(opened.tx)


def change(assertion, **values):
    return Assertion(**{**{k: getattr(assertion, k) for k in assertion.__dataclass_fields__}, **values})


def client_data(assertion, **values):
    return change(assertion, client_data=json.dumps({**json.loads(assertion.client_data), **values}).encode())


@pytest.mark.parametrize(
    ("bend", "code"),
    [
        (lambda h, c: h.passkey.answer(b"0" * 32, RP), "activation.wrong_challenge"),
        (
            lambda h, c: h.passkey.answer(c, RelyingParty("sign.localhost", "http://sign.localhost:8000")),
            "activation.wrong_origin",
        ),
        (lambda h, c: h.passkey.answer(c, RelyingParty("localhost", RP.origin)), "activation.wrong_origin"),
        (lambda h, c: client_data(h.passkey.answer(c, RP), crossOrigin=True), "activation.wrong_origin"),
        (lambda h, c: client_data(h.passkey.answer(c, RP), topOrigin="http://x"), "activation.wrong_origin"),
        (lambda h, c: client_data(h.passkey.answer(c, RP), type="webauthn.create"), "activation.wrong_type"),
        (lambda h, c: h.passkey.answer(c, RP, flags=0x01), "activation.no_user_verification"),
        (lambda h, c: SoftwarePasskey.create(Realm.TRAINING).answer(c, RP), "activation.foreign_passkey"),
        (lambda h, c: change(h.passkey.answer(c, RP), signature=b"\x30\x00"), "activation.bad_signature"),
        (lambda h, c: change(h.passkey.answer(c, RP), authenticator_data=b"short"), "activation.malformed"),
    ],
)
async def test_every_broken_assertion_is_refused_for_its_own_reason(hand, bend, code):
    opened = await hand.open()
    with pytest.raises((Refused, BadInput)) as refusal:
        await hand.approve(opened.tx, bend(hand, opened.challenge))
    assert refusal.value.code == code


async def test_a_sign_count_that_does_not_grow_is_refused(hand):
    for counter, good in ((5, True), (5, False), (4, False), (6, True)):
        opened = await hand.open()
        answer = hand.passkey.answer(opened.challenge, RP, counter=counter)
        if good:
            await hand.approve(opened.tx, answer)
        else:
            with pytest.raises(Refused, match=r"activation\.replayed"):
                await hand.approve(opened.tx, answer)


async def test_a_state_written_into_the_database_is_not_an_approval(hand):
    opened = await hand.open()
    forged = SoftwarePasskey.create(Realm.TRAINING)
    async with hand.db.write() as uow:
        row = (await uow.execute(sa.select(activation_table))).one()
        evidence = {
            "record": base64.b64encode(row.record).decode(), "assertion": forged.answer(opened.challenge, RP).to_json(),
            "public_key": base64.b64encode(forged.public_key).decode(), "rp_id": RP.rp_id, "origin": RP.origin,
            "kind": "software",
        }  # fmt: skip
        await uow.execute(activation_table.update().values(state="approved", evidence=evidence))
    with pytest.raises(Refused, match=r"activation\.foreign_passkey"):
        await hand.spend(opened.tx)


async def test_approving_twice_is_a_conflict_and_software_never_enters_production(hand):
    opened = await hand.open()
    await hand.approve(opened.tx, hand.passkey.answer(opened.challenge, RP))
    with pytest.raises(Conflict, match=r"activation\.not_open"):
        await hand.approve(opened.tx, hand.passkey.answer(opened.challenge, RP))
    with pytest.raises(Refused, match=r"activation\.software_in_production"):
        SoftwarePasskey.create(Realm.PRODUCTION)


async def test_an_approval_from_another_page_of_the_same_host_is_not_spendable_even_from_the_database(hand):
    opened = await hand.open()
    web = RelyingParty(RP.rp_id, "http://sign.localhost:8000")
    async with hand.db.write() as uow:
        row = (await uow.execute(sa.select(activation_table))).one()
        evidence = {
            "record": base64.b64encode(row.record).decode(), "kind": "software",
            "assertion": hand.passkey.answer(opened.challenge, web).to_json(),
            "public_key": base64.b64encode(hand.passkey.public_key).decode(), "rp_id": web.rp_id, "origin": web.origin,
        }  # fmt: skip
        await uow.execute(activation_table.update().values(state="approved", evidence=evidence))
    redeem.verify_evidence(evidence)
    with pytest.raises(Refused, match=r"activation\.wrong_origin"):
        await hand.spend(opened.tx)


async def test_a_row_copied_under_another_name_is_not_spendable(hand):
    opened = await hand.open()
    await hand.approve(opened.tx, hand.passkey.answer(opened.challenge, RP))
    async with hand.db.write() as uow:
        row = (await uow.execute(sa.select(activation_table))).one()
        await uow.execute(activation_table.insert().values(**{**row._mapping, "tx": "0" * 26}))
    with pytest.raises(Refused, match=r"activation\.mismatch"):
        await hand.spend("0" * 26)


async def test_a_passkey_revoked_after_the_approval_spends_nothing(hand):
    opened = await hand.open()
    await hand.approve(opened.tx, hand.passkey.answer(opened.challenge, RP))
    async with hand.db.write() as uow:
        await uow.execute(passkey_table.update().values(state="revoked"))
    with pytest.raises(Refused, match=r"activation\.foreign_passkey"):
        await hand.spend(opened.tx)


@pytest.mark.parametrize(
    "hashes",
    [(), (b"x" * 20,), (b"x" * 32, b"x" * 48), (b"x" * 32,) * 501],
    ids=["none", "short", "mixed", "too many"],
)
async def test_a_digest_list_that_cannot_be_approved_is_refused(hand, hashes):
    with pytest.raises(BadInput, match=r"activation\.malformed"):
        await hand.open(hashes)


DEEP = b"[" * 100_000


@pytest.mark.parametrize("junk", [b"", b"[]", b"null", b"{}", b"\xff", DEEP, b'{"type":"webauthn.get","challenge":1}'])
async def test_client_data_that_cannot_be_read_is_malformed(hand, junk):
    opened = await hand.open()
    with pytest.raises(BadInput, match=r"activation\.malformed"):
        await hand.approve(opened.tx, change(hand.passkey.answer(opened.challenge, RP), client_data=junk))


@pytest.mark.parametrize("tail", [(0xC5, b"\0" * 40), (0x45, b"\0" * 17), (0x85, b"\x81" * 100_000), (0x05, b"more")])
async def test_authenticator_data_that_cannot_be_read_is_malformed(hand, tail):
    opened = await hand.open()
    good = hand.passkey.answer(opened.challenge, RP)
    data = good.authenticator_data[:32] + bytes([tail[0]]) + good.authenticator_data[33:] + tail[1]
    with pytest.raises(BadInput, match=r"activation\.malformed"):
        await hand.approve(opened.tx, change(good, authenticator_data=data))


@pytest.mark.parametrize(
    "bend", [{"record": "!"}, {"record": "e30="}, {"public_key": "AA=="}, {"public_key": None}, {"assertion": None}]
)
async def test_what_is_no_evidence_is_malformed(hand, bend):
    opened = await hand.open()
    await hand.approve(opened.tx, hand.passkey.answer(opened.challenge, RP))
    evidence = await hand.spend(opened.tx)
    with pytest.raises(BadInput, match=r"activation\.malformed"):
        redeem.verify_evidence({**evidence, **bend})


async def test_a_spent_approval_cannot_be_made_approved_again_even_in_the_database(db, clock):
    from sqlalchemy.exc import DBAPIError

    from signer.activation.records import activation_table

    table = activation_table
    row = {"tx": "t" * 26, "realm": "training", "person_id": "p" * 26, "record": b"r", "created_at": clock.now(),
           "expires_at": clock.now(), "state": "spent"}  # fmt: skip
    async with db.write() as uow:
        await _person(uow, clock)
        await uow.execute(table.insert(), row)
    with pytest.raises(DBAPIError):
        async with db.write() as uow:
            await uow.execute(table.update().where(table.c.tx == row["tx"]).values(state="approved"))


async def _person(uow, clock):
    from core.directory.records import agency_table, person_table

    await uow.execute(
        agency_table.insert(),
        {"id": "g" * 26, "realm": "training", "code": "ZZ", "name": "n", "parent": "p", "valid_from": clock.now(),
         "wording": {}},
    )  # fmt: skip
    await uow.execute(
        person_table.insert(),
        {"id": "p" * 26, "realm": "training", "agency_id": "g" * 26, "name": "n", "created_at": clock.now()},
    )  # fmt: skip
