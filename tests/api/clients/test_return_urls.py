"""Where a signer may be sent back to: the exact origin and path that the operator registered, and nothing like it."""

import pytest

from api.clients.model import Scope, require_return_prefix, require_return_url
from api.clients.store import Clients
from core.errors import BadInput, Refused

PORTAL = "https://portal.example.gov.vn/ve/"


@pytest.mark.parametrize(
    "url",
    [
        "https://portal.example.gov.vn/ve/",
        "https://portal.example.gov.vn/ve/ho-so/12",
        "https://portal.example.gov.vn/ve/ho-so?id=12&next=https://evil.example/",
    ],
)
def test_what_lies_below_a_registered_address_is_let_through_as_it_is(url):
    assert require_return_url(url, [PORTAL]) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://portal.example.gov.vn/ve/",
        "https://portal.example.gov.vn/ve",
        "https://portal.example.gov.vn/vechai/",
        "https://portal.example.gov.vn/",
        "https://portal.example.gov.vn.evil.example/ve/",
        "https://portal.example.gov.vn@evil.example/ve/",
        "https://evil.example/https://portal.example.gov.vn/ve/",
        "https://evil.example\\@portal.example.gov.vn/ve/",
        "https://portal.example.gov.vn:443/ve/",
        "https://portal.example.gov.vn:/ve/",
        "https://portal.example.gov.vn:8443/ve/",
        "https://user@portal.example.gov.vn/ve/",
        "https://@portal.example.gov.vn/ve/",
        "https://PORTAL.example.gov.vn/ve/",
        "https://portal.example.gov.vn./ve/",
        "https://portal%2eexample.gov.vn/ve/",
        "https://portal.example.gov.vn/ve/../../tam",
        "https://portal.example.gov.vn/ve/%2e%2e/tam",
        "https://portal.example.gov.vn/ve/..%2ftam",
        "https://portal.example.gov.vn/ve/.%5ctam",
        "https://portal.example.gov.vn/ve//evil.example",
        "https://portal.example.gov.vn/ve/#x",
        "https://portal.example.gov.vn/ve/#",
        "https://portal.example.gov.vn/ve/ x",
        "https://portal.example.gov.vn/ve/\nx",
        "https://portal.example.gov.vn/ve/ổn",
        "https://[::1/ve/",
        "//portal.example.gov.vn/ve/",
        "/ve/",
        "javascript:alert(1)",
        "data:text/html,x",
        "",
        "https://portal.example.gov.vn/ve/" + "x" * 1_000,
    ],
)
def test_whatever_only_looks_like_it_is_refused(url):
    with pytest.raises(Refused, match=r"request\.return_url"):
        require_return_url(url, [PORTAL])


def test_an_origin_alone_opens_all_its_paths_and_a_path_without_a_slash_itself_and_below():
    assert require_return_prefix("https://portal.example.gov.vn") == "https://portal.example.gov.vn/"
    assert require_return_url("https://portal.example.gov.vn", ["https://portal.example.gov.vn/"])
    assert require_return_url("https://portal.example.gov.vn/x", ["https://portal.example.gov.vn/"])
    for url in ("https://portal.example.gov.vn/ve", "https://portal.example.gov.vn/ve/x"):
        assert require_return_url(url, ["https://portal.example.gov.vn/ve"])
    with pytest.raises(Refused):
        require_return_url("https://portal.example.gov.vn/vechai", ["https://portal.example.gov.vn/ve"])


def test_a_client_without_registered_addresses_sends_nobody_anywhere():
    with pytest.raises(Refused, match=r"request\.return_url"):
        require_return_url(PORTAL, [])


@pytest.mark.parametrize(
    "prefix", ["http://portal.example/", "https://a@portal.example/", "https://portal.example/?x", "x"]
)
async def test_only_plain_https_addresses_are_registered(db, clock, prefix):
    with pytest.raises(BadInput, match=r"client\.bad_return_url"):
        await Clients(db, clock, "").add("Cổng", ["a1"], [Scope.SIGNATURES_WRITE], [prefix])


async def test_addresses_are_kept_with_the_client_and_replaced_as_a_whole(db, clock):
    clients = Clients(db, clock, "")
    made = await clients.add("Cổng", ["a1"], [Scope.SIGNATURES_WRITE], [PORTAL])
    (kept,) = await clients.all()
    assert kept.return_urls == made.return_urls == (PORTAL,)
    await clients.set_return_urls(made.id, ["https://other.example"])
    async with db.read() as uow:
        assert (await clients.living(uow, made.id)).return_urls == ("https://other.example/",)
