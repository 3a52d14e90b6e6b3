"""From the request to the signed files, by one person and by many."""

import dataclasses
import hashlib
import io
import subprocess

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.pdf_utils.reader import PdfFileReader

from core.errors import Refused
from core.limits import LIMITS
from core.sandbox import Sandbox
from core.values import DigestAlgorithm
from signer.papers.model import Placement
from signer.requests import rights
from signer.requests.model import NewDocument
from tests.signer.requests.office import open_office, paper

CORNER = Placement(kind="coordinates", page=0, x=60, y=60, width=180, height=70)
LOWER = Placement(kind="coordinates", page=0, x=60, y=300, width=180, height=70)
SEAL = Placement(kind="coordinates", page=0, x=300, y=300, width=110, height=110)


async def signatures(office, document):
    data = await office.desk.signing.documents.get(document.released)
    return PdfFileReader(io.BytesIO(data)).embedded_signatures


async def test_one_citizen_signs_one_paper_and_the_file_is_given_out_whole(office):
    made = await office.make("an")
    done = await office.sign(made.steps[0])
    assert (done.state, done.steps[0].state, done.problem) == ("completed", "signed", None)
    data = await office.desk.signing.documents.get(done.documents[0].released)
    assert data.startswith(await office.desk.signing.documents.get(office.paper_name))
    assert len(await signatures(office, done.documents[0])) == 1
    assert await office.told(made.id) == ["request.step_opened", "request.step_signed", "request.completed"]
    assert [b'"request_created"' in leaf or b'"request_settled"' in leaf for leaf in await office.leaves(made.id)] == [
        True,
        True,
    ]


async def test_others_readers_find_the_signature_right(office, tmp_path):
    done = await office.sign((await office.make(("an", "citizen", 0, {"placement": CORNER}))).steps[0])
    data = await office.desk.signing.documents.get(done.documents[0].released)
    (tmp_path / "a.pdf").write_bytes(data)
    said = subprocess.run(["pdfsig", "-nocert", str(tmp_path / "a.pdf")], capture_output=True, text=True)
    assert "Signature is Valid" in said.stdout, said.stdout + said.stderr


async def test_steps_of_a_higher_position_wait_for_all_lower_ones(office):
    made = await office.make(("an", "citizen", 5), ("binh", "citizen", 1, {"placement": CORNER}), ("chi", "citizen", 1))
    assert [(s.position, s.state) for s in made.steps] == [(1, "ready"), (1, "ready"), (5, "waiting")]
    binh, chi, an = made.steps
    with pytest.raises(Refused, match=r"request\.not_your_turn"):
        await office.open(an)
    after = await office.sign(chi)
    assert [s.state for s in after.steps] == ["ready", "signed", "waiting"]
    after = await office.sign(binh)
    assert [s.state for s in after.steps] == ["signed", "signed", "ready"]
    done = await office.sign(an)
    assert done.state == "completed"
    assert len(await signatures(office, done.documents[0])) == 3
    assert await office.told(made.id) == ["request.step_opened", "request.step_signed"] * 3 + ["request.completed"]


async def test_an_official_and_then_the_seal_over_the_same_paper(office):
    made = await office.make(
        ("official", "official", 1, {"placement": LOWER}), ("clerk", "seal", 2, {"placement": SEAL}),
        ("an", "citizen", 0, {"placement": CORNER}),
    )  # fmt: skip
    for step in made.steps:
        done = await office.sign(step)
    assert done.state == "completed"
    names = [s.signer_cert.subject.human_friendly for s in await signatures(office, done.documents[0])]
    assert "Lê Thị Hữu" in names[1]
    assert "UBND xã Đường Lâm" in names[2]


async def test_the_seal_is_refused_over_bytes_that_lack_the_officials_signature(office):
    made = await office.make(("official", "official", 1), ("clerk", "seal", 2))
    after = await office.sign(made.steps[0])
    async with office.db.write() as uow:
        from signer.requests.records import document_table

        await uow.execute(
            document_table.update()
            .where(document_table.c.id == after.documents[0].id)
            .values(current=office.paper_name)
        )
    with pytest.raises(Exception, match=r"pades\.self_check"):
        await office.open(made.steps[1])
    assert not (await office.view(made.id)).step(made.steps[1].id).leased(office.clock.now())


