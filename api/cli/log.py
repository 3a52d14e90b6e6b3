"""``dauso log``: look at the signature log."""

from typing import Annotated

import typer

from api import bootstrap
from api.cli.show import out, print_json, run, settings_of
from api.roles import ProcessRole

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

    run(work, as_json)
