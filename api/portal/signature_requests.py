"""``/api/v1/signature-requests``: ask for signatures, watch, help along, fetch what was signed."""

import asyncio
import json
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from api.clients.model import Caller, Client, Scope, require_return_url
from api.portal.answers import TAGGED, created, page, tagged
from api.portal.idempotency import IdempotentRoute
from api.portal.request_schemas import (
    CancelIn,
    DigestOnlyIn,
    ExtendIn,
    PdfIn,
    ReplaceIn,
    RequestState,
    SignatureRequestIn,
    SignatureRequestMade,
    SignatureRequestOut,
    SigningLinkOut,
)
from api.portal.request_views import Place, own, place_of, qr_svg, request_view, requests_of
from api.portal.requests import agency_of
from api.portal.schemas import AgencyCode, Cursor, Id, Moment, Page
from api.portal.uploads import require_files
from api.web.access import client
from api.web.parts import Parts, WebParts
from core.errors import BadInput, Conflict, NotFound, Refused
from core.limits import LIMITS

__all__ = ["router"]

router = APIRouter(prefix="/signature-requests", tags=["signature requests"], route_class=IdempotentRoute)
Reader = Annotated[Caller, client("signatures:read")]
Writer = Annotated[Caller, client("signatures:write")]
Wait = Annotated[
    int,
    Query(
        ge=0, le=LIMITS["web.wait_seconds"],
        description="Seconds to wait for news: for something else than `If-None-Match` names, else for the end.",
    ),
]  # fmt: skip
Limit = Annotated[int, Query(ge=1, le=LIMITS["web.page"])]
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_SIGNED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/pdf": _BYTES, "application/pkcs7-signature": _BYTES}}
}
_EVIDENCE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"schema": {"type": "object"}}}}
}
Number = Annotated[int, Path(ge=1, le=LIMITS["request.documents"], description="The first document is 1.")]


# ----------------------------------------------------------------------------------------------------------- making
@router.post("", status_code=201, response_model=SignatureRequestMade, responses=created(201))
async def create_signature_request(
    request: Request, wanted: SignatureRequestIn, parts: Parts, caller: Writer
) -> Response:
    """Ask people to sign; the answer has a link for each of them, as an address and as a QR code."""
    request_id = request.state.subject
    async with parts.service.db.read() as uow:
        agency = await agency_of(parts, uow, caller, wanted.agency)
        agency.require_active(parts.service.clock.now())
        await require_files(uow, caller, [each.file for each in wanted.documents if isinstance(each, PdfIn)])
        _require_allowed(parts, caller, await parts.clients.living(uow, caller.client_id), wanted)
    body = wanted.model_dump(mode="json", exclude={"agency"})
    answer = await parts.signer.ask(
        "request.create", json.dumps(body, ensure_ascii=False).encode(), client=caller.client_id, agency=agency.id,
        request=request_id,
    )  # fmt: skip
    links = json.loads(answer)["links"]
    async with parts.service.db.read() as uow:
        view = await request_view(parts, uow, await own(uow, caller, request_id))
    made = SignatureRequestMade(
        **view.model_dump(), signing=[_link(parts, step, token) for step, token in links.items()]
    )
    headers = {"location": f"/api/v1/signature-requests/{request_id}", "cache-control": "no-store"}
    return Response(made.model_dump_json(), 201, headers, media_type="application/json")


def _require_allowed(parts: WebParts, caller: Caller, known: Client, wanted: SignatureRequestIn) -> None:
    """What needs no table; the signer judges it again. Raises ``web.no_scope``, ``request.deadline``, ``request.return_url``."""
    digests = any(isinstance(each, DigestOnlyIn) for each in wanted.documents)
    if digests and Scope.SIGNATURES_DIGESTS not in caller.scopes:
        raise Refused("web.no_scope", scope=Scope.SIGNATURES_DIGESTS.value)
    if wanted.deadline <= parts.service.clock.now():
        raise BadInput("request.deadline", most=LIMITS["request.days"])
    if wanted.return_url is not None:
        require_return_url(wanted.return_url, known.return_urls)


def _link(parts: WebParts, step_id: str, token: str) -> SigningLinkOut:
    url = f"{parts.service.settings.sign_url.rstrip('/')}/s/{token}"
    return SigningLinkOut(step=step_id, url=url, qr=qr_svg(url))


# ---------------------------------------------------------------------------------------------------------- looking
@router.get("", response_model=Page[SignatureRequestOut])
async def list_signature_requests(
    parts: Parts, caller: Reader, agency: AgencyCode | None = None, state: RequestState | None = None,
    since: Moment | None = None, until: Annotated[Moment | None, Query(description="With a deadline before.")] = None,
    after: Cursor | None = None, limit: Limit = 50,
) -> Response:  # fmt: skip
    """The caller's own, the newest first; filters may be combined."""
    async with parts.service.db.read() as uow:
        found = await requests_of(
            parts, uow, caller, agency=agency, state=state, since=since, until=until, after=after, limit=limit + 1
        )
    return page(found, limit, found[limit - 1].id if len(found) > limit else None)


@router.get("/{request_id}", response_model=SignatureRequestOut, responses=TAGGED)
async def get_signature_request(
    request: Request, request_id: Id, parts: Parts, caller: Reader, wait: Wait = 0
) -> Response:  # fmt: skip
    """One request: who has signed when, whose turn it is, and the code that the phone shows meanwhile."""
    until = time.monotonic() + wait
    answer, place = await _answer(request, parts, caller, request_id)
    while not _tells(request, answer, place) and await _moved(request, parts, request_id, place, until):
        answer, place = await _answer(request, parts, caller, request_id)
    return answer


