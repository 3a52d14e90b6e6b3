"""The last look at a signed paper before it is given out: finished and judged in the sandbox, compared here.

Papers of one request share a child: they come from one portal, which can only deceive about its own. In a paper are the
signatures of its request, each in its field and by its certificate, and those that the paper carried when it was given:
nothing more. Ours must be TOTAL-PASSED, earlier ones are not ours to judge, and nothing in the file may speak against it.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from core.certificates import Certificate
from core.clock import Clock
from core.errors import Broken, ServiceError
from core.sandbox import Sandbox
from signer.requests import work
from signer.requests.parts import SignedPaper
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
        self, papers: Sequence[SignedPaper], *, validation: tuple[list[bytes], list[bytes], list[bytes]]
    ) -> list[bytes]:
        """Raises ``request.self_check``; ``sandbox.*`` where the sandbox itself does not answer."""
        arguments = {
            kind: [base64.b64encode(each).decode() for each in items]
            for kind, items in zip(("certificates", "ocsps", "crls"), validation, strict=True)
        } | {
            "at": self.clock.now().isoformat(), "anchors": [anchor.to_json() for anchor in self.anchors],
            "sizes": [len(paper.data) for paper in papers],
        }  # fmt: skip
        answer, updates = await self.sandbox.run(work.finish, b"".join(paper.data for paper in papers), arguments)
        finished, at = [], 0
        try:
            if sum(answer["sizes"]) != len(updates):
                raise Broken("request.self_check", detail="answer")
            for paper, facts, size in zip(papers, answer["facts"], answer["sizes"], strict=True):
                _require_sound(facts_of(facts), paper)
                finished.append(paper.data + updates[at : at + size])  # what was signed is our own copy of it
                at += size
        except Broken:
            raise
        except (KeyError, TypeError, ValueError, ServiceError) as error:  # papers that took their sandbox over
            raise Broken("request.self_check", detail="answer") from error
        return finished


def _require_sound(facts: DocumentFacts, paper: SignedPaper) -> None:
    wanted = {each.field: each for each in paper.wanted}
    mine = [s for s in facts.signatures if s.field in wanted]
    others = [(s.field, s.signer) for s in facts.signatures if s.field not in wanted]
    bad = [str(s.sub_indication or s.indication) for s in mine if not _passed(s, remote=wanted[s.field].remote)]
    # fields whose certificates others have to vouch for
    lenient = {s.field for s in facts.signatures if s.field not in wanted or wanted[s.field].remote}
    bad += [
        f.code
        for f in facts.findings
        if f.severity == "error" and not (f.code in _TRUST and f.evidence.get("field") in lenient)
    ]
    if sorted((s.field, s.certificate_sha256) for s in mine) != sorted(
        (each.field, Certificate.parse(each.certificate).sha256.hex()) for each in paper.wanted
    ):
        bad.append("missing")
    if sorted(others) != sorted((each.field, each.signer) for each in paper.earlier):
        bad.append("another signature")
    if bad:
        raise Broken("request.self_check", detail=", ".join(bad))


def _passed(signature: SignatureReport, *, remote: bool) -> bool:
    if remote and signature.sub_indication is SubIndication.TRY_LATER:
        return signature.integrity and signature.trusted
    return signature.indication is Indication.TOTAL_PASSED
