"""Enrolment from link to phone, on both databases: what becomes usable, when, and what stops it."""

import asyncio
import base64
import contextlib
import datetime as dt
import json

import pytest
import sqlalchemy as sa
from cryptography import x509

from audit.events import commit
from ca_bridge.records import certificate_table
from core.certificates import Certificate
from core.db import Database
from core.directory.model import Role
from core.errors import BadInput, ServiceError, Unavailable
from core.formats import canonical_json
from core.values import Digest
from signer.activation import redeem
from signer.activation.devices import passkeys_of
from signer.activation.records import activation_table
from signer.enrolment.keys import PersonKeys
from signer.enrolment.records import fact_table
from signer.keystores.model import KeyPurpose
from signer.keystores.registry import NEVER_OWNED, KeyState, Registry
from tests.signer.enrolment.town import HUAN, RP, TAP, Phone


async def code_of(work) -> str:
    with pytest.raises(ServiceError) as caught:
        await work
    return caught.value.code


async def credential(town, person_id):
    async with town.db.read() as uow:
        return await town.credentials.of(uow, person_id, KeyPurpose.DOCUMENT)


async def states(town, person_id) -> list[str]:
    async with town.db.read() as uow:
        return sorted(key.state for key in await passkeys_of(uow, person_id))


async def status(town, certificate) -> str:
    async with town.db.read() as uow:
        t = certificate_table.c
        return (await uow.execute(sa.select(t.status).where(t.serial == f"{certificate.serial:040x}"))).scalar_one()


async def open_activation(town, person_id):
    found = await credential(town, person_id)
    async with town.db.write() as uow:
        return await redeem.open_activation(
            uow, town.clock, person_id=person_id, credential_id=found.id, spki=found.key.spki, hashes=[b"h" * 32],
            title="Đơn", pages=1, purpose="citizen", realm=found.realm, client="c", description="", ttl=600,
        )  # fmt: skip


async def approve(town, opened, phone):
    async with town.db.write() as uow:
        await redeem.approve(uow, town.clock, RP, opened.tx, phone.get(opened.challenge))


async def test_a_citizen_who_logs_in_and_makes_a_passkey_can_sign_at_once(town):
    person = await town.citizen()
    token = await town.phones.invite(person)
    arrival = await town.phones.arrival(token)
    assert (arrival.standing.state, arrival.official, arrival.login, arrival.portal) == ("none", False, True, False)
    held = await town.log_in(token, TAP)
    assert (await town.phones.stage(held)).state == "identified"
    stage, phone = await town.carry_on(held)
    assert (stage.state, stage.kind) == ("done", "first")
    found = await credential(town, person)
    certificate = Certificate.parse(found.certificate)
    names = {a.oid: a.value for a in certificate.parsed.subject}
    assert names[x509.NameOID.COMMON_NAME] == TAP.name
    assert names[x509.NameOID.ORGANIZATION_NAME] == "(TẬP HUẤN - TRAINING)"
    assert TAP.number not in certificate.parsed.subject.rfc4514_string()
    standing = await town.standing(person)
    assert (standing.state, standing.credential_id) == ("active", found.id)
    await approve(town, await open_activation(town, person), phone)


async def test_an_officials_certificate_names_the_agency_and_a_clerk_needs_no_key(town):
    official, clerk = await town.official(), await town.official(TAP, Role.CLERK)
    for person, who in ((official, HUAN), (clerk, TAP)):
        held = await town.log_in(await town.phones.invite(person, national_id=who.number), who)
        stage, _ = await town.carry_on(held)
        assert (stage.state, stage.official) == ("done", True)
    certificate = Certificate.parse((await credential(town, official)).certificate)
    assert "UBND xã Đường Lâm" in certificate.subject
    assert await town.standing(clerk) == type(await town.standing(clerk))(state="active")
    assert await code_of(credential(town, clerk)) == "credential.missing"