def _tells(request: Request, answer: Response, place: Place) -> bool:
    """Whether the answer is worth the wait: the end, or something that the caller does not have."""
    return place.settled or ("if-none-match" in request.headers and answer.status_code == 200)


async def _answer(request: Request, parts: WebParts, caller: Caller, request_id: str) -> tuple[Response, Place]:
    async with parts.service.db.read() as uow:
        found = await own(uow, caller, request_id)
        view = await request_view(parts, uow, found)
    return tagged(request, view), Place.of(found)


async def _moved(request: Request, parts: WebParts, request_id: str, before: Place, until: float) -> bool:
    """True as soon as the request is no longer where it was; False when the time is up, or too many wait already.

    Two columns are looked at now and then: people take seconds, and any process of the web may be asked.
    """
    state = request.app.state
    waiting: int = getattr(state, "waiting_for_signers", 0)
    if waiting >= LIMITS["web.waiting"]:
        return False
    state.waiting_for_signers = waiting + 1
    pause = 0.05
    try:
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.5)
            async with parts.service.db.read() as uow:
                if await place_of(uow, request_id) != before:
                    return True
        return False
    finally:
        state.waiting_for_signers -= 1


@router.get("/{request_id}/documents/{n}/file", response_class=Response, responses={**TAGGED, **_SIGNED})
async def get_signed_document(request: Request, request_id: Id, n: Number, parts: Parts, caller: Reader) -> Response:
    """The signed PDF, once everybody has signed; of a digest its detached signatures."""
    async with parts.service.db.read() as uow:
        found = await own(uow, caller, request_id)
    if n > len(found.documents):
        raise NotFound("request.no_such_document", request=request_id, n=n)
    document = found.documents[n - 1]
    if found.state != "completed" or document.released is None:
        raise Conflict("request.not_completed", request=request_id)
    ending, kind = ("pdf", "application/pdf") if document.kind == "pdf" else ("p7s", "application/pkcs7-signature")
    headers = {"etag": f'"{document.released[:32]}"', "cache-control": "private, no-cache",
               "content-disposition": f'attachment; filename="{request_id}-{n}.{ending}"'}  # fmt: skip
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(await parts.service.documents.get(document.released), headers=headers, media_type=kind)


@router.get("/{request_id}/evidence", response_model=dict[str, Any], responses=_EVIDENCE)
async def get_signature_evidence(request_id: Id, parts: Parts, caller: Reader) -> Response:
    """What was approved by whom with which passkey, and the log's receipts: enough to check it all again years later."""
    async with parts.service.db.read() as uow:
        await own(uow, caller, request_id)
    found = await parts.signer.ask("request.evidence", client=caller.client_id, request=request_id)
    headers = {"cache-control": "private, no-cache", "content-disposition": f'attachment; filename="{request_id}.json"'}
    return Response(found, media_type="application/json", headers=headers)


# --------------------------------------------------------------------------------------------------------- changing
async def _ask(
    request: Request, parts: WebParts, caller: Caller, request_id: str, what: str, body: bytes = b"", **words: str
) -> Response:
    """One change, by the signer; the answer is the request as it is then."""
    async with parts.service.db.read() as uow:
        await own(uow, caller, request_id)
    await parts.signer.ask(f"request.{what}", body, client=caller.client_id, request=request_id, **words)
    return (await _answer(request, parts, caller, request_id))[0]


async def _ask_link(
    parts: WebParts, caller: Caller, request_id: str, what: str, step_id: str, body: bytes = b""
) -> Response:
    async with parts.service.db.read() as uow:
        await own(uow, caller, request_id)
    words = {"client": caller.client_id, "request": request_id, "step": step_id}
    made = json.loads(await parts.signer.ask(f"request.{what}", body, **words))
    link = _link(parts, made["step"], made["link"])
    return Response(link.model_dump_json(), media_type="application/json", headers={"cache-control": "no-store"})


@router.post("/{request_id}/cancel", response_model=SignatureRequestOut)
async def cancel_signature_request(
    request: Request, request_id: Id, parts: Parts, caller: Writer, why: CancelIn
) -> Response:
    """Nobody signs any more; what was signed already stays with the service."""
    return await _ask(request, parts, caller, request_id, "cancel", reason=why.reason)


@router.post("/{request_id}/extend", response_model=SignatureRequestOut)
async def extend_signature_request(
    request: Request, request_id: Id, parts: Parts, caller: Writer, wanted: ExtendIn
) -> Response:
    """A later deadline; links that were given out hold as long."""
    return await _ask(request, parts, caller, request_id, "extend", deadline=wanted.deadline.isoformat())


@router.post("/{request_id}/steps/{step_id}/remind", response_model=SignatureRequestOut)
async def remind_signer(request: Request, request_id: Id, step_id: Id, parts: Parts, caller: Writer) -> Response:
    """Tell the signer again, where the service knows how."""
    return await _ask(request, parts, caller, request_id, "remind", step=step_id)


@router.post("/{request_id}/steps/{step_id}/replace", response_model=SigningLinkOut)
async def replace_signer(
    request_id: Id, step_id: Id, parts: Parts, caller: Writer, wanted: ReplaceIn
) -> Response:  # fmt: skip
    """Somebody else in the place of a signer who has not signed; the old link ends, the answer has the new one."""
    body = wanted.person.model_dump_json().encode()
    return await _ask_link(parts, caller, request_id, "replace", step_id, body)


@router.post("/{request_id}/steps/{step_id}/link", response_model=SigningLinkOut)
async def make_signing_link(request_id: Id, step_id: Id, parts: Parts, caller: Writer) -> Response:
    """A fresh link for a signer who lost it; the old one ends."""
    return await _ask_link(parts, caller, request_id, "link", step_id)
