"""One job for the command line and the demo: files in, a released copy out, through the desk that production uses."""

import datetime as dt
from pathlib import Path
from typing import Any

from api.bootstrap import Service
from core.directory.model import Agency, Role
from core.errors import NotFound, Refused
from core.formats import typed_code
from core.jobs import Note
from core.values import Regime
from signer.copies import store
from signer.copies.intake import take_in
from signer.copies.model import CertifiedCopy, CopyRequest, ScanRecord
from signer.copies.wording import Wording

__all__ = ["certify_file", "deliver", "people"]


async def certify_file(
    service: Service, files: list[bytes], name: str, request: dict[str, Any], target: Path, note: Note = lambda _: None
) -> dict[str, Any]:
    """Certify one paper and write the copy into ``target``; returns file, number, code, id."""
    agency, certifier, clerk = await people(service, request["agency"], request["regime"])
    intake = await take_in(service.sandbox, files, title=request["kind"])
    note("intake")
    copy_id = await service.copies.attest(
        intake,
        CopyRequest(
            agency_id=agency.id, regime=request["regime"], certifier_id=certifier, clerk_id=clerk, kind=request["kind"],
            original_number=request["original_number"], requester=request["requester"], copies=request["copies"],
            pages=request["pages"], fee=request.get("fee", 0), notes=request.get("notes", ""),
            checklist=tuple(request.get("checklist", ())),
            scan=ScanRecord(officer=certifier or clerk, device=request["device"], scanned_at=request["scanned_at"]),
        ),
    )  # fmt: skip
    note("attest")
    finished = await service.jobs.run("copy", copy_id, note)
    async with service.db.read() as uow:
        copy = await store.get(uow, finished)
    return await deliver(service, agency, copy, Path(name).stem, target)


async def deliver(service: Service, agency: Agency, copy: CertifiedCopy, stem: str, target: Path) -> dict[str, Any]:
    """Write the released file and its receipt."""
    assert copy.released is not None and copy.receipt is not None  # noqa: PT018
    async with service.db.read() as uow:
        entry = await service.register.entry(uow, copy.entry_id)
        book = await service.register.book(uow, entry.book_id)
    wording = Wording.of(agency.wording)
    number = f"{wording.number_text(entry.number)} - {wording.book_text(book.volume, book.year, book.kind)}"
    code = typed_code.write(copy.seal_id)
    file = target / f"{stem}-{entry.year}-{entry.number:04d}.pdf"
    file.write_bytes(await service.documents.get(copy.released))
    file.with_suffix(".tlog-proof").write_bytes(copy.receipt)
    return {"id": copy.id, "file": str(file), "number": number, "code": code, "qr": copy.qr, "pdfa": copy.facts["pdfa"],
            "warnings": copy.facts["warnings"], "removed": copy.facts["removed"]}  # fmt: skip


async def people(service: Service, code: str, regime: Regime) -> tuple[Agency, str | None, str]:
    """The agency asked for (or the only one) with a certifier and a clerk who are two persons."""
    async with service.db.read() as uow:
        if code:
            agency = await service.directory.agency(uow, code)
        else:
            agencies = await service.directory.agencies(uow)
            if not agencies:
                raise NotFound("home.no_clerk")
            if len(agencies) > 1:
                raise Refused("home.which_agency")
            agency = agencies[0]
        people = await service.directory.people(uow, agency.id)
    now: dt.datetime = service.clock.now()

    def first(role: Role, but: str | None) -> str | None:
        return next(
            (
                p.id
                for p, rights in people
                if p.id != but and any(r.role is role and r.valid_from <= now for r in rights)
            ),
            None,
        )

    certifier = first(Role.CERTIFIER, None) if regime is Regime.CERTIFIED_COPY else None
    clerk = first(Role.CLERK, certifier)
    if clerk is None or (regime is Regime.CERTIFIED_COPY and certifier is None):
        raise NotFound("home.no_clerk")
    return agency, certifier, clerk
