"""``/s/{token}``: one page on which a person reads and approves, and what its script asks for.

In order: the page (anyone with the link) · a way to enrol for who has no phone yet · entry with the passkey, which gives a
pass · reading · approving with the passkey, or refusing · how it stands. Every answer is asked for again after a reload,
so nothing is lost with a line.
"""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.sign.arriving import phone_of
from api.sign.door import Holder, Opened, TheMatter, opened, same_origin
from api.sign.pages import language_of, render
from api.sign.webauthn import Credential, request_options
from api.web.access import ANYONE
from api.web.problems import status_of
from core.errors import Refused, ServiceError
from core.limits import LIMITS
from signer.activation import devices, entering

__all__ = ["router"]

router = APIRouter(prefix="/s/{token}", include_in_schema=False)
_NEVER_KEPT: Final = {"cache-control": "no-store"}
_POST: Final = [ANYONE, Depends(same_origin)]
_ENROL_DAYS: Final = 1
"""The person is there and enrols now."""


class Answer(BaseModel):
    """A passkey's answer to the question ``tx``."""

    model_config = ConfigDict(extra="forbid")
    tx: str = Field(pattern=r"^[0-9a-z]{26}$")
    credential: Credential


class Refusal(BaseModel):
    """Why not."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    reason: str = Field(min_length=1, max_length=LIMITS["page.refusal_letters"])


DocumentId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,40}$")]
PageNumber = Annotated[int, Path(ge=0, lt=10_000)]


# ------------------------------------------------------------------------------------------------------- the page
@router.get("", dependencies=[ANYONE])
async def page(token: str, request: Request) -> Response:
    """The same page for every matter; without a good link a page that says no more than that."""
    service = request.app.state.service
    try:
        link = await opened(token, request)
        described = await request.app.state.matters[link.kind](service, link).describe()
        async with service.db.read() as uow:
            phone = await phone_of(service, uow, link.person_id)
    except ServiceError as error:
        said = "link.unknown" if status_of(error) == 404 else error.code
        return render(request, "gone.html", service.realm, status=status_of(error), said=said)
    url = f"{request.app.state.rp.origin}/s/{token}"
    late = described.deadline is not None and described.deadline <= service.clock.now()
    return render(request, "approve.html", service.realm, described=described, phone=phone, late=late, url=url)


@router.get("/describe", dependencies=[ANYONE])
async def describe(matter: TheMatter, request: Request) -> JSONResponse:
    """What the page says before entry."""
    said = await matter.describe()
    realm = request.app.state.service.realm.value
    return _json({"kind": said.kind, "portal": said.portal, "agency": said.agency, "realm": realm,
                  "deadline": None if said.deadline is None else said.deadline.isoformat()})  # fmt: skip


# -------------------------------------------------------------------------------------------------------- enrolment
@router.post("/enrol", dependencies=_POST)
async def enrol(link: Opened, token: str, request: Request) -> JSONResponse:
    """A way to the pages of enrolment and back: no phone yet, another one, or a lost one. It gives nobody anything.

    Whoever goes there proves identity, or shows a passkey. Raises ``identity.nobody_expected``.
    """
    state = request.app.state
    state.pace.address(request.client.host if request.client else "", "enter")
    async with state.service.db.write() as uow:
        if (await phone_of(state.service, uow, link.person_id)).state == "unknown":
            raise Refused("identity.nobody_expected")
        made = await state.service.parts().phones.link_for(uow, link.person_id, days=_ENROL_DAYS)
    return _json({"location": f"/e/{made}#s={token}"})


# ---------------------------------------------------------------------------------------------------------- entry
@router.get("/enter", dependencies=[ANYONE])
async def question(link: Opened, request: Request) -> JSONResponse:
    """A question for the passkey of the link's person."""
    state = request.app.state
    state.pace.address(request.client.host if request.client else "", "enter")
    async with state.service.db.write() as uow:
        tx, challenge = await entering.ask(uow, state.service.clock, link)
    options = await _options(request, link.person_id, challenge, LIMITS["enter.seconds"])
    return _json({"tx": tx, "publicKey": options})


