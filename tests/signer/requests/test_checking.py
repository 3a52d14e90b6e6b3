"""The two looks: what a paper's bytes decide before anybody is asked, and what was signed before anything is given out."""

import dataclasses
import datetime as dt
import io
import re

import pytest
from asn1crypto import cms, keys
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign import signers, timestamps
from pyhanko.sign.diff_analysis import ModificationLevel
from pyhanko_certvalidator.registry import SimpleCertificateStore

from ca_bridge.authorities.embedded import build_crl, build_ocsp
from core.certificates import Certificate
from core.errors import Broken, Refused
from signer import papers
from signer.enrolment import issuer_of
from signer.formats import pades
from signer.papers.judging import require_rehearsed
from signer.papers.model import EarlierSignature
from signer.records import order_table
from signer.requests.checking import LastLook
from signer.requests.model import NewDocument
from signer.requests.signed import signed_of
from tests.signer.requests.office import NOON, paper
from verification.engine.document import read_document
from verification.report import Finding


async def strangers(document: bytes) -> bytes:
    """Signed by somebody whose authority nobody here knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Công ty khác")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
        .not_valid_before(NOON - dt.timedelta(days=900)).not_valid_after(NOON - dt.timedelta(days=9))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    signer = signers.SimpleSigner(
        signing_cert=asn1.Certificate.load(certificate.public_bytes(serialization.Encoding.DER)),
        signing_key=keys.PrivateKeyInfo.load(
            key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        ),
        cert_registry=SimpleCertificateStore(),
    )
    target = io.BytesIO()
    await signers.async_sign_pdf(
        IncrementalPdfFileWriter(io.BytesIO(document)),
        signers.PdfSignatureMetadata(field_name="Theirs"),
        signer,
        output=target,
    )
    return target.getvalue()


async def test_a_paper_that_a_stranger_signed_before_is_signed_on(office):
    name = await office.put(await strangers(paper("theirs")))
    made = await office.make("an", "binh", documents=(NewDocument(title="x", name=name),))
    assert [s["signer"] for s in made.documents[0].facts["signatures"]] == ["Công ty khác"]
    for step in made.steps:
        done = await office.sign(step)
    assert (done.state, done.problem) == ("completed", None)
    data = await office.desk.signing.documents.get(done.documents[0].released)
    assert len(PdfFileReader(io.BytesIO(data)).embedded_signatures) == 3


async def test_earlier_validation_data_stays_and_others_see_only_more_of_it(office):
    """A paper that we released and that is signed again: pyHanko's own analysis allows additions, and no loss."""
    first = await office.sign((await office.make("an")).steps[0])
    document = NewDocument(title="x", name=first.documents[0].released)
    done = await office.sign((await office.make("binh", documents=(document,))).steps[0])
    assert (done.state, done.problem) == ("completed", None)
    data = await office.desk.signing.documents.get(done.documents[0].released)
    reader = PdfFileReader(io.BytesIO(data))
    earlier = PdfFileReader(io.BytesIO(await office.desk.signing.documents.get(document.name)))
    assert {r.idnum for r in earlier.root["/DSS"]["/Certs"]} < {r.idnum for r in reader.root["/DSS"]["/Certs"]}
    one, two = reader.embedded_signatures
    for each in (one, two):
        each.compute_integrity_info()
        assert each.diff_result is None or each.diff_result.modification_level <= ModificationLevel.FORM_FILLING
    assert one.diff_result is not None  # there was something to look at


async def test_a_paper_that_already_has_the_signers_own_signature_is_signed_again(office):
    first = await office.sign((await office.make("an")).steps[0])
    document = NewDocument(title="x", name=first.documents[0].released)
    done = await office.sign((await office.make("an", documents=(document,))).steps[0])
    assert (done.state, done.problem) == ("completed", None)
    data = await office.desk.signing.documents.get(done.documents[0].released)
    assert len(PdfFileReader(io.BytesIO(data)).embedded_signatures) == 2


