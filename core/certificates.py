"""A parsed X.509 certificate as a value; parsing and algorithms come from ``cryptography``."""

import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from core.errors import BadInput
from core.values import SignatureAlgorithm

__all__ = ["REPORT_POLICY", "SOFTWARE_POLICY", "Certificate", "in_software", "signs_reports", "verify_signature"]

REPORT_POLICY = "1.3.6.1.4.1.99999.1.4"
"""Certificate policy of keys that sign verification sheets and nothing else: what they sign is never a copy or a seal."""
SOFTWARE_POLICY = "1.3.6.1.4.1.99999.1.5"
"""Certificate policy of keys that lie in files of the service's own machine: not for production, and it says so."""

_HASHES: dict[str, type[hashes.SHA256] | type[hashes.SHA384] | type[hashes.SHA512]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def verify_signature(
    key: CertificatePublicKeyTypes, signature: bytes, data: bytes, algorithm: SignatureAlgorithm
) -> None:
    """Raise ``InvalidSignature`` unless ``signature`` over ``data`` is ``key``'s."""
    digest = _HASHES[algorithm.digest or "sha256"]()
    if isinstance(key, ec.EllipticCurvePublicKey) and algorithm.value.startswith("ecdsa"):
        key.verify(signature, data, ec.ECDSA(digest))
    elif isinstance(key, rsa.RSAPublicKey) and algorithm is SignatureAlgorithm.RSA_PKCS1_SHA256:
        key.verify(signature, data, padding.PKCS1v15(), digest)
    elif isinstance(key, rsa.RSAPublicKey) and algorithm is SignatureAlgorithm.RSA_PSS_SHA256:
        key.verify(signature, data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    elif isinstance(key, ed25519.Ed25519PublicKey) and algorithm is SignatureAlgorithm.ED25519:
        key.verify(signature, data)
    else:
        raise InvalidSignature("the key does not fit the algorithm")


def signs_reports(certificate: x509.Certificate) -> bool:
    """The certificate is for verification sheets alone."""
    return _under(certificate, REPORT_POLICY)


def in_software(certificate: x509.Certificate) -> bool:
    """Its key was made in a store that is not for production."""
    return _under(certificate, SOFTWARE_POLICY)


def _under(certificate: x509.Certificate, policy: str) -> bool:
    try:
        policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    except (x509.ExtensionNotFound, ValueError):  # a stranger's certificate may hold anything
        return False
    return any(each.policy_identifier.dotted_string == policy for each in policies)


@dataclass(frozen=True, slots=True)
class Certificate:
    """DER and what we read of it most."""

    der: bytes
    parsed: x509.Certificate

    @classmethod
    @lru_cache(maxsize=256)
    def parse(cls, der: bytes) -> Self:
        """Raises ``cert.unreadable``."""
        try:
            return cls(der, x509.load_der_x509_certificate(der))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadInput("cert.unreadable") from error

    @property
    def sha256(self) -> bytes:
        """Digest of the DER."""
        return hashlib.sha256(self.der).digest()

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.parsed.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def subject(self) -> str:
        """RFC 4514."""
        return self.parsed.subject.rfc4514_string()

    @property
    def common_name(self) -> str:
        """CN, or the whole subject."""
        names = self.parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(names[0].value) if names else self.subject

    @property
    def issuer(self) -> str:
        """RFC 4514."""
        return self.parsed.issuer.rfc4514_string()

    @property
    def serial(self) -> int:
        """Serial number."""
        return self.parsed.serial_number

    @property
    def not_before(self) -> dt.datetime:
        """Aware UTC."""
        return self.parsed.not_valid_before_utc

    @property
    def not_after(self) -> dt.datetime:
        """Aware UTC."""
        return self.parsed.not_valid_after_utc

    @property
    def is_ca(self) -> bool:
        """Basic constraints say so, and the key may sign certificates."""
        try:
            basic = self.parsed.extensions.get_extension_for_class(x509.BasicConstraints).value
            usage = self.parsed.extensions.get_extension_for_class(x509.KeyUsage).value
        except x509.ExtensionNotFound:
            return False
        return basic.ca and usage.key_cert_sign

    def verify(self, signature: bytes, data: bytes, algorithm: SignatureAlgorithm) -> None:
        """Raise ``InvalidSignature`` unless ``signature`` over ``data`` was made by this certificate's key."""
        verify_signature(self.parsed.public_key(), signature, data, algorithm)
