"""Whom the gate of the signing origin knows: who holds a link, or a pass of an enrolment, that was made here.

Asked only where strangers have filled the total; it opens nothing.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.types import Scope

from api.bootstrap import Service
from core.db import row_by
from signer.enrolment.records import objection_table, run_table
from signer.links import link_table

__all__ = ["known_link"]

_TOKEN: Final = re.compile(r"^/(?:s|e|e/stop)/([A-Za-z0-9_-]{26,64})(?:/|$)")
_PASS: Final = re.compile(r"^[A-Za-z0-9_-]{32}$")


def known_link(service: Service) -> Callable[[Scope], Awaitable[str | None]]:
    """Names the link or pass of a request by its digest; None where we never made it."""

    async def known(scope: Scope) -> str | None:
        found = _TOKEN.match(scope["path"])
        held = Request(scope).headers.get("dauso-pass", "")
        if found is None and not _PASS.match(held):
            return None
        asked = (run_table.c.pass_sha256,) if found is None else (link_table.c.sha256, objection_table.c.sha256)
        sha256 = hashlib.sha256((held if found is None else found[1]).encode()).digest()
        async with service.db.read() as uow:
            for column in asked:
                if (await uow.execute(row_by(column), {"value": sha256})).first() is not None:
                    return sha256.hex()
        return None

    return known
