"""``dauso client``: portals' backends, their keys and scopes."""

import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from api import bootstrap
from api.cli.given import settings_of
from api.cli.show import out, print_json, read_file, run
from api.clients.model import Scope
from api.clients.store import Clients
from api.roles import ProcessRole
from core.db import Database
from core.errors import BadInput
from core.settings import Settings

__all__ = ["app"]

app = typer.Typer(help="Ứng dụng của cổng / clients of portals.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="JSON")]
Overlap = Annotated[int, typer.Option(help="Số ngày khóa cũ còn dùng được / days the old keys stay good")]
ReturnUrls = Annotated[
    list[str] | None,
    typer.Option(help="Địa chỉ https mà người ký được đưa về, có thể nhiều / https addresses that signers return to"),
]


@asynccontextmanager
async def _clients(settings: Settings) -> AsyncIterator[tuple[bootstrap.Service, Clients]]:
    """The operator's own connection: the web's may not write clients."""
    async with bootstrap.open_service(settings, ProcessRole.WEB) as service, Database(settings.database) as db:
        yield service, Clients(db, service.clock, f"{settings.url}/oauth2/token")


@app.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Tên ứng dụng / name")],
    agency: Annotated[list[str], typer.Option(help="Mã cơ quan, có thể nhiều / agency codes")],
    scope: Annotated[list[Scope], typer.Option(help="Quyền / scopes")],
    return_url: ReturnUrls = None,
    as_json: AsJson = False,
) -> None:
    """Thêm ứng dụng và cấp khóa API, chỉ hiện một lần / add a client; its API key is shown once."""

    async def work() -> None:
        async with _clients(settings_of(context)) as (service, clients):
            async with service.db.read() as uow:
                ids = [(await service.directory.agency(uow, code)).id for code in agency]
            made = await clients.add(name, ids, scope, return_url or ())
            secret = await clients.new_secret(made.id, dt.timedelta())
        print_json({"id": made.id, "api_key": secret}) if as_json else out.print(
            f"{made.id}\nkhóa API / API key: {secret}", markup=False
        )

    run(work, as_json)


@app.command("list")
def list_clients(context: typer.Context) -> None:
    """Các ứng dụng, mỗi dòng một JSON / clients, a JSON line each."""

    async def work() -> None:
        async with _clients(settings_of(context)) as (_, clients):
            for each in await clients.all():
                print_json(
                    {"id": each.id, "name": each.name, "agencies": sorted(each.agencies), "scopes": sorted(each.scopes),
                     "return_urls": each.return_urls, "ended_at": each.ended_at}
                )  # fmt: skip

    run(work)


@app.command("return-urls")
def return_urls(
    context: typer.Context, client_id: str, return_url: ReturnUrls = None,
) -> None:  # fmt: skip
    """Đặt lại các địa chỉ mà người ký được đưa về / the addresses that signers return to, from now on."""

    async def work() -> None:
        async with _clients(settings_of(context)) as (_, clients):
            await clients.set_return_urls(client_id, return_url or ())
        print_json({"id": client_id, "return_urls": return_url or []})

    run(work)


@app.command("rotate")
def rotate(context: typer.Context, client_id: str, overlap_days: Overlap = 7, as_json: AsJson = False) -> None:
    """Cấp khóa API mới; khóa cũ còn dùng thêm ít ngày / a new API key with overlap."""

    async def work() -> None:
        async with _clients(settings_of(context)) as (_, clients):
            secret = await clients.new_secret(client_id, dt.timedelta(days=overlap_days))
        print_json({"id": client_id, "api_key": secret}) if as_json else out.print(secret, markup=False)

    run(work, as_json)


@app.command("key")
def key(
    context: typer.Context,
    client_id: str,
    jwk: Annotated[Path, typer.Argument(help="Tệp khóa công khai JWK / public key file")],
    overlap_days: Overlap = 7,
) -> None:
    """Ghi khóa công khai cho private_key_jwt / register a public key for private_key_jwt."""

    async def work() -> None:
        try:
            value = json.loads(read_file(jwk))
        except ValueError as error:
            raise BadInput("client.bad_jwk") from error
        async with _clients(settings_of(context)) as (_, clients):
            kid = await clients.new_jwk(client_id, value, dt.timedelta(days=overlap_days))
        print_json({"id": client_id, "kid": kid})

    run(work)


@app.command("end")
def end(context: typer.Context, client_id: str) -> None:
    """Chấm dứt ứng dụng ngay / end a client now."""

    async def work() -> None:
        async with _clients(settings_of(context)) as (_, clients):
            await clients.end(client_id)
        print_json({"id": client_id, "ended": True})

    run(work)
