"""Certificates of strangers."""

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from core.certificates import Certificate
from core.clock import SystemClock


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _issued(subject, public, issuer, key, *, ca):
    now = SystemClock().now()
    builder = x509.CertificateBuilder(
        issuer_name=_name(issuer), subject_name=_name(subject), public_key=public,
        serial_number=x509.random_serial_number(), not_valid_before=now - dt.timedelta(days=1), not_valid_after=now + dt.timedelta(days=90),
    ).add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)  # fmt: skip
    hashed = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Certificate.parse(builder.sign(key, hashed).public_bytes(Encoding.DER))


def authority(name, above=None, above_key=None):
    """(certificate, key) of an authority; of its own making, or below another."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = name if above is None else above.common_name
    return _issued(name, key.public_key(), issuer, above_key or key, ca=True), key


def certificate_over(key, issuer=None, issuer_key=None):
    """Of somebody's key; issued by itself unless somebody else is named."""
    if issuer is None:
        return _issued("Con dấu", key.public_key(), "Con dấu", key, ca=False)
    return _issued("Con dấu", key.public_key(), issuer.common_name, issuer_key, ca=False)
