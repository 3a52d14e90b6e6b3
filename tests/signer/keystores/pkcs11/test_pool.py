"""Workers that die, hang, cannot start or have too much to do. Nothing is played: processes are stopped and killed."""

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from core.errors import BadInput, ServiceError, Unavailable
from core.limits import LIMITS
from core.settings import Settings
from core.values import Digest, SignatureAlgorithm
from signer.keystores.model import KeyPurpose, checked
from signer.keystores.pkcs11.pool import _Process, config_of
from tests.signer.keystores.pkcs11.hsm import MODULE, PIN

P = KeyPurpose.SEAL
P256, RSA = SignatureAlgorithm.ECDSA_P256_SHA256, SignatureAlgorithm.RSA_PKCS1_SHA256
DIGEST = Digest.of(b"x")


def sign(store, ref, data=b"x"):
    return asyncio.create_task(store.sign(ref, Digest.of(data), purpose=P, event_id="e"))


async def raised(what) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await what
    return caught.value


async def stopped(store) -> int:
    """The one worker, frozen: what is sent to it stays in mid-call."""
    (pid,) = store.pids
    os.kill(pid, signal.SIGSTOP)
    return pid


async def gone(pid: int) -> None:
    for _ in range(300):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        await asyncio.sleep(0.01)
    raise AssertionError("still there")


async def test_a_worker_killed_in_mid_sign_leaves_an_unknown_outcome_and_is_replaced(open_store):
    store = open_store()
    ref = await store.create("seal-1", P, P256)
    pid = await stopped(store)
    call = sign(store, ref)
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    error = await raised(call)
    assert isinstance(error, Unavailable) and (error.code, error.evidence["key"]) == ("key.outcome_unknown", "seal-1")
    assert checked(ref, DIGEST, await sign(store, ref)) and store.pids != [pid]


async def test_a_call_for_a_worker_that_is_gone_already_goes_to_another(open_store):
    store = open_store()
    ref = await store.create("seal-1", P, P256)
    (pid,) = store.pids
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    assert checked(ref, DIGEST, await sign(store, ref)) and store.pids != [pid]


async def test_what_only_reads_is_asked_again_when_its_worker_dies(open_store):
    store = open_store()
    ref = await store.create("seal-1", P, P256)
    pid = await stopped(store)
    call = asyncio.create_task(store.public_key(ref))
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    assert await call == ref.spki


async def test_a_worker_over_its_deadline_is_ended_and_replaced(open_store, monkeypatch):
    store = open_store()
    ref = await store.create("seal-1", P, P256)
    monkeypatch.setitem(LIMITS, "pkcs11.call_seconds", 0.4)
    pid = await stopped(store)
    error = await raised(sign(store, ref))
    assert (error.code, error.evidence["detail"]) == ("key.outcome_unknown", "deadline")
    await gone(pid)
    assert await sign(store, ref)


async def test_a_full_queue_turns_away_and_who_waited_too_long_was_not_sent(open_store, monkeypatch):
    store = open_store()
    ref = await store.create("seal-1", P, P256)
    monkeypatch.setitem(LIMITS, "pkcs11.queue", 2)
    monkeypatch.setitem(LIMITS, "pkcs11.wait_seconds", 0.3)
    pid = await stopped(store)
    under_way = sign(store, ref)
    await asyncio.sleep(0.05)
    waiting = [sign(store, ref), sign(store, ref)]
    await asyncio.sleep(0.05)
    error = await raised(sign(store, ref))
    assert (error.code, error.evidence["detail"]) == ("key.unavailable", "queue full")
    assert (await store.health()).state == "unreachable"
    for late in waiting:
        error = await raised(late)
        assert (error.code, error.evidence["detail"]) == ("key.unavailable", "queue")
    os.kill(pid, signal.SIGCONT)
    assert await under_way and await sign(store, ref) and store.pids == [pid]


async def test_who_gives_up_in_mid_sign_disturbs_nobody(open_store):
    store = open_store()
    ref = await store.create("seal-1", P, P256)
    pid = await stopped(store)
    given_up, waiting, next_one = sign(store, ref), sign(store, ref, b"2"), sign(store, ref, b"3")
    await asyncio.sleep(0.1)
    given_up.cancel()
    waiting.cancel()
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGCONT)
    assert checked(ref, Digest.of(b"3"), await next_one)
    assert checked(ref, Digest.of(b"4"), await sign(store, ref, b"4"))
    assert store.pids == [pid] and given_up.cancelled() and waiting.cancelled()


