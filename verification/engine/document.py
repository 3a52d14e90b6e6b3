"""Steps 2 to 5 of the check: revisions, signatures, paths, changes. Pure: bytes in, facts out."""

import datetime as dt
import hashlib
import io
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature

from core import pdf_hex  # noqa: F401  (puts its reader in place)
from core.certificates import in_software, signs_reports
from core.clock import timestamp_text
from core.limits import LIMITS
from verification.engine.changes import account_for_updates, changes_after, is_stamp, replaced_stream
from verification.engine.cms import CmsFault, Signed, open_cms, open_token
from verification.engine.paths import Path, Revocation, find_path, revocation_of
from verification.engine.revisions import NotAccounted, check_byte_range, read_revisions
from verification.policy import TrustAnchor
from verification.report import Finding, Indication, SignatureReport, SubIndication

__all__ = ["DocumentFacts", "read_document"]

_FAULTS = {
    "format": ("verify.signature_malformed", SubIndication.FORMAT_FAILURE),
    "hash": ("verify.digest_differs", SubIndication.HASH_FAILURE),
    "crypto": ("verify.signature_wrong", SubIndication.SIG_CRYPTO_FAILURE),
    "constraint": ("verify.signature_constraint", SubIndication.SIG_CONSTRAINTS_FAILURE),
    "algorithm": ("verify.algorithm_refused", SubIndication.CRYPTO_CONSTRAINTS_FAILURE_NO_POE),
}
_ROLES = {"Certifier": "certifier", "Seal": "seal"}


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """What the document alone tells; ``prefixes`` are SHA-256 of the file up to each revision's end."""

    signatures: tuple[SignatureReport, ...]
    findings: tuple[Finding, ...]
    prefixes: tuple[bytes, ...]


@dataclass(slots=True)
class _Work:
    document: bytes
    at: dt.datetime
    anchors: tuple[TrustAnchor, ...]
    findings: list[Finding]
    dss_certificates: tuple[x509.Certificate, ...] = ()
    revocation: Revocation = field(default_factory=lambda: Revocation((), ()))

    def find(self, code: str, severity: str = "error", **evidence: Any) -> None:
        self.findings.append(Finding(code, severity, evidence))


def read_document(document: bytes, at: dt.datetime, anchors: tuple[TrustAnchor, ...]) -> DocumentFacts:
    """Judge the bytes. Never raises for what is in them: a parser's failure becomes a finding."""
    work = _Work(document, at, anchors, [])
    signatures: list[SignatureReport] = []
    prefixes: list[bytes] = []
    try:
        _read(work, signatures, prefixes)
    except NotAccounted as error:
        work.find("verify.bytes_unaccounted", detail=str(error))
    except (RecursionError, MemoryError):
        work.find("verify.unreadable", detail="too deep or too large")
    except Exception as error:  # noqa: BLE001 - the one seam: parsers raise anything on hostile bytes
        work.find("verify.unreadable", detail=type(error).__name__)
    return DocumentFacts(tuple(signatures), tuple(work.findings), tuple(prefixes))


def _read(work: _Work, signatures: list[SignatureReport], prefixes: list[bytes]) -> None:
    prefixes.extend(_prefixes(work.document))
    reader = PdfFileReader(io.BytesIO(work.document), strict=True)
    xrefs = reader.xrefs
    chain = [xrefs.get_startxref_for_revision(i) for i in range(xrefs.total_revisions)]
    revisions = read_revisions(work.document, chain)
    if reader.encrypted:
        work.find("verify.unreadable", detail="encrypted")
        return
    embedded = reader.embedded_signatures
    if len(embedded) > LIMITS["verify.signatures"]:
        raise NotAccounted("too many signatures")
    _read_dss(work, reader)
    ordered = sorted(embedded, key=lambda s: s.signed_revision)
    for position, signature in enumerate(ordered):
        index = check_byte_range(work.document, list(signature.byte_range), signature.pkcs7_content, revisions)
        if is_stamp(signature):
            _document_timestamp(work, signature)
        else:
            signatures.append(_signature(work, signature, first=position == 0))
        if position == 0:
            account_for_updates(work.document, reader, revisions, index)
    for name in changes_after(reader, ordered):
        work.find("verify.changed_after_signature", field=name)
    if ordered and (number := replaced_stream(reader, ordered[0].signed_revision)) is not None:
        work.find("verify.changed_after_signature", field=f"object {number}")
    _fields(work, signatures)


