"""``dauso demo``: the whole main job on a sample drawn at run time, in a training realm of its own; then every page.

It also prepares the home for practice (``/training``) and prints a way in for each sample official.
"""

import asyncio
import os
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from api import bootstrap, sample, serving
from api.certifying import certify_file, deliver
from api.checking import Checker
from api.cli.given import settings_of
from api.cli.show import fail, out, print_json, progress
from api.keystores import spends_secret_ids
from api.roles import ProcessRole
from api.simulate.openbao import beside
from api.training.prepare import Invited, prepare, sample_agency
from core.errors import Refused, ServiceError
from core.settings import Settings
from core.values import Realm, Regime
from signer.copies import qr, store

__all__ = ["demo"]

_STEPS = 24


class KeysOf(StrEnum):
    """Where the demo's keys are."""

    SOFTWARE = "software"
    OPENBAO = "openbao"


_WAITS: Final = frozenset({"copy.awaiting_certifier", "copy.awaiting_clerk"})


def demo(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Thư mục nhà của bản trình diễn / home of the demo")] = None,
    serve: Annotated[bool, typer.Option(help="Mở các trang sau khi xong / serve the pages afterwards")] = True,
    keys: Annotated[
        KeysOf | None,
        typer.Option(help="Kho khóa / key store: software | openbao (một máy chủ riêng / a server of its own)"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Trình diễn: chứng thực một bản quét mẫu, kiểm tra, rồi mở các trang / certify a sample, verify it, serve the pages."""
    settings = _for_here(settings_of(context), home)
    try:
        with _with_keys(settings, keys) as own:
            _demo(own, serve=serve, as_json=as_json)
    except ServiceError as error:
        fail(error, as_json)


@contextmanager
def _with_keys(settings: Settings, keys: KeysOf | None) -> Iterator[Settings]:
    """A home that was made with OpenBao stays with it."""
    kept = KeysOf.OPENBAO if (settings.home / "openbao").is_dir() else KeysOf.SOFTWARE
    if bootstrap.is_home(settings.home) and keys not in {None, kept}:
        raise Refused("demo.other_keys")
    if (keys or kept) is KeysOf.OPENBAO:
        with beside(settings) as own:
            yield own
    elif spends_secret_ids(settings):  # it opens the stores again and again
        raise Refused("demo.no_cards")
    else:
        yield settings


def _demo(settings: Settings, *, serve: bool, as_json: bool) -> None:
    result = asyncio.run(_run(settings, as_json))
    print_json(result) if as_json else _screen(settings, result)
    if result["verdict"] != "genuine":
        raise typer.Exit(1)
    if serve and not as_json:
        _serve(settings, result["qr"].partition("#")[2])


def _for_here(settings: Settings, home: Path | None) -> Settings:
    """Addresses of this machine, unless the settings name others: links that are printed must be those that are served."""
    given = settings.model_dump()
    given["web_url"] = settings.web_url or f"http://localhost:{settings.web_bind.rpartition(':')[2]}"
    if "sign_url" not in settings.model_fields_set:
        given["sign_url"] = f"http://sign.localhost:{settings.sign_bind.rpartition(':')[2]}"
    return Settings(**{**given, "home": home or settings.home})


async def _run(settings: Settings, quiet: bool) -> dict[str, Any]:
    with progress(quiet) as bar:
        task = bar.add_task("chuẩn bị / preparing", total=_STEPS)

        def note(step: str) -> None:
            bar.update(task, advance=1, description=step)

        if not bootstrap.is_home(settings.home):
            await bootstrap.create_home(settings, Realm.TRAINING)
        note("home")
        async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
            await sample_agency(service)
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
            try:
                done = await certify_file(service, pages, "giay-khai-sinh.jpg", request, target, note)
            except Refused as error:  # the official practises with a phone: this paper waits at the desk
                if error.code not in _WAITS:
                    raise
                done = await _earlier(service, target, error)
            invited = await prepare(service)
            note("training")
        async with Checker.open(settings, []) as checker:
            report = await checker.check(Path(done["file"]).read_bytes())
        note("verify")
    return {
        **done, "verdict": report.verdict.value, "realm": "training", "sentence": report.sentence("vi"),
        "sentence_en": report.sentence("en"), "anchor": str(settings.home / "pki" / "root.pem"),
        "guide": f"{settings.url}/training", "desk": f"{settings.url}/desk", "invited": [asdict(each) for each in invited],
    }  # fmt: skip


async def _earlier(service: bootstrap.Service, target: Path, why: Refused) -> dict[str, Any]:
    """The newest sample that is released. Raises ``why`` where there is none."""
    async with service.db.read() as uow:
        copies = [copy for copy in await store.all_copies(uow) if copy.state == "released" and copy.receipt is not None]
        if not copies:
            raise why
        agency = await service.directory.agency(uow, copies[0].agency_id)
    return await deliver(service, agency, copies[0], "giay-khai-sinh", target)


def _serve(settings: Settings, seal: str) -> None:
    """Signer, worker and web as processes of their own; the browser opens on the sample's check page."""
    page = f"{settings.url}/v#{seal}"
    try:
        public, operator = serving.listen(settings.web_bind), serving.listen(settings.operator_bind)
    except ServiceError as error:
        fail(error)
    os.environ |= _store_of(settings)
    os.environ |= {"DAUSO_WEB_URL": settings.url, "DAUSO_SIGN_URL": settings.sign_url, "DAUSO_HOST": settings.host}
    _say(f"\n  Trang kiểm tra / check page: {page}", "  Dừng bằng Ctrl+C / stop with Ctrl+C")
    if sys.stdout.isatty():
        webbrowser.open(page)
    asyncio.run(serving.supervise(serving.children(settings, public, operator)))


def _store_of(settings: Settings) -> dict[str, str]:
    """For the signer, which is a process of its own; the others are not told."""
    names = [name for name in Settings.model_fields if name.startswith(("vault_", "transit_")) or name == "keys"]
    return {
        f"DAUSO_{name.upper()}": str(getattr(settings, name)) for name in names if name in settings.model_fields_set
    }


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
    _doors(done)
    home = settings.home
    out.print("\n  Thử tiếp / what to try next:")
    for line in (f"verify {done['file']}", "copy list", "log show", "book list"):
        out.print(f"    dauso --home {home} {line}", markup=False)


_ROLES: Final = {
    "certifier": "cán bộ ký chứng thực / certifying official", "clerk": "văn thư / clerk", "administrator": "quản trị / administrator",
}  # fmt: skip


def _doors(done: dict[str, Any]) -> None:
    """Where to go with a browser, and the ways in: of no use outside this home."""
    _say(
        "",
        f"  Trang tập huấn / practise as a citizen:  {done['guide']}",
        f"  Bàn làm việc / desk of officials:        {done['desk']}",
    )
    for each in (Invited(**row) for row in done["invited"]):
        _say(f"\n  {each.name} ({_ROLES[each.role]}) · số để đăng nhập / number to log in: {each.number}",
             f"    bàn làm việc / desk:  {each.desk}", f"    khóa ký / sign:       {each.sign}")  # fmt: skip


def _say(*lines: str) -> None:
    """As they are: an address must not be broken into two lines."""
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


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
