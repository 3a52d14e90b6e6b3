"""``dauso book``: open, list, close, export."""

from pathlib import Path
from typing import Annotated

import typer

from api import bootstrap
from api.certifying import people
from api.cli.given import settings_of, signing
from api.cli.show import out, print_json, run
from api.roles import ProcessRole
from core.clock import VIETNAM
from core.values import Regime
from signer.copies import export
from signer.copies.register import Book
from signer.copies.wording import Wording

app = typer.Typer(help="Sổ chứng thực / register books.", no_args_is_help=True)


def _show(book: Book) -> str:
    state = "đang mở / open" if book.closed_at is None else f"đã khóa / closed {book.totals}"
    return f"{book.id}  {book.volume:02d}/{book.year}-{book.kind}  {state}"


def _json(book: Book) -> dict[str, object]:
    return {"id": book.id, "kind": book.kind, "year": book.year, "volume": book.volume, "totals": book.totals,
            "closed_at": book.closed_at, "sealed": book.closing_document}  # fmt: skip


@app.command("add")
def add(
    context: typer.Context,
    agency: Annotated[str, typer.Option(help="Mã cơ quan / agency code")],
    kind: Annotated[str, typer.Option(help="Ký hiệu loại việc / sign of the kind of work")] = "",
    year: Annotated[int, typer.Option(help="Năm / year; this year when left out")] = 0,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Mở quyển tiếp theo / open the next volume."""

    async def work() -> None:
        async with bootstrap.open_service(settings_of(context), ProcessRole.WEB) as service:
            async with service.db.write() as uow:
                found = await service.directory.agency(uow, agency)
                which = kind or Wording.of(found.wording).book_kind
                opened = await service.register.open_book(
                    uow, found, which, year or service.clock.now().astimezone(VIETNAM).year
                )
        print_json(_json(opened)) if as_json else out.print(_show(opened))

    run(work, as_json)


@app.command("list")
def show_list(context: typer.Context, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Các sổ / all books."""

    async def work() -> None:
        async with bootstrap.open_service(settings_of(context), ProcessRole.WEB) as service:
            async with service.db.read() as uow:
                for item in await service.register.books(uow):
                    print_json(_json(item)) if as_json else out.print(_show(item))

    run(work, as_json)


@app.command("close")
def close(context: typer.Context, book: str, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Khóa sổ, tổng số dưới dấu của cơ quan / close a book, its totals under the agency's seal."""

    async def work() -> None:
        async with signing(context) as service:
            async with service.db.read() as uow:
                agency = await service.directory.agency(uow, (await service.register.book(uow, book)).agency_id)
            _, _, clerk = await people(service, agency.code, Regime.SAO_Y)
            closed = await service.books.close(book, clerk, lambda _: None)
        print_json(_json(closed)) if as_json else out.print(_show(closed))

    run(work, as_json)


@app.command("export")
def export_book(
    context: typer.Context,
    book: str,
    target: Annotated[Path, typer.Option("--out", help="Tệp .csv hoặc .pdf / file")] = Path("book.csv"),
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Xuất sổ theo mẫu / export the legal book as CSV or PDF by the file's ending."""

    async def work() -> None:
        async with bootstrap.open_service(settings_of(context), ProcessRole.WEB) as service:
            async with service.db.read() as uow:
                found = await service.register.book(uow, book)
                lines = await service.register.entries(uow, book)
                agency = await service.directory.agency(uow, found.agency_id)
            if target.suffix.lower() != ".pdf":
                data = export.as_csv(agency, found, lines)
            elif found.closing_document is None:
                data = export.as_pdf(agency, found, lines)
            else:  # the sealed book, byte for byte
                data = await service.documents.get(found.closing_document)
        target.write_bytes(data)
        print_json({"file": str(target), "lines": len(lines)}) if as_json else out.print(f"{target}: {len(lines)}")

    run(work, as_json)
