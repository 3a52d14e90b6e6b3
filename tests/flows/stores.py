"""Settings of each kind of key store, over the real thing: encrypted files, OpenBao with its narrow policies, SoftHSM."""

import asyncio
import datetime as dt
import secrets
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from api import bootstrap
from api.roles import ProcessRole
from core.ids import new_id
from signer.keystores.policies import Identity, policy_for
from signer.requests.model import NewDocument, NewRequest, NewStep
from tests import scanner
from tests.conftest import live_or_skip
from tests.flows import phones
from tests.openbao import OpenBao

STORES = ("software", "transit", "pkcs11")
_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


def transit(server: OpenBao, folder: Path, mount: str = "transit") -> dict[str, Any]:
    """A signer and an enroller of their own, each with its generated policy and a secret id in a file."""
    server.enable(mount)
    given: dict[str, Any] = {
        "keys": "transit",
        "vault_url": server.url,
        "transit_mounts": mount,
        "vault_wrapped": False,
    }
    for identity, prefix in ((Identity.SIGNER, "vault"), (Identity.ENROLLER, "vault_enroller")):
        policy = policy_for(identity, (mount,))
        server.add_policy(policy.name, policy.hcl())
        role = server.role(policy.name)
        file = folder / f"{identity}.secret-id"
        file.write_text(scanner.secret(server.secret_id(role)))
        file.chmod(0o600)
        given |= {f"{prefix}_role": role, f"{prefix}_role_id": server.role_id(role), f"{prefix}_secret_id_file": file}
    return given


def pkcs11(folder: Path, monkeypatch: Any) -> dict[str, Any]:
    """A fresh token of SoftHSM."""
    module = next((each for each in _MODULES if Path(each).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        live_or_skip("SoftHSM")
    (folder / "tokens").mkdir()
    (folder / "softhsm.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlibrary.reset_on_fork = true\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(folder / "softhsm.conf"))
    pin = scanner.secret(secrets.token_hex(8))
    (folder / "pin").write_text(pin)
    (folder / "pin").chmod(0o600)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "town", "--pin", pin, "--so-pin", secrets.token_hex(8)],
        check=True, capture_output=True,
    )  # fmt: skip
    return {
        "keys": "pkcs11", "pkcs11_module": Path(module or ""), "pkcs11_token": "town", "pkcs11_pin_file": folder / "pin",
    }  # fmt: skip


def of(kind: str, request: Any, folder: Path) -> dict[str, Any]:
    """Settings for ``town.build``; ``request`` is pytest's."""
    folder.mkdir(exist_ok=True)
    if kind == "transit":
        return transit(request.getfixturevalue("openbao"), folder)
    if kind == "pkcs11":
        return pkcs11(folder, request.getfixturevalue("monkeypatch"))
    return {}


@asynccontextmanager
async def signer(settings):
    """A signer process at work."""
    async with bootstrap.open_service(settings, ProcessRole.SIGNER) as service:
        work = [asyncio.create_task(each()) for each in bootstrap.signer_work(service)]
        try:
            yield service
        finally:
            await service.parts().requests.drain()
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)


async def wanted(service, person: str, count: int = 1):
    """A request that waits for ``person``; (request, link)."""
    desk = service.parts().requests
    names = [await service.documents.put(phones.paper(f"Tờ {n}")) for n in range(count)]
    async with service.db.read() as uow:
        agency = await service.directory.agency(uow, "H1")
    made = await desk.create(
        NewRequest(
            id=new_id(service.clock), client_id="portal", client_name="Cổng", agency_id=agency.id, title="Đơn",
            deadline=service.clock.now() + dt.timedelta(days=1), steps=(NewStep(position=0, kind="citizen", person_id=person),),
            documents=tuple(NewDocument(title=f"Tờ {n}", name=name) for n, name in enumerate(names)),
        )
    )  # fmt: skip
    return made, await desk.link(made.steps[0].id)


async def approved(service, hand, link):
    """Read and approved on the phone."""
    phone = phones.PhoneClient(phones.sign_door(service), hand, link)
    await phone.enter()
    await phone.show()
    await phone.approve()
    return phone


async def until(true, seconds=40.0):
    for _ in range(int(seconds * 10)):
        if await true():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come about")
