"""Judging QR seals: with the register's own keys, or offline with the two published lists (QR seal, sections 6 and 7).

A seal is never a signature of the document: it says which entry the paper claims to be, and lets a reader compare.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.clock import timestamp_text
from core.errors import BadInput, Refused, ServiceError
from core.formats import key_list, qr_seal, status_list, typed_code
from core.formats.key_list import KeyList
from core.formats.qr_seal import SealCheck, SealClaims, SealState
from core.formats.status_list import Status
from core.values import Realm
from verification.engine.cms import CmsFault, open_cms
from verification.engine.paths import find_path
from verification.facts import CopyFacts
from verification.policy import TrustAnchor
from verification.report import Finding, recall_finding

__all__ = ["Seal", "SealLists", "judge_seal", "read_lists"]


@dataclass(frozen=True, slots=True)
class SealLists:
    """What is needed offline: the key list, and the status lists as they were fetched, by (agency, year)."""

    keys: KeyList
    statuses: Mapping[tuple[str, int], bytes] = field(default_factory=dict)
    realm: Realm | None = None
    """Of the anchor that the key list's signature leads to."""


@dataclass(frozen=True, slots=True)
class Seal:
    """One seal judged: its state in the words of QR seal, section 7; claims only if its signature is right."""

    state: SealState
    claims: SealClaims | None
    findings: tuple[Finding, ...]
    agency: str = ""
    """Name in the key list, if the signature is right."""

    def to_json(self) -> dict[str, Any]:
        """The outside form."""
        claims = self.claims
        facts = None if claims is None else {
            "code": typed_code.write(claims.id), "number": claims.number, "year": claims.year, "volume": claims.volume,
            "kind": claims.kind, "pages": claims.pages, "initials": claims.initials,
            "original_number": claims.original_number, "issued_at": claims.issued_at.isoformat(),
            "content_sha256": claims.content_sha256.hex(), "agency": self.agency,
        }  # fmt: skip
        return {"state": self.state.value, "claims": facts}


def read_lists(
    keys: bytes, signature: bytes, statuses: list[bytes], anchors: tuple[TrustAnchor, ...], at: dt.datetime
) -> SealLists:
    """The lists as published. Raises ``qr.key_list_malformed``, ``qr.key_list_untrusted``, ``qr.status_malformed``.

    ``signature``: the detached CMS over ``keys``; its certificate must lead to one of ``anchors`` at ``at``. The status
    lists are verified with the key list when they are used.
    """
    try:
        signed = open_cms(signature, [keys])
    except CmsFault as error:
        raise Refused("qr.key_list_untrusted") from error
    certificate = signed.certificate
    dated = certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc
    signers = [a for a in anchors if not a.timestamps_only]
    path = find_path(certificate, signed.others, signers, at) if dated else None
    if path is None:
        raise Refused("qr.key_list_untrusted")
    found = {status_list.peek(data): data for data in statuses}
    return SealLists(key_list.read(keys), found, path.anchor.realm)


def judge_seal(
    text: str, *, host: str, lists: SealLists | None, at: dt.datetime, copy: CopyFacts | None, online: bool
) -> Seal:
    """``text``: the URL; ``copy``: what the register has under the seal's id, asked when ``online``.

    Offline the status list decides whether the seal is valid; without one, or with an old one, it is undetermined.
    """
    try:
        data = qr_seal.parse_url(text, host)
    except BadInput as error:
        return _invalid(error.code, None)
    if lists is None:
        return Seal(SealState.UNDETERMINED, None, (Finding("verify.seal_keys_missing", "error"),))
    check = qr_seal.verify(data, lists.keys, at)
    if check.state is not SealState.VALID or check.claims is None or check.key is None:
        if check.state is SealState.UNDETERMINED:
            return Seal(check.state, check.claims, (Finding("verify.seal_keys_old", "error"),))
        return _invalid(check.reason, None)
    seal = _with_register(check, check.claims, copy) if online else _with_list(check, check.claims, lists, at)
    return replace(seal, agency=check.key.name)


def _invalid(reason: str, claims: SealClaims | None) -> Seal:
    return Seal(SealState.INVALID, claims, (Finding("verify.seal_invalid", "error", {"detail": reason}),))


def _with_register(check: SealCheck, claims: SealClaims, copy: CopyFacts | None) -> Seal:
    assert check.key is not None
    if copy is None:  # a right signature over an unknown id: somebody has the key
        return Seal(SealState.INVALID, claims, (Finding("verify.seal_not_in_register", "error"),))
    said = (claims.id, claims.content_sha256, claims.number, claims.year, claims.volume, claims.pages)
    known = copy.qr_claims
    ours = (copy.seal_id, copy.content_sha256, known["number"], known["year"], known["volume"], known["pages"])
    if said != ours or check.key.agency != copy.agency_code:
        return Seal(SealState.INVALID, claims, (Finding("verify.qr_differs", "error"),))
    if copy.recalled is not None:
        return Seal(SealState.REVOKED, claims, (recall_finding(copy.recalled),))
    if copy.register_state == "voided":
        return Seal(SealState.INVALID, claims, (Finding("verify.number_voided", "error", {"number": copy.number}),))
    if not copy.released:
        return Seal(SealState.INVALID, claims, (Finding("verify.not_released", "error", {"number": copy.number}),))
    return Seal(SealState.VALID, claims, ())


def _with_list(check: SealCheck, claims: SealClaims, lists: SealLists, at: dt.datetime) -> Seal:
    key = check.key
    assert key is not None
    data = lists.statuses.get((key.agency, claims.year))
    if data is None:
        return Seal(SealState.UNDETERMINED, claims, (Finding("verify.seal_status_not_checked", "error"),))
    statuses = None
    for candidate in lists.keys.keys:
        if candidate.agency == key.agency and candidate.status != "revoked":
            try:
                statuses = status_list.read(data, candidate.spki, key.agency, claims.year)
            except ServiceError:
                continue
            break
    if statuses is None:
        return Seal(SealState.UNDETERMINED, claims, (Finding("verify.seal_status_not_checked", "error"),))
    dated = {"at": timestamp_text(statuses.issued_at)}
    match statuses.get(claims.status_index):
        case Status.VALID if not statuses.stale(at):
            return Seal(SealState.VALID, claims, (Finding("verify.seal_status_of", "info", dated),))
        case Status.RECALLED | Status.SUPERSEDED:
            return Seal(SealState.REVOKED, claims, (Finding("verify.seal_recalled", "error", dated),))
        case Status.NOT_ISSUED if claims.issued_at <= statuses.issued_at:
            return Seal(
                SealState.INVALID, claims, (Finding("verify.not_released", "error", {"number": claims.number}),)
            )
    # an old list, or one that was made before the paper and cannot tell of it
    return Seal(SealState.UNDETERMINED, claims, (Finding("verify.seal_status_old", "error", dated),))
