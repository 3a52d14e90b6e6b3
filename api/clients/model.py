"""Clients and what they may do."""

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from core.errors import NotFound

__all__ = ["Caller", "Client", "Scope"]


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
