"""The decision that a key leaves its files: which may, what voters read, and that it allows this key alone."""

import dataclasses

import pytest

from core.errors import BadInput, Conflict, NotFound, Refused, ServiceError
from core.limits import LIMITS
from core.values import Digest, Realm
from signer.decisions.evidence import verify_evidence
from signer.decisions.kinds import KINDS
from signer.keystores.allowed import MOVE, Imports
from signer.keystores.model import KeyPurpose
from tests.signer.decisions.keyring import P256, Keyring, certificate, open_town


@pytest.fixture
async def town(db, clock, tmp_path):
    return await open_town(db, clock, tmp_path)


@pytest.fixture
def ring(town):
    return Keyring(town)


async def filed(ring, purpose=KeyPurpose.QR, owner=None, *, certified=False, named=True):
    """Id and reference of a key in files."""
    made = await ring.store.create(f"{purpose.value}-{len(ring.store._keys)}", purpose, P256)
    ref, owner = dataclasses.replace(made, store="software"), owner or ring.town.agency.id
    async with ring.db.write() as uow:
        key_id = await ring.registry.note(uow, ref, owner, Realm.TRAINING)
        if named:
            der = certificate(ref.spki, ring.clock.now()) if certified else None
            await ring.credentials.add(
                uow, realm=Realm.TRAINING, purpose=purpose, owner=owner, key=ref, certificate=der
            )
    return key_id, ref


async def refused(call, kind, code):
    with pytest.raises(kind) as error:
        await call
    assert error.value.code == code


async def test_two_allow_the_very_key_under_the_very_certificate(town, ring):
    key_id, ref = await filed(ring, KeyPurpose.CA, "issuing", certified=True)
    decision = await town.propose(MOVE, {"key": key_id})
    await town.vote(decision, town.admins[0])
    async with ring.db.read() as uow:
        await refused(
            Imports(town.clock).find(uow, Realm.TRAINING, ref.spki, moves=True), NotFound, "key.import_not_decided"
        )
    standing = await town.vote(decision, town.admins[1])
    assert standing.outcome == {"key": key_id, "import": decision}
    async with ring.db.read() as uow:
        allowed = await Imports(town.clock).find(uow, Realm.TRAINING, ref.spki, moves=True)
        used = await ring.credentials.of(uow, "issuing", KeyPurpose.CA)
        await refused(Imports(town.clock).find(uow, Realm.TRAINING, ref.spki), NotFound, "key.import_not_decided")
    assert (allowed.id, allowed.owner, allowed.purpose, allowed.certificate) == (
        decision, "issuing", KeyPurpose.CA, used.certificate,
    )  # fmt: skip
    assert (allowed.expires_at - town.clock.now()).total_seconds() == LIMITS["keys.import_hours"] * 3600
    proof = verify_evidence(await town.desk.evidence(decision))
    assert proof.record.payload["spki_sha256"] == Digest.of(ref.spki).hex


async def test_what_voters_read_says_what_stays_and_what_is_left_behind(town, ring):
    key_id, ref = await filed(ring, KeyPurpose.LOG, "log")
    words = " | ".join(
        f"{label}: {value}" for label, value in (await town.words(await town.propose(MOVE, {"key": key_id}))).items()
    )
    for said in (
        "Dời một khóa từ tệp vào OpenBao / Move a key out of files into OpenBao", Digest.of(ref.spki).hex,
        "Khóa sổ nhật ký công khai", "software · không dùng cho thật", "Kho mới / New store: transit",
        "Chính khóa này dời đi, không có khóa mới", "It is the same key, not a new one",
        "Ai có bản sao của tệp", "until every copy is destroyed", f"{LIMITS['keys.import_hours']} giờ",
    ):  # fmt: skip
        assert said in words, said


async def test_what_may_not_move_is_not_proposed(town, ring):
    assert MOVE in KINDS
    person = await town.person("Nguyễn Thị Ký")
    elsewhere, _ = await ring.make(KeyPurpose.QR)
    unused, _ = await filed(ring, named=False)
    stopped, _ = await filed(ring)
    await ring.stop(stopped)
    ended, _ = await filed(ring)
    await ring.disabled(ended)
    for key_id, kind, code in (
        ((await filed(ring, KeyPurpose.DOCUMENT, person))[0], Refused, "keys.person_enrols"),
        ((await filed(ring, KeyPurpose.SEAL, certified=True))[0], Refused, "keys.seal_rotates"),
        (elsewhere, Conflict, "keys.not_in_files"),
        (unused, Conflict, "decision.nothing_to_change"),
        (stopped, Refused, "key.stopped"),
        (ended, Refused, "key.disabled"),
        ("0" * 26, NotFound, "key.unknown"),
    ):
        await refused(town.propose(MOVE, {"key": key_id}), kind, code)
    for wrong in ({}, {"key": "x"}, {"key": elsewhere, "to": "pkcs11"}):
        await refused(town.propose(MOVE, wrong), BadInput, "decision.malformed")


async def test_keys_of_the_realm_are_its_keepers_to_move(town, ring):
    key_id, _ = await filed(ring, KeyPurpose.LOG, "log")
    async with town.db.write() as uow:
        await town.directory.add_agency(
            uow, realm=Realm.TRAINING, code="H2", name="UBND xã Láng Giềng", parent="UBND tỉnh Ví Dụ"
        )
    await refused(town.propose(MOVE, {"key": key_id}), NotFound, "key.unknown")


@pytest.mark.parametrize("change", ["stopped", "renewed", "retired"])
async def test_what_changed_meanwhile_is_proposed_again(town, ring, change):
    key_id, ref = await filed(ring, KeyPurpose.TSA, "tsa", certified=True)
    decision = await town.propose(MOVE, {"key": key_id})
    await town.vote(decision, town.admins[0])
    if change == "stopped":
        await ring.stop(key_id)
    async with ring.db.write() as uow:
        if change == "retired":
            await ring.credentials.retire(uow, (await ring.credentials.of(uow, "tsa", KeyPurpose.TSA)).id)
        if change == "renewed":
            town.clock.move(seconds=1)
            der = certificate(ref.spki, ring.clock.now(), days=900)
            await ring.credentials.add(
                uow, realm=Realm.TRAINING, purpose=KeyPurpose.TSA, owner="tsa", key=ref, certificate=der
            )
    with pytest.raises(ServiceError) as raised:
        await town.vote(decision, town.admins[1])
    assert raised.value.code in {"decision.overtaken", "decision.nothing_to_change"}
    async with ring.db.read() as uow:
        await refused(
            Imports(town.clock).find(uow, Realm.TRAINING, ref.spki, moves=True), NotFound, "key.import_not_decided"
        )
