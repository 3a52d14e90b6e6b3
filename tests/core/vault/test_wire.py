"""What became of a call, against a server that misbehaves on demand."""

import asyncio
import contextlib
import json
import socket
import threading
import time

import pytest

from core.errors import BadInput, NotFound, Refused, ServiceError, Unavailable
from core.vault import Vault, VaultConfig
from core.vault.wire import Call, Fate, Reply, Wire
from tests.core.vault.scripted import Scripted, cut_short, errs, hangs_up, says, sleeps, trickles
from tests.openbao import free_port

GOOD = says(200, {"request_id": "r-1", "data": {"signature": "vault:v1:AAAA"}})


@contextlib.asynccontextmanager
async def opened(server: Scripted, folder, **more):
    vault = Vault(server.config(folder, **more))
    await vault.start()
    try:
        yield vault
    finally:
        await vault.close()


async def code_of_call(vault: Vault, method: str = "POST", **more) -> str:
    with pytest.raises(ServiceError) as caught:
        await vault.call(method, "transit/sign/k", {"input": "AA"} if method != "DELETE" else None, **more)
    assert caught.value.__cause__ is None and caught.value.__context__ is None  # no foreign frames behind it
    return caught.value.code


@pytest.mark.parametrize(
    "step",
    [
        errs(412), errs(429, "rate limited"), errs(472), errs(473), errs(503, "not yet"), errs(500, "local node not active"),
        says(307, b"", Location="http://127.0.0.1:1/v1/transit/sign/k"),
    ],
)  # fmt: skip
async def test_not_now_is_asked_again(step, tmp_path):
    with Scripted(step, GOOD) as server:
        async with opened(server, tmp_path) as vault:
            answer = await vault.ask("POST", "transit/sign/k", {"input": "AA"})
    assert answer.data == {"signature": "vault:v1:AAAA"} and answer.request_id == "r-1"
    assert [json.loads(a.body) for a in server.asked] == [{"input": "AA"}] * 2


@pytest.mark.parametrize(("step", "code"), [(errs(503), "vault.busy"), (errs(429), "vault.busy")])
async def test_after_the_last_repetition_the_store_is_busy(step, code, tmp_path):
    with Scripted(step) as server:
        async with opened(server, tmp_path) as vault:
            assert await code_of_call(vault) == code
            assert len(server.asked) == 3
            assert await code_of_call(vault, tries=0) == code
            assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("step", "code", "kind"),
    [
        (errs(503, "Vault is sealed"), "vault.sealed", Unavailable),
        (errs(404), "vault.missing", NotFound),
        (errs(400, "signing key not found"), "vault.missing", NotFound),
        (errs(400, "secret words of the server"), "vault.bad_request", BadInput),
        (errs(413), "vault.bad_request", BadInput),
        (errs(500, "requested version for signing is higher than the latest"), "vault.bad_request", BadInput),
        (errs(502), "vault.outcome_unknown", Unavailable),
        (errs(504), "vault.outcome_unknown", Unavailable),
    ],
)
async def test_what_would_not_change_is_not_asked_again(step, code, kind, tmp_path):
    with Scripted(step) as server:
        async with opened(server, tmp_path) as vault:
            with pytest.raises(kind) as caught:
                await vault.call("POST", "transit/sign/k", {"input": "AA"})
    assert caught.value.code == code
    assert "secret words" not in f"{caught.value!r} {caught.value} {caught.value.evidence}"
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "step", [hangs_up, cut_short, says(200, b"<html>"), says(200, b"[1]"), says(200, b"[" * 90_000)]
)
async def test_a_write_that_was_sent_and_has_no_readable_answer_is_of_unknown_outcome(step, tmp_path):
    with Scripted(step) as server:
        async with opened(server, tmp_path) as vault:
            assert await code_of_call(vault) == "vault.outcome_unknown"
    assert len(server.asked) == 1


async def test_a_slow_answer_to_a_write_is_of_unknown_outcome(tmp_path):
    with Scripted(sleeps) as server:
        async with opened(server, tmp_path, total_seconds=0.4) as vault:
            before = time.monotonic()
            assert await code_of_call(vault) == "vault.outcome_unknown"
            assert 0.3 < time.monotonic() - before < 1.5
    assert len(server.asked) == 1


async def test_a_reading_call_is_asked_again_when_its_answer_is_lost(tmp_path):
    with Scripted(hangs_up, errs(502), GOOD) as server:
        async with opened(server, tmp_path) as vault:
            assert await vault.call("GET", "transit/keys/k") == {"signature": "vault:v1:AAAA"}
    assert len(server.asked) == 3


async def test_a_reading_call_whose_answer_never_comes_has_done_nothing(tmp_path):
    with Scripted(hangs_up) as server:
        async with opened(server, tmp_path) as vault:
            assert await code_of_call(vault, "GET") == "vault.unreachable"
    with Scripted(says(200, b"{")) as server:
        async with opened(server, tmp_path) as vault:
            assert await code_of_call(vault, "GET") == "vault.bad_answer"


