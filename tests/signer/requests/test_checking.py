"""The last look: ours must pass whole, strangers' earlier signatures are theirs, and a lying sandbox gets nothing out."""

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

from core.errors import Broken
from signer.requests import work
from signer.requests.checking import SandboxedCheck
from signer.requests.model import NewDocument
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
    """(signed bytes, validation data, certificate) of a paper that is signed and not yet finished."""
    made = await office.make("an")
    done = await office.sign(made.steps[0])
    async with office.db.read() as uow:
        order = await office.desk.signing.order(uow, done.steps[0].orders[0])
        credential = await office.desk.signing.credentials.get(uow, order.credential_id)
    data = await office.desk.signing.documents.get(order.signed_document)
    return data, await office.evidence.evidence([credential.certificate]), credential.certificate


async def finish(office, data, validation, ours, check=None):
    (made,) = await (check or office.desk.files).finish([data], validation=validation, ours=ours, foreign=[])
    return made


async def test_a_sound_paper_passes(office, signed):
    data, validation, certificate = signed
    assert (await finish(office, data, validation, [certificate])).startswith(data)


async def test_a_signature_that_should_be_there_and_is_not_is_missed(office, signed):
    data, validation, certificate = signed
    other = office.evidence.issuing.certificate
    for ours in ([certificate, other], [certificate, certificate], []):
        with pytest.raises(Broken, match=r"request\.self_check"):
            await finish(office, data, validation, ours) if ours else await finish(
                office, paper(), validation, [certificate]
            )


async def test_bytes_changed_after_the_signature_do_not_pass(office, signed):
    data, validation, certificate = signed
    at = data.index(b"DON DE NGHI") if b"DON DE NGHI" in data else data.index(b"/MediaBox")
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    with pytest.raises(Broken, match=r"request\.self_check"):
        await finish(office, changed, validation, [certificate])


async def test_without_what_a_verifier_needs_later_it_does_not_pass(office, signed):
    data, (certificates, _, _), certificate = signed
    with pytest.raises(Broken) as caught:
        await finish(office, data, (certificates, [], []), [certificate])
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
    data, validation, certificate = signed
    check = SandboxedCheck(clock=office.clock, sandbox=Taken(change), anchors=office.desk.files.anchors)
    with pytest.raises(Broken, match=r"request\.self_check"):
        await finish(office, data, validation, [certificate], check)


async def test_papers_judged_together_are_each_judged(office, signed):
    data, validation, certificate = signed
    made = await office.desk.files.finish([data, data], validation=validation, ours=[certificate], foreign=[])
    assert all(each.startswith(data) and len(each) > len(data) for each in made)
    at = data.index(b"/MediaBox")
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    with pytest.raises(Broken, match=r"request\.self_check"):
        await office.desk.files.finish([data, changed], validation=validation, ours=[certificate], foreign=[])


def test_what_the_sandbox_needs_is_used_before_its_walls():
    work.warm()
