"""The check, in numbered steps. Bytes in, a report out; a step that cannot run says so by name."""

import datetime as dt
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from core.errors import ServiceError
from core.formats.note import NoteKey, verify_proof
from core.formats.qr_seal import SealState
from core.limits import LIMITS
from core.values import Realm
from verification.engine import codes
from verification.facts import CopyFacts, CopyRegister
from verification.policy import Policy
from verification.report import Finding, Indication, Report, SignatureReport, recall_finding
from verification.seals import SealLists, judge_seal
from verification.verdict import decide
from verification.worker import facts_of, judge

__all__ = ["Runner", "verify"]

Judge = Callable[[bytes, dict[str, Any]], tuple[dict[str, Any], bytes]]
Runner = Callable[[Judge, bytes, dict[str, Any]], Awaitable[tuple[dict[str, Any], bytes]]]
"""``async run(function, payload, arguments)``: the sandbox."""


async def verify(
    document: bytes,
    *,
    at: dt.datetime,
    policy: Policy,
    register: CopyRegister | None,
    run: Runner | None = None,
    host: str | None = None,
) -> Report:
    """Judge ``document`` as seen at ``at``. Raises nothing for what is in the file."""
    # 1 ------------------------------------------------------------------------------------------ size and type
    if len(document) > LIMITS["verify.bytes"] or not document.startswith(b"%PDF-"):
        code = "verify.bytes_unaccounted" if b"%PDF-" in document[:1024] else "verify.not_a_pdf"
        return _close(at, (), [Finding(code, "error", {"detail": "%PDF"})], None)

    # 2–5 ------------------------------------------------- revisions, signatures, paths, changes (in the sandbox)
    arguments = {"at": at.isoformat(), "anchors": [a.to_json() for a in policy.anchors]}
    try:
        answer, _ = judge(document, arguments) if run is None else await run(judge, document, arguments)
    except ServiceError as error:
        return _close(at, (), [Finding("verify.unreadable", "error", {"detail": error.code})], None)
    facts = facts_of(answer)
    findings = list(facts.findings)

    # 6 ----------------------------------------------------------------------------------------------- register
    digest = hashlib.sha256(document).digest()
    ours = any(s.role in {"certifier", "seal"} for s in facts.signatures)
    if any(s.role == "report" for s in facts.signatures):
        # anybody may have a sheet made, of a forged copy too: right as its signature may be, it makes nothing genuine
        findings.append(Finding("verify.is_report", "error"))
    copy: CopyFacts | None = None
    if register is None:
        if ours:
            findings += _offline(facts.signatures)
    else:
        try:
            copy = await register.by_file(digest, list(facts.prefixes))
        except ServiceError:
            findings.append(Finding("verify.register_not_checked", "error"))
        else:
            if copy is None and ours:
                findings.append(Finding("verify.not_in_register", "error"))
    if copy is not None:
        findings += _compare(copy, digest, facts.signatures) + _receipt(copy)
    # 7 ------------------------------------------------------------------- QR facts, from the page as it is shown
    if ours and host is not None:
        findings += await _seal(document, host, facts.prefixes, copy, register, at, run)
    # 8 ------------------------------------------------------------------------------------------------ verdict
    return _close(at, facts.signatures, findings, copy)


async def _seal(
    document: bytes, host: str, prefixes: tuple[bytes, ...], copy: CopyFacts | None, register: CopyRegister | None,
    at: dt.datetime, run: Runner | None,
) -> list[Finding]:  # fmt: skip
    """The code on the paper must speak of this very file: its content hash is one of our revisions', and so on."""
    prefix = {"prefix": f"https://{host}/v#"}
    try:
        found, _ = codes.on_pages(document, prefix) if run is None else await run(codes.on_pages, document, prefix)
        lists = None if register is None else SealLists(await register.seal_keys())
    except ServiceError:
        return [Finding("verify.qr_not_read", "warning")]
    if not found["texts"]:
        return [Finding("verify.qr_not_read", "warning")]
    seal = judge_seal(found["texts"][0], host=host, lists=lists, at=at, copy=copy, online=register is not None)
    if seal.claims is not None and seal.claims.content_sha256 not in prefixes:
        return [Finding("verify.qr_differs", "error")]
    if seal.state is SealState.VALID:
        return [Finding("verify.qr_right", "info")]
    if seal.state is SealState.UNDETERMINED:
        return [Finding("verify.qr_not_checked", "warning")]
    return [
        f for f in seal.findings if f.code not in {"verify.recalled", "verify.not_released", "verify.number_voided"}
    ]


def _compare(copy: CopyFacts, digest: bytes, signatures: tuple[SignatureReport, ...]) -> list[Finding]:
    found = []
    if copy.register_state == "voided":
        found.append(Finding("verify.number_voided", "error", {"number": copy.number}))
    elif not copy.released:
        found.append(Finding("verify.not_released", "error", {"number": copy.number}))
    elif digest not in copy.released_digests:
        found.append(Finding("verify.differs_from_register", "error", {"number": copy.number}))
    expected = {"seal": copy.seal_cert_sha256.hex()}
    if copy.certifier_cert_sha256 is not None:
        expected["certifier"] = copy.certifier_cert_sha256.hex()
    if {s.role: s.certificate_sha256 for s in signatures} != expected:
        found.append(Finding("verify.wrong_signer", "error"))
    if any(s.realm not in {None, copy.realm.value} for s in signatures):
        found.append(Finding("verify.mixed_realm", "error"))
    if copy.recalled is not None:
        found.append(recall_finding(copy.recalled))
    return found


def _receipt(copy: CopyFacts) -> list[Finding]:
    if copy.receipt is None or copy.leaf is None or copy.log_vkey is None:
        return [Finding("verify.receipt_not_checked", "error")]
    try:
        verify_proof(copy.receipt.decode(), copy.leaf, NoteKey.parse(copy.log_vkey))
    except ValueError as error:
        return [Finding("verify.receipt_wrong", "error", {"detail": str(error)})]
    return [Finding("verify.receipt_right", "info")]


def _close(
    at: dt.datetime, signatures: tuple[SignatureReport, ...], findings: list[Finding], copy: CopyFacts | None
) -> Report:
    realms = {s.realm for s in signatures if s.realm is not None} | ({copy.realm.value} if copy else set())
    if len(realms) > 1 and not any(f.code == "verify.mixed_realm" for f in findings):
        findings.append(Finding("verify.mixed_realm", "error"))
    realm = Realm.TRAINING if "training" in realms else Realm.PRODUCTION if realms else None
    if not signatures:
        findings.append(Finding("verify.no_signature", "error"))
    verdict = decide(signatures, findings)
    return Report(verdict=verdict, realm=realm, at=at, signatures=signatures, findings=tuple(findings), copy=copy)


def _offline(signatures: tuple[SignatureReport, ...]) -> list[Finding]:
    """Without a register: what the signatures alone prove comes first."""
    passed = all(s.indication is Indication.TOTAL_PASSED for s in signatures)
    recall = "verify.offline" if passed else "verify.recall_not_checked"
    return [Finding(recall, "error"), Finding("verify.register_not_checked", "error")]
