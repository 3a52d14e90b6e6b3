"""A running house for tests: signer behind its socket and web application, as separate processes or in this one."""

import asyncio
import contextlib
import datetime as dt
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import uvicorn

from api import bootstrap, serving
from api.answering import handlers
from api.clients.model import Scope
from api.clients.store import Clients
from api.inner import inner_app, make_socket_folder
from api.roles import ProcessRole
from api.web.app import make_app
from core.clock import SystemClock
from core.db import Database
from core.settings import Settings
from tests.flows.town import environment


async def add_client(settings: Settings, *codes: str, scopes=tuple(Scope), name="Cổng thử") -> tuple[str, str]:
    """(id, API key) of a new client."""
    async with Database(settings.database) as db:
        clients = Clients(db, SystemClock(), f"{settings.url}/oauth2/token")
        directory = bootstrap.Directory(SystemClock())
        async with db.read() as uow:
            ids = [(await directory.agency(uow, code)).id for code in codes]
        made = await clients.add(name, ids, list(scopes))
        return made.id, await clients.new_secret(made.id, dt.timedelta())


@contextlib.asynccontextmanager
async def signer_here(settings: Settings, clock=None):
    """The signer's work and its inner door in this process."""
    make_socket_folder(settings.socket)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER, clock) as service:
        config = uvicorn.Config(
            inner_app(handlers(service)), uds=str(settings.socket), lifespan="off", log_config=None, access_log=False
        )
        server = serving._Server(config)
        work = [asyncio.create_task(each()) for each in bootstrap.signer_work(service)]
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield service
        finally:
            server.should_exit = True
            await running
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await service.reception.drain()
            settings.socket.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def web_here(settings: Settings, clock=None):
    """(parts, client) of the public application, called without a network."""
    async with serving.open_web(settings, clock) as parts:
        transport = httpx2.ASGITransport(make_app(parts), client=("192.0.2.7", 4000))
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{settings.host}", timeout=60) as client:
            yield parts, client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def processes(home: Path, **more: str):
    """``dauso serve --all`` on a free port; yields (url, process)."""
    port, operator, approvals = free_port(), free_port(), free_port()
    env = environment() | {
        "DAUSO_HOME": str(home), "DAUSO_WEB_BIND": f"127.0.0.1:{port}", "DAUSO_OPERATOR_BIND": f"127.0.0.1:{operator}",
        "DAUSO_WEB_URL": f"http://localhost:{port}", "DAUSO_SIGN_BIND": f"127.0.0.1:{approvals}", **more,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "api.cli", "serve", "--all"], env=env, cwd="/", stderr=subprocess.PIPE
    )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                if httpx2.get(f"http://localhost:{port}/readyz", timeout=2).status_code == 200:
                    break
            except httpx2.HTTPError:
                pass
            assert time.monotonic() < until, "the house did not open"
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.1)
        yield f"http://localhost:{port}", process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stderr.close()
