"""QR seals from the printed page to every verdict: with the register, offline with the lists, and forged."""

import asyncio
import datetime as dt
import io
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import segno

from api import bootstrap
from api.certifying import certify_file
from api.checking import Checker
from api.roles import ProcessRole
from core.errors import BadInput, Conflict, Refused
from core.formats import cose, key_list, qr_seal, status_list
from core.formats.status_list import Status
from core.values import Realm
from signer.copies import store
from signer.keystores.model import KeyPurpose
from tests.flows import town
from verification.policy import TrustAnchor
from verification.report import Verdict
from verification.seals import judge_seal, read_lists

HOST = "localhost"


def picture(text: str) -> bytes:
    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(out, kind="png", scale=4, border=4)
    return out.getvalue()


@pytest.fixture
async def service(tmp_path, database_url):
    settings = await town.build(tmp_path / "home", database_url)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as opened:
        yield opened


async def certified(service, tmp_path, name="a"):
    return await certify_file(service, [town.scan(name)], name, town.request(), tmp_path)


def checker(service, lists=None, online=True):
    return Checker(
        clock=service.clock, sandbox=service.sandbox, host=HOST, lists=lists,
        anchors=(TrustAnchor(certificate=service.root, realm=service.realm),),
        register=service.facts if online else None,
    )  # fmt: skip


async def published(service, at=None):
    made = await service.publisher.all()
    anchors = (TrustAnchor(certificate=service.root, realm=service.realm),)
    return read_lists(
        made[0].body, made[0].signature, [m.body for m in made[1:]], anchors, at or service.clock.now()
    )  # fmt: skip


async def test_a_photograph_of_the_paper_is_a_valid_code_to_compare_and_never_a_genuine_paper(service, tmp_path):
    done = await certified(service, tmp_path)
    subprocess.run(["pdftoppm", "-r", "200", "-png", "-singlefile", done["file"], str(tmp_path / "page")], check=True)
    report = await checker(service).check((tmp_path / "page.png").read_bytes())
    assert report.verdict is Verdict.UNDETERMINED
    assert report.seal["state"] == "valid"
    assert report.seal["claims"]["code"] == done["code"]
    assert report.realm is Realm.TRAINING
    assert "TẬP HUẤN" in report.sentence("vi")
    assert "MÃ HỢP LỆ" in report.sentence("vi")
    assert "Giấy khai sinh" in report.sentence("vi")


async def test_the_file_says_that_its_own_code_agrees(service, tmp_path):
    done = await certified(service, tmp_path)
    report = await checker(service).check(Path(done["file"]).read_bytes())
    assert report.verdict is Verdict.GENUINE, report.to_json()
    assert "verify.qr_right" in {f.code for f in report.findings}


async def test_offline_the_lists_decide(service, tmp_path):
    done = await certified(service, tmp_path)
    lists = await published(service)
    report = await checker(service, lists, online=False).check(picture(done["qr"]))
    assert report.seal["state"] == "valid"
    assert report.seal["claims"]["agency"] == "UBND xã Đường Lâm"
    assert "TẬP HUẤN" in report.sentence("vi")
    assert "+07:00" in " ".join(f.text() for f in report.findings)
    without = await checker(service, None, online=False).check(picture(done["qr"]))
    assert (without.verdict, without.seal["state"]) == (Verdict.UNDETERMINED, "undetermined")
    keys_only = replace(lists, statuses={})
    assert (await checker(service, keys_only, online=False).check(picture(done["qr"]))).seal["state"] == "undetermined"
    later = service.clock.now() + dt.timedelta(days=3)
    old = judge_seal(done["qr"], host=HOST, lists=lists, at=later, copy=None, online=False)
    assert old.state.value == "undetermined"
    fresh_keys = replace(lists, keys=replace(lists.keys, next_update=later + dt.timedelta(days=1)))
    old = judge_seal(done["qr"], host=HOST, lists=fresh_keys, at=later, copy=None, online=False)
    assert [f.code for f in old.findings] == ["verify.seal_status_old"]


async def test_a_recalled_copy_reads_recalled_everywhere_and_only_once(service, tmp_path):
    done, other = [await certified(service, tmp_path, name) for name in "ab"]
    await service.copies.recall(done["id"], "cấp nhầm người")
    with pytest.raises(Conflict, match=r"copy\.already_recalled"):
        await service.copies.recall(done["id"], "lần nữa")
    file = await checker(service).check(Path(done["file"]).read_bytes())
    assert file.verdict is Verdict.RECALLED
    assert "cấp nhầm người" in file.sentence("vi")
    paper = await checker(service).check(picture(done["qr"]))
    assert (paper.verdict, paper.seal["state"]) == (Verdict.RECALLED, "revoked")
    lists = await published(service)
    offline = await checker(service, lists, online=False).check(picture(done["qr"]))
    assert (offline.verdict, offline.seal["state"]) == (Verdict.RECALLED, "revoked")
    assert (await checker(service, lists, online=False).check(picture(other["qr"]))).seal["state"] == "valid"
    assert any(leaf["type"] == "copy_recalled" for leaf in await service.log_tail(3))


async def test_a_recall_names_its_successor_and_refuses_a_bad_one(service, tmp_path):
    done, other = [await certified(service, tmp_path, name) for name in "ab"]
    with pytest.raises(Refused, match=r"copy\.bad_successor"):
        await service.copies.recall(done["id"], "sai", done["id"])
    with pytest.raises(Refused, match=r"copy\.no_recall_reason"):
        await service.copies.recall(done["id"], "  ")
    await service.copies.recall(done["id"], "sai tên", other["id"])
    report = await checker(service).check(Path(done["file"]).read_bytes())
    assert "2/ĐT" in report.sentence("vi")
    async with service.db.read() as uow:
        copy = await store.get(uow, done["id"])
        marks = await store.statuses(uow, copy.agency_id, copy.status_year)
    assert sorted(marks.values()) == [Status.VALID, Status.SUPERSEDED]


