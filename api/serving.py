"""Processes: the public door, the signer behind its socket, the worker; each alone, or all under one parent.

Every process opens only what its role may hold. A parent starts them as separate processes with separate environments:
what opens a key store reaches the signer alone. A stop is graceful: doors close, what is under way ends, then it leaves.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from api import bootstrap
from api.answering import handlers
from api.checking import Checker
from api.clients.store import Clients
from api.confinement import hide_memory, require_confined, shut_out_of_keys
from api.inner import SignerDoor, inner_app, make_run_folder, make_socket_folder
from api.roles import ProcessRole
from api.secrets import web_key
from api.tracing import start_tracing
from api.web.handles import Handles
from api.web.metrics import Metrics
from api.web.pace import Pace
from api.web.pages import environment
from api.web.parts import WebParts
from api.webhooks.delivery import Courier
from api.webhooks.records import Endpoints
from core.clock import Clock
from core.errors import Unavailable
from core.limits import LIMITS
from core.logs import logger
from core.outbound import Outbound, named
from core.sealed import Box
from core.settings import Settings

__all__ = ["Child", "children", "listen", "open_web", "serve_signer", "serve_web", "serve_worker", "supervise"]

_SECRETS = frozenset({
    "DAUSO_KEY_PASSPHRASE", "DAUSO_KEY_FILE", "DAUSO_PEOPLE_KEY_FILE", "DAUSO_PROVIDER_SP_PASSWORD", "DAUSO_IDENTITY_CLIENT_SECRET",
    "DAUSO_MAIL_PASSWORD",
})  # fmt: skip
"""Settings that only the signer may see."""
_STORES = ("DAUSO_VAULT_", "DAUSO_PKCS11_", "DAUSO_TRANSIT_")


def _is_signers(name: str) -> bool:
    """Nor what tells the way to a key store."""
    return name in _SECRETS or name.startswith(_STORES) or name == "DAUSO_KEYS"


# ------------------------------------------------------------------------------------------------------------- web
@asynccontextmanager
async def open_web(settings: Settings, clock: Clock | None = None) -> AsyncIterator[WebParts]:
    """What the web process works with. Raises what ``open_service`` raises, ``home.web_key``."""
    key = web_key(settings)
    async with bootstrap.open_service(settings, ProcessRole.WEB, clock) as service:
        await bootstrap.require_narrow_rights(service)
        door = SignerDoor(settings.socket)
        try:
            yield WebParts(
                service=service, checker=Checker.of(service), signer=door, pace=Pace(service.clock), metrics=Metrics(),
                clients=Clients(service.db, service.clock, f"{settings.url}/oauth2/token"), base_url=settings.url,
                box=Box(key, "webhooks"), answers=Box(key, "answers"), handles=Handles(key),
                templates=environment(),
            )  # fmt: skip
        finally:
            await door.close()


def listen(address: str) -> socket.socket:
    """A listening socket on ``host:port``. Raises ``web.bind``."""
    host, _, port = address.rpartition(":")
    made: socket.socket | None = None
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host.strip("[]") or "127.0.0.1", int(port)))
        made.listen(1024)
    except (OSError, ValueError, OverflowError) as error:
        if made is not None:
            made.close()
        raise Unavailable("web.bind", address=address) from error
    made.set_inheritable(True)
    return made


def listen_here(address: str) -> list[socket.socket]:
    """Listening sockets on ``host:port``; where the host is 127.0.0.1, on ::1 as well. Raises ``web.bind``.

    Browsers take ``sign.localhost`` for ::1 first: another process that holds it would stand in front of this one.
    """
    made = [listen(address)]
    host, _, port = address.rpartition(":")
    if host == "127.0.0.1" and _has_ipv6_loopback():
        try:
            made.append(listen(f"[::1]:{port}"))
        except Unavailable:
            made[0].close()
            raise
    return made


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _config(app: ASGIApp | Any, settings: Settings, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, server_header=False,
        proxy_headers=bool(settings.web_proxies), forwarded_allow_ips=settings.web_proxies or None,
        timeout_keep_alive=15, timeout_graceful_shutdown=LIMITS["web.drain_seconds"], **more,
    )  # fmt: skip


async def serve_web(settings: Settings, public: socket.socket, operator: socket.socket | None) -> None:
    """Serve until a signal; several processes may share ``public``. Confines this process for good."""
    from api.web.app import make_app, make_operator_app  # noqa: PLC0415 - half a second that other roles and commands need not wait

    web_key(settings)
    make_run_folder(settings.socket)
    confined = shut_out_of_keys(settings)
    tracing = start_tracing(settings, "web")
    async with open_web(settings) as parts:
        require_confined(parts.service, confined)
        servers = [_Server(_config(make_app(parts), settings))]
        sockets = [[public]]
        if operator is not None:
            servers.append(_Server(_config(make_operator_app(parts), settings)))
            sockets.append([operator])
        await _until_signal(servers, sockets)
    if tracing is not None:
        await asyncio.to_thread(tracing.shutdown)


class _Server(uvicorn.Server):
    """Signals are ours: one for all listeners of the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def _until_signal(servers: list[_Server], sockets: list[list[socket.socket]]) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for each in servers:
            each.should_exit = True

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    try:
        await asyncio.gather(*(s.serve(sockets=k) for s, k in zip(servers, sockets, strict=True)))
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(name)


