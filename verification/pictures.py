"""A picture of the paper: find the QR seal, look its code up, and say what to compare. Never *genuine*: paper is compared by eye."""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

from core.errors import BadInput, ServiceError
from core.values import Realm
from verification.facts import CopyFacts, CopyRegister
from verification.policy import Policy
from verification.report import Finding, Report, Verdict

__all__ = ["check_picture"]

Reader = Callable[[bytes], Awaitable[list[str]]]


async def check_picture(
    data: bytes, *, at: dt.datetime, policy: Policy, register: CopyRegister | None, read: Reader,
    seal_id: Callable[[str], bytes],
) -> Report:  # fmt: skip
    """``read`` finds the texts of QR codes (in the sandbox); ``seal_id`` takes a URL to the id inside its seal."""
    del policy  # a QR seal's key comes from the key list, not from certificate anchors
    found: list[Finding] = []
    copy: CopyFacts | None = None
    try:
        ids = _ids(await read(data), seal_id)
    except ServiceError as error:
        return _report(at, Verdict.UNKNOWN, [Finding("verify.no_qr", "error", {"detail": error.code})], None)
    if not ids:
        return _report(at, Verdict.UNKNOWN, [Finding("verify.no_qr", "error", {"detail": ""})], None)
    if register is None:
        found.append(Finding("verify.register_not_checked", "error"))
    else:
        copy = await register.by_code(ids[0])
        if copy is None:
            found.append(Finding("verify.not_in_register", "error"))
        elif copy.recalled is not None:
            found.append(Finding("verify.recalled", "error", _recall(copy)))
            return _report(at, Verdict.RECALLED, found, copy)
        elif not copy.released:
            found.append(Finding("verify.not_released", "error"))
            return _report(at, Verdict.INVALID, found, copy)
        else:
            facts = {"number": copy.number, "agency": copy.agency_name, "pages": copy.qr_claims.get("pages", "")}
            found.append(Finding("verify.compare_paper", "warning", facts))
    return _report(at, Verdict.UNDETERMINED, found, copy)


def _ids(texts: list[str], seal_id: Callable[[str], bytes]) -> list[bytes]:
    ids = []
    for text in texts:
        try:
            ids.append(seal_id(text))
        except BadInput:
            continue
    return ids


def _recall(copy: CopyFacts) -> dict[str, Any]:
    assert copy.recalled is not None
    return {
        "at": copy.recalled.at.isoformat(),
        "reason": copy.recalled.reason,
        "successor": copy.recalled.successor or "",
    }


def _report(at: dt.datetime, verdict: Verdict, findings: list[Finding], copy: CopyFacts | None) -> Report:
    realm: Realm | None = copy.realm if copy is not None else None
    return Report(verdict=verdict, realm=realm, at=at, signatures=(), findings=tuple(findings), copy=copy)