async def test_the_same_human_is_one_citizen_and_another_person_at_each_office(town):
    first = await town.citizen()
    assert await town.citizen() == first
    official = await town.official(TAP)
    async with town.db.write() as uow:
        await town.phones.people.know(uow, official, TAP.number)
        assert sorted(await town.phones.people.behind(uow, TAP.number)) == sorted([first, official])
        with pytest.raises(BadInput, match=r"people\.other_number"):
            await town.phones.people.know(uow, official, HUAN.number)
        with pytest.raises(BadInput, match=r"people\.bad_number"):
            await town.phones.people.expected(uow, town.agency, national_id="12345", name="A")
        with pytest.raises(BadInput, match=r"people\.bad_name"):
            await town.phones.people.expected(uow, town.agency, national_id=None, name=" ")
        nameless = await town.phones.people.expected(uow, town.agency, national_id=None, name="Người Mới")
    assert nameless not in {first, official}


async def test_two_at_once_make_one_person_of_one_number(town):
    found = await asyncio.gather(*(town.citizen() for _ in range(4)))
    assert len(set(found)) == 1


async def test_no_number_and_no_address_stands_in_the_database_in_the_clear(village, tmp_path):
    person = await village.citizen()
    await village.phones.vouched(person, level="2", email="ba.tap@example.vn", subject="p-1")
    await village.enrolled(await village.citizen(HUAN), HUAN)
    async with village.db.write() as uow:
        await uow.exec_driver_sql("SELECT 1")
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("v.db*"))
    for secret in (TAP.number, HUAN.number, "ba.tap@example.vn"):
        assert secret.encode() not in kept


async def test_every_change_has_a_leaf_that_commits_to_its_fact(town):
    person = await town.citizen()
    await town.enrolled(person)
    await town.log.sequence()
    leaves = [json.loads(entry) for _, entry in await town.log.entries(0, await town.log.size())]
    async with town.db.read() as uow:
        facts = (await uow.execute(sa.select(fact_table))).all()
    assert sorted(f.type for f in facts) == ["credential_changed", "identity_verified", "passkey_changed"]
    by_event = {leaf["event_id"]: leaf for leaf in leaves}
    for fact in facts:
        leaf = by_event[f"{fact.id}.{fact.type}"]
        digest = Digest.of(canonical_json.encode(fact.details)).value
        assert base64.b64decode(leaf["doc_commit"]) == commit(fact.salt, digest)
        assert leaf["type"] == fact.type
        assert person not in json.dumps(leaf)


# ----------------------------------------------------------------------------------------------------- the portal's word
async def vouched(town, person, **change):
    given = {"level": "2", "email": "tap@example.vn", "subject": "p-1", **change}
    return await town.phones.vouched(person, **given)


async def by_code(town, token):
    await town.phones.send_code(token)
    return await town.phones.answer_code(token, town.box.code)


async def test_a_portals_word_needs_a_code_a_delay_and_a_notice(town):
    person = await town.citizen()
    token = await vouched(town, person)
    assert (await town.phones.arrival(token)).portal
    stage, phone = await town.carry_on(await by_code(town, token))
    assert stage.state == "waiting"
    assert stage.usable_from == town.clock.now() + dt.timedelta(hours=24)
    assert (await town.standing(person)).state == "waiting"
    opened = await open_activation(town, person)
    assert await code_of(approve(town, opened, phone)) == "activation.foreign_passkey"
    await town.phones.letters.flush()
    to, _, text = town.box.letters[-1]
    assert (to, f"{RP.origin}/e/stop/" in text) == ("tap@example.vn", True)
    assert await town.phones.ripen() == 0
    town.clock.move(hours=23, minutes=59)
    assert await town.phones.ripen() == 0
    assert (await states(town, person)) == ["suspended"]
    town.clock.move(minutes=1)
    assert await town.phones.ripen() == 1
    assert (await town.standing(person)).state == "active"
    await approve(town, await open_activation(town, person), phone)


