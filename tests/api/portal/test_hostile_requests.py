"""What no library would send, over a plain socket: nothing falls over, nothing is reflected, nothing of others is told."""

import asyncio
import itertools
import json
import re
import socket
from urllib.parse import quote_from_bytes

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.flows import house, town

SECRET = "bimat-cua-nguoi-khac"
PAYLOADS = [
    b"\r\nX-Injected: 1", b"\nX-Injected: 1", b"\r\n\r\nHTTP/1.1 200 OK\r\n", b"%0d%0aX-Injected:%201", b"\0", b"a\0b", b"%00",
    b"../../../../etc/passwd", b"..%2f..%2fetc%2fpasswd", b"' OR '1'='1' --", b'"; DROP TABLE client; --', b"%", b"_%",
    "\u202e\u2066fdp.exe".encode(), "\ufeff\u200b".encode(), b"\xed\xa0\x80", b"\xff\xfe", b"A" * 3000, b"9" * 400, b"-1",
    b"1e999", b"NaN", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"{{7*7}}", b"${jndi:ldap://x}", b"*",
    b"[]", b"null", b"", b" ", b"H1\tH2", "ｈ１".encode(), b"http://169.254.169.254/", b"\x1b[2J", b"a,b;c=d",
]  # fmt: skip


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """(port, headers of our client, ids of the other client's things, the document)."""
    home = asyncio.run(town.build(tmp_path_factory.mktemp("hostile")))
    _, ours = asyncio.run(house.add_client(home, "H1"))
    _, theirs = asyncio.run(house.add_client(home, "H1"))
    with house.processes(home.home) as (url, _):
        other = {"authorization": f"Bearer {theirs}"}
        hook = httpx2.post(f"{url}/api/v1/webhooks", json={"url": f"https://{SECRET}.example/"}, headers=other).json()
        file = httpx2.post(f"{url}/api/v1/files", content=town.scan(SECRET), headers=other).json()
        batch = {"agency": "H1", "regime": "so_hoa", "items": [{"kind": "Sổ", "files": [file["file"]]}]}
        made = httpx2.post(f"{url}/api/v1/batches", json=batch, headers=other).json()
        assert "id" in made, made
        secrets = [hook["id"].encode(), made["id"].encode(), file["file"].encode()]
        document = httpx2.get(f"{url}/openapi.json").json()
        yield int(url.rpartition(":")[2]), [(b"Authorization", f"Bearer {ours}".encode())], secrets, document


def ask(port, raw):
    """Everything that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.settimeout(20)
        try:
            line.sendall(raw)
            return b"".join(iter(lambda: line.recv(65_536), b""))
        except ConnectionError:
            return b""


def written(method, target, headers, body=b""):
    head = [(b"Host", b"localhost"), (b"Connection", b"close"), *headers]
    if body:
        head.append((b"Content-Length", str(len(body)).encode()))
    return b"%s %s HTTP/1.1\r\n" % (method, target) + b"".join(b"%s: %s\r\n" % each for each in head) + b"\r\n" + body


def require_harmless(answer):
    assert answer == b"" or re.match(rb"HTTP/1\.1 [1234]\d\d ", answer), answer[:300]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-injected" not in head.lower(), head
    assert b"HTTP/1.1" not in body, answer[:2000]
    assert SECRET.encode() not in answer, answer[:2000]
    for sign in (b"Traceback", b"sqlite", b"psycopg", b"site-packages", b"root:x:"):
        assert sign not in answer, answer[:2000]


def places(document):
    """(method, path, where, name) of everything that a caller may fill in."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for parameter in operation["parameters"]:
                yield method.upper(), path, parameter["in"], parameter["name"]
            for kind in operation.get("requestBody", {}).get("content", {}):
                yield method.upper(), path, "body", kind
            for name in ("Authorization", "Content-Type", "X-Request-Id", "X-Forwarded-Host", "Cookie", "Range"):
                yield method.upper(), path, "header", name


