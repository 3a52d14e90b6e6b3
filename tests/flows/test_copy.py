"""From a scan to a verified copy, on both databases, through the very wiring that production uses."""

import asyncio
import random  # noqa: TID251  (seeded, so that a failure can be repeated)
import subprocess
from pathlib import Path

import pytest

from api import bootstrap
from api.certifying import certify_file
from api.checking import Checker
from api.roles import ProcessRole
from core.clock import SystemClock
from core.directory.model import Role
from core.errors import BadInput, Broken, NotFound, Refused, ServiceError
from core.values import Realm, Regime
from signer.copies import store
from tests.conftest import BentClock
from tests.flows import town
from verification.report import Indication, Verdict
from verification.verify import verify


@pytest.fixture
async def made(tmp_path, database_url):
    settings = await town.build(tmp_path / "home", database_url)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        done = await certify_file(service, [town.scan(), town.scan("2")], "scan.jpg", town.request(), tmp_path)
    return settings, done


async def judge(settings, data, anchors=()):
    async with Checker.open(settings, list(anchors)) as checker:
        return await checker.check(data)


async def test_a_scan_becomes_a_genuine_copy_and_other_peoples_tools_agree(made, tmp_path):
    settings, done = made
    data = Path(done["file"]).read_bytes()
    report = await judge(settings, data)
    assert report.verdict is Verdict.GENUINE, report.to_json()
    assert report.realm is Realm.TRAINING
    assert "TẬP HUẤN" in report.sentence("vi")
    assert [s.indication for s in report.signatures] == [Indication.TOTAL_PASSED] * 2
    assert done["number"].startswith("1/ĐT")
    subprocess.run(["qpdf", "--check", done["file"]], check=True, capture_output=True)
    told = subprocess.run(["pdfsig", "-nocert", done["file"]], capture_output=True, text=True, check=False).stdout
    assert told.count("Signature is Valid") == 2
    text = subprocess.run(
        ["pdftotext", "-layout", done["file"], "-"], capture_output=True, text=True, check=True
    ).stdout
    for words in ("CHỨNG THỰC BẢN SAO ĐÚNG VỚI BẢN CHÍNH", "Lê Thị Hữu", "Mã tra cứu", "TẬP HUẤN", "trang 2/2"):
        assert words in text
    assert "Phạm Thị Ổn" not in text


async def test_pyhankos_own_validator_trusts_both_and_respects_the_certification(made):
    from asn1crypto import pem, x509
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko_certvalidator import ValidationContext

    settings, done = made

    def check():
        _, _, der = pem.unarmor((settings.home / "pki" / "root.pem").read_bytes())
        with open(done["file"], "rb") as file:
            reader = PdfFileReader(file)
            found = []
            for signature in reader.embedded_signatures:
                context = ValidationContext(
                    trust_roots=[x509.Certificate.load(der)], other_certs=[], allow_fetching=False
                )
                found.append(validate_pdf_signature(signature, context))
            return [(s.intact, s.valid, s.trusted, s.docmdp_ok) for s in found]

    assert await asyncio.to_thread(check) == [(True, True, True, True)] * 2


async def test_without_a_register_it_is_undetermined_and_without_an_anchor_unknown(made, tmp_path):
    settings, done = made
    data = Path(done["file"]).read_bytes()
    empty = town.settings(tmp_path / "nowhere")
    offline = await judge(empty, data, [(settings.home / "pki" / "root.pem").read_bytes()])
    assert offline.verdict is Verdict.UNDETERMINED
    assert all(s.trusted for s in offline.signatures)
    assert (await judge(empty, data)).verdict is Verdict.UNKNOWN


async def test_300_bit_flips_are_never_genuine(tmp_path):
    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        done = await certify_file(service, [town.scan()], "scan.jpg", town.request(), tmp_path)
    data = bytearray(Path(done["file"]).read_bytes())
    rng = random.Random(7)
    async with Checker.open(settings, []) as checker:
        policy_of = checker.anchors
        from verification.policy import Policy

        for _ in range(300):
            at, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
            data[at] ^= bit
            now = checker.clock.now()
            policy = Policy(anchors=policy_of, at=now)
            report = await verify(bytes(data), at=now, policy=policy, register=checker.register)
            assert report.verdict is not Verdict.GENUINE, at
            data[at] ^= bit