# ------------------------------------------------------------------------------------------------------- rehearsal
@pytest.fixture
async def rehearsed(office):
    """(facts of a paper that one person has signed and the next is about to, its field, the signature it has)."""
    made = await office.make(("an", "citizen", 0), ("binh", "citizen", 1))
    after = await office.sign(made.steps[0])
    ((first,),) = await signed_of(office.desk, after)
    seen = []

    class Seen:
        inspect = staticmethod(papers.inspect)

        async def prepare(self, *args, **kwargs):
            prepared, facts = await papers.prepare(*args, **kwargs)
            seen.append((facts, prepared.field))
            return prepared, facts

    await dataclasses.replace(office.desk, papers=Seen()).open(made.steps[1].id, office.ids["binh"])
    digest = Certificate.parse(first.certificate).sha256.hex()
    return *seen[0], {first.order.prepared["field"]: digest}


def test_a_paper_that_carries_what_it_should_passes_its_rehearsal(rehearsed):
    facts, field, first = rehearsed
    require_rehearsed(facts, field, ours=first, earlier=())


def _finding(code, **evidence):
    return lambda facts: dataclasses.replace(facts, findings=(*facts.findings, Finding(code, "error", evidence)))


def _without(place):
    return lambda facts: dataclasses.replace(
        facts, signatures=tuple(s for n, s in enumerate(facts.signatures) if n != place)
    )


def _torn(place):
    return lambda facts: dataclasses.replace(
        facts,
        signatures=tuple(
            dataclasses.replace(s, integrity=False) if n == place else s for n, s in enumerate(facts.signatures)
        ),
    )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (_finding("verify.changed_after_signature"), "changed_after_signature"),
        (_finding("verify.bytes_unaccounted"), "bytes_unaccounted"), (_finding("verify.digest_differs"), "digest_differs"),
        (_without(0), "missing"), (_without(1), "missing"), (_torn(0), "CHAIN"), (_torn(1), "CHAIN"),
        (lambda facts: dataclasses.replace(facts, signatures=(*facts.signatures, facts.signatures[1])), "missing"),
        (lambda facts: dataclasses.replace(
            facts, signatures=(*facts.signatures, dataclasses.replace(facts.signatures[0], field="Theirs"))
        ), "another signature"),
        (lambda facts: dataclasses.replace(
            facts, signatures=(dataclasses.replace(facts.signatures[0], certificate_sha256="00"), facts.signatures[1])
        ), "missing"),
    ],
)  # fmt: skip
def test_a_rehearsal_with_anything_else_in_the_paper_fails(rehearsed, change, word):
    facts, field, first = rehearsed
    with pytest.raises(Broken) as caught:
        require_rehearsed(change(facts), field, ours=first, earlier=())
    assert word in caught.value.evidence["detail"]


def test_an_earlier_signature_that_vanished_is_missed(rehearsed):
    facts, field, first = rehearsed
    gone = EarlierSignature(field="Theirs", signer="Công ty khác", signed_at=None)
    with pytest.raises(Broken, match=r"request\.self_check"):
        require_rehearsed(facts, field, ours=first, earlier=(gone,))


async def test_a_paper_that_fails_its_rehearsal_ends_its_request_before_anybody_approves(office):
    class Shown:
        inspect = staticmethod(papers.inspect)

        async def prepare(self, *args, **kwargs):
            prepared, facts = await papers.prepare(*args, **kwargs)
            return prepared, _finding("verify.changed_after_signature")(facts)

    made = await office.make("an")
    with pytest.raises(Broken, match=r"request\.self_check"):
        await dataclasses.replace(office.desk, papers=Shown()).open(made.steps[0].id, office.ids["an"])
    after = await office.view(made.id)
    assert (after.state, after.problem) == ("failed", "request.self_check")
    assert (await office.told(made.id))[-1] == "request.changed"


@pytest.mark.parametrize("far", [1, 2, 6, 60, 190])
async def test_a_paper_that_refers_to_numbers_nobody_has_yet_is_refused_when_it_is_given(office, far):
    """What the last update writes would be drawn into it: readers would not agree on the file."""
    plain = paper("dangling")
    seen = (await office.make("an", documents=(NewDocument(title="x", name=await office.put(plain)),))).steps[0]
    ground = (await _prepared(office, seen)).ground
    bad = plain.replace(b"/MediaBox", b"/PieceInfo %d 0 R /MediaBox" % (ground.numbers - 1 + far), 1)
    bad = _rewritten(bad)
    with pytest.raises(Refused, match=r"request\.paper_unsound"):
        await office.make("an", documents=(NewDocument(title="x", name=await office.put(bad)),))


