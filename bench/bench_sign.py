"""PAdES in process against pyHanko's own ``sign_pdf`` on the same file: B-B, and B-T with stamp and QR code."""

import io
import tempfile
from importlib.resources import files

from pyhanko.pdf_utils.font.opentype import GlyphAccumulatorFactory
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.text import TextBoxStyle
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter, append_signature_field
from pyhanko.sign.signers import PdfSignatureMetadata, PdfSigner, sign_pdf
from pyhanko.stamp import QRStampStyle

from bench.parts import URL, Key, SameAuthority, authority, median_ms, scan_pdf
from core.clock import SystemClock
from core.formats.cms import signature_timestamp_attribute
from core.values import Digest, Regime
from signer.copies import qr
from signer.copies.compose import CERTIFIER, MM, Marks, compose
from signer.formats import pades

NOW = SystemClock().now()
TEXT = ("CHỨNG THỰC BẢN SAO ĐÚNG VỚI BẢN CHÍNH", "Số chứng thực: 1523/ĐT   quyển số: 01/2026-SCTĐT/BS",
        "Ngày 25 tháng 11 năm 2026", "Nguyễn Thị Ổn")  # fmt: skip


def with_field(document: bytes) -> bytes:
    writer = IncrementalPdfFileWriter(io.BytesIO(document))
    append_signature_field(writer, SigFieldSpec("A", box=(50, 50, 250, 150)))
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def b_b(document: bytes, key: Key) -> tuple[float, float]:
    meta = PdfSignatureMetadata(field_name="A", md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES)
    theirs = key.pyhanko()

    def ours() -> None:
        prepared = pades.prepare(document, field="A", profile=key.profile, signed_at=NOW, signer_name="A")
        cms = key.profile.signed_data(prepared.signed_attributes, key.value(prepared.to_sign))
        pades.check(pades.embed(prepared, cms), prepared, key.der)

    def pyhanko() -> None:
        sign_pdf(IncrementalPdfFileWriter(io.BytesIO(document)), meta, theirs)

    a, b = median_ms(40, ours, pyhanko)
    return a, b


def b_t(document: bytes, key: Key, tsa: Key) -> tuple[float, float]:
    """Stamp, QR code, signature and time-stamp in one go; both embed the same typeface and code."""
    stamps = authority(tsa)
    import asyncio

    loop = asyncio.new_event_loop()

    def ours() -> None:
        marks = Marks(
            regime=Regime.CERTIFIED_COPY, attestation=TEXT[:3], capacity="CHỦ TỊCH", certifier=TEXT[3],
            qr=qr.vector_path(qr.matrix(URL), 35 * MM), qr_lines=("Kiểm tra tại: vidu.gov.vn",),
            footer="trang {page}/{pages}",
        )  # fmt: skip
        composed = compose(document, marks)
        prepared = pades.prepare(
            composed.document, field=CERTIFIER, profile=key.profile, signed_at=NOW, signer_name="A"
        )
        value = key.value(prepared.to_sign)
        token = loop.run_until_complete(stamps.stamp(Digest.of(value)))
        cms = key.profile.signed_data(
            prepared.signed_attributes, value, unsigned_attributes=(signature_timestamp_attribute(token),)
        )
        pades.check(pades.embed(prepared, cms), prepared, key.der)

    with tempfile.NamedTemporaryFile(suffix=".ttf") as font:
        font.write(files("font_source_serif_pro").joinpath("files/SourceSerifPro-Regular.ttf").read_bytes())
        font.flush()
        style = QRStampStyle(
            stamp_text="\n".join(TEXT),
            text_box_style=TextBoxStyle(font=GlyphAccumulatorFactory(font.name), font_size=10),
        )
        meta = PdfSignatureMetadata(field_name="A", md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES)
        theirs, stamper = key.pyhanko(), SameAuthority(stamps)

        def pyhanko() -> None:
            signer = PdfSigner(
                meta, theirs, timestamper=stamper, stamp_style=style,
                new_field_spec=SigFieldSpec("A", box=(20, 20, 400, 140)),
            )  # fmt: skip
            signer.sign_pdf(IncrementalPdfFileWriter(io.BytesIO(document)), appearance_text_params={"url": URL})

        a, b = median_ms(25, ours, pyhanko)
    loop.close()
    return a, b


def main() -> None:
    """Print the figures."""
    plain = scan_pdf()
    key, tsa = Key("UBND xã Thử"), Key("TSA", usage="tsa")
    print(f"document {len(plain):,} bytes")
    for name, (a, b), most in (
        ("B-B P-256", b_b(with_field(plain), key), 0.10),
        ("B-T with stamp and QR", b_t(plain, key, tsa), 0.15),
    ):
        print(f"{name}: ours {a:.2f} ms, pyHanko {b:.2f} ms, ratio {a / b:.3f} (at most {most})")


if __name__ == "__main__":
    main()
