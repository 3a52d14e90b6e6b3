"""Transit stores over the session's real server, with the generated policies and nothing more."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from core.vault import TokenFile, Vault, VaultConfig
from signer.keystores.policies import Identity, policy_for
from signer.keystores.transit import TransitKeyStore
from tests.openbao import OpenBao

__all__ = ["MOUNTS", "Town", "enter", "town"]

MOUNTS = ("transit-t1", "transit-t2")


@dataclass
class Town:
    """A store with its identities' sessions, and the server behind."""

    store: TransitKeyStore
    signer: Vault
    enroller: Vault
    custodian: Vault
    tokens: dict[Identity, str]
    server: OpenBao

    async def rotate(self, ref) -> None:
        self.server.api("POST", f"{ref.place}/keys/{ref.name}/rotate")


def prepare(server: OpenBao) -> dict[Identity, str]:
    """Mounts, policies and a token for each identity."""
    for mount in MOUNTS:
        server.enable(mount)
    tokens = {}
    for identity in (Identity.SIGNER, Identity.ENROLLER, Identity.CUSTODIAN):
        policy = policy_for(identity, MOUNTS)
        server.add_policy(policy.name, policy.hcl())
        tokens[identity] = server.token_for(policy.name, no_default_policy=True)
    return tokens


async def enter(stack: contextlib.AsyncExitStack, url: str, token: str, folder: Path, seconds: float = 4.0) -> Vault:
    """A session with a token of its own file."""
    file = folder / f"{len(list(folder.glob('*.token')))}.token"
    file.write_text(token)
    file.chmod(0o600)
    vault = Vault(VaultConfig(url=url, login=TokenFile(path=file), total_seconds=seconds))
    await vault.start()
    stack.push_async_callback(vault.close)
    return vault


@contextlib.asynccontextmanager
async def town(
    server: OpenBao, tokens: dict[Identity, str], folder: Path, *, through: str = "", seconds: float = 4.0
) -> AsyncIterator[Town]:
    """``through``: address of a proxy that the signer's calls pass; ``seconds``: its deadline."""
    async with contextlib.AsyncExitStack() as stack:
        signer = await enter(stack, through or server.url, tokens[Identity.SIGNER], folder, seconds)
        enroller = await enter(stack, server.url, tokens[Identity.ENROLLER], folder)
        custodian = await enter(stack, server.url, tokens[Identity.CUSTODIAN], folder)
        store = TransitKeyStore(signer, MOUNTS, enroller=enroller, admin=custodian)
        yield Town(store, signer, enroller, custodian, tokens, server)
