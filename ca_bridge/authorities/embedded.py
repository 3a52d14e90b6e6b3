"""The embedded CA's bytes: certificates, CRLs and OCSP responses, written as DER and signed through the key port."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from asn1crypto import x509 as asn1

from core.certificates import REPORT_POLICY, SOFTWARE_POLICY, Certificate
from core.clock import Clock
from core.errors import BadInput
from core.formats import der
from core.formats.cms import signature_algorithm_id
from core.ids import random_bytes
from core.signing import SigningKey
from core.values import Digest, Realm

__all__ = [
    "OCSP_NONCE",
    "TRAINING_MARK",
    "Issuer",
    "Profile",
    "SingleStatus",
    "Subject",
    "build_certificate",
    "build_crl",
    "build_ocsp",
    "build_ocsp_answer",
    "new_serial",
]

POLICY = "1.3.6.1.4.1.99999.1.2"
OCSP_NONCE = "1.3.6.1.5.5.7.48.1.2"
_KEY_USAGE = {
    "root": (b"\x06", 1), "issuing": (b"\x06", 1), "official": (b"\xc0", 6), "citizen": (b"\xc0", 6), "seal": (b"\xc0", 6),
    "tsa": (b"\xc0", 6), "ocsp": (b"\x80", 7), "lists": (b"\xc0", 6),
    "report": (b"\xc0", 6),
}  # fmt: skip
_EKU = {
    "tsa": "1.3.6.1.5.5.7.3.8",
    "ocsp": "1.3.6.1.5.5.7.3.9",
    "official": "1.3.6.1.5.5.7.3.36",
    "citizen": "1.3.6.1.5.5.7.3.36",
    "seal": "1.3.6.1.5.5.7.3.36",
    "report": "1.3.6.1.5.5.7.3.36",
}
_MOST_NAME = 64
"""ub-common-name and ub-organization-name (RFC 5280, appendix A)."""
_YEARS = {
    "root": 20,
    "issuing": 10,
    "official": 2,
    "citizen": 1,
    "seal": 3,
    "tsa": 5,
    "ocsp": 1,
    "lists": 3,
    "report": 3,
}
_SOFTWARE = "Khóa trong kho phần mềm, không dùng cho vận hành thật / software key store, not for production"
"""At most 200 characters (RFC 5280, DisplayText)."""
TRAINING_MARK = "(TẬP HUẤN - TRAINING)"
"""In every name of realm training, after the organisation's where there is one."""
Profile = str
"""``root``, ``issuing``, ``official``, ``citizen``, ``seal``, ``tsa``, ``ocsp``, ``lists`` (public lists) or ``report`` (verification sheets)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A name: CN, O, C=VN."""

    common_name: str
    organisation: str | None
    """None: a citizen, who signs for herself."""

    def encode(self, realm: Realm) -> bytes:
        """DER Name; training names carry the realm in O. Raises ``ca.bad_name``."""
        mark = TRAINING_MARK if realm is Realm.TRAINING else None
        organisation = " ".join(part for part in (self.organisation, mark) if part is not None)
        if self.organisation is not None and not self.organisation.strip():
            raise BadInput("ca.bad_name", name="", most=_MOST_NAME)
        for part in (self.common_name, *([organisation] if organisation else [])):
            if not part.strip() or len(part) > _MOST_NAME:
                raise BadInput("ca.bad_name", name=part[:80], most=_MOST_NAME)
        named = (("2.5.4.10", organisation), ("2.5.4.3", self.common_name))
        parts = (("2.5.4.6", der.tlv(19, b"VN")), *((oid, der.utf8(text)) for oid, text in named if text))
        return der.sequence(*(der.set_of(der.sequence(der.oid(o), value)) for o, value in parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A CA certificate with the key behind it."""

    certificate: Certificate
    key: SigningKey
    slug: str
    """Name in URLs: ``root`` or ``issuing``."""

    @property
    def name(self) -> bytes:
        """DER of the subject name, cut from the certificate."""
        return bytes(asn1.Certificate.load(self.certificate.der)["tbs_certificate"]["subject"].dump())

    @property
    def key_id(self) -> bytes:
        """SHA-1 of the public key bits (RFC 5280 §4.2.1.2, method 1): an identifier, not a protection."""
        return _key_id(self.certificate.spki)

    def hashes(self, algorithm: str) -> tuple[bytes, bytes]:
        """Of name and key bits: how a CertID names an issuer (RFC 6960 §4.1.1)."""
        name, bits = (
            hashlib.new(algorithm, part, usedforsecurity=False).digest()
            for part in (self.name, _key_bits(self.certificate.spki))
        )
        return name, bits


def new_serial() -> int:
    """Positive, 20 octets at most (RFC 5280 §4.1.2.2)."""
    return int.from_bytes(b"\x40" + random_bytes(19), "big")


def _key_bits(spki: bytes) -> bytes:
    """The BIT STRING without tag, length and unused bits: what key identifiers are hashes of."""
    return bytes(asn1.PublicKeyInfo.load(spki)["public_key"].contents[1:])


def _key_id(spki: bytes) -> bytes:
    return hashlib.sha1(_key_bits(spki), usedforsecurity=False).digest()


async def _signed(key: SigningKey, tbs: bytes) -> bytes:
    assert key.algorithm.digest is not None
    value = await key.sign(Digest.of(tbs, key.algorithm.digest))
    return der.sequence(tbs, signature_algorithm_id(key.algorithm), der.bit_string(value))


def _extension(oid: str, value: bytes, critical: bool = False) -> bytes:
    flag = (der.boolean(True),) if critical else ()
    return der.sequence(der.oid(oid), *flag, der.octet_string(value))


def _policies(profile: Profile, software: bool) -> bytes:
    """With a notice that viewers of certificates show (RFC 5280 §4.2.1.4) where the key is not for production."""
    rows = [der.sequence(der.oid(each)) for each in (POLICY, *([REPORT_POLICY] if profile == "report" else []))]
    if software:
        notice = der.sequence(der.oid("1.3.6.1.5.5.7.2.2"), der.sequence(der.utf8(_SOFTWARE)))
        rows.append(der.sequence(der.oid(SOFTWARE_POLICY), der.sequence(notice)))
    return der.sequence(*rows)


def _extensions(profile: Profile, spki: bytes, issuer: Issuer | None, base_url: str, software: bool) -> bytes:
    usage, unused = _KEY_USAGE[profile]
    parts = [
        _extension("2.5.29.15", der.bit_string(usage, unused), critical=True),
        _extension("2.5.29.14", der.octet_string(_key_id(spki))),
        _extension("2.5.29.32", _policies(profile, software)),
    ]
    if profile == "root":
        parts.append(_extension("2.5.29.19", der.sequence(der.boolean(True)), critical=True))
    if profile == "issuing":
        parts.append(_extension("2.5.29.19", der.sequence(der.boolean(True), der.integer(0)), critical=True))
    if profile in _EKU:
        parts.append(_extension("2.5.29.37", der.sequence(der.oid(_EKU[profile])), critical=profile == "tsa"))
    if profile == "ocsp":
        parts.append(_extension("1.3.6.1.5.5.7.48.1.5", der.null()))
    if issuer is not None:
        parts.append(_extension("2.5.29.35", der.sequence(der.implicit(0, issuer.key_id))))
        crl = der.implicit(6, f"{base_url}/pki/crl/{issuer.slug}.crl".encode())
        parts.append(_extension("2.5.29.31", der.sequence(der.sequence(der.context(0, der.context(0, crl))))))
        access = [("1.3.6.1.5.5.7.48.2", f"{base_url}/pki/certs/{issuer.slug}.cer")]
        if profile in {"official", "citizen", "seal", "tsa", "lists", "report"}:
            access.insert(0, ("1.3.6.1.5.5.7.48.1", f"{base_url}/pki/ocsp"))
        uris = (der.sequence(der.oid(o), der.implicit(6, u.encode())) for o, u in access)
        parts.append(_extension("1.3.6.1.5.5.7.1.1", der.sequence(*uris)))
    return der.context(3, der.sequence(*parts))


async def build_certificate(
    *, serial: int, subject: Subject, spki: bytes, profile: Profile, realm: Realm, issuer: Issuer | None,
    self_key: SigningKey | None, clock: Clock, base_url: str, software: bool = False,
) -> bytes:  # fmt: skip
    """One certificate; ``issuer`` None means self-signed with ``self_key``. Never outlives its issuer.

    ``software``: its key lies in a store that is not for production, and the certificate says so.
    """
    key = self_key if issuer is None else issuer.key
    assert key is not None
    start = clock.now().replace(microsecond=0)
    end = start + dt.timedelta(days=365 * _YEARS[profile])
    if issuer is not None:
        end = min(end, issuer.certificate.not_after)
    name = subject.encode(realm)
    tbs = der.sequence(
        der.context(0, der.integer(2)), der.integer(serial), signature_algorithm_id(key.algorithm),
        name if issuer is None else issuer.name,
        der.sequence(der.utc_or_generalized(start), der.utc_or_generalized(end)),
        name, spki, _extensions(profile, spki, issuer, base_url, software),
    )  # fmt: skip
    return await _signed(key, tbs)


async def build_crl(
    issuer: Issuer, entries: list[tuple[int, dt.datetime, int]], clock: Clock, number: int, days: int = 7
) -> bytes:
    """A complete CRL v2 (RFC 5280 §5)."""
    now = clock.now().replace(microsecond=0)
    rows = [
        der.sequence(
            der.integer(serial), der.utc_or_generalized(at),
            der.sequence(_extension("2.5.29.21", der.tlv(10, bytes((reason,))))),
        )
        for serial, at, reason in entries
    ]  # fmt: skip
    extensions = der.sequence(
        _extension("2.5.29.35", der.sequence(der.implicit(0, issuer.key_id))),
        _extension("2.5.29.20", der.integer(number)),
    )
    tbs = der.sequence(
        der.integer(1), signature_algorithm_id(issuer.key.algorithm), issuer.name, der.utc_or_generalized(now),
        der.utc_or_generalized(now + dt.timedelta(days=days)), *([der.sequence(*rows)] if rows else []),
        der.context(0, extensions),
    )  # fmt: skip
    return await _signed(issuer.key, tbs)


class SingleStatus(NamedTuple):
    """What a responder says of one certificate. ``revoked`` is (time, reason)."""

    cert_id: bytes
    """CertID, DER: of an answer to somebody, exactly as it stood in the request."""
    known: bool
    revoked: tuple[dt.datetime, int] | None

    def encode(self, now: dt.datetime) -> bytes:
        """SingleResponse, good for a week."""
        if not self.known:
            status = der.implicit(2, b"")
        elif self.revoked is None:
            status = der.implicit(0, b"")
        else:
            at, reason = self.revoked
            status = der.tlv(0xA1, der.generalized_time(at) + der.context(0, der.tlv(10, bytes((reason,)))))
        until = der.generalized_time(now + dt.timedelta(days=7))
        return der.sequence(self.cert_id, status, der.generalized_time(now), der.context(0, until))


async def build_ocsp(
    *, serial: int, issuer: Issuer, responder: Issuer, clock: Clock,
    revoked: tuple[dt.datetime, int] | None, known: bool,
) -> bytes:  # fmt: skip
    """An OCSPResponse for one certificate, signed by a delegated responder (RFC 6960)."""
    sha1 = der.sequence(der.oid("1.3.14.3.2.26"), der.null())
    cert_id = der.sequence(sha1, *map(der.octet_string, issuer.hashes("sha1")), der.integer(serial))
    return await build_ocsp_answer([SingleStatus(cert_id, known, revoked)], responder, clock)


async def build_ocsp_answer(
    statuses: Sequence[SingleStatus], responder: Issuer, clock: Clock, nonce: bytes | None = None
) -> bytes:
    """An OCSPResponse for several certificates of one issuer; ``nonce`` says that it was made for one asker."""
    now = clock.now().replace(microsecond=0)
    extensions = []
    if nonce is not None:  # RFC 9654 §2.1: an OCTET STRING inside the extension's own
        extensions.append(der.context(1, der.sequence(_extension(OCSP_NONCE, der.octet_string(nonce)))))
    data = der.sequence(
        der.context(2, der.octet_string(responder.key_id)), der.generalized_time(now),
        der.sequence(*(status.encode(now) for status in statuses)), *extensions,
    )  # fmt: skip
    assert responder.key.algorithm.digest is not None
    value = await responder.key.sign(Digest.of(data, responder.key.algorithm.digest))
    basic = der.sequence(
        data, signature_algorithm_id(responder.key.algorithm), der.bit_string(value),
        der.context(0, der.sequence(responder.certificate.der)),
    )  # fmt: skip
    wrapped = der.sequence(der.oid("1.3.6.1.5.5.7.48.1.1"), der.octet_string(basic))
    return der.sequence(der.tlv(10, b"\0"), der.context(0, wrapped))