async def test_an_answer_has_a_largest_size(tmp_path):
    huge = b'{"data": {"a": "' + b"x" * (9 * 1024 * 1024) + b'"}}'
    with Scripted(says(200, huge), GOOD) as server:
        async with opened(server, tmp_path) as vault:
            assert await code_of_call(vault) == "vault.outcome_unknown"
            assert await vault.call("POST", "transit/sign/k") == {"signature": "vault:v1:AAAA"}  # the thread is well


async def test_redirects_are_not_followed(tmp_path):
    with Scripted(GOOD) as elsewhere, Scripted(says(307, b"", Location=f"{elsewhere.url}/v1/transit/sign/k")) as server:
        async with opened(server, tmp_path) as vault:
            assert await code_of_call(vault) == "vault.redirected"
    assert elsewhere.asked == []


async def test_a_refused_connection_was_not_sent(tmp_path):
    vault = Vault(VaultConfig(url=f"http://127.0.0.1:{free_port()}", login=Scripted.config(_Nowhere, tmp_path).login))
    with pytest.raises(Unavailable) as caught:
        await vault.start()
    assert caught.value.code == "vault.unreachable"
    assert (await vault.health()).state == "unreachable"
    await vault.close()


class _Nowhere:
    url = "http://127.0.0.1:1"


async def test_a_server_that_takes_no_connection_was_sent_nothing(tmp_path):
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    crowd = [socket.socket() for _ in range(4)]
    for one in crowd:
        one.setblocking(False)
        one.connect_ex(full.getsockname())
    login = Scripted.config(_Nowhere, tmp_path).login
    wire = Wire(VaultConfig(url=f"http://127.0.0.1:{full.getsockname()[1]}", login=login, connect_seconds=0.2))
    reply = await wire.exchange(Call(method="POST", path="transit/sign/k", body={}), None, 3)
    assert reply.fate is Fate.NOT_SENT
    await wire.close()
    for one in [*crowd, full]:
        one.close()


async def test_bytes_that_trickle_do_not_hold_a_thread(tmp_path):
    with Scripted(trickles, GOOD) as server:
        async with opened(server, tmp_path, threads=1, total_seconds=0.5) as vault:
            assert await code_of_call(vault) == "vault.outcome_unknown"
            before = time.monotonic()
            assert await vault.call("POST", "transit/sign/k") == {"signature": "vault:v1:AAAA"}
            assert time.monotonic() - before < 0.4  # the one thread was free at once


async def test_a_cancelled_caller_frees_the_thread_and_what_was_not_sent_is_never_sent(tmp_path):
    with Scripted(sleeps, GOOD) as server:
        async with opened(server, tmp_path, threads=1) as vault:
            first = asyncio.create_task(vault.call("POST", "transit/sign/first", {}))
            while not server.asked:
                await asyncio.sleep(0.01)
            second = asyncio.create_task(vault.call("POST", "transit/sign/second", {}))
            await asyncio.sleep(0.05)
            second.cancel()
            first.cancel()
            assert [type(e) for e in await asyncio.gather(first, second, return_exceptions=True)] == [
                asyncio.CancelledError
            ] * 2
            assert await vault.call("POST", "transit/sign/third") == {"signature": "vault:v1:AAAA"}
    assert [a.path for a in server.asked] == ["transit/sign/first", "transit/sign/third"]


async def test_a_call_that_found_no_thread_in_time_was_not_sent(tmp_path):
    with Scripted(sleeps) as server:
        async with opened(server, tmp_path, threads=1) as vault:
            first = asyncio.create_task(vault.call("POST", "transit/sign/first", {}))
            while not server.asked:
                await asyncio.sleep(0.01)
            assert await code_of_call(vault, seconds=0.2) == "vault.busy"
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
    assert len(server.asked) == 1


async def test_more_callers_than_may_wait_are_told_at_once(tmp_path):
    with Scripted(sleeps) as server:
        async with opened(server, tmp_path, threads=1) as vault:
            vault._wire._most = 2
            waiting = [asyncio.create_task(vault.call("POST", "transit/sign/k", {})) for _ in range(2)]
            await asyncio.sleep(0.05)
            assert await code_of_call(vault) == "vault.busy"
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def test_each_thread_has_one_client_with_a_session_of_its_own(tmp_path):
    together = threading.Barrier(4, timeout=5)

    def at_once(server, wire, asked):
        together.wait()
        GOOD(server, wire, asked)

    with Scripted(at_once) as server:
        async with opened(server, tmp_path, threads=4) as vault:
            for _ in range(3):
                await asyncio.gather(*(vault.call("POST", "transit/sign/k", {}) for _ in range(4)))
            assert len(vault._wire._clients) == 4
            assert len({id(c.session) for c in vault._wire._clients}) == 4
            for client in vault._wire._clients:
                assert client.adapter.token is None
                assert client.adapter.allow_redirects is False