async def test_appended_prepended_and_swapped_bytes_are_never_genuine(made):
    settings, done = made
    data = Path(done["file"]).read_bytes()
    for changed in (data + b"\n% x", b" " + data, data + data, data[:-7], data.replace(b"/Count 2", b"/Count 1", 1)):
        assert changed != data
        assert (await judge(settings, changed)).verdict is not Verdict.GENUINE


async def test_refusals_have_codes_and_leave_no_number_behind(tmp_path, database_url):
    settings = await town.build(tmp_path / "home", database_url)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        for data, change, code in (
            (b"hello, not a scan", {}, "intake.not_a_document"),
            (b"", {}, "intake.empty"),
            (town.scan(), {"pages": 3}, "copy.pages_differ"),
            (town.scan(), {"kind": " "}, "copy.no_kind"),
            (town.scan(), {"copies": 0}, "copy.bad_count"),
            (town.scan(), {"agency": "H9"}, "directory.no_such_agency"),
        ):
            with pytest.raises((BadInput, NotFound, Refused)) as refusal:
                await certify_file(service, [data], "x", town.request(**change), tmp_path)
            assert refusal.value.code == code
            assert refusal.value.say("vi") != code
        async with service.db.read() as uow:
            assert await store.all_copies(uow) == []
        done = await certify_file(service, [town.scan()], "x", town.request(), tmp_path)
    assert done["number"].startswith("1/ĐT")


async def test_a_name_that_cannot_be_printed_is_refused_before_a_number_is_taken(tmp_path):
    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        await service.enrolment.agency(code="H3", name="UBND xã 漢字", parent="UBND tỉnh")
        now = service.clock.now()
        for name, role in (("A B", Role.CERTIFIER), ("C D", Role.CLERK)):
            await service.enrolment.person(
                agency="H3", name=name, role=role, number="1", capacity="CHỦ TỊCH", dated=now, valid_to=None,
                scope=frozenset(Regime),
            )  # fmt: skip
        with pytest.raises(BadInput, match=r"compose\.glyph_missing"):
            await certify_file(service, [town.scan()], "x", town.request(agency="H3"), tmp_path)
        async with service.db.read() as uow:
            assert await store.all_copies(uow) == []


async def test_the_agency_only_regimes_carry_one_signature_and_never_the_attestation(tmp_path):
    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        done = await certify_file(service, [town.scan()], "x", town.request(regime=Regime.SAO_Y), tmp_path)
    report = await judge(settings, Path(done["file"]).read_bytes())
    assert report.verdict is Verdict.GENUINE, report.to_json()
    assert len(report.signatures) == 1
    text = subprocess.run(["pdftotext", done["file"], "-"], capture_output=True, text=True, check=True).stdout
    assert "SAO Y" in text
    assert "CHỨNG THỰC" not in text


async def test_outside_training_a_copy_waits_for_its_certifier(tmp_path):
    settings = await town.build(tmp_path / "home", realm=Realm.PRODUCTION)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        with pytest.raises(Refused) as refusal:
            await certify_file(service, [town.scan()], "x", town.request(), tmp_path)
        assert refusal.value.code == "copy.awaiting_certifier"
        async with service.db.read() as uow:
            (copy,) = await store.all_copies(uow)
        assert copy.state == "awaiting_certifier"
        await service.copies.void(copy.id, "thử")
        with pytest.raises(Refused, match=r"copy\.already_voided"):
            await service.copies.void(copy.id, "thử")


async def test_only_the_signer_role_holds_keys(tmp_path):
    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.WEB) as service:
        assert service.signing is None
        with pytest.raises(Broken, match=r"home\.role"):
            _ = service.copies


async def test_a_date_that_has_passed_voids_the_number_and_composes_again(tmp_path):
    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        with pytest.raises(town.Stop):
            await certify_file(service, [town.scan()], "x", town.request(), tmp_path, town.stop_at("prepare"))
        async with service.db.write() as uow:
            (copy,) = await store.all_copies(uow)
            import datetime as dt

            from signer.records import copy_table

            await uow.execute(copy_table.update().values(printed_at=copy.printed_at - dt.timedelta(days=1)))
        made = await service.jobs.run("copy", copy.id)
        async with service.db.read() as uow:
            newest, oldest = await store.all_copies(uow)
    assert (copy.id, made) == (oldest.id, newest.id)
    assert (oldest.state, newest.state) == ("voided", "released")