async def test_a_portals_word_is_taken_at_allowed_levels_only_and_never_for_an_official(town):
    citizen, official = await town.citizen(), await town.official()
    assert await code_of(vouched(town, citizen, level="1")) == "enrol.level"
    assert await code_of(vouched(town, official)) == "enrol.official_by_portal"
    assert await code_of(vouched(town, citizen, email="không phải thư")) == "people.bad_email"
    assert await code_of(vouched(town, "0" * 26)) == "directory.no_such_person"


async def test_who_became_an_official_meanwhile_is_refused_too(town):
    person = await town.citizen()
    token = await vouched(town, person)
    await town.phones.send_code(token)
    async with town.db.write() as uow:
        who = await town.phones.directory.person(uow, person)
        await town.phones.directory.authorise(
            uow, who, Role.CLERK, capacity="", number="2/QĐ", dated=town.clock.now(), valid_from=town.clock.now(),
            valid_to=None, scope=frozenset(),
        )  # fmt: skip
    assert await code_of(town.phones.answer_code(token, town.box.code)) == "enrol.official_by_portal"


async def test_a_code_is_good_for_five_guesses_ten_minutes_and_one_use(town):
    token = await vouched(town, await town.citizen())
    assert await code_of(town.phones.answer_code(token, "123456")) == "enrol.no_code"
    await town.phones.send_code(token)
    right = town.box.code
    wrong = f"{(int(right) + 1) % 10**6:06d}"
    assert await code_of(town.phones.send_code(token)) == "enrol.code_too_soon"
    told = [await code_of(town.phones.answer_code(token, wrong)) for _ in range(5)]
    assert told == ["enrol.wrong_code"] * 5
    assert await code_of(town.phones.answer_code(token, right)) == "enrol.code_spent"
    town.clock.move(seconds=31)
    await town.phones.send_code(token)
    assert (
        await code_of(town.phones.answer_code(token, right if right != town.box.code else wrong)) == "enrol.wrong_code"
    )
    town.clock.move(minutes=10)
    assert await code_of(town.phones.answer_code(token, town.box.code)) == "enrol.no_code"
    await town.phones.send_code(token)
    await town.phones.answer_code(token, town.box.code)
    assert await code_of(town.phones.answer_code(token, town.box.code)) == "enrol.no_portal_word"


async def test_guesses_at_once_are_counted_each(town):
    token = await vouched(town, await town.citizen())
    await town.phones.send_code(token)
    wrong = f"{(int(town.box.code) + 1) % 10**6:06d}"
    told = await asyncio.gather(*(code_of(town.phones.answer_code(token, wrong)) for _ in range(9)))
    assert told.count("enrol.wrong_code") == 5
    assert set(told) <= {"enrol.wrong_code", "enrol.code_spent"}


async def test_guesses_are_counted_for_the_person_however_often_a_portal_gives_its_word(town):
    person, wrongs = await town.citizen(), 0
    async with town.db.write() as uow:
        await town.phones.people.set_contact(uow, person, "known@example.vn")
    for _ in range(4):
        token = await vouched(town, person, email="new@example.vn")
        if await _sent(town, token) is None:
            break
        wrong = f"{(int(town.box.code) + 1) % 10**6:06d}"
        wrongs += [await code_of(town.phones.answer_code(token, wrong)) for _ in range(6)].count("enrol.wrong_code")
        town.clock.move(seconds=31)
    assert wrongs == 10
    assert await code_of(town.phones.send_code(token)) == "enrol.codes_day"
    town.box.letters.clear()
    await town.phones.letters.flush()
    assert [to for to, _, _ in town.box.letters] == ["known@example.vn"]
    town.clock.move(hours=24)
    await town.phones.send_code(token)
    assert isinstance(await town.phones.answer_code(token, town.box.code), str)


async def _sent(town, token):
    with contextlib.suppress(ServiceError):
        return await town.phones.send_code(token)
    return None


