"""PAdES signatures into existing fields, one incremental update each (ISO 32000-2 §12.8, EN 319 142-1).

*Prepare* fixes every byte but the signature; *embed* only fills the hole. pyHanko writes the PDF structure
(``fields.py``), the CMS is ours. Our ``/Contents`` is lower-case hexadecimal and its padding is zero, so a verifier can
account for each digit.

Two forms of each step: over bytes, and over an open file (``…_in``) for documents that should not stand in memory.
"""

import datetime as dt
import hashlib
import io
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from asn1crypto import cms as asn1
from cryptography.exceptions import InvalidSignature

from core.certificates import Certificate
from core.errors import Broken
from core.formats.cms import CmsProfile
from core.values import Digest, DigestAlgorithm, SignatureAlgorithm
from signer.formats.dss import Ground
from signer.formats.fields import RANGE_WIDTH, Appearance, Holes, fill

__all__ = [
    "Appearance",
    "PreparedSignature",
    "check",
    "check_in",
    "embed",
    "embed_in",
    "finish_in",
    "prepare",
    "prepare_in",
    "require_unchanged",
]

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSignature:
    """A document complete but for the signature value. What is approved is ``to_sign``."""

    document: bytes
    field: str
    byte_range: tuple[int, int, int, int]
    message_digest: bytes
    signed_attributes: bytes
    to_sign: Digest
    algorithm: SignatureAlgorithm
    ground: Ground | None = None
    """Where validation data goes once it is signed; None where the document is ours and can be read then."""

    def to_json(self) -> dict[str, Any]:
        """All but the document."""
        ground = {} if self.ground is None else {"ground": self.ground.to_json()}
        return ground | {
            "field": self.field, "byte_range": list(self.byte_range), "message_digest": self.message_digest.hex(),
            "signed_attributes": self.signed_attributes.hex(), "to_sign": self.to_sign.hex,
            "digest": self.to_sign.algorithm.value, "algorithm": self.algorithm.value,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any], document: bytes) -> "PreparedSignature":
        """Back, with the stored document."""
        a, b, c, d = value["byte_range"]
        return cls(
            document=document, field=value["field"], byte_range=(a, b, c, d),
            message_digest=bytes.fromhex(value["message_digest"]),
            signed_attributes=bytes.fromhex(value["signed_attributes"]),
            to_sign=Digest(DigestAlgorithm(value["digest"]), bytes.fromhex(value["to_sign"])),
            algorithm=SignatureAlgorithm(value["algorithm"]),
            ground=Ground.from_json(value["ground"]) if "ground" in value else None,
        )  # fmt: skip


def prepare(
    document: bytes,
    *,
    field: str,
    profile: CmsProfile,
    signed_at: dt.datetime,
    signer_name: str,
    reason: str | None = None,
    docmdp: int | None = None,
    appearance: Appearance | None = None,
    timestamp_size: int = 8_000,
) -> PreparedSignature:
    """One incremental update that fills the empty field ``field``; raises as ``fields.fill`` does.

    ``docmdp``: permission level of a certification signature (first signature only).
    """
    stream = io.BytesIO(document)
    prepared = prepare_in(
        stream, field=field, profile=profile, signed_at=signed_at, signer_name=signer_name, reason=reason,
        docmdp=docmdp, appearance=appearance, timestamp_size=timestamp_size,
    )  # fmt: skip
    return replace(prepared, document=stream.getvalue())


def prepare_in(
    stream: BinaryIO, *, field: str, profile: CmsProfile, signed_at: dt.datetime, signer_name: str,
    reason: str | None = None, docmdp: int | None = None, appearance: Appearance | None = None,
    timestamp_size: int = 8_000,
) -> PreparedSignature:  # fmt: skip
    """``prepare`` in place: ``stream`` (open for reading and writing) grows by the update; ``document`` stays empty."""
    holes = fill(
        stream, field=field, size=profile.size + timestamp_size, signed_at=signed_at, signer_name=signer_name,
        reason=reason, docmdp=docmdp, appearance=appearance,
    )  # fmt: skip
    return finish_in(stream, holes, field=field, profile=profile)


