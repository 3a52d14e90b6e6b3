"""Entry for the sandbox: hostile bytes are parsed here, in a process without secrets."""

import datetime as dt
from dataclasses import asdict
from typing import Any

from verification.engine.document import DocumentFacts, read_document
from verification.policy import TrustAnchor
from verification.report import Finding, Indication, SignatureReport, SubIndication

__all__ = ["facts_of", "judge"]


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
