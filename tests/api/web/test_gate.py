"""The gate: who is answered at all, how much may come in, what every answer carries, what is written down."""

import asyncio
import json

import pytest
import structlog

from api.web.gate import Gate
from api.web.metrics import Metrics
from api.web.pace import Pace
from core.errors import Refused
from core.limits import LIMITS


async def echo(scope, receive, send):
    """Reads the whole body and says how long it was."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-size", str(size).encode())]})
    await send({"type": "http.response.body", "body": b"ok"})


async def broken(scope, receive, send):
    raise RuntimeError("Nguyễn Văn Bí Mật")


def gate(clock, app=echo, *, secure=True, known=None):
    return Gate(
        app, hosts=frozenset({"dauso.example"}), secure=secure, pace=Pace(clock), metrics=Metrics(), clock=clock,
        known=known,
    )  # fmt: skip


async def ask(
    door, *, method="GET", path="/v", headers=(), body=(b"",), host=b"dauso.example", query=b"", address="192.0.2.1"
):
    named = [] if host is None else [(b"host", host)]
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query,
        "headers": [*named, *headers], "client": (address, 1), "scheme": "https", "state": {},
    }  # fmt: skip
    parts = list(body)
    sent = []

    async def receive():
        if not parts:
            await asyncio.sleep(3600)
        part = parts.pop(0)
        if part is None:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    await door(scope, receive, send)
    head = next(m for m in sent if m["type"] == "http.response.start")
    answer = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
    return head["status"], {k.decode(): v.decode() for k, v in head["headers"]}, answer


async def code(door, **how):
    status, _, body = await ask(door, **how)
    return status, json.loads(body)["code"]


async def test_every_answer_carries_the_same_protection(clock):
    for how in ({}, {"path": "/nothing"}, {"host": b"evil.example"}):
        _, headers, _ = await ask(gate(clock), **how)
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["strict-transport-security"].endswith("preload")
        assert headers["x-request-id"]
    _, headers, _ = await ask(gate(clock, secure=False))
    assert "strict-transport-security" not in headers


@pytest.mark.parametrize(
    "host", [b"evil.example", b"dauso.example.evil.example", b"", None, b"dauso.example@evil", b"[::1]"]
)
async def test_only_its_own_names_are_answered(clock, host):
    assert await code(gate(clock), host=host) == (421, "web.wrong_host")


async def test_a_port_beside_the_name_does_not_matter_and_two_names_do(clock):
    assert (await ask(gate(clock), host=b"Dauso.Example:8000"))[0] == 200
    assert await code(gate(clock), headers=[(b"host", b"evil.example")]) == (421, "web.wrong_host")


async def test_what_is_too_big_is_not_taken(clock):
    door = gate(clock)
    most = LIMITS["web.body_bytes"]
    assert await code(door, method="POST", headers=[(b"content-length", str(most + 1).encode())]) == (
        413,
        "web.too_large",
    )
    assert await code(door, method="POST", body=[b"x" * most, b"y"]) == (413, "web.too_large")
    assert (await ask(door, query=b"q" * 5000))[0] == 414
    assert await code(door, headers=[(b"x-a", b"y" * 20_000)]) == (431, "web.headers_too_large")
    assert await code(door, headers=[(b"x-a", b"y")] * 100) == (431, "web.headers_too_large")


async def test_files_may_be_larger_where_files_are_taken(clock):
    big = [b"x" * LIMITS["web.body_bytes"], b"y"]
    status, headers, _ = await ask(gate(clock), method="POST", path="/v/file", body=big)
    assert (status, headers["x-size"]) == (200, str(LIMITS["web.body_bytes"] + 1))


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"1"), (b"content-length", b"2")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"+1")],
        [(b"content-length", b"1, 1")],
        [(b"content-length", b"-1")],
    ],
)
async def test_a_body_with_two_lengths_is_not_read(clock, headers):
    assert await code(gate(clock), method="POST", headers=headers) == (400, "web.unreadable")


async def test_a_body_that_never_ends_is_given_up(clock, monkeypatch):
    monkeypatch.setitem(LIMITS, "web.body_seconds", 0)
    assert await code(gate(clock), method="POST", body=[b"x", None]) == (408, "web.too_slow")


async def test_one_address_does_not_slow_another(clock, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.check_minute", 3)
    door = gate(clock)
    seen = [(await ask(door, method="POST", path="/v/status"))[0] for _ in range(6)]
    assert seen[:3] == [200, 200, 200]
    assert seen[-1] == 429
    status, headers, _ = await ask(door, method="POST", path="/v/status")
    assert (status, headers["retry-after"] != "0") == (429, True)
    assert (await ask(door, method="POST", path="/v/status", address="192.0.2.2"))[0] == 200
    assert (await ask(door))[0] == 200  # pages have a limit of their own


async def test_neighbours_in_one_ipv6_network_share_a_limit(clock, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.check_minute", 1)
    door = gate(clock)
    seen = [(await ask(door, method="POST", path="/v/code", address=f"2001:db8::{n}"))[0] for n in range(1, 4)]
    assert seen[-1] == 429
    assert (await ask(door, method="POST", path="/v/code", address="2001:db8:0:1::1"))[0] == 200


async def test_all_addresses_together_have_a_limit(clock, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.check_total_minute", 2)
    door = gate(clock)
    seen = [(await ask(door, method="POST", path="/v/code", address=f"192.0.2.{n}"))[0] for n in range(5)]
    assert seen[-1] == 429


async def test_whom_we_know_gets_in_where_strangers_have_filled_the_total(clock, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.sign_total_minute", 2)
    monkeypatch.setitem(LIMITS, "rate.known_minute", 3)
    looks = []

    async def known(scope):
        looks.append(scope["path"])
        return scope["path"][3:] if scope["path"].startswith("/s/ours") else None

    door = gate(clock, known=known)

    async def post(path, n):
        return (await ask(door, method="POST", path=path, address=f"192.0.2.{n}"))[0]

    assert [await post("/s/guess", n) for n in range(4)] == [200, 200, 429, 429]
    assert looks == ["/s/guess"] * 2  # nobody is looked up while there is room
    assert [await post("/s/ours-1", n) for n in range(4)] == [200, 200, 200, 429]  # no more than a share
    assert await post("/s/ours-2", 9) == 200
    assert await post("/s/guess", 9) == 429


async def test_what_nobody_foresaw_says_nothing_about_itself(clock, capsys):
    status, headers, body = await ask(gate(clock, broken))
    assert status == 500
    assert json.loads(body)["code"] == "web.failed"
    assert headers["x-request-id"] in json.loads(body)["instance"]
    assert "Bí Mật" not in body.decode() + capsys.readouterr().err


async def test_neither_codes_nor_paths_are_written_down(clock):
    with structlog.testing.capture_logs() as lines:
        await ask(
            gate(clock), path="/v/MS41-C45C-W3FM-GRB9", query=b"code=MS41", headers=[(b"x-request-id", b"abcdefgh")]
        )
    assert lines
    assert "MS41" not in str(lines)
    assert lines[-1]["id"] == "abcdefgh"


async def test_a_request_id_from_outside_is_kept_only_if_it_is_one(clock):
    _, headers, _ = await ask(gate(clock), headers=[(b"x-request-id", b"evil\r\nset-cookie: a")])
    assert "evil" not in headers["x-request-id"]


async def test_pace_names_the_seconds_to_wait(clock, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.client_minute", 1)
    pace = Pace(clock)
    pace.client("a")
    with pytest.raises(Refused) as caught:
        pace.client("a")
    assert 1 <= caught.value.evidence["retry_after"] <= 60


async def test_a_person_in_a_browser_is_refused_in_plain_words(clock, monkeypatch):
    monkeypatch.setitem(LIMITS, "rate.check_minute", 0)
    how = {"method": "POST", "path": "/v/code", "headers": [(b"accept", b"text/html,*/*")]}
    status, headers, body = await ask(gate(clock), **how)
    assert (status, headers["content-type"]) == (429, "text/plain; charset=utf-8")
    assert "Quá nhiều yêu cầu" in body.decode()
    assert headers["retry-after"]
