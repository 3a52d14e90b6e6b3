"""The only way out: HTTP with caps on size and time, no private address, and the name resolved once.

A URL may come from a certificate, a setting or a portal; it must never reach a service behind our own walls. So the name
is resolved here, *every* address it has must be public, and the connection goes to the very address that was looked at
(a second look-up could answer otherwise). Redirects are handed back, never followed. Bodies are taken as sent: a
compressed one is refused, since its size is unknown before it is opened. ``tell`` does not read the answer's body at all.

An operator may name inner services that are meant, ``host:port`` each (``DAUSO_OUTBOUND_PRIVATE``).
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx2

from core.errors import BadInput, Refused, Unavailable
from core.limits import LIMITS

__all__ = ["Answer", "Outbound", "is_public", "is_secure", "named"]

_PORTS: Final = {"http": 80, "https": 443}
_MOST_KEPT = 8
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response whose body is whole and within its cap."""

    status: int
    content_type: str
    body: bytes
    retry_after: str = ""
    """The header's text (RFC 9110 §10.2.3): seconds or a date."""


def is_public(address: str) -> bool:
    """Whether an address is globally reachable; one that carries another inside counts as that other."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def named(services: str) -> frozenset[str]:
    """What an operator wrote: ``host:port`` each, separated by commas."""
    return frozenset(name.strip() for name in services.split(",") if name.strip())


def is_secure(url: str, private: frozenset[str]) -> bool:
    """https, or an inner service that is meant. Raises ``outbound.bad_url``."""
    parsed = _parse(url)
    return parsed.scheme == "https" or _place(parsed) in private


class Outbound:
    """One client for a process."""

    def __init__(self, *, private: frozenset[str] = frozenset(), tls: ssl.SSLContext | None = None) -> None:
        """``private``: ``host:port`` of inner services that may be reached; ``tls``: trust for https, the system's if None."""
        self._private = private
        self._tls = tls or ssl.create_default_context()
        self._once = self._made()
        self._kept: dict[str, httpx2.AsyncClient] = {}
        """By name: a pool knows addresses, names share them, and a kept connection was verified for one name only."""

    def _made(self) -> httpx2.AsyncClient:
        transport = httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False, retries=0)
        return httpx2.AsyncClient(transport=transport, follow_redirects=False, trust_env=False)

    def _client_for(self, place: str) -> tuple[httpx2.AsyncClient, dict[str, str]]:
        """A client whose connections lead to this name; beyond a few names, one that keeps none."""
        if place not in self._kept and len(self._kept) < _MOST_KEPT:
            self._kept[place] = self._made()
        if place in self._kept:
            return self._kept[place], {}
        return self._once, {"connection": "close"}

    async def fetch(
        self, url: str, *, body: bytes | None = None, content_type: str = "", most: int = LIMITS["outbound.bytes"]
    ) -> Answer:
        """GET, or POST when there is a ``body``; at most ``most`` bytes back.

        Raises ``outbound.bad_url``, ``outbound.private_address``, ``outbound.unreachable``, ``outbound.too_slow``,
        ``outbound.too_large``, ``outbound.encoded``.
        """
        kind = {"content-type": content_type} if content_type else {}
        client, close = self._client_for(_place(_parse(url)))
        return await self._exchange(client, url, body, {**kind, **close}, most, LIMITS["outbound.total_seconds"])

    async def tell(self, url: str, body: bytes, headers: Mapping[str, str], *, seconds: int) -> Answer:
        """POST, where only the status counts: the answer's body stays unread. Raises as ``fetch``, without the last two."""
        return await self._exchange(self._once, url, body, {**headers, "connection": "close"}, None, seconds)

    async def _exchange(
        self, client: httpx2.AsyncClient, url: str, body: bytes | None, headers: Mapping[str, str], most: int | None,
        seconds: int,
    ) -> Answer:  # fmt: skip
        parsed = _parse(url)
        try:
            async with asyncio.timeout(seconds):
                address = await self._resolve(parsed)
                caps = httpx2.Timeout(seconds, connect=LIMITS["outbound.connect_seconds"])
                return await _send(client, parsed, address, body, headers, most, caps)
        except TimeoutError as error:
            raise Unavailable("outbound.too_slow", host=parsed.host) from error
        except (httpx2.TimeoutException, httpx2.TransportError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise Unavailable("outbound.unreachable", host=parsed.host) from error

    async def _resolve(self, url: httpx2.URL) -> str:
        port = url.port or _PORTS[url.scheme]
        found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = [str(item[4][0]) for item in found]
        if _place(url) not in self._private and not all(is_public(a) for a in addresses):
            raise Refused("outbound.private_address", host=url.host)
        return addresses[0]

    async def close(self) -> None:
        """Close idle connections."""
        for client in (self._once, *self._kept.values()):
            await client.aclose()


async def _send(
    client: httpx2.AsyncClient, url: httpx2.URL, address: str, body: bytes | None, headers: Mapping[str, str], most: int | None,
    caps: httpx2.Timeout,
) -> Answer:  # fmt: skip
    host = url.netloc.decode("ascii")
    own = {"host": host, "accept-encoding": "identity", "user-agent": "dauso"}
    request = client.build_request(
        "GET" if body is None else "POST", url.copy_with(host=address), content=body, headers={**headers, **own},
        timeout=caps, extensions={"sni_hostname": url.host},
    )  # fmt: skip
    response = await client.send(request, stream=True)
    try:
        read = b"" if most is None else await _read(response, url.host, most)
    finally:
        await response.aclose()
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Answer(
        status=response.status_code,
        content_type=kind,
        body=read,
        retry_after=response.headers.get("retry-after", ""),
    )


async def _read(response: httpx2.Response, host: str, most: int) -> bytes:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused("outbound.encoded", host=host)
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > most:
            raise Refused("outbound.too_large", host=host, most=most)
        parts.append(part)
    return b"".join(parts)


def _place(url: httpx2.URL) -> str:
    return f"{url.host}:{url.port or _PORTS[url.scheme]}"


def _parse(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        raise BadInput("outbound.bad_url") from error
    if parsed.scheme not in _PORTS or not parsed.host or parsed.userinfo or len(url) > 2_000:
        raise BadInput("outbound.bad_url")
    return parsed