def _prefixes(document: bytes) -> list[bytes]:
    """Digests at each ``%%EOF`` with its line end, oldest first, bounded."""
    digests: list[bytes] = []
    done, start, hasher = 0, 0, hashlib.sha256()
    while len(digests) < LIMITS["verify.revisions"] and (start := document.find(b"%%EOF", done)) >= 0:
        end = start + 5
        if document[end : end + 2] == b"\r\n":
            end += 2
        elif document[end : end + 1] in {b"\r", b"\n"}:
            end += 1
        hasher.update(memoryview(document)[done:end])
        digests.append(hasher.copy().digest())
        done = end
    return digests


def _read_dss(work: _Work, reader: PdfFileReader) -> None:
    if "/DSS" not in reader.root:
        return
    dss = reader.root["/DSS"]

    def streams(name: str) -> tuple[bytes, ...]:
        return tuple(s.get_object().data for s in (dss[name] if name in dss else ()))  # noqa: SIM401 - get() leaves references unresolved

    work.revocation = Revocation(streams("/OCSPs"), streams("/CRLs"))
    work.dss_certificates = tuple(x509.load_der_x509_certificate(der) for der in streams("/Certs"))


def _field(signature: EmbeddedPdfSignature) -> str:
    """A plain string: pyHanko's own kind drags its whole reader along."""
    return str(signature.fq_name)


def _covered(document: bytes, signature: EmbeddedPdfSignature) -> list[bytes]:
    zero, first, second, length = (int(n) for n in signature.byte_range)
    return [document[zero:first], document[second : second + length]]


def _timestamp(work: _Work, field: str, signed: Signed) -> tuple[dt.datetime | None, bool]:
    """``(proven time, trusted)``: a token that fails is a finding, one without a path proves nothing."""
    if signed.token is None:
        return None, False
    try:
        stamper, time = open_token(signed.token, signed.signature)
        path = find_path(stamper.certificate, (*stamper.others, *work.dss_certificates), work.anchors, time)
        if field in _ROLES and not (stamper.plain and _all_used(stamper, path)):
            raise CmsFault("format", "bytes that no signature covers")
    except (CmsFault, ValueError, x509.ExtensionNotFound) as error:
        work.find("verify.timestamp_wrong", field=field, detail=str(error))
        return None, False
    if path is None or not stamper.certificate.not_valid_before_utc <= time <= stamper.certificate.not_valid_after_utc:
        work.find("verify.timestamp_untrusted", "warning", field=field)
        return None, False
    if time > work.at + dt.timedelta(minutes=5):
        work.find("verify.time_in_future", field=field)
        return None, False
    state, detail = revocation_of(stamper.certificate, path.certificates[1], work.revocation, time)
    if state == "revoked":
        work.find("verify.timestamp_wrong", field=field, detail=detail)
        return None, False
    if state == "unchecked":
        work.find("verify.timestamp_revocation_not_checked", "warning", field=field)
    return time, True


def _signature(work: _Work, signature: EmbeddedPdfSignature, *, first: bool) -> SignatureReport:
    field = _field(signature)
    try:
        signed = open_cms(signature.pkcs7_content, _covered(work.document, signature))
    except CmsFault as fault:
        code, why = _FAULTS[fault.kind]
        work.find(code, field=field, detail=str(fault))
        return _failed(field, why)
    if not signed.ess:
        work.find("verify.certificate_not_named", "warning", field=field)
    if in_software(signed.certificate):
        work.find("verify.software_key", "info", field=field)
    before = len(work.findings)
    proven, stamped = _timestamp(work, field, signed)
    moment = proven or work.at
    signers = [a for a in work.anchors if not a.timestamps_only]
    path = find_path(signed.certificate, (*signed.others, *work.dss_certificates), signers, moment)
    if field in _ROLES and not (signed.plain and signed.token is not None and _all_used(signed, path)):
        work.find("verify.signature_constraint", field=field, detail="bytes that no signature covers")
    sub: SubIndication | None = _judge_certificate(work, field, signed.certificate, path, moment)
    if field == "Certifier" and (not first or signature.docmdp_level is None):
        work.find("verify.wrong_order", field=field)
        sub = SubIndication.SIG_CONSTRAINTS_FAILURE if sub is None else sub
    if sub is None and any(f.severity == "error" for f in work.findings[before:]):
        sub = SubIndication.SIG_CONSTRAINTS_FAILURE
    return _report(signature, signed, proven if stamped else None, path, sub, work)


def _all_used(signed: Signed, path: Path | None) -> bool:
    """In a signature of ours each certificate it carries is on its path: none is there that nothing proves.

    Without a path there is nothing to compare with; such a signature is not trusted anyway.
    """
    return path is None or all(other in path.certificates for other in signed.others)


