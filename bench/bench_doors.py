"""The doors against what they cannot be faster than, each pair in one run.

* ``status``: ``POST /v/status`` by code against an empty FastAPI route of the same server that stands outside our gate;
  the same for the static page ``/v``. Then the 99th percentile at half the top rate.
* ``copies``: papers made over HTTP by two processes (web, signer) against the same ceremony called in one process.
* ``batch``: two-page results of regime ``so_hoa`` in one batch against the same calls in one process; memory, and the
  time of a status answer meanwhile.
* ``register``: search and look-up in a book of 10⁶ lines against one of 10³.
"""

import asyncio
import contextlib
import io
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import uvicorn
from fastapi import FastAPI
from PIL import Image, ImageDraw

from api import bootstrap, serving
from api.certifying import certify_file
from api.roles import ProcessRole
from api.web.app import make_app
from core import logs
from core.clock import SystemClock
from core.db import Database
from core.limits import LIMITS
from core.values import Realm, Regime
from signer.copies.intake import take_in
from signer.copies.model import CopyRequest
from signer.copies.register import Register, entry_table
from signer.copies.search import Search
from signer.copies.words import word_table, words_of
from tests.api.portal.conftest import paper
from tests.flows import house, town

CONNECTIONS = 16


# ----------------------------------------------------------------------------------------------------- raw requests
class _Caller(asyncio.Protocol):
    """One keep-alive connection that sends one request after another and counts whole answers."""

    def __init__(self, request: bytes, times: list[float], until: float, pause: float) -> None:
        self.request, self.times, self.until, self.pause = request, times, until, pause
        self.done = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.next = time.perf_counter() + random.random() * pause

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        now = time.perf_counter()
        if now >= self.until:
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        if self.pause and now < self.next:
            asyncio.get_running_loop().call_later(self.next - now, self.send)
            return
        # with a pause, waiting for a late answer counts as time: the schedule does not wait for the server
        self.started = self.next if self.pause else now
        self.next += self.pause
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, split, rest = self.buffer.partition(b"\r\n\r\n")
        if not split:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) >= length:
            assert head.startswith(b"HTTP/1.1 200"), head
            self.times.append(time.perf_counter() - self.started)
            self.buffer = b""
            self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError())


