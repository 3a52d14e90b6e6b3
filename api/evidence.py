"""The copy desk's self-check, wired: B-LT evidence from the embedded CA, judgement from ``verification``."""

from dataclasses import dataclass

import sqlalchemy as sa

from ca_bridge import records
from ca_bridge.authorities.embedded import Issuer, build_crl, build_ocsp
from core.certificates import Certificate
from core.clock import Clock
from core.db import Database
from core.directory.model import Agency
from core.errors import Broken
from core.sandbox import Sandbox
from signer.credentials import Credential
from signer.enrolment import issuer_of
from signer.keystores.model import KeyStore
from verification.policy import Policy, TrustAnchor
from verification.report import Indication
from verification.verify import verify

__all__ = ["EmbeddedEvidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedEvidence:
    """Satisfies ``signer.copies.desk.SelfCheck``."""

    db: Database
    clock: Clock
    store: KeyStore
    sandbox: Sandbox
    root: Credential
    issuing: Credential
    ocsp: Credential
    tsa: Credential
    stampers: tuple[TrustAnchor, ...]
    """Roots of an external time-stamping authority; empty with the embedded one."""

    async def evidence(self, certificates: list[bytes]) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """(certificates, OCSP responses, CRLs): everything a verifier needs below the root."""
        root, issuing, responder = (issuer_of(c, self.store) for c in (self.root, self.issuing, self.ocsp))
        async with self.db.read() as uow:
            gone = {i.slug: await records.revoked(uow, i.certificate.subject) for i in (root, issuing)}
        number = int(self.clock.now().timestamp() * 1000)
        crls = [await build_crl(i, gone[i.slug], self.clock, number) for i in (root, issuing)]
        assert self.tsa.certificate is not None
        ocsps = [await self._status(c, issuing, responder) for c in certificates]
        chain = [
            *certificates,
            self.tsa.certificate,
            issuing.certificate.der,
            responder.certificate.der,
            root.certificate.der,
        ]
        return chain, ocsps, crls

    async def _status(self, certificate: bytes, issuing: Issuer, responder: Issuer) -> bytes:
        serial = Certificate.parse(certificate).serial
        t = records.certificate_table.c
        async with self.db.read() as uow:
            row = (
                await uow.execute(sa.select(t.status, t.revoked_at, t.reason).where(t.serial == f"{serial:040x}"))
            ).first()
        known = row is not None and row.status in {"good", "revoked"}  # an order is not yet a certificate
        revoked = (row.revoked_at, row.reason) if row is not None and row.status == "revoked" else None
        return await build_ocsp(
            serial=serial, issuer=issuing, responder=responder, clock=self.clock, revoked=revoked, known=known
        )

    async def require_sound(self, document: bytes, agency: Agency) -> None:
        """The full report without the register (which does not know the file yet). Raises ``copy.self_check``."""
        assert self.root.certificate is not None
        policy = Policy(
            anchors=(TrustAnchor(certificate=self.root.certificate, realm=agency.realm), *self.stampers),
            at=self.clock.now(),
        )
        report = await verify(document, at=self.clock.now(), policy=policy, register=None, run=self.sandbox.run)
        bad: list[str] = [
            str(s.sub_indication or s.indication)
            for s in report.signatures
            if s.indication is not Indication.TOTAL_PASSED
        ]
        expected = {"verify.register_not_checked", "verify.recall_not_checked", "verify.offline"}
        bad += [f.code for f in report.findings if f.severity == "error" and f.code not in expected]
        if bad or not report.signatures:
            raise Broken("copy.self_check", detail=", ".join(map(str, bad)) or "no signature")