async def test_two_workers_sign_side_by_side_and_one_that_hangs_does_not_hold_up_the_other(open_store):
    store = open_store(workers=2)
    ref = await store.create("seal-1", P, RSA)
    values = await asyncio.gather(*(sign(store, ref, b"%d" % n) for n in range(30)))
    assert all(checked(ref, Digest.of(b"%d" % n), value) for n, value in enumerate(values))
    hanging, working = store.pids
    os.kill(hanging, signal.SIGSTOP)
    calls = [sign(store, ref) for _ in range(8)]
    done, _ = await asyncio.wait(calls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 7:
        more, _ = await asyncio.wait(set(calls) - done, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert more
        done |= more
    os.kill(hanging, signal.SIGCONT)
    assert all(await asyncio.gather(*calls)) and store.pids == [hanging, working]


async def test_a_batch_whose_worker_dies_is_an_error_for_its_piece_alone(open_store):
    store = open_store(workers=2)
    ref = await store.create("seal-1", P, P256)
    await asyncio.gather(*(sign(store, ref) for _ in range(8)))
    dead, _ = store.pids
    os.kill(dead, signal.SIGSTOP)
    items = [Digest.of(b"%d" % n) for n in range(100)]
    batch = asyncio.create_task(store.sign_batch(ref, items, purpose=P, event_id="e"))
    await asyncio.sleep(0.3)
    os.kill(dead, signal.SIGKILL)
    results = await batch
    lost = [n for n, result in enumerate(results) if isinstance(result, ServiceError)]
    assert lost == list(range(lost[0], lost[0] + 25))
    assert {results[n].code for n in lost} == {"key.outcome_unknown"}
    assert all(checked(ref, items[n], results[n]) for n in range(100) if n not in lost)


async def test_a_refused_pin_is_tried_once_by_one_worker_and_again_when_its_file_changed(hsm, open_store):
    good = open_store()
    ref = await good.create("seal-1", P, P256)
    hsm.write_pin("999999")
    store = open_store(workers=3)
    errors = [await raised(call) for call in [sign(store, ref) for _ in range(9)]]
    assert {(e.code, e.evidence["detail"], type(e)) for e in errors} == {("key.denied", "pin", Unavailable)}
    assert (await store.health()).state == "denied"
    assert not any("999999" in repr(e) + str(e.evidence) for e in errors)
    assert os.pread(store._pool._denied, 1, 0) == b"\1"
    hsm.write_pin(PIN)
    assert checked(ref, DIGEST, await sign(store, ref)) and (await store.health()).state == "open"


async def test_no_worker_logs_in_while_the_shared_byte_says_that_the_pin_was_refused(hsm, open_store):
    store = open_store(workers=2)
    store._pool.start()
    os.pwrite(store._pool._denied, b"\1", 0)
    store._pool._pin_used = store._pool._pin_state()
    assert (await store.health()).state == "denied" and store.pids == []
    store._pool._require_pin = lambda: None  # as for a call that was under way when another worker was refused
    assert (await store.health()).state == "denied" and len(store.pids) == 1


@pytest.mark.parametrize("bad", [Path("/nonexistent/module.so"), Path("/usr/lib/os-release")])
async def test_a_module_that_does_not_load_is_unreachable(open_store, bad):
    store = open_store(module=bad)
    health = await store.health()
    assert health.state == "unreachable" and "module" in health.detail
    error = await raised(store.create("seal-1", P, P256))
    assert error.code == "key.unavailable" and store.not_for_production


async def test_a_token_or_a_pin_file_that_is_not_there_is_unreachable(open_store, hsm):
    store = open_store(token="another")
    health = await store.health()
    assert health.state == "unreachable" and "no token of that label" in health.detail
    store = open_store()
    hsm.pin_file.unlink()
    health = await store.health()
    assert health.state == "unreachable" and "pin file" in health.detail


async def test_workers_end_with_the_store_and_none_starts_for_who_comes_late(open_store):
    store = open_store(workers=2)
    ref = await store.create("seal-1", P, P256)
    await asyncio.gather(*(sign(store, ref) for _ in range(6)))
    pids = store.pids
    await store.close()
    for pid in pids:
        await gone(pid)
    error = await raised(sign(store, ref))
    assert (error.code, error.evidence["detail"]) == ("key.unavailable", "closed") and store.pids == []
    await store.start()
    assert await sign(store, ref)


async def test_what_a_worker_does_not_know_is_bad_input(open_store):
    store = open_store()
    with pytest.raises(BadInput, match=r"key\.bad_input"):
        await store._pool.call({"op": "export"}, seconds=5)
    error = await raised(store._pool.call({"op": "sign"}, seconds=5))
    assert (error.code, error.evidence["detail"]) == ("key.unavailable", "KeyError")


async def test_who_closes_the_store_in_mid_sign_leaves_an_unknown_outcome(open_store, monkeypatch):
    store = open_store()
    ref = await store.create("seal-1", P, P256)
    monkeypatch.setitem(LIMITS, "pkcs11.stop_seconds", 0.2)
    await stopped(store)
    under_way, waiting = sign(store, ref), sign(store, ref)
    await asyncio.sleep(0.1)
    await store.close()
    assert (await raised(under_way)).code == "key.outcome_unknown"
    assert (await raised(waiting)).code == "key.unavailable"


async def test_no_pin_shows_and_a_worker_holds_nothing_of_ours(hsm, open_store, monkeypatch, caplog, capfd):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("DAUSO_KEY_PASSPHRASE", "mat-khau-cua-dich-vu")
    monkeypatch.setenv("PGPASSWORD", "mat-khau-csdl")
    store = open_store(workers=2)
    ref = await store.create("seal-1", P, P256)
    await asyncio.gather(*(sign(store, ref) for _ in range(6)))
    shown = [repr(store), repr(store._pool._config), repr(vars(store._pool)), caplog.text, *capfd.readouterr()]
    for pid in store.pids:
        shown += [Path(f"/proc/{pid}/{what}").read_bytes().decode(errors="replace") for what in ("cmdline", "environ")]
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
        assert len(os.listdir(f"/proc/{pid}/task")) == 1  # the one thread that owns the module
        assert "libsofthsm2" in Path(f"/proc/{pid}/maps").read_text()
    for own in ("cmdline", "environ"):
        shown.append(Path(f"/proc/self/{own}").read_bytes().decode(errors="replace"))
    for secret in (PIN, "mat-khau-cua-dich-vu", "mat-khau-csdl"):
        assert secret not in "\n".join(shown[:-2])
    assert PIN not in "\n".join(shown)
    assert "libsofthsm2" not in Path("/proc/self/maps").read_text()  # never in the service's process


async def test_a_token_that_hangs_at_the_start_is_unreachable_and_no_process_is_left(hsm, open_store, monkeypatch):
    hsm.pin_file.unlink()
    os.mkfifo(hsm.pin_file)  # nobody writes: who reads it waits for ever
    monkeypatch.setitem(LIMITS, "pkcs11.open_seconds", 0.7)
    store = open_store()
    assert (await store.health()).state == "unreachable" and store.pids == []


async def test_a_worker_that_hangs_ends_by_itself_when_its_service_was_killed(hsm, open_store, monkeypatch):
    hsm.pin_file.unlink()
    os.mkfifo(hsm.pin_file)
    store = open_store()
    store._pool.start()
    process = await _Process.start(store._pool._denied)
    await process.send(store._pool._hello() | {"open_seconds": 0.2})
    await asyncio.sleep(0.5)
    process._pipe.close()  # the kernel does this for a process that died; only the worker's own alarm is left
    assert await asyncio.wait_for(process._process.wait(), 5) == -signal.SIGALRM


async def test_relative_paths_lead_from_where_the_service_runs(hsm, open_store, monkeypatch):
    monkeypatch.chdir(hsm.folder)
    store = open_store(pin_file=Path("pin"), module=Path(os.path.relpath(MODULE)))
    assert (await store.health()).state == "open"


def test_settings_that_lack_a_part_are_refused(tmp_path):
    given = {"pkcs11_module": MODULE, "pkcs11_token": "t", "pkcs11_pin_file": tmp_path / "pin"}
    assert config_of(Settings(**given)).workers == 2
    for lacking in given:
        with pytest.raises(BadInput, match=r"key\.not_configured"):
            config_of(Settings(**{k: v for k, v in given.items() if k != lacking}))
