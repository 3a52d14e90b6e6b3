"""Check a request's evidence from its file alone, years later: no database, no network, no key of ours.

What the file proves by itself: a passkey approved exactly these digests under this origin, with user verification; the
keys of these certificates signed them; the log spoke of each signature. Whom passkey, certificate, origin and log belong
to, the file only claims: give what you expect (``Expected``), or a warning says that it was not compared.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asn1crypto import cms as asn1
from cryptography.exceptions import InvalidSignature

from audit.events import commit
from core.certificates import Certificate
from core.errors import ServiceError
from core.formats import canonical_json
from core.formats.note import NoteKey, verify_proof
from core.limits import LIMITS
from core.values import Digest, SignatureAlgorithm
from signer.activation import redeem
from signer.activation.record import ActivationRecord
from signer.formats import pades
from signer.requests.history import DOCUMENT as _SAID_OF_DOCUMENTS
from signer.requests.history import History, time_of
from verification.report import Finding

__all__ = ["FORMAT", "Expected", "said_of", "signature_of", "verify_evidence_file"]

FORMAT = "dauso/evidence/v1"
_UNREADABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError, binascii.Error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the reader knows from elsewhere. None: not known, and said so."""

    origin: str | None = None
    """Of the signing pages, e.g. ``https://ky.example.gov.vn``."""
    log_key: str | None = None
    """The log's verifier key (``name+hex+base64``)."""
    root: bytes | None = None
    """DER of the root that certificates must lead to."""


def said_of(request_id: str, version: int, said: Mapping[str, Any]) -> bytes:
    """What a change's leaf commits to, as bytes."""
    return canonical_json.encode({"request": request_id, "version": version, "said": dict(said)})


def signature_of(cms: bytes) -> bytes:
    """The value in the first signer information. Raises ``ValueError``."""
    return bytes(asn1.ContentInfo.load(cms)["content"]["signer_infos"][0]["signature"].native)


def verify_evidence_file(
    data: bytes, signed: bytes | None = None, *, expected: Expected | None = None
) -> list[Finding]:
    """What is wrong, not compared, and right, in the order of the file; an error among them means: do not rely on it.

    ``signed``: a signed file of the request, byte for byte. Raises nothing for what is in the file.
    """
    expected = expected or Expected()
    try:
        if len(data) > LIMITS["verify.bytes"]:
            raise ValueError("too large")
        value: Any = json.loads(data)
        if value["format"] != FORMAT:
            raise ValueError("another format")
        check = _Check(value, expected)
        found = check.run(signed)
    except (ServiceError, *_UNREADABLE) as error:
        return [Finding("evidence.unreadable", "error", {"detail": str(error)[:80] or type(error).__name__})]
    if not any(each.severity == "error" for each in found):
        found.append(Finding("evidence.sound", "info", {"steps": len(value["steps"])}))
    return found


