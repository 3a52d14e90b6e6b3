"""A town with a paper in every state a citizen can meet, and forged ones."""

import contextlib
import dataclasses
import re
import subprocess
from pathlib import Path

from api import bootstrap
from api.certifying import certify_file
from api.roles import ProcessRole
from core.directory.model import Role
from core.formats import cose, qr_seal, typed_code
from core.settings import Settings
from core.values import Regime
from signer.copies import store
from signer.keystores.model import KeyPurpose
from tests.core.formats.test_qr_seal import SoftKey
from tests.flows import town

HOST = "localhost"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paper:
    code: str
    qr: str
    file: Path | None = None
    number: str = ""
    access: str = ""

    @property
    def seal(self) -> str:
        return self.qr.partition("#")[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Papers:
    settings: Settings
    valid: Paper
    recalled: Paper
    superseded: Paper
    merged: Paper
    """Of an agency that has ended; carries an access code."""
    voided: Paper
    draft: Paper
    forged: dict[str, str]
    """Why → seal."""
    older: dict[str, bytes]
    """Lists from before the recalls, by name."""


async def build(home: Path, **more) -> Papers:
    settings = await town.build(home, **more)
    out = home / "out"
    out.mkdir()
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:

        async def paper(name: str, **change) -> tuple[str, Paper]:
            done = await certify_file(service, [town.scan(name), town.scan("2")], name, town.request(**change), out)
            made = Paper(code=done["code"], qr=done["qr"], file=Path(done["file"]), number=done["number"])
            return done["id"], made

        async def unfinished(name: str) -> tuple[str, Paper]:
            with contextlib.suppress(town.Stop):
                await certify_file(
                    service, [town.scan(name)], name, town.request(agency="H1"), out, town.stop_at("prepare")
                )
            async with service.db.read() as uow:
                copy = (await store.all_copies(uow))[0]
            return copy.id, Paper(code=typed_code.write(copy.seal_id), qr=copy.qr)

        _, valid = await paper("valid")
        recalled_id, recalled = await paper("recalled")
        superseded_id, superseded = await paper("superseded")
        heir_id, _ = await paper("heir")
        older = {each.name: each.body for each in await service.publisher.all()}
        await service.copies.recall(recalled_id, "Cấp nhầm người")
        await service.copies.recall(superseded_id, "Sai số trang", heir_id)
        merged = await _merged(service, out)
        voided_id, voided = await unfinished("voided")
        await service.copies.void(voided_id, "thử")
        _, draft = await unfinished("draft")
        forged = await _forged(service, valid)
        await service.publisher.all()
    return Papers(
        settings=settings, valid=valid, recalled=recalled, superseded=superseded, merged=merged, voided=voided,
        draft=draft, forged=forged, older=older,
    )  # fmt: skip


async def _merged(service, out: Path) -> Paper:
    now = service.clock.now()
    await service.enrolment.agency(
        code="H2", name="UBND xã Cũ Kỹ", parent="UBND tỉnh Ví Dụ", wording={"access_code": True}
    )
    for name, role in (("Trần Văn Chứng", Role.CERTIFIER), ("Ngô Thị Dấu", Role.CLERK)):
        await service.enrolment.person(
            agency="H2", name=name, role=role, number="2/QĐ", capacity="CHỦ TỊCH", dated=now,
            valid_to=now.replace(year=now.year + 1), scope=frozenset(Regime),
        )  # fmt: skip
    done = await certify_file(service, [town.scan("merged"), town.scan("2")], "merged", town.request(agency="H2"), out)
    async with service.db.write() as uow:
        await service.directory.end_agency(uow, "H2", "H1")
    text = subprocess.run(
        ["pdftotext", "-layout", done["file"], "-"], capture_output=True, text=True, check=True
    ).stdout
    access = re.search(r"Mã truy cập: ([0-9A-Z-]{19})", text).group(1)
    return Paper(code=done["code"], qr=done["qr"], file=Path(done["file"]), number=done["number"], access=access)


async def _forged(service, paper: Paper) -> dict[str, str]:
    data = qr_seal.parse_url(paper.qr, HOST)
    sign1 = cose.parse(data)
    claims = qr_seal.decode(sign1.payload)
    async with service.db.read() as uow:
        agency = await service.directory.agency(uow, "H1")
        own = await service.credentials.of(uow, agency.id, KeyPurpose.QR)
    stolen, strange = service.copies.printer.open_key(own, "test"), SoftKey()

    async def by(key, kid=sign1.kid, **change) -> str:
        return qr_seal.url(HOST, await qr_seal.seal(dataclasses.replace(claims, **change), key, kid))

    made = {
        "forged": qr_seal.url(HOST, data[:-1] + bytes([data[-1] ^ 1])),
        "tampered": qr_seal.url(HOST, data.replace(claims.initials.encode(), b"X" * len(claims.initials), 1)),
        "unknown_key": await by(strange, b"abcd"),
        "same_kid": await by(strange),
        "not_in_register": await by(stolen, id=b"0123456789"),
        "differs": await by(stolen, pages=9),
        "beyond": await by(stolen, id=b"9876543210", status_index=4000),
    }
    return {why: url.partition("#")[2] for why, url in made.items()}
