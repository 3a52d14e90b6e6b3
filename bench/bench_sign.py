"""Signing time against pyHanko's ``sign_pdf`` on one 2-page scan; prints both and the ratio.

Run: ``python -m bench.bench_sign``. B-B with P-256, key in process, parse + prepare + sign + embed.
"""

import io
import os
import statistics
import time
from collections.abc import Callable

import pikepdf
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import serialization
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import PdfSignatureMetadata, SimpleSigner, sign_pdf
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter, append_signature_field
from pyhanko_certvalidator.registry import SimpleCertificateStore

from core.values import SignatureAlgorithm
from signer.formats import pades
from tests.signer.formats.test_pades import Signer

ROUNDS = 60


def scan(image_bytes: int = 69_000) -> bytes:
    """Two pages, each one incompressible grey picture (as a JPEG scan is); 130–145 KB, one empty field."""
    out = io.BytesIO()
    side = int(image_bytes**0.5)
    with pikepdf.new() as pdf:
        for _ in range(2):
            page = pdf.add_blank_page(page_size=(595, 842))
            image = pikepdf.Stream(pdf, os.urandom(side * side))
            image.Type, image.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
            image.Width = image.Height = side
            image.ColorSpace, image.BitsPerComponent = pikepdf.Name.DeviceGray, 8
            page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=pdf.make_indirect(image)))
            page.Contents = pdf.make_stream(b"q 595 0 0 842 0 0 cm /I Do Q")
        pdf.save(out, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    writer = IncrementalPdfFileWriter(out)
    append_signature_field(writer, SigFieldSpec("A", box=(50, 50, 250, 150)))
    writer.write_in_place()
    return out.getvalue()


def median_ms(*actions: Callable[[], object]) -> list[float]:
    """Median milliseconds of each, taken in turns so that a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(ROUNDS):
        for action, taken in zip(actions, times, strict=True):
            start = time.perf_counter()
            action()
            taken.append((time.perf_counter() - start) * 1_000)
    return [statistics.median(taken) for taken in times]


def main() -> None:
    """Print the figures."""
    document, signer = scan(), Signer(SignatureAlgorithm.ECDSA_P256_SHA256)
    pkcs8 = signer.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    theirs = SimpleSigner(
        signing_cert=asn1_x509.Certificate.load(signer.der),
        signing_key=asn1_keys.PrivateKeyInfo.load(pkcs8),
        cert_registry=SimpleCertificateStore(),
    )
    meta = PdfSignatureMetadata(field_name="A", md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES)

    def ours() -> None:
        prepared = signer.prepare(document)
        pades.embed(prepared, signer.cms(prepared))

    def pyhanko() -> None:
        sign_pdf(IncrementalPdfFileWriter(io.BytesIO(document)), meta, theirs)

    a, b = median_ms(ours, pyhanko)
    print(f"document {len(document)} bytes; B-B P-256: ours {a:.2f} ms, pyHanko {b:.2f} ms, ratio {a / b:.3f}")


if __name__ == "__main__":
    main()
