"""All of the desk under ``/desk``."""

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from api.desk import (
    admin,
    admin_findings,
    admin_keys,
    admin_people,
    admin_printed,
    admin_state,
    copy,
    inbox,
    login,
    numbers,
    seals,
)
from api.desk.pages import DeskRoute
from api.desk.sessions import DeskPerson
from api.web.access import desk
from core.errors import NotFound

__all__ = ["router"]

router = APIRouter(prefix="/desk", route_class=DeskRoute, include_in_schema=False)


Anyone = Annotated[DeskPerson, desk(roleless_too=True)]


@router.get("")
async def home(who: Anyone) -> Response:
    """To the queue of who is signed in."""
    queues = (("certifier", "/desk/inbox"), ("clerk", "/desk/seals"), ("administrator", "/desk/admin"))
    return RedirectResponse(next((path for role, path in queues if who.has(role)), "/desk/account"), 303)


router.include_router(login.router)
router.include_router(inbox.router)
router.include_router(copy.router)
router.include_router(seals.router)
router.include_router(numbers.router)
for each in (admin, admin_people, admin_printed, admin_state, admin_keys, admin_findings):
    router.include_router(each.router)


@router.get("/{path:path}", dependencies=[desk(roleless_too=True)])  # noqa: FAST003 - whatever it is, it is not here
async def nowhere() -> Response:
    """The last of all: who mistyped an address gets a page with a way back. Raises ``web.no_such_thing``."""
    raise NotFound("web.no_such_thing")
