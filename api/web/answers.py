"""What the citizen's page says: a state, the parts of the page that apply, and the values that stand in them.

The page holds one template of a result. The server fills it here; the browser, which checks seals by itself, fills the
same template from the same parts (``static/citizen.js``). A verdict comes from the checked value alone.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from api.web.lookup import Found
from core.clock import VIETNAM
from core.formats import typed_code
from core.formats.qr_seal import SealClaims
from verification.report import Finding, Report, SignatureReport, Verdict

__all__ = ["Answer", "date_text", "facts_json", "of_code", "of_failure", "of_report", "of_seal", "time_text"]

_REASONS: Final = {
    "qr.bad_signature": "why.forged", "qr.unknown_key": "why.unknown_key", "qr.key_dates": "why.key_dates",
    "qr.key_revoked": "why.key_revoked",
}  # fmt: skip
_FINDINGS: Final = {
    "verify.seal_not_in_register": "why.not_in_register", "verify.number_voided": "why.not_in_register",
    "verify.not_released": "why.not_in_register", "verify.qr_differs": "why.differs",
    "verify.seal_keys_old": "why.keys_old", "verify.seal_keys_missing": "why.no_keys",
    "verify.register_not_checked": "why.no_register", "verify.several_seals": "why.several",
}  # fmt: skip
_VERDICTS: Final = {
    Verdict.GENUINE: ("valid", "say.genuine"), Verdict.ALTERED: ("invalid", "say.altered"),
    Verdict.INVALID: ("invalid", "say.unacceptable"), Verdict.RECALLED: ("revoked", "say.revoked"),
    Verdict.UNKNOWN: ("undetermined", "say.unknown"), Verdict.UNDETERMINED: ("undetermined", "say.undetermined"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One result; ``parts`` and ``slots`` are names in ``templates/result.html``."""

    state: str
    parts: frozenset[str]
    slots: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[tuple[str, str], ...] = ()
    """Vietnamese, English."""
    signatures: tuple[SignatureReport, ...] = ()
    pictures: tuple[str, ...] = ()

    def having(self, *parts: str, pictures: tuple[str, ...] = ()) -> "Answer":
        """With more on it."""
        return replace(self, parts=self.parts | set(parts), pictures=pictures or self.pictures)


def time_text(at: dt.datetime) -> str:
    """``25/11/2026, 14:05``, Vietnam's."""
    return at.astimezone(VIETNAM).strftime("%d/%m/%Y, %H:%M")


def date_text(at: dt.datetime) -> str:
    """``25/11/2026``, Vietnam's."""
    return at.astimezone(VIETNAM).strftime("%d/%m/%Y")


def of_code(found: Found | None, at: dt.datetime) -> Answer:
    """By a typed code."""
    if found is None:
        return _answer("invalid", at, "say.invalid", "why.no_such_code")
    return _of_found(found, at, "note.typed", "note.online")


def of_seal(state: str, findings: Iterable[Finding], found: Found | None, at: dt.datetime) -> Answer:
    """By a seal that the server checked in the browser's place, or found in a picture."""
    if state in {"valid", "revoked"}:
        return (
            _answer("undetermined", at, "say.undetermined", "why.no_register")
            if found is None
            else _of_found(found, at, "note.online")
        )
    why = {_FINDINGS.get(f.code) or _REASONS.get(str(f.evidence.get("detail")), "why.malformed") for f in findings}
    return _answer(state, at, f"say.{state}", *why)


def of_report(report: Report, found: Found | None, at: dt.datetime) -> Answer:
    """By a file. A picture is judged by its code, and a person compares."""
    if report.seal is not None:
        return of_seal(report.seal["state"], report.findings, found, at).having("note.picture")
    if any(f.code == "verify.no_qr" for f in report.findings):
        return _answer("undetermined", at, "say.failed", "why.no_qr")
    state, say = _VERDICTS[report.verdict]
    answer = _answer(state, at, say)
    if found is not None and report.verdict in {Verdict.GENUINE, Verdict.RECALLED}:
        answer = _of_found(found, at, "note.online")
        if answer.state == "valid":  # the bytes themselves were judged: no paper to be wary of
            answer = replace(answer, parts=answer.parts - {"say.valid", "compare", "caution"} | {say, "concerns"})
    said = tuple(
        (f.text("vi"), f.text("en")) for f in report.findings if f.severity != "info" and f.code != "verify.recalled"
    )
    more = {name for name, given in (("findings", said), ("signatures", report.signatures)) if given}
    return replace(answer, parts=answer.parts | more, findings=said, signatures=report.signatures)


def of_failure(texts: tuple[str, str], at: dt.datetime) -> Answer:
    """Nothing could be checked; why, in two languages."""
    return replace(_answer("undetermined", at, "say.failed", "findings"), findings=(texts,))


def facts_json(found: Found) -> dict[str, Any]:
    """What stands on the paper, for programs: the browser compares it with the seal it has read."""
    claims = found.claims
    return {
        "code": typed_code.write(claims.id), "agency": found.agency, "agency_code": found.agency_code,
        "agency_successor": found.agency_successor, "number_text": found.number, "book_text": found.book,
        "number": claims.number, "year": claims.year, "volume": claims.volume, "issued_at": claims.issued_at.isoformat(),
        "kind": found.kind, "original_number": claims.original_number, "original_text": found.original, "pages": claims.pages,
        "initials": claims.initials, "content_sha256": claims.content_sha256.hex(), "realm": found.realm.value,
    }  # fmt: skip


def _answer(state: str, at: dt.datetime, *parts: str, **slots: str) -> Answer:
    return Answer(state=state, parts=frozenset(parts), slots={"checked": time_text(at), **slots})


def _of_found(found: Found, at: dt.datetime, *parts: str) -> Answer:
    claims = found.claims
    more = {"facts", *parts}
    slots = {
        "agency": found.agency, "number": found.number, "book": found.book, **_said(claims), "kind": found.kind,
        "original": found.original,
    }  # fmt: skip
    if found.original:
        more |= {"fact.original"} | ({"fact.partial"} if found.original.endswith("…") else set())
    if found.agency_successor:
        more.add("fact.successor")
        slots["agency_successor"] = found.agency_successor
    if found.recalled is None:
        return _answer("valid", at, "say.valid", "compare", "caution", *more, **slots)
    more |= {"recall", "concerns"} | ({"recall.reason"} if found.recalled.reason else set())
    slots |= {"recalled": time_text(found.recalled.at), "reason": found.recalled.reason}
    slots["recalled_day"] = date_text(found.recalled.at)
    if found.recalled.successor:
        more.add("recall.successor")
        slots["successor"] = found.recalled.successor
    return _answer("revoked", at, "say.revoked", *more, **slots)


def _said(claims: SealClaims) -> dict[str, str]:
    return {
        "date": date_text(claims.issued_at), "pages": str(claims.pages), "initials": claims.initials,
        "code": typed_code.write(claims.id),
    }  # fmt: skip
