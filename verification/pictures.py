"""A picture of the paper: find the QR seal, judge it, and say what to compare.

A right code proves which entry the paper claims to be, not that the paper is that one: it can be copied onto any sheet.
So a picture is never *genuine* (ADR 3); its ``seal`` says *valid*, and a person compares.
"""

import datetime as dt
from collections.abc import Awaitable, Callable

from core.errors import ServiceError
from core.formats import typed_code
from core.formats.qr_seal import SealClaims, SealState
from core.values import Realm
from verification.facts import CopyFacts, CopyRegister
from verification.report import Finding, Report, Verdict
from verification.seals import Seal, SealLists, judge_seal

__all__ = ["check_picture"]

Reader = Callable[[bytes], Awaitable[list[str]]]
_VERDICT = {
    SealState.VALID: Verdict.UNDETERMINED, SealState.UNDETERMINED: Verdict.UNDETERMINED,
    SealState.REVOKED: Verdict.RECALLED, SealState.INVALID: Verdict.INVALID,
}  # fmt: skip


async def check_picture(
    data: bytes, *, at: dt.datetime, host: str, register: CopyRegister | None, lists: SealLists | None, read: Reader
) -> Report:
    """``read`` finds the texts of QR codes (in the sandbox); ``lists`` are used where there is no register."""
    try:
        texts = [text for text in await read(data) if text.startswith(f"https://{host}/v#")]
    except ServiceError as error:
        return Report(verdict=Verdict.UNKNOWN, realm=None, at=at, findings=(_no_qr(error.code),))
    if not texts:
        return Report(verdict=Verdict.UNKNOWN, realm=None, at=at, findings=(_no_qr(""),))
    if len(set(texts)) > 1:  # which of them the reader of the paper would scan, nobody knows
        found = Finding("verify.several_seals", "error", {"count": len(set(texts))})
        return Report(verdict=Verdict.INVALID, realm=None, at=at, findings=(found,))
    seal, copy = await _judged(texts[0], host, register, lists, at)
    findings = seal.findings
    if seal.claims is not None and seal.state is SealState.VALID:
        findings += (Finding("verify.compare_paper", "warning", _facts(seal.claims, seal.agency, copy)),)
    realm: Realm | None = copy.realm if copy is not None else None if lists is None else lists.realm
    return Report(
        verdict=_VERDICT[seal.state], realm=realm, at=at, findings=findings, copy=copy, seal=seal.to_json()
    )  # fmt: skip


async def _judged(
    text: str, host: str, register: CopyRegister | None, lists: SealLists | None, at: dt.datetime
) -> tuple[Seal, CopyFacts | None]:
    if register is None:
        return judge_seal(text, host=host, lists=lists, at=at, copy=None, online=False), None
    try:
        own = SealLists(await register.seal_keys())
        first = judge_seal(text, host=host, lists=own, at=at, copy=None, online=True)
        if first.claims is None:
            return first, None
        copy = await register.by_code(first.claims.id)
    except ServiceError:
        return Seal(SealState.UNDETERMINED, None, (Finding("verify.register_not_checked", "error"),)), None
    return judge_seal(text, host=host, lists=own, at=at, copy=copy, online=True), copy


def _facts(claims: SealClaims, agency: str, copy: CopyFacts | None) -> dict[str, object]:
    return {
        "number": copy.number if copy is not None else f"{claims.number}/{claims.year}",
        "agency": copy.agency_name if copy is not None else agency, "pages": claims.pages, "kind": claims.kind,
        "code": typed_code.write(claims.id),
    }  # fmt: skip


def _no_qr(detail: str) -> Finding:
    return Finding("verify.no_qr", "error", {"detail": detail})
