"""Questions about enrolment: links for people, a portal's word, a stop, a ticket to the desk.

None of them enrols anybody: that takes the person's own page, identity and phone. What a portal says is judged again
here, from the tables that the web process cannot write.
"""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from api.bootstrap import Service
from api.clients.model import Client, Scope
from api.clients.store import Clients
from api.inner import Handler
from core.db import UnitOfWork
from core.directory.model import Agency, Person
from core.errors import BadInput, NotFound, Refused
from signer.enrolment.phones import Phones

__all__ = ["handlers"]


def handlers(service: Service, phones: Phones | None = None) -> dict[str, Handler]:
    """By name: ``enrol.invite``, ``.link``, ``.portal``, ``.standing``, ``.ticket``, ``.waiting``. ``phones``: the service's if None."""
    asked = _Asked(service, phones)
    return {
        "enrol.invite": asked.invite, "enrol.link": asked.link, "enrol.portal": asked.portal, "enrol.standing": asked.standing,
        "enrol.ticket": asked.ticket, "enrol.waiting": asked.waiting,
    }  # fmt: skip


class _Asked:
    def __init__(self, service: Service, phones: Phones | None) -> None:
        self._service, self._given = service, phones
        self._clients = Clients(service.db, service.clock, "")

    @property
    def _phones(self) -> Phones:
        return self._given or self._service.parts().phones

    async def invite(self, words: Mapping[str, Any], body: bytes) -> bytes:
        """``person``; with ``client`` only a citizen of that client's agencies. Body: ``{"email": …}`` or nothing.

        A number is never told this way: an official's comes with the decision, a citizen's with the request.
        Answer: ``{"link": URL, "expires": ISO time}``. Raises ``directory.no_such_person``, ``identity.nobody_expected``.
        """
        person_id, given = str(words["person"]), _object(body)
        async with self._service.db.write() as uow:
            person = await self._phones.directory.person(uow, person_id)
            if "client" in words:
                await self._require_citizen(uow, str(words["client"]), person)
            token = await self._phones.link_for(uow, person_id, email=_text(given, "email"))
            return self._link(token, dt.timedelta(days=14))

    async def portal(self, words: Mapping[str, Any], body: bytes) -> bytes:
        """``client``, ``agency``, ``level``; body: ``{"person": id}`` or ``{"national_id", "name"}``, with ``email``, ``subject``.

        Answer: ``{"person": id, "link": URL, "expires": ISO time}``. Raises ``enrol.*``, ``people.*``, ``web.no_scope``.
        """
        given = _object(body)
        async with self._service.db.write() as uow:
            client, person_id = await self._citizen(uow, words, given)
        token = await self._phones.vouched(
            person_id, level=str(words["level"]), email=_text(given, "email") or "",
            subject=f"{client.id} {_text(given, 'subject') or ''}",
        )  # fmt: skip
        return self._link(token, dt.timedelta(days=3), person=person_id)

    async def link(self, words: Mapping[str, Any], body: bytes) -> bytes:
        """As ``portal``, for who proves identity at the provider: ``client``, ``agency``; body names the person."""
        given = _object(body)
        async with self._service.db.write() as uow:
            _, person_id = await self._citizen(uow, words, given, by_login=True)
            token = await self._phones.link_for(uow, person_id)
        return self._link(token, dt.timedelta(days=14), person=person_id)

    async def _citizen(
        self, uow: UnitOfWork, words: Mapping[str, Any], given: dict[str, Any], *, by_login: bool = False
    ) -> tuple[Client, str]:  # fmt: skip
        """Somebody known to an agency of the client, or made known now; never one with a role."""
        client = await self._client(uow, str(words["client"]))
        agency = await self._phones.directory.agency(uow, str(words["agency"]))
        _require_held(client, agency)
        person_id = _text(given, "person")
        if person_id is None:
            return client, await self._phones.people.expected(
                uow, agency, national_id=_text(given, "national_id"), name=_text(given, "name") or "", by_login=by_login
            )
        await self._require_citizen(uow, client.id, await self._phones.directory.person(uow, person_id))
        return client, person_id

    async def standing(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """``client``, ``person`` → ``{"state": …, "usable_from": ISO time or null}``."""
        async with self._service.db.read() as uow:
            person = await self._phones.directory.person(uow, str(words["person"]))
            await self._require_citizen(uow, str(words["client"]), person)
            found = await self._phones.people.enrolled(uow, person.id)
        return json.dumps({"state": found.state, "usable_from": found.usable_from}, default=str).encode()

    async def waiting(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """``person`` → ``{"usable_from": ISO time or null, "kind", "method"}``: a phone that will be able to sign in that name.

        For the person's own account page: whoever has no address for notices learns of it there.
        """
        async with self._service.db.read() as uow:
            person = await self._phones.directory.person(uow, str(words["person"]))
            found = await self._phones.people.waiting(uow, person.id)
        said = {
            "usable_from": found and found.usable_from,
            "kind": found and found.kind,
            "method": found and found.method,
        }
        return json.dumps(said, default=str).encode()

    async def ticket(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """``ticket``, ``spend`` → ``{"person": id}``. Raises ``ticket.unknown``."""
        person_id = await self._phones.use_ticket(str(words["ticket"]), spend=words.get("spend") is True)
        return json.dumps({"person": person_id}).encode()

    # ------------------------------------------------------------------------------------------------------- rights
    async def _client(self, uow: UnitOfWork, client_id: str, scope: Scope = Scope.SIGNATURES_WRITE) -> Client:
        client = await self._clients.living(uow, client_id)
        if not client.scopes & {scope, Scope.SIGNATURES_WRITE}:
            raise Refused("web.no_scope", scope=scope.value)
        return client

    async def _require_citizen(self, uow: UnitOfWork, client_id: str, person: Person) -> None:
        """One whom an agency of the client brought in, without any role. Raises as if there were none."""
        client = await self._client(uow, client_id, Scope.SIGNATURES_READ)
        if person.agency_id not in client.agencies or await self._phones.people.roles(uow, person.id):
            raise NotFound("directory.no_such_person", person=person.id)

    def _link(self, token: str, life: dt.timedelta, **more: str) -> bytes:
        until = self._service.clock.now() + life
        url = f"{self._phones.relying_party.origin}/e/{token}"
        return json.dumps({"link": url, "expires": until.isoformat(), **more}).encode()


def _require_held(client: Client, agency: Agency) -> None:
    if agency.id not in client.agencies:
        raise NotFound("directory.no_such_agency", agency=agency.code)


def _object(body: bytes) -> dict[str, Any]:
    """People's words travel in the body, never in a header. Raises ``web.unreadable``."""
    try:
        found = json.loads(body or b"{}")
    except ValueError as error:
        raise BadInput("web.unreadable") from error
    if not isinstance(found, dict):
        raise BadInput("web.unreadable")
    return found


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise BadInput("web.unreadable")
    return value
