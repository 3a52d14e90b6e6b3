"""PAdES signatures into existing fields, one incremental update each (ISO 32000-2 §12.8, EN 319 142-1).

*Prepare* fixes every byte but the signature; *embed* only fills the hole. pyHanko writes the PDF structure, the CMS is
ours. Our ``/Contents`` is lower-case hexadecimal and its padding is zero, so a verifier can account for each digit.
"""

import datetime as dt
import hashlib
import io
import zlib
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.generic import pdf_name as name
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError

from core.certificates import Certificate
from core.errors import BadInput, Broken, Refused
from core.formats.cms import CmsProfile
from core.values import Digest, DigestAlgorithm, SignatureAlgorithm

__all__ = ["Appearance", "PreparedSignature", "append_dss", "check", "embed", "prepare", "require_unchanged"]

_RANGE_WIDTH = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """A picture shown by the signature's own widget, filling its rectangle."""

    width_px: int
    height_px: int
    rgb: bytes
    alpha: bytes | None


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

    def to_json(self) -> dict[str, Any]:
        """All but the document."""
        return {
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
        )  # fmt: skip


class _Hole(generic.PdfObject):
    """A hexadecimal string of zeros."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.at = -1
        """Offset in the file, known once written; never searched for, since a name or reason may hold any text."""

    def write_to_stream(self, stream: Any, handler: Any = None, container_ref: Any = None) -> None:
        self.at = stream.tell()
        stream.write(b"<" + b"0" * (2 * self.size) + b">")


class _RangeHole(generic.PdfObject):
    def __init__(self) -> None:
        self.at = -1

    def write_to_stream(self, stream: Any, handler: Any = None, container_ref: Any = None) -> None:
        self.at = stream.tell()
        stream.write(b"[" + b" " * (_RANGE_WIDTH - 2) + b"]")


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
    """One incremental update that fills the empty field ``field``.

    ``docmdp``: permission level of a certification signature (first signature only). Raises ``pades.unreadable``,
    ``pades.no_such_field``, ``pades.field_signed``, ``pades.locked``.
    """
    writer, widget, signed_before = _open(document, field)
    if docmdp is not None and signed_before:
        raise Refused("pades.locked")
    signature = generic.DictionaryObject(
        {
            name("/Type"): name("/Sig"),
            name("/Filter"): name("/Adobe.PPKLite"),
            name("/SubFilter"): name("/ETSI.CAdES.detached"),
            name("/Name"): generic.pdf_string(signer_name),
            name("/M"): generic.pdf_date(signed_at),
        }
    )
    if reason:
        signature[name("/Reason")] = generic.pdf_string(reason)
    if docmdp is not None:
        _certify(signature, docmdp)
    range_hole, hole = _RangeHole(), _Hole(profile.size + timestamp_size)
    signature[name("/ByteRange")] = range_hole
    signature[name("/Contents")] = hole
    reference = writer.add_object(signature)
    if docmdp is not None:
        perms = generic.DictionaryObject({name("/DocMDP"): reference})
        writer.root[name("/Perms")] = perms
        writer.update_root()
    widget[name("/V")] = reference
    if appearance is not None:
        widget[name("/AP")] = generic.DictionaryObject({name("/N"): _draw(writer, widget, appearance)})
    writer.update_container(widget)
    out = io.BytesIO()
    writer.write(out)
    return _measure(out, hole, range_hole.at, field, profile)


def _open(document: bytes, field: str) -> tuple[IncrementalPdfFileWriter, Any, bool]:
    try:
        writer = IncrementalPdfFileWriter(io.BytesIO(document))
        # Only indexing follows references; ``get`` and iteration hand out the references themselves.
        listed = writer.root["/AcroForm"]["/Fields"] if "/AcroForm" in writer.root else []
        fields = [listed[i] for i in range(len(listed))]
        signed_before = any("/V" in f for f in fields)
        permissions = writer.root["/Perms"] if "/Perms" in writer.root else {}  # noqa: SIM401
        if "/DocMDP" in permissions:
            params = permissions["/DocMDP"]["/Reference"][0]["/TransformParams"]
            if "/P" in params and int(params["/P"]) == 1:
                raise Refused("pades.locked")
        if any("/V" in f and "/Lock" in f and _locks(f["/Lock"], field) for f in fields):
            raise Refused("pades.locked")
        widget = next((f for f in fields if "/T" in f and str(f["/T"]) == field), None)
    except (PdfError, KeyError, TypeError, ValueError, AttributeError, IndexError, OSError) as error:
        raise BadInput("pades.unreadable") from error
    if widget is None:
        raise BadInput("pades.no_such_field", field=field)
    if "/V" in widget:
        raise Refused("pades.field_signed", field=field)
    return writer, widget, signed_before


def _locks(lock: Any, field: str) -> bool:
    """Whether a signed field's lock covers ``field`` (ISO 32000-2 table 236)."""
    if "/P" in lock and int(lock["/P"]) == 1:
        return True
    named = [str(lock["/Fields"][i]) for i in range(len(lock["/Fields"]))] if "/Fields" in lock else []
    action = str(lock["/Action"])
    return action == "/All" or (action == "/Include") == (field in named)


