"""Keys in a real OpenBao that this starts: our path against bare calls to the same endpoint, in one run.

* ``single``: one P-256 signature after another through the store against a bare ``requests`` POST of the same digest.
* ``batch``: 500 digests at once through the store, each signature verified, against single calls and against bare
  ``batch_input`` calls of the same size.
* ``--many``: 20 000 keys over eight mounts against 100; the server's memory. Takes some minutes.
"""

import argparse
import asyncio
import base64
import contextlib
import os
import random
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from core.values import Digest, SignatureAlgorithm
from core.vault import TokenFile, Vault, VaultConfig
from signer.keystores.model import KeyPurpose, KeyRef
from signer.keystores.policies import Identity, policy_for
from signer.keystores.transit import TransitKeyStore
from signer.keystores.transit.answers import Asked, Kept, creation, signing
from signer.keystores.transit.naming import full_name, place_of
from tests.openbao import OpenBao

P = KeyPurpose.DOCUMENT
P256 = SignatureAlgorithm.ECDSA_P256_SHA256
MOUNTS = tuple(f"transit-{n:02}" for n in range(8))
BATCH = 500


class Bare:
    """What our path cannot be faster than: one session, one POST, nothing looked at."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["X-Vault-Token"] = token

    def post(self, ref: KeyRef, body: dict) -> None:
        answer = self._session.post(f"{self._url}/v1/{ref.place}/sign/{ref.name}", json=body, timeout=30)
        answer.raise_for_status()
        answer.json()

    def single(self, ref: KeyRef, digest: Digest) -> None:
        body = signing(ref, [Asked(digest, "e")])
        del body["batch_input"]
        self.post(ref, body | {"input": base64.b64encode(digest.value).decode()})

    def batch(self, ref: KeyRef, digests: list[Digest]) -> None:
        size = 200  # the most that a call may hold: what is fastest without verifying
        for start in range(0, len(digests), size):
            self.post(ref, signing(ref, [Asked(digest, "e") for digest in digests[start : start + size]]))


@contextlib.asynccontextmanager
async def opened(server: OpenBao, folder: Path):
    """A store with the signer's and the enroller's generated rights, and a bare session with the signer's token."""
    async with contextlib.AsyncExitStack() as stack:
        vaults, tokens = [], []
        for identity in (Identity.SIGNER, Identity.ENROLLER):
            policy = policy_for(identity, MOUNTS)
            server.add_policy(policy.name, policy.hcl())
            tokens.append(server.token_for(policy.name, no_default_policy=True))
            file = folder / identity.value
            file.write_text(tokens[-1])
            vault = Vault(VaultConfig(url=server.url, login=TokenFile(path=file)))
            await vault.start()
            stack.push_async_callback(vault.close)
            vaults.append(vault)
        yield TransitKeyStore(vaults[0], MOUNTS, enroller=vaults[1]), Bare(server.url, tokens[0])


async def single(store: TransitKeyStore, bare: Bare, rounds: int) -> tuple[float, float]:
    """Median milliseconds of (ours, bare), in turns of ten."""
    ref = await store.create("document-single", P, P256)
    ours, theirs = [], []
    for turn in range(rounds + 1):
        for number in range(10):
            digest = Digest.of(b"%d %d" % (turn, number))
            start = time.perf_counter()
            await store.sign(ref, digest, purpose=P, event_id="0" * 26)
            middle = time.perf_counter()
            bare.single(ref, digest)
            end = time.perf_counter()
            if turn:
                ours.append((middle - start) * 1_000)
                theirs.append((end - middle) * 1_000)
    return statistics.median(ours), statistics.median(theirs)


async def batch(store: TransitKeyStore, bare: Bare, rounds: int) -> tuple[float, float]:
    """Median signatures a second of (ours, bare)."""
    ref = await store.create("document-batch", P, P256)
    ours, theirs = [], []
    for turn in range(rounds + 1):
        digests = [Digest.of(b"%d %d" % (turn, number)) for number in range(BATCH)]
        start = time.perf_counter()
        results = await store.sign_batch(ref, digests, purpose=P, event_id="0" * 26)
        middle = time.perf_counter()
        bare.batch(ref, digests)
        end = time.perf_counter()
        assert all(isinstance(one, bytes) for one in results)
        if turn:
            ours.append(BATCH / (middle - start))
            theirs.append(BATCH / (end - middle))
    return statistics.median(ours), statistics.median(theirs)


