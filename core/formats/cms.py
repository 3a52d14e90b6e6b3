"""CMS SignedData of our own signatures (RFC 5652; EN 319 122-1, EN 319 142-1), assembled from parts encoded once per key.

Signed attributes: content-type, message-digest, signing-certificate-v2. PAdES forbids signing-time (the PDF's /M
carries the claimed time); CAdES has it. The certificate's issuer and serial are cut out of its own DER, never re-encoded.
"""

import datetime as dt
import hashlib

from asn1crypto import x509

from core.formats import der
from core.values import DigestAlgorithm, SignatureAlgorithm

__all__ = ["ID_DATA", "ID_TST_INFO", "CmsProfile", "signature_algorithm_id", "signature_timestamp_attribute"]

ID_DATA = der.oid("1.2.840.113549.1.7.1")
ID_TST_INFO = der.oid("1.2.840.113549.1.9.16.1.4")
_ID_SIGNED_DATA = der.oid("1.2.840.113549.1.7.2")
_CONTENT_TYPE = der.oid("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = der.oid("1.2.840.113549.1.9.4")
_SIGNING_TIME = der.oid("1.2.840.113549.1.9.5")
_SIGNING_CERTIFICATE_V2 = der.oid("1.2.840.113549.1.9.16.2.47")
_SIGNATURE_TIMESTAMP = der.oid("1.2.840.113549.1.9.16.2.14")


def _digest_id(algorithm: DigestAlgorithm) -> bytes:
    return der.sequence(der.oid(algorithm.oid))


def signature_algorithm_id(algorithm: SignatureAlgorithm) -> bytes:
    """AlgorithmIdentifier with explicit parameters (RFC 5758, 4055, 8410)."""
    match algorithm:
        case SignatureAlgorithm.ECDSA_P256_SHA256:
            return der.sequence(der.oid("1.2.840.10045.4.3.2"))
        case SignatureAlgorithm.ECDSA_P384_SHA384:
            return der.sequence(der.oid("1.2.840.10045.4.3.3"))
        case SignatureAlgorithm.RSA_PKCS1_SHA256:
            return der.sequence(der.oid("1.2.840.113549.1.1.11"), der.null())
        case SignatureAlgorithm.RSA_PSS_SHA256:
            sha = der.sequence(der.oid(DigestAlgorithm.SHA256.oid), der.null())
            mgf = der.sequence(der.oid("1.2.840.113549.1.1.8"), sha)
            parameters = der.sequence(der.context(0, sha), der.context(1, mgf), der.context(2, der.integer(32)))
            return der.sequence(der.oid("1.2.840.113549.1.1.10"), parameters)
        case SignatureAlgorithm.ED25519:
            return der.sequence(der.oid("1.3.101.112"))


def signature_timestamp_attribute(token: bytes) -> bytes:
    """Unsigned attribute holding an RFC 3161 token over the signature value (PAdES-B-T)."""
    return der.sequence(_SIGNATURE_TIMESTAMP, der.set_of(token))


class CmsProfile:
    """Everything of a signer's CMS that does not change between signatures."""

    def __init__(
        self,
        certificate: bytes,
        chain: tuple[bytes, ...],
        algorithm: SignatureAlgorithm,
        content_type: bytes = ID_DATA,
    ) -> None:
        """``certificate`` and ``chain``: DER. Ed25519 signs no CMS of ours (its keys serve the log)."""
        if algorithm.digest is None:
            raise ValueError("no CMS profile for Ed25519")
        self.certificate = certificate
        self.algorithm = algorithm
        self.digest = algorithm.digest
        tbs = x509.Certificate.load(certificate)["tbs_certificate"]
        issuer, serial = tbs["issuer"].dump(), der.integer(tbs["serial_number"].native)
        general_names = der.sequence(der.context(4, issuer))
        ess = der.sequence(
            der.octet_string(hashlib.sha256(certificate).digest()), der.sequence(general_names, serial)
        )  # hash algorithm left out: SHA-256 is the DEFAULT (RFC 5035)
        self._fixed_attributes = (
            der.sequence(_CONTENT_TYPE, der.set_of(content_type)),
            der.sequence(_SIGNING_CERTIFICATE_V2, der.set_of(der.sequence(der.sequence(ess)))),
        )
        self._content_type = content_type
        self._sid = der.sequence(issuer, serial)
        self._digest_id = _digest_id(self.digest)
        self._signature_id = signature_algorithm_id(algorithm)
        self._certificates = der.tlv(0xA0, b"".join(sorted((certificate, *chain))))
        self.size = len(certificate) + sum(map(len, chain)) + 1_200
        """Bytes of a signature without time-stamp at most: 512 of an RSA-4096 value, and the attributes twice over."""

    def signed_attributes(self, message_digest: bytes, signing_time: dt.datetime | None = None) -> bytes:
        """The SET whose digest is signed. ``signing_time``: CAdES asks for it (EN 319 122-1 §6.3), PAdES forbids it."""
        digest = der.sequence(_MESSAGE_DIGEST, der.set_of(der.octet_string(message_digest)))
        claimed = (
            ()
            if signing_time is None
            else (der.sequence(_SIGNING_TIME, der.set_of(der.utc_or_generalized(signing_time))),)
        )
        return der.set_of(digest, *claimed, *self._fixed_attributes)

    def signed_data(
        self,
        signed_attributes: bytes,
        signature: bytes,
        *,
        econtent: bytes | None = None,
        unsigned_attributes: tuple[bytes, ...] = (),
    ) -> bytes:
        """ContentInfo, DER. ``econtent``: the encapsulated content, absent for detached signatures."""
        content = (self._content_type,) if econtent is None else (
            self._content_type, der.context(0, der.octet_string(econtent))
        )  # fmt: skip
        unsigned = (der.tlv(0xA1, b"".join(sorted(unsigned_attributes))),) if unsigned_attributes else ()
        signer_info = der.sequence(
            der.integer(1), self._sid, self._digest_id, b"\xa0" + signed_attributes[1:], self._signature_id,
            der.octet_string(signature), *unsigned,
        )  # fmt: skip
        signed = der.sequence(
            der.integer(1 if self._content_type == ID_DATA else 3), der.set_of(self._digest_id),
            der.sequence(*content), self._certificates, der.set_of(signer_info),
        )  # fmt: skip
        return der.sequence(_ID_SIGNED_DATA, der.context(0, signed))
