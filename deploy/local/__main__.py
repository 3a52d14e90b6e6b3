"""PostgreSQL, OpenBao, an object store, signer, worker and web, each a process of its own, until a signal.

Every role gets its own environment, home and database user, as in ``compose.yaml``; only the signer's names OpenBao.
Started again on its folder it goes on with what is there. Each start lays new wrapped secret ids for the signer.
"""

# ruff: noqa: T201  (saying where things are is its business)

import argparse
import contextlib
import json
import signal
import sys
from pathlib import Path

from deploy.local.parts import first_time, objects, openbao, ours, postgres
from deploy.local.town import GaveUp, Town, write


def _say(town: Town) -> None:
    ports = town.ports
    found = {
        "web": f"http://localhost:{ports['web']}", "sign": f"http://sign.localhost:{ports['sign']}",
        "metrics": f"http://127.0.0.1:{ports['operator']}/metrics", "openbao": town.bao if town.keys == "transit" else None,
        "objects": town.objects, "realm": town.realm, "keys": town.keys, "folder": str(town.folder),
        "audit": str(town.folder / "bao" / "audit.log"),
    }  # fmt: skip
    write(town.folder / "addresses.json", json.dumps(found).encode())
    for name, value in found.items():
        print(f"  {name:<8} {value}")
    print("ready; Ctrl+C stops everything", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="local-up", description="Dauso and all it needs, on this machine, until Ctrl+C."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--realm", choices=("training", "production"), default="training")
    parser.add_argument("--keys", choices=("transit", "software"), default="transit")
    parser.add_argument("--objects", choices=("s3", "folder"), default="folder")
    parser.add_argument("--port", type=int, default=8000, help="the first of seven in a row")
    return parser.parse_args()


def main() -> int:
    """0 after a signal, 1 where a part gave up."""
    given = _arguments()
    folder: Path = given.folder.resolve()
    for part, mode in (("", 0o755), ("logs", 0o700), ("secrets", 0o700), ("objects", 0o700)):
        (folder / part).mkdir(parents=True, exist_ok=True, mode=mode)
    (folder / "addresses.json").unlink(missing_ok=True)
    town = Town(folder=folder, realm=given.realm, keys=given.keys, objects=given.objects, port=given.port)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: town.stopping.set())
    try:
        postgres(town)
        if town.keys == "transit":
            openbao(town)
        objects(town)
        signer = town.environment("signer", "dauso")
        first_time(town, signer)
        ours(town, signer)
        _say(town)
        town.watch()
    except GaveUp as why:
        if not town.stopping.is_set():
            print(why, file=sys.stderr, flush=True)
            return 1
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            town.stop()
        (folder / "addresses.json").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
