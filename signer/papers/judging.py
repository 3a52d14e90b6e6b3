"""How a rehearsal is judged: what the sandbox read of the finished file is compared with what should be in it."""

from collections.abc import Mapping, Sequence

from core.errors import Broken
from signer.papers.model import EarlierSignature
from verification.engine.document import DocumentFacts

__all__ = ["require_rehearsed"]

_TRUST = frozenset({
    "verify.no_trusted_path", "verify.certificate_expired", "verify.certificate_not_yet_valid",
    "verify.certificate_unfit", "verify.certificate_revoked", "verify.revocation_not_checked", "verify.timestamp_wrong",
    "verify.time_in_future", "verify.signature_constraint",
})  # fmt: skip
"""What a rehearsal may say of a signature: whom to trust is not its question."""


def require_rehearsed(
    facts: DocumentFacts, field: str, *, ours: Mapping[str, str], earlier: Sequence[EarlierSignature]
) -> None:
    """``field`` holds the stand-in's signature. Raises ``request.self_check``.

    ``ours``: signatures of the request that are in the paper already, field to SHA-256 of the certificate (hexadecimal);
    ``earlier``: what it carried when it was given.
    """
    found = [(s.field, s.certificate_sha256) for s in facts.signatures if s.field in ours]
    others = [(s.field, s.signer) for s in facts.signatures if s.field not in ours and s.field != field]
    bad = [str(s.sub_indication) for s in facts.signatures if (s.field in ours or s.field == field) and not s.integrity]
    signed = {s.field for s in facts.signatures}  # a time-stamp of the document is nobody's to excuse
    bad += [
        f.code
        for f in facts.findings
        if f.severity == "error" and not (f.code in _TRUST and f.evidence.get("field") in signed)
    ]
    if sorted(found) != sorted(ours.items()) or [s.field for s in facts.signatures].count(field) != 1:
        bad.append("missing")
    if sorted(others) != sorted((each.field, each.signer) for each in earlier):
        bad.append("another signature")
    if bad:
        raise Broken("request.self_check", detail=", ".join(bad))