async def test_ten_codes_a_day_go_out_for_one_person(town):
    person, sent = await town.citizen(), 0
    for _ in range(13):
        sent += await _sent(town, await vouched(town, person)) is not None
        town.clock.move(seconds=31)
    assert sent == 10


async def test_codes_are_not_sent_without_end(town):
    token = await vouched(town, await town.citizen())
    for _ in range(5):
        await town.phones.send_code(token)
        town.clock.move(seconds=31)
    assert await code_of(town.phones.send_code(token)) == "enrol.code_too_often"


async def test_a_link_without_a_portals_word_sends_no_code(town):
    assert (
        await code_of(town.phones.send_code(await town.phones.invite(await town.citizen()))) == "enrol.no_portal_word"
    )
    assert await code_of(town.phones.send_code("A" * 32)) == "link.unknown"


async def test_an_objection_ends_what_waits_for_good(town):
    person = await town.citizen()
    await town.carry_on(await by_code(town, await vouched(town, person)))
    certificate = Certificate.parse((await credential(town, person)).certificate)
    await town.phones.letters.flush()
    objection = town.box.objection()
    assert await town.phones.losses.object_to(objection) == "stopped"
    assert await town.phones.losses.object_to(objection) == "stopped"
    town.clock.move(days=2)
    assert await town.phones.ripen() == 0
    assert await states(town, person) == ["revoked"]
    assert (await town.standing(person)).state == "none"
    assert await code_of(credential(town, person)) == "credential.missing"
    assert await status(town, certificate) == "revoked"
    assert await code_of(town.phones.losses.object_to("A" * 32)) == "objection.unknown"
    await town.enrolled(person)  # the real one is not made to wait for what somebody else began


async def test_an_objection_after_the_delay_locks_everything(town):
    person = await town.citizen()
    await town.carry_on(await by_code(town, await vouched(town, person)))
    await town.phones.letters.flush()
    objection = town.box.objection()
    town.clock.move(hours=25)
    await town.phones.ripen()
    assert await town.phones.losses.object_to(objection) == "suspended"
    assert (await town.standing(person)).state == "suspended"
    town.clock.move(days=31)
    assert await code_of(town.phones.losses.object_to(objection)) == "objection.unknown"


async def test_a_log_in_goes_before_a_portals_word_that_still_waits(town):
    person = await town.citizen()
    await town.carry_on(await by_code(town, await vouched(town, person)))
    await town.enrolled(person)
    assert await states(town, person) == ["active", "revoked"]
    town.clock.move(days=2)
    assert await town.phones.ripen() == 0
    assert await states(town, person) == ["active", "revoked"]


# ------------------------------------------------------------------------------------------------- a second passkey
async def second_by_passkey(town, person, phone):
    token = await town.phones.invite(person)
    asked, known = await town.phones.known.ask(token)
    assert [key.credential_id for key in known] == [phone.credential_id]
    return token, asked


async def test_a_passkey_lets_a_second_one_in_at_once_and_one_answer_only_once(town):
    person = await town.citizen()
    phone = await town.enrolled(person)
    token, asked = await second_by_passkey(town, person, phone)
    answer = phone.get(asked.value)
    held = await town.phones.known.admit(token, asked.tx, answer)
    assert await code_of(town.phones.known.admit(token, asked.tx, answer)) == "passkey.challenge_used"
    stage, other = await town.carry_on(held)
    assert (stage.state, stage.kind) == ("done", "second")
    assert await states(town, person) == ["active", "active"]
    async with town.db.read() as uow:
        assert len(await town.phones.keys.active(uow, person)) == 1  # the key stays the one it was
    await approve(town, await open_activation(town, person), other)


async def test_a_second_passkey_by_log_in_waits_and_is_told(town):
    person = await town.citizen()
    await town.enrolled(person)
    async with town.db.write() as uow:
        await town.phones.people.set_contact(uow, person, "tap@example.vn")
    stage, other = await town.carry_on(await town.log_in(await town.phones.invite(person), TAP))
    assert (stage.state, stage.kind) == ("waiting", "second")
    assert (await town.standing(person)).state == "active"
    assert await code_of(approve(town, await open_activation(town, person), other)) == "activation.foreign_passkey"
    await town.phones.letters.flush()
    assert town.box.letters[-1][0] == "tap@example.vn"
    await town.phones.losses.object_to(town.box.objection())
    assert await states(town, person) == ["active", "revoked"]


