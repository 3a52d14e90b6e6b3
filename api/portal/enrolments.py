"""``/api/v1/enrolments``: a person becomes able to sign. The portal gets a link for that person; the rest is theirs."""

import json
from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.clients.model import Caller
from api.portal.idempotency import IdempotentRoute
from api.portal.request_schemas import PersonIn
from api.portal.requests import agency_of
from api.web.access import client
from api.web.parts import Parts

__all__ = ["router"]

router = APIRouter(prefix="/enrolments", tags=["enrolments"], route_class=IdempotentRoute)
Reader = Annotated[Caller, client("signatures:read")]
Writer = Annotated[Caller, client("signatures:write")]
Id = Annotated[str, Field(pattern=r"^[0-9a-z]{26}$")]


class Vouched(BaseModel):
    """What the portal itself has established; taken only at levels that the service's policy names."""

    model_config = ConfigDict(extra="forbid")
    level: str = Field(pattern=r"^[a-z0-9._-]{1,32}$", description="The portal's assurance level, as policy names it.")
    email: str = Field(max_length=254, description="The second channel: a code goes there, and every notice.")
    subject: str = Field(max_length=200, description="How the portal knows the person; kept as a digest.")


class EnrolmentIn(BaseModel):
    """One person: known to us, or by national number and name."""

    model_config = ConfigDict(extra="forbid")
    agency: Annotated[
        str, Field(min_length=1, max_length=64, description="Code or id of the agency that brings the person in.")
    ]
    person: PersonIn
    vouched: Annotated[
        Vouched | None, Field(description="Absent: the person proves identity at the identity provider.")
    ] = None


class EnrolmentOut(BaseModel):
    """The link is for that person alone; an older one of theirs ends."""

    person: str
    link: str
    expires: str


class StandingOut(BaseModel):
    """``none``, ``waiting`` (until ``usable_from``), ``active`` or ``suspended``."""

    state: str
    usable_from: str | None


@router.post("", response_model=EnrolmentOut, status_code=201)
async def create_enrolment(wanted: EnrolmentIn, parts: Parts, caller: Writer) -> Response:
    """A link by which the person enrols a phone: identity, consent, passkey, key and certificate."""
    async with parts.service.db.read() as uow:
        agency = await agency_of(parts, uow, caller, wanted.agency)
    given = wanted.person.model_dump()
    who = {"person": given["id"]} if "id" in given else given
    if wanted.vouched is None:
        answer = await parts.signer.ask(
            "enrol.link", json.dumps(who).encode(), client=caller.client_id, agency=agency.id
        )
    else:
        body = {**who, "email": wanted.vouched.email, "subject": wanted.vouched.subject}
        answer = await parts.signer.ask(
            "enrol.portal",
            json.dumps(body).encode(),
            client=caller.client_id,
            agency=agency.id,
            level=wanted.vouched.level,
        )
    return JSONResponse(json.loads(answer), 201, headers={"cache-control": "no-store"})


@router.get("/{person_id}", response_model=StandingOut)
async def get_enrolment(person_id: Id, parts: Parts, caller: Reader) -> Response:
    """Whether a citizen whom one of the caller's agencies brought in can sign now."""
    answer = await parts.signer.ask("enrol.standing", client=caller.client_id, person=person_id)
    return JSONResponse(json.loads(answer), headers={"cache-control": "no-store"})
