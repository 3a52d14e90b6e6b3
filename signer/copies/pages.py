"""From a copy's row to printed bytes: words, QR seal, composition, read-back, and the signature made ready."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from core.clock import timestamp_text
from core.db import Database
from core.directory.model import Agency, Person, Role
from core.directory.records import Directory
from core.errors import Broken, Refused
from core.formats import qr_seal, typed_code
from core.formats.cms import CmsProfile
from core.ids import random_bytes
from core.limits import LIMITS
from core.objects import Documents
from core.sandbox import Sandbox
from core.signing import SigningKey
from core.values import Digest, Realm, Regime
from signer.copies import qr
from signer.copies.claims import claims_of
from signer.copies.compose import CERTIFIER, SEAL, Marks, compose
from signer.copies.model import CertifiedCopy
from signer.copies.register import Register
from signer.copies.wording import Wording
from signer.credentials import Credential, Credentials
from signer.formats import pades
from signer.keystores.model import KeyPurpose
from verification.engine import codes

__all__ = ["Printed", "Printer"]

MM = 72 / 25.4
_FIELDS = {"certifier": CERTIFIER, "seal": SEAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """Composed bytes with what stands on them."""

    document: bytes
    printed_at: dt.datetime
    url: str
    access_sha256: bytes | None
    """Of the access code that stands on the page, if the agency prints one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printer:
    """Composes copies and prepares their signatures."""

    db: Database
    directory: Directory
    register: Register
    credentials: Credentials
    documents: Documents
    open_key: Callable[[Credential, str], SigningKey]
    sandbox: Sandbox
    host: str
    system: str

    async def compose(self, copy: CertifiedCopy, agency: Agency, at: dt.datetime) -> Printed:
        """Print the attestation on revision 0 and read the QR code back. Raises ``compose.*``, ``copy.qr_unreadable``."""
        wording = Wording.of(agency.wording)
        async with self.db.read() as uow:
            entry = await self.register.entry(uow, copy.entry_id)
            book = await self.register.book(uow, entry.book_id)
            qr_key = await self.credentials.of(uow, agency.id, KeyPurpose.QR)
            if at >= qr_key.created_at + dt.timedelta(days=LIMITS["qr.key_days"]):
                raise Refused("qr.key_too_old", agency=agency.code)
            certifier, capacity = "", ""
            if copy.certifier_id is not None:
                person = await self.directory.person(uow, copy.certifier_id)
                right = await self.directory.authorisation(uow, person.id, agency.id, Role.CERTIFIER, copy.regime)
                certifier, capacity = person.name, right.capacity
        claims = claims_of(copy, entry, book.volume, at)
        kid = Digest.of(qr_key.key.spki).value[:4]
        url = qr_seal.url(self.host, await qr_seal.seal(claims, self.open_key(qr_key, copy.id), kid))
        code = typed_code.write(copy.seal_id)
        access = random_bytes(10) if wording.access_code else None
        access_lines = () if access is None else (wording.access_line.format(code=typed_code.write(access)),)
        number, volume = wording.number_text(entry.number), wording.book_text(book.volume, book.year, book.kind)
        marks = Marks(
            regime=copy.regime,
            attestation=(
                wording.title(copy.regime), wording.attestation_number.format(number=number, book=volume),
                wording.date_text(at),
            ) if copy.regime is Regime.CERTIFIED_COPY else (wording.title(copy.regime), agency.name, timestamp_text(at)),
            capacity=capacity, certifier=certifier, qr=qr.vector_path(qr.matrix(url), 35 * MM),
            qr_lines=(
                wording.check_at.format(host=self.host), wording.code_line.format(code=code), *access_lines,
                wording.system_line.format(system=self.system, parent=agency.parent), wording.trust_line,
            ),
            footer=wording.footer.replace("{code}", code),
            training="TẬP HUẤN · TRAINING · không có giá trị pháp lý" if copy.realm is Realm.TRAINING else "",
            layout=wording.layout, seal_diameter=wording.seal_diameter_mm * MM,
        )  # fmt: skip
        composed = compose(await self.documents.get(copy.content), marks)
        place = {"prefix": "", "page": composed.page, "rect": list(composed.qr)}
        found, _ = await self.sandbox.run(codes.on_pages, composed.document, place)
        if found["texts"] != [url]:
            raise Broken("copy.qr_unreadable")
        digest = None if access is None else Digest.of(access).value
        return Printed(document=composed.document, printed_at=at, url=url, access_sha256=digest)

    def prepare(
        self, document: bytes, *, role: str, profile: CmsProfile, agency: Agency, person: Person, at: dt.datetime,
        timestamp_size: int, picture: pades.Appearance | None,
    ) -> pades.PreparedSignature:  # fmt: skip
        """The signature made ready in its field, with its picture; the first one certifies (DocMDP 2)."""
        return pades.prepare(
            document, field=_FIELDS[role], profile=profile, signed_at=at,
            signer_name=person.name if role == "certifier" else agency.name,
            reason="Chứng thực bản sao đúng với bản chính" if role == "certifier" else "Dấu cơ quan",
            docmdp=2 if role == "certifier" else None, appearance=picture, timestamp_size=timestamp_size,
        )  # fmt: skip