async def test_many_papers_under_one_approval_in_their_order(office):
    many = LIMITS["signing.piece"] + 3
    documents = tuple([NewDocument(title=f"Đơn {n}", name=await office.put(paper(f"no {n}"))) for n in range(many)])
    made = await office.make("an", documents=documents)
    opened = await office.open(made.steps[0])
    assert len(opened.record.hashes) == many
    assert (opened.record.pages, opened.record.title, opened.record.client) == (many, "Đơn đề nghị", "Cổng Ví Dụ")
    await office.approve(opened)
    await office.desk.rest(made.steps[0].id, 60)
    done = await office.view(made.id)
    assert done.state == "completed"
    assert len({d.released for d in done.documents}) == many
    for before, after in zip(documents, done.documents, strict=True):
        data = await office.desk.signing.documents.get(after.released)
        assert data.startswith(await office.desk.signing.documents.get(before.name))
    assert (await office.told(made.id)).count("request.step_signed") == 1


async def test_two_people_sign_a_bare_digest_into_one_detached_file(office, tmp_path):
    content = b"what the portal keeps"
    document = NewDocument(
        title="Dữ liệu", kind="digest", digest=hashlib.sha256(content).digest(), algorithm=DigestAlgorithm.SHA256
    )
    made = await office.make("an", "binh", documents=(document,), digests_allowed=True)
    one, two = [await office.open(step) for step in made.steps]  # nothing to be kept apart: both at once
    await office.approve(one)
    await office.approve(two)
    await office.desk.drain()
    done = await office.view(made.id)
    assert done.state == "completed"
    file = await office.desk.signing.documents.get(done.documents[0].released)
    signed = cms.ContentInfo.load(file, strict=True)["content"]
    assert len(signed["signer_infos"]) == 2
    (tmp_path / "content").write_bytes(content)
    (tmp_path / "file.p7s").write_bytes(file)
    (tmp_path / "root.pem").write_bytes(
        x509.load_der_x509_certificate(office.evidence.root.certificate).public_bytes(Encoding.PEM)
    )
    said = subprocess.run(
        ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "file.p7s", "-content", "content", "-CAfile",
         "root.pem", "-purpose", "any", "-no_check_time", "-out", "/dev/null"], cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr


async def test_the_code_in_the_portal_is_the_code_on_the_phone_and_comes_from_the_record(office):
    made = await office.make("an")
    opened = await office.open(made.steps[0])
    step = (await office.view(made.id)).steps[0]
    assert opened.code == step.code == opened.record.code
    assert len(opened.code) == 6
    assert opened.expires == step.leased_until
    assert hashlib.sha256(opened.record.encode()).digest() == opened.challenge


async def test_a_paper_taken_on_behind_the_real_walls(home):
    async with Sandbox(preload=["signer.papers.work:warm"]) as sandbox:
        office = await open_office(*home, sandbox=sandbox)
        try:
            made = await office.make(("an", "citizen", 0, {"placement": CORNER}))
            assert (await office.sign(made.steps[0])).state == "completed"
        finally:
            await office.desk.drain()
            await office.close()


async def test_an_office_whose_output_is_not_sound_gives_nothing_out(office):
    office.desk.jobs.serve("step", dataclasses.replace(office.desk, anchors=()).advance)
    made = await office.make("an")
    failed = await office.sign(made.steps[0])
    assert (failed.state, failed.problem) == ("failed", "request.self_check")
    assert failed.documents[0].released is None
    assert (await office.told(made.id))[-1] == "request.changed"


async def test_rights_are_asked_again_when_the_key_is_used(office, monkeypatch):
    made = await office.make(("official", "official", 0))
    opened = await office.open(made.steps[0])
    real, calls = rights.require_may, []

    async def ended(*args, **kwargs):
        calls.append(kwargs)
        raise Refused("request.not_official")

    import signer.requests.settling as settling

    monkeypatch.setattr(settling, "require_may", ended)
    await office.approve(opened)
    await office.desk.drain()
    step = (await office.view(made.id)).steps[0]
    assert (step.state, step.problem, len(calls)) == ("ready", "request.not_official", 1)
    monkeypatch.setattr(settling, "require_may", real)
    assert (await office.sign(step)).state == "completed"
