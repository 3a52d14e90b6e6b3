"""Who may open a route. Each route declares it, and the declaration is the check: a route without one does not pass CI.

``dependencies=[ANYONE]`` or ``caller: Annotated[Caller, client("copies:read")]``.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Depends, Request, Response
from starlette.routing import Route

from api.clients.model import Caller, Scope
from core.errors import Refused

__all__ = ["ANYONE", "OPERATOR", "Access", "client", "open_to_anyone"]


@dataclass(frozen=True, slots=True)
class Access:
    """The check of one route."""

    who: str
    """``anyone``, ``client`` or ``operator``."""
    scope: Scope | None = None

    async def __call__(self, request: Request) -> Caller | None:
        """The caller of a client's route. Raises ``web.no_credentials``, ``web.bad_credentials``, ``web.no_scope``."""
        if self.who != "client":
            return None
        caller: Caller = await request.app.state.parts.clients.authenticate(request.headers.get("authorization", ""))
        request.state.caller = caller
        if self.scope is not None and self.scope not in caller.scopes:
            raise Refused("web.no_scope", scope=self.scope.value)
        request.state.pace = request.app.state.parts.pace.client(caller.client_id)
        return caller


ANYONE: Final[Any] = Depends(Access("anyone"))
"""The public, with the gate's limits per address and in total."""
OPERATOR: Final[Any] = Depends(Access("operator"))
"""Only on the operator's own listener, which no proxy should show to the world."""


def client(scope: str | None = None) -> Any:
    """A portal's backend that holds ``scope``."""
    return Depends(Access("client", None if scope is None else Scope(scope)))


def open_to_anyone(path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str) -> Route:
    """A public route without the framework's dependencies, for the few that are asked most; it says who may open it too."""
    made = Route(path, endpoint, methods=[method], include_in_schema=False)
    made.access = ANYONE.dependency  # type: ignore[attr-defined]
    return made
