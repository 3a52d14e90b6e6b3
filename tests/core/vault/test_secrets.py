"""Tokens, secret ids and bodies are in no log, error, repr or frame of ours, whatever goes wrong."""

import asyncio
import logging
import traceback

import pytest
import structlog

from core.errors import ServiceError
from core.vault import AppRole, TokenFile, Vault, VaultConfig
from tests.core.vault.scripted import Scripted, cut_short, errs, hangs_up, says, sleeps
from tests.openbao import free_port

BODY = "c2VjcmV0LWJvZHk="
TOKEN = "s.scripted-token"


def shown(error: BaseException) -> str:
    """All a crash reporter could show: the chain, and what our frames hold."""
    parts = [repr(error), str(error), *traceback.format_exception(error)]
    if isinstance(error, ServiceError):
        parts += [repr(error.evidence), error.say("vi"), error.say("en")]
    link: BaseException | None = error
    while link is not None:
        parts.append(repr(link.args))
        frames = traceback.walk_tb(link.__traceback__)
        ours = [
            f for f, _ in frames if "/core/vault/" in f.f_code.co_filename and "/tests/" not in f.f_code.co_filename
        ]
        # the argument itself is the caller's own, in his frames as well
        parts += [repr({k: v for k, v in f.f_locals.items() if k != "body"}) for f in ours]
        link = link.__context__
    return "\n".join(parts)


async def failing(vault: Vault, *args, **more) -> str:
    try:
        await vault.call(*args, **more)
    except ServiceError as error:
        return shown(error)
    raise AssertionError("it worked")


@pytest.mark.parametrize(
    "step",
    [
        hangs_up, cut_short, sleeps, errs(400, f"bad {BODY} {TOKEN}"), errs(403, TOKEN), errs(500, TOKEN), errs(503, TOKEN),
        says(200, f"{TOKEN} {BODY}".encode()), says(307, b"", Location=f"http://127.0.0.1/{TOKEN}"), says(404, {"errors": [TOKEN]}),
    ],
)  # fmt: skip
async def test_failing_calls(step, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs, Scripted(step) as server:
        vault = Vault(server.config(tmp_path, total_seconds=0.4))
        await vault.start()
        seen = await failing(vault, "POST", "transit/sign/k", {"input": BODY})
        seen += repr(vault) + repr(vault._lease) + repr(vault._config) + repr(vault._entrance)
        await vault.close()
    seen += caplog.text + repr(logs)
    assert TOKEN not in seen and BODY not in seen


async def test_failing_logins(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    wrapping, secret, role = "s.wrapping-token-1", "5ec2e7-1d", "r01e-1d"
    seen = ""
    with structlog.testing.capture_logs() as logs:
        for steps in (
            [errs(400, f"wrapping token {wrapping} is not valid")],
            [says(200, {"data": {"creation_path": "elsewhere"}})],
            [says(200, {"data": {"creation_path": "here"}}), hangs_up],
            [
                says(200, {"data": {"creation_path": "here"}}),
                says(200, {"data": {"secret_id": secret}}),
                errs(400, secret),
            ],
            [says(200, {"data": {"creation_path": "here"}}), says(200, {"data": {"secret_id": secret}}), hangs_up],
            [
                says(200, {"data": {"creation_path": "here"}}),
                says(200, {"data": {"secret_id": secret}}),
                says(200, {"auth": [TOKEN]}),
            ],
        ):
            with Scripted(*steps) as server:
                file = tmp_path / "secret-id"
                file.write_text(wrapping)
                login = AppRole(role_id=role, secret_id_file=file, creation_path="here")
                vault = Vault(VaultConfig(url=server.url, login=login))
                try:
                    await vault.start()
                except ServiceError as error:
                    seen += shown(error)
                seen += repr(vault._config) + repr(vault._entrance)
                await vault.close()
    seen += caplog.text + repr(logs)
    for word in (wrapping, secret, role, TOKEN):
        assert word not in seen


async def test_a_token_that_no_header_can_hold(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    for content in ("s.one\ntwo", "s.with\x7fdelete", "s.\x00zero", "s.chữ"):
        (tmp_path / "token").write_text(content)
        vault = Vault(VaultConfig(url=f"http://127.0.0.1:{free_port()}", login=TokenFile(path=tmp_path / "token")))
        with pytest.raises(ServiceError) as caught:
            await vault.start()
        assert caught.value.code == "vault.login_failed"
        assert content not in shown(caught.value) + caplog.text
        await vault.close()


async def test_a_cancelled_call(tmp_path):
    with Scripted(sleeps) as server:
        vault = Vault(server.config(tmp_path))
        await vault.start()
        task = asyncio.create_task(vault.call("POST", "transit/sign/k", {"input": BODY}))
        while not server.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            seen = shown(error)
        assert TOKEN not in seen
        await vault.close()
