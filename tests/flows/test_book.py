"""Closing a book: totals and lines under the agency's seal, on both databases."""

import asyncio
import csv
import io
import subprocess
from pathlib import Path

import pytest

from api import bootstrap
from api.certifying import certify_file
from api.checking import Checker
from api.roles import ProcessRole
from core.errors import Refused
from core.values import Realm
from signer.copies import export
from tests.flows import town
from verification.report import Verdict


@pytest.fixture
async def service(tmp_path, database_url):
    settings = await town.build(tmp_path / "home", database_url)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as opened:
        yield opened


async def book_and_clerk(service):
    async with service.db.read() as uow:
        (book,) = await service.register.books(uow)
        people = await service.directory.people(uow, book.agency_id)
    return book, next(p.id for p, rights in people if any(r.role == "clerk" for r in rights))


async def test_a_closed_book_carries_its_totals_under_the_seal(service, tmp_path):
    for name in "ab":
        await certify_file(service, [town.scan(name)], name, town.request(copies=3), tmp_path)
    book, clerk = await book_and_clerk(service)
    closed = await service.books.close(book.id, clerk, lambda _: None)
    assert (closed.totals["entries"], closed.totals["issued"], closed.totals["copies"]) == (2, 2, 6)
    sealed = await service.documents.get(closed.closing_document)
    file = tmp_path / "book.pdf"
    file.write_bytes(sealed)
    assert "Signature is Valid" in subprocess.run(
        ["pdfsig", "-nocert", file], capture_output=True, text=True, check=False
    ).stdout  # fmt: skip
    subprocess.run(["qpdf", "--check", file], check=True, capture_output=True)
    text = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True).stdout
    assert "Tổng số: 2 dòng, đã cấp 2, đã hủy 0, 6 bản." in text
    assert closed.totals["lines_sha256"] in text
    async with Checker.open(service.settings, []) as checker:
        report = await checker.check(sealed)
    assert report.verdict is Verdict.GENUINE, report.to_json()
    assert report.signatures[0].signer == "UBND xã Đường Lâm"
    again = await service.books.close(book.id, clerk, lambda _: None)
    assert again == closed
    assert {leaf["type"] for leaf in await service.log_tail(2)} == {"key_use_intended", "signature_made"}


async def test_a_book_with_a_number_still_held_stays_open_and_a_certifier_cannot_close_it(service, tmp_path):
    with pytest.raises(town.Stop):
        await certify_file(service, [town.scan()], "x", town.request(), tmp_path, town.stop_at("prepare"))
    book, clerk = await book_and_clerk(service)
    with pytest.raises(Refused, match=r"register\.still_reserved"):
        await service.books.close(book.id, clerk, lambda _: None)
    async with service.db.read() as uow:
        people = await service.directory.people(uow, book.agency_id)
        assert (await service.register.book(uow, book.id)).closed_at is None
    certifier = next(p.id for p, rights in people if all(r.role == "certifier" for r in rights))
    with pytest.raises(Refused, match=r"directory\.wrong_role"):
        await service.books.close(book.id, certifier, lambda _: None)


async def test_a_crash_after_any_step_ends_in_one_sealed_book(service, tmp_path):
    await certify_file(service, [town.scan()], "x", town.request(), tmp_path)
    book, clerk = await book_and_clerk(service)

    for step in ("close", "prepare", "seal.spend", "seal.sign", "seal.record"):
        with pytest.raises(town.Stop):
            await service.books.close(book.id, clerk, town.stop_at(step))
    closed = await service.books.close(book.id, clerk, lambda _: None)
    assert closed.closing_document is not None


async def test_outside_training_the_closed_book_waits_for_its_clerk(tmp_path):
    settings = await town.build(tmp_path / "home", realm=Realm.PRODUCTION)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        book, clerk = await book_and_clerk(service)
        with pytest.raises(Refused, match=r"register\.awaiting_clerk"):
            await service.books.close(book.id, clerk, lambda _: None)
        async with service.db.read() as uow:
            assert (await service.register.book(uow, book.id)).closed_at is not None


async def test_the_csv_of_a_book_holds_each_line_and_runs_no_formula(service, tmp_path):
    await certify_file(service, [town.scan()], "x", town.request(requester="=HYPERLINK(1)"), tmp_path)
    book, _ = await book_and_clerk(service)
    async with service.db.read() as uow:
        lines = await service.register.entries(uow, book.id)
        agency = await service.directory.agency(uow, book.agency_id)
    data = await asyncio.to_thread(export.as_csv, agency, book, lines)
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    assert rows[2][2] == "'=HYPERLINK(1)"
    assert len(rows) == 3


async def test_a_book_of_many_lines_breaks_into_pages_and_the_seal_covers_no_line(service, tmp_path):
    async with service.db.write() as uow:
        (book,) = await service.register.books(uow)
        agency = await service.directory.agency(uow, book.agency_id)
        for n in range(70):
            entry = await service.register.reserve(
                uow, agency, book.kind, {"kind": "Giấy", "copies": 1, "requester": f"Người {n}"}
            )
            await service.register.void(uow, entry.id, "thử")
    book, clerk = await book_and_clerk(service)
    closed = await service.books.close(book.id, clerk, lambda _: None)
    file = Path(tmp_path / "b.pdf")
    file.write_bytes(await service.documents.get(closed.closing_document))
    text = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, text=True, check=True).stdout
    assert all(f"Người {n}" in text for n in range(70))
    assert text.count("\f") == export.page_count(70, closed=True) > 1
    assert "đã hủy 70" in text
