"""Who may open a route. Each route declares it, and the declaration is the check: a route without one does not pass CI.

``dependencies=[ANYONE]``, ``caller: Annotated[Caller, client("copies:read")]`` or
``who: Annotated[DeskPerson, desk("certifier")]``.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Depends, Request, Response
from starlette.routing import Route

from api.clients.model import Caller, Scope
from api.desk.sessions import DeskPerson, desk_person
from core.directory.model import Role
from core.errors import Refused

__all__ = ["ANYONE", "OPERATOR", "Access", "access_of", "client", "desk", "open_to_anyone"]


@dataclass(frozen=True, slots=True)
class Access:
    """The check of one route."""

    who: str
    """``anyone``, ``client``, ``desk`` or ``operator``."""
    scope: Scope | None = None
    or_scope: Scope | None = None
    """Another one that opens it too."""
    role: Role | None = None
    """Of a desk's route: the authorisation that must run; None for any one."""
    locked_too: bool = False
    """A desk's route that a locked page needs, and that opens nothing."""
    roleless_too: bool = False
    """A desk's route that shows nobody's papers: also for who holds no role any more."""

    @property
    def need(self) -> str:
        """The scope or the role, as the table of doors names it; empty where neither is asked."""
        asked = [each.value for each in (self.scope, self.or_scope, self.role) if each is not None]
        return " or ".join(asked)

    async def __call__(self, request: Request) -> Caller | DeskPerson | None:
        """Who is asking. Raises ``web.no_credentials``, ``web.bad_credentials``, ``web.no_scope``, ``desk.*``."""
        if self.who == "desk":
            return await desk_person(request, self.role, locked_too=self.locked_too, roleless_too=self.roleless_too)
        if self.who != "client":
            return None
        known: Caller | None = getattr(request.state, "caller", None)
        if known is not None:  # asked once a request, before its body is read
            return known
        caller = await self._authenticated(request)
        if self.scope is not None and not caller.scopes & {self.scope, self.or_scope}:
            raise Refused("web.no_scope", scope=self.scope.value)
        request.state.pace = request.app.state.parts.pace.client(caller.client_id)
        request.state.caller = caller
        return caller

    @staticmethod
    async def _authenticated(request: Request) -> Caller:
        """Who fails is counted by address: a flood of wrong keys is turned away before the database is asked."""
        parts = request.app.state.parts
        address = request.client.host if request.client else ""
        parts.pace.may_try(address)
        try:
            caller: Caller = await parts.clients.authenticate(request.headers.get("authorization", ""))
        except Refused:
            parts.pace.failed(address)
            raise
        return caller


ANYONE: Final[Any] = Depends(Access("anyone"))
"""The public, with the gate's limits per address and in total."""
OPERATOR: Final[Any] = Depends(Access("operator"))
"""Only on the operator's own listener, which no proxy should show to the world."""


def client(scope: str | None = None, or_scope: str | None = None) -> Any:
    """A portal's backend that holds ``scope``, or ``or_scope``."""
    first, second = (None if each is None else Scope(each) for each in (scope, or_scope))
    return Depends(Access("client", first, second))


def desk(role: str | None = None, *, locked_too: bool = False, roleless_too: bool = False) -> Any:
    """A person who is signed in at the desk and holds ``role`` now, or any role where none is given."""
    asked = None if role is None else Role(role)
    return Depends(Access("desk", role=asked, locked_too=locked_too, roleless_too=roleless_too))


def open_to_anyone(path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str) -> Route:
    """A public route without the framework's dependencies, for the few that are asked most; it says who may open it too."""
    made = Route(path, endpoint, methods=[method], include_in_schema=False)
    made.access = ANYONE.dependency  # type: ignore[attr-defined]
    return made


def access_of(route: Any) -> Access | None:
    """Who may open a route, as it declares itself; None where it does not, or says two things."""
    declared = getattr(route, "access", None)
    if isinstance(declared, Access):
        return declared
    dependant = getattr(route, "dependant", None)
    found = [d.call for d in dependant.dependencies if isinstance(d.call, Access)] if dependant is not None else []
    return found[0] if len(found) == 1 else None
