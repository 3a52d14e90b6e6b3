"""Clients and what they may do."""

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, urlsplit

from core.errors import BadInput, NotFound, Refused

__all__ = ["Caller", "Client", "Scope", "require_return_prefix", "require_return_url"]


class Scope(StrEnum):
    """One thing a client may do; each route names one."""

    COPIES_READ = "copies:read"
    COPIES_WRITE = "copies:write"
    COPIES_RECALL = "copies:recall"
    """Taking released copies back; never part of another scope."""
    REGISTER_READ = "register:read"
    DIRECTORY_READ = "directory:read"
    STATISTICS_READ = "statistics:read"
    VERIFY = "verify"
    WEBHOOKS_WRITE = "webhooks:write"
    EVENTS_READ = "events:read"
    SIGNATURES_READ = "signatures:read"
    SIGNATURES_WRITE = "signatures:write"
    SIGNATURES_DIGESTS = "signatures:digests"
    """Having bare digests signed, whose content nobody here can show; given beside ``signatures:write``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A portal's backend."""

    id: str
    name: str
    agencies: frozenset[str]
    """Ids of agencies."""
    scopes: frozenset[Scope]
    created_at: dt.datetime
    ended_at: dt.datetime | None = None
    return_urls: tuple[str, ...] = ()
    """Where a signer may be sent back to: https addresses, each with all that is below its path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A client as it stands in one request: never more than the client, less where its token says so."""

    client_id: str
    agencies: frozenset[str]
    scopes: frozenset[Scope]

    def require_agency(self, agency_id: str) -> None:
        """A thing of another agency does not exist for this client. Raises ``web.no_such_thing``."""
        if agency_id not in self.agencies:
            raise NotFound("web.no_such_thing")


# ------------------------------------------------------------------------------------------------------ return URLs
_WRITTEN: Final = re.compile(r"[!-\[\]^-~]{1,1000}")
"""Printable ASCII without space and backslash: what one reader takes for a path another takes for a host."""


def require_return_prefix(text: str) -> str:
    """An address that may be registered for returns; as it is kept. Raises ``client.bad_return_url``."""
    parts = _address(text)
    if parts is None or parts.query:
        raise BadInput("client.bad_return_url")
    return text if parts.path else f"{text}/"


def require_return_url(text: str, prefixes: Iterable[str]) -> str:
    """``text`` where a signer may be sent afterwards: the exact origin of a registered address, at or below its path.

    Raises ``request.return_url``. Other origins, user names in the address, fragments and steps upwards never pass, so
    the signing page sends nobody to a place that the operator has not named.
    """
    parts = _address(text)
    if parts is not None and any(_below(parts, urlsplit(prefix)) for prefix in prefixes):
        return text
    raise Refused("request.return_url")


def _address(text: str) -> SplitResult | None:
    """An https address that every reader reads alike, or None."""
    if not _WRITTEN.fullmatch(text) or not text.startswith("https://"):
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    plain = host if port is None else f"{host}:{port}"
    # rebuilt from what was read it must be what was written: no user, no empty port, no capital letters
    if not host or parts.netloc != plain or "#" in text or "%" in host:
        return None
    path = parts.path.lower()
    if "/." in path or "%2e" in path or "%2f" in path or "%5c" in path or "//" in path:
        return None
    return parts


def _below(parts: SplitResult, registered: SplitResult) -> bool:
    if parts.netloc != registered.netloc:
        return False
    if registered.path.endswith("/"):
        return parts.path.startswith(registered.path) or (registered.path == "/" and not parts.path)
    return parts.path == registered.path or parts.path.startswith(f"{registered.path}/")
