"""Signs verification sheets with the sheets' own key: no person's approval, a daily budget, nothing kept.

The report must come from this process's own check of the file: what another process claims is never signed
(``api/answering.py``, ``api/cli/verify.py``).

1 *compose* the sheet · 2 *prepare* all but the signature · 3 *sign* and stamp (PAdES B-T) · 4 *embed*, with validation
data (B-LT), so that an office can still check the sheet in years · 5 *check* our own output before it leaves.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from core.formats.cms import signature_timestamp_attribute
from core.ids import new_id
from core.values import Digest, Realm
from signer.ceremony import SigningDesk, profile_of
from signer.enrolment import Enrolment
from signer.formats import dss, pades
from signer.reports import sheet
from signer.reports.sheet import CheckedFile
from verification.report import Report

__all__ = ["SheetCheck", "SheetDesk"]

_REASON = f"{sheet.TITLE}; không phải bản sao chứng thực"


class SheetCheck(Protocol):
    """The full check of our own output, and the evidence that goes with it."""

    async def evidence(self, certificates: list[bytes]) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """(certificates, OCSP responses, CRLs) for B-LT, all DER."""

    async def require_sheet(self, document: bytes, realm: Realm) -> None:
        """Raise ``copy.self_check`` unless its one signature is TOTAL-PASSED and reads as a sheet's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetDesk:
    """What making a sheet works with."""

    signing: SigningDesk
    enrolment: Enrolment
    checks: SheetCheck
    realm: Realm
    system: str
    host: str
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def issue(self, report: Report, file: CheckedFile) -> bytes:
        """The signed sheet. Raises ``key.*`` (``key.budget_spent`` too), ``tsa.*``, ``credential.expired``, ``copy.self_check``."""
        # 1 compose
        blank = await asyncio.to_thread(
            sheet.compose, report, file, system=self.system, host=self.host, realm=self.realm
        )
        return await self.seal(blank, _REASON)

    async def seal(self, blank: bytes, reason: str) -> bytes:
        """Steps 2 to 5 over any paper of our own with the field ``sheet.FIELD``. Raises as ``issue``."""
        desk = self.signing
        async with self.turn:  # two first sheets at once share one new key
            credential = await self.enrolment.report_key()
        certificate = credential.require_valid(desk.clock.now())
        # 2 prepare
        profile = profile_of(credential)
        prepared = pades.prepare(
            blank, field=sheet.FIELD, profile=profile, signed_at=desk.clock.now(), signer_name=certificate.common_name,
            reason=reason, timestamp_size=desk.timestamps.size,
        )  # fmt: skip
        # 3 sign
        signature = await desk.open_key(credential, new_id(desk.clock)).sign(prepared.to_sign)
        token = await desk.timestamps.stamp(Digest.of(signature))
        cms = profile.signed_data(
            prepared.signed_attributes, signature, unsigned_attributes=(signature_timestamp_attribute(token),)
        )
        # 4 embed
        signed = pades.embed(prepared, cms)
        pades.check(signed, prepared, certificate.der)
        chain, ocsps, crls = await self.checks.evidence([certificate.der])
        final = dss.append(signed, certificates=chain, ocsps=ocsps, crls=crls)
        # 5 check
        await self.checks.require_sheet(final, self.realm)
        return final
