"""The last look: ours must pass whole, strangers' earlier signatures are theirs, and a lying sandbox gets nothing out."""

import dataclasses
import datetime as dt
import io

import pytest
from asn1crypto import keys
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign import signers
from pyhanko_certvalidator.registry import SimpleCertificateStore

from core.errors import BadInput, Broken, NotFound, Refused
from signer.papers.model import EarlierSignature
from signer.requests import work
from signer.requests.checking import SandboxedCheck
from signer.requests.model import NewDocument
from signer.requests.parts import SignedPaper, Wanted
from tests.signer.requests.office import NOON, Here, paper


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


@pytest.fixture
async def signed(office):
    """(signed bytes, validation data, what must be in it) of a paper that is signed and not yet finished."""
    made = await office.make("an")
    done = await office.sign(made.steps[0])
    async with office.db.read() as uow:
        order = await office.desk.signing.order(uow, done.steps[0].orders[0])
        credential = await office.desk.signing.credentials.get(uow, order.credential_id)
    data = await office.desk.signing.documents.get(order.signed_document)
    wanted = Wanted(field=order.prepared["field"], certificate=credential.certificate)
    return data, await office.evidence.evidence([credential.certificate]), wanted


async def finish(office, data, validation, wanted, check=None, earlier=()):
    paper = SignedPaper(data=data, wanted=tuple(wanted), earlier=earlier)
    (made,) = await (check or office.desk.files).finish([paper], validation=validation)
    return made


async def test_a_sound_paper_passes(office, signed):
    data, validation, wanted = signed
    assert (await finish(office, data, validation, [wanted])).startswith(data)


async def test_a_signature_that_should_be_there_and_is_not_is_missed(office, signed):
    data, validation, wanted = signed
    other = Wanted(field="Dauso-other", certificate=wanted.certificate)
    swapped = Wanted(field=wanted.field, certificate=office.evidence.issuing.certificate)
    earlier = EarlierSignature(field="Theirs", signer="Công ty khác", signed_at=None)
    for content, all_wanted, before in (
        (data, [wanted, other], ()), (data, [wanted, wanted], ()), (data, [swapped], ()), (data, [other], ()),
        (paper(), [wanted], ()), (data, [wanted], (earlier,)),
    ):  # fmt: skip
        with pytest.raises(Broken, match=r"request\.self_check"):
            await finish(office, content, validation, all_wanted, earlier=before)


async def test_a_signature_that_nobody_was_asked_for_gets_nothing_out(office, signed):
    data, validation, wanted = signed
    with pytest.raises(Broken) as caught:
        await finish(office, await strangers(data), validation, [wanted])
    assert "another signature" in caught.value.evidence["detail"]
    with pytest.raises(Broken):
        await finish(office, data, validation, [])


async def test_a_paper_that_already_has_the_signers_own_signature_is_signed_again(office):
    first = await office.sign((await office.make("an")).steps[0])
    document = NewDocument(title="x", name=first.documents[0].released)
    done = await office.sign((await office.make("an", documents=(document,))).steps[0])
    assert (done.state, done.problem) == ("completed", None)
    data = await office.desk.signing.documents.get(done.documents[0].released)
    assert len(PdfFileReader(io.BytesIO(data)).embedded_signatures) == 2


async def test_papers_that_are_too_much_together_are_looked_at_one_by_one(office):
    real, sizes = office.desk.files, []

    class Narrow:
        async def finish(self, papers, *, validation):
            sizes.append(len(papers))
            if len(papers) > 1:
                raise Refused("sandbox.limit")
            return await real.finish(papers, validation=validation)

    office.desk.jobs.serve("step", dataclasses.replace(office.desk, files=Narrow()).advance)
    documents = tuple([NewDocument(title=f"{n}", name=await office.put(paper(f"one by one {n}"))) for n in range(3)])
    done = await office.sign((await office.make("an", documents=documents)).steps[0])
    assert (done.state, sizes) == ("completed", [3, 1, 1, 1])


@pytest.mark.parametrize(
    "error",
    [Refused("sandbox.limit"), BadInput("pades.unreadable"), NotFound("store.missing"), Refused("sandbox.failed")],
)
async def test_a_last_look_that_can_never_succeed_ends_the_request(office, error):
    class Fails:
        async def finish(self, papers, *, validation):
            raise error

    office.desk.jobs.serve("step", dataclasses.replace(office.desk, files=Fails()).advance)
    failed = await office.sign((await office.make("an")).steps[0])
    assert (failed.state, failed.problem, failed.documents[0].released) == ("failed", error.code, None)


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


async def test_bytes_changed_after_the_signature_do_not_pass(office, signed):
    data, validation, wanted = signed
    at = data.index(b"DON DE NGHI") if b"DON DE NGHI" in data else data.index(b"/MediaBox")
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    with pytest.raises(Broken, match=r"request\.self_check"):
        await finish(office, changed, validation, [wanted])


async def test_without_what_a_verifier_needs_later_it_does_not_pass(office, signed):
    data, (certificates, _, _), wanted = signed
    with pytest.raises(Broken) as caught:
        await finish(office, data, (certificates, [], []), [wanted])
    assert "verify.revocation_not_checked" in caught.value.evidence["detail"]


class Taken(Here):
    """The sandbox of a paper that took it over."""

    def __init__(self, change):
        self._change = change

    async def run(self, function, payload, arguments, **_limits):
        return self._change(*work.finish(payload, arguments))


@pytest.mark.parametrize(
    "change",
    [
        lambda answer, updates: (answer, b"%PDF-1.7 something else"),
        lambda answer, updates: ({}, updates),
        lambda answer, updates: ({**answer, "facts": []}, updates),
        lambda answer, updates: ({**answer, "sizes": ["many"]}, updates),
        lambda answer, updates: ({**answer, "facts": [{"signatures": [{"sub_indication": None}]}]}, updates),
        lambda answer, updates: ({**answer, "facts": [{**answer["facts"][0], "signatures": []}]}, updates),
    ],
)
async def test_a_lying_sandbox_gets_nothing_out(office, signed, change):
    data, validation, wanted = signed
    check = SandboxedCheck(clock=office.clock, sandbox=Taken(change), anchors=office.desk.files.anchors)
    with pytest.raises(Broken, match=r"request\.self_check"):
        await finish(office, data, validation, [wanted], check)


async def test_papers_judged_together_are_each_judged(office, signed):
    data, validation, wanted = signed
    sound = SignedPaper(data=data, wanted=(wanted,))
    made = await office.desk.files.finish([sound, sound], validation=validation)
    assert all(each.startswith(data) and len(each) > len(data) for each in made)
    at = data.index(b"/MediaBox")
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    with pytest.raises(Broken, match=r"request\.self_check"):
        await office.desk.files.finish([sound, dataclasses.replace(sound, data=changed)], validation=validation)


def test_what_the_sandbox_needs_is_used_before_its_walls():
    work.warm()