async def test_what_is_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("VAULT_TOKEN", "s.of-the-environment")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with Scripted(GOOD) as server:
        async with opened(server, tmp_path, namespace="team") as vault:
            await vault.call("POST", "transit/sign/k", {"input": "AA"})
            await vault.call("LIST", "transit/keys", {"after": "k1", "limit": 10})
            await vault.call("GET", "transit/keys/k", namespace="")
            await vault.call("DELETE", "transit/keys/k", namespace="other/child")
    post, listed, read, gone = server.asked
    assert post.headers["x-vault-request"] == "true"
    assert post.headers["x-vault-token"] == "s.scripted-token"
    assert post.headers["x-vault-namespace"] == "team"
    assert post.headers["accept-encoding"] == "identity" and post.headers["content-type"] == "application/json"
    assert (listed.method, listed.path) == ("GET", "transit/keys?after=k1&limit=10&list=true")
    assert "x-vault-namespace" not in read.headers
    assert (gone.method, gone.headers["x-vault-namespace"]) == ("DELETE", "other/child")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/sys/health",
        "transit/../sys/seal",
        "transit//k",
        "a?b=c",
        "a#b",
        "a b",
        "a\n",
        "khóa",
        "a/./b",
        "a" * 1_001,
    ],
)
async def test_a_path_that_could_mean_another_is_refused(path, tmp_path):
    with Scripted(GOOD) as server:
        async with opened(server, tmp_path) as vault:
            with pytest.raises(BadInput):
                await vault.call("GET", path)
            with pytest.raises(BadInput):
                await vault.call("TRACE", "transit/keys")
    assert server.asked == []


async def test_an_answer_without_data_is_an_empty_one(tmp_path):
    with Scripted(says(204, b""), says(200, {"data": None})) as server:
        async with opened(server, tmp_path) as vault:
            assert await vault.call("DELETE", "transit/keys/k") == {}
            assert await vault.call("POST", "transit/keys/k") == {}


async def test_a_denial_costs_one_new_login_and_then_none_while_that_does_not_help(tmp_path):
    with Scripted(errs(403, "permission denied")) as server:
        async with opened(server, tmp_path) as vault:
            with pytest.raises(Refused) as caught:
                await vault.call("POST", "transit/sign/k", {})
            assert caught.value.code == "vault.denied"
            assert vault.logins == 2 and len(server.asked) == 2
            for _ in range(5):
                with pytest.raises(Refused):
                    await vault.call("POST", "transit/sign/k", {})
            assert vault.logins == 2 and len(server.asked) == 7


async def test_many_denied_at_once_share_one_login(tmp_path):
    def once(server, wire, asked):
        (GOOD if server.logins > 1 else errs(403))(server, wire, asked)

    with Scripted(once) as server:
        async with opened(server, tmp_path, threads=8) as vault:
            answers = await asyncio.gather(*(vault.call("POST", "transit/sign/k", {}) for _ in range(40)))
            assert len(answers) == 40 and vault.logins == 2 and server.logins == 2


async def test_the_breaker_opens_after_failures_in_a_row_and_closes_when_the_store_answers(tmp_path):
    with Scripted(hangs_up) as server:
        async with opened(server, tmp_path) as vault:
            vault._breaker._rest = 0.3
            for _ in range(5):
                assert await code_of_call(vault) == "vault.outcome_unknown"
            asked = len(server.asked)
            for _ in range(20):
                assert await code_of_call(vault) == "vault.unreachable"  # nothing is sent any more
            assert len(server.asked) == asked
            server.script[:] = [GOOD]
            await asyncio.sleep(0.35)
            assert await vault.call("POST", "transit/sign/k") == {"signature": "vault:v1:AAAA"}
            assert not vault._breaker.is_open
            await vault.call("POST", "transit/sign/k")


async def test_a_connection_that_was_idle_for_long_is_not_used_again(tmp_path):
    with Scripted(GOOD) as server:
        async with opened(server, tmp_path, threads=1) as vault:
            await vault.call("POST", "transit/sign/k")
            kept = len(server._wires)
            await vault.call("POST", "transit/sign/k")
            assert len(server._wires) == kept
            vault._wire._clients[0].used -= 100
            await vault.call("POST", "transit/sign/k")
            assert len(server._wires) == kept + 1


async def test_a_closed_session_sends_nothing_and_may_be_closed_again(tmp_path):
    with Scripted(GOOD) as server:
        async with opened(server, tmp_path) as vault:
            pass
        await vault.close()
        assert await code_of_call(vault) == "vault.unreachable"
        assert (await vault.health()).state == "unreachable"
    assert server.asked == []


def test_a_reply_shows_nothing_of_its_body():
    assert "s3cret" not in repr(Reply(fate=Fate.ANSWERED, status=200, body={"data": "s3cret"}))
