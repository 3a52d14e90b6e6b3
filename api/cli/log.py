"""``dauso log``: look at the signature log; let it go on when it is frozen."""

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from api import bootstrap
from api.cli import ceremonies
from api.cli.given import cards_of, settings_of
from api.cli.show import out, print_json, run
from api.roles import ProcessRole
from audit.events import LeafType
from audit.highwater import Mark

app = typer.Typer(help="Nhật ký chữ ký / signature log.", no_args_is_help=True)


@app.command("show")
def show(
    context: typer.Context,
    last: Annotated[int, typer.Option(help="Số dòng cuối / how many")] = 20,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Điểm kiểm và các dòng cuối / checkpoint and the last leaves."""

    async def work() -> None:
        async with bootstrap.open_service(settings_of(context), ProcessRole.WEB) as service:
            checkpoint = await service.log.latest_checkpoint()
            leaves = await service.log_tail(last)
        if as_json:
            print_json({"checkpoint": checkpoint, "vkey": service.log_vkey, "leaves": leaves})
            return
        out.print(checkpoint or "chưa có điểm kiểm / no checkpoint yet", markup=False)
        out.print(f"vkey {service.log_vkey}", markup=False)
        for leaf in leaves:
            out.print(f"{leaf['index']:>6}  {leaf['type']:<22} {leaf['event_id']}", markup=False)
            if leaf["type"] == LeafType.LOG_RELEASED:
                for line in _histories(leaf):
                    out.print(f"        {line}", markup=False)

    run(work, as_json)


@app.command("release")
def release(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Lý do; trống: hỏi / why; empty: asked for")] = "",
    out_file: Annotated[Path | None, typer.Option("--out", help="Nơi lưu biên bản PDF / where the protocol goes")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Không hỏi; chỉ trong bản tập huấn / ask nothing; realm training alone")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON")] = False,
) -> None:  # fmt: skip
    """Cho nhật ký đã đóng băng chạy tiếp, hai người / let a frozen log go on from this database; two people."""
    work = ceremonies.Release(
        settings=settings_of(context), reason=reason, cards=cards_of(context), out=out_file, yes=yes
    )
    ceremonies.end(run(work.run, as_json), as_json)


def _histories(leaf: dict[str, Any]) -> list[str]:
    """A release in plain words."""
    old, new = _mark(leaf.get("mark_old")), _mark(leaf["mark_new"])
    assert new is not None
    if old is None:
        vi, en = "MẤT MỐC: không ai biết đã công bố đến đâu", "THE MARK WAS LOST: nobody knows how far was published"
    elif old[0] > new[0]:
        gone = old[0] - new[0]
        vi = f"HAI LỊCH SỬ: {gone} bản ghi đã công bố không còn ở đây"
        en = f"TWO HISTORIES: {gone} published leaves are not here any more"
    else:
        vi = "HAI LỊCH SỬ: những gì đã công bố trước đó là một lịch sử khác"
        en = "TWO HISTORIES: what was published before is another one"
    return [
        f"! {vi}; nhật ký được cho chạy tiếp",
        f"! {en}; the log was let go on",
        f"  đã công bố / published {ceremonies.mark_text(old)}",
        f"  chạy tiếp từ / went on from {ceremonies.mark_text(new)}",
    ]


def _mark(value: dict[str, Any] | None) -> Mark | None:
    return None if value is None else (int(value["size"]), base64.b64decode(value["root"]))