@router.post("/enter", dependencies=_POST)
async def enter(link: Opened, answer: Answer, request: Request) -> JSONResponse:
    """The answer; gives a pass for this link. It is no approval of anything."""
    state = request.app.state
    async with state.service.db.write() as uow:
        token = await entering.answer(
            uow, state.service.clock, state.rp, answer.tx, answer.credential.assertion(), link=link
        )
    return _json({"pass": token, "seconds": LIMITS["pass.seconds"]})


# -------------------------------------------------------------------------------------------------------- reading
@router.post("/show", dependencies=_POST)
async def show(matter: TheMatter, person: Holder, request: Request) -> JSONResponse:
    """Everything to be read, and the open question; the same again while it stands."""
    shown = await matter.show(person)
    options = None
    if shown.challenge is not None:
        options = await _options(request, person, shown.challenge, LIMITS["activation.seconds"])
    return _json({**shown.to_json(language_of(request)), "publicKey": options})


@router.get("/documents/{document}", dependencies=[ANYONE])
async def document(matter: TheMatter, person: Holder, document: DocumentId) -> JSONResponse:
    """How many pages it has."""
    return _json({"pages": await matter.pages(person, document)})


@router.get("/documents/{document}/pages/{number}", dependencies=[ANYONE])
async def picture(
    matter: TheMatter, person: Holder, document: DocumentId, number: PageNumber,
    width: Annotated[int, Query(ge=1, le=2000)] = 720,
) -> Response:  # fmt: skip
    """A page as WebP, about ``width`` pixels wide."""
    drawn = await matter.page(person, document, number, width)
    return Response(drawn, media_type="image/webp", headers=_NEVER_KEPT)


@router.get("/documents/{document}/pages/{number}/text", dependencies=[ANYONE])
async def words(matter: TheMatter, person: Holder, document: DocumentId, number: PageNumber) -> JSONResponse:
    """The same page as words."""
    return _json({"text": await matter.text(person, document, number)})


# ------------------------------------------------------------------------------------------------------ answering
@router.post("/approve", dependencies=_POST, status_code=202)
async def approve(matter: TheMatter, person: Holder, answer: Answer) -> JSONResponse:
    """The passkey's answer over exactly what was shown; the signature is made without anybody waiting here."""
    await matter.approve(person, answer.tx, answer.credential.assertion())
    return _json({"state": "approved"}, 202)


@router.post("/start", dependencies=_POST, status_code=202)
async def start(matter: TheMatter, person: Holder) -> JSONResponse:
    """Let the provider's app ask the person."""
    await matter.start(person)
    return _json({"state": "open"}, 202)


@router.post("/refuse", dependencies=_POST)
async def refuse(matter: TheMatter, person: Holder, refusal: Refusal) -> JSONResponse:
    """No, and why."""
    await matter.refuse(person, refusal.reason)
    return _json({"state": "refused"})


@router.get("/status", dependencies=[ANYONE])
async def status(
    matter: TheMatter, person: Holder, request: Request,
    wait: Annotated[int, Query(ge=0, le=LIMITS["web.wait_seconds"])] = 0,
) -> JSONResponse:  # fmt: skip
    """How it stands; with ``wait`` as soon as nothing more happens by itself. Where too many wait it answers at once."""
    room: asyncio.Semaphore = request.app.state.room
    if wait and not room.locked():
        async with room:
            standing = await matter.status(person, wait)
    else:
        standing = await matter.status(person, 0)
    return _json(standing.to_json(language_of(request)))


@router.get("/documents/{document}/file", dependencies=[ANYONE])
async def file(matter: TheMatter, person: Holder, document: DocumentId) -> Response:
    """The signed file."""
    found = await matter.file(person, document)
    disposition = f'attachment; filename="{found.name}"'
    return Response(
        found.data, media_type=found.media_type, headers={**_NEVER_KEPT, "content-disposition": disposition}
    )  # fmt: skip


async def _options(request: Request, person_id: str, challenge: bytes, seconds: int) -> dict[str, Any]:
    """For ``navigator.credentials.get``: this person's passkeys that count."""
    state = request.app.state
    async with state.service.db.read() as uow:
        known = await devices.passkeys_of(uow, person_id)
    usable = [each.credential_id for each in known if each.state == "active"]
    return request_options(challenge, state.rp, usable, seconds)


def _json(body: dict[str, Any], status_code: int = 200) -> JSONResponse:
    return JSONResponse(body, status_code, headers=_NEVER_KEPT)
