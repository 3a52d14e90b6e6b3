"""Questions of the desk: links to the signing page, a copy given up or sent back, a paper numbered anew.

The web process says who asks. It cannot approve for that person: a link opens nothing without the person's signing passkey,
which the signer verifies itself. What is judged here: that the copies wait for this very person, and roles that run now.
"""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from api.bootstrap import Service
from api.clients.model import Scope
from api.clients.store import Clients
from api.inner import Handler
from core.db import UnitOfWork
from core.directory.model import Role
from core.errors import BadInput, Conflict, NotFound, Refused
from core.limits import LIMITS
from core.values import Regime
from signer.copies import store
from signer.copies.model import CertifiedCopy
from signer.copies.wording import legal_date
from signer.links import make_link
from signer.requests import store as requests
from signer.requests.model import LIVE

__all__ = ["handlers"]

_WAITS = {"awaiting_certifier": Role.CERTIFIER, "awaiting_seal": Role.CLERK}


def handlers(service: Service) -> dict[str, Handler]:
    """By name: ``link.copies``, ``link.step``, ``copy.send_back``, ``copy.renew``, ``void``."""
    asked = _Asked(service)
    return {
        "link.copies": asked.copies, "link.step": asked.step, "copy.send_back": asked.send_back,
        "copy.renew": asked.renew, "void": asked.void,
    }  # fmt: skip


class _Asked:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def copies(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """A link over copies in this order. Raises ``desk.choose``, ``copy.awaits_nobody``, ``copy.not_together``, ``desk.date_passed``."""
        person, ids = str(words["person"]), [str(each) for each in words["copies"]]
        most = LIMITS["activation.documents"]
        if not 1 <= len(set(ids)) == len(ids) <= most:
            raise BadInput("desk.choose", most=most)
        service = self._service
        async with service.db.write() as uow:
            found = [await self._waiting(uow, each, person) for each in ids]
            if len({(copy.state, copy.agency_id) for copy in found}) != 1:
                raise Conflict("copy.not_together", copy=found[0].id)
            for copy in found:
                if self._date_passed(copy):
                    raise Conflict("desk.date_passed")
            expires = service.clock.now() + dt.timedelta(seconds=LIMITS["desk.link_seconds"])
            token = await make_link(
                uow, service.clock, kind="copies", subject=ids, person_id=person, expires_at=expires
            )
        return self._answer(token, expires)

    async def step(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """A fresh link to a step of this person's; older ones end. Raises ``request.no_such_step``."""
        service, step_id = self._service, str(words["step"])
        async with service.db.read() as uow:
            request = await requests.of_step(uow, step_id)
        step = request.step(step_id)
        if step.person_id != str(words["person"]) or step.state not in LIVE or request.state != "open":
            raise NotFound("request.no_such_step", step=step_id)
        return self._answer(await service.parts().requests.link(step_id), request.deadline)

    def _answer(self, token: str, expires: dt.datetime) -> bytes:
        url = f"{self._service.settings.sign_url.rstrip('/')}/s/{token}"
        return json.dumps({"url": url, "expires": expires.isoformat()}).encode()

    async def send_back(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """The clerk does not seal it; the paper goes on under a new number, which is told."""
        copy_id, person = str(words["copy"]), str(words["by"])
        async with self._service.db.read() as uow:
            await self._waiting(uow, copy_id, person)
        made = await self._service.copies.send_back(copy_id, str(words["reason"]), by=person)
        self._service.reception.go_on(made)
        return json.dumps({"copy": made}).encode()

    async def void(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """Words: ``copy``, ``reason``, and who: ``by``, the copy's own official, or ``client``, a portal that holds the agency.

        Raises ``copy.no_such_copy``, ``directory.*``, ``web.no_scope``, ``copy.already_released``.
        """
        copy_id = str(words["copy"])
        async with self._service.db.read() as uow:
            copy = await store.get(uow, copy_id)
            if "client" in words:
                await self._require_client(uow, copy, str(words["client"]))
            else:
                await self._require_official(uow, copy, str(words.get("by", "")))
        await self._service.copies.void(copy_id, str(words["reason"]))
        return b""

    async def _require_official(self, uow: UnitOfWork, copy: CertifiedCopy, person: str) -> None:
        if person != copy.certifier_id:
            raise NotFound("copy.no_such_copy", copy=copy.id)
        await self._service.directory.authorisation(uow, person, copy.agency_id, Role.CERTIFIER, Regime(copy.regime))

    async def _require_client(self, uow: UnitOfWork, copy: CertifiedCopy, client_id: str) -> None:
        client = await Clients(self._service.db, self._service.clock, "").living(uow, client_id)
        if copy.agency_id not in client.agencies:
            raise NotFound("copy.no_such_copy", copy=copy.id)
        if Scope.COPIES_WRITE not in client.scopes:
            raise Refused("web.no_scope", scope=Scope.COPIES_WRITE.value)

    async def renew(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """A copy whose date has passed before its first signature starts again, as it would when somebody approved it."""
        copy_id = str(words["copy"])
        async with self._service.db.read() as uow:
            copy = await self._waiting(uow, copy_id, str(words["by"]))
        if not self._date_passed(copy):
            raise Conflict("desk.date_is_good")
        self._service.reception.go_on(copy_id)
        return b"{}"

    async def _waiting(self, uow: UnitOfWork, copy_id: str, person: str) -> CertifiedCopy:
        """A copy that waits for this person, who may answer now; another's does not exist. Raises ``copy.*``, ``directory.*``."""
        copy = await store.get(uow, copy_id)
        asked = copy.certifier_id if copy.state == "awaiting_certifier" else copy.clerk_id
        if person not in {copy.certifier_id, copy.clerk_id}:
            raise NotFound("copy.no_such_copy", copy=copy_id)
        if copy.state not in _WAITS or asked != person:
            raise Conflict("copy.awaits_nobody", copy=copy_id, state=copy.state)
        regime = Regime(copy.regime)
        await self._service.directory.authorisation(uow, person, copy.agency_id, _WAITS[copy.state], regime)
        return copy

    def _date_passed(self, copy: CertifiedCopy) -> bool:
        """Before the first signature the date on the page must be today's; afterwards it is the signature's own."""
        first = copy.state == "awaiting_certifier" or copy.certifier_order is None
        passed = copy.printed_at is not None and legal_date(copy.printed_at) != legal_date(self._service.clock.now())
        return first and passed
