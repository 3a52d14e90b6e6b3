"""From a person's approval to the signed file released, over HTTP, against pyHanko alone making the same signature.

Ours: a signer process with its own door, SQLite and software store; every approval is verified, spent, logged, signed
(PAdES B-T, our TSA in process), finished with validation data, judged whole in the sandbox and released. The clients
run in this process, so both cores are busy. pyHanko: `sign_pdf` with the same kind of key and authority, nothing else;
in the loop over many papers it also checks what it made (signature and ByteRange digest).
"""

import asyncio
import base64
import datetime as dt
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvicorn
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter
from pyhanko.sign.signers import PdfSignatureMetadata, PdfSigner

from api import bootstrap
from api.roles import ProcessRole
from api.sign.app import make_sign_app
from bench.parts import Key, SameAuthority, authority, scan_pdf
from core.ids import new_id
from core.limits import LIMITS
from core.values import Realm
from signer.requests.model import NewDocument, NewRequest, NewStep
from tests.flows import town
from tests.flows.authenticator import Authenticator
from tests.flows.house import free_port
from tests.flows.phones import PhoneClient, enrol_person, sign_door_at

RATE, COUNT, BATCH = 20, 200, 500
_ECDSA = ec.ECDSA(hashes.SHA256())


# ------------------------------------------------------------------------------------------------------------ signer
async def signer(home: Path, port: int, batch: int) -> None:
    """A signer with its door, and requests that wait for one person; tells what they are, then serves."""
    LIMITS.update({k: 10**9 for k in LIMITS if k.startswith("rate.")})
    LIMITS["request.lease_seconds"] = LIMITS["activation.seconds"] = 3_600
    settings = await town.build(home, realm=Realm.PRODUCTION)
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        person, hand = await enrol_person(service)
        desk = service.parts().requests
        name = await service.documents.put(scan_pdf())
        async with service.db.read() as uow:
            agency = await service.directory.agency(uow, "H1")
        links = []
        for size in [1] * COUNT + [batch]:
            wanted = NewRequest(
                id=new_id(service.clock), client_id="bench", client_name="Bench", agency_id=agency.id, title="Đơn",
                deadline=service.clock.now() + dt.timedelta(days=1),
                documents=tuple(NewDocument(title=f"Tờ {n}", name=name) for n in range(size)),
                steps=(NewStep(position=0, kind="citizen", person_id=person),),
            )  # fmt: skip
            view = await desk.create(wanted)
            links.append(await desk.link(view.steps[0].id))
        work = [asyncio.create_task(each()) for each in bootstrap.signer_work(service)]
        config = uvicorn.Config(make_sign_app(service), port=port, lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        key = hand.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        ready = {"links": links, "key": base64.b64encode(key).decode(), "id": hand.credential_id.hex()}
        (home / "ready.json").write_text(json.dumps(ready))
        await server.serve()
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)


# ----------------------------------------------------------------------------------------------------------- clients
async def opened(phones: list[PhoneClient]) -> None:
    """Everybody has entered, and sees what is to be signed."""
    room = asyncio.Semaphore(4)

    async def one(phone: PhoneClient) -> None:
        async with room:
            await phone.enter()
            await phone.show()

    await asyncio.gather(*(one(each) for each in phones))


async def answered(phone: PhoneClient) -> float:
    """Seconds from the approval sent to the file released."""
    start = time.perf_counter()
    await phone.approve()
    found = await phone.rested()
    assert found["state"] == "completed" or found["state"] == "signed", found
    return time.perf_counter() - start


async def arrivals(phones: list[PhoneClient]) -> list[float]:
    """One every 1/RATE second, whatever the ones before do."""
    tasks, begin = [], time.perf_counter()
    for number, phone in enumerate(phones):
        await asyncio.sleep(max(0.0, begin + number / RATE - time.perf_counter()))
        tasks.append(asyncio.create_task(answered(phone)))
    return list(await asyncio.gather(*tasks))


async def ours(home: Path, batch: int) -> tuple[list[float], float]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.bench_requests", str(home), str(port), str(batch)],
        env={**town.environment(), "DAUSO_LOG_LEVEL": "error"},
    )  # fmt: skip
    try:
        while not (home / "ready.json").exists():
            assert process.poll() is None
            await asyncio.sleep(0.2)
        await asyncio.sleep(1)
        ready = json.loads((home / "ready.json").read_text())
        hand = Authenticator()
        hand.key = serialization.load_der_private_key(base64.b64decode(ready["key"]), None)
        hand.credential_id = bytes.fromhex(ready["id"])
        settings = town.settings(home)
        async with sign_door_at(f"127.0.0.1:{port}", settings) as http:
            phones = [PhoneClient(http, hand, link, origin=settings.sign_url) for link in ready["links"]]
            await opened(phones)
            single = await arrivals(phones[:-1])
            many = await answered(phones[-1])
        return single, many
    finally:
        process.terminate()
        process.wait(60)


# ----------------------------------------------------------------------------------------------------------- pyHanko
def pyhanko(document: bytes, rounds: int, *, checks: bool) -> list[float]:
    """Seconds of each signature."""
    key, stamps = Key("Người ký"), SameAuthority(authority(Key("TSA", usage="tsa")))
    meta = PdfSignatureMetadata(field_name="A", md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES)
    theirs, taken = key.pyhanko(), []
    for _ in range(rounds):
        start = time.perf_counter()
        made = PdfSigner(meta, theirs, timestamper=stamps, new_field_spec=SigFieldSpec("A")).sign_pdf(
            IncrementalPdfFileWriter(io.BytesIO(document))
        )
        if checks:
            signature = PdfFileReader(made).embedded_signatures[0]
            signature.compute_integrity_info()
            info = signature.signer_info
            said = {a["type"].native: a["values"][0].native for a in info["signed_attrs"]}
            assert said["message_digest"] == signature.compute_digest()
            key.private.public_key().verify(info["signature"].native, info["signed_attrs"].untag().dump(), _ECDSA)
        taken.append(time.perf_counter() - start)
    return taken


def main(batch: int = BATCH) -> None:
    """Print the figures."""
    document = scan_pdf()
    alone = statistics.median(pyhanko(document, 40, checks=False)) * 1000
    loop = statistics.fmean(pyhanko(document, 60, checks=True))
    with tempfile.TemporaryDirectory() as folder:
        single, many = asyncio.run(ours(Path(folder), batch))
    single = sorted(s * 1000 for s in single)
    p50, p99 = single[len(single) // 2], single[int(len(single) * 0.99)]
    print(f"document {len(document):,} bytes; {COUNT} approvals at {RATE}/s")
    print(
        f"approval → released: p50 {p50:.0f} ms (at most 60), p99 {p99:.0f} ms (at most 250); pyHanko's signature alone {alone:.1f} ms"
    )
    print(
        f"{batch} papers under one approval: {many:.2f} s, {batch / many:.0f}/s; pyHanko loop {1 / loop:.1f}/s, ratio {batch / many * loop:.2f} (at least 5)"
    )


if __name__ == "__main__":
    if len(sys.argv) > 3:
        asyncio.run(signer(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else BATCH)
