"""``dauso copy``: certify, show, list, void."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer

from api import bootstrap
from api.certifying import certify_file
from api.cli.given import settings_of, signing
from api.cli.show import err, out, print_json, progress, run
from api.roles import ProcessRole
from core.errors import ServiceError
from core.limits import LIMITS
from core.messages import sentence
from core.values import Regime
from signer.copies import store

__all__ = ["app"]

app = typer.Typer(help="Bản sao chứng thực / certified copies.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="JSON")]


@app.command("certify")
def certify(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="PDF, JPEG, PNG, TIFF, HEIC")],
    kind: Annotated[str, typer.Option(help="Loại giấy tờ / kind of paper")] = "Giấy tờ",
    regime: Annotated[Regime, typer.Option(help="certified_copy | sao_y | so_hoa")] = Regime.CERTIFIED_COPY,
    agency: Annotated[str, typer.Option(help="Mã cơ quan; bỏ trống khi chỉ có một")] = "",
    original_number: Annotated[str, typer.Option(help="Số của bản chính")] = "",
    pages: Annotated[int | None, typer.Option(help="Số trang đã đối chiếu")] = None,
    copies: Annotated[int, typer.Option(help="Số bản")] = 1,
    requester: Annotated[str, typer.Option(help="Người yêu cầu")] = "",
    fee: Annotated[int, typer.Option(help="Lệ phí (đồng)")] = 0,
    checked: Annotated[list[str] | None, typer.Option(help="Điều đã kiểm tra ở bản chính / what was checked")] = None,
    notes: Annotated[str, typer.Option(help="Ghi chú / notes")] = "",
    device: Annotated[str, typer.Option(help="Máy quét")] = "máy quét tại quầy",
    target: Annotated[Path, typer.Option("--out", help="Thư mục nhận bản sao")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Chứng thực từng tệp; một tệp hỏng không dừng các tệp khác / one bad file never stops the others."""
    if missing := [f for f in files if not f.is_file()]:
        err.print(f"không có tệp / no such file: {', '.join(map(str, missing))}")
        raise typer.Exit(2)

    async def work() -> int:
        bad = 0
        async with signing(context) as service:
            target.mkdir(parents=True, exist_ok=True)
            with progress(as_json) as bar:
                task = bar.add_task("chứng thực", total=len(files))
                for file in files:
                    bar.update(task, description=file.name)
                    request: dict[str, Any] = {
                        "kind": kind, "regime": regime, "agency": agency, "original_number": original_number,
                        "pages": pages, "copies": copies, "requester": requester, "device": device,
                        "fee": fee, "checklist": checked or [], "notes": notes,
                        "scanned_at": dt.datetime.fromtimestamp(file.stat().st_mtime, dt.UTC),
                    }  # fmt: skip
                    try:
                        done = await certify_file(service, [file.read_bytes()], file.name, request, target)
                        print_json({"source": str(file), **done}) if as_json else bar.console.print(
                            f"✓ {file.name} → {done['file']}  số {done['number']}  mã {done['code']}", markup=False
                        )
                        for code in [] if as_json else done["warnings"]:
                            err.print(f"  ! {sentence(code)} / {sentence(code, 'en')}", markup=False)
                    except ServiceError as error:
                        bad += 1
                        _refused(file, error, as_json)
                    bar.advance(task)
        if not as_json:
            err.print(f"{len(files) - bad} xong / done, {bad} không được / not done")
        return bad

    if run(work, as_json):
        raise typer.Exit(1)


def _refused(file: Path, error: ServiceError, as_json: bool) -> None:
    if as_json:
        print_json(
            {"source": str(file), "error": error.code, "sentence": error.say("vi"), "sentence_en": error.say("en")}
        )
    else:
        err.print(f"✗ {file.name}: {error.say('vi')}\n  {error.say('en')} ({error.code})", markup=False)


@app.command("show")
def show(context: typer.Context, copy_id: str) -> None:
    """Một bản sao / one copy, as JSON."""

    async def work() -> None:
        async with bootstrap.open_service(settings_of(context), ProcessRole.WEB) as service:
            async with service.db.read() as uow:
                copy = await store.get(uow, copy_id)
                entry = await service.register.entry(uow, copy.entry_id)
        print_json(
            {"id": copy.id, "state": copy.state, "regime": copy.regime, "realm": copy.realm, "number": entry.number,
             "facts": copy.facts, "released": copy.released, "reason": copy.reason, "created_at": copy.created_at}
        )  # fmt: skip

    run(work)


@app.command("list")
def list_copies(context: typer.Context, as_json: AsJson = False) -> None:
    """Các bản sao mới nhất / the newest copies."""

    async def work() -> None:
        async with bootstrap.open_service(settings_of(context), ProcessRole.WEB) as service:
            async with service.db.read() as uow:
                for copy in await store.all_copies(uow):
                    if as_json:
                        print_json({"id": copy.id, "state": copy.state, "kind": copy.facts["kind"]})
                    else:
                        out.print(f"{copy.id}  {copy.state:<20} {copy.facts['kind']}", markup=False)

    run(work, as_json)


@app.command("void")
def void(
    context: typer.Context,
    copy_id: str,
    reason: Annotated[str, typer.Option(help="Lý do / reason")],
    as_json: AsJson = False,
) -> None:
    """Hủy bản sao chưa phát hành; số giữ nguyên trong sổ / void an unreleased copy."""

    async def work() -> None:
        async with signing(context) as service:
            await service.copies.void(copy_id, reason)
        print_json({"id": copy_id, "state": "voided"}) if as_json else out.print(
            f"{copy_id} đã hủy / voided", markup=False
        )

    run(work, as_json)


@app.command("recall")
def recall(
    context: typer.Context,
    copy_id: str,
    reason: Annotated[str, typer.Option(help="Lý do / reason")],
    by: Annotated[str, typer.Option(help="Người quyết định (mã người) / id of the person who decided")],
    successor: Annotated[str | None, typer.Option(help="Bản thay thế / id of the copy in its place")] = None,
    since: Annotated[dt.datetime | None, typer.Option(help="Từ lúc / from when (UTC)")] = None,
    beyond_limit: Annotated[
        bool, typer.Option("--beyond-limit", help="Vượt mức mỗi ngày của cơ quan / beyond the agency's daily limit")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Thu hồi bản sao đã phát hành; mọi nơi kiểm tra đều báo / take a released copy back; every check says so."""

    async def work() -> None:
        async with signing(context) as service:
            copy = await service.recalls.recall(
                copy=copy_id, reason=reason, by=by, successor=successor, beyond_limit=beyond_limit,
                since=None if since is None else since.replace(tzinfo=dt.UTC).isoformat(),
            )  # fmt: skip
        print_json({"id": copy_id, "state": "recalled", "at": copy.recalled_at}) if as_json else out.print(
            f"{copy_id} đã thu hồi / recalled", markup=False
        )

    run(work, as_json)


@app.command("resume")
def resume(context: typer.Context, as_json: AsJson = False) -> None:
    """Làm tiếp các bản sao dở dang sau khi khởi động lại / go on with unfinished copies after a restart."""

    async def work() -> None:
        async with signing(context) as service:
            await service.jobs.settle(LIMITS["jobs.settle_seconds"])
            async with service.db.read() as uow:
                unfinished = await store.unfinished(uow)
            for copy_id in unfinished:
                try:
                    await service.jobs.run("copy", copy_id)
                    state = "released"
                except ServiceError as error:
                    state = error.code
                print_json({"id": copy_id, "state": state}) if as_json else out.print(
                    f"{copy_id}  {state}", markup=False
                )

    run(work, as_json)
