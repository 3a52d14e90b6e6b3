"""Sessions of the signer and of the importer with a real server, each by its own policy."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from core.vault import Vault, VaultConfig
from signer.keystores.policies import Identity, policy_for
from tests.openbao import OpenBao


@asynccontextmanager
async def signer_and_importer(server: OpenBao, mount: str, agency: str) -> AsyncIterator[dict[Identity, Vault]]:
    """Over ``mount``, which is made where it is not there; ``agency`` is in the policies' names."""
    server.enable(mount)
    async with AsyncExitStack() as stack:
        sessions = {}
        for identity in (Identity.SIGNER, Identity.IMPORTER):
            policy = policy_for(identity, [mount], agency)
            server.add_policy(policy.name, policy.hcl())
            login = server.login_for(policy.name, token_no_default_policy=True)
            sessions[identity] = Vault(VaultConfig(url=server.url, login=login))
            stack.push_async_callback(sessions[identity].close)
            await sessions[identity].start()
        yield sessions