async def _prepared(office, step):
    opened = await office.open(step)
    async with office.db.read() as uow:
        (order,) = await office.desk.signing.orders.under(uow, opened.tx)
    return pades.PreparedSignature.from_json(order.prepared, b"")


def _rewritten(document: bytes) -> bytes:
    """With a table that fits what was put into it."""
    start = document.index(b"xref\n")
    head, places = document[:start], {}
    for found in re.finditer(rb"(?m)^(\d+) 0 obj", head):
        places[int(found.group(1))] = found.start()
    rows = b"".join(b"%010d 00000 n \n" % places[n] for n in sorted(places))
    trailer = re.sub(rb"startxref\n\d+", b"startxref\n%d" % start, document[document.index(b"trailer") :])
    return head + b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1) + rows + trailer


async def test_a_paper_whose_last_line_has_no_end_is_signed_like_any_other(office):
    name = await office.put(paper("no line end").rstrip(b"\r\n"))
    made = await office.make("an", "binh", documents=(NewDocument(title="x", name=name),))
    for step in made.steps:
        done = await office.sign(step)
    assert (done.state, done.problem) == ("completed", None)
    data = await office.desk.signing.documents.get(done.documents[0].released)
    assert {f.code for f in read_document(data, NOON, office.desk.anchors).findings} <= {"verify.software_key"}


async def test_a_document_time_stamp_that_is_wrong_is_refused_when_the_paper_is_given(office):
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Không phải TSA")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
        .not_valid_before(NOON - dt.timedelta(days=9)).not_valid_after(NOON + dt.timedelta(days=9)).sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    stamper = timestamps.DummyTimeStamper(
        asn1.Certificate.load(certificate.public_bytes(serialization.Encoding.DER)), keys.PrivateKeyInfo.load(private),
        certs_to_embed=SimpleCertificateStore(), fixed_dt=NOON,
    )  # fmt: skip
    target = io.BytesIO()
    await signers.PdfTimeStamper(stamper).async_timestamp_pdf(
        IncrementalPdfFileWriter(io.BytesIO(paper())), "sha256", output=target
    )
    with pytest.raises(Refused, match=r"request\.paper_broken_signature"):
        await office.make("an", documents=(NewDocument(title="x", name=await office.put(target.getvalue())),))


# ------------------------------------------------------------------------------------------------------- last look
@pytest.fixture
async def signed(office):
    """(signed bytes, signature, validation data) of a paper that is signed and not yet finished."""
    done = await office.sign((await office.make("an")).steps[0])
    ((one,),) = await signed_of(office.desk, done)
    data = await office.desk.signing.documents.get(one.order.signed_document)
    return data, one, await office.evidence.evidence([one.certificate])


async def test_a_sound_signature_passes(office, signed):
    data, one, validation = signed
    look = LastLook()
    look.require_fits(data, one)
    look.require_trusted(office.desk.anchors, validation)


