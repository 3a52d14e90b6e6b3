"""One CMS SignedData with one signer, checked with own eyes (RFC 5652, 5035, 3161; EN 319 122-1)."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from asn1crypto import algos, tsp
from asn1crypto import cms as asn1_cms
from asn1crypto import core as asn1_core
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from core.formats import der
from core.formats.der import Tlv
from core.values import Digest

__all__ = ["CmsFault", "Signed", "open_cms", "open_token"]

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_DATA, _TST_INFO = der.oid("1.2.840.113549.1.7.1"), der.oid("1.2.840.113549.1.9.16.1.4")
_SIGNED_DATA = der.oid("1.2.840.113549.1.7.2")
_CONTENT_TYPE, _MESSAGE_DIGEST = der.oid("1.2.840.113549.1.9.3"), der.oid("1.2.840.113549.1.9.4")
_SIGNING_TIME = der.oid("1.2.840.113549.1.9.5")
_ESS_V1, _ESS_V2 = der.oid("1.2.840.113549.1.9.16.2.12"), der.oid("1.2.840.113549.1.9.16.2.47")
_TOKEN = der.oid("1.2.840.113549.1.9.16.2.14")


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
    plain: bool
    """Every byte that no signature covers has the one form that is left to it."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """SignedData with one SignerInfo, cut up; every piece as it stands in the file."""

    content: bytes
    """The encapsulated content; empty when detached."""
    certificates: list[bytes]
    sid: Tlv
    digest: Tlv
    signed: Tlv
    algorithm: Tlv
    value: bytes
    unsigned: bytes


def _cut(data: bytes, content_type: bytes) -> _Parts:
    """RFC 5652 §5.1, 5.3. Raises ``CmsFault`` of kind format."""
    try:
        kind, explicit = der.children(der.one(_exact(data), 0x30).content)
        if kind.raw != _SIGNED_DATA:
            raise CmsFault("format", "not SignedData")
        _version, _digests, encapsulated, *rest = der.children(der.one(explicit.content, 0x30).content)
        signers = der.children(rest[-1].content)
        inner, *content = der.children(encapsulated.content)
        if inner.raw != content_type or len(signers) != 1 or rest[-1].tag != 0x31 or len(content) > 1:
            raise CmsFault("format", "not one signer, or another content type")
        carried = [c.raw for t in rest if t.tag == 0xA0 for c in der.children(t.content) if c.tag == 0x30]
        _version, sid, digest, signed, algorithm, value, *unsigned = der.children(signers[0].content)
        if signed.tag != 0xA0 or value.tag != 4 or [u.tag for u in unsigned] not in ([], [0xA1]):
            raise CmsFault("format", "SignerInfo")
        return _Parts(
            content=der.one(content[0].content, 4).content if content else b"", certificates=carried, sid=sid,
            digest=digest, signed=signed, algorithm=algorithm, value=value.content,
            unsigned=unsigned[0].content if unsigned else b""         )  # fmt: skip
    except CmsFault:
        raise
    except (ValueError, IndexError) as error:
        raise CmsFault("format", str(error)) from error


def open_cms(data: bytes, covered: Sequence[bytes | memoryview] | None, content_type: bytes = _DATA) -> Signed:
    """Check digest, signature value and ESS certificate. ``covered``: detached content. Raises ``CmsFault``."""
    parts = _cut(data, content_type)
    if covered is not None and parts.content:
        raise CmsFault("format", "a detached signature with content of its own")
    certificate, others = _certificates(parts)
    algorithm = _hash(_digest_name(parts.digest.raw))
    digest = hashlib.new(algorithm.name)
    for part in [parts.content] if covered is None else covered:
        digest.update(part)
    attributes = _attributes(parts.signed.content)
    if _one(attributes, _MESSAGE_DIGEST).content != digest.digest():
        raise CmsFault("hash", "messageDigest differs")
    if _one(attributes, _CONTENT_TYPE).raw != content_type:
        raise CmsFault("constraint", "contentType attribute differs")
    ess = _check_ess(attributes, certificate)
    _verify(certificate, parts.algorithm.raw, algorithm, parts.value, b"\x31" + parts.signed.raw[1:])
    claimed = _time(_one(attributes, _SIGNING_TIME).raw) if _SIGNING_TIME in attributes else None
    unsigned = _attributes(parts.unsigned)
    token = _one(unsigned, _TOKEN).raw if _TOKEN in unsigned else None
    plain = _exact(data) == _rebuilt(parts, content_type, algorithm.name, token)
    return Signed(certificate, others, claimed, parts.value, token, ess, parts.content, plain)


def _rebuilt(parts: _Parts, content_type: bytes, digest: str, token: bytes | None) -> bytes | None:
    """The same signature with every byte that no signature covers as RFC 5652 §5 and the algorithm's own RFC fix it.

    None where there is no such form: an unknown algorithm identifier, say.
    """
    by_key = parts.sid.tag == 0x80
    name = der.oid(algos.DigestAlgorithmId(digest).dotted)
    if parts.digest.raw not in {der.sequence(name), der.sequence(name, der.null())}:
        return None
    if parts.algorithm.raw not in _signature_ids(digest) or parts.sid.tag not in {0x80, 0x30}:
        return None
    unsigned = () if token is None else (der.tlv(0xA1, der.sequence(_TOKEN, der.set_of(token))),)
    signer = der.sequence(
        der.integer(3 if by_key else 1), parts.sid.raw, parts.digest.raw, der.tlv(0xA0, parts.signed.content),
        parts.algorithm.raw, der.octet_string(parts.value), *unsigned,
    )  # fmt: skip
    content = (der.context(0, der.octet_string(parts.content)),) if parts.content else ()
    version = 3 if by_key or content_type != _DATA else 1
    signed = der.sequence(
        der.integer(version), der.set_of(parts.digest.raw), der.sequence(content_type, *content),
        der.tlv(0xA0, b"".join(parts.certificates)), der.set_of(signer),
    )  # fmt: skip
    return der.sequence(_SIGNED_DATA, der.context(0, signed))


@cache
def _signature_ids(digest: str) -> frozenset[bytes]:
    """The algorithm identifiers that may stand beside ``digest`` (RFC 5758, 4055), as DER writes them."""
    ecdsa = {"sha256": "1.2.840.10045.4.3.2", "sha384": "1.2.840.10045.4.3.3", "sha512": "1.2.840.10045.4.3.4"}[digest]
    rsa_ = {"sha256": "1.2.840.113549.1.1.11", "sha384": "1.2.840.113549.1.1.12", "sha512": "1.2.840.113549.1.1.13"}[
        digest
    ]
    known = {der.sequence(der.oid(ecdsa)), der.sequence(der.oid(rsa_), der.null())}
    known.add(der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null()))  # rsaEncryption (RFC 3370 §3.2)
    size = {"sha256": 32, "sha384": 48, "sha512": 64}[digest]
    name = der.oid(algos.DigestAlgorithmId(digest).dotted)
    for sha in (der.sequence(name, der.null()), der.sequence(name)):
        mgf = der.sequence(der.oid("1.2.840.113549.1.1.8"), sha)
        parameters = der.sequence(der.context(0, sha), der.context(1, mgf), der.context(2, der.integer(size)))
        known.add(der.sequence(der.oid("1.2.840.113549.1.1.10"), parameters))
    return frozenset(known)


def _time(raw: bytes) -> dt.datetime:
    try:
        time: dt.datetime = asn1_cms.Time.load(raw, strict=True).native
    except ValueError as error:
        raise CmsFault("format", "signingTime") from error
    return time


def open_token(data: bytes, stamped: bytes | Digest) -> tuple[Signed, dt.datetime]:
    """An RFC 3161 token over ``stamped`` or over its digest; gives its signer and time. Raises ``CmsFault``."""
    signed = open_cms(data, None, _TST_INFO)
    info = tsp.TSTInfo.load(signed.content, strict=True)
    imprint = info["message_imprint"]
    name = _hash(imprint["hash_algorithm"]["algorithm"].native).name
    if isinstance(stamped, Digest):
        wanted = stamped.value if stamped.algorithm.value == name else None
    else:
        wanted = hashlib.new(name, stamped).digest()
    if imprint["hashed_message"].native != wanted:
        raise CmsFault("hash", "the time-stamp is over something else")
    if not signed.ess:
        raise CmsFault("constraint", "the time-stamp does not name its certificate")
    usage = signed.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    if list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise CmsFault("constraint", "the certificate is not for time-stamps alone")
    return signed, info["gen_time"].native


def _exact(data: bytes) -> bytes:
    """The DER value without the zero padding of /Contents; anything else after it is a fault."""
    if len(data) < 4 or data[0] != 0x30 or not 0x81 <= data[1] <= 0x84:
        raise CmsFault("format", "not DER")
    size = 2 + (data[1] & 0x7F)
    end = size + int.from_bytes(data[2:size], "big")
    if end > len(data) or data[end:].strip(b"\x00"):
        raise CmsFault("format", "bytes after the signature in /Contents")
    return data[:end]


def _hash(name: str) -> hashes.HashAlgorithm:
    if name not in _HASHES:
        raise CmsFault("algorithm", f"digest algorithm {name}")
    return _HASHES[name]()


def _digest_name(raw: bytes) -> str:
    """Of an AlgorithmIdentifier."""
    try:
        first = der.children(der.one(raw, 0x30).content)[0]
        name: str = algos.DigestAlgorithmId.load(first.raw).native
    except (ValueError, IndexError) as error:
        raise CmsFault("format", "digest algorithm") from error
    return name


def _attributes(content: bytes) -> dict[bytes, list[Tlv]]:
    """Type (DER of its OID) → values."""
    found: dict[bytes, list[Tlv]] = {}
    try:
        for attribute in der.children(content):
            kind, values = der.children(attribute.content)
            found.setdefault(kind.raw, []).extend(der.children(values.content))
    except ValueError as error:
        raise CmsFault("format", "attributes") from error
    return found


def _one(attributes: dict[bytes, list[Tlv]], kind: bytes) -> Tlv:
    values = attributes.get(kind, [])
    if len(values) != 1:
        name = asn1_core.ObjectIdentifier.load(kind).native
        raise CmsFault("constraint", f"attribute {name} occurs {len(values)} times")
    return values[0]


def _certificates(parts: _Parts) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """The signer's, named by issuer (byte for byte) and serial or by key identifier, and the rest."""
    mine: list[x509.Certificate] = []
    others: list[x509.Certificate] = []
    try:
        for raw in dict.fromkeys(parts.certificates):  # some authorities send the same one twice
            certificate = _certificate(raw)
            (mine if _is_named(certificate, parts.sid) else others).append(certificate)
    except ValueError as error:
        raise CmsFault("format", "a certificate cannot be read") from error
    if len(mine) != 1:
        raise CmsFault("format", "the signer's certificate is not there exactly once")
    return mine[0], tuple(others)


