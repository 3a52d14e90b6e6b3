"""The file of evidence alone says, years later, who approved what; whatever was changed in it shows."""

import base64
import copy
import datetime as dt
import hashlib
import json

import pytest

from core.clock import VIETNAM
from core.errors import Refused
from core.formats.note import NoteKey
from core.values import DigestAlgorithm, Realm
from signer.activation.passkeys import RelyingParty, SoftwarePasskey
from signer.requests.evidence import Expected, verify_evidence_file
from signer.requests.model import NewDocument
from tests.signer.requests.office import paper


@pytest.fixture
async def given(office):
    """(evidence, signed file, what the reader expects, office) of an official's and the seal's signature over two papers."""
    documents = (
        NewDocument(title="Một", name=office.paper_name), NewDocument(title="Hai", name=await office.put(paper("hai")))
    )  # fmt: skip
    made = await office.make(("official", "official", 0), ("clerk", "seal", 1), documents=documents)
    for step in made.steps:
        done = await office.sign(step)
    signed = await office.desk.signing.documents.get(done.documents[1].released)
    value = json.loads(json.dumps(await office.desk.evidence(done.id)))
    expected = Expected(
        origin=office.desk.signing.relying_party.origin, log_key=office.desk.signing.log.vkey,
        root=office.evidence.root.certificate,
    )  # fmt: skip
    return value, signed, expected, office


def errors(value, signed=None, expected=None):
    found = verify_evidence_file(json.dumps(value).encode(), signed, expected=expected)
    assert all(f.text("vi") and f.text("en") for f in found)
    return {f.code for f in found if f.severity == "error"}


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


async def test_evidence_is_sound_and_says_what_was_not_compared(given):
    value, signed, expected, _ = given
    found = verify_evidence_file(json.dumps(value).encode(), signed, expected=expected)
    assert [(f.code, f.severity) for f in found] == [("evidence.claimed", "warning"), ("evidence.sound", "info")]
    assert found[0].evidence["what"] == "steps/1/person/name"  # the clerk's: the seal's certificate names the agency
    bare = verify_evidence_file(json.dumps(value).encode())
    assert [f.evidence["what"] for f in bare if f.code == "evidence.not_compared"] == ["origin", "log", "root", "file"]
    assert bare[-1].code == "evidence.sound"


async def test_a_changed_record_is_found(given):
    value, _, expected, _ = given
    activation = value["steps"][0]["activation"]
    record = base64.b64decode(activation["record"])
    activation["record"] = b64(record.replace("Đơn".encode(), "Đon".encode()))
    assert "activation.wrong_challenge" in errors(value, expected=expected)


async def test_another_digest_is_found(given):
    value, signed, expected, _ = given
    for path, code in (
        (("orders", 0, "to_sign"), "evidence.other_digest"),
        (("orders", 0, "message_digest"), "evidence.other_digest"),
    ):
        changed = copy.deepcopy(value)
        where = changed["steps"][0]
        for key in path[:-1]:
            where = where[key]
        where[path[-1]] = "00" * 32
        assert code in errors(changed, expected=expected)
    swapped = copy.deepcopy(value)
    swapped["steps"][0]["orders"].reverse()
    assert "evidence.other_digest" in errors(swapped, expected=expected)
    fewer = copy.deepcopy(value)
    fewer["steps"][0]["orders"].pop()
    assert "evidence.other_digest" in errors(fewer, expected=expected)
    renamed = copy.deepcopy(value)
    renamed["documents"][0]["sha256"] = "00" * 32
    assert "evidence.other_digest" in errors(renamed, expected=expected)
    renamed = copy.deepcopy(value)
    renamed["documents"][1]["signed_sha256"] = "00" * 32
    assert {"evidence.other_digest", "evidence.other_file"} <= errors(renamed, signed, expected=expected)


async def test_another_key_is_found(given):
    value, _, expected, _ = given
    one, two = value["steps"]
    one["certificate"], two["certificate"] = two["certificate"], one["certificate"]
    assert {"evidence.other_key", "evidence.signature_wrong", "evidence.leaf_wrong"} <= errors(value, expected=expected)


async def test_another_passkey_is_found(given):
    value, _, expected, office = given
    other = office.passkey(office.ids["an"])
    value["steps"][0]["activation"]["public_key"] = b64(other.public_key)
    assert "activation.bad_signature" in errors(value, expected=expected)


def answered(value, office, rp: RelyingParty, **change):
    """The same record approved in another way: as somebody who holds a passkey could make evidence up."""
    activation = value["steps"][0]["activation"]
    made = SoftwarePasskey.create(Realm.TRAINING)
    answer = made.answer(hashlib.sha256(base64.b64decode(activation["record"])).digest(), rp, **change)
    activation |= {
        "assertion": answer.to_json(),
        "public_key": b64(made.public_key),
        "rp_id": rp.rp_id,
        "origin": rp.origin,
    }


async def test_another_origin_is_found(given):
    value, _, expected, office = given
    answered(value, office, RelyingParty("evil.example", "https://evil.example"))
    assert errors(value, expected=expected) == {"activation.wrong_origin"}
    value["steps"][0]["activation"]["origin"] = expected.origin
    assert errors(value, expected=expected) == {"activation.wrong_origin"}