# ---------------------------------------------------------------------------------------------------------- signer
async def serve_signer(settings: Settings) -> None:
    """The inner door, the approvals' door and the work behind them, until a signal."""
    from api.sign.app import make_sign_app  # noqa: PLC0415 - as above

    hide_memory()
    make_socket_folder(settings.socket)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        inner = socket.socket(socket.AF_UNIX)
        inner.bind(str(settings.socket))
        settings.socket.chmod(0o600)
        inner.listen(256)
        servers = [
            _Server(_config(inner_app(handlers(service)), settings)),
            _Server(_config(make_sign_app(service), settings)),
        ]
        sockets = [[inner], listen_here(settings.sign_bind)]
        at_work = [asyncio.create_task(work()) for work in bootstrap.signer_work(service)]
        for task in at_work:
            task.add_done_callback(lambda ended: _end_with(ended, servers))
        try:
            await _until_signal(servers, sockets)
        finally:
            for task in at_work:
                task.cancel()
            await asyncio.gather(*at_work, return_exceptions=True)
            await service.reception.drain()
            await service.parts().requests.drain()
            await service.parts().providers.drain()
            settings.socket.unlink(missing_ok=True)


def _end_with(task: asyncio.Task[None], servers: list[_Server]) -> None:
    """Work that should never end has ended: better a new process than half a signer."""
    if not task.cancelled():
        logger().error("signer.work_ended", error=type(task.exception()).__name__)
        for each in servers:
            each.should_exit = True


# ---------------------------------------------------------------------------------------------------------- worker
async def serve_worker(settings: Settings) -> None:
    """Background work without keys: portals are told what happens. Until a signal; confines this process for good."""
    from core.jobs.durable import DurableJobs  # noqa: PLC0415  (half a second that other roles need not wait)

    key = web_key(settings)
    make_run_folder(settings.socket)
    (settings.home / "executors").mkdir(exist_ok=True, mode=0o700)
    confined = shut_out_of_keys(settings)
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    private = named(settings.outbound_private)
    async with bootstrap.open_service(settings, ProcessRole.WORKER) as service:
        require_confined(service, confined)
        await bootstrap.require_narrow_rights(service)
        jobs = DurableJobs(
            database=settings.worker_database, executor=settings.executor_id, locks=settings.home / "executors",
            clock=service.clock, application="worker", at_once=LIMITS["webhooks.at_once"],
        )  # fmt: skip
        outbound = Outbound(private=private)
        courier = Courier(
            db=service.db, clock=service.clock, endpoints=Endpoints(service.clock, Box(key, "webhooks")), outbound=outbound,
            jobs=jobs, private=private,
        )  # fmt: skip
        courier.serve()
        await jobs.start()
        running = asyncio.create_task(courier.run())
        try:
            ended = asyncio.create_task(stopping.wait())
            await asyncio.wait([ended, running], return_when=asyncio.FIRST_COMPLETED)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await jobs.stop()
            await outbound.close()


# ---------------------------------------------------------------------------------------------------------- parent
@dataclass(slots=True)
class Child:
    """One process under the parent."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    sockets: list[socket.socket] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None
    failures: int = 0


def children(settings: Settings, public: socket.socket, operator: socket.socket | None) -> list[Child]:
    """Signer, worker, and as many web processes as asked for."""
    shared = {k: v for k, v in os.environ.items() if not _is_signers(k)} | {"DAUSO_HOME": str(settings.home.resolve())}
    own = {**os.environ, "DAUSO_HOME": str(settings.home.resolve())}
    found = [Child("signer", ["signer"], own), Child("worker", ["worker"], shared)]
    for number in range(settings.web_workers):
        sockets = [public] if number or operator is None else [public, operator]
        fds = ["--fd", ",".join(str(s.fileno()) for s in sockets)]
        found.append(Child(f"web.{number}", ["serve", *fds], shared, sockets))
    return found


async def supervise(all_children: list[Child]) -> None:
    """Start them, start again whatever dies, and at a signal let all of them end."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    doors = [child for child in all_children if child.sockets]
    closed = asyncio.Event()  # doors close first: what they have promised needs the signer

    async def keep_doors() -> None:
        await asyncio.gather(*(_keep(child, stopping) for child in doors))
        await stopping.wait()
        closed.set()

    try:
        await asyncio.gather(keep_doors(), *(_keep(child, closed) for child in all_children if not child.sockets))
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(name)


async def _keep(child: Child, stopping: asyncio.Event) -> None:
    ended = asyncio.create_task(stopping.wait())
    while not stopping.is_set():
        child.process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "api.cli", *child.arguments, env=child.environment,
            pass_fds=[s.fileno() for s in child.sockets], preexec_fn=_die_with_parent, start_new_session=True,
        )  # fmt: skip
        lives = asyncio.create_task(child.process.wait())
        await asyncio.wait([lives, ended], return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            break
        child.failures += 1
        logger().warning("process.ended", role=child.name, count=child.failures, state=child.process.returncode)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ended), min(0.2 * 2 ** min(child.failures, 6), 10))
    if child.process is not None and child.process.returncode is None:
        child.process.terminate()
        try:
            await asyncio.wait_for(child.process.wait(), LIMITS["web.drain_seconds"] + 5)
        except TimeoutError:
            child.process.kill()
            await child.process.wait()


def _die_with_parent() -> None:
    """Linux: a parent that is killed leaves no process behind (PR_SET_PDEATHSIG)."""
    import ctypes  # noqa: PLC0415

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
