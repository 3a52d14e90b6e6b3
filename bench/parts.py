"""What the benches share: a drawn two-page scan, a signer, a TSA both sides use, medians taken in turns."""

import asyncio
import datetime as dt
import io
import statistics
import time
from collections.abc import Callable

import pikepdf
from asn1crypto import cms, keys, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from PIL import Image, ImageFilter
from pyhanko.sign import SimpleSigner
from pyhanko.sign.timestamps import TimeStamper
from pyhanko_certvalidator.registry import SimpleCertificateStore

from api import sample
from ca_bridge.timestamp.authority import EmbeddedTimestampAuthority
from core.clock import SystemClock
from core.formats.cms import CmsProfile
from core.values import Digest, SignatureAlgorithm

P256 = SignatureAlgorithm.ECDSA_P256_SHA256
URL = "https://chungthuc.vidu.gov.vn/v#" + "QRE2EAJGARCEOQUXW2QFQY5JAYNGWBV25IDUVCQKZOPKZ77ODCCWYICYEDIR3ATZ" * 4


class Key:
    """A P-256 key with a certificate from ``issuer`` (itself when None); also satisfies ``core.signing.SigningKey``."""

    def __init__(self, name: str, issuer: "Key | None" = None, usage: str = "sign") -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.algorithm = P256
        now = dt.datetime.now(dt.UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")
        ca = usage == "ca"
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.certificate.subject)
            .public_key(self.private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not ca, content_commitment=usage == "sign", key_cert_sign=ca, crl_sign=ca,
                    **dict.fromkeys(names, False),
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.private.public_key()), critical=False)
        )  # fmt: skip
        if usage == "tsa":
            stamping = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.TIME_STAMPING])
            builder = builder.add_extension(stamping, critical=True)
        signing = self if issuer is None else issuer
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.private.public_key()), critical=False
        )
        self.certificate = builder.sign(signing.private, hashes.SHA256())
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)
        self.spki = self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.profile = CmsProfile(self.der, (), P256)

    async def sign(self, to_sign: Digest) -> bytes:
        return self.value(to_sign)

    def value(self, to_sign: Digest) -> bytes:
        return self.private.sign(to_sign.value, ec.ECDSA(utils.Prehashed(hashes.SHA256())))

    def pyhanko(self) -> SimpleSigner:
        pkcs8 = self.private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return SimpleSigner(
            signing_cert=asn1_x509.Certificate.load(self.der), signing_key=keys.PrivateKeyInfo.load(pkcs8),
            cert_registry=SimpleCertificateStore(),
        )  # fmt: skip


def authority(key: Key) -> EmbeddedTimestampAuthority:
    """Our time-stamping authority in process."""
    return EmbeddedTimestampAuthority(key=key, certificate=key.der, chain=(), clock=SystemClock())


class SameAuthority(TimeStamper):
    """pyHanko's port over the same authority, so that both sides get their tokens equally fast."""

    def __init__(self, tsa: EmbeddedTimestampAuthority) -> None:
        super().__init__(include_nonce=False)
        self._tsa = tsa

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        digest = Digest.of(b"")
        digest = type(digest)(digest.algorithm, req["message_imprint"]["hashed_message"].native)
        token = await self._tsa.stamp(digest)
        return tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": cms.ContentInfo.load(token)})


def _grey(jpeg: bytes, quality: int) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as page:
        page.convert("L").filter(ImageFilter.GaussianBlur(1.3)).save(out, "JPEG", quality=quality, dpi=(200, 200))
    return out.getvalue()


def scan_pdf(quality: int = 12) -> bytes:
    """Two drawn pages at 200 dpi in grey as an office scanner's PDF, 130–145 KB."""
    out = io.BytesIO()
    with pikepdf.new() as pdf:
        for jpeg in (_grey(page, quality) for page in sample.scan_pages(90)):
            page = pdf.add_blank_page(page_size=(595.32, 841.68))
            image = pikepdf.Stream(pdf, jpeg)
            image.Type, image.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
            image.Width, image.Height = 1654, 2338
            image.ColorSpace, image.BitsPerComponent = pikepdf.Name.DeviceGray, 8
            image.Filter = pikepdf.Name.DCTDecode
            page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=pdf.make_indirect(image)))
            page.Contents = pdf.make_stream(b"q 595.32 0 0 841.68 0 0 cm /I Do Q")
        pdf.save(out, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    return out.getvalue()


def median_ms(rounds: int, *actions: Callable[[], object]) -> list[float]:
    """Median milliseconds of each, taken in turns so that a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in actions]
    for action in actions:
        action()
    for _ in range(rounds):
        for action, taken in zip(actions, times, strict=True):
            start = time.perf_counter()
            action()
            taken.append((time.perf_counter() - start) * 1_000)
    return [statistics.median(taken) for taken in times]


def wait(coroutine):
    return asyncio.run(coroutine)