async def test_any_changed_byte_is_seen(signed):
    data, one, _ = signed
    _, start, end, _ = one.order.prepared["byte_range"]
    cms = data[start + 1 : end - 1].rstrip(b"0")
    for at in (20, start - 5, end + 5, len(data) - 8, start + 40, start + len(cms) // 2, start + len(cms) - 8):
        changed = bytearray(data)
        changed[at] = ord("1") if changed[at] != ord("1") else ord("2")
        with pytest.raises(Broken, match=r"request\.self_check"):
            LastLook().require_fits(bytes(changed), one)


async def test_a_signature_of_another_certificate_is_not_the_one_that_was_wanted(office, signed):
    data, one, _ = signed
    other = dataclasses.replace(one.credential, certificate=office.evidence.issuing.certificate)
    with pytest.raises(Broken) as caught:
        LastLook().require_fits(data, dataclasses.replace(one, credential=other))
    assert caught.value.evidence["detail"] == "certificate"


async def test_a_signature_without_a_time_does_not_pass(signed):
    data, one, _ = signed
    _, start, end, _ = one.order.prepared["byte_range"]
    signer = cms.ContentInfo.load(bytes.fromhex(data[start + 1 : end - 1].decode()))
    del signer["content"]["signer_infos"][0]["unsigned_attrs"]
    hole = signer.dump(force=True).hex().encode().ljust(end - start - 2, b"0")
    with pytest.raises(Broken) as caught:
        LastLook().require_fits(data[: start + 1] + hole + data[end - 1 :], one)
    assert caught.value.evidence["detail"] == "no time-stamp"


async def test_without_what_a_verifier_needs_later_it_does_not_pass(office, signed):
    data, one, (certificates, ocsps, crls) = signed
    for left, code in (
        ((certificates, [], []), "verify.revocation_not_checked"), ((certificates, ocsps, []), "verify.revocation_not_checked"),
        (([], ocsps, crls), None),
    ):  # fmt: skip
        look = LastLook()
        look.require_fits(data, one)
        if code is None:  # the signature brings its own chain
            look.require_trusted(office.desk.anchors, left)
            continue
        with pytest.raises(Broken) as caught:
            look.require_trusted(office.desk.anchors, left)
        assert caught.value.evidence["detail"] == code


async def test_who_leads_to_no_root_of_ours_gets_nothing_out(office, signed):
    data, one, validation = signed
    (root,) = office.desk.anchors
    for anchors in ((), (dataclasses.replace(root, timestamps_only=True),)):
        look = LastLook()
        look.require_fits(data, one)
        with pytest.raises(Broken) as caught:
            look.require_trusted(anchors, validation)
        assert caught.value.evidence["detail"] == "verify.no_trusted_path"


async def test_a_certificate_revoked_before_its_signature_does_not_pass(office, signed):
    data, one, (certificates, _, crls) = signed
    serial = Certificate.parse(one.certificate).serial
    evidence = office.evidence
    answer = await build_ocsp(
        serial=serial, issuer=issuer_of(evidence.issuing, evidence.open_key(evidence.issuing, "ocsp")),
        responder=issuer_of(evidence.ocsp, evidence.open_key(evidence.ocsp, "ocsp")), clock=office.clock,
        revoked=(NOON - dt.timedelta(days=1), 1), known=True,
    )  # fmt: skip
    look = LastLook()
    look.require_fits(data, one)
    with pytest.raises(Broken) as caught:
        look.require_trusted(office.desk.anchors, (certificates, [answer], crls))
    assert caught.value.evidence["detail"] == "verify.certificate_revoked"


async def test_a_last_look_that_can_never_succeed_ends_the_request(office, monkeypatch):
    made = await office.make("an")
    opened = await office.open(made.steps[0])
    async with office.db.write() as uow:
        (order,) = await office.desk.signing.orders.under(uow, opened.tx)
        less = {k: v for k, v in order.prepared.items() if k != "ground"}
        await uow.execute(order_table.update().where(order_table.c.id == order.id).values(prepared=less))
    await office.approve(opened)
    await office.desk.drain()
    failed = await office.view(made.id)
    assert (failed.state, failed.problem, failed.documents[0].released) == ("failed", "request.self_check", None)


async def test_a_last_look_that_cannot_be_had_just_now_is_taken_later(office):
    class Mute:
        async def evidence(self, certificates):
            raise Refused("key.budget_spent", key="ocsp", most=1)

    real = office.desk
    real.jobs.serve("step", dataclasses.replace(real, validation=Mute()).advance)
    made = await office.sign((await office.make("an")).steps[0])
    assert (made.state, made.steps[0].state) == ("open", "signed")
    real.jobs.serve("step", real.advance)
    real._resting.clear()
    await real.sweep()
    await real.drain()
    assert (await office.view(made.id)).state == "completed"


async def test_a_time_stamp_of_a_revoked_authority_gets_nothing_out(office, signed):
    data, one, (certificates, ocsps, _) = signed
    evidence = office.evidence
    serial = Certificate.parse(evidence.tsa.certificate).serial
    issuer = issuer_of(evidence.issuing, evidence.open_key(evidence.issuing, "crl"))
    crl = await build_crl(issuer, [(serial, NOON - dt.timedelta(minutes=5), 1)], office.clock, 77)
    root = await evidence.evidence([])
    look = LastLook()
    look.require_fits(data, one)
    with pytest.raises(Broken) as caught:
        look.require_trusted(office.desk.anchors, (certificates, ocsps, [crl, root[2][0]]))
    assert caught.value.evidence["detail"] == "verify.certificate_revoked"
