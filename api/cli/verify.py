"""``dauso verify``: one plain sentence a file, evidence after; exit code by the worst verdict."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from api.checking import Checker
from api.cli.given import settings_of, signing
from api.cli.show import err, fail, out, print_json
from core.errors import BadInput, ServiceError
from signer.reports.desk import SheetDesk
from signer.reports.sheet import CheckedFile
from verification.report import Report, Verdict

__all__ = ["verify"]

_MARK = {Verdict.GENUINE: "green", Verdict.UNKNOWN: "yellow", Verdict.UNDETERMINED: "yellow"}


def verify(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="PDF hoặc ảnh chụp mã QR / PDF files or pictures of a QR code")],
    anchor: Annotated[list[Path] | None, typer.Option(help="Chứng thư gốc PEM / root certificates to trust")] = None,
    lists: Annotated[
        Path | None, typer.Option(help="Thư mục danh mục mã QR đã công bố / folder of published QR lists")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--report", help="Ghi phiếu kết quả đã ký (PDF) / write the signed result sheet")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Kiểm tra bản sao / check copies; a home folder adds register, recall and receipt."""

    async def work() -> int:
        worst = 0
        async with _opened(context, anchor or [], lists, sheet) as (checker, desk):
            for file in files:
                try:
                    data = file.read_bytes()
                    report = await checker.check(data)
                except (ServiceError, OSError) as error:
                    worst = max(worst, 3)
                    _say_error(file, error, as_json)
                    continue
                print_json({**report.to_json(), "file": str(file)}) if as_json else _say(file, report)
                worst = _worse(worst, report.verdict.exit_code)
                if sheet is not None and desk is not None:
                    _write(sheet, await desk.issue(report, CheckedFile.of(file.name, data)))
        return worst

    if sheet is not None and (len(files) != 1 or anchor or lists is not None):
        fail(BadInput("verify.report_alone"), as_json, 2)
    missing = [p for p in [*files, *(anchor or [])] if not p.is_file()]
    if missing:
        err.print(f"không có tệp / no such file: {', '.join(map(str, missing))}")
        raise typer.Exit(2)
    try:
        code = asyncio.run(work())
    except ServiceError as error:
        err.print(f"{error.say('vi')}\n{error.say('en')} ({error.code})")
        raise typer.Exit(3) from error
    raise typer.Exit(code)


@asynccontextmanager
async def _opened(
    context: typer.Context, anchors: list[Path], lists: Path | None, sheet: Path | None
) -> AsyncIterator[tuple[Checker, SheetDesk | None]]:
    """A sheet is signed, so it needs a home with its keys; a check alone needs neither."""
    if sheet is None:
        async with Checker.open(settings_of(context), [p.read_bytes() for p in anchors], lists) as checker:
            yield checker, None
    else:
        async with signing(context) as service:
            yield Checker.of(service), service.parts().sheets


def _write(target: Path, data: bytes) -> None:
    try:
        target.write_bytes(data)
    except OSError as error:
        raise BadInput("cli.cannot_write", file=str(target)) from error


def _worse(a: int, b: int) -> int:
    """1 (bad) is worse than 3 (not known), which is worse than 0."""
    order = (0, 3, 1)
    return max(a, b, key=order.index)


def _say_error(file: Path, error: Exception, as_json: bool) -> None:
    vi, en, code = (
        (error.say("vi"), error.say("en"), error.code)
        if isinstance(error, ServiceError)
        else ("Không đọc được tệp.", "The file cannot be read.", "verify.unreadable")
    )
    finding = {"code": code, "severity": "error", "text": vi}
    if as_json:
        row: dict[str, Any] = {"file": str(file), "verdict": "undetermined", "realm": None, "sentence": vi,
                               "sentence_en": en, "signatures": [], "findings": [finding]}  # fmt: skip
        print_json(row)
    else:
        err.print(f"{file}: {vi} / {en} ({code})")


def _say(file: Path, report: Report) -> None:
    colour = _MARK.get(report.verdict, "red")
    out.print(f"[bold]{file.name}[/bold]")
    out.print(f"  [{colour}]{report.sentence('vi')}[/{colour}]")
    out.print(f"  {report.sentence('en')}")
    for s in report.to_json()["signatures"]:
        out.print(
            f"    {s['signer']} · {s['level']} · {s['indication']} {s['sub_indication'] or ''} · {s['signed_at']}",
            markup=False,
        )
    for f in report.to_json()["findings"]:
        out.print(f"    {f['severity']}: {f['text']} ({f['code']})", markup=False)
