"""``dauso simulate``: parts of the outside world for portal teams to practise with; needs no home."""

import asyncio
import base64
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from api.cli.show import err, fail, out
from api.simulate.app import make_simulator_app
from api.simulate.people import People
from api.simulate.service import Fault, Simulator, faults_of
from core.clock import SystemClock
from core.errors import ServiceError
from core.ids import random_bytes
from core.outbound import Outbound, named

__all__ = ["app"]

app = typer.Typer(
    help="Mô phỏng dịch vụ bên ngoài để thử / simulated outside services for trials", no_args_is_help=True
)


@app.callback()
def group() -> None:
    """Mô phỏng dịch vụ bên ngoài để thử / simulated outside services for trials."""


@app.command("provider")
def provider(
    port: Annotated[int, typer.Option(help="Cổng / port")] = 8010,
    host: Annotated[str, typer.Option(help="Địa chỉ nghe / address to listen on")] = "127.0.0.1",
    faults: Annotated[str, typer.Option(help="Lỗi mô phỏng / faults: " + ",".join(Fault))] = "",
    auto: Annotated[
        int | None, typer.Option(min=0, help="Tự động ký sau bấy nhiêu ms / approve by itself after so many ms")
    ] = None,
    webhook: Annotated[str, typer.Option(help="Địa chỉ nhận thông báo / address that is told")] = "",
    people: Annotated[int, typer.Option(min=2, max=10, help="Số người / number of people")] = 3,
    folder: Annotated[
        Path | None, typer.Option(help="Thư mục giữ khóa qua các lần chạy / folder that keeps keys between runs")
    ] = None,
    sp_id: Annotated[str, typer.Option(help="Tên của hệ thống gọi / the caller's name")] = "dauso-simulated",
    sp_password: Annotated[
        str, typer.Option(help="Mật khẩu; để trống thì tạo mới / password; a new one where empty")
    ] = "",
) -> None:
    """Dịch vụ ký từ xa kiểu SP769, có trang cho người vận hành / a remote-signing service in SP769's dialect."""
    try:
        wanted = faults_of(faults)
    except ServiceError as error:
        fail(error)
    clock = SystemClock()
    simulator = Simulator(
        people=People(clock, folder, people), clock=clock, sp_id=sp_id, faults=wanted, webhook=webhook,
        sp_password=sp_password or base64.b32encode(random_bytes(15)).decode().lower(),
        auto=None if auto is None else auto / 1000, outbound=Outbound(private=_meant(webhook)),
    )  # fmt: skip
    _say(simulator, host, port, folder)
    config = uvicorn.Config(
        make_simulator_app(simulator), host=host, port=port, lifespan="off", log_config=None, access_log=False
    )
    asyncio.run(_serve(uvicorn.Server(config), simulator))


async def _serve(server: uvicorn.Server, simulator: Simulator) -> None:
    try:
        await server.serve()
    finally:
        await simulator.close()
        await simulator.outbound.close()


def _meant(webhook: str) -> frozenset[str]:
    """The operator named the address, so it may be an inner one."""
    rest = webhook.partition("://")[2].partition("/")[0]
    default = ":443" if webhook.startswith("https:") else ":80"
    return named(rest if ":" in rest else rest + default) if rest else frozenset()


def _say(simulator: Simulator, host: str, port: int, folder: Path | None) -> None:
    """What to put into the settings of whoever calls."""
    err.print(f"http://{host}:{port} · mô phỏng, không có giá trị / simulated, worth nothing", markup=False)
    out.print(f"DAUSO_PROVIDER_URL=http://{host}:{port}", markup=False)
    out.print(f"DAUSO_PROVIDER_SP_ID={simulator.sp_id}", markup=False)
    out.print(f"DAUSO_PROVIDER_SP_PASSWORD={simulator.sp_password}", markup=False)
    out.print(f"DAUSO_OUTBOUND_PRIVATE={host}:{port}", markup=False)
    if folder is None:
        err.print(f"curl -o simulated-root.pem http://{host}:{port}/control/ca.pem", markup=False)
    anchor = Path("simulated-root.pem") if folder is None else folder.resolve() / "root.pem"
    out.print(f"DAUSO_PROVIDER_ANCHORS={anchor}", markup=False)
    for person in simulator.people.all:
        out.print(f"# {person.number}  {person.name}", markup=False)
