"""What may leave the house, and what may come back."""

import asyncio
import gzip
import time

import pytest

from core.errors import BadInput, Refused, Unavailable
from core.limits import LIMITS
from core.outbound import Outbound, is_public, is_secure, named
from tests.servers import http


@pytest.fixture
async def outbound():
    client = Outbound()
    yield client
    await client.close()


async def inner(port):
    return Outbound(private=frozenset({f"127.0.0.1:{port}"}))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.5.5", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
     "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1", "192.0.2.1"],
)  # fmt: skip
def test_an_address_behind_a_wall_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_address_of_the_open_network_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a.vn/", "file:///etc/passwd", "http://", "http://user:pw@a.vn/", "gopher://a.vn", "javascript:1",
     "http://a.vn/" + "x" * 2000, "http://[::1", "//a.vn/x"],
)  # fmt: skip
async def test_what_is_no_plain_http_url_is_bad_input(outbound, url):
    with pytest.raises(BadInput) as caught:
        await outbound.fetch(url)
    assert caught.value.code == "outbound.bad_url"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "017700000001"])
async def test_our_own_machine_is_refused_however_it_is_spelled(outbound, host):
    with http(lambda *_: (200, {}, b"secret")) as port, pytest.raises((Refused, Unavailable)) as caught:
        await outbound.fetch(f"http://{host}:{port}/")
    assert caught.value.code in {"outbound.private_address", "outbound.unreachable"}


async def test_a_name_with_one_private_address_among_public_ones_is_refused(outbound, monkeypatch):
    async def both(*_args, **_more):
        return [(2, 1, 6, "", ("8.8.8.8", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    with pytest.raises(Refused) as caught:
        await outbound.fetch("http://rebind.example/")
    assert caught.value.code == "outbound.private_address"


async def test_the_connection_goes_to_the_address_that_was_looked_at(monkeypatch):
    """The name answers once; a client that asked again would get an address nobody checked."""
    with http(lambda *_: (200, {}, b"here")) as port:
        client, asked = Outbound(private=frozenset({f"pinned.example:{port}"})), []

        async def once(host, *_args, **_more):
            asked.append(host)
            return [(2, 1, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", once)
        answer = await client.fetch(f"http://pinned.example:{port}/")
        await client.close()
    assert answer.body == b"here"
    assert [host for host in asked if host == "pinned.example"] == ["pinned.example"]


async def test_a_named_inner_service_may_be_reached_and_gets_the_body():
    with http(
        lambda method, body: (200, {"content-type": "text/plain; charset=utf-8"}, method.encode() + body)
    ) as port:
        client = await inner(port)
        answer = await client.fetch(f"http://127.0.0.1:{port}/", body=b" hi")
        await client.close()
    assert (answer.status, answer.content_type, answer.body) == (200, "text/plain", b"POST hi")


async def test_a_redirect_is_handed_back_and_not_followed():
    calls = []

    def answer(method, body):
        calls.append(method)
        return 302, {"location": "http://169.254.169.254/"}, b""

    with http(answer) as port:
        client = await inner(port)
        assert (await client.fetch(f"http://127.0.0.1:{port}/")).status == 302
        await client.close()
    assert calls == ["GET"]


@pytest.mark.parametrize("said", [True, False])
async def test_a_body_over_the_cap_is_refused_whatever_its_length_field_says(said):
    headers = {} if said else {"content-length": "100000"}
    with http(lambda *_: (200, headers, b"x" * 100_000)) as port:
        client = await inner(port)
        with pytest.raises(Refused) as caught:
            await client.fetch(f"http://127.0.0.1:{port}/", most=99_999)
        assert caught.value.code == "outbound.too_large"
        await client.close()


async def test_a_compressed_body_is_refused():
    with http(lambda *_: (200, {"content-encoding": "gzip"}, gzip.compress(bytes(10**6)))) as port:
        client = await inner(port)
        with pytest.raises(Refused) as caught:
            await client.fetch(f"http://127.0.0.1:{port}/")
        assert caught.value.code == "outbound.encoded"
        await client.close()


async def test_a_server_that_drags_on_is_left(monkeypatch):
    monkeypatch.setitem(LIMITS, "outbound.total_seconds", 1)

    def slow(*_):
        time.sleep(2)
        return 200, {}, b"late"

    with http(slow) as port:
        client = await inner(port)
        start = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            await client.fetch(f"http://127.0.0.1:{port}/")
        assert caught.value.code == "outbound.too_slow"
        assert time.monotonic() - start < 1.8
        await client.close()


async def test_nobody_at_home_is_unreachable():
    client = await inner(1)
    with pytest.raises(Unavailable) as caught:
        await client.fetch("http://127.0.0.1:1/")
    assert caught.value.code == "outbound.unreachable"
    await client.close()


async def test_told_is_the_status_and_whatever_the_body_it_stays_unread():
    seen = []

    def answer(method, body):
        seen.append((method, body))
        return 429, {"content-encoding": "gzip", "retry-after": "17", "content-length": "100000000"}, b"x"

    with http(answer) as port:
        client = await inner(port)
        told = await client.tell(
            f"http://127.0.0.1:{port}/", b"{}", {"webhook-id": "1", "content-type": "application/json"}, seconds=5
        )
        await client.close()
    assert (told.status, told.body, told.retry_after) == (429, b"", "17")
    assert seen == [("POST", b"{}")]


async def test_who_is_told_gets_the_headers_but_never_ours_changed():
    requests = []
    with http(lambda *_: (200, {}, b""), requests) as port:
        client = await inner(port)
        await client.tell(f"http://127.0.0.1:{port}/", b"{}", {"webhook-id": "1", "host": "other"}, seconds=5)
        await client.close()
    assert requests[0]["webhook-id"] == "1"
    assert requests[0]["host"] == f"127.0.0.1:{port}"


async def test_who_is_told_and_drags_on_is_left_after_the_time_given():
    def slow(*_):
        time.sleep(2)
        return 200, {}, b""

    with http(slow) as port:
        client = await inner(port)
        with pytest.raises(Unavailable) as caught:
            await client.tell(f"http://127.0.0.1:{port}/", b"{}", {}, seconds=1)
        assert caught.value.code == "outbound.too_slow"
        await client.close()


async def test_telling_reaches_no_private_address_either(outbound):
    with pytest.raises(Refused) as caught:
        await outbound.tell("http://127.0.0.1:9/", b"{}", {}, seconds=5)
    assert caught.value.code == "outbound.private_address"


def test_plain_http_is_for_services_that_an_operator_named():
    private = named(" portal.local:80, 127.0.0.1:8443 ,")
    assert private == {"portal.local:80", "127.0.0.1:8443"}
    assert is_secure("https://anybody.vn/hook", private)
    assert is_secure("http://portal.local/hook", private)
    assert not is_secure("http://portal.local:81/hook", private)
    assert not is_secure("http://anybody.vn/hook", private)
    with pytest.raises(BadInput):
        is_secure("ftp://portal.local/", private)


def test_names_that_share_an_address_share_no_connection():
    outbound = Outbound()
    one, two = outbound._client_for("a.example:443"), outbound._client_for("b.example:443")
    assert one[0] is not two[0]
    assert outbound._client_for("a.example:443")[0] is one[0]
    for number in range(20):
        outbound._client_for(f"{number}.example:443")
    _, headers = outbound._client_for("late.example:443")
    assert headers == {"connection": "close"}  # beyond a few names nothing is kept
