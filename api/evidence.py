"""The copy desk's self-check, wired: B-LT evidence from the embedded CA, judgement from ``verification``."""

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ca_bridge import records
from ca_bridge.authorities.embedded import build_crl, build_ocsp
from core.certificates import Certificate
from core.clock import Clock
from core.db import Database
from core.directory.model import Agency
from core.errors import Broken
from core.limits import LIMITS
from core.sandbox import Sandbox
from core.values import Realm
from signer.credentials import Credential, OpenKey
from signer.enrolment import issuer_of
from verification.policy import Policy, TrustAnchor
from verification.report import Indication, Report
from verification.verify import verify

__all__ = ["EmbeddedEvidence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedEvidence:
    """Satisfies ``signer.copies.desk.SelfCheck`` and ``signer.reports.desk.SheetCheck``."""

    db: Database
    clock: Clock
    open_key: OpenKey
    sandbox: Sandbox
    root: Credential
    issuing: Credential
    ocsp: Credential
    tsa: Credential
    stampers: tuple[TrustAnchor, ...]
    """Roots of an external time-stamping authority; empty with the embedded one."""
    recent: dict[tuple[Any, ...], tuple[dt.datetime, bytes]] = field(default_factory=dict)
    """Answers signed lately, by what they say."""

    async def evidence(self, certificates: list[bytes]) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """(certificates, OCSP responses, CRLs): everything a verifier needs below the root.

        What the database says of revocation is read now, each time; an answer that says exactly this and is younger
        than ``ca.answer_seconds`` is given again instead of being signed anew.
        """
        serials = [Certificate.parse(c).serial for c in certificates]
        async with self.db.read() as uow:
            gone = {c.owner: await records.revoked(uow, _name(c)) for c in (self.root, self.issuing)}
            states = await records.states(uow, serials)
        crls = [await self._crl(c, gone[c.owner]) for c in (self.root, self.issuing)]
        ocsps = [await self._status(serial, states.get(serial)) for serial in serials]
        own = [c.certificate for c in (self.tsa, self.issuing, self.ocsp, self.root) if c.certificate is not None]
        return [*certificates, *own], ocsps, crls

    async def _crl(self, issuer: Credential, gone: list[tuple[int, dt.datetime, int]]) -> bytes:
        async def build() -> bytes:
            async with self.db.write() as uow:
                number = await records.next_crl_number(uow, issuer.owner)
            return await build_crl(issuer_of(issuer, self.open_key(issuer, "crl")), gone, self.clock, number)

        return await self._recent(("crl", issuer.owner, tuple(gone)), build)

    async def _status(self, serial: int, state: records.CertificateState | None) -> bytes:
        known = state is not None and state.status in {"good", "revoked"}  # an order is not yet a certificate
        revoked = state.revoked if state is not None and state.status == "revoked" else None

        async def build() -> bytes:
            return await build_ocsp(
                serial=serial, issuer=issuer_of(self.issuing, self.open_key(self.issuing, "ocsp")),
                responder=issuer_of(self.ocsp, self.open_key(self.ocsp, "ocsp")), clock=self.clock, revoked=revoked, known=known,
            )  # fmt: skip

        return await self._recent(("ocsp", serial, known, revoked), build)

    async def _recent(self, what: tuple[Any, ...], build: Callable[[], Awaitable[bytes]]) -> bytes:
        now = self.clock.now()
        made, answer = self.recent.get(what, (None, b""))
        if made is None or not made <= now < made + dt.timedelta(seconds=LIMITS["ca.answer_seconds"]):
            answer = await build()
            for old in [
                k for k, (at, _) in self.recent.items() if at + dt.timedelta(seconds=LIMITS["ca.answer_seconds"]) < now
            ]:
                del self.recent[old]
            self.recent[what] = (now, answer)
        return answer

    async def require_sound(self, document: bytes, agency: Agency) -> None:
        """The full report without the register (which does not know the file yet). Raises ``copy.self_check``.

        A small file is judged in this process: it is what intake wrote and this process then parsed, with the same
        pure-Python reader, to compose and sign it. A large one would hold the loop up, so it goes to the sandbox.
        """
        await self._require(
            document, agency.realm, {"verify.register_not_checked", "verify.recall_not_checked", "verify.offline"}
        )

    async def require_sheet(self, document: bytes, realm: Realm) -> None:
        """A verification sheet: sound, and seen as one. Raises ``copy.self_check``."""
        report = await self._require(document, realm, {"verify.is_report"})
        if [s.role for s in report.signatures] != ["report"]:
            raise Broken("copy.self_check", detail="role")

    async def _require(self, document: bytes, realm: Realm, expected: set[str]) -> Report:
        assert self.root.certificate is not None
        policy = Policy(
            anchors=(TrustAnchor(certificate=self.root.certificate, realm=realm), *self.stampers),
            at=self.clock.now(),
        )
        here = len(document) <= LIMITS["copies.check_here_bytes"]
        run = None if here else self.sandbox.run
        report = await verify(document, at=self.clock.now(), policy=policy, register=None, run=run)
        bad: list[str] = [
            str(s.sub_indication or s.indication)
            for s in report.signatures
            if s.indication is not Indication.TOTAL_PASSED
        ]
        bad += [f.code for f in report.findings if f.severity == "error" and f.code not in expected]
        if bad or not report.signatures:
            raise Broken("copy.self_check", detail=", ".join(map(str, bad)) or "no signature")
        return report


def _name(credential: Credential) -> str:
    assert credential.certificate is not None
    return Certificate.parse(credential.certificate).subject
