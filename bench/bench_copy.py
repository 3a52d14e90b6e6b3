"""Whole certified copies in two processes, against a plain script in two processes that does the same to the same scan.

Ours: intake in the sandbox, number, composition, read-back, two approved B-T signatures, B-LT, full report, register,
log, receipt, job, on one SQLite home that both processes share. The script: pikepdf re-save, pyHanko stamp with
attestation and QR code, read-back of the crop with pypdfium2 and zxing-cpp, two B-T signatures, B-LT, validation of
both; no database, no log, no sandbox. Both stamp with our in-process authority.
"""

import asyncio
import datetime as dt
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pikepdf
import pypdfium2
import zxingcpp
from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from pyhanko.pdf_utils.font.opentype import GlyphAccumulatorFactory
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.text import TextBoxStyle
from pyhanko.sign.fields import MDPPerm, SigFieldSpec, SigSeedSubFilter, append_signature_field
from pyhanko.sign.signers import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.validation import async_validate_pdf_signature
from pyhanko.stamp import QRStamp, QRStampStyle
from pyhanko_certvalidator import ValidationContext

from api import bootstrap
from api.certifying import certify_file
from api.roles import ProcessRole
from bench.parts import URL, Key, SameAuthority, authority, scan_pdf
from tests.flows import town

COUNT = 24
AT_ONCE = 3
"""Copies in flight in one process of ours: while one waits for the disk or the sandbox another goes on."""
TEXT = "CHỨNG THỰC BẢN SAO ĐÚNG VỚI BẢN CHÍNH\nSố chứng thực: 1523/ĐT\nNgày 25 tháng 11 năm 2026\nNguyễn Thị Ổn"


async def ours(home: Path, scan: bytes, me: str) -> None:
    async with bootstrap.open_service(town.settings(home), ProcessRole.SIGNER) as service:

        async def one(n: int) -> None:
            await certify_file(service, [scan], f"{me}-{n}.pdf", town.request(), home / "out")

        async def hand(numbers: Iterator[int]) -> None:
            for n in numbers:
                await one(n)

        await one(0)
        await barrier(home, me)
        start = time.perf_counter()
        waiting = iter(range(1, COUNT + 1))
        await asyncio.gather(*(hand(waiting) for _ in range(AT_ONCE)))
        print(time.perf_counter() - start)


async def barrier(folder: Path, me: str) -> None:
    """Both processes are warm before either is timed."""
    (folder / f"ready-{me}").touch()
    while len(list(folder.glob("ready-*"))) < 2:
        await asyncio.sleep(0.01)


class Script:
    """What a capable person would write in an afternoon."""

    def __init__(self) -> None:
        root = Key("Gốc", usage="ca")
        self.certifier, self.seal = Key("Lê Thị Hữu", root), Key("UBND xã Thử", root)
        tsa = Key("TSA", root, usage="tsa")
        self.stamper = SameAuthority(authority(tsa))
        now = dt.datetime.now(dt.UTC)
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(root.certificate.subject)
            .last_update(now - dt.timedelta(hours=1))
            .next_update(now + dt.timedelta(days=7))
            .add_extension(x509.CRLNumber(1), critical=False)
            .sign(root.private, hashes.SHA256())
        )
        self.crl = asn1_crl.CertificateList.load(crl.public_bytes(serialization.Encoding.DER))
        self.root = asn1_x509.Certificate.load(root.der)
        self.font = Path(tempfile.mkdtemp()) / "font.ttf"
        self.font.write_bytes(files("font_source_serif_pro").joinpath("files/SourceSerifPro-Regular.ttf").read_bytes())

    def context(self) -> ValidationContext:
        return ValidationContext(trust_roots=[self.root], crls=[self.crl], allow_fetching=False)

    async def certify(self, scan: bytes) -> bytes:
        clean = io.BytesIO()
        with pikepdf.open(io.BytesIO(scan)) as pdf:
            page = pdf.pages[-1]
            x0, y0, x1, y1 = (float(v) for v in page.mediabox)
            page.mediabox = pikepdf.Array([x0, y0 - 190, x1, y1])
            pdf.save(clean, object_stream_mode=pikepdf.ObjectStreamMode.disable)
        writer = IncrementalPdfFileWriter(clean)
        style = QRStampStyle(
            stamp_text=TEXT, text_box_style=TextBoxStyle(font=GlyphAccumulatorFactory(str(self.font)), font_size=10),
            qr_inner_size=99,
        )  # fmt: skip
        QRStamp(writer, URL, style).apply(1, 20, -170)
        for field, x in (("A", 200), ("B", 350)):
            append_signature_field(writer, SigFieldSpec(field, on_page=1, box=(x, -150, x + 120, -50)))
        stamped = io.BytesIO()
        writer.write(stamped)
        document = pypdfium2.PdfDocument(stamped.getvalue())
        page = document[1]
        width, height = page.get_size()
        image = (
            page.render(scale=200 / 72, crop=(0, 0, width - 150, height - 190), grayscale=True).to_pil().convert("L")
        )
        assert [code.text for code in zxingcpp.read_barcodes(image)] == [URL]
        first = await self.sign(stamped.getvalue(), self.certifier, "A", certify=True)
        last = await self.sign(first, self.seal, "B", certify=False)
        reader = PdfFileReader(io.BytesIO(last))
        for signature in reader.embedded_signatures:
            status = await async_validate_pdf_signature(
                signature, signer_validation_context=self.context(), ts_validation_context=self.context()
            )
            assert status.bottom_line, status.summary()
        return last

    async def sign(self, document: bytes, key: Key, field: str, *, certify: bool) -> bytes:
        meta = PdfSignatureMetadata(
            field_name=field, md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES, certify=certify,
            docmdp_permissions=MDPPerm.FILL_FORMS, embed_validation_info=not certify,
            validation_context=None if certify else self.context(),
        )  # fmt: skip
        signer = PdfSigner(meta, key.pyhanko(), timestamper=self.stamper)
        out = await signer.async_sign_pdf(IncrementalPdfFileWriter(io.BytesIO(document)))
        return out.getvalue()


async def script(folder: Path, scan: bytes, me: str) -> None:
    plain = Script()
    await plain.certify(scan)
    await barrier(folder, me)
    start = time.perf_counter()
    for n in range(COUNT):
        (folder / f"{me}-{n}.pdf").write_bytes(await plain.certify(scan))
    print(time.perf_counter() - start)


def race(which: str, folder: Path, scan: Path) -> float:
    """Copies a second of two processes together."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.bench_copy", which, str(folder), str(scan), me],
            stdout=subprocess.PIPE, text=True,
        )
        for me in ("a", "b")
    ]  # fmt: skip
    took = [float(child.communicate()[0].split()[-1]) for child in children]
    return 2 * COUNT / max(took)


def main() -> None:
    """Print the rates."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = folder / "scan.pdf"
        scan.write_bytes(scan_pdf())
        home = folder / "home"
        asyncio.run(town.build(home))
        (home / "out").mkdir()
        (folder / "plain").mkdir()
        theirs = race("script", folder / "plain", scan)
        mine = race("ours", home, scan)
    print(
        f"whole copy, two processes: ours {mine:.2f}/s, script {theirs:.2f}/s, ratio {mine / theirs:.2f} (at least 2)"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        which, folder, scan, me = sys.argv[1:]
        asyncio.run({"ours": ours, "script": script}[which](Path(folder), Path(scan).read_bytes(), me))
    else:
        main()