def _judge_certificate(  # noqa: PLR0911 - one return a sub-indication
    work: _Work, field: str, certificate: x509.Certificate, path: Path | None, moment: dt.datetime
) -> SubIndication | None:
    if path is None:
        work.find("verify.no_trusted_path", field=field)
        return SubIndication.NO_CERTIFICATE_CHAIN_FOUND
    if moment > certificate.not_valid_after_utc:
        work.find("verify.certificate_expired", field=field, at=timestamp_text(moment))
        return SubIndication.EXPIRED
    if moment < certificate.not_valid_before_utc:
        work.find("verify.certificate_not_yet_valid", field=field, at=timestamp_text(moment))
        return SubIndication.NOT_YET_VALID
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        fit = usage.digital_signature or usage.content_commitment
    except x509.ExtensionNotFound:
        fit = True
    if not fit or (field in _ROLES and signs_reports(certificate)):
        work.find("verify.certificate_unfit", field=field)
        return SubIndication.CHAIN_CONSTRAINTS_FAILURE
    for subject, issuer in zip(path.certificates, path.certificates[1:], strict=False):
        state, detail = revocation_of(subject, issuer, work.revocation, moment)
        if state == "revoked":
            work.find("verify.certificate_revoked", field=field, at=detail)
            return SubIndication.REVOKED
        if state == "unchecked":
            work.find("verify.revocation_not_checked", field=field)
            return SubIndication.TRY_LATER
    return None


_PASSABLE = {SubIndication.TRY_LATER, SubIndication.NO_CERTIFICATE_CHAIN_FOUND, SubIndication.FORMAT_FAILURE}


def _indication(sub: SubIndication | None) -> Indication:
    if sub is None:
        return Indication.TOTAL_PASSED
    return Indication.INDETERMINATE if sub in _PASSABLE else Indication.TOTAL_FAILED


def _report(
    signature: EmbeddedPdfSignature,
    signed: Signed,
    proven: dt.datetime | None,
    path: Path | None,
    sub: SubIndication | None,
    work: _Work,
) -> SignatureReport:
    certificate = signed.certificate
    pades = str(signature.sig_object.get("/SubFilter")) == "/ETSI.CAdES.detached"
    level = "B-B" if proven is None else "B-LT" if work.revocation.ocsps or work.revocation.crls else "B-T"
    claimed: dt.datetime | None = signed.claimed or signature.self_reported_timestamp
    shown = proven or claimed
    issuer = certificate.issuer if path is None else path.certificates[1].subject
    return SignatureReport(
        field=_field(signature),
        signer=_name(certificate.subject),
        level=f"{'PAdES' if pades else 'CMS'}-{level}",
        indication=_indication(sub),
        sub_indication=sub,
        signed_at=None if shown is None else shown.isoformat(),
        timestamp=None if proven is None else proven.isoformat(),
        intact=True,
        trusted=path is not None,
        role="report" if path is not None and signs_reports(certificate) else _ROLES.get(_field(signature), "other"),
        issuing_ca=_name(issuer),
        managing_unit=_name(issuer),
        signing_time=None if claimed is None else claimed.isoformat(),
        integrity=True,
        valid_at_signing_time=None if sub is SubIndication.TRY_LATER or path is None else sub is None,
        certificate_validity=(
            certificate.not_valid_before_utc.isoformat(),
            certificate.not_valid_after_utc.isoformat(),
        ),
        certificate_sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        realm=None if path is None else path.anchor.realm.value,
    )


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def _failed(field: str, sub: SubIndication) -> SignatureReport:
    return SignatureReport(
        field=field, signer="", level="", indication=_indication(sub), sub_indication=sub, signed_at=None,
        timestamp=None, intact=False, trusted=False, role=_ROLES.get(field, "other"), issuing_ca="", managing_unit="",
        signing_time=None, integrity=False, valid_at_signing_time=None, certificate_validity=("", ""),
        certificate_sha256="", realm=None,
    )  # fmt: skip


def _document_timestamp(work: _Work, signature: EmbeddedPdfSignature) -> None:
    try:
        open_token(signature.pkcs7_content.rstrip(b"\x00"), b"".join(_covered(work.document, signature)))
    except (CmsFault, ValueError, x509.ExtensionNotFound) as error:
        work.find("verify.timestamp_wrong", field=_field(signature), detail=str(error))


def _fields(work: _Work, signatures: list[SignatureReport]) -> None:
    """A file that carries a field of ours carries exactly ours: Certifier then Seal, or Seal alone."""
    names = [s.field for s in signatures]
    if {"Certifier", "Seal"} & set(names) and names not in (["Certifier", "Seal"], ["Seal"]):
        extra = [n for n in names if n not in {"Certifier", "Seal"}]
        work.find("verify.extra_signature" if extra else "verify.wrong_order", field=", ".join(extra or names))