async def test_a_renewal_that_gets_no_number_leaves_the_old_copy_as_it_was(tmp_path):
    settings = await town.build(tmp_path / "home")
    clock = BentClock(SystemClock().now())
    async with bootstrap.open_service(settings, ProcessRole.SIGNER, clock) as service:
        with pytest.raises(town.Stop):
            await certify_file(service, [town.scan()], "x", town.request(), tmp_path, town.stop_at("prepare"))
        clock.move(days=370)  # next year's book is not open
        async with service.db.read() as uow:
            (copy,) = await store.all_copies(uow)
        with pytest.raises(ServiceError) as caught:
            await service.jobs.run("copy", copy.id)
        async with service.db.read() as uow:
            (copy,) = await store.all_copies(uow)
    assert caught.value.code == "register.no_open_book"
    assert copy.state == "awaiting_certifier"


async def test_copies_made_at_the_same_time_get_gap_free_numbers(tmp_path, database_url):
    settings = await town.build(tmp_path / "home", database_url)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        done = await asyncio.gather(
            *(certify_file(service, [town.scan(str(n))], f"{n}", town.request(), tmp_path) for n in range(5)),
            return_exceptions=True,
        )
        assert not [d for d in done if isinstance(d, ServiceError)], done
    assert sorted(int(d["number"].split("/")[0]) for d in done) == [1, 2, 3, 4, 5]


async def test_an_access_code_stands_on_the_paper_and_never_in_the_qr_code(tmp_path):
    import re

    from core.formats import typed_code
    from core.values import Digest

    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        agency = await service.enrolment.agency(
            code="H2", name="UBND xã Hai", parent="UBND tỉnh", wording={"access_code": True}
        )
        now = service.clock.now()
        for name, role in (("Lê Thị Hữu", "certifier"), ("Đỗ Văn Thư", "clerk")):
            await service.enrolment.person(
                agency=agency.code, name=name, role=Role(role), number="1", capacity="CHỦ TỊCH", dated=now,
                valid_to=None, scope=frozenset(Regime),
            )  # fmt: skip
        done = await certify_file(service, [town.scan()], "x", town.request(agency="H2"), tmp_path)
        async with service.db.read() as uow:
            (copy,) = await store.all_copies(uow)
    text = subprocess.run(["pdftotext", done["file"], "-"], capture_output=True, text=True, check=True).stdout
    code = re.search(r"Mã truy cập: (\S+)", text)[1]
    assert code != done["code"]
    assert copy.access_sha256 == Digest.of(typed_code.read(code)).value
    assert code not in done["qr"]
    assert (await judge(settings, Path(done["file"]).read_bytes())).verdict is Verdict.GENUINE


async def test_a_copy_in_production_carries_the_agencys_own_pictures(tmp_path):
    import io

    from PIL import Image

    settings = await town.build(tmp_path / "home", realm=Realm.PRODUCTION)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        out = io.BytesIO()
        Image.new("RGBA", (333, 111), (0, 0, 160, 200)).save(out, "PNG")
        async with service.db.read() as uow:
            ((certifier, _), *_) = await service.directory.people(uow)
        await service.copies.pictures.set(certifier.id, out.getvalue())
        with pytest.raises(Refused, match=r"copy\.awaiting_certifier"):
            await certify_file(service, [town.scan()], "x", town.request(), tmp_path)
        async with service.db.read() as uow:
            (copy,) = await store.all_copies(uow)
            order = await service.copies.signing.orders.get(uow, copy.certifier_order)
        assert b"/Width 333" in await service.documents.get(order.document)


async def test_what_was_compared_is_committed_to_by_the_log(tmp_path):
    import base64

    from audit.events import commit
    from core.values import Digest
    from signer.copies.numbering import attested

    settings = await town.build(tmp_path / "home")
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        done = await certify_file(service, [town.scan()], "x", town.request(), tmp_path)
        async with service.db.read() as uow:
            copy = await store.get(uow, done["id"])
            entry = await service.register.entry(uow, copy.entry_id)
        leaves = {leaf["event_id"]: leaf for leaf in await service.log_tail(20)}
    value = Digest.of(attested(copy.content, copy.facts, entry.columns)).value
    logged = leaves[f"{copy.id}.number_reserved"]["doc_commit"]
    assert base64.b64decode(logged) == commit(copy.salt, value)
