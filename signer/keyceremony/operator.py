"""An operator's own session with OpenBao or Vault, for the minutes of a ceremony.

The service's session (``core.vault``) logs in as an identity that may do little. Preparing a store needs more: the token of
a person, given for this once. It is held in memory, shown nowhere, and given back at the end where that was asked for.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, Self

import requests
from hvac.adapters import RawAdapter

from core.errors import BadInput, Broken, NotFound, Refused, ServiceError, Unavailable
from core.vault import Capabilities, VaultConfig
from core.vault.capabilities import capabilities_of

__all__ = ["Operator", "Wrapped"]

_SECONDS: Final = 15


@dataclass(frozen=True, slots=True)
class Wrapped:
    """An answer that only whoever unwraps it sees."""

    token: str = field(repr=False)
    creation_path: str
    seconds: int


class Operator:
    """Calls one after the other, none repeated."""

    def __init__(self, config: VaultConfig, token: str) -> None:
        """``config``: address, namespace and roots; its login is not used."""
        self._host = config.host
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc: the token goes to this address alone
        self._adapter = RawAdapter(
            base_uri=config.url, token=token, verify=str(config.ca_file) if config.ca_file else True, timeout=_SECONDS,
            session=self._session, namespace=config.namespace or None, allow_redirects=False,
        )  # fmt: skip

    def __repr__(self) -> str:
        return "Operator()"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Connections end and the token is forgotten."""
        self._adapter.token = None
        self._session.close()

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer's ``data``. Raises ``vault.*``."""
        found = (await self._ask(method, path, body)).get("data")
        return found if isinstance(found, dict) else {}

    async def wrapped(self, method: str, path: str, body: dict[str, Any], seconds: int) -> Wrapped:
        """The answer, wrapped by the server. Raises ``vault.*``, ``keys.not_wrapped``."""
        info = (await self._ask(method, path, body, wrap=seconds)).get("wrap_info") or {}
        if not info.get("token") or info.get("creation_path") != path:
            raise Broken("keys.not_wrapped")
        return Wrapped(str(info["token"]), str(info["creation_path"]), int(info.get("ttl", seconds)))

    async def exists(self, path: str) -> dict[str, Any] | None:
        """``call("GET", …)``, None where there is nothing."""
        try:
            return await self.call("GET", path)
        except NotFound:
            return None

    async def product(self) -> Capabilities:
        """Who answers, and in what version. Raises ``vault.sealed``, ``keys.store_not_set_up``, ``vault.unreachable``."""
        answer = await asyncio.to_thread(self._send, "GET", "sys/health?standbyok=true&perfstandbyok=true", None, 0)
        if answer.status_code == 501:
            raise Refused("keys.store_not_set_up")
        if answer.status_code != 200:
            raise _error(answer.status_code, self._host)
        return capabilities_of(_read(answer))

    async def revoke(self) -> None:
        """The operator's token ends."""
        await self.call("POST", "auth/token/revoke-self", {})

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None, wrap: int = 0) -> dict[str, Any]:
        answer = await asyncio.to_thread(self._send, method, path, body, wrap)
        if answer.status_code >= 300:
            raise _error(answer.status_code, self._host)
        return _read(answer)

    def _send(self, method: str, path: str, body: dict[str, Any] | None, wrap: int) -> requests.Response:
        try:
            sent: requests.Response = self._adapter.request(
                method, f"/v1/{path}", raise_exception=False, json=body, wrap_ttl=wrap or None
            )
        except requests.RequestException:
            # its text holds the address, and what was sent may stand in it
            raise Unavailable("vault.unreachable", host=self._host) from None
        return sent


def _read(answer: requests.Response) -> dict[str, Any]:
    if not answer.content:
        return {}
    try:
        value = answer.json()
    except ValueError:
        raise Unavailable("vault.bad_answer", host="") from None
    return value if isinstance(value, dict) else {}


def _error(status: int, host: str) -> ServiceError:
    """Without the server's words: they may repeat what was sent."""
    match status:
        case 403:
            return Refused("vault.denied", host=host)
        case 404:
            return NotFound("vault.missing")
        case 503:
            return Unavailable("vault.sealed", host=host)
    if 400 <= status < 500 and status != 429:
        return BadInput("vault.bad_request", status=status)
    return Unavailable("vault.busy", host=host)