def _certify(signature: generic.DictionaryObject, level: int) -> None:
    """DocMDP transform (ISO 32000-2 §12.8.2.2)."""
    params = generic.DictionaryObject(
        {name("/Type"): name("/TransformParams"), name("/P"): generic.NumberObject(level), name("/V"): name("/1.2")}
    )
    transform = generic.DictionaryObject(
        {
            name("/Type"): name("/SigRef"),
            name("/TransformMethod"): name("/DocMDP"),
            name("/TransformParams"): params,
        }
    )
    signature[name("/Reference")] = generic.ArrayObject([transform])


def _draw(writer: IncrementalPdfFileWriter, widget: Any, picture: Appearance) -> Any:
    """A form with the picture over the widget's whole rectangle."""
    x0, y0, x1, y1 = (float(v) for v in widget["/Rect"])
    image = _image(writer, picture, picture.rgb, "/DeviceRGB")
    if picture.alpha is not None:
        image.get_object()[name("/SMask")] = _image(writer, picture, picture.alpha, "/DeviceGray")
    width, height = x1 - x0, y1 - y0
    form = generic.StreamObject(
        {
            name("/Type"): name("/XObject"),
            name("/Subtype"): name("/Form"),
            name("/BBox"): generic.ArrayObject([generic.FloatObject(v) for v in (0, 0, width, height)]),
            name("/Resources"): generic.DictionaryObject(
                {name("/XObject"): generic.DictionaryObject({name("/I"): image})}
            ),
        },
        stream_data=b"q %.3f 0 0 %.3f 0 0 cm /I Do Q" % (width, height),
    )
    return writer.add_object(form)


def _image(writer: IncrementalPdfFileWriter, picture: Appearance, samples: bytes, space: str) -> Any:
    return writer.add_object(
        generic.StreamObject(
            {
                name("/Type"): name("/XObject"),
                name("/Subtype"): name("/Image"),
                name("/Width"): generic.NumberObject(picture.width_px),
                name("/Height"): generic.NumberObject(picture.height_px),
                name("/ColorSpace"): name(space),
                name("/BitsPerComponent"): generic.NumberObject(8),
                name("/Filter"): name("/FlateDecode"),
            },
            encoded_data=zlib.compress(samples, 6),
        )
    )


def _measure(out: io.BytesIO, hole: _Hole, at: int, field: str, profile: CmsProfile) -> PreparedSignature:
    """Fill the ByteRange in place and hash around the hole."""
    start, end = hole.at, hole.at + 2 * hole.size + 2
    byte_range = (0, start, end, out.getbuffer().nbytes - end)
    text = b"[%d %d %d %d]" % byte_range
    out.seek(at)
    out.write(text.ljust(_RANGE_WIDTH))
    document = out.getvalue()  # the buffer itself, no copy: documents may have 200 MB
    digest = _hash_around(document, byte_range, profile.digest)
    attributes = profile.signed_attributes(digest)
    return PreparedSignature(
        document=document, field=field, byte_range=byte_range, message_digest=digest, signed_attributes=attributes,
        to_sign=Digest.of(attributes, profile.digest), algorithm=profile.algorithm,
    )  # fmt: skip


