"""Our signatures, judged by other people's validators."""

import datetime as dt
import io
import shutil
import subprocess
from pathlib import Path

import pikepdf
import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import FieldMDPAction, FieldMDPSpec, SigFieldSpec, append_signature_field
from pyhanko.sign.validation import async_validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from core.errors import BadInput, Broken, Refused
from core.formats.cms import CmsProfile
from core.values import SignatureAlgorithm as Algorithm
from signer.formats import dss, pades

AT = dt.datetime(2026, 11, 25, 3, 0, tzinfo=dt.UTC)


class Signer:
    """A key with a self-signed certificate."""

    def __init__(self, algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        if algorithm is Algorithm.ECDSA_P256_SHA256:
            self.key = ec.generate_private_key(ec.SECP256R1())
        elif algorithm is Algorithm.ECDSA_P384_SHA384:
            self.key = ec.generate_private_key(ec.SECP384R1())
        else:
            self.key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "UBND phường Thử")])
        usage = dict.fromkeys(
            (
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "key_cert_sign",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
        builder = builder.public_key(self.key.public_key()).serial_number(0xC0FFEE)
        builder = builder.not_valid_before(AT - dt.timedelta(days=1)).not_valid_after(AT + dt.timedelta(days=365))
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=True, content_commitment=True, **usage), critical=True
        )
        certificate = builder.sign(self.key, hashes.SHA256())
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.profile = CmsProfile(self.der, (), algorithm)

    def cms(self, prepared: pades.PreparedSignature) -> bytes:
        digest = hashes.SHA384() if self.algorithm is Algorithm.ECDSA_P384_SHA384 else hashes.SHA256()
        value, form = prepared.to_sign.value, utils.Prehashed(digest)
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            signature = self.key.sign(value, ec.ECDSA(form))
        elif self.algorithm is Algorithm.RSA_PSS_SHA256:
            signature = self.key.sign(value, padding.PSS(padding.MGF1(digest), 32), form)
        else:
            signature = self.key.sign(value, padding.PKCS1v15(), form)
        return self.profile.signed_data(prepared.signed_attributes, signature)

    def prepare(self, document: bytes, field: str = "A", **more) -> pades.PreparedSignature:
        more = {"signer_name": "Nguyễn Văn A", **more}
        return pades.prepare(document, field=field, profile=self.profile, signed_at=AT, **more)


@pytest.fixture(scope="module")
def blank() -> bytes:
    out = io.BytesIO()
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        pdf.save(out, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    writer = IncrementalPdfFileWriter(out)
    for name, x in (("A", 50), ("B", 300)):
        append_signature_field(writer, SigFieldSpec(name, box=(x, 50, x + 200, 150)))
    writer.write_in_place()
    return out.getvalue()


@pytest.fixture(scope="module")
def p256() -> Signer:
    return Signer(Algorithm.ECDSA_P256_SHA256)


async def judge(document: bytes, index: int, signer: Signer):
    context = ValidationContext(trust_roots=[asn1_x509.Certificate.load(signer.der)], moment=AT)
    found = PdfFileReader(io.BytesIO(document)).embedded_signatures[index]
    return await async_validate_pdf_signature(found, context)


@pytest.mark.parametrize("algorithm", [a for a in Algorithm if a is not Algorithm.ED25519])
async def test_pyhanko_and_openssl_accept_every_algorithm(blank: bytes, algorithm: Algorithm, tmp_path: Path) -> None:
    signer = Signer(algorithm)
    prepared = signer.prepare(blank)
    cms = signer.cms(prepared)
    signed = pades.embed(prepared, cms)
    pades.check(signed, prepared, signer.der)
    status = await judge(signed, 0, signer)
    assert status.bottom_line
    assert status.trusted
    _, start, end, _ = prepared.byte_range
    (tmp_path / "cms").write_bytes(cms)
    (tmp_path / "content").write_bytes(signed[:start] + signed[end:])
    command = "openssl cms -verify -binary -noverify -inform DER -in cms -content content -out /dev/null"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)