async def test_a_code_before_release_and_a_voided_one_never_read_as_valid(service, tmp_path):
    with pytest.raises(town.Stop):
        await certify_file(service, [town.scan()], "x", town.request(), tmp_path, town.stop_at("prepare"))
    async with service.db.read() as uow:
        (copy,) = await store.all_copies(uow)
    for void in (True, False):
        online = await checker(service).check(picture(copy.qr))
        offline = await checker(service, await published(service), online=False).check(picture(copy.qr))
        assert [online.seal["state"], offline.seal["state"]] == ["invalid", "invalid"]
        if void:
            await service.copies.void(copy.id, "thử")


async def test_forged_codes_are_invalid(service, tmp_path):
    done = await certified(service, tmp_path)
    sign1 = cose.parse(qr_seal.parse_url(done["qr"], HOST))
    claims = qr_seal.decode(sign1.payload)

    async def sealed_by(credential, **changes):
        key = service.copies.printer.open_key(credential, "test")
        kid = sign1.kid
        return qr_seal.url(HOST, await qr_seal.seal(replace(claims, **changes), key, kid))

    async with service.db.read() as uow:
        agency = await service.directory.agency(uow, "H1")
        own = await service.credentials.of(uow, agency.id, KeyPurpose.QR)
    await service.enrolment.agency(code="H2", name="UBND xã Khác", parent="UBND tỉnh Ví Dụ")
    async with service.db.read() as uow:
        foreign = await service.credentials.of(uow, (await service.directory.agency(uow, "H2")).id, KeyPurpose.QR)
    lists = await published(service)
    unknown_id = await sealed_by(own, id=bytes(10))
    for text, online_codes in (
        (await sealed_by(foreign), {"verify.seal_invalid"}),
        (await sealed_by(own, content_sha256=bytes(32)), {"verify.qr_differs"}),
        (await sealed_by(own, pages=9), {"verify.qr_differs"}),
        (unknown_id, {"verify.seal_not_in_register"}),
        (done["qr"][:-2] + ("A" if done["qr"][-2] != "A" else "B") + done["qr"][-1], {"verify.seal_invalid"}),
    ):
        report = await checker(service).check(picture(text))
        assert report.verdict is Verdict.INVALID, text
        assert {f.code for f in report.findings} == online_codes
    beyond = await sealed_by(own, status_index=4000)
    assert (await checker(service, lists, online=False).check(picture(beyond))).seal["state"] == "invalid"


async def test_two_different_seals_in_one_picture_are_refused(service, tmp_path):
    from PIL import Image

    done, other = [await certified(service, tmp_path, name) for name in "ab"]
    sheets = [Image.open(io.BytesIO(picture(d["qr"]))).convert("L") for d in (done, other)]
    both = Image.new("L", (sheets[0].width + sheets[1].width, sheets[0].height), 255)
    both.paste(sheets[0], (0, 0))
    both.paste(sheets[1], (sheets[0].width, 0))
    out = io.BytesIO()
    both.save(out, "PNG")
    report = await checker(service).check(out.getvalue())
    assert [f.code for f in report.findings] == ["verify.several_seals"]


async def test_lists_are_numbered_signed_and_refused_when_touched(service, tmp_path):
    await certified(service, tmp_path)
    first, second = await service.publisher.all(), await service.publisher.all()
    assert [m.sequence for m in first] == [1, 1]
    assert [m.sequence for m in second] == [2, 2]
    keys, marks = second
    # openssl checks the detached CMS under our root
    (tmp_path / "k.json").write_bytes(keys.body)
    (tmp_path / "k.p7s").write_bytes(keys.signature)
    verified = subprocess.run(
        ["openssl", "cms", "-verify", "-inform", "DER", "-in", tmp_path / "k.p7s", "-content", tmp_path / "k.json",
         "-binary", "-CAfile", service.settings.home / "pki" / "root.pem", "-purpose", "any"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    anchors, now = (TrustAnchor(certificate=service.root, realm=service.realm),), service.clock.now()
    with pytest.raises(Refused, match=r"qr\.key_list_untrusted"):
        read_lists(keys.body + b" ", keys.signature, [], anchors, now)
    with pytest.raises(Refused, match=r"qr\.key_list_untrusted"):
        read_lists(keys.body, keys.signature, [], (), now)
    with pytest.raises(BadInput):
        read_lists(keys.body, keys.signature, [b"junk"], anchors, now)
    spki = key_list.read(keys.body).keys[0].spki
    with pytest.raises(Refused, match=r"qr\.status_rollback"):
        status_list.read(first[1].body, spki, "H1", now.year, last_seen=marks.sequence)


async def test_two_publishers_never_give_one_number_twice(service):
    made = await asyncio.gather(*(service.publisher.keys() for _ in range(4)), return_exceptions=True)
    numbers = [m.sequence for m in made if not isinstance(m, Exception)]
    assert all(isinstance(m, Conflict) for m in made if isinstance(m, Exception))
    assert len(set(numbers)) == len(numbers) > 0


async def test_a_renewed_key_seals_and_the_old_papers_still_check(service, tmp_path):
    before = await certified(service, tmp_path, "a")
    await service.enrolment.renew_qr_key("H1")
    after = await certified(service, tmp_path, "b")
    lists = await published(service)
    assert sorted(k.status for k in lists.keys.keys) == ["active", "retired"]
    for done in (before, after):
        assert (await checker(service).check(picture(done["qr"]))).seal["state"] == "valid"
        assert (await checker(service, lists, online=False).check(picture(done["qr"]))).seal["state"] == "valid"
