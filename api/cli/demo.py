"""``dauso demo``: the whole main job on a sample drawn at run time, in a training realm of its own."""

import asyncio
import datetime as dt
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from api import bootstrap, sample, serving
from api.certifying import certify_file
from api.checking import Checker
from api.cli.show import fail, out, print_json, progress, settings_of
from api.roles import ProcessRole
from core.directory.model import Role
from core.errors import ServiceError
from core.settings import Settings
from core.values import Realm, Regime
from signer.copies import qr

__all__ = ["demo"]

_STEPS = 24


def demo(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Thư mục nhà của bản trình diễn / home of the demo")] = None,
    serve: Annotated[bool, typer.Option(help="Mở các trang sau khi xong / serve the pages afterwards")] = True,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Trình diễn: chứng thực một bản quét mẫu, kiểm tra, rồi mở các trang / certify a sample, verify it, serve the pages."""
    settings = settings_of(context)
    if home is not None:
        settings = Settings(**{**settings.model_dump(), "home": home})
    try:
        result = asyncio.run(_run(settings, as_json))
    except ServiceError as error:
        fail(error, as_json)
    print_json(result) if as_json else _screen(settings, result)
    if result["verdict"] != "genuine":
        raise typer.Exit(1)
    if serve and not as_json:
        _serve(settings, result["qr"].partition("#")[2])


async def _run(settings: Settings, quiet: bool) -> dict[str, Any]:
    with progress(quiet) as bar:
        task = bar.add_task("chuẩn bị / preparing", total=_STEPS)

        def note(step: str) -> None:
            bar.update(task, advance=1, description=step)

        if not bootstrap.is_home(settings.home):
            await bootstrap.create_home(settings, Realm.TRAINING)
        note("home")
        async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
            if service.realm is not Realm.TRAINING:
                raise bootstrap.demo_needs_training()
            async with service.db.read() as uow:
                known = await service.directory.agencies(uow)
            if not known:
                await _populate(service)
            note("people")
            pages = sample.scan_pages()
            note("sample")
            target = settings.home / "out"
            target.mkdir(exist_ok=True)
            request = {
                "kind": "Giấy khai sinh", "regime": Regime.CERTIFIED_COPY, "agency": "", "original_number": "45/2001",
                "pages": 2, "copies": 1, "requester": "Phạm Thị Mẫu", "device": "máy quét mẫu 200 dpi",
                "scanned_at": service.clock.now(),
            }  # fmt: skip
            done = await certify_file(service, pages, "giay-khai-sinh.jpg", request, target, note)
        async with Checker.open(settings, []) as checker:
            report = await checker.check(Path(done["file"]).read_bytes())
        note("verify")
    return {
        **done, "verdict": report.verdict.value, "realm": "training", "sentence": report.sentence("vi"),
        "sentence_en": report.sentence("en"), "anchor": str(settings.home / "pki" / "root.pem"),
    }  # fmt: skip


async def _populate(service: bootstrap.Service) -> None:
    agency = await service.enrolment.agency(code="H99.1", name="UBND xã Mẫu Sơn", parent="UBND tỉnh Ví Dụ")
    now = service.clock.now()
    people = (("Nguyễn Thị Ánh Tuyết", Role.CERTIFIER, "12/QĐ-UBND"), ("Trần Văn Thư", Role.CLERK, "13/QĐ-UBND"))
    for name, role, number in people:
        await service.enrolment.person(
            agency=agency.code, name=name, role=role, number=number, capacity="TUQ. CHỦ TỊCH", dated=now,
            valid_to=now + dt.timedelta(days=365), scope=frozenset(Regime),
        )  # fmt: skip


def _serve(settings: Settings, seal: str) -> None:
    """Signer, worker and web as processes of their own; the browser opens on the sample's check page."""
    url = f"http://localhost:{settings.web_bind.rpartition(':')[2]}"
    page = f"{url}/v#{seal}"
    try:
        public, operator = serving.listen(settings.web_bind), serving.listen(settings.operator_bind)
    except ServiceError as error:
        fail(error)
    os.environ |= {"DAUSO_WEB_URL": url, "DAUSO_HOST": settings.host}
    out.print(f"\n  Trang kiểm tra / check page: {page}\n  Dừng bằng Ctrl+C / stop with Ctrl+C", markup=False)
    if sys.stdout.isatty():
        webbrowser.open(page)
    asyncio.run(serving.supervise(serving.children(settings, public, operator)))


def _screen(settings: Settings, done: dict[str, Any]) -> None:
    good = done["verdict"] == "genuine"
    out.print(f"\n[bold]{'✓' if good else '✗'} {done['sentence']}[/bold]\n  {done['sentence_en']}\n")
    for label, key in (
        ("Số chứng thực", "number"),
        ("Mã tra cứu", "code"),
        ("Tệp", "file"),
        ("Chứng thư gốc", "anchor"),
    ):
        out.print(f"  {label:<14} {done[key]}", markup=False)
    out.print("\n  Phê duyệt bằng khóa phần mềm của bản tập huấn / approvals came from software passkeys (training).\n")
    if sys.stdout.isatty() or done["qr"]:
        out.print(_blocks(done["qr"]), markup=False)
    home = settings.home
    out.print("  Thử tiếp / what to try next:")
    for line in (f"verify {done['file']}", "copy list", "log show", "book list"):
        out.print(f"    dauso --home {home} {line}", markup=False)


def _blocks(url: str) -> str:
    """The QR code as half blocks with its quiet zone; dark on light whatever the terminal's colours."""
    rows = qr.matrix(url)
    side = len(rows) + 4
    blank = [False] * side
    grid = [blank, blank, *([False, False, *row, False, False] for row in rows), blank, blank]
    if len(grid) % 2:
        grid.append(blank)
    lines = []
    for top, bottom in zip(grid[::2], grid[1::2], strict=True):
        cells = "".join(
            {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}[a, b] for a, b in zip(top, bottom, strict=True)
        )
        lines.append("  " + cells)
    return "\n".join(lines)