async def test_a_certification_and_a_second_signature_with_validation_data_both_hold(
    blank: bytes, p256: Signer, tmp_path: Path
) -> None:
    picture = pades.Appearance.of(width_px=2, height_px=2, rgb=bytes(12), alpha=bytes((0, 255, 255, 0)))
    first = p256.prepare(blank, docmdp=2, appearance=picture)
    one = pades.embed(first, p256.cms(first))
    second = p256.prepare(one, "B", appearance=picture)
    two = pades.embed(second, p256.cms(second))
    done = dss.append(two, certificates=[p256.der], ocsps=[], crls=[])
    assert done.startswith(two)
    assert two.startswith(one)
    assert one.startswith(blank)
    for index in (0, 1):
        assert (await judge(done, index, p256)).bottom_line
    (tmp_path / "a.pdf").write_bytes(done)
    if shutil.which("qpdf"):
        subprocess.run(["qpdf", "--check", tmp_path / "a.pdf"], check=True, capture_output=True)
    if shutil.which("pdfsig"):
        told = subprocess.run(["pdfsig", "-nocert", tmp_path / "a.pdf"], capture_output=True, text=True, check=False)
        assert told.stdout.count("Signature is Valid") == 2


async def test_a_name_that_looks_like_the_hole_does_not_move_it(blank: bytes, p256: Signer) -> None:
    prepared = p256.prepare(blank, signer_name="/Contents <00> /ByteRange [")
    signed = pades.embed(prepared, p256.cms(prepared))
    assert (await judge(signed, 0, p256)).bottom_line


def test_tampering_anywhere_fails_the_self_check(blank: bytes, p256: Signer) -> None:
    prepared = p256.prepare(blank)
    signed = pades.embed(prepared, p256.cms(prepared))
    for at in (20, len(signed) - 20):
        bad = bytearray(signed)
        bad[at] ^= 1
        with pytest.raises(Broken, match=r"pades\.self_check"):
            pades.check(bytes(bad), prepared, p256.der)
    with pytest.raises(Broken, match=r"pades\.self_check"):
        pades.check(signed, prepared, Signer(Algorithm.ECDSA_P256_SHA256).der)


def test_prepared_survives_storing(blank: bytes, p256: Signer) -> None:
    prepared = p256.prepare(blank)
    assert pades.PreparedSignature.from_json(prepared.to_json(), prepared.document) == prepared


def test_unusable_input_is_refused_with_its_own_code(blank: bytes, p256: Signer) -> None:
    prepared = p256.prepare(blank, docmdp=1)
    locked = pades.embed(prepared, p256.cms(prepared))
    with pytest.raises(Refused, match=r"pades\.locked"):
        p256.prepare(locked, "B")
    plain = p256.prepare(blank)
    with pytest.raises(Refused, match=r"pades\.field_signed"):
        p256.prepare(pades.embed(plain, p256.cms(plain)))
    with pytest.raises(BadInput, match=r"pades\.no_such_field"):
        p256.prepare(blank, "none")
    with pytest.raises(BadInput, match=r"pades\.unreadable"):
        p256.prepare(b"not a pdf")
    with pytest.raises(Broken, match=r"pades\.too_big"):
        pades.embed(plain, bytes(20_000))
    with pytest.raises(BadInput, match=r"pades\.unreadable"):
        dss.append(b"not a pdf", certificates=[], ocsps=[], crls=[])


@pytest.mark.parametrize(
    ("lock", "refused"),
    [
        (FieldMDPSpec(FieldMDPAction.ALL), True),
        (FieldMDPSpec(FieldMDPAction.INCLUDE, ["B"]), True),
        (FieldMDPSpec(FieldMDPAction.INCLUDE, ["A"]), False),
        (FieldMDPSpec(FieldMDPAction.EXCLUDE, ["B"]), False),
        (FieldMDPSpec(FieldMDPAction.EXCLUDE, ["A"]), True),
    ],
)
def test_a_signed_fields_lock_is_obeyed(blank: bytes, p256: Signer, lock: FieldMDPSpec, refused: bool) -> None:
    out = io.BytesIO(blank)
    writer = IncrementalPdfFileWriter(out)
    append_signature_field(writer, SigFieldSpec("L", box=(50, 300, 250, 400), field_mdp_spec=lock))
    writer.write_in_place()
    prepared = p256.prepare(out.getvalue(), "L")
    signed = pades.embed(prepared, p256.cms(prepared))
    if refused:
        with pytest.raises(Refused, match=r"pades\.locked"):
            p256.prepare(signed, "B")
    else:
        assert p256.prepare(signed, "B").field == "B"
