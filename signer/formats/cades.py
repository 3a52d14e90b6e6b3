"""Detached CAdES signatures over a digest (EN 319 122-1, levels B-B and B-T): for what is no PDF, or never comes here.

The content stays with the portal; only its digest is known. Unlike PAdES the claimed time is a signed attribute, since
there is no file that could carry it.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from asn1crypto import cms as asn1
from cryptography.exceptions import InvalidSignature

from core.certificates import Certificate
from core.errors import BadInput, Broken
from core.formats.cms import CmsProfile
from core.values import Digest, DigestAlgorithm, SignatureAlgorithm

__all__ = ["PreparedDigest", "check", "embed", "prepare", "require_unchanged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDigest:
    """A detached signature complete but for its value. What is approved is ``to_sign``."""

    digest: Digest
    """Of the content."""
    signed_attributes: bytes
    to_sign: Digest
    algorithm: SignatureAlgorithm

    def to_json(self) -> dict[str, Any]:
        """All of it; ``format`` tells it from a prepared PDF."""
        return {
            "format": "cades", "content": self.digest.hex, "signed_attributes": self.signed_attributes.hex(),
            "to_sign": self.to_sign.hex, "digest": self.to_sign.algorithm.value, "algorithm": self.algorithm.value,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "PreparedDigest":
        """Back."""
        algorithm = DigestAlgorithm(value["digest"])
        return cls(
            digest=Digest(algorithm, bytes.fromhex(value["content"])),
            signed_attributes=bytes.fromhex(value["signed_attributes"]),
            to_sign=Digest(algorithm, bytes.fromhex(value["to_sign"])),
            algorithm=SignatureAlgorithm(value["algorithm"]),
        )  # fmt: skip


def prepare(digest: Digest, profile: CmsProfile, *, signed_at: dt.datetime) -> PreparedDigest:
    """Everything but the value. ``signed_at``: the claimed time, kept in whole seconds.

    One algorithm hashes content and attributes, as validators expect. Raises ``cades.other_digest``.
    """
    if digest.algorithm is not profile.digest:
        raise BadInput("cades.other_digest", need=profile.digest.value)
    attributes = profile.signed_attributes(digest.value, signed_at)
    return PreparedDigest(
        digest=digest, signed_attributes=attributes, to_sign=Digest.of(attributes, profile.digest),
        algorithm=profile.algorithm,
    )  # fmt: skip


def require_unchanged(prepared: PreparedDigest) -> None:
    """The attributes still name the content's digest and give ``to_sign``. Raises ``signing.prepared_bytes_changed``."""
    digest = prepared.to_sign
    try:
        named = _named_digest(asn1.CMSAttributes.load(prepared.signed_attributes))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Broken("signing.prepared_bytes_changed") from error
    if Digest.of(prepared.signed_attributes, digest.algorithm) != digest or named != prepared.digest.value:
        raise Broken("signing.prepared_bytes_changed")


def embed(prepared: PreparedDigest, cms: bytes) -> bytes:
    """The signature file: ``cms`` itself (DER), once it is seen to be detached and over these attributes.

    Raises ``cades.self_check``.
    """
    _opened(cms, prepared)
    return cms


def check(signed: bytes, prepared: PreparedDigest, certificate: bytes) -> None:
    """Our own output, before it leaves the ceremony: detached, the approved digest, the value against the certificate.

    Raises ``cades.self_check``.
    """
    value, attributes = _opened(signed, prepared)
    try:
        Certificate.parse(certificate).verify(value, attributes, prepared.algorithm)
    except InvalidSignature as error:
        raise Broken("cades.self_check", detail="signature") from error


def _opened(cms: bytes, prepared: PreparedDigest) -> tuple[bytes, bytes]:
    """Signature value and signed attributes, read back out of the CMS."""
    try:
        info = asn1.ContentInfo.load(cms, strict=True)
        content = info["content"]
        (signer,) = content["signer_infos"]
        attributes = b"\x31" + signer["signed_attrs"].dump()[1:]
        value = signer["signature"].native
        detached = content["encap_content_info"]["content"].native is None
        named = _named_digest(signer["signed_attrs"])
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Broken("cades.self_check", detail="cms") from error
    if not detached:
        raise Broken("cades.self_check", detail="content")
    if attributes != prepared.signed_attributes or named != prepared.digest.value:
        raise Broken("cades.self_check", detail="digest")
    return value, attributes


def _named_digest(attributes: asn1.CMSAttributes) -> bytes:
    """What message-digest says. Raises ``ValueError`` unless it is there once."""
    (value,) = [a["values"][0].native for a in attributes if a["type"].native == "message_digest"]
    return bytes(value)