async def test_what_lets_no_second_passkey_in(town):
    person, stranger = await town.citizen(), await town.citizen(HUAN)
    phone, other = await town.enrolled(person), await town.enrolled(stranger, HUAN)
    for change, expected in {
        "foreign": (lambda c: other.get(c), "activation.foreign_passkey"),
        "origin": (lambda c: phone.get(c, origin="http://localhost:8000"), "activation.wrong_origin"),
        "unverified": (lambda c: phone.get(c, flags=0x01), "activation.no_user_verification"),
        "challenge": (lambda _: phone.get(b"x" * 32), "activation.wrong_challenge"),
    }.items():
        token, asked = await second_by_passkey(town, person, phone)
        assert await code_of(town.phones.known.admit(token, asked.tx, expected[0](asked.value))) == expected[1], change
    token, asked = await second_by_passkey(town, person, phone)
    town.clock.move(minutes=6)
    late = town.phones.known.admit(token, asked.tx, phone.get(asked.value))
    assert await code_of(late) == "passkey.no_challenge"
    nobody = await town.phones.invite(await town.citizen(type(TAP)("999000000009", "Người Mới")))
    assert await code_of(town.phones.known.ask(nobody)) == "enrol.no_passkey"


async def test_an_approval_of_a_document_is_no_entry_for_a_passkey(town):
    person = await town.citizen()
    phone = await town.enrolled(person)
    opened = await open_activation(town, person)
    token, asked = await second_by_passkey(town, person, phone)
    answer = town.phones.known.admit(token, asked.tx, phone.get(opened.challenge))
    assert await code_of(answer) == "activation.wrong_challenge"


# ---------------------------------------------------------------------------------------------------------- a loss
async def test_a_lost_phone_is_locked_at_once_and_comes_back_after_identity_and_delay(town):
    person = await town.citizen()
    phone = await town.enrolled(person)
    old = await credential(town, person)
    waiting, approved = await open_activation(town, person), await open_activation(town, person)
    await approve(town, approved, phone)
    (lost,) = await town.log_in(None, TAP)
    assert (lost.stopped, lost.official) == (1, False)
    assert await states(town, person) == ["revoked"]
    async with town.db.read() as uow:
        t = activation_table.c
        left = (await uow.execute(sa.select(t.state).where(t.tx.in_((waiting.tx, approved.tx))))).scalars().all()
    assert left == ["refused", "refused"]
    assert await status(town, Certificate.parse(old.certificate)) == "revoked"
    assert (await town.standing(person)).state == "none"
    stage, other = await town.carry_on(lost.token)
    assert (stage.state, stage.kind) == ("waiting", "again")
    town.clock.move(hours=24)
    await town.phones.ripen()
    assert (await town.standing(person)).credential_id != old.id
    await approve(town, await open_activation(town, person), other)


async def test_an_agency_locks_and_the_link_gives_a_new_beginning_with_a_delay(town):
    person = await town.citizen()
    phone = await town.enrolled(person)
    token = await town.phones.invite(person)
    _, asked = await second_by_passkey(town, person, phone)
    async with town.db.write() as uow:
        await town.phones.suspend(uow, person)
        await town.phones.suspend(uow, person)
    assert await states(town, person) == ["suspended"]
    assert (await town.standing(person)).state == "suspended"
    token = await town.phones.invite(person)
    assert await code_of(town.phones.known.admit(token, asked.tx, phone.get(asked.value))) == "passkey.no_challenge"
    assert await code_of(town.phones.known.ask(token)) == "enrol.no_passkey"
    stage, _ = await town.carry_on(await town.log_in(token, TAP))
    assert (stage.state, stage.kind) == ("waiting", "again")
    assert await states(town, person) == ["revoked", "suspended"]