async def test_an_approval_without_user_verification_is_found(given):
    value, _, expected, office = given
    answered(value, office, office.desk.signing.relying_party, flags=0x01)
    assert errors(value, expected=expected) == {"activation.no_user_verification"}


async def test_a_receipt_of_another_log_is_found(given):
    value, _, expected, _ = given
    other = str(NoteKey(NoteKey.parse(expected.log_key).name, bytes(32)))
    assert errors(value, expected=Expected(origin=expected.origin, log_key=other, root=expected.root)) == {
        "evidence.receipt_wrong"
    }
    value["log"] = other
    assert errors(value) == {"evidence.receipt_wrong"}


async def test_a_leaf_that_speaks_of_something_else_is_found(given):
    value, _, expected, _ = given
    for leaf in (b"{}", b'{"time_ms":9007199254740991}', b'{"time_ms":"x"}'):
        changed = copy.deepcopy(value)
        changed["steps"][0]["orders"][0]["log"]["leaf"] = b64(leaf)
        assert "evidence.leaf_wrong" in errors(changed, expected=expected)
    one, two = value["steps"][0]["orders"]
    one["log"], two["log"] = two["log"], one["log"]
    assert errors(value, expected=expected) == {"evidence.leaf_wrong"}
    salt = copy.deepcopy(value)
    one["log"], two["log"] = two["log"], one["log"]
    salt = copy.deepcopy(value)
    salt["steps"][0]["orders"][0]["salt"] = b64(bytes(32))
    assert errors(salt, expected=expected) == {"evidence.leaf_wrong"}
    said = copy.deepcopy(value)
    said["changes"][0]["said"]["title"] = "Khác"
    assert errors(said, expected=expected) == {"evidence.leaf_wrong", "evidence.record_differs"}
    gone = copy.deepcopy(value)
    gone["changes"] = []
    assert errors(gone, expected=expected) == {
        "evidence.leaf_wrong", "evidence.record_differs", "evidence.other_digest"
    }  # fmt: skip


async def test_an_approval_left_out_or_a_step_of_somebody_else_is_found(given):
    value, _, expected, office = given
    gone = copy.deepcopy(value)
    gone["steps"][0]["activation"] = None
    assert errors(gone, expected=expected) == {"evidence.no_approval"}
    gone["steps"][0]["provider"] = "sp769"
    assert errors(gone, expected=expected) == {"evidence.record_differs"}
    value["steps"][0]["person"]["id"] = office.ids["an"]
    assert errors(value, expected=expected) == {"evidence.record_differs"}


