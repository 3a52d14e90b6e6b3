"""``dauso serve``, ``signer``, ``worker``: the processes."""

import asyncio
import socket
from typing import Annotated

import typer

from api import serving
from api.cli.given import settings_of
from api.cli.show import err, fail
from core.errors import ServiceError

__all__ = ["serve", "signer", "worker"]


def serve(
    context: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", help="Cả tiến trình ký và tiến trình nền / signer and worker too")
    ] = False,
    fd: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Mở cửa phục vụ: cổng, trang kiểm tra, PKI / serve portal, check pages and PKI."""
    settings = settings_of(context)
    try:
        if fd:
            sockets = [socket.socket(fileno=int(number)) for number in fd.split(",")]
            asyncio.run(serving.serve_web(settings, sockets[0], sockets[1] if len(sockets) > 1 else None))
            return
        public, operator = serving.listen(settings.web_bind), serving.listen(settings.operator_bind)
        err.print(
            f"http://{settings.web_bind} · quản trị / operator http://{settings.operator_bind}/metrics", markup=False
        )
        if everything or settings.web_workers > 1:
            parts = serving.children(settings, public, operator)
            wanted = parts if everything else [c for c in parts if c.name.startswith("web")]
            asyncio.run(serving.supervise(wanted))
        else:
            asyncio.run(serving.serve_web(settings, public, operator))
    except ServiceError as error:
        fail(error)


def signer(context: typer.Context) -> None:
    """Tiến trình ký: giữ kho khóa, trả lời tiến trình web qua socket / the signer, alone with the key store."""
    try:
        asyncio.run(serving.serve_signer(settings_of(context)))
    except ServiceError as error:
        fail(error)


def worker(context: typer.Context) -> None:
    """Tiến trình nền: báo cho các cổng (webhook) / background work without keys: webhooks."""
    try:
        asyncio.run(serving.serve_worker(settings_of(context)))
    except ServiceError as error:
        fail(error)
