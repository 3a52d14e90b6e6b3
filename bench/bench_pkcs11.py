"""The PKCS#11 store on SoftHSM: RSA-3072 with one worker and with two, in turns; single calls and a batch; the best of five rounds.

SoftHSM counts in the worker's own process, so two workers need two free cores.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from core.clock import SystemClock
from core.values import Digest, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.pkcs11.pool import Pkcs11Config
from signer.keystores.pkcs11.store import Pkcs11KeyStore

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
LABEL, PIN = "bench", "314159"
AT_ONCE, CALLS, ROUNDS = 16, 240, 5
S = KeyPurpose.SEAL


def lay(folder: Path) -> None:
    """A token."""
    (folder / "tokens").mkdir()
    (folder / "pin").write_text(PIN)
    conf = folder / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(conf)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", PIN],
        check=True, capture_output=True,
    )  # fmt: skip


async def singles(store: Pkcs11KeyStore, ref: KeyRef) -> float:
    """Signatures a second, ``AT_ONCE`` callers at a time."""
    left = iter(range(CALLS))

    async def caller() -> None:
        for number in left:
            await store.sign(ref, Digest.of(b"%d" % number), purpose=S, event_id="e")

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return CALLS / (time.perf_counter() - began)


async def batch(store: Pkcs11KeyStore, ref: KeyRef) -> float:
    """Signatures a second of one batch."""
    items = [Digest.of(b"%d" % number) for number in range(CALLS)]
    began = time.perf_counter()
    results = await store.sign_batch(ref, items, purpose=S, event_id="e")
    assert all(isinstance(each, bytes) for each in results)
    return CALLS / (time.perf_counter() - began)


async def compare(folder: Path) -> None:
    """Print the figures."""
    stores = {
        workers: Pkcs11KeyStore(
            Pkcs11Config(module=MODULE, token=LABEL, pin_file=folder / "pin", workers=workers), SystemClock()
        )
        for workers in (1, 2)
    }
    try:
        for name, algorithm in (
            ("RSA-3072", SignatureAlgorithm.RSA_PKCS1_SHA256), ("P-256", SignatureAlgorithm.ECDSA_P256_SHA256),
        ):  # fmt: skip
            ref = await stores[1].create(f"seal-{name}", S, algorithm)
            for store in stores.values():
                await singles(store, ref)
            for what in (singles, batch):
                rates: dict[int, list[float]] = {1: [], 2: []}
                for _ in range(ROUNDS):
                    for workers, store in stores.items():
                        rates[workers].append(await what(store, ref))
                one, two = (max(rates[workers]) for workers in (1, 2))
                wanted = " (at least 1.6)" if name == "RSA-3072" else ""
                print(
                    f"{name} {what.__name__}: one worker {one:.0f}/s, two workers {two:.0f}/s, ratio {two / one:.2f}{wanted}"
                )
    finally:
        for store in stores.values():
            await store.close()


def main() -> None:
    """Skip where SoftHSM is missing."""
    if not MODULE.exists() or shutil.which("softhsm2-util") is None:
        print("SoftHSM is not on this machine")
        return
    with tempfile.TemporaryDirectory() as folder:
        lay(Path(folder))
        asyncio.run(compare(Path(folder)))


if __name__ == "__main__":
    main()