def finish_in(stream: BinaryIO, holes: Holes, *, field: str, profile: CmsProfile) -> PreparedSignature:
    """``stream`` ends with the update that left ``holes``: the byte range is written and all is hashed around the hole."""
    end = holes.contents + 2 * holes.size + 2
    byte_range = (0, holes.contents, end, stream.seek(0, io.SEEK_END) - end)
    stream.seek(holes.byte_range)
    stream.write((b"[%d %d %d %d]" % byte_range).ljust(RANGE_WIDTH))
    digest = _hash_around(stream, byte_range, profile.digest)
    attributes = profile.signed_attributes(digest)
    return PreparedSignature(
        document=b"", field=field, byte_range=byte_range, message_digest=digest, signed_attributes=attributes,
        to_sign=Digest.of(attributes, profile.digest), algorithm=profile.algorithm,
    )  # fmt: skip


def _hash_around(stream: BinaryIO, byte_range: tuple[int, int, int, int], algorithm: DigestAlgorithm) -> bytes:
    digest, buffer = hashlib.new(algorithm.value), memoryview(bytearray(_CHUNK))
    a, b, c, d = byte_range
    for start, length in ((a, b), (c, d)):
        stream.seek(start)
        left = length
        while left > 0:
            count = stream.readinto(buffer[: min(_CHUNK, left)])  # type: ignore[attr-defined]
            if not count:
                break  # shorter than its range: the digest will differ
            digest.update(buffer[:count])
            left -= count
    return digest.digest()


def require_unchanged(prepared: PreparedSignature) -> None:
    """The document still gives the digest inside the signed attributes. Raises ``signing.prepared_bytes_changed``."""
    digest = _hash_around(io.BytesIO(prepared.document), prepared.byte_range, prepared.to_sign.algorithm)
    if digest != prepared.message_digest or digest not in prepared.signed_attributes:
        raise Broken("signing.prepared_bytes_changed")


def embed(prepared: PreparedSignature, cms: bytes) -> bytes:
    """Fill the hole. Raises ``pades.too_big``."""
    digits = _digits(prepared, cms)
    start = prepared.byte_range[1] + 1
    view = memoryview(prepared.document)
    return b"".join((view[:start], digits, view[start + len(digits) :]))


def embed_in(stream: BinaryIO, prepared: PreparedSignature, cms: bytes) -> None:
    """Fill the hole in place. Raises ``pades.too_big``."""
    digits = _digits(prepared, cms)
    stream.seek(prepared.byte_range[1] + 1)
    stream.write(digits)
    stream.flush()


def _digits(prepared: PreparedSignature, cms: bytes) -> bytes:
    room = prepared.byte_range[2] - prepared.byte_range[1] - 2
    if 2 * len(cms) > room:
        raise Broken("pades.too_big", need=len(cms), room=room // 2)
    return cms.hex().encode()


def check(document: bytes, prepared: PreparedSignature, certificate: bytes) -> None:
    """Our own output, before it leaves the ceremony: digest around the hole and the value against the certificate.

    Reads the signature value back out of the embedded CMS. Raises ``pades.self_check``.
    """
    check_in(io.BytesIO(document), prepared, certificate)


def check_in(stream: BinaryIO, prepared: PreparedSignature, certificate: bytes) -> None:
    """``check`` over an open file, hashed in pieces."""
    _, start, end, _ = prepared.byte_range
    stream.seek(start + 1)
    try:
        raw = bytes.fromhex(stream.read(end - start - 2).decode("ascii"))
        signer = asn1.ContentInfo.load(raw)["content"]["signer_infos"][0]
        attributes = b"\x31" + signer["signed_attrs"].dump()[1:]
        value = signer["signature"].native
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Broken("pades.self_check", detail="cms") from error
    digest = _hash_around(stream, prepared.byte_range, prepared.to_sign.algorithm)
    if digest != prepared.message_digest or attributes != prepared.signed_attributes:
        raise Broken("pades.self_check", detail="digest")
    try:
        Certificate.parse(certificate).verify(value, attributes, prepared.algorithm)
    except InvalidSignature as error:
        raise Broken("pades.self_check", detail="signature") from error
