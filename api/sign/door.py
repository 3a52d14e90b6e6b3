"""What stands before every answer of the signing pages: the link, the pass, and who sent a POST.

* No cookie is read or set. What carries authority is the link's token with a pass in the header ``dauso-pass``, which
  another site's page cannot send.
* A POST must name our own origin. Browsers always do; a POST without it is none of our page's.
* A link that is unknown, ended, expired or of another kind gives one and the same answer.
"""

from typing import Annotated, Final

from fastapi import Depends, Header, Request

from api.bootstrap import Service
from api.sign.matters import Matter
from core.errors import NotFound, Refused, ServiceError
from signer.activation import entering
from signer.links import Link, find_link

__all__ = ["Holder", "Opened", "TheMatter", "find", "opened", "same_origin"]

_HEADER: Final = "dauso-pass"


async def same_origin(request: Request) -> None:
    """For every POST. Raises ``web.foreign_page``."""
    if request.headers.getlist("origin") != [request.app.state.rp.origin]:
        raise Refused("web.foreign_page")


async def find(service: Service, token: str) -> Link:
    """The link behind a token. Raises ``link.unknown`` whatever is wrong with it."""
    async with service.db.read() as uow:
        try:
            return await find_link(uow, service.clock, token)
        except ServiceError as error:
            raise NotFound("link.unknown") from error


async def opened(token: str, request: Request) -> Link:
    """The link in the address. Raises ``link.unknown``."""
    link = await find(request.app.state.service, token)
    if link.kind not in request.app.state.matters:
        raise NotFound("link.unknown")
    return link


Opened = Annotated[Link, Depends(opened)]


async def _matter(link: Opened, request: Request) -> Matter:
    made: Matter = request.app.state.matters[link.kind](request.app.state.service, link)
    return made


TheMatter = Annotated[Matter, Depends(_matter)]
"""What the link is about."""


async def _holder(
    link: Opened, request: Request, given: Annotated[str, Header(alias=_HEADER, max_length=64)] = ""
) -> str:
    service = request.app.state.service
    async with service.db.read() as uow:
        return await entering.holder(uow, service.clock, given, link)


Holder = Annotated[str, Depends(_holder)]
"""Id of the person who has entered. Raises ``pass.*``."""