async def rate(port: int, request: bytes, seconds: float, pause: float = 0.0) -> tuple[float, list[float]]:
    """(requests a second, times); ``pause``: seconds between the requests of one connection."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(lambda: _Caller(request, times, until, pause), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(c.done for c in callers))
    return len(times) / seconds, times


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()


def post(path: str, value: object) -> bytes:
    body = json.dumps(value).encode()
    return (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


# ----------------------------------------------------------------------------------------------------------- status
async def server(home: Path, port: int) -> None:
    """Our application, and beside it, outside the gate, an application with one empty route."""
    logs.configure("warning")
    for name in [n for n in LIMITS if n.startswith("rate.")]:
        LIMITS[name] = 10**9
    empty = FastAPI()

    @empty.get("/empty")
    async def nothing() -> dict[str, str]:
        return {}

    async with serving.open_web(town.settings(home)) as parts:
        ours = make_app(parts)

        async def both(scope, receive, send) -> None:
            await (empty if scope.get("path") == "/empty" else ours)(scope, receive, send)

        config = uvicorn.Config(both, port=port, lifespan="off", log_config=None, access_log=False)
        await uvicorn.Server(config).serve()


@contextlib.contextmanager
def served(home: Path):
    port = house.free_port()
    child = subprocess.Popen([sys.executable, "-m", "bench.bench_doors", "server", str(home), str(port)])
    try:
        for _ in range(300):
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"http://localhost:{port}/readyz").status_code == 200:
                    break
            time.sleep(0.1)
        yield port
    finally:
        child.terminate()
        child.wait(20)


async def status(home: Path, seconds: float = 4.0) -> None:
    async with bootstrap.open_service(town.settings(home), ProcessRole.SIGNER) as service:
        code = (await certify_file(service, [town.scan()], "a.jpg", town.request(), home))["code"]
    asked = post("/v/status", {"code": code})
    with served(home) as port:
        for request in (get("/empty"), asked, get("/v")):
            await rate(port, request, 1)
        empty, _ = await rate(port, get("/empty"), seconds)
        by_code, _ = await rate(port, asked, seconds)
        page, _ = await rate(port, get("/v"), seconds)
        _, times = await rate(port, asked, seconds, pause=CONNECTIONS / (by_code / 2))
    print(f"status by code: {by_code:.0f}/s of {empty:.0f}/s empty, ratio {by_code / empty:.2f} (at least 0.3)")
    print(f"  99th percentile at half of that rate: {p99(times) * 1000:.1f} ms (at most 25)")
    print(f"page /v: {page:.0f}/s, ratio {page / empty:.2f} (at least 0.7)")


# ----------------------------------------------------------------------------------------------------------- copies
async def copies(home: Path, count: int = 36) -> None:
    scan = town.scan()
    settings = town.settings(home)

    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        waiting = iter(range(count + 3))

        async def hand() -> None:
            for n in waiting:
                await certify_file(service, [scan], f"{n}.jpg", town.request(), home)

        await certify_file(service, [scan], "warm.jpg", town.request(), home)
        start = time.perf_counter()
        await asyncio.gather(*(hand() for _ in range(LIMITS["inbox.at_once"])))
        alone = (time.perf_counter() - start) / (count + 3)
    _, key = await house.add_client(settings, "H1")
    with house.processes(home) as (url, _):
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60, base_url=url) as client:
            people = (await client.get("/api/v1/agencies/H1/people")).json()["items"]
            form = {"request": json.dumps(paper(people[0]["id"]))}
            left = iter(range(count))

            async def send() -> None:
                for n in left:
                    answer = await client.post(
                        "/api/v1/copies?wait=20", data=form, files=[("file", ("s.jpg", scan, "image/jpeg"))],
                        headers={"idempotency-key": f"b-{n}"},
                    )  # fmt: skip
                    assert answer.json()["state"] == "released", answer.text

            await client.post("/api/v1/copies?wait=20", data=form, files=[("file", ("s.jpg", scan, "image/jpeg"))])
            start = time.perf_counter()
            await asyncio.gather(*(send() for _ in range(2 * LIMITS["inbox.at_once"])))
            over = (time.perf_counter() - start) / count
    print(
        f"a copy over HTTP: {over * 1000:.1f} ms, in process {alone * 1000:.1f} ms, ratio {over / alone:.2f} (at most 1.25)"
    )


# ------------------------------------------------------------------------------------------------------------ batch
def two_pages() -> bytes:
    pages = []
    for n in range(2):
        image = Image.new("L", (827, 1169), 255)
        ImageDraw.Draw(image).text((100, 100), f"KET QUA {n}", 0)
        pages.append(image)
    target = io.BytesIO()
    pages[0].save(target, "PDF", save_all=True, append_images=pages[1:], resolution=100)
    return target.getvalue()


async def batch(home: Path, count: int = 2000) -> None:
    settings, scan = town.settings(home), two_pages()
    sample = min(200, count)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        async with service.db.read() as uow:
            agency = await service.directory.agency(uow, "H1")
            people = await service.directory.people(uow, agency.id)
        clerk = next(p.id for p, rights in people if any(r.role.value == "clerk" for r in rights))
        waiting = iter(range(sample))

        async def hand() -> None:
            for _ in waiting:
                intake = await take_in(service.sandbox, [scan], title="Kết quả")
                wanted = CopyRequest(
                    agency_id=agency.id, regime=Regime.SO_HOA, certifier_id=None, clerk_id=clerk, kind="Kết quả"
                )
                copy_id = await service.copies.attest(intake, wanted)
                await service.copies.advance(copy_id, lambda _: None)

        start = time.perf_counter()
        await asyncio.gather(*(hand() for _ in range(LIMITS["inbox.at_once"])))
        alone = sample / (time.perf_counter() - start)
    _, key = await house.add_client(settings, "H1")
    with house.processes(home) as (url, process):
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60, base_url=url) as client:
            name = (await client.post("/api/v1/files", content=scan)).json()["file"]
            items = [{"kind": "Kết quả", "files": [name]}] * count
            start = time.perf_counter()
            made = (
                await client.post("/api/v1/batches", json={"agency": "H1", "regime": "so_hoa", "items": items})
            ).json()
            answers, memory = [], []
            while True:
                asked = time.perf_counter()
                seen = (await client.get(made["links"]["self"])).json()
                answers.append(time.perf_counter() - asked)
                memory.append(_memory(process.pid))
                if seen["finished"]:
                    break
                await asyncio.sleep(0.5)
            rated = count / (time.perf_counter() - start)
    assert seen["counts"]["released"] == count, seen
    third = max(1, len(memory) // 3)
    print(f"batch of {count}: {rated:.1f}/s, in process {alone:.1f}/s, ratio {rated / alone:.2f} (at least 0.9)")
    print(
        f"  status answer 99th percentile {p99(answers) * 1000:.0f} ms (at most 50); signer's memory "
        f"{memory[third]:.0f} → {memory[-1]:.0f} MiB"
    )


def _memory(parent: int) -> float:
    """Resident MiB of the signer."""
    for stat in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if (
                stat.read_bytes().rstrip(b"\0").endswith(b"signer")
                and f"PPid:\t{parent}\n" in (stat.parent / "status").read_text()
            ):
                return int((stat.parent / "statm").read_text().split()[1]) * 4096 / 2**20
    return 0.0


# --------------------------------------------------------------------------------------------------------- register
_NAMES = [
    "nguyễn",
    "trần",
    "lê",
    "phạm",
    "hoàng",
    "vũ",
    "đặng",
    "bùi",
    "đỗ",
    "hồ",
    "thị",
    "văn",
    "hữu",
    "đức",
    "minh",
    "anh",
    "tuyết",
    "lan",
    "hương",
    "hải",
    "sơn",
    "long",
    "bình",
]


async def _fill(db: Database, size: int) -> tuple[str, Register]:
    clock = SystemClock()
    directory, register = bootstrap.Directory(clock), Register(clock)
    chance = random.Random(7)
    async with db.write() as uow:
        agency = await directory.add_agency(
            uow, realm=Realm.TRAINING, code=f"R{size}", name="UBND xã", parent="UBND tỉnh"
        )
        book = await register.open_book(uow, agency, "SCT", 2026)
    for at in range(0, size, 20_000):
        entries, words = [], []
        for n in range(at, min(size, at + 20_000)):
            columns = {
                "kind": "Giấy khai sinh", "original_number": f"{n}/{chance.randrange(1990, 2026)}",
                "requester": " ".join(chance.sample(_NAMES, 3)), "notes": "",
            }  # fmt: skip
            entry_id = f"{n:026d}"
            entries.append(
                {"id": f"{size % 7}{entry_id[1:]}", "book_id": book.id, "agency_id": agency.id, "kind": "SCT", "year": 2026,
                 "number": n + 1, "reserved_at": clock.now(), "columns": columns, "state": "issued", "settled_at": clock.now(),
                 "reason": None}
            )  # fmt: skip
            words += [
                {"agency_id": agency.id, "word": w, "entry_id": entries[-1]["id"]}
                for w in words_of(columns["kind"], columns["original_number"], columns["requester"])
            ]
        async with db.write() as uow:
            await uow.execute(entry_table.insert(), entries)
            await uow.execute(word_table.insert(), words)
    return agency.id, register


async def register(folder: Path) -> None:
    chance = random.Random(8)
    async with Database(f"sqlite+aiosqlite:///{folder / 'register.db'}") as db:
        await db.create_all()
        figures: dict[tuple[str, int], float] = {}
        for size in (1_000, 1_000_000):
            agency_id, _ = await _fill(db, size)
            for what in ("number", "words"):
                times = []
                for _ in range(300):
                    words = " ".join(chance.sample(_NAMES, 2)) if what == "words" else ""
                    number = chance.randrange(1, size) if what == "number" else None
                    asked = time.perf_counter()
                    async with db.read() as uow:
                        await Search(uow).entries(agency_id, words=words, number=number)
                    times.append(time.perf_counter() - asked)
                figures[what, size] = p99(times)
    for what in ("number", "words"):
        small, large = figures[what, 1_000], figures[what, 1_000_000]
        print(
            f"register by {what}: 99th percentile {large * 1000:.2f} ms at 10⁶ lines, {small * 1000:.2f} ms at 10³, "
            f"ratio {large / small:.2f} (at most 2)"
        )


async def main(which: list[str]) -> None:
    for name, work in (("status", status), ("copies", copies), ("batch", batch), ("register", register)):
        if which and name not in which:
            continue
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "home"
            if name != "register":
                await town.build(home)
            await work(home if name != "register" else Path(folder))


if __name__ == "__main__":
    if sys.argv[1:2] == ["server"]:
        asyncio.run(server(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        asyncio.run(main(sys.argv[1:]))
