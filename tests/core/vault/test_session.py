"""Tokens, rights, sealed and dead servers: all against real ones."""

import asyncio
import contextlib
import time

import pytest

from core.errors import Refused, ServiceError, Unavailable
from core.vault import Vault, VaultConfig
from tests.conftest import live_or_skip
from tests.openbao import OpenBao, binary, cluster
from tests.vault import server_kind

pytestmark = pytest.mark.live

SIGN = """
path "transit/keys/+" { capabilities = ["create", "update", "read"] }
path "transit/sign/+" {
  capabilities = ["update"]
  required_parameters = ["key_version"]
}
"""
DIGEST = "A" * 43 + "="


def signing(key: str) -> tuple[str, str, dict]:
    return "POST", f"transit/sign/{key}", {"input": DIGEST, "prehashed": True, "key_version": 1}


@contextlib.asynccontextmanager
async def opened(server: OpenBao, *policies: str, config: dict | None = None, **role):
    vault = Vault(VaultConfig(url=server.url, login=server.login_for(*policies, **role), **(config or {})))
    await vault.start()
    try:
        yield vault
    finally:
        await vault.close()


@pytest.fixture
def policy(openbao):
    return openbao.add_policy("h1-sign", SIGN)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server that these tests seal, stop and kill."""
    if binary() is None:
        live_or_skip("OpenBao (bao)")
    with server_kind()(tmp_path_factory.mktemp("openbao-own")) as server:
        server.add_policy("sign", SIGN)
        server.api("POST", "transit/keys/k", {"type": "ecdsa-p256"})
        yield server


async def test_the_request_id_is_the_one_in_the_audit_file(openbao, policy):
    async with opened(openbao, policy) as vault:
        await vault.call("POST", "transit/keys/h1-audit", {"type": "ecdsa-p256"})
        answer = await vault.ask(*signing("h1-audit"))
    assert answer.data["signature"].startswith("vault:v1:")
    assert openbao.audit_file.read_text().count(answer.request_id) == 2  # request and response


async def test_a_token_is_renewed_before_it_ends(openbao, policy):
    async with opened(openbao, policy, token_ttl="2s", token_max_ttl="1h") as vault:
        first = vault._lease
        await asyncio.sleep(2.6)
        assert vault.logins == 1 and vault._lease.token == first.token and vault._lease.since > first.since
        await vault.call("POST", "transit/keys/h1-renewed", {"type": "ecdsa-p256"})
        assert vault.logins == 1


async def test_a_token_at_the_end_of_its_longest_life_is_replaced_in_time(openbao, policy):
    async with opened(openbao, policy, token_ttl="3s", token_max_ttl="3s") as vault:
        await asyncio.sleep(2.4)
        assert vault.logins == 2
        await vault.call("POST", "transit/keys/h1-longest", {"type": "ecdsa-p256"})
        assert vault.logins == 2


async def test_a_token_revoked_in_the_middle_costs_one_login_for_all_callers(openbao, policy):
    async with opened(openbao, policy) as vault:
        await vault.call("POST", "transit/keys/h1-revoked", {"type": "ecdsa-p256"})
        openbao.api("POST", "auth/token/revoke", {"token": vault._lease.token.get_secret_value()})
        answers = await asyncio.gather(*(vault.call(*signing("h1-revoked")) for _ in range(20)))
        assert len(answers) == 20 and vault.logins == 2
        assert (await vault.health()).state == "open"


async def test_what_the_policy_does_not_allow_is_denied_after_exactly_one_login(openbao, policy):
    async with opened(openbao, policy) as vault:
        before = openbao.audit_file.read_text().count("auth/approle/login")
        with pytest.raises(Refused) as caught:
            await vault.call("POST", "transit/sign/h1-any", {"input": DIGEST, "prehashed": True})  # no key_version
        assert caught.value.code == "vault.denied" and vault.logins == 2
        for _ in range(3):
            with pytest.raises(Refused):
                await vault.call("DELETE", "transit/keys/h1-any")
        assert vault.logins == 2
        assert openbao.audit_file.read_text().count("auth/approle/login") - before == 2  # one request, one response
        openbao.api("POST", "auth/token/revoke", {"token": vault._lease.token.get_secret_value()})
        await vault.call("POST", "transit/keys/h1-any", {"type": "ecdsa-p256"})  # a dead token is replaced even then
        assert vault.logins == 3


async def test_rights_given_meanwhile_help_at_the_next_call(openbao):
    name = openbao.add_policy("h1-later", 'path "transit/keys/none" { capabilities = ["read"] }')
    async with opened(openbao, name) as vault:
        with pytest.raises(Refused):
            await vault.call("POST", "transit/keys/h1-later", {"type": "ecdsa-p256"})
        openbao.add_policy(name, SIGN)
        await vault.call("POST", "transit/keys/h1-later", {"type": "ecdsa-p256"})


async def test_a_sealed_server_says_so_and_serves_again_when_it_is_opened(own):
    async with opened(own, "sign") as vault:
        own.seal()
        with pytest.raises(Unavailable) as caught:
            await vault.call(*signing("k"))
        assert caught.value.code == "vault.sealed" and caught.value.evidence == {"host": "127.0.0.1"}
        health = await vault.health()
        assert (health.state, health.code) == ("sealed", "vault.sealed")
        assert health.version == vault.capabilities.version != ""
        newcomer = Vault(VaultConfig(url=own.url, login=vault._config.login))
        with pytest.raises(Unavailable) as caught:
            own_login = newcomer._config.login
            own_login.secret_id_file.write_text("s.abcdefgh")
            await newcomer.start()
        assert caught.value.code == "vault.sealed"  # and no alarm about a token nobody could look at
        await newcomer.close()
        own_login.secret_id_file.unlink()
        own.unseal()
        assert (await vault.call(*signing("k")))["key_version"] == 1
        assert (await vault.health()).state == "open" and vault.logins == 1


async def test_a_killed_server_is_unreachable_and_the_session_goes_on_when_it_is_back(own):
    async with opened(own, "sign") as vault:
        vault._breaker._rest = 0.2
        await vault.call(*signing("k"))
        own.kill()
        for _ in range(4):
            with pytest.raises(Unavailable) as caught:
                await vault.call(*signing("k"))
            assert caught.value.code == "vault.unreachable"  # never "unknown": nothing was sent on the dead connection
        health = await vault.health()
        assert (health.state, health.code) == ("unreachable", "vault.unreachable")
        assert vault._breaker.is_open
        own.start()
        await asyncio.sleep(0.25)
        assert (await vault.call(*signing("k")))["key_version"] == 1
        assert vault.logins == 1 and not vault._breaker.is_open


async def test_a_server_killed_under_a_call_leaves_its_outcome_unknown(own):
    async with opened(own, "sign") as vault:
        await vault.call(*signing("k"))
        own.pause()  # it takes the call and does not answer
        call = asyncio.create_task(vault.call(*signing("k")))
        await asyncio.sleep(0.2)
        own.kill()
        with pytest.raises(Unavailable) as caught:
            await call
        assert caught.value.code == "vault.outcome_unknown"
        own.start()


async def test_a_server_that_hangs_leaves_the_outcome_unknown_in_time(own):
    async with opened(own, "sign", config={"total_seconds": 0.5}) as vault:
        await vault.call(*signing("k"))
        own.pause()
        try:
            before = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                await vault.call(*signing("k"))
            assert caught.value.code == "vault.outcome_unknown" and time.monotonic() - before < 1.5
            assert (await vault.health()).state == "unreachable"
        finally:
            own.resume()
        assert (await vault.call(*signing("k")))["key_version"] == 1


async def test_a_session_that_started_without_its_server_logs_in_when_it_is_there(own):
    login = own.login_for("sign")
    own.stop()
    vault = Vault(VaultConfig(url=own.url, login=login))
    with pytest.raises(Unavailable):
        await vault.start()
    own.start()
    assert (await vault.call(*signing("k")))["key_version"] == 1
    await vault.close()


async def test_a_login_is_not_lost_with_the_caller_who_asked_for_it(own):
    vault = Vault(VaultConfig(url=own.url, login=own.login_for("sign")))
    starting = asyncio.create_task(vault.start())
    await asyncio.sleep(0)
    await asyncio.sleep(0.002)
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    assert (await vault.call(*signing("k")))["key_version"] == 1
    assert vault.logins == 1
    await vault.close()


@pytest.mark.slow
async def test_a_change_of_leaders_interrupts_nothing_for_long(tmp_path):
    if binary() is None:
        live_or_skip("OpenBao (bao)")
    with cluster(tmp_path) as nodes:
        first = nodes.leader()
        first.add_policy("sign", SIGN)
        first.api("POST", "transit/keys/k", {"type": "ecdsa-p256"})
        standby = nodes.standbys()[0]
        vault = Vault(VaultConfig(url=standby.url, login=standby.login_for("sign")))
        await vault.start()
        assert (await vault.health()).state == "standby"
        assert (await vault.call(*signing("k")))["key_version"] == 1
        gone = nodes.leader()
        gone.kill()
        errors, signed, end = set(), 0, time.monotonic() + 30
        while signed < 20 and time.monotonic() < end:
            try:
                await vault.call(*signing("k"))
                signed += 1
            except ServiceError as error:
                errors.add(error.code)
                signed = 0
                await asyncio.sleep(0.2)
        assert signed == 20
        assert errors <= {"vault.busy", "vault.redirected", "vault.outcome_unknown", "vault.sealed"}
        assert (await vault.health()).state in {"open", "standby"}
        await vault.close()
