"""The last look at a signed paper before it is given out: finished and judged in the sandbox, compared here.

Papers of one request share a child: they come from one portal, which can only deceive about its own. Signatures that strangers put on one earlier are not ours to judge. Ours must all be there and TOTAL-PASSED, and nothing
in the file may speak against it.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from core.certificates import Certificate
from core.clock import Clock
from core.errors import Broken, ServiceError
from core.sandbox import Sandbox
from signer.requests import work
from verification.engine.document import DocumentFacts
from verification.policy import TrustAnchor
from verification.report import Indication, SignatureReport, SubIndication
from verification.worker import facts_of

__all__ = ["SandboxedCheck"]

_TRUST = frozenset({
    "verify.no_trusted_path", "verify.certificate_expired", "verify.certificate_not_yet_valid",
    "verify.certificate_unfit", "verify.certificate_revoked", "verify.revocation_not_checked", "verify.timestamp_wrong",
    "verify.time_in_future", "verify.signature_constraint",
})  # fmt: skip
"""What may be said of a stranger's signature without a word about its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxedCheck:
    """Satisfies ``signer.requests.parts.FileCheck``."""

    clock: Clock
    sandbox: Sandbox
    anchors: tuple[TrustAnchor, ...]
    """Our own roots; of providers and external time-stamping authorities too."""

    async def finish(
        self, documents: Sequence[bytes], *, validation: tuple[list[bytes], list[bytes], list[bytes]],
        ours: Sequence[bytes], foreign: Sequence[bytes],
    ) -> list[bytes]:  # fmt: skip
        """Raises ``request.self_check``; ``sandbox.*`` where the sandbox itself does not answer."""
        arguments = {
            kind: [base64.b64encode(each).decode() for each in items]
            for kind, items in zip(("certificates", "ocsps", "crls"), validation, strict=True)
        } | {
            "at": self.clock.now().isoformat(), "anchors": [anchor.to_json() for anchor in self.anchors],
            "sizes": [len(document) for document in documents],
        }  # fmt: skip
        answer, updates = await self.sandbox.run(work.finish, b"".join(documents), arguments)
        finished, at = [], 0
        try:
            if sum(answer["sizes"]) != len(updates):
                raise Broken("request.self_check", detail="answer")
            for document, facts, size in zip(documents, answer["facts"], answer["sizes"], strict=True):
                _require_sound(facts_of(facts), ours, foreign)
                finished.append(document + updates[at : at + size])  # what was signed is our own copy of it
                at += size
        except Broken:
            raise
        except (KeyError, TypeError, ValueError, ServiceError) as error:  # papers that took their sandbox over
            raise Broken("request.self_check", detail="answer") from error
        return finished


def _require_sound(facts: DocumentFacts, ours: Sequence[bytes], foreign: Sequence[bytes]) -> None:
    wanted, remote = [[Certificate.parse(each).sha256.hex() for each in group] for group in (ours, foreign)]
    mine = [s for s in facts.signatures if s.certificate_sha256 in wanted + remote]
    bad = [str(s.sub_indication or s.indication) for s in mine if not _passed(s, remote)]
    # a field whose certificate others have to vouch for
    lenient = {s.field for s in facts.signatures if s.certificate_sha256 not in wanted}
    bad += [
        f.code
        for f in facts.findings
        if f.severity == "error" and not (f.code in _TRUST and f.evidence.get("field") in lenient)
    ]
    if sorted(s.certificate_sha256 for s in mine) != sorted(wanted + remote):
        bad.append("missing")
    if bad:
        raise Broken("request.self_check", detail=", ".join(bad))


def _passed(signature: SignatureReport, remote: Sequence[str]) -> bool:
    if signature.certificate_sha256 in remote and signature.sub_indication is SubIndication.TRY_LATER:
        return signature.integrity and signature.trusted
    return signature.indication is Indication.TOTAL_PASSED
