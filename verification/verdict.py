"""From findings to one verdict; a pure function."""

from collections.abc import Sequence

from verification.report import Finding, Indication, SignatureReport, Verdict

__all__ = ["decide"]

_MEANS = {
    Verdict.ALTERED: {
        "bytes_unaccounted", "digest_differs", "signature_wrong", "changed_after_signature", "extra_signature",
        "differs_from_register", "qr_differs",
    },
    Verdict.INVALID: {
        "signature_malformed", "signature_constraint", "algorithm_refused", "timestamp_wrong", "time_in_future",
        "certificate_expired", "certificate_not_yet_valid", "certificate_unfit", "certificate_revoked", "wrong_order",
        "wrong_signer", "mixed_realm", "number_voided", "not_released", "receipt_wrong", "seal_invalid", "seal_not_in_register",
    },
    Verdict.RECALLED: {"recalled", "seal_recalled"},
    Verdict.UNKNOWN: {"no_signature", "no_trusted_path", "not_a_pdf"},
}  # fmt: skip


def decide(signatures: Sequence[SignatureReport], findings: Sequence[Finding]) -> Verdict:
    """The gravest error decides; an error that stands in no row, or nothing to rest on, is undetermined."""
    errors = {f.code.removeprefix("verify.") for f in findings if f.severity == "error"}
    if "unreadable" in errors:  # what could not be read says nothing for sure
        errors -= {"no_signature"}
    for verdict, codes in _MEANS.items():
        if errors & codes:
            return verdict
    if errors or not signatures or any(s.indication is not Indication.TOTAL_PASSED for s in signatures):
        return Verdict.UNDETERMINED
    return Verdict.GENUINE