def resident(server: OpenBao) -> float:
    """Megabytes of the server in memory."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def make(server: OpenBao, token: str, count: int, prefix: str) -> list[KeyRef]:
    """Keys made as the store makes them, four at a time."""

    def one(number: int) -> KeyRef:
        name = full_name(f"document-{prefix}{number:06}", P, P256)
        place = place_of(name, MOUNTS)
        kept = Kept.of(server.api("POST", f"{place}/keys/{name}", creation("ecdsa-p256"), token)["data"])
        return KeyRef(store="transit", place=place, name=name, version=1, purpose=P, algorithm=P256, spki=kept.spkis[1])

    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(one, range(count)))


async def p99(store: TransitKeyStore, refs: list[KeyRef]) -> float:
    """Milliseconds, of one signature after another with these keys."""
    times = []
    for number, ref in enumerate(refs):
        start = time.perf_counter()
        await store.sign(ref, Digest.of(b"%d" % number), purpose=P, event_id="e")
        times.append((time.perf_counter() - start) * 1_000)
    return statistics.quantiles(times, n=100)[98]


async def many(server: OpenBao, folder: Path, count: int) -> None:
    """Print what so many keys cost."""
    token = server.admin_token()
    few = make(server, token, 100, "few")
    before = resident(server)
    start = time.perf_counter()
    refs = make(server, token, count, "many")
    print(f"{count:,} keys over {len(MOUNTS)} mounts made in {time.perf_counter() - start:.0f} s")
    print(f"server's memory: {before:.0f} MB with 100 keys, {resident(server):.0f} MB after making them")
    server.stop()
    server.start()  # nothing cached
    fresh = resident(server)
    random.seed(1)
    async with opened(server, folder) as (store, _):
        await p99(store, few)
        cold = await p99(store, random.sample(refs, min(4_000, count)))
        print(f"after a restart {fresh:.0f} MB; first use of a key: p99 {cold:.2f} ms")
        for ref in refs:
            await store.public_key(ref)
        print(f"all keys used: {resident(server):.0f} MB")
        taken: dict[str, list[float]] = {"few": [], "many": []}
        for _ in range(3):  # in turns
            taken["few"].append(await p99(store, random.choices(few, k=1_500)))
            taken["many"].append(await p99(store, random.choices(refs, k=1_500)))
        a, b = statistics.median(taken["many"]), statistics.median(taken["few"])
        print(f"p99 of sign: {a:.2f} ms with {count:,} keys, {b:.2f} ms with 100, ratio {a / b:.2f} (at most 2)")


async def run(server: OpenBao, folder: Path, rounds: int) -> None:
    """Print the figures of the fast part."""
    async with opened(server, folder) as (store, bare):
        ours, theirs = await single(store, bare, rounds)
        print(f"single P-256: ours {ours:.2f} ms, bare {theirs:.2f} ms, ratio {ours / theirs:.2f} (at most 1.3)")
        rate, bare_rate = await batch(store, bare, max(rounds // 4, 3))
        print(
            f"{BATCH} at once, each verified: {rate:,.0f}/s; single calls {1_000 / ours:,.0f}/s, ratio {rate * ours / 1_000:.1f}"
            f" (at least 10); bare batch_input {bare_rate:,.0f}/s, ratio {rate / bare_rate:.2f} (at least 0.4)"
        )


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=40)
    options.add_argument("--many", type=int, nargs="?", const=20_000, default=0)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with OpenBao(Path(folder) / "bao") as server:
            for mount in MOUNTS:
                server.enable(mount)
            if chosen.many:
                asyncio.run(many(server, Path(folder), chosen.many))
            else:
                asyncio.run(run(server, Path(folder), chosen.rounds))


if __name__ == "__main__":
    main()