@lru_cache(maxsize=256)
def _certificate(der_bytes: bytes) -> x509.Certificate:
    """Many signatures name the same few."""
    return x509.load_der_x509_certificate(der_bytes)


@lru_cache(maxsize=256)
def _issuer_and_serial(certificate: x509.Certificate) -> bytes:
    return certificate.issuer.public_bytes() + der.integer(certificate.serial_number)


def _is_named(certificate: x509.Certificate, sid: Tlv) -> bool:
    if sid.tag == 0x80:
        try:
            known = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        except x509.ExtensionNotFound:
            return False
        return known == sid.content
    return sid.content == _issuer_and_serial(certificate)


def _check_ess(attributes: dict[bytes, list[Tlv]], certificate: x509.Certificate) -> bool:
    """True if the certificate is named and is this one, False if none is named."""
    kind = next((k for k in (_ESS_V2, _ESS_V1) if k in attributes), None)
    if kind is None:
        return False
    value = _one(attributes, kind)
    try:
        first = der.children(der.children(der.children(value.content)[0].content)[0].content)
        named = first[0] if first[0].tag == 4 else first[1]
        if kind == _ESS_V1:
            known: hashes.HashAlgorithm = hashes.SHA1()  # noqa: S303 - RFC 2634 names by SHA-1
        else:
            known = hashes.SHA256() if first[0].tag == 4 else _hash(_digest_name(first[0].raw))
    except (ValueError, IndexError) as error:
        raise CmsFault("format", "signing-certificate attribute") from error
    if named.tag != 4 or named.content != certificate.fingerprint(known):
        raise CmsFault("constraint", "the signature names another certificate")
    return True  # RFC 3161 and older signers name by SHA-1; the signature itself never rests on it


def _verify(
    certificate: x509.Certificate, algorithm: bytes, digest: hashes.HashAlgorithm, value: bytes, to_sign: bytes
) -> None:
    try:
        named = algos.SignedDigestAlgorithm.load(algorithm, strict=True)
        key, kind = certificate.public_key(), named.signature_algo
    except (ValueError, TypeError) as error:
        raise CmsFault("algorithm", "unknown signature algorithm") from error
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