class _Check:
    """One reading of one file."""

    def __init__(self, value: dict[str, Any], expected: Expected) -> None:
        self._value, self._expected = value, expected
        self._found: list[Finding] = []
        self._documents = {each["id"]: each for each in value["documents"]}
        self._log_key = NoteKey.parse(expected.log_key or value["log"])
        if NoteKey.parse(value["log"]) != self._log_key:
            self._find("evidence.receipt_wrong", about="log", detail="another log")
        self._history = History.of(value["changes"])
        self._claimed: list[str] = []

    def _find(self, code: str, severity: str = "error", **evidence: Any) -> None:
        self._found.append(Finding(code, severity, evidence))

    def _when(self, wrong: object, code: str, **evidence: Any) -> None:
        if wrong:
            self._find(code, **evidence)

    def run(self, signed: bytes | None) -> list[Finding]:
        for what, known in (
            ("origin", self._expected.origin),
            ("log", self._expected.log_key),
            ("root", self._expected.root),
        ):
            if known is None:
                self._find("evidence.not_compared", "warning", what=what)
        for number, step in enumerate(self._value["steps"]):
            self._step(step)
            self._about(step, f"steps/{number}")
        for change in self._value["changes"]:
            self._change(change)
        self._whole()
        if self._claimed:
            self._find("evidence.claimed", "warning", what=", ".join(self._claimed))
        if signed is None:
            self._find("evidence.not_compared", "warning", what="file")
        else:
            self._file(signed)
        return self._found

    # ------------------------------------------------------------------------------------------------------- a step
    def _step(self, step: Mapping[str, Any]) -> None:
        certificate = self._certificates(step)
        places = [order["document"] for order in step["orders"]]
        self._when(
            places != [each["id"] for each in self._value["documents"]], "evidence.other_digest", step=step["id"]
        )
        if step["activation"] is None:
            self._find("evidence.no_approval", "error" if step["provider"] is None else "warning", step=step["id"])
        else:
            self._approval(step, certificate)
        for order in step["orders"]:
            self._order(step, order, certificate)

    def _about(self, step: Mapping[str, Any], where: str) -> None:
        """What is said of the step beside its approval and its signatures."""
        asked = {
            "position": step["position"], "kind": step["kind"], "provider": step["provider"], "person": step["person"]["id"],
        }  # fmt: skip
        wrong = asked != self._history.asked.get(step["id"])
        if step["kind"] == "seal":
            self._claimed.append(f"{where}/person/name")
        else:
            wrong |= step["person"]["name"] != Certificate.parse(_b64(step["certificate"])).common_name
        wrong |= step["signed_at"] != max(time_of(order["log"]) for order in step["orders"])
        settled = self._history.signed.get(step["id"])
        if settled is not None:
            wrong |= (step["code"], step["approved_at"]) != (settled["code"], settled["approved_at"])
        elif step["activation"] is not None:
            self._claimed.append(f"{where}/approved_at")
        else:
            wrong |= (step["code"], step["approved_at"]) != (None, None)
        self._when(wrong, "evidence.record_differs", step=step["id"])

    def _certificates(self, step: Mapping[str, Any]) -> Certificate:
        first, *chain = [Certificate.parse(_b64(each)) for each in (step["certificate"], *step["chain"])]
        try:
            for subject, issuer in zip((first, *chain), chain, strict=False):
                subject.parsed.verify_directly_issued_by(issuer.parsed)
        except (InvalidSignature, ValueError, TypeError):
            self._find("evidence.certificate_wrong", step=step["id"])
        root = self._expected.root
        if root is not None and step["activation"] is not None and (not chain or chain[-1].der != root):
            self._find("evidence.certificate_wrong", step=step["id"])
        return first

    def _approval(self, step: Mapping[str, Any], certificate: Certificate) -> None:
        """The passkey's answer, against the record, and the record against what was signed."""
        evidence = step["activation"]
        try:
            record = redeem.verify_evidence(evidence)
        except ServiceError as error:
            self._find(error.code, step=step["id"])
            return
        origin = self._expected.origin
        if origin is not None and evidence["origin"] != origin.rstrip("/"):
            self._find("activation.wrong_origin", step=step["id"])
        if evidence["assertion"]["credential_id"]:
            self._claimed.append(f"{step['id']}/credential_id")
        self._record(step, record, certificate)

    def _record(self, step: Mapping[str, Any], record: ActivationRecord, certificate: Certificate) -> None:
        role = "seal" if step["kind"] == "seal" else "signer"
        request = self._value["request"]
        said = (
            record.realm.value, record.purpose, record.title, record.client, record.description, record.code, record.pages
        )  # fmt: skip
        wanted = (
            self._value["realm"], role, request["title"], request["client_name"], self._value["agency"]["name"],
            step["code"], sum(each["pages"] for each in self._value["documents"]),
        )  # fmt: skip
        self._when(said != wanted, "evidence.record_differs", step=step["id"])
        self._when(
            record.key_sha256 != hashlib.sha256(certificate.spki).digest(), "evidence.other_key", step=step["id"]
        )
        signed = tuple(bytes.fromhex(order["to_sign"]) for order in step["orders"])
        self._when(record.hashes != signed, "evidence.other_digest", step=step["id"])

    # ---------------------------------------------------------------------------------------------------- an order
    def _order(self, step: Mapping[str, Any], order: Mapping[str, Any], certificate: Certificate) -> None:
        attributes, value = _b64(order["signed_attributes"]), _b64(order["signature"])
        digest = Digest.from_hex(order["digest"], order["to_sign"])
        named = _named(attributes)
        document = self._documents[order["document"]]
        given = document["digest"]
        wrong = order["format"] != ("cades" if document["kind"] == "digest" else "pades")
        wrong |= Digest.of(attributes, digest.algorithm) != digest or named.hex() != order["message_digest"]
        self._when(wrong or (given is not None and given != named.hex()), "evidence.other_digest", step=step["id"])
        try:
            certificate.verify(value, attributes, SignatureAlgorithm(order["algorithm"]))
        except InvalidSignature:
            self._find("evidence.signature_wrong", step=step["id"])
        salt, cert = _b64(order["salt"]), certificate.sha256
        wanted = {
            "type": "signature_made", "event_id": f"{order['id']}.signature_made", "tenant_id": self._value["realm"],
            "doc_commit": _text(commit(salt, digest.value)), "sig_hash": _text(hashlib.sha256(value).digest()),
            "cert_sha256": _text(cert if step["kind"] == "seal" else commit(salt, cert)),
        }  # fmt: skip
        self._leaf(order["log"], wanted, step["id"])

    def _leaf(self, entry: Mapping[str, Any], wanted: Mapping[str, Any], about: str) -> None:
        leaf = _b64(entry["leaf"])
        said = canonical_json.decode(leaf)
        self._when(any(said.get(k) != v for k, v in wanted.items()), "evidence.leaf_wrong", about=about)
        try:
            verify_proof(str(entry["receipt"]), leaf, self._log_key)
        except ValueError as error:
            self._find("evidence.receipt_wrong", about=about, detail=str(error))

    # ----------------------------------------------------------------------------------------------------- changes
    def _change(self, change: Mapping[str, Any]) -> None:
        """What the request said of itself, as the log committed to it."""
        request = self._value["request"]["id"]
        said = said_of(request, change["version"], change["said"])
        wanted = {
            "type": change["type"], "event_id": f"{request}.{change['type']}.{change['version']}",
            "tenant_id": self._value["realm"],
            "doc_commit": _text(commit(_b64(self._value["salt"]), hashlib.sha256(said).digest())),
        }  # fmt: skip
        self._leaf(change["log"], wanted, change["type"])
        self._when(change["at"] != time_of(change["log"]), "evidence.record_differs", step=change["type"])

    def _whole(self) -> None:
        """Request, agency and documents as named here are those of the changes that the log committed to."""
        history, rows = self._history, self._value["documents"]
        if not history.plain:
            self._find("evidence.leaf_wrong", about="request_created")
        if history.created is not None:
            named = [(row["id"], row["sha256"], row["digest"]) for row in history.created["documents"]]
            here = [(row["id"], row["sha256"], row["digest"]) for row in rows]
            self._when(named != here, "evidence.other_digest", step="request_created")
        signed = {row["id"]: row["signed_sha256"] for row in rows if row["signed_sha256"] is not None}
        self._when(signed != history.released, "evidence.other_digest", step="request_settled")
        same = (
            history.request == {name: self._value["request"][name] for name in history.request}
            and history.agency == self._value["agency"]
            and history.documents == [{name: row[name] for name in _SAID_OF_DOCUMENTS} for row in rows]
        )
        self._when(not same, "evidence.record_differs", step="request_created")
        # evidence of a part must not read as evidence of the whole
        present = {step["id"] for step in self._value["steps"]}
        due = set(history.wanted if history.state == "completed" or not present else history.signed)
        missing = due - present
        if missing:
            self._find("evidence.step_missing", steps=len(missing))

    # ------------------------------------------------------------------------------------------------------ a file
    def _file(self, signed: bytes) -> None:
        """Each signature of the request, in the bytes."""
        sha256 = hashlib.sha256(signed).hexdigest()
        ids = [key for key, each in self._documents.items() if each["signed_sha256"] == sha256]
        if not ids:
            self._find("evidence.other_file")
            return
        for step in self._value["steps"]:
            certificate = _b64(step["certificate"])
            for order in (each for each in step["orders"] if each["document"] == ids[0]):
                try:
                    _in_file(signed, order, certificate)
                except (ServiceError, *_UNREADABLE):
                    self._find("evidence.other_file")


def _in_file(signed: bytes, order: Mapping[str, Any], certificate: bytes) -> None:
    """Raises ``pades.self_check``, ``ValueError``."""
    if order["format"] == "cades":
        if _b64(order["signature"]) not in _values(signed):
            raise ValueError("not in the file")
        return
    prepared = pades.PreparedSignature.from_json(
        {
            "field": "", "byte_range": order["byte_range"], "message_digest": order["message_digest"],
            "signed_attributes": _b64(order["signed_attributes"]).hex(), "to_sign": order["to_sign"],
            "digest": order["digest"], "algorithm": order["algorithm"],
        },
        b"",
    )  # fmt: skip
    pades.check(signed, prepared, certificate)


def _values(cms: bytes) -> Sequence[bytes]:
    return [bytes(each["signature"].native) for each in asn1.ContentInfo.load(cms)["content"]["signer_infos"]]


def _named(attributes: bytes) -> bytes:
    """What message-digest says. Raises ``ValueError`` unless it is there once."""
    loaded = asn1.CMSAttributes.load(attributes)
    (value,) = [each["values"][0].native for each in loaded if each["type"].native == "message_digest"]
    return bytes(value)


def _b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
