"""Where remote-signing services tell that something happened. Their word is not signed, so it is a hint and no more.

Everybody gets the same answer, whether such a service or transaction exists or not.
"""

import json
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.web.access import ANYONE
from api.web.parts import Parts
from core.errors import BadInput, ServiceError
from core.logs import logger

__all__ = ["router"]

router = APIRouter(tags=["Providers"], include_in_schema=False)
_MOST: Final = 64 * 1024
"""Bytes of a notice; one signature value is a few hundred."""


@router.post("/providers/{name}/hint", dependencies=[ANYONE], status_code=202)
async def hint(name: str, request: Request, parts: Parts) -> Response:
    """Only the transaction's name is read; the signer asks the service itself."""
    parts.pace.address(request.client.host if request.client else "", "hint")
    parts.pace.total("hint")
    told = _transaction(await _body(request))
    if told:
        try:
            await parts.signer.ask("provider.hint", provider=name[:32], transaction=told)
        except ServiceError as error:  # the poll comes by itself
            logger().warning("provider.hint_lost", code=error.code)
    return Response(status_code=202)


async def _body(request: Request) -> bytes:
    """Raises ``web.too_large``."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST:
            raise BadInput("web.too_large", most=_MOST)
    return bytes(body)


def _transaction(body: bytes) -> str:
    """Empty where the notice does not name one."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    name = given.get("transaction_id") if isinstance(given, dict) else None
    return name if isinstance(name, str) and len(name) <= 64 and name.isascii() else ""
