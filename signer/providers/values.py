"""What a service calls a signature, verified before anybody uses it: raw value or CMS, against our digest and certificate."""

from collections.abc import Callable

from asn1crypto import cms as asn1
from asn1crypto import x509 as asn1_x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from core.certificates import Certificate
from core.errors import Broken
from core.values import Digest, SignatureAlgorithm

__all__ = ["value_of"]

_MOST = 64 * 1024
_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def value_of(answer: bytes, digest: Digest, certificate: Certificate, algorithm: SignatureAlgorithm) -> bytes:
    """The raw signature value over ``digest`` by the certificate's key; whatever else the answer holds is left behind.

    Raises ``provider.wrong_signature``, ``provider.other_certificate``.
    """
    if _verifies(answer, digest, certificate, algorithm):
        return answer
    signer = _signer_info(answer)
    if signer is None:
        raise Broken("provider.wrong_signature")
    info, certificates = signer
    _require_ours(info, certificates, certificate)
    value = bytes(info["signature"].contents or b"")
    # with attributes of its own the service signed something else than what was approved; the value shows that
    if not _verifies(value, digest, certificate, algorithm):
        raise Broken("provider.wrong_signature")
    return value


def _verifies(value: bytes, digest: Digest, certificate: Certificate, algorithm: SignatureAlgorithm) -> bool:
    key = certificate.parsed.public_key()
    hashed = utils.Prehashed(_HASHES[digest.algorithm.value]())
    if digest.algorithm is not algorithm.digest:
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm is SignatureAlgorithm.RSA_PKCS1_SHA256:
            key.verify(value, digest.value, padding.PKCS1v15(), hashed)
        elif isinstance(key, rsa.RSAPublicKey) and algorithm is SignatureAlgorithm.RSA_PSS_SHA256:
            key.verify(value, digest.value, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm.value.startswith("ecdsa"):
            key.verify(value, digest.value, ec.ECDSA(hashed))
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _signer_info(answer: bytes) -> tuple[asn1.SignerInfo, list[bytes]] | None:
    """The only signer of a CMS SignedData and the certificates beside it, DER; None where it is no such thing."""
    if len(answer) > _MOST:
        return None
    try:
        content = asn1.ContentInfo.load(answer, strict=True)
        if content["content_type"].native != "signed_data":
            return None
        (info,) = content["content"]["signer_infos"]
        beside = content["content"]["certificates"]
        found = [each.chosen.dump() for each in beside if each.name == "certificate"] if len(beside) else []
    except (ValueError, TypeError, KeyError):
        return None
    return info, found


def _require_ours(info: asn1.SignerInfo, certificates: list[bytes], certificate: Certificate) -> None:
    """The signer is named as our certificate is, and no other certificate goes by that name."""
    mine = asn1_x509.Certificate.load(certificate.der)
    try:
        sid = info["sid"]
        if sid.name == "issuer_and_serial_number":
            named = (
                sid.chosen.dump()
                == asn1.IssuerAndSerialNumber({"issuer": mine.issuer, "serial_number": mine.serial_number}).dump()
            )
        else:
            named = sid.chosen.native == mine.key_identifier
        same = [each for each in certificates if asn1_x509.Certificate.load(each).issuer_serial == mine.issuer_serial]
    except (ValueError, TypeError, KeyError) as error:
        raise Broken("provider.wrong_signature") from error
    if not named or any(each != certificate.der for each in same):
        raise Broken("provider.other_certificate")
