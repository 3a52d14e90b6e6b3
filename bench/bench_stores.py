"""Whole certified copies with keys in OpenBao against the same with keys in encrypted files, in one run, by turns.

One signer process each over a home of its own (SQLite); OpenBao 2.6 runs on the same machine with raft and an audit file,
and the signer logs in with its narrow policy. Each copy signs seven times or so: official, seal, QR, two time-stamps, log, lists.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import bench_copy
from bench.parts import scan_pdf
from tests.flows import stores, town
from tests.openbao import OpenBao

ROUNDS = 3


async def prepare(folder: Path, server: OpenBao) -> dict[str, Path]:
    """A home for each store, with its settings beside it."""
    homes = {}
    for kind in ("software", "transit"):
        home = folder / kind
        own = folder / f"{kind}-store"
        own.mkdir()
        more = stores.transit(server, own) if kind == "transit" else {}
        await town.build(home, fresh=True, **more)
        (folder / f"{kind}.env").write_text("\n".join(f"DAUSO_{k.upper()}={v}" for k, v in more.items()))
        homes[kind] = home
    return homes


def once(folder: Path, kind: str) -> float:
    """Seconds for ``bench_copy.COUNT`` copies, by a fresh process."""
    env = dict(line.split("=", 1) for line in (folder / f"{kind}.env").read_text().splitlines() if line)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.bench_stores", str(folder / kind)], check=True, capture_output=True, text=True,
        env={**town.environment(), **env, "DAUSO_LOG_LEVEL": "error"},
    )  # fmt: skip
    return next(
        float(line) for line in done.stdout.splitlines() if line[:1].isdigit() and line.replace(".", "").isdigit()
    )


async def child(home: Path) -> None:
    """The copies of one process; both files of the barrier are its own."""
    for old in home.glob("ready-*"):
        old.unlink()
    (home / "out").mkdir(exist_ok=True)
    (home / "ready-other").touch()
    await bench_copy.ours(home, scan_pdf(), "me")


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name, OpenBao(Path(name) / "bao") as server:
        folder = Path(name)
        asyncio.run(prepare(folder, server))
        taken: dict[str, list[float]] = {"software": [], "transit": []}
        for _ in range(ROUNDS):
            for kind, times in taken.items():
                times.append(once(folder, kind))
    rate = {kind: bench_copy.COUNT / statistics.median(times) for kind, times in taken.items()}
    print(
        f"certified copies a second: files {rate['software']:.1f}, OpenBao {rate['transit']:.1f}, "
        f"ratio {rate['transit'] / rate['software']:.2f} (at least 0.7)"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(child(Path(sys.argv[1])))
    else:
        main()
