"""A small PKI and signed papers made by a foreign library (pyHanko)."""

import datetime as dt
import io
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pikepdf
from asn1crypto import keys as akeys
from asn1crypto import x509 as ax509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields, signers
from pyhanko.sign.signers.pdf_signer import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.timestamps.dummy_client import DummyTimeStamper
from pyhanko.sign.validation.dss import DocumentSecurityStore
from pyhanko_certvalidator.registry import SimpleCertificateStore

NOW = dt.datetime(2026, 11, 25, 3, 0, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def key(name, kind="ec"):
    return _key(name, kind)


@cache
def _key(name, kind):
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)


@cache
def cert(name, issuer, *, kind="ec", ca=False, tsa=False, start=NOW - 100 * DAY, end=NOW + 900 * DAY):
    def dn(n):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)])

    issuer_key = key(issuer) if issuer != name else key(name, kind)
    builder = (
        x509.CertificateBuilder(
            dn(issuer), dn(name), key(name, kind).public_key(), x509.random_serial_number(), start, end
        )
        .add_extension(x509.BasicConstraints(ca, None), True)
        .add_extension(x509.KeyUsage(not ca, not ca, False, False, False, ca, ca, False, False), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key(name, kind).public_key()), False)
    )
    if tsa:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True)
    return builder.sign(issuer_key, hashes.SHA256())


def der(c):
    return c.public_bytes(serialization.Encoding.DER)


def root(name="Root"):
    return cert(name, name, ca=True)


def signer(name, issuer="Root", **dates):
    pkcs8 = key(name).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    store = SimpleCertificateStore()
    return signers.SimpleSigner(
        signing_cert=ax509.Certificate.load(der(cert(name, issuer, **dates))),
        signing_key=akeys.PrivateKeyInfo.load(pkcs8),
        cert_registry=store,
    )


def stamper(at=NOW, issuer="Root"):
    pkcs8 = key("TSA", "rsa").private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    tsa = ax509.Certificate.load(der(cert("TSA", issuer, kind="rsa", tsa=True)))
    return DummyTimeStamper(tsa, akeys.PrivateKeyInfo.load(pkcs8), fixed_dt=at)


def crl(*revoked, issuer="Root", at=NOW):
    builder = x509.CertificateRevocationListBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]), at - DAY, at + 30 * DAY
    )
    for c, when in revoked:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(c.serial_number, when).build())
    return builder.sign(key(issuer), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@cache
def blank():
    pdf = pikepdf.new()
    page = pdf.add_blank_page()
    page.Contents = pdf.make_stream(b"0 0 100 100 re f % " + b"x" * 500)
    out = io.BytesIO()
    pdf.save(out, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    return out.getvalue()


def sign(data, field, who, *, certify=False, at=NOW, timestamp=True):
    meta = PdfSignatureMetadata(
        field_name=field,
        certify=certify,
        docmdp_permissions=fields.MDPPerm.FILL_FORMS,
        subfilter=fields.SigSeedSubFilter.PADES,
        md_algorithm="sha256",
    )
    stamping = stamper(at) if timestamp is True else timestamp or None
    return run(PdfSigner(meta, who, timestamper=stamping), data)


def run(signing, data):
    with ThreadPoolExecutor(1) as pool:  # pyHanko starts a loop of its own
        return pool.submit(signing.sign_pdf, IncrementalPdfFileWriter(io.BytesIO(data))).result().getvalue()


def with_dss(data, *crls):
    out = io.BytesIO(data)
    DocumentSecurityStore.add_dss(out, None, certs=[], ocsps=[], crls=[_crl(c) for c in crls])
    return out.getvalue()


def _crl(data):
    from asn1crypto.crl import CertificateList

    return CertificateList.load(data)


def copy(*, certifier="Chung thuc", seal="Con dau", seal_issuer="Root", dss=True, **dates):
    data = sign(blank(), "Certifier", signer(certifier, **dates), certify=True)
    data = sign(data, "Seal", signer(seal, seal_issuer))
    return with_dss(data, crl()) if dss else data