async def test_who_ever_had_a_phone_does_not_become_new_by_giving_up_half_way(town):
    person = await town.citizen()
    await town.enrolled(person)
    (lost,) = await town.log_in(None, TAP)
    assert lost.stopped == 1
    held = await town.log_in(await town.phones.invite(person), TAP)
    assert (await town.phones.stage(held)).kind == "again"


async def test_a_loss_ends_an_enrolment_under_way_and_one_that_waits(town):
    person = await town.citizen()
    await town.enrolled(person)
    under_way = await town.log_in(await town.phones.invite(person), TAP)
    await town.agree(under_way)
    await town.make(under_way, Phone())
    async with town.db.write() as uow:
        await town.phones.suspend(uow, person)
    assert await code_of(town.phones.finish(under_way)) == "enrol.moved"
    assert await states(town, person) == ["revoked", "suspended"]


async def test_nothing_is_locked_for_somebody_without_a_phone(town):
    assert await code_of(town.log_in(None, TAP)) == "enrol.nothing_to_suspend"
    await town.citizen()
    assert await code_of(town.log_in(None, TAP)) == "enrol.nothing_to_suspend"


# ------------------------------------------------------------------------------------------------------ order of steps
async def test_steps_out_of_order_and_late_ones_are_refused(town):
    person = await town.citizen()
    token = await town.phones.invite(person)
    held = await town.log_in(token, TAP)
    assert await code_of(town.phones.ask_registration(held)) == "enrol.moved"
    assert await code_of(town.phones.finish(held)) == "enrol.moved"
    assert await code_of(town.phones.ticket_of(held)) == "ticket.no_official"
    assert await code_of(town.phones.consent(held, b"x" * 32)) == "enrol.other_wording"
    await town.agree(held)
    assert await code_of(town.agree(held)) == "enrol.moved"
    town.clock.move(minutes=31)
    assert await code_of(town.phones.ask_registration(held)) == "pass.expired"
    assert await code_of(town.phones.stage("A" * 32)) == "pass.missing"
    assert await code_of(town.phones.stage("")) == "pass.missing"
    town.clock.move(days=14)
    assert await code_of(town.phones.arrival(token)) == "link.expired"


async def test_a_newer_run_ends_the_older_one(town):
    person = await town.citizen()
    token = await town.phones.invite(person)
    older, newer = await town.log_in(token, TAP), await town.log_in(token, TAP)
    assert (await town.phones.stage(older)).state == "ended"
    await town.carry_on(newer)


async def test_a_link_that_ended_while_its_person_logged_in_opens_nothing(town):
    person = await town.citizen()
    token = await town.phones.invite(person)
    asked = await town.phones.ask_login(token)
    back = await town.browse(asked.url, TAP)
    await town.phones.invite(person)
    late = town.phones.answer_login(flow=asked.flow, state=back["state"], code=back["code"], iss=back["iss"])
    assert await code_of(late) == "link.expired"


async def test_one_end_however_often_it_is_asked_for_at_once(town):
    person = await town.citizen()
    held = await town.log_in(await town.phones.invite(person), TAP)
    await town.agree(held)
    await town.make(held, Phone())
    ends = await asyncio.gather(*(town.phones.finish(held) for _ in range(3)), return_exceptions=True)
    done = [each for each in ends if not isinstance(each, Exception)]
    assert done
    assert {each.state for each in done} == {"done"}
    assert {each.code for each in ends if isinstance(each, ServiceError)} <= {"enrol.moved"}
    async with town.db.read() as uow:
        assert len(await town.phones.keys.active(uow, person)) == 1
        t = certificate_table.c
        rows = (await uow.execute(sa.select(t.status).where(t.profile == "citizen"))).scalars().all()
    assert rows.count("good") == 1  # what was made in vain is revoked
    assert (await town.phones.finish(held)).state == "done"