def members(document, path, method):
    """Names of the members of a JSON body."""
    content = document["paths"][path][method.lower()]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    return list(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"])


def filled(document, place, payload, headers):
    """A request with ``payload`` in one place, and something harmless in the others."""
    method, path, where, name = place
    bad = quote_from_bytes(payload, safe="").encode()
    target = re.sub(r"{(\w+)}", lambda m: bad.decode() if (where, m[1]) == ("path", name) else "0" * 26, path).encode()
    if where == "query":
        target += b"?" + name.encode() + b"=" + bad
    body = b""
    if where == "body":
        headers = [*headers, (b"Content-Type", name.encode())]
        body = payload
        if name == "application/json":
            text = payload.decode("utf-8", "surrogateescape")
            body = json.dumps(dict.fromkeys(members(document, path, method), text)).encode()
    if where == "header":
        name = name.encode()
        headers = [each for each in headers if each[0] != name] + [(name, payload)]
    return written(method.encode(), target, headers, body)


@settings(
    max_examples=300, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_no_place_takes_what_it_should_not(door, data):
    port, headers, secrets, document = door
    place = data.draw(st.sampled_from(list(places(document))))
    payload = data.draw(st.sampled_from([*PAYLOADS, *secrets]) | st.binary(max_size=60) | st.text(max_size=60).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    ))  # fmt: skip
    require_harmless(ask(port, filled(document, place, payload, headers)))


def test_the_known_bad_values_are_refused_in_every_parameter(door):
    port, headers, secrets, document = door
    chosen = [each for each in places(document) if each[2] in {"path", "query"}]
    for place, payload in itertools.product(chosen, [*PAYLOADS[4:6], *PAYLOADS[9:11], *PAYLOADS[20:23], *secrets]):
        require_harmless(ask(port, filled(document, place, payload, headers)))


INNER = b"GET /api/v1/webhooks HTTP/1.1\r\nHost: localhost\r\nX-Smuggled: 1\r\n\r\n"
SMUGGLED = {
    "two lengths that differ": b"POST /v/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n%s" % (len(INNER), INNER),
    "two lengths that agree": b"POST /v/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a length and chunks": b"POST /v/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunks and a length": b"POST /v/status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + INNER,
    "an unknown coding": b"POST /v/status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + INNER,
    "a coding twice": b"POST /v/status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + INNER,
    "a length with a sign": b"POST /v/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}",
    "a negative length": b"POST /v/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: -2\r\n\r\n{}",
    "a list of lengths": b"POST /v/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2, 2\r\n\r\n{}",
    "a space before the colon": b"POST /v/status HTTP/1.1\r\nHost: localhost\r\nContent-Length : 2\r\n\r\n{}",
    "a folded header": b"GET /v HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n X-Injected: 1\r\n\r\n",
    "line feeds alone": b"GET /v HTTP/1.1\nHost: localhost\nX-Injected: 1\n\n",
    "a NUL in a header": b"GET /v HTTP/1.1\r\nHost: localhost\r\nX-A: a\0b\r\n\r\n",
    "another host": b"GET /v HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "two hosts": b"GET /v HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "no host": b"GET /v HTTP/1.1\r\n\r\n",
    "an absolute target": b"GET http://evil.example/v/code HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an absolute target and another host": b"GET http://localhost/v HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a target with an authority": b"GET //evil.example/%2e%2e/v HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a forwarded host": b"GET /v/code HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n\r\n",
    "a path that climbs": b"GET /api/v1/../../metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a line end in the target": b"GET /v%0d%0aX-Injected:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a request id with a line end": b"GET /v HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: abcdefgh%0d%0aX-Injected: 1\r\n\r\n",
    "the oldest protocol": b"GET /v\r\n",
    "an unknown method": b"BREW /v HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an upgrade": b"GET /v HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "a hundred headers": b"GET /v HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(100)) + b"\r\n",
    "a header of a megabyte": b"GET /v HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "an endless target": b"GET /v?" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("raw", SMUGGLED.values(), ids=SMUGGLED)
def test_a_request_that_can_be_read_in_two_ways_is_read_in_none(door, raw):
    # closed after our last byte, so that a second answer on the same line would be seen
    with socket.create_connection(("127.0.0.1", door[0]), timeout=5) as line:
        answer = b""
        try:
            line.sendall(raw)
            line.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: line.recv(65_536), b""))
        except (ConnectionError, TimeoutError):
            pass
    require_harmless(answer)
    assert b"evil.example" not in answer.partition(b"\r\n\r\n")[0]
    assert answer.count(b"HTTP/1.1 ") <= 1, answer