def leaves_of(value, path=()):
    """Every scalar with where it is; what is base64 or text is told apart by who changes it."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves_of(each, (*path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from leaves_of(each, (*path, number))
    else:
        yield path, value


def other(value):
    """Of the same kind, and still readable where it can be."""
    if value is None:
        return "1999-01-01T00:00:00+00:00"
    if isinstance(value, int):
        return value + 1
    if not value:
        return "AAAA"
    try:
        raw = bytearray(base64.b64decode(value, validate=True))
        raw[len(raw) // 2] ^= 1
        return b64(bytes(raw))
    except ValueError:
        return value[:-1] + ("0" if value[-1:] != "0" else "1")


async def test_whatever_is_changed_in_the_file_is_found_or_named_as_only_claimed(given):
    value, signed, expected, _ = given
    assert errors(value, signed, expected) == set()
    unseen = []
    for path, old in leaves_of(value):
        changed = copy.deepcopy(value)
        where = changed
        for key in path[:-1]:
            where = where[key]
        where[path[-1]] = other(old)
        found = verify_evidence_file(json.dumps(changed).encode(), signed, expected=expected)
        claimed = ",".join(f.evidence["what"] for f in found if f.code == "evidence.claimed")
        if all(f.severity != "error" for f in found) and str(path[-1]) not in claimed:
            unseen.append("/".join(map(str, path)))
    holes = {f"steps/{step}/orders/0/byte_range/{n}" for step in (0, 1) for n in range(4)}
    assert set(unseen) <= {"steps/1/person/name", *holes}, unseen  # the other paper is compared with its own file


async def test_members_left_out_or_moved_are_found(given):
    value, signed, expected, _ = given
    for path in (("changes", -1), ("documents", 0), ("steps", 0), ("steps", 1), ("changes", 0)):
        changed = copy.deepcopy(value)
        changed[path[0]].pop(path[1])
        assert errors(changed, signed, expected), path
    for member in ("changes", "documents"):
        changed = copy.deepcopy(value)
        changed[member].reverse()
        assert errors(changed, signed, expected), member


async def test_before_the_end_the_time_of_an_approval_is_named_as_only_claimed(office):
    made = await office.make(("an", "citizen", 0), ("binh", "citizen", 1))
    await office.sign(made.steps[0])
    found = verify_evidence_file(json.dumps(await office.desk.evidence(made.id)).encode())
    assert [f.evidence["what"] for f in found if f.code == "evidence.claimed"] == ["steps/0/approved_at"]


async def test_evidence_of_an_extended_request_of_a_renamed_agency_is_sound(office):
    """The file tells what was asked then, not what is called so now."""
    from core.directory.records import agency_table

    made = await office.make("an")
    await office.desk.extend(made.id, (made.deadline + dt.timedelta(days=1)).astimezone(VIETNAM))
    done = await office.sign(made.steps[0])
    mine = agency_table.c.id == office.ids["agency"]
    async with office.db.write() as uow:
        await uow.execute(agency_table.update().where(mine).values(name="UBND xã mới"))
    try:
        value = await office.desk.evidence(done.id)
    finally:
        async with office.db.write() as uow:
            await uow.execute(agency_table.update().where(mine).values(name="UBND xã Đường Lâm"))
    assert value["agency"]["name"] == "UBND xã Đường Lâm"
    assert errors(value) == set()


async def test_evidence_of_a_request_that_ended_otherwise_says_so(office):
    made = await office.make(("an", "citizen", 0), ("binh", "citizen", 1))
    await office.sign(made.steps[0])
    await office.desk.refuse(made.steps[1].id, office.ids["binh"], "không")
    value = await office.desk.evidence(made.id)
    assert (value["request"]["state"], errors(value)) == ("refused", set())
    found = verify_evidence_file(json.dumps(value).encode())
    assert "evidence.claimed" not in {f.code for f in found}
    value["steps"][0]["approved_at"] = "1999-01-01T00:00:00+00:00"
    assert errors(value) == {"evidence.record_differs"}


async def test_a_replacements_evidence_names_the_new_person(office):
    made = await office.make("an")
    new = await office.desk.replace(made.steps[0].id, office.ids["binh"])
    await office.sign((await office.view(made.id)).step(new))
    value = await office.desk.evidence(made.id)
    assert [step["person"]["id"] for step in value["steps"]] == [office.ids["binh"]]
    assert errors(value) == set()


async def test_another_root_is_found(given):
    value, _, expected, _ = given
    issuing = base64.b64decode(value["steps"][0]["chain"][0])
    other = Expected(origin=expected.origin, log_key=expected.log_key, root=issuing)
    assert errors(value, expected=other) == {"evidence.certificate_wrong"}
    value["steps"][0]["chain"].pop(0)
    assert "evidence.certificate_wrong" in errors(value, expected=expected)


async def test_another_title_or_realm_than_was_approved_is_found(given):
    value, _, expected, _ = given
    changed = copy.deepcopy(value)
    changed["request"]["title"] = "Khác"
    assert errors(changed, expected=expected) == {"evidence.record_differs"}
    changed = copy.deepcopy(value)
    changed["realm"] = "production"
    assert {"evidence.record_differs", "evidence.leaf_wrong"} <= errors(changed, expected=expected)


async def test_another_signed_file_is_found(given):
    value, signed, expected, office = given
    assert errors(value, signed + b" ", expected=expected) == {"evidence.other_file"}
    at = value["steps"][0]["orders"][1]["byte_range"][1]
    changed = signed[: at - 3] + bytes([signed[at - 3] ^ 1]) + signed[at - 2 :]
    value["documents"][1]["signed_sha256"] = hashlib.sha256(changed).hexdigest()
    assert {"evidence.other_file", "evidence.other_digest"} == errors(value, changed, expected=expected)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b'{"format": "dauso/evidence/v1"}', b"[" * 100_000, b"\xff\xfe"]
)  # fmt: skip
def test_what_is_no_evidence_is_said_to_be_unreadable(data):
    assert [f.code for f in verify_evidence_file(data)] == ["evidence.unreadable"]


async def test_members_that_are_missing_or_of_another_kind_are_unreadable_not_a_crash(given):
    value, signed, expected, _ = given
    for step_change in (
        {"orders": 5},
        {"certificate": "!"},
        {"chain": None},
        {"activation": []},
        {"kind": None},
        {"id": None},
    ):
        changed = copy.deepcopy(value)
        changed["steps"][0] |= step_change
        found = verify_evidence_file(json.dumps(changed).encode(), signed, expected=expected)
        assert any(f.severity == "error" for f in found), step_change


async def test_a_digests_evidence_names_the_digest(office):
    document = NewDocument(title="x", kind="digest", digest=bytes(range(32)), algorithm=DigestAlgorithm.SHA256)
    made = await office.make("an", documents=(document,), digests_allowed=True)
    done = await office.sign(made.steps[0])
    value = await office.desk.evidence(done.id)
    signed = await office.desk.signing.documents.get(done.documents[0].released)
    assert errors(value, signed) == set()
    value["documents"][0]["digest"] = "00" * 32
    assert "evidence.other_digest" in errors(value, signed)


async def test_before_anybody_has_signed_there_is_no_evidence_and_a_first_signatures_can_be_had(office):
    made = await office.make(("an", "citizen", 0), ("binh", "citizen", 1))
    with pytest.raises(Refused, match=r"request\.no_evidence"):
        await office.desk.evidence(made.id)
    await office.sign(made.steps[0])
    value = await office.desk.evidence(made.id)
    assert len(value["steps"]) == 1
    assert errors(value) == set()
