"""The page of keys: what it shows to whom, and that its forms make proposals and nothing else."""

import dataclasses
import datetime as dt
import re

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from api.web.app import make_app
from core.directory.model import Role
from core.values import Digest, Regime, SignatureAlgorithm
from signer.keystores.allowed import Imports
from signer.keystores.memory import MemoryKeyStore
from signer.keystores.model import KeyPurpose
from signer.keystores.records import key_table
from signer.keystores.registry import KeyState, Registry
from signer.keystores.rules import Rules
from tests.api.desk.conftest import Browser
from tests.api.desk.test_admin import office
from tests.signer.decisions.keyring import certificate

__all__ = ["office"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Keys:
    """The office's keys."""

    def __init__(self, office):
        self.office, self.signer = office, office.signer
        self.registry = Registry(office.desk.clock)

    async def fill(self):
        async with self.signer.db.write() as uow:
            await self.registry.fill(uow)

    async def of(self, purpose, owner=None):
        async with self.signer.db.read() as uow:
            owner = owner or self.office.agency.id
            query = key_table.select().where(key_table.c.owner == owner, key_table.c.purpose == purpose)
            row = (await uow.execute(query)).first()
            return await self.registry.get(uow, row.id)

    async def stop(self, key):
        async with self.signer.db.write() as uow:
            await self.registry.stop(uow, key.id, "key.over_day")


@pytest_asyncio.fixture(loop_scope="module")
async def keys(office):
    made = Keys(office)
    await made.fill()
    return made


async def test_the_page_shows_where_each_key_is_and_how_it_does(office, keys):
    seal = await keys.of(KeyPurpose.SEAL)
    await Rules(office.signer.db, office.desk.clock).spend(seal.ref, 500, "seal")
    page = await office.page("/desk/admin/keys")
    for words in ("Seal key of the agency", "QR-seal key", "software", "NOT FOR PRODUCTION", "không dùng cho thật",
                  "Used 500 of 20000 times today", "In use", "Certificate valid until", "No certificate"):  # fmt: skip
        assert words in page, words
    assert f"/desk/admin/keys/{seal.id}" in page
    assert "/desk/admin/keys" in await office.page("/desk/admin")
    page = await office.page(f"/desk/admin/keys/{seal.id}")
    assert Digest.of(seal.ref.spki).hex in page
    assert seal.ref.name not in page  # how a store calls it is nobody's business here


async def test_keys_of_others_are_not_shown_and_not_proposed_about(office, keys, desk):
    other = await keys.of(KeyPurpose.SEAL, await _agency(desk, "H2"))
    root = await keys.of(KeyPurpose.CA, "root")
    page = await office.page("/desk/admin/keys")
    assert "Root certificate" not in page  # with several agencies nobody's, until one is named
    for key in (other, root):
        assert key.id not in page
        assert (await office.browser.get(f"/desk/admin/keys/{key.id}")).status_code == 404
        for what in ("disable", "resume", "rule", "destroy", "move"):
            answer = await office.browser.post(f"/desk/admin/keys/{key.id}/{what}", {"why": "x"})
            assert answer.status_code == 404, what
    assert (
        await office.browser.post("/desk/admin/keys/policy", {"store": "transit", "sha256": "1" * 64})
    ).status_code == 400


async def _agency(desk, code):
    async with desk.signer.db.read() as uow:
        return (await desk.signer.directory.agency(uow, code)).id


async def test_an_official_is_named_and_a_citizen_is_not(office, keys):
    signer, now = office.signer, office.desk.clock.now()
    await signer.enrolment.person(
        agency=office.code, name="Hoàng Thị Ký", role=Role.CERTIFIER, number="2/QĐ", capacity="CHỦ TỊCH", dated=now,
        valid_to=now + dt.timedelta(days=9), scope=frozenset(Regime),
    )  # fmt: skip
    async with signer.db.write() as uow:
        citizen = await signer.directory.add_person(uow, office.agency, "Lê Văn Dân")
        ref = await MemoryKeyStore().create(f"document-{citizen.id}", KeyPurpose.DOCUMENT, SignatureAlgorithm.ED25519)
        await keys.registry.note(uow, ref, citizen.id, office.agency.realm)
    await keys.fill()
    page = await office.page("/desk/admin/keys")
    assert "Hoàng Thị Ký" in page
    assert "Lê Văn Dân" not in page
    assert f"mã {citizen.id}" in page
    seal = await keys.of(KeyPurpose.SEAL)
    persons = await keys.of(KeyPurpose.DOCUMENT, citizen.id)
    assert page.index(f"/keys/{seal.id}") < page.index(f"/keys/{persons.id}")  # however many people there are
    assert "memory · không dùng cho thật" in await office.page(f"/desk/admin/keys/{persons.id}")


async def test_a_stop_is_told_on_every_overview_and_ended_by_two(office, keys):
    key = await keys.of(KeyPurpose.QR)
    assert "đang tạm dừng vì dùng quá mức" not in await office.page("/desk/admin")
    await keys.stop(key)
    assert "Có 1 khóa đang tạm dừng vì dùng quá mức" in await office.page("/desk/admin")
    assert "Vượt số lần dùng cho phép trong một ngày" in await office.page("/desk/admin/keys")
    decision = await office.proposed(f"/desk/admin/keys/{key.id}/resume", {})
    shown = await office.page(f"/desk/admin/decisions/{decision}")
    assert Digest.of(key.ref.spki).hex in shown
    assert "Tạm dừng / Stopped" in shown
    await office.agree(decision)
    assert (await keys.of(KeyPurpose.QR)).state is KeyState.ACTIVE
    page = await office.page(f"/desk/admin/keys/{key.id}")
    assert "Went on" in page
    assert "đang tạm dừng vì dùng quá mức" not in await office.page("/desk/admin")


async def test_limits_are_proposed_and_what_was_typed_stays_where_they_are_refused(office, keys):
    key = await keys.of(KeyPurpose.SEAL)
    path = f"/desk/admin/keys/{key.id}/rule"
    for wrong in ({"per_minute": "x", "per_day": "70", "at_once": "5"}, {"per_minute": "7", "per_day": "", "at_once": "5"},
                  {"per_minute": "7", "per_day": "٧", "at_once": "5"}, {"per_minute": "7", "per_day": "9" * 30, "at_once": "5"}):  # fmt: skip
        answer = await office.browser.post(path, wrong)
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text
        assert 'value="7' in answer.text or wrong["per_minute"] == "x"
    await office.agree(await office.proposed(path, {"per_minute": "7", "per_day": "70", "at_once": "5"}))
    page = await office.page(f"/desk/admin/keys/{key.id}")
    assert "Used 0 of 70 times today" in page
    assert "Limits of its own" in page
    await office.agree(await office.proposed(path, {"per_minute": "", "per_day": "", "at_once": ""}))
    assert not (await keys.of(KeyPurpose.SEAL)).decided


async def test_a_key_in_files_may_be_proposed_to_move_and_says_so_afterwards(office, keys):
    seal, key = await keys.of(KeyPurpose.SEAL), await keys.of(KeyPurpose.QR)
    assert "/move" not in await office.page(f"/desk/admin/keys/{seal.id}")
    refused = await office.browser.post(f"/desk/admin/keys/{seal.id}/move", {})
    assert refused.status_code == 400
    assert "key is not moved: dauso keys rotate" in refused.text
    page = await office.page(f"/desk/admin/keys/{key.id}")
    assert f"/desk/admin/keys/{key.id}/move" in page
    assert "It is the same key, not a new one" in page
    decision = await office.proposed(f"/desk/admin/keys/{key.id}/move", {})
    assert "Chính khóa này dời đi" in await office.page(f"/desk/admin/decisions/{decision}")
    await office.agree(decision)
    ref = dataclasses.replace(key.ref, store="transit", place="transit", name=f"qr-{decision}.p256")
    async with office.signer.db.write() as uow:  # what the ceremony leaves
        allowed = await Imports(office.desk.clock).find(uow, key.realm, key.ref.spki, moves=True)
        new_id = await Imports(office.desk.clock).use(uow, allowed, ref)
        await office.signer.credentials.move(uow, key.ref, ref)
        await keys.registry.happened(uow, key.id, "left", decision)
    assert "it once lay in a file" in await office.page("/desk/admin/keys")
    page = await office.page(f"/desk/admin/keys/{new_id}")
    assert "Moved here out of files" in page
    assert "/move" not in page
    page = await office.page(f"/desk/admin/keys/{key.id}")
    assert "This is the old copy in files" in page
    assert "/move" not in page
    await office.agree(await office.proposed(f"/desk/admin/keys/{key.id}/disable", {"why": "Đã dời", "revoke": ""}))
    assert (await keys.of(KeyPurpose.QR)).state is KeyState.DISABLED
    async with office.signer.db.read() as uow:
        assert (await office.signer.credentials.of(uow, key.owner, KeyPurpose.QR)).key == ref


async def test_a_key_ends_by_two_and_is_destroyed_after_its_time(office, keys):
    key = await keys.of(KeyPurpose.SEAL)
    answer = await office.browser.post(f"/desk/admin/keys/{key.id}/disable", {"why": "", "revoke": ""})
    assert answer.status_code == 400
    decision = await office.proposed(
        f"/desk/admin/keys/{key.id}/disable", {"why": "Đổi con dấu", "revoke": "cessation"}
    )
    assert "Đổi con dấu" in await office.page(f"/desk/admin/decisions/{decision}")
    await office.agree(decision)
    page = await office.page(f"/desk/admin/keys/{key.id}")
    assert "Ended" in page
    assert "The store has not done it yet" in page
    assert "/destroy" not in page
    assert "/disable" not in page
    early = await office.browser.post(f"/desk/admin/keys/{key.id}/destroy", {})
    assert early.status_code == 400
    assert "It is too early" in early.text
    async with office.signer.db.write() as uow:  # the session would be over by then
        await uow.execute(
            key_table.update().where(key_table.c.id == key.id).values(destroy_after=office.desk.clock.now())
        )
    assert "/destroy" in await office.page(f"/desk/admin/keys/{key.id}")
    await office.agree(await office.proposed(f"/desk/admin/keys/{key.id}/destroy", {}))
    page = await office.page(f"/desk/admin/keys/{key.id}")
    assert "/destroy" not in page
    assert "Its destruction was decided" in page


async def test_an_import_is_proposed_by_a_certificate_or_a_digest(office):
    ref = await MemoryKeyStore().create("k", KeyPurpose.SEAL, SignatureAlgorithm.ECDSA_P256_SHA256)
    der = certificate(ref.spki, office.desk.clock.now())
    pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()
    form = {"purpose": "seal", "owner": "", "algorithm": "ecdsa-p256-sha256", "certificate": pem, "spki_sha256": ""}
    for wrong in (
        {"certificate": "x"},
        {"certificate": ""},
        {"algorithm": "ed25519"},
        {"purpose": "tsa"},
        {"purpose": "x"},
    ):
        answer = await office.browser.post("/desk/admin/keys/import", {**form, **wrong})
        assert answer.status_code == 400, wrong
        assert 'role="alert"' in answer.text
    decision = await office.proposed("/desk/admin/keys/import", form)
    assert Digest.of(ref.spki).hex in await office.page(f"/desk/admin/decisions/{decision}")
    raw = {**form, "purpose": "qr", "certificate": "", "spki_sha256": Digest.of(ref.spki).hex.upper()}
    assert await office.proposed("/desk/admin/keys/import", raw)


async def test_whose_administrators_keep_the_realms_keys_see_them_and_decide_the_policy(office, keys):
    service = office.desk.parts.service
    settings = service.settings.model_copy(update={"keys_agency": office.code})
    office.desk.parts = dataclasses.replace(office.desk.parts, service=dataclasses.replace(service, settings=settings))
    office.desk.app = make_app(office.desk.parts)
    browser = Browser(office.desk.app)
    browser.http.cookies = office.browser.http.cookies
    page = (await browser.get("/desk/admin/keys")).text
    for words in ("Root certificate", "Public log", "Time stamps", "transit"):
        assert words in page, words
    room = office.signer.parts().decisions.room
    object.__setattr__(room, "keys_agency", office.code)  # the signer's own setting
    try:
        answer = await browser.post("/desk/admin/keys/policy", {"store": "transit", "sha256": "1" * 64})
        assert answer.status_code == 303, answer.text
        decision = re.search(r"/decisions/([0-9a-z]{26})\?", answer.headers["location"]).group(1)
        await office.agree(decision)
        assert "1" * 64 in (await browser.get("/desk/admin/keys")).text
        answer = await browser.post("/desk/admin/keys/policy", {"store": "transit", "sha256": "x"})
        assert answer.status_code == 400
    finally:
        object.__setattr__(room, "keys_agency", "")


async def test_only_administrators_come_in_and_only_from_a_page_of_ours(office, keys, desk):
    clerk, _ = await desk.signed_in("clerk")
    key = await keys.of(KeyPurpose.SEAL)
    for path in ("", f"/{key.id}"):
        assert (await clerk.get(f"/desk/admin/keys{path}")).status_code == 403
        assert (await Browser(desk.app).get(f"/desk/admin/keys{path}")).status_code == 303
    for path in ("import", "policy", f"{key.id}/disable", f"{key.id}/resume", f"{key.id}/rule", f"{key.id}/destroy",
                 f"{key.id}/move"):  # fmt: skip
        assert (await clerk.post(f"/desk/admin/keys/{path}", {})).status_code == 403
        answer = await office.browser.post(f"/desk/admin/keys/{path}", {}, origin="http://evil.example")
        assert answer.status_code == 403
