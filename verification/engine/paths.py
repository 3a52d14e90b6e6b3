"""From a certificate to a configured anchor at a proven time, and whether it was revoked by then (RFC 5280, 6960)."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from core.clock import timestamp_text
from verification.policy import TrustAnchor

__all__ = ["Path", "Revocation", "find_path", "revocation_of"]

_MOST = 6
_GOOD, _REVOKED, _UNCHECKED = "good", "revoked", "unchecked"


@dataclass(frozen=True, slots=True)
class Path:
    """Certificates from the signer's up to the anchor's, both included."""

    certificates: tuple[x509.Certificate, ...]
    anchor: TrustAnchor


@dataclass(frozen=True, slots=True)
class Revocation:
    """OCSP responses and CRLs found in the document, DER."""

    ocsps: tuple[bytes, ...]
    crls: tuple[bytes, ...]


def find_path(
    leaf: x509.Certificate, others: Iterable[x509.Certificate], anchors: Iterable[TrustAnchor], at: dt.datetime
) -> Path | None:
    """Depth-first; names, signatures, CA flag and key usage are checked, dates of the CAs at ``at``. None: no path."""
    roots = [(x509.load_der_x509_certificate(a.certificate), a) for a in anchors]
    roots = [
        (c, a)
        for c, a in roots
        if (a.valid_from is None or a.valid_from <= at) and (a.valid_until is None or at <= a.valid_until)
    ]
    pool = list(others)

    def climb(chain: tuple[x509.Certificate, ...]) -> Path | None:
        for root, anchor in roots:
            if _issued(root, chain[-1], len(chain) - 1, at):
                return Path((*chain, root), anchor)
        if len(chain) < _MOST:
            for candidate in pool:
                if candidate not in chain and _issued(candidate, chain[-1], len(chain) - 1, at):
                    found = climb((*chain, candidate))
                    if found is not None:
                        return found
        return None

    return climb((leaf,))


def _issued(issuer: x509.Certificate, subject: x509.Certificate, below: int, at: dt.datetime) -> bool:
    if issuer.subject != subject.issuer or not issuer.not_valid_before_utc <= at <= issuer.not_valid_after_utc:
        return False
    try:
        basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not basic.ca or (basic.path_length is not None and basic.path_length < below):
            return False
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        return usage.key_cert_sign and _signed_by(subject, issuer)
    except (x509.ExtensionNotFound, ValueError, TypeError):
        return False


@lru_cache(maxsize=256)
def _signed_by(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Name and signature. The two signatures of a copy and their time-stamps share their issuers."""
    try:
        subject.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def revocation_of(
    certificate: x509.Certificate, issuer: x509.Certificate, data: Revocation, proven: dt.datetime
) -> tuple[str, str]:
    """``(state, detail)``; state is good, revoked (by ``proven``) or unchecked. Only usable answers count.

    An answer is usable if it is the issuer's and was still current at ``proven`` or made after it.
    """
    states = [s for der in data.ocsps if (s := _by_ocsp(der, certificate, issuer, proven)) is not None]
    states += [s for der in data.crls if (s := _by_crl(der, certificate, issuer, proven)) is not None]
    for state in states:
        if state[0] == _REVOKED:
            return state
    return states[0] if states else (_UNCHECKED, "")


def _judge(revoked_at: dt.datetime | None, proven: dt.datetime) -> tuple[str, str]:
    if revoked_at is None:
        return _GOOD, ""
    return (_REVOKED if revoked_at <= proven else _GOOD), timestamp_text(revoked_at)


def _by_ocsp(
    der: bytes, certificate: x509.Certificate, issuer: x509.Certificate, proven: dt.datetime
) -> tuple[str, str] | None:
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return None
        wanted = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, response.hash_algorithm).build()
        same = (
            response.serial_number == certificate.serial_number
            and response.issuer_key_hash == wanted.issuer_key_hash
            and response.issuer_name_hash == wanted.issuer_name_hash
        )
        if not same or not _usable(response.this_update_utc, response.next_update_utc, proven):
            return None
        signer = _responder(response, issuer)
        if signer is None:
            return None
        _verify_raw(signer, response.signature, response.tbs_response_bytes, response.signature_hash_algorithm)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return None
    if response.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        return None
    return _judge(response.revocation_time_utc, proven)


def _responder(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> x509.Certificate | None:
    """The issuer itself, or a certificate it issued for OCSP signing, valid when the answer was made."""
    if response.responder_name == issuer.subject or (
        response.responder_key_hash is not None
        and response.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest
    ):
        return issuer
    for candidate in response.certificates:
        try:
            usage = candidate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (x509.ExtensionNotFound, ValueError):
            continue
        if not _signed_by(candidate, issuer):
            continue
        made = response.produced_at_utc
        dated = candidate.not_valid_before_utc <= made <= candidate.not_valid_after_utc
        if ExtendedKeyUsageOID.OCSP_SIGNING in usage and dated:
            return candidate
    return None


def _verify_raw(signer: x509.Certificate, value: bytes, data: bytes, digest: hashes.HashAlgorithm | None) -> None:
    key = signer.public_key()
    if digest is None or digest.digest_size < 32:
        raise ValueError("weak digest")
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(value, data, padding.PKCS1v15(), digest)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(value, data, ec.ECDSA(digest))
    else:
        raise TypeError("unsupported key")


def _by_crl(
    der: bytes, certificate: x509.Certificate, issuer: x509.Certificate, proven: dt.datetime
) -> tuple[str, str] | None:
    crl = _crl_of(der, issuer)
    try:
        if crl is None or not _usable(crl.last_update_utc, crl.next_update_utc, proven):
            return None
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    except (ValueError, TypeError):
        return None
    return _judge(None if entry is None else entry.revocation_date_utc, proven)


@lru_cache(maxsize=64)
def _crl_of(der: bytes, issuer: x509.Certificate) -> x509.CertificateRevocationList | None:
    """The list if it is this issuer's and its signature is right."""
    try:
        crl = x509.load_der_x509_crl(der)
        good = crl.issuer == issuer.subject and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return crl if good else None


def _usable(made: dt.datetime, until: dt.datetime | None, proven: dt.datetime) -> bool:
    return made >= proven or (until is not None and proven <= until)
