"""Questions about signature requests: made, changed, links given out. What a portal only looks at it reads itself.

The web process has judged shape and rights already. What may not depend on it is judged here again from the tables
that it cannot write: that the client is alive, holds the agency and the scope, owns the request, and where signers may
be sent back to. Files are asked after once more too: a digest alone gives nobody a file. None of these questions signs: that takes the signer's own approval, which comes by another door.
"""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from api.bootstrap import Service
from api.clients.model import Caller, Client, Scope, require_return_url
from api.clients.store import Clients
from api.inner import Handler
from api.portal.uploads import require_files
from core.db import UnitOfWork
from core.errors import NotFound, Refused
from core.values import DigestAlgorithm
from signer.papers.model import Placement
from signer.requests import store
from signer.requests.model import LIVE, NewDocument, NewRequest, NewStep, RequestStep, RequestView
from signer.requests.records import request_table, step_table

__all__ = ["handlers"]


def handlers(service: Service) -> dict[str, Handler]:
    """By name: ``request.create``, ``.cancel``, ``.extend``, ``.replace``, ``.remind``, ``.link``, ``.evidence``."""
    asked = _Asked(service)
    return {
        "request.create": asked.create, "request.cancel": asked.cancel, "request.extend": asked.extend,
        "request.replace": asked.replace, "request.remind": asked.remind, "request.link": asked.link,
        "request.evidence": asked.evidence,
    }  # fmt: skip