async def registered(town):
    """(person, pass) of somebody who lacks the last step alone."""
    person = await town.citizen()
    held = await town.log_in(await town.phones.invite(person), TAP)
    await town.agree(held)
    await town.make(held, Phone())
    return person, held


@pytest.mark.parametrize("error", [Unavailable("database.unavailable"), asyncio.CancelledError()])
async def test_an_end_that_was_written_though_its_answer_was_lost_keeps_its_key(town, monkeypatch, error):
    person, held = await registered(town)
    keep, write, kept = PersonKeys.keep, Database.write, []

    async def noted(self, *args):
        kept.append(await keep(self, *args))
        return kept[0]

    @contextlib.asynccontextmanager
    async def lost(self):
        async with write(self) as uow:
            yield uow
        if len(kept) == 1:
            kept.append(None)
            raise error

    with monkeypatch.context() as lossy:
        lossy.setattr(PersonKeys, "keep", noted)
        lossy.setattr(Database, "write", lost)
        with pytest.raises(type(error)):
            await town.phones.finish(held)
    assert (await town.phones.finish(held)).state == "done"
    async with town.db.read() as uow:
        (active,) = await town.phones.keys.active(uow, person)
        await Registry(town.clock).require_usable(uow, active.key, person)
        t = certificate_table.c
        assert (await uow.execute(sa.select(t.status).where(t.profile == "citizen"))).scalars().all() == ["good"]


async def test_what_was_made_for_an_end_that_failed_is_noted_as_nobodys(town, monkeypatch):
    person, held = await registered(town)
    make, made = PersonKeys.make, []

    async def noted(self, *args, **more):
        made.append(await make(self, *args, **more))
        return made[-1]

    async def full(*_, **__):
        raise Unavailable("store.full")

    monkeypatch.setattr(PersonKeys, "make", noted)
    with monkeypatch.context() as small:
        small.setattr(PersonKeys, "keep", full)
        assert await code_of(town.phones.finish(held)) == "store.full"
    assert (await town.phones.finish(held)).state == "done"
    async with town.db.read() as uow:
        registry = Registry(town.clock)
        lost = await registry.find(uow, made[0].key)
        assert (lost.state, lost.why, lost.owner) == (KeyState.DISABLED, NEVER_OWNED, person)
        assert [(each.act, each.state) for each in await registry.works(uow, lost.id)] == [("disable", "due")]


async def test_an_expired_certificate_gives_way_to_a_new_one(town):
    person = await town.citizen()
    phone = await town.enrolled(person)
    town.clock.move(days=366)
    assert (await town.standing(person)).renewable
    asked, _ = await town.phones.known.ask(token := await town.phones.invite(person))
    held = await town.phones.known.admit(token, asked.tx, phone.get(asked.value))
    await town.agree(held)
    stage = await town.phones.finish(held)  # the phone stays the one it was
    assert (stage.state, stage.kind) == ("done", "renewal")
    assert (await town.standing(person)).state == "active"
    assert await states(town, person) == ["active"]
    await approve(town, await open_activation(town, person), phone)


# ------------------------------------------------------------------------------------------------------------ tickets
async def test_a_ticket_opens_the_desk_once_for_an_official_alone(town):
    official, citizen = await town.official(), await town.citizen()
    held = await town.log_in(await town.phones.invite(official, national_id=HUAN.number), HUAN)
    await town.carry_on(held)
    ticket = await town.phones.ticket_of(held)
    assert await town.phones.use_ticket(ticket, spend=False) == official
    assert await town.phones.use_ticket(ticket, spend=True) == official
    assert await code_of(town.phones.use_ticket(ticket, spend=True)) == "ticket.unknown"
    assert await code_of(town.phones.desk_ticket(citizen)) == "ticket.no_official"
    other = await town.phones.desk_ticket(official)
    town.clock.move(minutes=31)
    assert await code_of(town.phones.use_ticket(other, spend=True)) == "ticket.unknown"
