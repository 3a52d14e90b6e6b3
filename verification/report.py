"""The answer of a check: a report, never a boolean (EN 319 102-1; Circular 15/2025/TT-BKHCN art. 6)."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

from core.clock import timestamp_text
from core.messages import sentence
from core.values import Realm
from verification.facts import CopyFacts, Recall

__all__ = ["Finding", "Indication", "Report", "SignatureReport", "SubIndication", "Verdict", "recall_finding"]


class Verdict(StrEnum):
    """One word; ``exit_code`` for programs."""

    GENUINE = "genuine"
    ALTERED = "altered"
    INVALID = "invalid"
    RECALLED = "recalled"
    UNKNOWN = "unknown"
    UNDETERMINED = "undetermined"

    @property
    def exit_code(self) -> int:
        """0 genuine, 1 not to be accepted, 3 not known."""
        return {"genuine": 0, "altered": 1, "invalid": 1, "recalled": 1, "unknown": 3, "undetermined": 3}[self.value]


class Indication(StrEnum):
    """EN 319 102-1 main status."""

    TOTAL_PASSED = "TOTAL-PASSED"
    TOTAL_FAILED = "TOTAL-FAILED"
    INDETERMINATE = "INDETERMINATE"


class SubIndication(StrEnum):
    """EN 319 102-1 sub-indications that occur here."""

    FORMAT_FAILURE = "FORMAT_FAILURE"
    HASH_FAILURE = "HASH_FAILURE"
    SIG_CRYPTO_FAILURE = "SIG_CRYPTO_FAILURE"
    SIG_CONSTRAINTS_FAILURE = "SIG_CONSTRAINTS_FAILURE"
    CRYPTO_CONSTRAINTS_FAILURE_NO_POE = "CRYPTO_CONSTRAINTS_FAILURE_NO_POE"
    NO_CERTIFICATE_CHAIN_FOUND = "NO_CERTIFICATE_CHAIN_FOUND"
    CHAIN_CONSTRAINTS_FAILURE = "CHAIN_CONSTRAINTS_FAILURE"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    NOT_YET_VALID = "NOT_YET_VALID"
    TRY_LATER = "TRY_LATER"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing seen; ``severity`` is info, warning or error."""

    code: str
    severity: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def text(self, language: str = "vi") -> str:
        """The sentence for people."""
        return sentence(self.code, language, **self.evidence)


def recall_finding(recall: Recall) -> Finding:
    """When, why, and what takes its place."""
    evidence = {"at": timestamp_text(recall.at), "reason": recall.reason, "successor": recall.successor or "–"}
    return Finding("verify.recalled", "error", evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureReport:
    """One signature, with what art. 6 asks to show. Times are ISO 8601 in UTC."""

    field: str
    signer: str
    level: str
    indication: Indication
    sub_indication: SubIndication | None
    signed_at: str | None
    timestamp: str | None
    intact: bool
    trusted: bool
    role: str
    """certifier, seal, report (a verification sheet) or other."""
    issuing_ca: str
    managing_unit: str
    signing_time: str | None
    integrity: bool
    valid_at_signing_time: bool | None
    """None: not checked."""
    certificate_validity: tuple[str, str]
    certificate_sha256: str
    realm: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Verdict, evidence and the copy it belongs to."""

    verdict: Verdict
    realm: Realm | None
    at: dt.datetime
    signatures: tuple[SignatureReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    copy: CopyFacts | None = None
    seal: dict[str, Any] | None = None
    """The QR seal of a picture (``Seal.to_json``): its state is of the code, the verdict of the paper."""

    def __bool__(self) -> NoReturn:
        raise TypeError("a report is not a boolean; read its verdict")

    def sentence(self, language: str = "vi") -> str:
        """One plain sentence; a training document always says so."""
        code = f"verify.verdict.{self.verdict.value}"
        evidence: dict[str, Any] = {"detail": self._detail(language)}
        if self.copy is not None and self.verdict is Verdict.GENUINE:
            code = "verify.verdict.genuine_copy"
            evidence |= {"number": self.copy.number, "agency": self.copy.agency_name}
        if self.seal is not None and self.seal["state"] == "valid":
            code = "verify.verdict.seal_valid"
        text = sentence(code, language, **evidence)
        return f"{sentence('verify.training', language)} {text}" if self.realm is Realm.TRAINING else text

    def _detail(self, language: str) -> str:
        grave = [f for f in self.findings if f.severity == "error"] or [
            f for f in self.findings if f.severity == "warning"
        ]
        return grave[0].text(language) if grave else ""

    def to_json(self) -> dict[str, Any]:
        """The stable outside form; ``file`` is filled by whoever knows the name."""
        return {
            "file": None,
            "verdict": self.verdict.value,
            "realm": None if self.realm is None else self.realm.value,
            "sentence": self.sentence("vi"),
            "sentence_en": self.sentence("en"),
            **({} if self.seal is None else {"seal": self.seal}),
            "signatures": [asdict(s) for s in self.signatures],
            "findings": [{"code": f.code, "severity": f.severity, "text": f.text("vi")} for f in self.findings],
        }