def _hash_around(document: bytes, byte_range: tuple[int, int, int, int], algorithm: DigestAlgorithm) -> bytes:
    view = memoryview(document)
    a, b, c, d = byte_range
    digest = hashlib.new(algorithm.value)
    digest.update(view[a : a + b])
    digest.update(view[c : c + d])
    return digest.digest()


def require_unchanged(prepared: PreparedSignature) -> None:
    """The document still gives the digest inside the signed attributes. Raises ``signing.prepared_bytes_changed``."""
    digest = _hash_around(prepared.document, prepared.byte_range, prepared.to_sign.algorithm)
    if digest != prepared.message_digest or digest not in prepared.signed_attributes:
        raise Broken("signing.prepared_bytes_changed")


def embed(prepared: PreparedSignature, cms: bytes) -> bytes:
    """Fill the hole. Raises ``pades.too_big``."""
    _, start, end, _ = prepared.byte_range
    room = end - start - 2
    digits = cms.hex().encode()
    if len(digits) > room:
        raise Broken("pades.too_big", need=len(cms), room=room // 2)
    view = memoryview(prepared.document)
    return b"".join((view[: start + 1], digits, view[start + 1 + len(digits) :]))


def check(document: bytes, prepared: PreparedSignature, certificate: bytes) -> None:
    """Our own output, before it leaves the ceremony: digest around the hole and the value against the certificate.

    Reads the signature value back out of the embedded CMS. Raises ``pades.self_check``.
    """
    from asn1crypto import cms as asn1  # noqa: PLC0415  (only this check parses)

    _, start, end, _ = prepared.byte_range
    try:
        raw = bytes.fromhex(document[start + 1 : end - 1].decode("ascii"))
        signer = asn1.ContentInfo.load(raw)["content"]["signer_infos"][0]
        attributes = b"\x31" + signer["signed_attrs"].dump()[1:]
        value = signer["signature"].native
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Broken("pades.self_check", detail="cms") from error
    digest = _hash_around(document, prepared.byte_range, prepared.to_sign.algorithm)
    if digest != prepared.message_digest or attributes != prepared.signed_attributes:
        raise Broken("pades.self_check", detail="digest")
    try:
        Certificate.parse(certificate).verify(value, attributes, prepared.algorithm)
    except InvalidSignature as error:
        raise Broken("pades.self_check", detail="signature") from error


def append_dss(document: bytes, *, certificates: list[bytes], ocsps: list[bytes], crls: list[bytes]) -> bytes:
    """Validation data as one incremental update: ``/DSS`` without ``/VRI`` (EN 319 142-1 §5.4.2)."""
    try:
        writer = IncrementalPdfFileWriter(io.BytesIO(document))
    except (PdfError, KeyError, TypeError, ValueError, AttributeError, IndexError, OSError) as error:
        raise BadInput("pades.unreadable") from error

    def streams(items: list[bytes]) -> generic.ArrayObject:
        unique = list(dict.fromkeys(items))
        return generic.ArrayObject(
            writer.add_object(
                generic.StreamObject({name("/Filter"): name("/FlateDecode")}, encoded_data=zlib.compress(item))
            )
            for item in unique
        )

    dss = generic.DictionaryObject({name("/Type"): name("/DSS"), name("/Certs"): streams(certificates)})
    if ocsps:
        dss[name("/OCSPs")] = streams(ocsps)
    if crls:
        dss[name("/CRLs")] = streams(crls)
    writer.root[name("/DSS")] = writer.add_object(dss)
    writer.update_root()
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()