class _Asked:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._clients = Clients(service.db, service.clock, "")

    # ------------------------------------------------------------------------------------------------------- rights
    async def _client(self, uow: UnitOfWork, client_id: str, scope: Scope = Scope.SIGNATURES_WRITE) -> Client:
        client = await self._clients.living(uow, client_id)
        if scope not in client.scopes:
            raise Refused("web.no_scope", scope=scope.value)
        return client

    async def _own(self, words: Mapping[str, Any], scope: Scope = Scope.SIGNATURES_WRITE) -> RequestView:
        """The request, if it is this client's; another one does not exist. Raises ``request.no_such_request``."""
        request_id = str(words["request"])
        async with self._service.db.read() as uow:
            client = await self._client(uow, str(words["client"]), scope)
            found = await store.find(uow, request_id)
        if found is None or found.client_id != client.id or found.agency_id not in client.agencies:
            raise NotFound("request.no_such_request", request=request_id)
        return found

    async def _step(self, words: Mapping[str, Any]) -> tuple[RequestView, RequestStep]:
        """A step of an own request. Raises ``request.no_such_step``."""
        request = await self._own(words)
        try:
            return request, request.step(str(words["step"]))
        except KeyError:
            raise NotFound("request.no_such_step", step=str(words["step"])) from None

    # ------------------------------------------------------------------------------------------------------- making
    async def create(self, words: Mapping[str, Any], body: bytes) -> bytes:
        """A new request with a link for every signer; asked again under the same id it is found, and links are fresh."""
        wanted = json.loads(body)
        request_id, agency_id = str(words["request"]), str(words["agency"])
        async with self._service.db.read() as uow:
            client = await self._client(uow, str(words["client"]))
            known = await store.find(uow, request_id)
        if agency_id not in client.agencies or (known is not None and known.client_id != client.id):
            raise NotFound("directory.no_such_agency", agency=agency_id)
        if any("digest" in each for each in wanted["documents"]) and Scope.SIGNATURES_DIGESTS not in client.scopes:
            raise Refused("web.no_scope", scope=Scope.SIGNATURES_DIGESTS.value)
        if wanted["return_url"] is not None:
            require_return_url(wanted["return_url"], client.return_urls)
        if known is None:
            files = [each["file"] for each in wanted["documents"] if "file" in each]
            async with self._service.db.read() as uow:
                await require_files(uow, _caller(client), files)
        desk = self._service.parts().requests
        made = known or await desk.create(
            await self._new(client, request_id, agency_id, wanted),
            digests_allowed=Scope.SIGNATURES_DIGESTS in client.scopes,
        )
        links = {step.id: await desk.link(step.id) for step in made.steps if step.state in LIVE}
        return json.dumps({"links": links}).encode()

    async def _new(self, client: Client, request_id: str, agency_id: str, wanted: Mapping[str, Any]) -> NewRequest:
        people = [await self._person(client, agency_id, each["person"]) for each in wanted["signers"]]
        for each, person in zip(wanted["signers"], people, strict=True):
            await self._introduce(person, each["provider"], each["person"])
        return NewRequest(
            id=request_id, client_id=client.id, client_name=client.name, agency_id=agency_id, title=wanted["title"],
            reason=wanted["reason"], return_url=wanted["return_url"], deadline=dt.datetime.fromisoformat(wanted["deadline"]),
            documents=tuple(_document(each) for each in wanted["documents"]),
            steps=tuple(
                NewStep(position=each["order"], kind=each["kind"], person_id=person, placement=_placement(each["placement"]),
                        provider=each["provider"])
                for each, person in zip(wanted["signers"], people, strict=True)
            ),
        )  # fmt: skip

    async def _person(self, client: Client, agency_id: str, given: Mapping[str, str]) -> str:
        """Somebody the agency knows, or who is made known now. Raises ``directory.no_such_person``."""
        service = self._service
        async with service.db.write() as uow:
            agency = await service.directory.agency(uow, agency_id)
            agency.require_active(service.clock.now())
            if "id" not in given:
                people = service.parts().people
                return await people.expected(uow, agency, national_id=given["national_id"], name=given["name"])
            person = await service.directory.person(uow, given["id"])
            if person.agency_id not in client.agencies and not await _has_signed_for(uow, client, person.id):
                raise NotFound("directory.no_such_person", person=person.id)
            return person.id

    async def _introduce(self, person_id: str, provider: str | None, given: Mapping[str, str]) -> None:
        """The provider learns who it is about, once; the number is kept by nobody but it. Raises ``provider.*``."""
        if provider is not None and "national_id" in given:
            await self._service.parts().providers.introduce(person_id, provider, given["national_id"])

    async def evidence(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """Put together where approvals and signatures are kept."""
        request = await self._own(words, Scope.SIGNATURES_READ)
        return json.dumps(await self._service.parts().requests.evidence(request.id), ensure_ascii=False).encode()

    # ----------------------------------------------------------------------------------------------------- changing
    async def cancel(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """Nobody signs any more."""
        await self._service.parts().requests.cancel((await self._own(words)).id, str(words["reason"]))
        return b""

    async def extend(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """A later deadline."""
        deadline = dt.datetime.fromisoformat(str(words["deadline"]))
        await self._service.parts().requests.extend((await self._own(words)).id, deadline)
        return b""

    async def replace(self, words: Mapping[str, Any], body: bytes) -> bytes:
        """Another signer in the place of one who has not signed; the answer is the new step with its link."""
        request, step = await self._step(words)
        async with self._service.db.read() as uow:
            client = await self._client(uow, request.client_id)
        given = json.loads(body)
        person = await self._person(client, request.agency_id, given)
        await self._introduce(person, step.provider, given)
        desk = self._service.parts().requests
        made = str(await desk.replace(step.id, person))
        return json.dumps({"step": made, "link": await desk.link(made)}).encode()

    async def remind(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """The signer is told again."""
        await self._service.parts().requests.remind((await self._step(words))[1].id)
        return b""

    async def link(self, words: Mapping[str, Any], _: bytes) -> bytes:
        """A fresh link; the ones before open nothing any more."""
        step = (await self._step(words))[1]
        return json.dumps({"step": step.id, "link": await self._service.parts().requests.link(step.id)}).encode()


def _caller(client: Client) -> Caller:
    return Caller(client_id=client.id, agencies=client.agencies, scopes=client.scopes)


async def _has_signed_for(uow: UnitOfWork, client: Client, person_id: str) -> bool:
    """Whether an answer has given this client that id: a citizen whom another agency brought in first."""
    r, s = request_table.c, step_table.c
    query = sa.select(s.id).join(request_table, r.id == s.request_id)
    found = await uow.execute(query.where(r.client_id == client.id, s.person_id == person_id).limit(1))
    return found.first() is not None


def _document(given: Mapping[str, str]) -> NewDocument:
    if "file" in given:
        return NewDocument(title=given["title"], name=given["file"])
    return NewDocument(
        title=given["title"], kind="digest", digest=bytes.fromhex(given["digest"]),
        algorithm=DigestAlgorithm(given["algorithm"]),
    )  # fmt: skip


def _placement(given: Mapping[str, Any] | None) -> Placement | None:
    """Pages are counted from 1 at the portal's door, as people do, and from 0 inside."""
    if given is None:
        return None
    page = given.get("page")
    return Placement(**{**given, "page": None if page is None else page - 1})
