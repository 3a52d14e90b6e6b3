"""Entry for the sandbox: hostile bytes are parsed here, in a process without secrets."""

import datetime as dt
import importlib
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from core.values import Realm
from verification.engine.document import DocumentFacts, read_document
from verification.policy import TrustAnchor
from verification.report import Finding, Indication, SignatureReport, SubIndication

__all__ = ["facts_of", "judge", "warm"]


_USED_LATE = (
    "cryptography.hazmat.backends.openssl.backend",
    "asn1crypto.tsp",
    "asn1crypto.ocsp",
    "asn1crypto.crl",
    "encodings.idna",
    "stringprep",
)


def judge(payload: bytes, arguments: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Document bytes in; facts that JSON can carry out. ``arguments``: at (ISO 8601), anchors."""
    anchors = tuple(TrustAnchor.from_json(row) for row in arguments["anchors"])
    facts = read_document(payload, dt.datetime.fromisoformat(arguments["at"]), anchors)
    return {
        "signatures": [asdict(s) for s in facts.signatures],
        "findings": [[f.code, f.severity, dict(f.evidence)] for f in facts.findings],
        "prefixes": [p.hex() for p in facts.prefixes],
    }, b""


def facts_of(answer: dict[str, Any]) -> DocumentFacts:
    """Inverse of ``judge`` in the parent."""
    signatures = []
    for row in answer["signatures"]:
        sub = row["sub_indication"]
        signatures.append(
            SignatureReport(
                **{
                    **row,
                    "indication": Indication(row["indication"]),
                    "sub_indication": None if sub is None else SubIndication(sub),
                    "certificate_validity": tuple(row["certificate_validity"]),
                }
            )
        )
    findings = tuple(Finding(code, severity, evidence) for code, severity, evidence in answer["findings"])
    return DocumentFacts(tuple(signatures), findings, tuple(bytes.fromhex(p) for p in answer["prefixes"]))


def warm() -> None:
    """Judge a signed page once before the walls: parsers import lazily, and children begin with everything built.

    ``warm/page.pdf`` is a blank page with two signatures and validation data, made with keys thrown away.
    """
    kept = files("verification") / "warm"
    root = TrustAnchor(certificate=(kept / "root.der").read_bytes(), realm=Realm.TRAINING)
    arguments = {"at": "2026-11-26T00:00:00+00:00", "anchors": [root.to_json()]}
    judge((kept / "page.pdf").read_bytes(), arguments)
    for module in _USED_LATE:
        importlib.import_module(module)
