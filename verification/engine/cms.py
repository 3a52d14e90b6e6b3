"""One CMS SignedData with one signer, checked with own eyes (RFC 5652, 5035, 3161; EN 319 122-1)."""

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Any

from asn1crypto import cms as asn1_cms
from asn1crypto import core as asn1_core
from asn1crypto import tsp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

__all__ = ["CmsFault", "Signed", "open_cms", "open_token"]

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_TST_INFO, _DATA = "tst_info", "data"


class CmsFault(ValueError):
    """``kind`` is format, hash, crypto, constraint or algorithm."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that verifies: its certificate, the others sent along, the claimed time, its token, if any."""

    certificate: x509.Certificate
    others: tuple[x509.Certificate, ...]
    claimed: dt.datetime | None
    signature: bytes
    token: bytes | None
    ess: bool
    content: bytes


def open_cms(der: bytes, covered: list[bytes] | None, content_type: str = _DATA) -> Signed:
    """Check digest, signature value and ESS certificate. ``covered``: detached content. Raises ``CmsFault``."""
    info = asn1_cms.ContentInfo.load(_exact(der), strict=True)
    if info["content_type"].native != "signed_data":
        raise CmsFault("format", "not SignedData")
    data = info["content"]
    if len(data["signer_infos"]) != 1 or data["encap_content_info"]["content_type"].native != content_type:
        raise CmsFault("format", "not one signer, or another content type")
    signer = data["signer_infos"][0]
    certificate, others = _certificates(data, signer)
    content = b""
    if covered is None:
        content = data["encap_content_info"]["content"].contents
        covered = [content]
    algorithm = _hash(signer["digest_algorithm"]["algorithm"].native)
    digest = hashlib.new(algorithm.name)
    for part in covered:
        digest.update(part)
    attributes = _attributes(signer["signed_attrs"])
    if _one(attributes, "message_digest").native != digest.digest():
        raise CmsFault("hash", "messageDigest differs")
    if _one(attributes, "content_type").native != content_type:
        raise CmsFault("constraint", "contentType attribute differs")
    ess = _check_ess(attributes, certificate)
    to_sign = b"\x31" + signer["signed_attrs"].dump()[1:]
    value = signer["signature"].native
    _verify(certificate, signer["signature_algorithm"], algorithm, value, to_sign)
    claimed = _one(attributes, "signing_time").native if "signing_time" in attributes else None
    unsigned = _attributes(signer["unsigned_attrs"])
    token = _one(unsigned, "signature_time_stamp_token").dump() if "signature_time_stamp_token" in unsigned else None
    return Signed(certificate, others, claimed, value, token, ess, content)


def open_token(der: bytes, stamped: bytes) -> tuple[Signed, dt.datetime]:
    """An RFC 3161 token over ``stamped``; gives its signer and time. Raises ``CmsFault``."""
    signed = open_cms(der, None, _TST_INFO)
    info = tsp.TSTInfo.load(signed.content, strict=True)
    imprint = info["message_imprint"]
    name = _hash(imprint["hash_algorithm"]["algorithm"].native).name
    if imprint["hashed_message"].native != hashlib.new(name, stamped).digest():
        raise CmsFault("hash", "the time-stamp is over something else")
    if not signed.ess:
        raise CmsFault("constraint", "the time-stamp does not name its certificate")
    usage = signed.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    if list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise CmsFault("constraint", "the certificate is not for time-stamps alone")
    return signed, info["gen_time"].native


def _exact(der: bytes) -> bytes:
    """The DER value without the zero padding of /Contents; anything else after it is a fault."""
    if len(der) < 4 or der[0] != 0x30 or not 0x81 <= der[1] <= 0x84:
        raise CmsFault("format", "not DER")
    size = 2 + (der[1] & 0x7F)
    end = size + int.from_bytes(der[2:size], "big")
    if end > len(der) or der[end:].strip(b"\x00"):
        raise CmsFault("format", "bytes after the signature in /Contents")
    return der[:end]


def _hash(name: str) -> hashes.HashAlgorithm:
    if name not in _HASHES:
        raise CmsFault("algorithm", f"digest algorithm {name}")
    return _HASHES[name]()


def _attributes(attributes: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    # Absent is asked by type: .native would decode and re-encode the whole time-stamp inside, a second a signature
    for attribute in () if isinstance(attributes, asn1_core.Void) else attributes:
        found.setdefault(attribute["type"].native, []).extend(attribute["values"])
    return found


def _one(attributes: dict[str, list[Any]], name: str) -> Any:
    values = attributes.get(name, [])
    if len(values) != 1:
        raise CmsFault("constraint", f"attribute {name} occurs {len(values)} times")
    return values[0]


def _certificates(data: Any, signer: Any) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    sid = signer["sid"]
    mine: list[x509.Certificate] = []
    others: list[x509.Certificate] = []
    for choice in data["certificates"] or ():
        if choice.name != "certificate":
            continue
        certificate = choice.chosen
        if sid.name == "issuer_and_serial_number":
            matches = (
                certificate.issuer == sid.chosen["issuer"]
                and certificate.serial_number == sid.chosen["serial_number"].native
            )
        else:
            matches = certificate.key_identifier == sid.chosen.native
        (mine if matches else others).append(x509.load_der_x509_certificate(certificate.dump()))
    if len(mine) != 1:
        raise CmsFault("format", "the signer's certificate is not there exactly once")
    return mine[0], tuple(others)


def _check_ess(attributes: dict[str, list[Any]], certificate: x509.Certificate) -> bool:
    """True if the certificate is named and is this one, False if none is named."""
    if "signing_certificate_v2" in attributes:
        first = _one(attributes, "signing_certificate_v2")["certs"][0]
        name = _hash(first["hash_algorithm"]["algorithm"].native).name
    elif "signing_certificate" in attributes:
        first, name = _one(attributes, "signing_certificate")["certs"][0], "sha1"
    else:
        return False
    own = certificate.fingerprint(hashes.SHA1() if name == "sha1" else _hash(name))  # noqa: S303 - RFC 2634 names by SHA-1
    if first["cert_hash"].native != own:
        raise CmsFault("constraint", "the signature names another certificate")
    return True  # RFC 3161 and older signers name by SHA-1; the signature itself never rests on it


def _verify(
    certificate: x509.Certificate, named: Any, digest: hashes.HashAlgorithm, value: bytes, to_sign: bytes
) -> None:
    key, kind = certificate.public_key(), named.signature_algo
    if named["algorithm"].native not in {"rsassa_pkcs1v15", "rsassa_pss"} and named.hash_algo != digest.name:
        raise CmsFault("algorithm", "signature and digest algorithm differ")
    try:
        if isinstance(key, rsa.RSAPublicKey) and kind in {"rsassa_pkcs1v15", "rsassa_pss"}:
            if key.key_size < 2048:
                raise CmsFault("algorithm", f"RSA {key.key_size} bit")
            scheme: Any = padding.PKCS1v15()
            if kind == "rsassa_pss":
                if named.hash_algo != digest.name:
                    raise CmsFault("algorithm", "PSS and digest algorithm differ")
                scheme = padding.PSS(padding.MGF1(digest), named["parameters"]["salt_length"].native)
            key.verify(value, to_sign, scheme, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and kind == "ecdsa" and key.curve.key_size >= 256:
            key.verify(value, to_sign, ec.ECDSA(digest))
        else:
            raise CmsFault("algorithm", f"{kind} with this key")
    except InvalidSignature as error:
        raise CmsFault("crypto", "the signature value does not verify") from error
