"""A person's certificate at a service, judged before its first use: ours to trust, made for this, and this person's."""

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from core.certificates import Certificate
from core.errors import BadInput, NotFound, Refused, ServiceError
from core.values import SignatureAlgorithm
from signer.providers.model import ProviderCertificate
from verification.engine.paths import find_path
from verification.policy import TrustAnchor

__all__ = ["Holder", "JudgedCertificate", "choose"]

_NUMBER: Final = re.compile(r"\d+")
_SHORTEST: Final = 9
"""Digits of a personal number at least."""
_NUMBERED: Final = (x509.NameOID.USER_ID, x509.NameOID.SERIAL_NUMBER)
"""Where certificates here state a person's number: ``CCCD:``, ``CMND:``, ``MST:`` or bare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whose certificate it must be."""

    user: str = field(repr=False)
    """How the service knows the person."""
    name: str = field(repr=False)
    """The person's name in our directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCertificate:
    """Good for signing by that person now."""

    certificate: Certificate
    chain: tuple[bytes, ...]
    """Issuers, DER, nearest first, root last."""
    algorithm: SignatureAlgorithm


def choose(
    found: Iterable[ProviderCertificate], holder: Holder, anchors: tuple[TrustAnchor, ...], now: dt.datetime
) -> JudgedCertificate:
    """The newest good one; where none is good, what is wrong with the newest.

    Raises ``provider.certificate_not_valid``, ``provider.certificate_untrusted``, ``provider.certificate_usage``,
    ``provider.weak_key``, ``provider.other_person``, ``provider.no_certificate``.
    """
    parsed = sorted(
        ((Certificate.parse(each.certificate), each) for each in found), key=lambda p: p[0].not_before, reverse=True
    )
    refusal: ServiceError = NotFound("provider.no_certificate")
    for number, (certificate, each) in enumerate(parsed):
        try:
            return _judged(certificate, each.chain, holder, anchors, now)
        except ServiceError as error:
            refusal = error if number == 0 else refusal
    raise refusal


def _judged(
    certificate: Certificate,
    sent: tuple[bytes, ...],
    holder: Holder,
    anchors: tuple[TrustAnchor, ...],
    now: dt.datetime,
) -> JudgedCertificate:
    if not certificate.not_before <= now < certificate.not_after:
        raise Refused("provider.certificate_not_valid", until=f"{certificate.not_after:%d/%m/%Y}")
    algorithm = _algorithm(certificate)
    _require_usage(certificate)
    path = find_path(certificate.parsed, _issuers(sent), anchors, now)
    if path is None:
        raise Refused("provider.certificate_untrusted")
    if not _is_of(certificate, holder):
        raise Refused("provider.other_person")
    chain = tuple(each.public_bytes(Encoding.DER) for each in path.certificates[1:])
    return JudgedCertificate(certificate=certificate, chain=chain, algorithm=algorithm)


def _issuers(sent: tuple[bytes, ...]) -> list[x509.Certificate]:
    found = []
    for der in sent:
        try:
            found.append(Certificate.parse(der).parsed)
        except BadInput:
            continue  # whatever cannot be read leads nowhere
    return found


def _algorithm(certificate: Certificate) -> SignatureAlgorithm:
    """How these services sign: RSA by PKCS #1 v1.5. Raises ``provider.weak_key``."""
    key = certificate.parsed.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return SignatureAlgorithm.RSA_PKCS1_SHA256
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return SignatureAlgorithm.ECDSA_P256_SHA256
    raise Refused("provider.weak_key")


def _require_usage(certificate: Certificate) -> None:
    """Raises ``provider.certificate_usage`` for a CA, or where signing is not what the key is for."""
    try:
        usage = certificate.parsed.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Refused("provider.certificate_usage") from error
    if certificate.is_ca or not (usage.digital_signature or usage.content_commitment):
        raise Refused("provider.certificate_usage")


def _is_of(certificate: Certificate, holder: Holder) -> bool:
    """By the number where the certificate states any, else by the name."""
    subject = certificate.parsed.subject
    stated = {
        n for oid in _NUMBERED for a in subject.get_attributes_for_oid(oid) for n in _NUMBER.findall(str(a.value))
    }
    if stated:
        return any(len(number) >= _SHORTEST and number in stated for number in _NUMBER.findall(holder.user))
    names = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return len(names) == 1 and _plain(str(names[0].value)) == _plain(holder.name)


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())
